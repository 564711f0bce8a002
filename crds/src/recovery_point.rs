//! RecoveryPoint: one consistent, named, restorable moment of a system. Written by the operator, one per run;
//! `status.centres` says where it is and when every byte it needs was proved to be there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup_policy::{Exclude, Include};
use crate::hook::{Hook, HookProgress};

/// Annotation of a RecoveryPoint that no rule removes while it is there; its value says why. Written and taken off by the
/// platform alone.
pub const HOLD: &str = "tripod.cloud/hold";

#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "RecoveryPoint",
    namespaced,
    status = "RecoveryPointStatus",
    shortname = "rp",
    category = "tripod",
    printcolumn = r#"{"name":"Policy","type":"string","jsonPath":".spec.policy"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Here","type":"string","jsonPath":".status.here"}"#,
    printcolumn = r#"{"name":"Centres","type":"string","jsonPath":".status.summary"}"#,
    printcolumn = r#"{"name":"Taken","type":"date","jsonPath":".spec.takenAt"}"#
)]
#[kube(validation = Rule::new("self.spec == oldSelf.spec").message("spec: a recovery point is never changed"))]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPointSpec {
    /// The BackupPolicy that made it.
    #[schemars(length(min = 1, max = 253))]
    pub policy: String,
    /// The centre whose system it is a moment of.
    #[schemars(length(min = 1, max = 63))]
    pub origin: String,
    /// When the run began: no data in the point is older than what was there at this time.
    pub taken_at: Time,
    #[serde(default)]
    pub objects: bool,
    /// Volume claims whose files are in the point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Those of the claims that are read from a snapshot. At the origin only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["claim"]))]
    pub snapshots: Vec<SnapshotOf>,
    /// Buckets whose objects are in the point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<String>,
    /// Which objects were chosen, where not all were: what the policy said when the run began. At the origin only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// What is run before and after, as the policy said when the run began. At the origin only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub hooks: Vec<Hook>,
}

/// A claim that is read from a snapshot.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotOf {
    pub claim: String,
    /// The VolumeSnapshotClass.
    pub snapshot_class: String,
    /// The StorageClass of the claim, and of the one that is made from the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The capacity of the claim.
    pub size: String,
}

/// What a policy says of the objects that it takes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct Selection {
    #[serde(default)]
    pub include: Include,
    #[serde(default, skip_serializing_if = "Exclude::is_empty")]
    pub exclude: Exclude,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPointStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PointPhase>,
    /// State at the centre in whose cluster this object lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<CopyState>,
    /// For people: `production Verified, same-city Verified, remote Pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Digest over everything in the point (`sha256:…`). The same at every centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["centre"]))]
    pub centres: Vec<CentreCopy>,
    /// What was taken, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    /// Kinds whose objects are not in it, since the namespace's account `tripod-backup` may not list them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_listed: Vec<String>,
    /// The steps of hooks that were begun, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookProgress>,
    /// Why it can't succeed, once that is known: hooks still undo what they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
    /// Changes since the points before it that are unusual for the system, one for each part that has some. The point before
    /// stays for a month, whatever the rules say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusual: Vec<String>,
}

/// Why a run can't succeed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    pub reason: String,
    pub message: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointPhase {
    Running,
    /// Everything was written to the vault of its origin.
    Complete,
    Failed,
}

/// A copy of the point at one centre.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CentreCopy {
    pub centre: String,
    pub state: CopyState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_at: Option<Time>,
    /// When every byte it needs was last proved to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
    /// Why it is not further, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why it is not removed there: `daily 2026-11-24, last`. Absent where everything is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<String>,
    /// The last time that damage was mended there, and from where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mended: Option<String>,
    /// Until then the store there keeps every byte it needs, whoever asks to delete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Time>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopyState {
    /// Not there, or not known to be there.
    Unknown,
    Pending,
    Copied,
    Verified,
    /// Was there, and a later verification found damage.
    Damaged,
    /// Was there until the rules of that centre let it go.
    Removed,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Kubernetes objects.
    pub objects: u64,
    /// Files of volumes.
    pub files: u64,
    /// Bytes of those files.
    pub file_bytes: u64,
    /// Objects of buckets.
    pub bucket_objects: u64,
    /// Bytes of those objects.
    pub bucket_bytes: u64,
    /// Bytes of all of these that the vault did not have before. Absent at the first point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bytes: Option<u64>,
}
