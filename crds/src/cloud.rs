//! Cloud: another Kubernetes cluster whose namespaces belong to departments too (市多云管理系统).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// It is read and never written: departments, quotas, pods and their metrics. What can't be read is unknown, and makes
/// the sums that it belongs to unknown.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "Cloud",
    status = "CloudStatus",
    shortname = "cl",
    category = "tripod",
    printcolumn = r#"{"name":"Display Name","type":"string","jsonPath":".spec.displayName"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Namespaces","type":"integer","jsonPath":".status.namespaces"}"#,
    printcolumn = r#"{"name":"Read","type":"date","jsonPath":".status.readAt"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CloudSpec {
    /// The name people use, for instance 市政务云二期.
    #[schemars(length(min = 1, max = 128))]
    pub display_name: String,
    /// A kubeconfig in the operator's namespace. Its user needs to `list` namespaces, resourcequotas and pods, the
    /// pods of metrics.k8s.io, and departments where there are any; nothing else.
    pub kubeconfig_secret_ref: KubeconfigRef,
    /// Seconds between two readings.
    #[serde(default = "sixty")]
    #[schemars(range(min = 10, max = 3600))]
    pub interval_seconds: i64,
}

fn sixty() -> i64 {
    60
}

/// A Secret in the operator's namespace. Its name begins with `cloud-`: others are not read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct KubeconfigRef {
    #[schemars(length(max = 253), regex(pattern = r"^cloud-[a-z0-9]([a-z0-9.-]{0,240}[a-z0-9])?$"))]
    pub name: String,
    #[serde(default = "kubeconfig")]
    #[schemars(regex(pattern = r"^[-._a-zA-Z0-9]{1,253}$"))]
    pub key: String,
}

fn kubeconfig() -> String {
    "kubeconfig".to_owned()
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CloudStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When it was read last, successfully.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Time>,
    /// Namespaces that belong to departments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<i64>,
    /// What departments have there, as of `readAt`. While `Ready` is not True this is history.
    // Atomic: server-side apply leaves `null` where the last entry of another map goes, which the schema refuses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub departments: BTreeMap<String, BTreeMap<String, CloudLine>>,
}

/// One resource of a department on one cloud.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct CloudLine {
    /// Of the Department of that name there, where that cloud has departments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Quantity>,
    /// Sum of its quotas' limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Quantity>,
    /// Sum of what its quotas count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<Quantity>,
    /// What its pods really use; absent while one of them has no reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Quantity>,
}
