//! Names of what a restore makes beside what it restores, derived from its own: found again after any crash.

use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tripod_crds::Restore;

/// The namespace's account that writes what is restored. It needs no object: nothing ever runs as it.
pub(super) const RESTORER: &str = "tripod-restorer-live";

/// The Job that fills a volume.
pub(super) fn mover(restore: &Restore, claim: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("{}/{claim}", restore.uid().unwrap_or_default())));
    format!("restore-{}-{}", restore.name_any(), &digest[..8])
}

/// The RoleBinding that gives the restorer its rights while this restore is under way.
pub(super) fn binding(restore: &Restore) -> String {
    format!("tripod-restore-{}", restore.name_any())
}

/// What is made for a restore goes with it.
pub(super) fn owner(restore: &Restore) -> Value {
    json!([{"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore", "name": restore.name_any(), "uid": restore.uid()}])
}
