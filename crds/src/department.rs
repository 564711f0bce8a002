//! Department: a budget, members and their rights, and one home namespace. What is used is measured beside
//! what was asked for and what was given; a quantity that could not be read is absent, never zero.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A department of the government (委办局). Its home namespace is `dept-<name>`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "Department",
    status = "DepartmentStatus",
    shortname = "dept",
    category = "tripod",
    printcolumn = r#"{"name":"Display Name","type":"string","jsonPath":".spec.displayName"}"#,
    printcolumn = r#"{"name":"Namespace","type":"string","jsonPath":".status.namespace"}"#,
    printcolumn = r#"{"name":"CPU Budget","type":"string","jsonPath":".status.budget.requests\\.cpu.budget"}"#,
    printcolumn = r#"{"name":"CPU Used","type":"string","jsonPath":".status.budget.requests\\.cpu.used"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(validation = Rule::new("size(self.metadata.name) <= 40")
    .message("metadata.name: at most 40 characters, so that dept-<name> and what is derived from it fit"))]
#[serde(rename_all = "camelCase")]
pub struct DepartmentSpec {
    /// The name people use, for instance 卫生健康局.
    #[schemars(length(min = 1, max = 128))]
    pub display_name: String,
    /// Who answers for the department's use of the cloud (云长).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_chief: Option<CloudChief>,
    /// Who may do what in the department's namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub members: Vec<Member>,
    /// The network the department lives in.
    #[serde(default)]
    pub zone: Zone,
    /// Upper bounds, by resource name as a ResourceQuota writes them.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    pub budget: BTreeMap<String, Quantity>,
}

/// Who answers for the department's use of the cloud.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct CloudChief {
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The user name as the API server knows it.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,
}

/// A user, group or service account with a role.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!self.name.startsWith('system:')",
     "message": "members[].name: names that start with system: belong to Kubernetes"}
]))]
pub struct Member {
    pub kind: MemberKind,
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    pub role: MemberRole,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberKind {
    User,
    Group,
}

/// What a member may do in the department's namespaces.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberRole {
    /// Everything a department may do, its policies and drills included.
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
    /// By resource name: budget, what was asked for, and what is really used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budget: BTreeMap<String, BudgetLine>,
}

/// One resource, side by side.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct BudgetLine {
    pub budget: Quantity,
    /// Sum of what the namespace's pods and claims ask for, as its quota counts it. Absent when not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<Quantity>,
    /// What is really used. Absent when unknown: no reading is not a zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Quantity>,
}
