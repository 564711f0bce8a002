//! A client of one S3-compatible store: few calls, each with its own deadline, errors sorted by what to do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
use bytes::Bytes;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::body;
use crate::error::{StoreError, Target};
use crate::reach::{Reach, Resolver};
use crate::wire::Wire;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// Until a small request is answered, and the longest silence inside a body.
const ANSWER: Duration = Duration::from_secs(30);
/// Until a request with a large body is answered; sending it counts. Eight packs of 20 MiB at once over a line of
/// 2 Mbit/s take eleven minutes.
const ANSWER_LARGE: Duration = Duration::from_mins(15);
/// Bodies above this many bytes are large.
const LARGE: usize = 1 << 20;
/// Times a call is made whose body broke off, and the pause before the second; it doubles.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// How to reach a store.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// URL, for instance `https://s3.example`.
    pub endpoint: String,
    pub region: String,
    /// PEM certificates to trust beside the public ones.
    pub ca_pem: Option<String>,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Of credentials that are lent for a time.
    pub session_token: Option<String>,
    /// Which addresses may be connected to.
    pub reach: Reach,
}

/// Without the secret: errors and logs carry this.
impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// A store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    /// Tries again by itself.
    client: Client,
    /// Never tries again: a repeated conditional write turns its own success into a refusal.
    once: Client,
    endpoint: Arc<str>,
    silence: Duration,
    wire: Wire,
}

/// What a create-only write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    Yes,
    /// There was one already; it was left as it is.
    AlreadyThere,
}

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub version_id: Option<String>,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
}

impl Store {
    /// Prepares a client. No call is made.
    ///
    /// # Errors
    /// When the endpoint is not a URL of http or https or may not be called, or the certificates are not PEM.
    pub fn connect(config: &StoreConfig) -> Result<Self, StoreError> {
        let mut trust = TrustStore::empty();
        if is_https(&config.endpoint)? {
            trust = trust.with_native_roots(true);
            if let Some(pem) = &config.ca_pem {
                check_pem(&config.endpoint, pem)?;
                trust = trust.with_pem_certificate(pem.as_bytes());
            }
        }
        config.reach.check_endpoint(&config.endpoint)?;
        let context = TlsContext::builder().with_trust_store(trust).build();
        let context = context.map_err(|e| bad_certificates(&config.endpoint, &e.to_string()))?;
        // Both plain and encrypted: only so can it be given a resolver.
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .tls_context(context)
            .build_with_resolver(Resolver::new(&config.reach));
        let keys = Credentials::new(
            &config.access_key_id,
            &config.secret_access_key,
            config.session_token.clone(),
            None,
            "tripod",
        );
        let builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&config.endpoint)
            .region(Region::new(config.region.clone()))
            .credentials_provider(keys)
            .force_path_style(true)
            .http_client(http)
            .timeout_config(deadlines(ANSWER))
            // Older stores refuse the trailers that the SDK would add by itself.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let client = Client::from_conf(
            builder.clone().retry_config(RetryConfig::standard().with_max_attempts(3)).build(),
        );
        let once = Client::from_conf(builder.retry_config(RetryConfig::disabled()).build());
        let wire = Wire::connect(config)?;
        Ok(Self { client, once, endpoint: config.endpoint.as_str().into(), silence: ANSWER, wire })
    }

    /// The URL it was made for.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// For the calls that are made once for every object.
    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn once(&self) -> &Client {
        &self.once
    }

    /// Settings of a request with a body of that many bytes. Two deadlines only: the SDK keeps connections
    /// apart by deadline.
    pub(crate) fn for_body(bytes: usize) -> aws_sdk_s3::config::Builder {
        let builder = aws_sdk_s3::Config::builder();
        if bytes > LARGE { builder.timeout_config(deadlines(ANSWER_LARGE)) } else { builder }
    }

    pub(crate) fn target<'a>(&'a self, bucket: &'a str, key: &'a str) -> Target<'a> {
        Target { endpoint: &self.endpoint, bucket, key }
    }

    /// Reads a whole object into memory.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, StoreError> {
        self.get_with(bucket, key, None).await
    }

    /// Reads `length` bytes from `offset`.
    pub async fn get_range(
        &self,
        bucket: &str,
        key: &str,
        offset: u64,
        length: u64,
    ) -> Result<Bytes, StoreError> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let range = format!("bytes={offset}-{}", offset.saturating_add(length) - 1);
        self.get_with(bucket, key, Some(range)).await
    }

    async fn get_with(&self, bucket: &str, key: &str, range: Option<String>) -> Result<Bytes, StoreError> {
        let target = self.target(bucket, key);
        persist(|| async {
            let get = self.client.get_object().bucket(bucket).key(key).set_range(range.clone());
            let reply = get.send().await.map_err(|e| target.sort(&e))?;
            body::collect(reply.body, self.silence, target).await
        })
        .await
    }

    /// Writes an object, whether it exists or not.
    pub async fn put(&self, bucket: &str, key: &str, body: Bytes) -> Result<(), StoreError> {
        let settings = Self::for_body(body.len());
        let put = self.client.put_object().bucket(bucket).key(key).body(body.into());
        let sent = put.customize().config_override(settings).send().await;
        sent.map(drop).map_err(|e| self.target(bucket, key).sort(&e))
    }

    /// Writes an object only if there is none. After an answer that was lost it reads back: the same body there
    /// counts as written, so that a body must be its writer's own where the difference matters.
    pub async fn put_new(&self, bucket: &str, key: &str, body: Bytes) -> Result<Created, StoreError> {
        persist(|| async {
            let put =
                self.once.put_object().bucket(bucket).key(key).if_none_match("*").body(body.clone().into());
            let sent = put.customize().config_override(Self::for_body(body.len())).send().await;
            match sent.map_err(|e| self.target(bucket, key).sort(&e)) {
                Ok(_) => Ok(Created::Yes),
                Err(StoreError::Mismatch { .. }) => Ok(Created::AlreadyThere),
                Err(error) if error.is_transient() => match self.get(bucket, key).await {
                    Ok(there) if there == body => Ok(Created::Yes),
                    Ok(_) => Ok(Created::AlreadyThere),
                    Err(_) => Err(error),
                },
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Size and `ETag`, or `None` where there is no such object.
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        let sent = self.client.head_object().bucket(bucket).key(key).send().await;
        match sent.map_err(|e| self.target(bucket, key).sort(&e)) {
            Ok(reply) => Ok(Some(ObjectMeta {
                size: reply.content_length().and_then(|n| n.try_into().ok()).unwrap_or(0),
                etag: unquote(reply.e_tag()),
                version_id: reply.version_id().map(str::to_owned),
            })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects under a prefix, every page.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let mut pages = self.client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        let mut listed = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| self.target(bucket, prefix).sort(&e))?;
            listed.extend(page.contents().iter().filter_map(|object| {
                Some(Listed {
                    key: object.key()?.to_owned(),
                    size: object.size().and_then(|n| n.try_into().ok()).unwrap_or(0),
                    etag: unquote(object.e_tag()),
                })
            }));
        }
        Ok(listed)
    }

    /// Names of the folders directly under a prefix that ends in `/`, without prefix and slash.
    pub async fn list_directories(&self, bucket: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix).delimiter("/");
        let mut pages = request.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| self.target(bucket, prefix).sort(&e))?;
            let folders = page.common_prefixes().iter().filter_map(|p| p.prefix()?.strip_prefix(prefix));
            names.extend(folders.map(|name| name.trim_end_matches('/').to_owned()));
        }
        Ok(names)
    }
}

/// Calls again after an error that may pass.
pub(crate) async fn persist<T, F: Future<Output = Result<T, StoreError>>>(
    call: impl FnMut() -> F,
) -> Result<T, StoreError> {
    persist_for(ATTEMPTS, PAUSE, call).await
}

/// The same, so many times at most; the pause before the second doubles.
pub(crate) async fn persist_for<T, F: Future<Output = Result<T, StoreError>>>(
    attempts: u32,
    mut pause: Duration,
    mut call: impl FnMut() -> F,
) -> Result<T, StoreError> {
    for _ in 1..attempts {
        match call().await {
            Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
            result => return result,
        }
        pause *= 2;
    }
    call().await
}

fn deadlines(answer: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(answer).build()
}

fn is_https(endpoint: &str) -> Result<bool, StoreError> {
    match endpoint.split_once("://") {
        Some(("https", rest)) if !rest.is_empty() => Ok(true),
        Some(("http", rest)) if !rest.is_empty() => Ok(false),
        _ => Err(StoreError::Other {
            what: format!("endpoint {endpoint:?}"),
            detail: "is not a URL of http or https; write it like https://s3.example".into(),
        }),
    }
}

/// The SDK panics on certificates that it can't read, and only at the first call.
fn check_pem(endpoint: &str, pem: &str) -> Result<(), StoreError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|e| bad_certificates(endpoint, &e.to_string()))?;
        roots.add(certificate).map_err(|e| bad_certificates(endpoint, &e.to_string()))?;
    }
    if roots.is_empty() { Err(bad_certificates(endpoint, "no PEM certificate in it")) } else { Ok(()) }
}

fn bad_certificates(endpoint: &str, detail: &str) -> StoreError {
    StoreError::Other { what: format!("certificates to trust for {endpoint}"), detail: detail.to_owned() }
}

/// `ETag`s come in quotes, in most stores.
pub(crate) fn unquote(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
