//! UtilisationReport: what a system used in a period, beside what it asked for and what it was given.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Written by the operator, in the system's namespace; the one in a department's home is the sum over all of its
/// namespaces. Every figure can be had again from the readings; a reading that is missing is no zero, it lowers the
/// coverage.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "UtilisationReport",
    namespaced,
    status = "UtilisationReportStatus",
    shortname = "ur",
    category = "tripod",
    printcolumn = r#"{"name":"Period","type":"string","jsonPath":".spec.period"}"#,
    printcolumn = r#"{"name":"From","type":"date","format":"date-time","jsonPath":".spec.from","priority":1}"#,
    printcolumn = r#"{"name":"CPU Granted","type":"string","jsonPath":".status.resources.cpu.granted"}"#,
    printcolumn = r#"{"name":"CPU Average","type":"string","jsonPath":".status.resources.cpu.average"}"#,
    printcolumn = r#"{"name":"CPU Peak","type":"string","jsonPath":".status.resources.cpu.peak"}"#,
    printcolumn = r#"{"name":"Memory Granted","type":"string","jsonPath":".status.resources.memory.granted"}"#,
    printcolumn = r#"{"name":"Memory Average","type":"string","jsonPath":".status.resources.memory.average"}"#,
    printcolumn = r#"{"name":"Coverage","type":"string","jsonPath":".status.resources.cpu.coverage"}"#,
    printcolumn = r#"{"name":"Verdict","type":"string","jsonPath":".status.verdict"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct UtilisationReportSpec {
    pub period: Period,
    /// The first moment of the period.
    pub from: Time,
    /// The first moment after it.
    pub to: Time,
    /// Seconds between two readings.
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i64,
}

/// What a report is about.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// One day, in the time zone of the supervision policy.
    Day,
    /// One month so far, or a whole one.
    Month,
    /// The last days that the supervision policy looks at: the verdict is over these.
    Window,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UtilisationReportStatus {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// By resource: `cpu`, `memory`, `storage`, `gpu`, `bucketBytes`, `bucketObjects`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub resources: BTreeMap<String, Figures>,
    /// Over the window: the worst of what its resources say, by name of the supervision policy that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<UseVerdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["resource"]))]
    pub recommendations: Vec<Recommendation>,
    /// Since when the verdict has been Low without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_since: Option<Time>,
}

/// What was measured of one resource.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Mean over the readings. Absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Quantity>,
    /// 95 of 100 readings are not above it, within one in a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<Quantity>,
    /// The highest reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Quantity>,
    /// How many readings there are, and how many there could be.
    pub readings: i64,
    pub of: i64,
    /// Readings of those that could be, in percent with two digits: `99.93`.
    pub coverage: String,
    /// What pods and claims asked for at the end, as the quota counted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<Quantity>,
    /// What was granted at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Quantity>,
    /// Of the department, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Quantity>,
    /// Over this resource alone; absent where no threshold is set for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<UseVerdict>,
    /// Sum of all readings: average and month are computed from it, exactly.
    pub sum: Quantity,
    /// All readings as a mergeable sketch (DDSketch, one percent), base64: longer periods are computed from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<String>,
}

/// How well a grant is used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UseVerdict {
    /// Average and peak are low, and enough was read to say so.
    Low,
    Fit,
    High,
    /// Too little was read. No reading is not a zero.
    Unknown,
}

/// What could be done about it. Nothing is done until somebody changes the request and others approve that.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// As the request names it: `requests.cpu`.
    pub resource: String,
    pub action: Action,
    /// The amount that would do.
    pub to: Quantity,
    /// By how much less or more than granted.
    pub by: Quantity,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for less.
    Shrink,
    /// Nothing of it was used at all.
    Reclaim,
    /// Ask for more.
    Expand,
}
