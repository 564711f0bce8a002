//! Hooks: what is run in a system's namespace around a recovery point, so that what is taken is consistent.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that is made quiet before data is taken, and woken after.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.before) || has(self.after)").message("set before, after or both · 须填写 before 或 after"))]
pub struct Hook {
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Run before anything is taken. Hooks follow one another in the order of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Step>,
    /// Run after everything was taken, in the reverse order; also when something failed, once its `before` was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Step>,
}

/// What is run: one of the two.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("has(self.exec) != has(self.job)").message("set exec or job, one of them · exec 与 job 须且只能填写一个"))]
pub struct Step {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobStep>,
}

/// A command in a container that runs already, in every running pod that is selected.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// Labels of the pods.
    #[schemars(schema_with = "crate::selectors::some")]
    pub selector: LabelSelector,
    /// Its name in the pod. Without one: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// The command with its arguments. No shell stands between.
    #[schemars(length(min = 1, max = 64), inner(length(max = 8192)))]
    pub command: Vec<String>,
    /// After this long it has failed; at most an hour. As Kubernetes writes durations.
    #[serde(default = "patience")]
    #[schemars(regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"), length(min = 2, max = 20))]
    pub timeout: String,
    #[serde(default)]
    pub on_error: OnError,
}

/// A Job of its own, with the rights that the namespace's default account has. It is removed when it has ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JobStep {
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 8192)))]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 8192)))]
    pub args: Vec<String>,
    /// After this long it has failed; at most an hour. As Kubernetes writes durations.
    #[serde(default = "patience")]
    #[schemars(regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"), length(min = 2, max = 20))]
    pub timeout: String,
    #[serde(default)]
    pub on_error: OnError,
}

fn patience() -> String {
    "5m".to_owned()
}

/// What an error of a step means for the recovery point.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// There is none: what can't be made consistent is not taken.
    #[default]
    Fail,
    /// It is made all the same, and says what failed.
    Continue,
}

/// Which of its two steps a hook is at.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPhase {
    Before,
    After,
}

/// How a step stands.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookState {
    /// Begun, and written down before it was: whoever finds it so does not know how far it came.
    Running,
    Succeeded,
    Failed,
}

/// A step that was begun.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HookProgress {
    pub name: String,
    pub phase: HookPhase,
    pub state: HookState,
    pub started_at: Time,
    /// Its last words, or why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
