//! Inspection: a question about what a recovery point holds, or about what is otherwise in a later one, and its answer. It is
//! never changed, and is removed an hour after it was answered.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "Inspection",
    namespaced,
    status = "InspectionStatus",
    shortname = "insp",
    category = "tripod",
    printcolumn = r#"{"name":"Point","type":"string","jsonPath":".spec.recoveryPoint"}"#,
    printcolumn = r#"{"name":"Since","type":"string","jsonPath":".spec.since"}"#,
    printcolumn = r#"{"name":"Path","type":"string","jsonPath":".spec.path"}"#,
    printcolumn = r#"{"name":"Found","type":"integer","jsonPath":".status.found"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(validation = Rule::new("self.spec == oldSelf.spec").message("spec: an inspection is never changed; make a new one"))]
#[kube(validation = Rule::new("!has(self.spec.since) || self.spec.since != self.spec.recoveryPoint")
    .message("spec.since: name another point than recoveryPoint"))]
#[serde(rename_all = "camelCase")]
pub struct InspectionSpec {
    /// Name of the RecoveryPoint that is looked into.
    #[schemars(length(min = 1, max = 253))]
    pub recovery_point: String,
    /// Name of an earlier RecoveryPoint of the same system: what became otherwise since is listed, instead of what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub since: Option<String>,
    /// The centre whose vault is read. Default: the centre of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub centre: Option<String>,
    /// The system whose points they are, as the name of its namespace. Default: the one in this namespace. Another one has to be
    /// the same department's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub system: Option<String>,
    /// Where in the point: `objects/deployments.apps`, `volumes/data/etc`, `buckets/scans/2026/`. Default: its top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub path: Option<String>,
    /// Go on behind this path: `status.next` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub after: Option<String>,
    /// Entries in the answer at most.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: u32,
}

fn default_limit() -> u32 {
    500
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct InspectionStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Whose vault was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centre: Option<String>,
    /// When the answer was complete. An hour later it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Time>,
    /// How many there are in all, not only in this answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<u64>,
    /// Of a comparison: how many changes of each kind there are in all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: BTreeMap<Change, u64>,
    /// What was found, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub entries: Vec<Entry>,
    /// There is more behind this path. Absent: this was the last of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Something in a point, or a change of it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// From the top of the point. What is not text is written as `\xff`.
    pub path: String,
    #[serde(rename = "type")]
    pub kind: EntryType,
    /// Of contents, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// How many files or objects are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Time>,
    /// As of `ls -l`, in octal: `0644`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `uid:gid`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where a link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Of a comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// What became otherwise: `spec.replicas: 3 → 2`. Values of Secrets are not shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub differences: Vec<String>,
}

impl Entry {
    /// Of this type at this path; nothing else is known of it.
    #[must_use]
    pub fn new(path: impl Into<String>, kind: EntryType) -> Self {
        Self {
            path: path.into(),
            kind,
            size: None,
            files: None,
            modified: None,
            mode: None,
            owner: None,
            target: None,
            change: None,
            differences: Vec::new(),
        }
    }
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum EntryType {
    /// It can be looked into.
    Directory,
    /// A file, or a Kubernetes object.
    File,
    Link,
    /// In a bucket.
    Object,
}

/// What became of it since the earlier point.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Added,
    Removed,
    Changed,
}
