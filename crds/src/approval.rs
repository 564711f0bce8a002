//! Approval: a verdict on one exact spec, by one person who is not the requester.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lives in the operator's namespace, and is never changed. Admission proves that the approver is who asks.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "Approval",
    namespaced,
    shortname = "appr",
    category = "tripod",
    printcolumn = r#"{"name":"Namespace","type":"string","jsonPath":".spec.subject.namespace"}"#,
    printcolumn = r#"{"name":"Subject","type":"string","jsonPath":".spec.subject.name"}"#,
    printcolumn = r#"{"name":"Verdict","type":"string","jsonPath":".spec.verdict"}"#,
    printcolumn = r#"{"name":"Approver","type":"string","jsonPath":".spec.approver"}"#,
    printcolumn = r#"{"name":"Comment","type":"string","jsonPath":".spec.comment","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(validation = Rule::new("self.spec == oldSelf.spec")
    .message("spec: a verdict is never changed; delete it, or give another"))]
#[serde(rename_all = "camelCase")]
pub struct ApprovalSpec {
    pub subject: Subject,
    pub verdict: Verdict,
    /// The user who gives the verdict, as the API server knows it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s\p{C}]+$"))]
    pub approver: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub comment: Option<String>,
    /// Counts only before this moment. What was granted by then stays granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// What is judged: one object with one exact spec.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    pub kind: SubjectKind,
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub spec_hash: String,
    /// Who asked. Never the approver.
    #[schemars(length(min = 1, max = 253))]
    pub requester: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    ResourceRequest,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Approved,
    Rejected,
}
