//! Isolation: what of a recovery point's objects is restored into a drill's namespace, in which order, and how each is
//! changed on the way so that it can't collide with anything or reach out.

use serde_json::{Map, Value, json};

use crate::restoring::prepare::loosen;
use crate::selection::strip;

/// When an object is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// What workloads read and mount.
    Configuration,
    /// What runs.
    Workload,
}

/// Kinds that are taken into an isolated namespace. What routes from outside, grants rights or limits (Ingresses,
/// RBAC, quotas, network policies) stays out: the isolation is the drill's own. A Service becomes a plain
/// cluster-internal one, so that the parts of a system find each other and nobody else does.
#[must_use]
pub fn stage(api_version: &str, kind: &str) -> Option<Stage> {
    match (api_version, kind) {
        ("v1", "ConfigMap" | "Secret" | "ServiceAccount" | "PersistentVolumeClaim" | "Service") => {
            Some(Stage::Configuration)
        }
        ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet") => Some(Stage::Workload),
        _ => None,
    }
}

/// The object as it is applied in the isolated `namespace`, or `None` if it stays out.
#[must_use]
pub fn isolate(object: &Value, namespace: &str) -> Option<(Stage, Value)> {
    let stage = stage(object["apiVersion"].as_str()?, object["kind"].as_str()?)?;
    let mut object = strip(object.clone());
    loosen(&mut object);
    object["metadata"]["namespace"] = json!(namespace);
    match object["kind"].as_str()? {
        "ServiceAccount" => {
            object.as_object_mut()?.remove("imagePullSecrets");
        }
        "Service" => isolate_service(&mut object),
        "StatefulSet" | "Deployment" | "DaemonSet" => isolate_pod(&mut object),
        _ => {}
    }
    Some((stage, object))
}

/// Keeps what a Service selects and listens on inside the cluster; of its address only that it has none.
fn isolate_service(service: &mut Value) {
    let Some(spec) = service["spec"].as_object_mut() else { return };
    let inside = ["selector", "ports", "publishNotReadyAddresses", "clusterIP"];
    spec.retain(|field, _| inside.contains(&field.as_str()));
}

/// A rehearsal runs on whatever node has room and never takes a port of a host.
fn isolate_pod(workload: &mut Value) {
    let Some(spec) = workload.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut) else {
        return;
    };
    for field in ["nodeName", "hostNetwork", "priorityClassName", "priority"] {
        spec.remove(field);
    }
    for group in ["containers", "initContainers"] {
        let containers = spec.get_mut(group).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            strip_host_ports(container);
        }
    }
}

fn strip_host_ports(container: &mut Map<String, Value>) {
    let ports = container.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        port.remove("hostPort");
        port.remove("hostIP");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_routes_or_grants_stays_out() {
        for (version, kind) in [
            ("networking.k8s.io/v1", "Ingress"),
            ("rbac.authorization.k8s.io/v1", "RoleBinding"),
            ("v1", "ResourceQuota"),
            ("networking.k8s.io/v1", "NetworkPolicy"),
        ] {
            let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
            assert_eq!(isolate(&object, "drill"), None, "{kind}");
        }
    }

    #[test]
    fn a_claim_forgets_its_volume_and_a_pod_its_node() {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "dept-health", "uid": "1", "finalizers": ["kubernetes.io/pvc-protection"],
                "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": "pvc-1", "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Bound"}});
        let (stage, restored) = isolate(&claim, "drill-x").unwrap();
        assert_eq!(stage, Stage::Configuration);
        assert_eq!(
            restored,
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "drill-x", "annotations": {}},
            "spec": {"resources": {"requests": {"storage": "1Gi"}}}})
        );
        let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"hostNetwork": true, "nodeName": "n",
                "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}}}});
        let (_, restored) = isolate(&workload, "drill-x").unwrap();
        assert_eq!(
            restored.pointer("/spec/template/spec").unwrap(),
            &json!({"containers": [{"name": "c", "ports": [{"containerPort": 80}]}]})
        );
    }

    #[test]
    fn a_service_listens_inside_only() {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.9", "externalIPs": ["1.2.3.4"], "selector": {"app": "db"},
                "ports": [{"port": 5432, "nodePort": 30000}]}});
        let (_, restored) = isolate(&service, "drill-x").unwrap();
        assert_eq!(restored["spec"], json!({"selector": {"app": "db"}, "ports": [{"port": 5432}]}));
    }
}
