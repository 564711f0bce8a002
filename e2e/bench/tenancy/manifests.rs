//! What the benchmark asks the API server for, as people would write it.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ApiResource;
use serde_json::{Value, json};

pub const GROUP: &str = "tripod.cloud";
pub const VERSION: &str = "v1alpha1";
/// Of the class that nobody has to approve.
pub const AUTOMATIC: &str = "bench";
/// The request of a department that one person has to approve.
pub const REVIEWED: &str = "reviewed";
/// Processors of such a request: more than [`AUTOMATIC`] is for.
pub const REVIEWED_CPU: &str = "3";

/// The definition of a kind of ours.
pub fn resource(kind: &str) -> ApiResource {
    let plural = match kind {
        "RequestClass" => "requestclasses".to_owned(),
        other => format!("{}s", other.to_lowercase()),
    };
    ApiResource {
        group: GROUP.into(),
        version: VERSION.into(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.into(),
        plural,
    }
}

/// Two classes: automatic for what is small, one approval for what is larger.
pub fn classes() -> [Value; 2] {
    [(AUTOMATIC, 0, "2", "4Gi"), (REVIEWED, 1, REVIEWED_CPU, "8Gi")].map(|(name, approvals, cpu, memory)| {
        json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "RequestClass", "metadata": {"name": name},
            "spec": {"approvals": approvals, "upTo": {"requests.cpu": cpu, "requests.memory": memory}}})
    })
}

/// Name of a department by its number. All have the same length, so that the objects have the same size.
pub fn department_name(index: usize) -> String {
    format!("d{index:05}")
}

/// A department whose budget has room for its systems and for one that is approved by hand.
pub fn department(index: usize, systems: usize) -> Value {
    let name = department_name(index);
    json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Department", "metadata": {"name": name},
        "spec": {"displayName": format!("部门 {index}"), "zone": "Extranet",
            "cloudChief": {"name": "云长", "user": format!("chief@{name}")},
            "members": [{"kind": "Group", "name": admins(&name), "role": "Admin"}],
            "budget": {"requests.cpu": (systems + 4).to_string(), "requests.memory": format!("{}Gi", 2 * systems + 8)}}})
}

/// Group of a department's administrators.
pub fn admins(department: &str) -> String {
    format!("{department}-admins")
}

/// One system, small enough to need nobody.
pub fn request(department: &str, system: usize, requester: &str) -> Value {
    asks(department, &format!("s{system:03}"), requester, ("1", "2Gi"))
}

/// One system that a person has to approve.
pub fn reviewed_request(department: &str, requester: &str) -> Value {
    asks(department, REVIEWED, requester, (REVIEWED_CPU, "2Gi"))
}

fn asks(department: &str, name: &str, requester: &str, (cpu, memory): (&str, &str)) -> Value {
    // Names must not read alike: the assessment looks for the same system in all departments.
    json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "ResourceRequest",
        "metadata": {"name": name, "namespace": home(department)},
        "spec": {"requester": requester, "term": "365d", "recoveryLevel": 1,
            "system": {"displayName": format!("系统 {department} {name}"), "securityLevel": 1, "buildMode": "New",
                "owner": format!("owner@{department}")},
            "basis": {"letter": "测试〔2026〕1号", "purpose": "benchmark"},
            "resources": {"requests.cpu": cpu, "requests.memory": memory}}})
}

pub fn home(department: &str) -> String {
    format!("dept-{department}")
}

pub fn system_namespace(department: &str, request: &str) -> String {
    format!("{department}-{request}")
}

/// A verdict on a request as it was seen.
pub fn approval(department: &str, uid: &str, hash: &str, requester: &str, approver: &str) -> Value {
    json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Approval",
        "metadata": {"name": format!("{department}-{REVIEWED}"), "namespace": "tripod-system"},
        "spec": {"verdict": "Approved", "approver": approver, "comment": "benchmark",
            "subject": {"kind": "ResourceRequest", "namespace": home(department), "name": REVIEWED, "uid": uid,
                "specHash": hash, "requester": requester}}})
}

/// A pod that a member tries to create.
pub fn pod() -> Result<Pod, serde_json::Error> {
    serde_json::from_value(json!({"metadata": {"name": "probe"},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "probe", "image": "docker.io/library/tripod-lab-pause:1",
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}}}]}}))
}
