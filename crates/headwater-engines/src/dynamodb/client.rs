//! The SDK's client: where to, as whom, how patiently.
//!
//! What is throttled or fails on the way is tried again by the SDK, with backoff and jitter, within the bounds set here.
//! The SDK's own budget of repetitions is lifted: it is for callers that can do without an answer, while a step of which one
//! row is missing is repeated whole.
//! A repeated request is the same request: its condition tells whether an earlier attempt took effect.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_dynamodbstreams::Client as Streams;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use super::config::Config;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// One try. The service answers in milliseconds; a reply that does not come is lost.
const TRY_WITHIN: Duration = Duration::from_secs(10);

/// Waits between tries grow from 50 ms to 5 s: together about as long as a request may take by default.
const TRIES_MAX: u32 = 10;

pub(super) async fn connect(config: &Config) -> Client {
    let common = common(config).await;
    Client::from_conf(aws_sdk_dynamodb::config::Builder::from(&common).retry_partition(patient()).build())
}

/// The client of the tables' streams, at `endpoint` if they have one of their own.
pub(super) async fn connect_streams(config: &Config, endpoint: Option<&str>) -> Streams {
    let common = common(config).await;
    let mut builder = aws_sdk_dynamodbstreams::config::Builder::from(&common).retry_partition(patient());
    builder.set_endpoint_url(endpoint.or(config.endpoint.as_deref()).map(str::to_owned));
    Streams::from_conf(builder.build())
}

fn patient() -> RetryPartition {
    RetryPartition::custom("headwater").token_bucket(TokenBucket::unlimited()).build()
}

async fn common(config: &Config) -> SdkConfig {
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_WITHIN)
        .operation_attempt_timeout(TRY_WITHIN.min(config.request_within))
        .operation_timeout(config.request_within)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(TRIES_MAX)
        .with_initial_backoff(Duration::from_millis(50))
        .with_max_backoff(Duration::from_secs(5));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(retries);
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(keys) = &config.keys {
        let token = keys.session_token.as_ref().map(|token| token.reveal().to_owned());
        loader = loader.credentials_provider(Credentials::new(
            &keys.id,
            keys.secret.reveal(),
            token,
            None,
            "the file's settings",
        ));
    }
    loader.load().await
}
