//! BucketReplication: a department's own bucket at one centre, kept in step with buckets at others.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantities;

/// Makes buckets at other centres like one of the system's own. The same object may be applied in every cluster: each
/// operator looks after the targets that it serves, and pulls. The source says with the bucket tag
/// `tripod.cloud/system: <namespace>` whose it is.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "BucketReplication",
    plural = "bucketreplications",
    namespaced,
    status = "BucketReplicationStatus",
    shortname = "br",
    category = "tripod",
    printcolumn = r#"{"name":"Source","type":"string","jsonPath":".spec.source.bucket"}"#,
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Lag","type":"string","jsonPath":".status.targets[*].lagSeconds"}"#,
    printcolumn = r#"{"name":"Pending","type":"string","jsonPath":".status.targets[*].objectsPending"}"#,
    printcolumn = r#"{"name":"In Sync","type":"string","jsonPath":".status.conditions[?(@.type=='InSync')].status"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(validation = Rule::new("size(self.metadata.name) <= 36")
    .message("metadata.name: at most 36 characters"))]
#[kube(validation = Rule::new("(self.spec.mode == 'Scheduled') == has(self.spec.schedule)")
    .message("spec.schedule: for the mode Scheduled, and for no other"))]
#[kube(validation = Rule::new("self.spec.targets.all(t, t.centre != self.spec.source.centre || (has(t.bucket) && t.bucket != self.spec.source.bucket))")
    .message("spec.targets: a target is the source; name another centre or another bucket"))]
#[kube(validation = Rule::new("!has(self.spec.minPollInterval) || !has(self.spec.pollInterval) || duration(self.spec.minPollInterval) <= duration(self.spec.pollInterval)")
    .message("spec.minPollInterval: it is longer than spec.pollInterval"))]
#[kube(validation = Rule::new("self.spec.history != 'AllVersions' || !(has(self.spec.filter.minSize) || has(self.spec.filter.maxSize) || size(self.spec.filter.tags) > 0)")
    .message("spec.filter: versions of one key differ in size and tags; with history AllVersions leave minSize, maxSize and tags out"))]
#[serde(rename_all = "camelCase")]
pub struct BucketReplicationSpec {
    /// What is replicated.
    pub source: Source,
    /// Where to. A bucket that is not there is made; one that is not empty is refused, unless `adopt` is set.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["centre"]))]
    pub targets: Vec<Target>,
    /// When. A run at any time: annotate the object with `tripod.cloud/run: <token>`, a new token for each run.
    #[serde(default)]
    pub mode: Mode,
    /// Cron expression with five fields, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 100))]
    pub schedule: Option<String>,
    /// From the beginning of one look at the source to that of the next, in the mode Continuous, where nothing changes there:
    /// `30s`, `5m`. At least 10s.
    #[serde(default = "minute")]
    #[schemars(regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"), length(min = 2, max = 20),
        extend("x-kubernetes-validations" = [{"rule": "duration(self) >= duration('10s')", "message": "at least 10s"}]))]
    pub poll_interval: String,
    /// The same where something has changed: `2s`, `1m`. After each look that finds nothing the wait doubles, up to
    /// `pollInterval`. At least 2s; default: `pollInterval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"), length(min = 2, max = 20),
        extend("x-kubernetes-validations" = [{"rule": "duration(self) >= duration('2s')", "message": "at least 2s"}]))]
    pub min_poll_interval: Option<String>,
    /// How old the oldest object may be that a target does not have yet: `15m`. The condition InSync is about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"), length(min = 2, max = 20))]
    pub rpo: Option<String>,
    /// What becomes of objects that the source has no more.
    #[serde(default)]
    pub deletes: Deletes,
    /// How much of what the source has been. With AllVersions both buckets have to keep versions.
    #[serde(default)]
    pub history: History,
    /// What a storage class of the source is called at the targets. Of what is not named, none is asked for, and the
    /// target's own is taken.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {
        "type": "string", "maxLength": 64, "pattern": "^[A-Za-z0-9_-]+$"}))]
    pub storage_classes: BTreeMap<String, String>,
    /// Which objects. Default: all.
    #[serde(default)]
    pub filter: Filter,
    /// The most bytes a second that a run reads: `20Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "quantities::read_one")]
    #[schemars(schema_with = "quantities::bytes")]
    pub bandwidth: Option<Quantity>,
    /// The most requests a second that a run makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: Option<u32>,
    /// Take targets over that are not empty: what is equal stays, what differs is replaced, what the source does not have
    /// is left alone.
    #[serde(default)]
    pub adopt: bool,
    /// Nothing is replicated while true; a run that is under way is stopped.
    #[serde(default)]
    pub suspend: bool,
}

fn minute() -> String {
    "1m".to_owned()
}

/// A bucket at a centre.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the Centre.
    #[schemars(length(min = 1, max = 63))]
    pub centre: String,
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"), length(max = 63))]
    pub bucket: String,
}

/// A bucket at another centre.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of the Centre.
    #[schemars(length(min = 1, max = 63))]
    pub centre: String,
    /// Default: the name of the source's bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"), length(max = 63))]
    pub bucket: Option<String>,
}

/// When runs are made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Until one run has left nothing.
    Once,
    Scheduled,
    /// Again and again.
    #[default]
    Continuous,
}

/// What becomes of objects that the source has no more.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Deletes {
    #[serde(default)]
    pub policy: DeletePolicy,
    /// Where a run would delete more than this, it deletes nothing and says so: somebody may have emptied the source.
    #[serde(default = "thousand")]
    pub most: u32,
}

impl Default for Deletes {
    fn default() -> Self {
        Self { policy: DeletePolicy::default(), most: thousand() }
    }
}

fn thousand() -> u32 {
    1000
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletePolicy {
    /// They stay.
    #[default]
    Ignore,
    /// They are deleted at the targets too; where a target keeps versions, those stay.
    Mirror,
}

/// How much of what the source has been.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// What is current.
    #[default]
    Latest,
    /// All versions in their order, with delete markers.
    AllVersions,
}

/// Which objects. `*` in a pattern stops at no slash.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Keys that match one of these; where there are none, all keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    pub include: Vec<String>,
    /// And match none of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    pub exclude: Vec<String>,
    /// Bytes, inclusive: `1`, `4Ki`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "quantities::read_one")]
    #[schemars(schema_with = "quantities::bytes")]
    pub min_size: Option<Quantity>,
    /// Bytes, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "quantities::read_one")]
    #[schemars(schema_with = "quantities::bytes")]
    pub max_size: Option<Quantity>,
    /// Objects that have all of these tags. Each object that would be copied costs a request more; one that lacks them is asked
    /// for again when it has changed, and after a day.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 10, "additionalProperties" = {"type": "string", "maxLength": 256}))]
    pub tags: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BucketReplicationStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How the targets stand that the operator of this cluster serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["centre"]))]
    pub targets: Vec<TargetStanding>,
}

/// How one target stands. What is unknown is absent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetStanding {
    pub centre: String,
    /// What this is about, as `centre/bucket`: for another source or another bucket, all begins anew.
    pub source: String,
    pub bucket: String,
    pub phase: TargetPhase,
    /// Age of the oldest object that the target lacked when it was looked at last; while a run is under way, what it is at
    /// most. Absent until a run has ended, and after one that could not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// The last run. Of runs that found nothing to do, one in ten minutes is written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// When the last run ended that left nothing; written down as often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_complete_at: Option<Time>,
    /// Known not to be there, so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects_pending: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_pending: Option<u64>,
    /// Bytes a second, while a run is under way; rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<u64>,
    /// Who makes a large run, while it is made: the pods of a Job in the operator's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
    /// The last `tripod.cloud/run` token that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_token: Option<String>,
    /// What is wrong, or waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How far workers are.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    /// Name of the Job.
    pub job: String,
    /// Parts of the key space; more while stragglers are cut up.
    pub shards: u32,
    pub shards_done: u32,
    /// Those that have a shard at the moment.
    pub workers: u32,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetPhase {
    /// Until the next run is due.
    Idle,
    Running,
    /// The last run could not be made, or left something.
    Failed,
    Suspended,
}

/// What a run did.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    pub started_at: Time,
    pub ended_at: Time,
    /// Objects of the source that were looked at.
    pub listed: u64,
    pub copied: u64,
    pub copied_bytes: u64,
    pub deleted: u64,
    /// Objects that could not be copied or deleted.
    pub failed: u64,
    /// Objects that somebody else had changed at the target, and that were put right.
    pub drifted: u64,
    /// Objects of the target that were never replicated; they are left alone.
    pub foreign: u64,
    /// So many would have been deleted; that is more than `deletes.most`, so none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuse: Option<u64>,
    /// Objects that lack the tags that were asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// What is not at the target as it is at the source, in words: versions, locks, tags, storage classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_kept: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
