//! BackupPolicy: what of a system is protected, how often, and how old its copies may be at each centre.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(validation = Rule::new("size(self.metadata.name) <= 36")
    .message("metadata.name: at most 36 characters, so that the names of its recovery points fit"))]
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
    /// How old the newest proven copy may be, and how fast a restore must be, per centre.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["centre"]))]
    pub objectives: Vec<Objective>,
    /// Which recovery points are kept, at each centre by its own count. Without it everything is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// What of the namespace is taken.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Include {
    /// The namespace's objects, by discovery; derived ones (pods, replica sets, endpoints) are left out.
    #[serde(default = "yes")]
    pub objects: bool,
    /// The files of every bound volume claim.
    #[serde(default = "yes")]
    pub volumes: bool,
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
        Self { objects: true, volumes: true, buckets: Vec::new() }
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
