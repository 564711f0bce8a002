//! Department: a budget, members and their rights, one home namespace, and the walls around all of its namespaces.
//! What is used is measured beside what was asked for and what was given; a quantity that could not be read is
//! absent, never zero.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cloud::CloudLine;
use crate::quantities::{self, Quantities};

/// A department of the government (委办局). Its home namespace is `dept-<name>`, its systems live in
/// `<name>-<request>`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "Department",
    status = "DepartmentStatus",
    shortname = "dept",
    category = "tripod",
    printcolumn = r#"{"name":"Display Name","type":"string","jsonPath":".spec.displayName"}"#,
    printcolumn = r#"{"name":"Systems","type":"integer","jsonPath":".status.systems"}"#,
    printcolumn = r#"{"name":"CPU Budget","type":"string","jsonPath":".status.budget.requests\\.cpu.budget"}"#,
    printcolumn = r#"{"name":"CPU Committed","type":"string","jsonPath":".status.budget.requests\\.cpu.committed"}"#,
    printcolumn = r#"{"name":"CPU Used","type":"string","jsonPath":".status.budget.requests\\.cpu.used"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(validation = Rule::new("size(self.metadata.name) <= 40 && !self.metadata.name.contains('.')")
    .message("metadata.name: at most 40 characters and no dot, so that dept-<name> and what is derived from it fit"))]
#[kube(validation = Rule::new("!(self.metadata.name in ['dept', 'kube', 'default', 'tripod'])\
    && !self.metadata.name.startsWith('dept-') && !self.metadata.name.startsWith('kube-') && !self.metadata.name.startsWith('tripod-')")
    .message("metadata.name: dept, kube, default and tripod, and what starts with dept-, kube- or tripod-, is kept for the platform"))]
#[serde(rename_all = "camelCase")]
pub struct DepartmentSpec {
    /// The name people use, for instance 卫生健康局.
    #[schemars(length(min = 1, max = 128))]
    pub display_name: String,
    /// Unified social credit code (统一社会信用代码, GB 32100): 18 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9A-HJ-NP-RTUW-Y]{18}$"))]
    pub organisation_code: Option<String>,
    /// Who answers for the department's use of the cloud (云长), and may approve its requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_chief: Option<CloudChief>,
    /// Who may do what in the department's namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub members: Vec<Member>,
    /// The network the department lives in.
    #[serde(default)]
    pub zone: Zone,
    /// Upper bounds over all of the department's namespaces together, by resource name as a ResourceQuota writes
    /// them: `requests.cpu`, `limits.memory`, `requests.storage`, `count/deployments.apps`,
    /// `fast.storageclass.storage.k8s.io/requests.storage`, `requests.nvidia.com/gpu`, …
    #[schemars(schema_with = "quantities::some")]
    #[serde(deserialize_with = "quantities::read")]
    pub budget: Quantities,
    /// What of the budget the home namespace itself may use. Nothing of it by default: requests, approvals and
    /// quotas live there, systems live in their own namespaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "quantities::read")]
    #[schemars(schema_with = "quantities::schema")]
    pub home: Quantities,
    /// Namespaces that were there before Tripod, taken over as they are: nothing in them is restarted or removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace"]))]
    pub adopt: Vec<Adoption>,
    /// Pod security standard that is enforced in all namespaces.
    #[serde(default)]
    pub pod_security: PodSecurity,
    /// What workloads may name. An absent list allows everything, an empty one nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Allowed>,
    /// Value of the node label `tripod.cloud/node-pool` of the nodes that the department's pods run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub node_pool: Option<String>,
    /// Its information systems that are not on this cloud: all of them together, and those on it, are what the goal of
    /// every system on the cloud is measured against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub off_cloud: Vec<OffCloud>,
    /// Stops the department without losing anything.
    #[serde(default, skip_serializing_if = "Suspension::is_none")]
    pub suspension: Suspension,
}

/// Who answers for the department's use of the cloud.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct CloudChief {
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The user name as the API server knows it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s\p{C}]+$"))]
    pub user: String,
}

/// An information system that is not on this cloud.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OffCloud {
    #[schemars(length(min = 1, max = 128))]
    pub display_name: String,
    /// Level of classified protection (等保), 1 to 5.
    #[schemars(range(min = 1, max = 5))]
    pub security_level: i64,
    pub reason: OffCloudReason,
}

/// Why a system is not on the cloud. The first two are exempt from the goal.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffCloudReason {
    /// It handles state secrets (涉密).
    Classified,
    /// 等保 level 4 and up.
    HighLevel,
    /// It is to be moved.
    NotYet,
}

impl OffCloudReason {
    /// Whether the goal of every system on the cloud leaves it out.
    #[must_use]
    pub fn is_exempt(self) -> bool {
        !matches!(self, Self::NotYet)
    }
}

/// A user, group or service account with a role.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!self.name.startsWith('system:')",
     "message": "members[].name: names that start with system: belong to Kubernetes"},
    {"rule": "(self.kind == 'ServiceAccount') == has(self.namespace)",
     "message": "members[].namespace: needed for a ServiceAccount, and for nothing else"}
]))]
pub struct Member {
    pub kind: MemberKind,
    /// As the API server knows it. No space, no invisible character.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s\p{C}]+$"))]
    pub name: String,
    /// Of a ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub namespace: Option<String>,
    pub role: MemberRole,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberKind {
    User,
    Group,
    ServiceAccount,
}

/// What a member may do in the department's namespaces.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberRole {
    /// Everything a department may do, its requests, policies and drills included.
    Admin,
    /// Workloads and their configuration.
    Operator,
    /// Look, but not at Secrets.
    Viewer,
}

/// The network zone of government extranets.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// 互联网区
    Internet,
    /// 政务外网区
    #[default]
    Extranet,
    /// 专线区
    Dedicated,
}

/// A pod security standard. `Privileged` is not for departments.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodSecurity {
    #[default]
    Baseline,
    Restricted,
}

/// Names that workloads may use. An absent list allows everything, an empty one nothing.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Allowed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")))]
    pub storage_classes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")))]
    pub ingress_classes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")))]
    pub priority_classes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")))]
    pub runtime_classes: Option<Vec<String>>,
    /// Registry, or registry and path, without a trailing slash: `registry.example`, `registry.example:5000/health`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 32),
        inner(regex(pattern = r"^[a-z0-9][a-z0-9.:-]{0,127}(/[a-z0-9][a-z0-9._-]{0,62}){0,4}$"))
    )]
    pub image_registries: Option<Vec<String>>,
}

/// How a department is stopped.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suspension {
    #[default]
    None,
    /// Nothing new: no workload, no claim, no request is accepted. What runs goes on.
    Cordoned,
    /// Cordoned, and every workload is scaled to zero; taken back, each gets the replicas that it had.
    ScaledToZero,
}

impl Suspension {
    /// Whether the department works as usual.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// A namespace that was there before.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Adoption {
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub namespace: String,
    /// What of the budget it may use.
    #[schemars(schema_with = "quantities::schema")]
    #[serde(deserialize_with = "quantities::read")]
    pub resources: Quantities,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DepartmentStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The department's home namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How many systems it has: namespaces other than its home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systems: Option<i64>,
    /// By resource name: budget, what was promised, what was asked for, and what is really used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budget: BTreeMap<String, BudgetLine>,
    /// The same on other clouds, by Cloud. A cloud that can't be read says why, and has no numbers.
    // Atomic: server-side apply leaves `null` where the last entry of another map goes, which the schema refuses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub clouds: BTreeMap<String, CloudShare>,
    /// Here and on all other clouds together; absent where one of them is unknown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub total: BTreeMap<String, CloudLine>,
    /// By resource, when what is committed will be as much as the budget; from the reports of the last weeks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub forecast: BTreeMap<String, BudgetForecast>,
    /// What is reserved for each namespace. Written by compare-and-swap on this object's resourceVersion and by
    /// nothing else, so that budget and reservations can't be read apart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ledger: BTreeMap<String, LedgerEntry>,
}

/// What is reserved for one namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct LedgerEntry {
    pub reserved: Quantities,
    /// Changes with each promise to grow: the resourceVersion that this department had before it. A quota that
    /// carries it has been written since.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub promise: String,
}

/// What a department has on another cloud.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct CloudShare {
    /// Why nothing is known of it at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, CloudLine>,
}

/// When a budget is exhausted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BudgetForecast {
    pub outlook: Outlook,
    /// Days from the last whole day on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely_days: Option<i64>,
    /// In eight of ten cases not before, and not after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earliest_days: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_days: Option<i64>,
}

/// How a budget will do.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Too few days are known to say anything.
    TooLittleData,
    /// No growth is seen that would exhaust it within two years.
    Sufficient,
    Exhausting,
    Exhausted,
}

/// One resource, side by side.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct BudgetLine {
    pub budget: Quantity,
    /// Sum over all namespaces of what is reserved or could be used. Absent while one of them is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Quantity>,
    /// Sum of what pods and claims ask for, as the quotas count it. Absent when not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<Quantity>,
    /// What is really used. Absent when unknown: no reading is not a zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Quantity>,
    /// By how much less is budgeted than committed. Nothing is evicted, and nothing is granted until it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Quantity>,
}
