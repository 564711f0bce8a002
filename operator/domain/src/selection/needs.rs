//! What objects need of the whole cluster: it is recorded beside them, so that who restores elsewhere can see what has to
//! be there. Nothing of it is ever restored by a department.

use serde_json::Value;

use super::Kind;

/// Below it lies, in a point, what is recorded of the cluster.
pub const FOLDER: &str = "_cluster";

/// A kind without a namespace that objects can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterKind {
    CustomResourceDefinition,
    IngressClass,
    PriorityClass,
    RuntimeClass,
    StorageClass,
}

impl ClusterKind {
    /// Group, version, plural and kind.
    #[must_use]
    pub fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::CustomResourceDefinition => {
                ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
            }
            Self::IngressClass => ("networking.k8s.io", "v1", "ingressclasses", "IngressClass"),
            Self::PriorityClass => ("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass"),
            Self::RuntimeClass => ("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass"),
            Self::StorageClass => ("storage.k8s.io", "v1", "storageclasses", "StorageClass"),
        }
    }
}

/// One object of the cluster that is needed. Ordered as its path is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    pub kind: ClusterKind,
    pub name: String,
}

impl Need {
    /// `storageclasses.storage.k8s.io/fast`
    #[must_use]
    pub fn title(&self) -> String {
        let (group, _, plural, _) = self.kind.names();
        format!("{plural}.{group}/{}", self.name)
    }

    /// Where it lies in a point.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{FOLDER}/{}.json", self.title())
    }
}

/// Groups that API servers bring along. What is of another may be defined by a CustomResourceDefinition.
const BUILT_IN: [&str; 19] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Whether objects of this kind can need anything.
#[must_use]
pub fn can_need(kind: &Kind) -> bool {
    definition(kind).is_some()
        || pod_template(kind).is_some()
        || matches!(kind.name().as_str(), "persistentvolumeclaims" | "ingresses.networking.k8s.io")
}

/// The definition that a kind of this group would have. That there is none is found when it is read: another API server
/// may serve it. Tripod's own is there wherever Tripod is.
#[must_use]
pub fn definition(kind: &Kind) -> Option<Need> {
    let custom = kind.group.contains('.')
        && !BUILT_IN.contains(&kind.group.as_str())
        && kind.group != tripod_crds::GROUP;
    custom.then(|| Need { kind: ClusterKind::CustomResourceDefinition, name: kind.name() })
}

/// What one object needs of the cluster.
#[must_use]
pub fn of(kind: &Kind, object: &Value) -> Vec<Need> {
    let mut needs: Vec<Need> = definition(kind).into_iter().collect();
    let mut add = |kind: ClusterKind, name: Option<&Value>| {
        // Classes of Kubernetes itself are everywhere.
        let name = name.and_then(Value::as_str).filter(|name| is_name(name) && !name.starts_with("system-"));
        needs.extend(name.map(|name| Need { kind, name: name.to_owned() }));
    };
    let annotation = |key: &str| object["metadata"]["annotations"].get(key);
    match kind.name().as_str() {
        "persistentvolumeclaims" => add(
            ClusterKind::StorageClass,
            object
                .pointer("/spec/storageClassName")
                .or_else(|| annotation("volume.beta.kubernetes.io/storage-class")),
        ),
        "ingresses.networking.k8s.io" => add(
            ClusterKind::IngressClass,
            object.pointer("/spec/ingressClassName").or_else(|| annotation("kubernetes.io/ingress.class")),
        ),
        "statefulsets.apps" => {
            let templates = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
            for template in templates.into_iter().flatten() {
                add(ClusterKind::StorageClass, template.pointer("/spec/storageClassName"));
            }
        }
        _ => {}
    }
    if let Some(pod) = pod_template(kind).and_then(|pointer| object.pointer(pointer)) {
        add(ClusterKind::PriorityClass, pod.get("priorityClassName"));
        add(ClusterKind::RuntimeClass, pod.get("runtimeClassName"));
    }
    needs
}

/// Where an object of this kind describes pods.
fn pod_template(kind: &Kind) -> Option<&'static str> {
    match kind.name().as_str() {
        "deployments.apps" | "statefulsets.apps" | "daemonsets.apps" | "jobs.batch" => {
            Some("/spec/template/spec")
        }
        "cronjobs.batch" => Some("/spec/jobTemplate/spec/template/spec"),
        "podtemplates" => Some("/template/spec"),
        _ => None,
    }
}

/// What is asked for by this name is an object and nothing else: it becomes part of a URL and of a path.
fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    !name.is_empty() && name.len() <= 253 && !name.starts_with('.') && name.bytes().all(good)
}
