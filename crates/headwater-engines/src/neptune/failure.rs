//! What the service answers, as an error of ours.

use headwater_model::{Error, ErrorKind};
use serde_json::Value as Json;

pub(super) fn from_answer(status: u16, answer: Option<&Json>) -> Error {
    let text = |name: &str| answer.and_then(|answer| answer[name].as_str()).unwrap_or_default();
    let code = text("code");
    let said = match (code, text("detailedMessage")) {
        ("", _) => format!("the cluster answered with status {status}"),
        (code, message) => format!("the cluster answered {code}: {message}"),
    };
    let is = |kind, remedy: &str| Error::new(kind, &*said).with_remedy(remedy);
    match (code, status) {
        ("AccessDeniedException" | "MissingParameterException", _) | (_, 401 | 403) => is(
            ErrorKind::Denied,
            "allow the role what docs/engines/neptune.md lists, check the credentials and this machine's clock; without IAM \
             authentication on the cluster: iam = false",
        ),
        ("ThrottlingException" | "TooManyRequestsException" | "QueryLimitExceededException", _)
        | (_, 429) => is(ErrorKind::Throttled, "give the cluster more capacity"),
        ("MemoryLimitExceededException", _) => {
            is(ErrorKind::Throttled, "use a larger instance, or bound the walk with fewer hops")
        }
        ("TimeLimitExceededException", _) => is(
            ErrorKind::Transient,
            "raise neptune_query_timeout in the cluster's parameter group, or bound the walk with fewer hops",
        ),
        ("ReadOnlyViolationException", _) => {
            is(ErrorKind::Transient, "put the cluster's writer endpoint into the store's URL")
        }
        ("QueryLimitException" | "QueryTooLargeException", _) | (_, 413) => {
            is(ErrorKind::Unsupported, "lower step_bytes_max of the store")
        }
        (
            "ConcurrentModificationException"
            | "ConstraintViolationException"
            | "InternalFailureException"
            | "ServerShutdownException"
            | "CancelledByUserException"
            | "FailureByQueryException",
            _,
        ) => Error::transient(&*said),
        ("", 500..) => Error::transient(&*said),
        _ => Error::bug(&*said),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_answer_has_a_kind() {
        for (status, code, kind) in [
            (403, "AccessDeniedException", ErrorKind::Denied),
            (429, "ThrottlingException", ErrorKind::Throttled),
            (500, "ConcurrentModificationException", ErrorKind::Transient),
            (500, "TimeLimitExceededException", ErrorKind::Transient),
            (400, "MalformedQueryException", ErrorKind::Bug),
        ] {
            let answer = json!({"requestId": "1", "code": code, "detailedMessage": "because"});
            let error = from_answer(status, Some(&answer));
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.to_string().contains("because"), "{error:?}");
        }
        assert_eq!(from_answer(503, None).kind(), ErrorKind::Transient);
        assert_eq!(from_answer(403, None).kind(), ErrorKind::Denied);
    }
}
