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
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
use bytes::Bytes;

use crate::error::{StoreError, Target};

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
    /// When the certificates are not PEM.
    pub fn connect(config: &StoreConfig) -> Result<Self, StoreError> {
        let mut trust = TrustStore::default();
        if let Some(pem) = &config.ca_pem {
            trust = trust.with_pem_certificate(pem.as_bytes());
        }
        let context =
            TlsContext::builder().with_trust_store(trust).build().map_err(|e| StoreError::Other {
                what: format!("certificates to trust for {}", config.endpoint),
                detail: e.to_string(),
            })?;
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .tls_context(context)
            .build_https();
        let keys = Credentials::new(&config.access_key_id, &config.secret_access_key, None, None, "tripod");
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(30))
            .build();
        let builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&config.endpoint)
            .region(Region::new(config.region.clone()))
            .credentials_provider(keys)
            .force_path_style(true)
            .http_client(http)
            .timeout_config(timeouts)
            // Older stores refuse the trailers that the SDK would add by itself.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let client = Client::from_conf(
            builder.clone().retry_config(RetryConfig::standard().with_max_attempts(3)).build(),
        );
        let once = Client::from_conf(builder.retry_config(RetryConfig::disabled()).build());
        Ok(Self { client, once, endpoint: config.endpoint.as_str().into() })
    }

    /// The URL it was made for.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn once(&self) -> &Client {
        &self.once
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
        let sent = self.client.get_object().bucket(bucket).key(key).set_range(range).send().await;
        let reply = sent.map_err(|e| target.sort(&e))?;
        let body = reply.body.collect().await;
        body.map(aws_sdk_s3::primitives::AggregatedBytes::into_bytes).map_err(|e| StoreError::Unreachable {
            endpoint: self.endpoint.to_string(),
            detail: format!("{bucket}/{key} broke off: {e}"),
        })
    }

    /// Writes an object, whether it exists or not.
    pub async fn put(&self, bucket: &str, key: &str, body: Bytes) -> Result<(), StoreError> {
        let sent = self.client.put_object().bucket(bucket).key(key).body(body.into()).send().await;
        sent.map(drop).map_err(|e| self.target(bucket, key).sort(&e))
    }

    /// Writes an object only if there is none. After an answer that was lost it reads back: the same body there
    /// counts as written.
    pub async fn put_new(&self, bucket: &str, key: &str, body: Bytes) -> Result<Created, StoreError> {
        let request =
            self.once.put_object().bucket(bucket).key(key).if_none_match("*").body(body.clone().into());
        match request.send().await.map_err(|e| self.target(bucket, key).sort(&e)) {
            Ok(_) => Ok(Created::Yes),
            Err(StoreError::Mismatch { .. }) => Ok(Created::AlreadyThere),
            Err(error) if error.is_transient() => match self.get(bucket, key).await {
                Ok(there) if there == body => Ok(Created::Yes),
                Ok(_) => Ok(Created::AlreadyThere),
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
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

    /// Deletes an object; that there is none is success.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        let sent = self.client.delete_object().bucket(bucket).key(key).send().await;
        match sent.map_err(|e| self.target(bucket, key).sort(&e)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether a bucket is there.
    pub async fn has_bucket(&self, bucket: &str) -> Result<bool, StoreError> {
        let sent = self.client.head_bucket().bucket(bucket).send().await;
        match sent.map_err(|e| self.target(bucket, "").sort(&e)) {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. } | StoreError::NoSuchBucket { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a bucket unless it is there.
    pub async fn ensure_bucket(&self, bucket: &str, versioned: bool) -> Result<(), StoreError> {
        if !self.has_bucket(bucket).await? {
            let made = self.once.create_bucket().bucket(bucket).send().await;
            match made.map_err(|e| self.target(bucket, "").sort(&e)) {
                // 409: somebody was faster; if it is not ours, the first write says so.
                Ok(_) | Err(StoreError::Mismatch { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if versioned {
            let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            let sent =
                self.client.put_bucket_versioning().bucket(bucket).versioning_configuration(on).send().await;
            sent.map_err(|e| self.target(bucket, "").sort(&e))?;
        }
        Ok(())
    }

    /// Deletes a bucket with everything in it, all versions and delete markers. That there is none is success.
    pub async fn remove_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        if !self.has_bucket(bucket).await? {
            return Ok(());
        }
        for object in self.list(bucket, "").await? {
            self.delete(bucket, &object.key).await?;
        }
        for (key, version) in crate::replica::all_versions(self, bucket).await? {
            let request = self.client.delete_object().bucket(bucket).key(&key).version_id(version);
            request.send().await.map_err(|e| self.target(bucket, &key).sort(&e))?;
        }
        let sent = self.client.delete_bucket().bucket(bucket).send().await;
        sent.map(drop).map_err(|e| self.target(bucket, "").sort(&e))
    }
}

/// `ETag`s come in quotes, in most stores.
pub(crate) fn unquote(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_never_printed() {
        let config = StoreConfig {
            endpoint: "http://s".into(),
            region: "r".into(),
            ca_pem: None,
            access_key_id: "id".into(),
            secret_access_key: "hush".into(),
        };
        assert!(!format!("{config:?}").contains("hush"));
        assert!(!format!("{:?}", Store::connect(&config)).contains("hush"));
    }
}
