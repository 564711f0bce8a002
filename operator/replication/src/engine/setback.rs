//! Why an attempt at one object did not succeed: what changed under it, and what failed on which side.

use super::{Side, parts};
use crate::StoreError;

/// Why an attempt did not succeed.
pub(super) enum Setback {
    /// The source has another one now.
    Changed,
    /// The destination has another one than was listed.
    Replaced,
    Failed(StoreError),
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// A condition that does not hold at the source: it has changed.
pub(super) fn at_source(error: StoreError) -> Setback {
    match error {
        StoreError::Mismatch { .. } | StoreError::NotFound { .. } => Setback::Changed,
        error => Setback::Failed(error),
    }
}

pub(super) fn at_destination(error: StoreError) -> Setback {
    match error {
        StoreError::Mismatch { .. } | StoreError::NotFound { .. } => Setback::Replaced,
        // Damaged on its way; or the source's ETag is no MD5, which is not relied upon again.
        StoreError::Other { what: endpoint, detail } if detail.starts_with("BadDigest") => {
            Setback::Failed(StoreError::Unreachable { endpoint, detail })
        }
        error => Setback::Failed(error),
    }
}

pub(super) fn source_or_destination(error: parts::Failed) -> Setback {
    match error {
        parts::Failed::AtSource(error) => at_source(error),
        parts::Failed::AtDestination(error) => at_destination(error),
    }
}

/// Worth another attempt, and to be named when none helps.
pub(super) fn damaged(side: &Side, key: &str, detail: &str) -> StoreError {
    StoreError::Unreachable {
        endpoint: side.wire.endpoint().to_owned(),
        detail: format!("{}/{}: {detail}", side.bucket, side.key(key)),
    }
}

pub(super) fn busy(side: &Side, key: &str) -> StoreError {
    StoreError::Conflict {
        bucket: side.bucket.clone(),
        key: side.key(key),
        detail: "it is written faster than it can be copied; the next run tries again".to_owned(),
    }
}
