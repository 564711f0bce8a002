//! SupervisionPolicy: from when on a grant counts as used too little or too much, who says so, and what follows.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Thresholds are dated rules with a source, never constants. Of the policies that name a department the first by name
/// applies to it; where none does, the first that names none.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "SupervisionPolicy",
    plural = "supervisionpolicies",
    status = "SupervisionPolicyStatus",
    shortname = "supol",
    category = "tripod",
    printcolumn = r#"{"name":"Effective","type":"string","jsonPath":".spec.source.effective"}"#,
    printcolumn = r#"{"name":"Window","type":"integer","jsonPath":".spec.windowDays"}"#,
    printcolumn = r#"{"name":"CPU Low","type":"integer","jsonPath":".spec.thresholds.cpu.lowAverage"}"#,
    printcolumn = r#"{"name":"Memory Low","type":"integer","jsonPath":".spec.thresholds.memory.lowAverage"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SupervisionPolicySpec {
    /// Where the thresholds come from, and since when they hold.
    pub source: Source,
    /// The departments that it is for; all that no other policy names where it is absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub departments: Vec<String>,
    /// By resource: `cpu`, `memory`, `storage`, `gpu`.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self.all(r, r in ['cpu', 'memory', 'storage', 'gpu'])",
         "message": "thresholds: there are cpu, memory, storage and gpu"}], "minProperties" = 1, "maxProperties" = 4))]
    pub thresholds: BTreeMap<String, Threshold>,
    /// How many whole days a verdict looks back over.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 92))]
    pub window_days: i64,
    /// The least share of readings that a verdict needs, in percent.
    #[serde(default = "ninety")]
    #[schemars(range(min = 50, max = 100))]
    pub minimum_coverage: i64,
    /// Room above the peak that a recommendation leaves, in percent.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0, max = 500))]
    pub headroom: i64,
    /// Days that a department has from the notice on.
    #[serde(default = "fourteen")]
    #[schemars(range(min = 0, max = 365))]
    pub grace_days: i64,
    /// Days of trial after which a new system is evaluated.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 365))]
    pub trial_days: i64,
    /// Days and months begin at midnight there.
    #[serde(default = "china")]
    #[schemars(regex(pattern = r"^[+-](0[0-9]|1[0-4]):[0-5][0-9]$"))]
    pub utc_offset: String,
    /// Systems that are not told to shrink, why, and until when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub exemptions: Vec<Exemption>,
}

fn thirty() -> i64 {
    30
}

fn ninety() -> i64 {
    90
}

fn fourteen() -> i64 {
    14
}

fn china() -> String {
    "+08:00".to_owned()
}

/// What a rule rests on.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The document.
    #[schemars(length(min = 1, max = 256))]
    pub title: String,
    /// Since when it holds: `2026-01-01`.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub effective: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub reference: Option<String>,
}

/// In percent of what is granted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.lowAverage < self.highAverage",
     "message": "thresholds: lowAverage has to be below highAverage"},
    {"rule": "self.lowPeak >= self.lowAverage",
     "message": "thresholds: lowPeak can't be below lowAverage: a peak never is"}
]))]
pub struct Threshold {
    /// Low needs an average below this …
    #[schemars(range(min = 0, max = 100))]
    pub low_average: i64,
    /// … and a peak below this.
    #[schemars(range(min = 0, max = 100))]
    pub low_peak: i64,
    /// High is an average above this.
    #[schemars(range(min = 1, max = 100))]
    pub high_average: i64,
}

/// One system that is not told to shrink.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    #[schemars(length(min = 1, max = 40))]
    pub department: String,
    /// Name of its ResourceRequest.
    #[schemars(length(min = 1, max = 40))]
    pub request: String,
    #[schemars(length(min = 1, max = 512))]
    pub reason: String,
    /// The last day: `2026-12-31`.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub until: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SupervisionPolicyStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When the last verdicts were reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_at: Option<Time>,
}
