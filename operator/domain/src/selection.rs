//! Selection: what of a namespace is taken into a recovery point, why the rest is not, and what of each object is kept.
//!
//! One function decides for every object, [`Rules::object`]: who gathers a point and who only asks what it would hold are
//! told the same.

pub mod claims;
pub mod needs;
pub mod order;
pub mod reason;
pub mod tally;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::{Value, json};
use tripod_crds::backup_policy::Secrets;
use tripod_crds::recovery_point::Selection;

pub use reason::{Fate, Reason};

/// A Secret with this label and the value `true` is taken where `spec.include.secrets` is `Labelled`.
pub const BACKUP_LABEL: &str = "tripod.cloud/backup";
/// On the Jobs of hooks: they belong to the run, not to the system.
pub const HOOK_LABEL: &str = "tripod.cloud/hook";

/// A kind of namespaced objects, as discovery names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub plural: String,
    /// `Deployment`
    pub kind: String,
}

impl Kind {
    /// `deployments.apps`: its name in a policy, and its folder in a point.
    #[must_use]
    pub fn name(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `apps/v1`
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Where an object of this kind lies in a point: readable for those who restore with restic alone.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        format!("{}/{}.json", self.name(), name.replace(':', "_"))
    }
}

/// What a policy chooses, ready to be asked.
#[derive(Clone, Debug)]
pub struct Rules {
    selection: Selection,
    include: Selector,
    exclude: Option<Selector>,
}

impl Rules {
    /// # Errors
    /// Names the field that can't be read.
    pub fn new(selection: &Selection) -> Result<Self, String> {
        Ok(Self {
            include: match &selection.include.label_selector {
                Some(given) => selector(given, "spec.include.labelSelector")?,
                None => Selector::default(),
            },
            exclude: match &selection.exclude.label_selector {
                Some(given) => Some(selector(given, "spec.exclude.labelSelector")?),
                None => None,
            },
            selection: selection.clone(),
        })
    }

    /// Whether objects of a kind can be taken at all: those of others are not even listed.
    #[must_use]
    pub fn kind(&self, kind: &Kind) -> Fate {
        let (name, include) = (kind.name(), &self.selection.include);
        if !include.objects {
            Fate::LeftOut(Reason::ObjectsOff)
        } else if is_platforms_kind(&kind.group, &kind.kind) {
            Fate::LeftOut(Reason::PlatformKind)
        } else if is_derived(&kind.api_version(), &kind.kind) {
            Fate::LeftOut(Reason::DerivedKind)
        } else if !include.kinds.is_empty() && !include.kinds.contains(&name) {
            Fate::LeftOut(Reason::KindNotIncluded)
        } else if self.selection.exclude.kinds.contains(&name) {
            Fate::LeftOut(Reason::KindExcluded)
        } else if include.secrets == Secrets::None && name == "secrets" {
            Fate::LeftOut(Reason::SecretsOff)
        } else {
            Fate::Taken
        }
    }

    /// What becomes of one object. Pure, total: the one place where this is decided.
    #[must_use]
    pub fn object(&self, kind: &Kind, object: &Value) -> Fate {
        if let Fate::LeftOut(reason) = self.kind(kind) {
            return Fate::LeftOut(reason);
        }
        if let Some(reason) = inherent(&kind.kind, object) {
            return Fate::LeftOut(reason);
        }
        let labels = labels(&object["metadata"]);
        if !self.include.matches(&labels) {
            return Fate::LeftOut(Reason::NotSelected);
        }
        if self.exclude.as_ref().is_some_and(|exclude| exclude.matches(&labels)) {
            return Fate::LeftOut(Reason::Deselected);
        }
        let labelled = labels.get(BACKUP_LABEL).is_some_and(|value| value == "true");
        if self.selection.include.secrets == Secrets::Labelled && kind.name() == "secrets" && !labelled {
            return Fate::LeftOut(Reason::SecretNotLabelled);
        }
        Fate::Taken
    }
}

/// # Errors
/// Names `field`.
pub(crate) fn selector(given: &LabelSelector, field: &str) -> Result<Selector, String> {
    Selector::try_from(given.clone()).map_err(|error| format!("{field}: {error}"))
}

pub(crate) fn labels(metadata: &Value) -> BTreeMap<String, String> {
    let pairs = metadata["labels"].as_object().into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Of Tripod's own kinds only what a department has configured belongs to its system. What asks for an act (a restore, a
/// drill) or tells of one must not act again because it was restored.
fn is_platforms_kind(group: &str, kind: &str) -> bool {
    group == tripod_crds::GROUP && kind != "BackupPolicy"
}

/// Kinds that are never archived: derived by controllers, or tied to one cluster.
#[must_use]
pub fn is_derived(api_version: &str, kind: &str) -> bool {
    let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
    matches!(
        (group, kind),
        ("", "Pod" | "Event" | "Endpoints" | "ReplicationController")
            | ("apps", "ReplicaSet" | "ControllerRevision")
            | ("events.k8s.io", "Event")
            | ("discovery.k8s.io", "EndpointSlice")
            | ("coordination.k8s.io", "Lease")
            | ("metrics.k8s.io" | "snapshot.storage.k8s.io", _)
    ) || is_platforms_kind(group, kind)
}

/// Whether this object, of a kind that is archived, is itself derived, given or the platform's, and so left out whatever a
/// policy says.
#[must_use]
pub fn is_left_out(object: &Value) -> bool {
    inherent(object["kind"].as_str().unwrap_or_default(), object).is_some()
}

/// Whether an object is of a derived kind, or itself derived, given or the platform's: none such is ever in a point.
#[must_use]
pub fn given_or_derived(object: &Value) -> bool {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    is_derived(text("apiVersion"), text("kind")) || is_left_out(object)
}

/// Why an object is left out whatever a policy says.
fn inherent(kind: &str, object: &Value) -> Option<Reason> {
    let meta = &object["metadata"];
    let owners = meta["ownerReferences"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(owner) = owners.into_iter().find(|owner| owner["controller"] == json!(true)) {
        return Some(Reason::Owned { kind: text(&owner["kind"]), name: text(&owner["name"]) });
    }
    let labels = &meta["labels"];
    if labels["app.kubernetes.io/managed-by"] == json!("tripod") || !labels[HOOK_LABEL].is_null() {
        return Some(Reason::Platform);
    }
    let name = meta["name"].as_str().unwrap_or_default();
    if matches!((kind, name), ("ConfigMap", "kube-root-ca.crt") | ("ServiceAccount", "default")) {
        return Some(Reason::Given);
    }
    let token = kind == "Secret" && object["type"] == json!("kubernetes.io/service-account-token");
    token.then_some(Reason::AccountToken)
}

/// Takes out what only the cluster it came from could know. What is archived is what a person would apply.
#[must_use]
pub fn strip(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        for field in [
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "managedFields",
            "selfLink",
            "ownerReferences",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "finalizers",
        ] {
            meta.remove(field);
        }
        if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| {
                !key.starts_with("pv.kubernetes.io/")
                    && !key.starts_with("volume.kubernetes.io/")
                    && key != "kubectl.kubernetes.io/last-applied-configuration"
                    && key != "deployment.kubernetes.io/revision"
            });
        }
    }
    object
}

#[cfg(test)]
#[path = "selection/tests.rs"]
mod tests;
