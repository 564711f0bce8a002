//! Names of what a drill makes, all derived from its uid: found again after any crash, never taken for another's.

use kube::ResourceExt;
use sha2::{Digest, Sha256};
use tripod_crds::DisasterRecoveryDrill;

/// The isolated namespace.
pub(super) fn namespace(drill: &DisasterRecoveryDrill) -> String {
    format!("drill-{}-{}", drill.name_any(), short(&drill.uid().unwrap_or_default()))
}

/// The scratch bucket of one of the system's buckets.
pub(super) fn scratch_bucket(drill: &DisasterRecoveryDrill, bucket: &str) -> String {
    format!("tripod-drill-{}-{}", short(&drill.uid().unwrap_or_default()), short(bucket))
}

/// The Job that fills a volume.
pub(super) fn restore_job(claim: &str) -> String {
    format!("restore-{}", short(claim))
}

/// The Job of a check.
pub(super) fn check_job(check: &str) -> String {
    format!("check-{check}")
}

fn short(text: &str) -> String {
    hex::encode(Sha256::digest(text))[..10].to_owned()
}
