//! Restore: brings what a recovery point holds back into the namespace in which the Restore lies, with the rights that its
//! department has there. Never changed: another wish is another Restore.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "Restore",
    namespaced,
    status = "RestoreStatus",
    shortname = "rst",
    category = "tripod",
    printcolumn = r#"{"name":"Point","type":"string","jsonPath":".spec.recoveryPoint"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Progress","type":"string","jsonPath":".status.progress"}"#,
    printcolumn = r#"{"name":"Took","type":"string","jsonPath":".status.took"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(validation = Rule::new("self.spec == oldSelf.spec").message("spec: a restore is never changed; make a new one"))]
#[kube(validation = Rule::new("has(self.spec.recoveryPoint) != has(self.spec.velero)")
    .message("spec: name a recoveryPoint, or a backup of velero"))]
#[kube(validation = Rule::new("!has(self.spec.velero) || !has(self.spec.centre)")
    .message("spec.centre: a backup of velero is read in the store of this cluster's centre"))]
#[kube(validation = Rule::new("size(self.metadata.name) <= 40").message("metadata.name: at most 40 characters"))]
#[serde(rename_all = "camelCase")]
pub struct RestoreSpec {
    /// Name of the RecoveryPoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub recovery_point: Option<String>,
    /// Instead of a recovery point: the objects in a backup that Velero made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub velero: Option<VeleroBackup>,
    /// The centre from whose vault it is read. Default: the centre of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub centre: Option<String>,
    /// The system whose point it is, as the name of its namespace. Default: the one in this namespace. Another one has to be
    /// the same department's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub system: Option<String>,
    /// What of the point is restored. Default: everything.
    #[serde(default)]
    pub include: RestoreInclude,
    /// What happens to what is there already.
    #[serde(default)]
    pub existing: ExistingPolicy,
    /// Write nothing: say in status what would be done, with the differences.
    #[serde(default)]
    pub dry_run: bool,
    /// Storage classes that are named otherwise here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["from"]))]
    pub storage_classes: Vec<Renamed>,
    /// Image registries, with or without a path (`registry.example/health`), whose images are elsewhere here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["from"]))]
    pub image_registries: Vec<Renamed>,
    /// Changes to objects on the way, in this order, after the names above were mapped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub patches: Vec<ObjectPatch>,
    /// The restore is through only when the workloads it brought are ready.
    #[serde(default = "yes")]
    pub wait_for_workloads: bool,
    /// The restore fails when it is not through after so many seconds.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 30, max = 604_800))]
    pub deadline_seconds: u32,
}

fn yes() -> bool {
    true
}

fn default_deadline() -> u32 {
    86_400
}

/// A backup in Velero's format: `<prefix>backups/<backup>/<backup>.tar.gz`. Its Kubernetes objects are restored, not what
/// other programs keep of its volumes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct VeleroBackup {
    /// A bucket in the store of this cluster's centre that says by its tag `tripod.cloud/system` that it is this namespace's.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"))]
    pub bucket: String,
    /// Name of the backup.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"))]
    pub backup: String,
    /// What stands before `backups/` in the bucket, with its slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^[^/].*/$"))]
    pub prefix: Option<String>,
    /// The namespace whose objects are taken. Default: `spec.system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub namespace: Option<String>,
}

impl VeleroBackup {
    /// Where the tarball lies in the bucket.
    #[must_use]
    pub fn key(&self) -> String {
        let (prefix, backup) = (self.prefix.as_deref().unwrap_or_default(), &self.backup);
        format!("{prefix}backups/{backup}/{backup}.tar.gz")
    }
}

impl RestoreSpec {
    /// The recovery point's name; empty where there is none.
    #[must_use]
    pub fn point(&self) -> &str {
        self.recovery_point.as_deref().unwrap_or_default()
    }
}

/// What of a point is restored.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreInclude {
    /// Kubernetes objects.
    #[serde(default = "yes")]
    pub objects: bool,
    /// Only these kinds, as `configmaps` or `deployments.apps`. A volume brings its claim along in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253), regex(pattern = r"^[a-z0-9-]+(\.[a-z0-9.-]+)?$")))]
    pub kinds: Vec<String>,
    /// Not these kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253), regex(pattern = r"^[a-z0-9-]+(\.[a-z0-9.-]+)?$")))]
    pub exclude_kinds: Vec<String>,
    /// Only objects with such labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Only objects of these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub names: Vec<String>,
    /// Files of these volume claims. Absent: of all; empty: of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub volumes: Option<Vec<String>>,
    /// Objects of these buckets. Absent: of all; empty: of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")))]
    pub buckets: Option<Vec<String>>,
}

impl Default for RestoreInclude {
    fn default() -> Self {
        Self {
            objects: true,
            kinds: Vec::new(),
            exclude_kinds: Vec::new(),
            label_selector: None,
            names: Vec::new(),
            volumes: None,
            buckets: None,
        }
    }
}

/// What happens to an object, a volume or a bucket's object that is there already and is not as in the point.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingPolicy {
    /// It stays as it is.
    #[default]
    Skip,
    /// It becomes what it was in the point. A volume is emptied and filled; no pod may use it meanwhile.
    Update,
    /// Nothing is restored at all.
    Fail,
}

/// A name in the point and the one that takes its place.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    #[schemars(length(min = 1, max = 253))]
    pub from: String,
    #[schemars(length(min = 1, max = 253))]
    pub to: String,
}

/// A JSON patch (RFC 6902) for the objects that it matches.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ObjectPatch {
    /// The kind, as `configmaps` or `deployments.apps`.
    #[schemars(length(max = 253), regex(pattern = r"^[a-z0-9-]+(\.[a-z0-9.-]+)?$"))]
    pub kind: String,
    /// The object's name. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Labels that the object has to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    #[schemars(length(min = 1, max = 64))]
    pub operations: Vec<PatchOperation>,
}

/// One operation. An object for which a `test` fails is not changed by this patch.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("self.op in ['move', 'copy'] ? has(self.from) : !has(self.from)")
    .message("from: for `move` and `copy`, and for these only"))]
pub struct PatchOperation {
    pub op: PatchOp,
    /// JSON pointer: `/spec/replicas`.
    #[schemars(length(max = 1024), regex(pattern = r"^/"))]
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^/"))]
    pub from: Option<String>,
    /// For `add`, `replace` and `test`; without it, null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub value: Option<Value>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PatchOp {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestorePhase>,
    /// For people: `1200 of 31000 objects, 1 of 3 volumes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Where the point is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centre: Option<String>,
    /// Whose point it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Digest over everything in the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// From start to end, measured: `3m12s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<String>,
    /// What became of Kubernetes objects, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectCounts>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub volumes: Vec<PartStanding>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub buckets: Vec<PartStanding>,
    /// The first objects that could not be restored, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub problems: Vec<Problem>,
    /// Of a dry run: the first objects that would be written or stay, with the differences. Values of Secrets are not shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub changes: Vec<Change>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestorePhase {
    Pending,
    /// Comparing with what is there, without writing.
    Planning,
    /// Creating what workloads read and mount.
    Configuring,
    /// Filling volumes and buckets.
    Filling,
    /// Creating what runs, and what leads to it.
    Starting,
    /// Waiting for workloads to be ready.
    Waiting,
    Succeeded,
    Failed,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ObjectCounts {
    /// Of the point, that are to be restored.
    pub total: u64,
    pub created: u64,
    pub updated: u64,
    /// Were as in the point.
    pub unchanged: u64,
    /// Were there, and stay as they are.
    pub skipped: u64,
    /// Not restored: the platform's own, given by Kubernetes, or not asked for.
    pub left_out: u64,
    pub failed: u64,
}

/// How a volume or a bucket stands.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct PartStanding {
    pub name: String,
    pub state: PartState,
    /// Files, or objects.
    pub files: u64,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartState {
    Pending,
    Filling,
    /// All of it was read back and is as in the point.
    Restored,
    /// Was there, and stays as it is.
    Skipped,
    Failed,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `deployments.apps/web`
    pub object: String,
    pub message: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `deployments.apps/web`
    pub object: String,
    pub action: ChangeAction,
    /// `spec.replicas: 3 → 2`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeAction {
    Create,
    Update,
    /// It is there with differences, and stays.
    Skip,
    /// It is there with differences, and that was not allowed.
    Conflict,
    /// The API server would refuse it.
    Refused,
}
