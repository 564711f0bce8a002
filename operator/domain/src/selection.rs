//! Selection: what of a namespace's objects is taken into a recovery point, and what of each object is kept.

use serde_json::{Value, json};

/// Kinds that are never archived: derived by controllers, tied to one cluster, or the platform's own.
#[must_use]
pub fn is_derived(api_version: &str, kind: &str) -> bool {
    matches!(
        (api_version, kind),
        ("v1", "Pod" | "Event" | "Endpoints" | "ReplicationController")
            | ("apps/v1", "ReplicaSet" | "ControllerRevision")
            | ("events.k8s.io/v1", "Event")
            | ("discovery.k8s.io/v1", "EndpointSlice")
            | ("coordination.k8s.io/v1", "Lease")
            | ("metrics.k8s.io/v1beta1", _)
    ) || (api_version.starts_with("tripod.cloud/") && kind == "RecoveryPoint")
}

/// Whether this object, of a kind that is archived, is itself derived and so left out.
#[must_use]
pub fn is_left_out(object: &Value) -> bool {
    let meta = &object["metadata"];
    let controlled =
        meta["ownerReferences"].as_array().is_some_and(|o| o.iter().any(|r| r["controller"] == json!(true)));
    let kind = object["kind"].as_str().unwrap_or_default();
    let name = meta["name"].as_str().unwrap_or_default();
    let ours = meta["labels"]["app.kubernetes.io/managed-by"] == json!("tripod");
    let given = matches!((kind, name), ("ConfigMap", "kube-root-ca.crt") | ("ServiceAccount", "default"));
    let token = kind == "Secret" && object["type"] == json!("kubernetes.io/service-account-token");
    controlled || ours || given || token
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
mod tests {
    use super::*;

    #[test]
    fn derived_objects_are_left_out() {
        let owned =
            json!({"kind": "Job", "metadata": {"name": "x", "ownerReferences": [{"controller": true}]}});
        let root_ca = json!({"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}});
        let mine = json!({"kind": "ConfigMap", "metadata": {"name": "settings"}});
        assert!(is_left_out(&owned) && is_left_out(&root_ca) && !is_left_out(&mine));
    }
}
