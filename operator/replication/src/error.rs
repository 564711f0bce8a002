//! What can go wrong with a store, in words that say what to do.

use std::error::Error;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::http::Response;

use crate::reach::OutOfReach;

/// Longest detail kept, in characters: what a store answers ends up in a status.
const DETAIL: usize = 400;

/// One failed call. Every message names the endpoint, bucket or key it is about.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// No connection, no answer in time, or an answer of 5xx. Worth trying again.
    #[error("{endpoint} can't be reached or does not answer as it should: {detail}")]
    Unreachable { endpoint: String, detail: String },
    /// Its address is one that may not be called from here. No connection was made.
    #[error(
        "{endpoint} is not called: {refusal}; correct the endpoint, or let the platform allow the network: --stores-allow, in the \
         chart stores.reach.allow"
    )]
    OutOfReach { endpoint: String, refusal: OutOfReach },
    /// The credentials are unknown, wrong, or may not do this; `detail` says which, as far as the store tells.
    #[error("{endpoint} refuses access to {what}: {detail}")]
    Denied { endpoint: String, what: String, detail: String },
    #[error("bucket {bucket:?} does not exist at {endpoint}; create it or correct the name")]
    NoSuchBucket { endpoint: String, bucket: String },
    #[error("{bucket}/{key} does not exist")]
    NotFound { bucket: String, key: String },
    /// A condition of the request did not hold.
    #[error("{bucket}/{key} is not what it was: {detail}")]
    Mismatch { bucket: String, key: String, detail: String },
    /// Another request for the same thing was under way; nothing was decided. Worth trying again.
    #[error("{bucket}/{key} is being changed by another request: {detail}")]
    Conflict { bucket: String, key: String, detail: String },
    #[error("{endpoint} does not support this: {detail}")]
    Unsupported { endpoint: String, detail: String },
    /// Something is there, and nothing of it was replicated. It was left as it is.
    #[error(
        "{target} is not empty (it has {key:?}), and nothing was replicated there yet; choose an empty bucket or prefix, or adopt \
         what is there: equal objects stay, others of the same name are replaced"
    )]
    NotEmpty { target: String, key: String },
    #[error("{what}: {detail}")]
    Other { what: String, detail: String },
}

impl StoreError {
    /// Whether the same call may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Conflict { .. })
    }

    /// Names the permission that a refused call needs, where it may be that.
    pub(crate) fn for_want_of(mut self, permission: &str) -> Self {
        if let Self::Denied { detail, .. } = &mut self
            && (detail.starts_with("AccessDenied") || detail.starts_with("HTTP 403"))
        {
            *detail = format!("{detail}; this needs {permission}");
        }
        self
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
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let Some(refusal) = OutOfReach::in_causes_of(error) {
            return refusal.at(self.endpoint);
        }
        let status = error.raw_response().map(|r| r.status().as_u16());
        let code = error.code().unwrap_or_default();
        let detail = match (status, error.message()) {
            (_, Some(message)) if !code.is_empty() => format!("{code}: {message}"),
            // A HEAD has no body, and so no message: the status is all there is.
            (Some(status), _) if code.is_empty() => format!("HTTP {status}"),
            (Some(status), _) => format!("HTTP {status}, {code}"),
            (None, _) => chain(error),
        };
        if matches!(error, SdkError::ConstructionFailure(_)) {
            // Never sent: asking again can't help.
            return StoreError::Other { what: self.name(), detail: cut(&detail) };
        }
        self.by_answer(status, code, &detail)
    }

    pub(crate) fn by_answer(self, status: Option<u16>, code: &str, detail: &str) -> StoreError {
        let (endpoint, bucket, key) = (self.endpoint.to_owned(), self.bucket.to_owned(), self.key.to_owned());
        let detail = cut(detail);
        match (status, code) {
            (_, "NoSuchBucket") => StoreError::NoSuchBucket { endpoint, bucket },
            (_, "AuthorizationHeaderMalformed") => {
                StoreError::Other { what: self.name(), detail: format!("{detail}; is the region right?") }
            }
            (_, "KeyTooLongError") => {
                let advice = "a key has at most 1024 bytes, with the prefix; shorten one of them";
                StoreError::Other { what: self.name(), detail: format!("{detail}; {advice}") }
            }
            (Some(401 | 403), _) | (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken") => {
                let detail = format!("{detail}; {}", advice(code));
                StoreError::Denied { endpoint, what: self.what(), detail }
            }
            (Some(404), _) => StoreError::NotFound { bucket, key },
            (Some(409), "ConditionalRequestConflict" | "OperationAborted") => {
                StoreError::Conflict { bucket, key, detail }
            }
            (Some(409 | 412), _) => StoreError::Mismatch { bucket, key, detail },
            (Some(501), _) | (_, "NotImplemented") => StoreError::Unsupported { endpoint, detail },
            (None | Some(408 | 429 | 500..), _) | (_, "RequestTimeout" | "SlowDown") => {
                StoreError::Unreachable { endpoint, detail }
            }
            _ => StoreError::Other { what: self.name(), detail },
        }
    }

    /// A request to which there was no answer.
    pub(crate) fn unanswered(self, error: &(dyn Error + 'static)) -> StoreError {
        match OutOfReach::in_causes_of(error) {
            Some(refusal) => refusal.at(self.endpoint),
            None => self.broke_off(&chain(error)),
        }
    }

    /// A body that stopped before its end.
    pub(crate) fn broke_off(self, detail: &str) -> StoreError {
        let detail = cut(&format!("{} broke off: {detail}", self.what()));
        StoreError::Unreachable { endpoint: self.endpoint.to_owned(), detail }
    }

    fn what(self) -> String {
        if self.key.is_empty() {
            format!("bucket {:?}", self.bucket)
        } else {
            format!("{}/{}", self.bucket, self.key)
        }
    }

    fn name(self) -> String {
        format!("{} at {}", self.what(), self.endpoint)
    }
}

/// What a platform engineer should look at first.
fn advice(code: &str) -> &'static str {
    match code {
        "InvalidAccessKeyId" => "this store has no such access key id",
        "SignatureDoesNotMatch" => "the secret key does not belong to the access key id",
        "ExpiredToken" => "renew the credentials",
        "RequestTimeTooSkewed" => "correct the clock of this machine or of the store",
        "AccessDenied" => "the keys are known, but the account may not do this",
        _ => "check the access key id, the secret key and what the account may do",
    }
}

/// An error with its causes, each once: the SDK's own texts say only that something failed.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

fn cut(detail: &str) -> String {
    detail.chars().take(DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'_> = Target { endpoint: "https://s", bucket: "b", key: "k" };

    fn sorted(status: u16, code: &str) -> StoreError {
        TARGET.by_answer(Some(status), code, "said")
    }

    #[test]
    fn answers_are_sorted_by_what_to_do() {
        assert!(matches!(sorted(404, "NoSuchBucket"), StoreError::NoSuchBucket { .. }));
        assert!(matches!(sorted(404, "NoSuchKey"), StoreError::NotFound { .. }));
        assert!(matches!(sorted(412, "PreconditionFailed"), StoreError::Mismatch { .. }));
        assert!(matches!(sorted(409, "BucketNotEmpty"), StoreError::Mismatch { .. }));
        assert!(matches!(sorted(501, "NotImplemented"), StoreError::Unsupported { .. }));
        assert!(matches!(sorted(400, "BadDigest"), StoreError::Other { .. }));
        assert!(matches!(TARGET.by_answer(None, "", "refused"), StoreError::Unreachable { .. }));
    }

    #[test]
    fn an_undecided_conflict_is_worth_another_try_and_a_failed_condition_is_not() {
        assert!(sorted(409, "ConditionalRequestConflict").is_transient());
        assert!(sorted(503, "SlowDown").is_transient());
        assert!(!sorted(412, "PreconditionFailed").is_transient());
        assert!(!sorted(403, "AccessDenied").is_transient());
    }

    #[test]
    fn a_refusal_says_which_part_of_the_credentials_is_wrong() {
        assert!(sorted(403, "InvalidAccessKeyId").to_string().contains("no such access key id"));
        assert!(sorted(403, "SignatureDoesNotMatch").to_string().contains("the secret key does not belong"));
        assert!(sorted(403, "RequestTimeTooSkewed").to_string().contains("clock"));
        assert!(matches!(sorted(400, "InvalidAccessKeyId"), StoreError::Denied { .. }));
    }
}
