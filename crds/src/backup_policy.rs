//! BackupPolicy: what of a system is protected, how often, and how old its copies may be at each centre.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hook::Hook;
use crate::restore_tests::{CentreProof, RestoreTests};
use crate::retention::Retention;

/// Protects the system that lives in this namespace. Objects and volumes are included by default.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "BackupPolicy",
    plural = "backuppolicies",
    namespaced,
    status = "BackupPolicyStatus",
    shortname = "bp",
    category = "tripod",
    printcolumn = r#"{"name":"Schedule","type":"string","jsonPath":".spec.schedule"}"#,
    printcolumn = r#"{"name":"Last Point","type":"string","jsonPath":".status.lastRecoveryPoint"}"#,
    printcolumn = r#"{"name":"Next","type":"date","jsonPath":".status.nextRun","priority":1}"#,
    printcolumn = r#"{"name":"Proven","type":"string","jsonPath":".status.conditions[?(@.type=='Proven')].reason"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(validation = Rule::new("size(self.metadata.name) <= 36")
    .message("metadata.name: at most 36 characters, so that the names of its recovery points fit"))]
#[kube(validation = Rule::new("!has(self.spec.include) || !has(self.spec.include.kinds) || !has(self.spec.exclude) || !has(self.spec.exclude.kinds) || self.spec.exclude.kinds.all(k, !(k in self.spec.include.kinds))")
    .message("spec.exclude.kinds: a kind is in spec.include.kinds as well; take it out of one · 同一类型不得既纳入又排除"))]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicySpec {
    /// Cron expression with five fields, in UTC. Without one, points are made on demand only:
    /// annotate the policy with `tripod.cloud/run: <token>`, a new token for each run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 100))]
    pub schedule: Option<String>,
    /// No new runs while true.
    #[serde(default)]
    pub suspend: bool,
    /// What is protected.
    #[serde(default)]
    pub include: Include,
    /// What of it is left out again.
    #[serde(default, skip_serializing_if = "Exclude::is_empty")]
    pub exclude: Exclude,
    /// What is run in the namespace before and after, in this order, so that what is taken is consistent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub hooks: Vec<Hook>,
    /// How old the newest proven copy may be, and how fast a restore must be, per centre.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["centre"]))]
    pub objectives: Vec<Objective>,
    /// Which recovery points are kept, at each centre by its own count. Without it everything is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Restores by schedule, in isolation, that prove that what is kept can be restored. Tests go on while the policy is
    /// suspended: what was taken is still relied on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_tests: Option<RestoreTests>,
}

/// What of the namespace is taken.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("self.objects || ((!has(self.kinds) || size(self.kinds) == 0) && !has(self.labelSelector) && (!has(self.secrets) || self.secrets == 'All'))")
    .message("kinds, labelSelector and secrets choose among objects, and objects is false · objects 为 false 时不得再选择对象"))]
#[x_kube(validation = Rule::new("self.volumes || !has(self.volumeSelector)")
    .message("volumeSelector chooses among volumes, and volumes is false · volumes 为 false 时不得再选择存储卷"))]
#[x_kube(validation = Rule::new("self.volumes || !has(self.volumeSnapshots) || self.volumeSnapshots == 'WhereSupported'")
    .message("volumeSnapshots says how volumes are read, and volumes is false · volumes 为 false 时不得再设置 volumeSnapshots"))]
#[serde(rename_all = "camelCase")]
pub struct Include {
    /// The namespace's objects, by discovery; derived ones (pods, replica sets, endpoints) are left out.
    #[serde(default = "yes")]
    pub objects: bool,
    /// Only objects of these kinds, as `configmaps` or `deployments.apps`. Without any: of all kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253), regex(pattern = r"^[a-z0-9-]+(\.[a-z0-9.-]+)?$")))]
    pub kinds: Vec<String>,
    /// Only objects with such labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::selectors::schema")]
    pub label_selector: Option<LabelSelector>,
    /// Which Secrets are taken.
    #[serde(default, skip_serializing_if = "Secrets::is_all")]
    pub secrets: Secrets,
    /// The files of every bound volume claim.
    #[serde(default = "yes")]
    pub volumes: bool,
    /// Only the files of claims with such labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::selectors::schema")]
    pub volume_selector: Option<LabelSelector>,
    /// Whether the files are read from snapshots that the storage driver takes, all at one moment, instead of from the volume
    /// while it is written to. Hooks then need to keep the system quiet no longer than that moment.
    #[serde(default, skip_serializing_if = "VolumeSnapshots::is_default")]
    pub volume_snapshots: VolumeSnapshots,
    /// The department's own buckets in the store of this centre.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")))]
    pub buckets: Vec<String>,
}

fn yes() -> bool {
    true
}

impl Default for Include {
    fn default() -> Self {
        Self {
            objects: true,
            kinds: Vec::new(),
            label_selector: None,
            secrets: Secrets::All,
            volumes: true,
            volume_selector: None,
            volume_snapshots: VolumeSnapshots::default(),
            buckets: Vec::new(),
        }
    }
}

/// Which volumes are read from snapshots. While a point is taken, a claim is made from each: it counts against the quota.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeSnapshots {
    /// Those whose driver has a VolumeSnapshotClass: the one with the label `tripod.cloud/volume-snapshots: "true"`, else the
    /// default one of the driver, else its only one.
    #[default]
    WhereSupported,
    /// All: a policy with a claim whose driver has none is not Ready.
    Always,
    /// None.
    Never,
}

impl VolumeSnapshots {
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which Secrets are taken.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// All but tokens of service accounts.
    #[default]
    All,
    /// None: what a restore needs of them has to be there already, or comes from elsewhere.
    None,
    /// Those with the label `tripod.cloud/backup: "true"`.
    Labelled,
}

impl Secrets {
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// What is left out of what would be taken.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Exclude {
    /// Objects of these kinds, as `configmaps` or `deployments.apps`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253), regex(pattern = r"^[a-z0-9-]+(\.[a-z0-9.-]+)?$")))]
    pub kinds: Vec<String>,
    /// Objects with such labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::selectors::some")]
    pub label_selector: Option<LabelSelector>,
    /// The files of these volume claims; the claims themselves are objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))
    )]
    pub volumes: Vec<String>,
}

impl Exclude {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is promised for one centre. Durations as Kubernetes writes them: `30m`, `2h`, `1h30m`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    /// Name of the Centre.
    #[schemars(length(min = 1, max = 63))]
    pub centre: String,
    /// How old the newest restorable data may be.
    #[schemars(regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"), length(min = 2, max = 20))]
    pub rpo: String,
    /// How long from decision to a verified service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"), length(min = 2, max = 20))]
    pub rto: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicyStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name of the newest RecoveryPoint of this policy that is complete at its own centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_recovery_point: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
    /// The last `tripod.cloud/run` token that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_token: Option<String>,
    /// How each centre stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub centres: Vec<CentreStanding>,
    /// When what lies at a centre was last restored and checked. A centre's own operator says so, in its own cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["centre"]))]
    pub proofs: Vec<CentreProof>,
}

/// How one centre stands against its objective.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CentreStanding {
    pub centre: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_verified: Option<String>,
    /// When the data of that point was taken. Its age is the RPO that a loss now would have; the age itself
    /// is a metric, so that an unchanged status is not rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_verified_at: Option<Time>,
    pub objective: ObjectiveState,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectiveState {
    Met,
    Missed,
    /// Nothing was proven there yet, or the centre can't be read.
    Unknown,
}
