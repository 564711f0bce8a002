//! ResourceRequest: the project gate (总开关) in three acts: assess before, control during, evaluate after.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantities::{self, Quantities};

use crate::backup_policy::{Include, Objective};
use crate::department::Zone;
use crate::utilisation_report::{Recommendation, UseVerdict};

/// A department asks for the resources of one information system (信息系统). When approved it becomes the namespace
/// `<department>-<name>` with its quota, for a term. A change is an edit, and takes effect when approved.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "ResourceRequest",
    plural = "resourcerequests",
    namespaced,
    status = "ResourceRequestStatus",
    shortname = "rr",
    category = "tripod",
    printcolumn = r#"{"name":"System","type":"string","jsonPath":".spec.system.displayName"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"CPU","type":"string","jsonPath":".spec.resources.requests\\.cpu"}"#,
    printcolumn = r#"{"name":"Memory","type":"string","jsonPath":".spec.resources.requests\\.memory"}"#,
    printcolumn = r#"{"name":"Namespace","type":"string","jsonPath":".status.namespace"}"#,
    printcolumn = r#"{"name":"Ends","type":"string","format":"date-time","jsonPath":".status.term.endsAt","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(validation = Rule::new("size(self.metadata.name) <= 40 && !self.metadata.name.contains('.')")
    .message("metadata.name: at most 40 characters and no dot: it is part of the system's namespace"))]
#[serde(rename_all = "camelCase")]
pub struct ResourceRequestSpec {
    /// The user who asks, as the API server knows it; admission proves it whenever the spec is written.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s\p{C}]+$"))]
    pub requester: String,
    /// What is to be built.
    pub system: System,
    /// Why, and on whose word.
    pub basis: Basis,
    /// The network zone of the system. The department's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// What is asked for, out of the department's budget. What the budget bounds and is not named here is zero.
    #[schemars(schema_with = "quantities::some")]
    #[serde(deserialize_with = "quantities::read")]
    pub resources: Quantities,
    /// How the resources are made up, line by line. For people: `resources` is what counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub components: Vec<Component>,
    /// In whole days, from the day of provisioning: `365d`.
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,3}d$"))]
    pub term: String,
    /// What happens to namespace and data when the term, and after it `graceDays`, are over.
    #[serde(default)]
    pub after_term: AfterTerm,
    /// Days after the end in which nothing is deleted, in any case.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 3650))]
    pub grace_days: i64,
    /// Level of disaster recovery (GB/T 20988-2007), 1 to 6.
    #[schemars(range(min = 1, max = 6))]
    pub recovery_level: i64,
    /// How the system is backed up; becomes a BackupPolicy of the same name in its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
}

fn thirty() -> i64 {
    30
}

/// One information system.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct System {
    #[schemars(length(min = 1, max = 128))]
    pub display_name: String,
    /// Level of classified protection (等保, GB/T 22239-2019), 1 to 4.
    #[schemars(range(min = 1, max = 4))]
    pub security_level: i64,
    /// Number under which that level was filed with the police (备案号). Needed from level 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub filing_number: Option<String>,
    /// Whether it handles state secrets (涉密). Such systems do not go to this cloud.
    #[serde(default)]
    pub classified: bool,
    pub build_mode: BuildMode,
    /// Who answers for the system.
    #[schemars(length(min = 1, max = 253))]
    pub owner: String,
    /// Telephone or mail of the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub contact: Option<String>,
    /// Who builds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub contractor: Option<String>,
}

/// 建设方式
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildMode {
    /// 新建
    New,
    /// 扩建
    Expand,
    /// 迁移上云
    Migrate,
}

/// Why a system is asked for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Basis {
    /// The letter (来函文号), for instance 卫信函〔2026〕12号.
    #[schemars(length(min = 1, max = 128))]
    pub letter: String,
    #[schemars(length(min = 1, max = 1024))]
    pub purpose: String,
    /// Where the technical plan (技术方案) is kept. Needed from 等保 level 3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub technical_plan: Option<String>,
}

/// One line of the form.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    #[schemars(range(min = 1, max = 10000))]
    pub count: i64,
    /// Of one piece.
    #[schemars(schema_with = "quantities::schema")]
    #[serde(deserialize_with = "quantities::read")]
    pub each: Quantities,
    /// Domestic hardware (信创).
    #[serde(default)]
    pub domestic: bool,
}

/// What happens when the time of grace is over.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterTerm {
    /// Everything stays until the platform deletes it by hand.
    #[default]
    Keep,
    /// The namespace is deleted with all that is in it.
    Delete,
}

/// The BackupPolicy that a request brings along.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Protection {
    /// Cron expression with five fields, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 100))]
    pub schedule: Option<String>,
    #[serde(default)]
    pub include: Include,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["centre"]))]
    pub objectives: Vec<Objective>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRequestStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Of the spec as it stands. Approvals are bound to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The system's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The RequestClass that applies; none applies to what is larger than all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The evidence, check by check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<Check>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// The spec that is in force; another than `specHash` while a change waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<Term>,
    /// How long it took from the last approval to a namespace that could be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// What the grant is really used for, as of the last whole day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation: Option<Utilisation>,
    /// The third act: what was promised and what happened, after the days of trial of the grant in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
}

/// Where a request stands.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A check has not passed.
    Assessing,
    AwaitingApproval,
    /// Approved; namespace and quota are being made.
    Provisioning,
    Provisioned,
    /// The term ends within 30 days.
    Expiring,
    /// The term is over. Data is kept for the days of grace.
    Ended,
    Rejected,
}

/// One named check of the assessment.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    pub result: CheckResult,
    /// What was compared with what, in English and Chinese.
    pub message: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    Passed,
    Failed,
    /// Nothing was measured; this stops nobody, and approvers see it.
    Unknown,
}

/// Who has approved the spec as it stands.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals {
    /// How many different people are needed.
    pub required: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<String>,
    /// Approval objects that do not count, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<IgnoredApproval>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct IgnoredApproval {
    pub name: String,
    pub reason: String,
}

/// The spec in force.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Granted {
    pub spec_hash: String,
    pub resources: Quantities,
    pub at: Time,
}

/// The time for which a system is granted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    pub started_at: Time,
    pub ends_at: Time,
    /// The end of the days of grace.
    pub kept_until: Time,
    /// Days before the end at which a warning was given: 30, 7, 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warned: Vec<i64>,
}

/// From the last approval to a usable namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub approved_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Time>,
}

/// What a system's window of recent days says.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Utilisation {
    pub verdict: UseVerdict,
    /// The SupervisionPolicy whose thresholds say so.
    pub policy: String,
    pub from: Time,
    pub to: Time,
    /// By resource.
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub resources: BTreeMap<String, UseLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["resource"]))]
    pub recommendations: Vec<Recommendation>,
    /// Since when it has been Low without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_since: Option<Time>,
    /// The end of the time that the department has to ask for less, or to be exempted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrink_by: Option<Time>,
    /// Why it is not told to shrink, and the last day of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempt: Option<String>,
}

/// One resource, side by side.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct UseLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Quantity>,
    /// In percent with two digits.
    pub coverage: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<UseVerdict>,
}

/// What was promised and what happened.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// When the grant that is evaluated came into force.
    pub granted_at: Time,
    pub evaluated_at: Time,
    pub policy: String,
    pub verdict: UseVerdict,
    /// Seconds from approval to delivery, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_seconds: Option<i64>,
    /// By resource.
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub resources: BTreeMap<String, UseLine>,
}
