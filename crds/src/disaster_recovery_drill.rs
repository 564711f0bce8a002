//! DisasterRecoveryDrill (演练): restores a recovery point in isolation, checks it, cleans up, and reports
//! the RPO and RTO that were measured. In simulated mode nothing is written to production.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "DisasterRecoveryDrill",
    namespaced,
    status = "DisasterRecoveryDrillStatus",
    shortname = "drill",
    category = "tripod",
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Centre","type":"string","jsonPath":".spec.centre"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Point","type":"string","jsonPath":".status.recoveryPoint"}"#,
    printcolumn = r#"{"name":"RPO","type":"string","jsonPath":".status.rpo"}"#,
    printcolumn = r#"{"name":"RTO","type":"string","jsonPath":".status.rto.total"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(validation = Rule::new("self.spec == oldSelf.spec").message("spec: a drill is never changed; make a new one"))]
#[kube(validation = Rule::new("size(self.metadata.name) <= 40").message("metadata.name: at most 40 characters"))]
#[serde(rename_all = "camelCase")]
pub struct DisasterRecoveryDrillSpec {
    #[serde(default)]
    pub mode: DrillMode,
    /// The centre where the restore is rehearsed. Operators of other centres ignore the drill.
    #[schemars(length(min = 1, max = 63))]
    pub centre: String,
    /// The BackupPolicy whose newest Verified recovery point is restored.
    #[schemars(length(min = 1, max = 253))]
    pub policy: String,
    /// A certain recovery point instead of the newest Verified one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub recovery_point: Option<String>,
    /// Checks by the department, run against the restored system once its workloads are ready. That the
    /// restored files and objects have the digests of the recovery point is checked always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<Check>,
    /// The drill fails when it is not through after so many seconds.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 30, max = 604_800))]
    pub deadline_seconds: u32,
}

pub(crate) fn default_deadline() -> u32 {
    3600
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrillMode {
    /// Isolated restore; production untouched.
    #[default]
    Simulated,
}

/// A check by the department: passes when its Job completes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Check {
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$"))]
    pub name: String,
    pub job: CheckJob,
}

/// What the Job runs. It sees the restored volumes read-only under `/volumes/<claim>`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct CheckJob {
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DisasterRecoveryDrillStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<DrillPhase>,
    /// The point that is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<String>,
    /// The isolated namespace, while it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Age of the restored data at the moment of the decision, measured: `11m40s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Rto>,
    /// When each phase was entered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckResult>,
    /// The verdict that stands when clean-up began; it decides between Succeeded and Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportRef>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrillPhase {
    Pending,
    Preparing,
    Restoring,
    Starting,
    Checking,
    CleaningUp,
    Succeeded,
    Failed,
}

/// Measured time from decision to a verified service, and its parts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Rto {
    pub total: String,
    pub decide: String,
    pub execute: String,
    pub verify: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct TimelineEntry {
    pub phase: DrillPhase,
    pub at: Time,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    pub name: String,
    pub passed: bool,
    pub message: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
}

/// Where the report lies in the vault, and its digest.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ReportRef {
    pub key: String,
    pub digest: String,
}
