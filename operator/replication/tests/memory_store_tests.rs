//! The in-memory store against the client of AWS: it answers as S3 does, and does wrong exactly what it is told to.

#[path = "memory_store_tests/buckets.rs"]
mod buckets;
#[path = "memory_store_tests/faults.rs"]
mod faults;
mod memory_store;
#[path = "memory_store_tests/objects.rs"]
mod objects;

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use memory_store::{BucketOptions, MemoryStore, Options};

const HELLO_MD5: &str = "\"5d41402abc4b2a76b9719d911017c592\"";

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("r"))
        .credentials_provider(Credentials::new("id", "hush", None, None, "test"))
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().read_timeout(Duration::from_millis(700)).build());
    Client::from_conf(config.build())
}

async fn start(options: Options, bucket: BucketOptions) -> (MemoryStore, Client) {
    let store = MemoryStore::start(options).await.expect("a port");
    store.create_bucket("b", bucket);
    let client = client(&store.endpoint());
    (store, client)
}

async fn plain() -> (MemoryStore, Client) {
    start(Options::default(), BucketOptions::default()).await
}

/// Status and code of a refusal; no status, where there was no answer.
fn refused<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E, HttpResponse>>,
) -> (Option<u16>, String) {
    let error = result.expect_err("a refusal");
    let status = error.raw_response().map(|response| response.status().as_u16());
    (status, error.code().unwrap_or_default().to_owned())
}

async fn body(stream: ByteStream) -> Bytes {
    stream.collect().await.expect("a whole body").into_bytes()
}
