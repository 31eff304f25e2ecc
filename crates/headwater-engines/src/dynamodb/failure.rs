//! What the service says, as an error of ours.

use std::error::Error as StdError;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use headwater_model::{Error, ErrorKind};

/// `doing` says what and, where one is at fault, which key.
pub(super) fn failure<E>(doing: impl std::fmt::Display, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let code = error.code().unwrap_or_default().to_owned();
    let said = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => chain(&error),
    };
    let is = |kind, remedy: &str| Error::new(kind, format!("{doing}: {said}")).with_remedy(remedy);
    match &*code {
        "ProvisionedThroughputExceededException" | "ThrottlingException" | "RequestLimitExceeded" => is(
            ErrorKind::Throttled,
            "raise the table's capacity or make it on-demand; if only this key is throttled, it is hot: one partition takes \
             1000 writes and 3000 reads per second",
        ),
        "AccessDeniedException" => {
            is(ErrorKind::Denied, "allow the action on the table: docs/engines/dynamodb.md has the policy")
        }
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException" => {
            is(ErrorKind::Denied, "check the credentials, and this machine's clock")
        }
        "ResourceNotFoundException" => is(
            ErrorKind::OutOfStep,
            "the table was deleted: restart Headwater, which creates it where the store says create = true",
        ),
        "LimitExceededException"
        | "ResourceInUseException"
        | "InternalServerError"
        | "TransactionConflictException" => Error::transient(format!("{doing}: {said}")),
        "" if said.contains("credentials") => is(
            ErrorKind::Denied,
            "give AWS credentials: a role, AWS_PROFILE, AWS_ACCESS_KEY_ID, or the store's profile; `aws sts \
             get-caller-identity` tells whether there are any",
        ),
        "" if said.contains("region") => {
            is(ErrorKind::Misconfigured, "put the region into the URL: dynamodb://us-east-1/prefix_")
        }
        "" => Error::transient(format!("{doing}: {said}")),
        _ if error.raw_response().is_some_and(|response| response.status().is_server_error()) => {
            Error::transient(format!("{doing}: {said}"))
        }
        _ => Error::unsupported(format!("{doing}: {said}")),
    }
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether a table is not there.
pub(super) fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some("ResourceNotFoundException")
}

/// Whether a condition did not hold.
pub(super) fn is_condition<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}
