//! SigV4: a request's headers, and the credentials they are made with.

use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use headwater_model::{Error, ErrorKind, Result};
use tokio::sync::{Mutex, OnceCell};

use super::config::Config;

const SERVICE: &str = "neptune-db";

/// Credentials are asked for anew when they expire within this.
const BEFORE_EXPIRY: Duration = Duration::from_secs(300);

/// Who signs, and for which region.
#[derive(Default)]
pub(super) struct Signer {
    chain: OnceCell<(SharedCredentialsProvider, String)>,
    newest: Mutex<Option<Credentials>>,
}

/// What is signed of a request.
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    /// `https://host:port/path`
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

impl Signer {
    /// The headers to add.
    pub(super) async fn headers(
        &self,
        config: &Config,
        request: &Unsigned<'_>,
        now: SystemTime,
    ) -> Result<Vec<(String, String)>> {
        let (provider, region) = self.chain.get_or_try_init(|| chain(config)).await?;
        let mut newest = self.newest.lock().await;
        let fresh = newest.take().filter(|known| known.expiry().is_none_or(|end| end > now + BEFORE_EXPIRY));
        let credentials = match fresh {
            Some(credentials) => credentials,
            None => provider.provide_credentials().await.map_err(|e| {
                Error::new(ErrorKind::Denied, "no AWS credentials were found").with_cause(e).with_remedy(
                    "give AWS credentials: a role, AWS_PROFILE, AWS_ACCESS_KEY_ID, or the store's profile; `aws sts \
                     get-caller-identity` tells whether there are any",
                )
            })?,
        };
        let headers = signed(request, &credentials, region, SERVICE, now)?;
        *newest = Some(credentials);
        Ok(headers)
    }
}

/// AWS's usual chain: environment, profile, web identity, container, instance.
async fn chain(config: &Config) -> Result<(SharedCredentialsProvider, String)> {
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    let common = loader.load().await;
    let region = common.region().ok_or_else(|| {
        Error::misconfigured("it is not known in which region the cluster is")
            .with_remedy("use the endpoint's full name in the URL, or give the store region = \"us-east-1\"")
    })?;
    let provider =
        common.credentials_provider().ok_or_else(|| Error::bug("the AWS configuration has no chain"))?;
    Ok((provider, region.to_string()))
}

fn signed(
    request: &Unsigned<'_>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Result<Vec<(String, String)>> {
    fn unsignable(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::bug("sign a request").with_cause(cause)
    }
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(unsignable)?
        .into();
    let headers = request.headers.iter().copied();
    let body = SignableBody::Bytes(request.body);
    let signable = SignableRequest::new(request.method, request.url, headers, body).map_err(unsignable)?;
    let (instructions, _) = sign(signable, &params).map_err(unsignable)?.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The requests, the time and the signatures of AWS's Signature Version 4 test suite.
    fn signature(method: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<(String, String)> {
        let credentials =
            Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None, None, "suite");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let url = "https://example.amazonaws.com/";
        signed(&Unsigned { method, url, headers, body }, &credentials, "us-east-1", "service", now).unwrap()
    }

    #[test]
    fn signatures_are_those_that_aws_publishes() {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        for (method, headers, body, names, expected) in [
            (
                "GET",
                &[][..],
                &b""[..],
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "POST",
                &[],
                b"",
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "POST",
                &form,
                b"Param1=value1",
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let signed = signature(method, headers, body);
            let of = |name: &str| signed.iter().find(|(known, _)| known == name).unwrap().1.clone();
            assert_eq!(of("x-amz-date"), "20150830T123600Z");
            assert_eq!(
                of("authorization"),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders={names}, Signature={expected}"
                )
            );
        }
    }
}
