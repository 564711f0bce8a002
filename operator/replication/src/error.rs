//! What can go wrong with a store, in words that say what to do.

use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::http::Response;

/// One failed call. Every message names the endpoint, bucket or key it is about.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// No connection, no answer in time, or an answer of 5xx. Worth trying again.
    #[error("{endpoint} can't be reached: {detail}")]
    Unreachable { endpoint: String, detail: String },
    /// The credentials are unknown, wrong, or may not do this.
    #[error(
        "{endpoint} refuses access to {what}: {detail}; check the access key, the secret key and what the account may do"
    )]
    Denied { endpoint: String, what: String, detail: String },
    #[error("bucket {bucket:?} does not exist at {endpoint}; create it or correct the name")]
    NoSuchBucket { endpoint: String, bucket: String },
    #[error("{bucket}/{key} does not exist")]
    NotFound { bucket: String, key: String },
    /// A condition of the request did not hold.
    #[error("{bucket}/{key} is not what it was: {detail}")]
    Mismatch { bucket: String, key: String, detail: String },
    #[error("{endpoint} does not support this: {detail}")]
    Unsupported { endpoint: String, detail: String },
    #[error("{what}: {detail}")]
    Other { what: String, detail: String },
}

impl StoreError {
    /// Whether the same call may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether the object is simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// Where a call went, for its error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
}

impl Target<'_> {
    /// Sorts an error of the SDK by what the store answered.
    pub(crate) fn sort<E>(self, error: &SdkError<E, Response>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Target { endpoint, bucket, key } = self;
        let (endpoint, bucket, key) = (endpoint.to_owned(), bucket.to_owned(), key.to_owned());
        let status = error.raw_response().map(|r| r.status().as_u16());
        let code = error.code().unwrap_or_default();
        let detail = match error.message() {
            Some(message) if !code.is_empty() => format!("{code}: {message}"),
            _ => DisplayErrorContext(error).to_string(),
        };
        let detail = detail.chars().take(400).collect::<String>();
        match (status, code) {
            (_, "NoSuchBucket") => StoreError::NoSuchBucket { endpoint, bucket },
            (Some(404), _) => StoreError::NotFound { bucket, key },
            (Some(401 | 403), _) => StoreError::Denied { endpoint, what: format!("{bucket}/{key}"), detail },
            (Some(409 | 412), _) => StoreError::Mismatch { bucket, key, detail },
            (Some(501), _) | (_, "NotImplemented") => StoreError::Unsupported { endpoint, detail },
            (None | Some(500..), _) => StoreError::Unreachable { endpoint, detail },
            _ => StoreError::Other { what: format!("{endpoint} {bucket}/{key}"), detail },
        }
    }
}
