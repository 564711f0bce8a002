use serde_json::{Value, json};
use tripod_crds::Restore;

use super::*;

#[allow(clippy::needless_pass_by_value, reason = "what is wanted is written where it is passed")]
fn restore(spec: Value) -> Restore {
    let mut all = json!({"recoveryPoint": "p"});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore",
        "metadata": {"name": "back", "namespace": "health-registration", "uid": "u1"}, "spec": all}))
    .unwrap()
}

fn archived(kind: &str, object: Value) -> Archived {
    let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
    Archived { plural: plural.into(), group: group.into(), version: "v1".into(), object }
}

fn prepared(spec: Value, kind: &str, object: Value) -> Value {
    let restore = restore(spec);
    Wishes::new(&restore).unwrap().prepare(&archived(kind, object)).unwrap().unwrap()
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "elsewhere", "uid": "7", "labels": {"app": "web"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "c", "image": "registry.old/health/web:1"}],
            "initContainers": [{"name": "i", "image": "busybox"}]}}}, "status": {"replicas": 3}})
}

#[test]
fn an_object_comes_into_its_namespace_marked_and_without_its_past() {
    let object = prepared(json!({}), "deployments.apps", deployment());
    assert_eq!(
        object["metadata"],
        json!({"name": "web", "namespace": "health-registration",
        "labels": {"app": "web", "tripod.cloud/restore": "back"}, "annotations": {"tripod.cloud/restore-uid": "u1"}})
    );
    assert_eq!(object.get("status"), None);
}

#[test]
fn a_policy_does_not_bring_its_last_wish() {
    let policy = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "BackupPolicy",
        "metadata": {"name": "p", "annotations": {"tripod.cloud/run": "t1", "note": "mine"}}, "spec": {}});
    let policy = prepared(json!({}), "backuppolicies.tripod.cloud", policy);
    assert_eq!(policy["metadata"]["annotations"], json!({"note": "mine", "tripod.cloud/restore-uid": "u1"}));
}

#[test]
fn names_are_mapped() {
    let spec = json!({"imageRegistries": [{"from": "registry.old", "to": "registry.new"},
        {"from": "registry.old/health", "to": "registry.new/h"}, {"from": "docker.io", "to": "mirror.local:5000"}],
        "storageClasses": [{"from": "fast", "to": "local"}]});
    let object = prepared(spec.clone(), "deployments.apps", deployment());
    let pod = &object["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "registry.new/h/web:1");
    assert_eq!(pod["initContainers"][0]["image"], "mirror.local:5000/library/busybox");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"storageClassName": "fast", "volumeName": "pv-1", "dataSource": {"kind": "VolumeSnapshot"}}});
    let claim = prepared(spec, "persistentvolumeclaims", claim);
    assert_eq!(claim["spec"], json!({"storageClassName": "local"}));
}

#[test]
fn a_registry_is_not_the_beginning_of_another() {
    let names = [Renamed { from: "registry.old".into(), to: "new".into() }];
    assert_eq!(moved_image(&names, "registry.older/web:1"), None);
    assert_eq!(moved_image(&names, "registry.old/web:1").as_deref(), Some("new/web:1"));
}

#[test]
fn patches_change_what_they_match() {
    let one =
        |operations: Value| json!({"patches": [{"kind": "deployments.apps", "operations": operations}]});
    let replaced = json!([{"op": "test", "path": "/spec/replicas", "value": 3}, {"op": "replace", "path": "/spec/replicas", "value": 1}]);
    assert_eq!(prepared(one(replaced), "deployments.apps", deployment())["spec"]["replicas"], 1);
    // A test that fails leaves the object as it is.
    let other = json!([{"op": "replace", "path": "/spec/replicas", "value": 1}, {"op": "test", "path": "/spec/replicas", "value": 9}]);
    assert_eq!(prepared(one(other), "deployments.apps", deployment())["spec"]["replicas"], 3);
    let by_label = |app: &str| {
        json!({"patches": [{"kind": "deployments.apps", "labelSelector": {"matchLabels": {"app": app}},
        "operations": [{"op": "remove", "path": "/spec/replicas"}]}]})
    };
    assert_eq!(prepared(by_label("web"), "deployments.apps", deployment())["spec"].get("replicas"), None);
    assert_eq!(prepared(by_label("db"), "deployments.apps", deployment())["spec"]["replicas"], 3);
}

#[test]
fn a_patch_that_does_not_apply_or_changes_who_it_is_is_an_error() {
    for (operations, words) in [
        (json!([{"op": "remove", "path": "/spec/none"}]), "spec.patches[0]"),
        (json!([{"op": "replace", "path": "/metadata/name", "value": "other"}]), "never changed"),
        (json!([{"op": "replace", "path": "/kind", "value": "Role"}]), "never changed"),
        (json!([{"op": "replace", "path": "/metadata", "value": "x"}]), "never changed"),
    ] {
        let restore = restore(json!({"patches": [{"kind": "deployments.apps", "operations": operations}]}));
        let wishes = Wishes::new(&restore).unwrap();
        let error = wishes.prepare(&archived("deployments.apps", deployment())).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn no_patch_leads_out_of_the_namespace_or_hides_the_mark() {
    let operations = json!([{"op": "add", "path": "/metadata/namespace", "value": "kube-system"},
        {"op": "add", "path": "/metadata/labels", "value": "none"}]);
    let object = prepared(
        json!({"patches": [{"kind": "deployments.apps", "operations": operations}]}),
        "deployments.apps",
        deployment(),
    );
    assert_eq!(object["metadata"]["namespace"], "health-registration");
    assert_eq!(object["metadata"]["labels"], json!({"tripod.cloud/restore": "back"}));
}

#[test]
fn a_service_is_given_its_address_anew() {
    let service = |ip: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"}, "spec": {"clusterIP": ip, "clusterIPs": [ip],
        "type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}})
    };
    assert_eq!(
        prepared(json!({}), "services", service("10.0.0.1"))["spec"],
        json!({"type": "NodePort", "ports": [{"port": 80}]})
    );
    assert_eq!(prepared(json!({}), "services", service("None"))["spec"]["clusterIP"], "None");
}

#[test]
fn what_is_wanted_is_chosen_by_kind_name_and_label() {
    let wants = |include: Value, volumes: &[String]| {
        let restore = restore(json!({"include": include}));
        let wishes = Wishes::new(&restore).unwrap();
        let claim = json!({"metadata": {"name": "data"}});
        (
            wishes.wants(&archived("deployments.apps", deployment()), volumes),
            wishes.wants(&archived("persistentvolumeclaims", claim), volumes),
        )
    };
    let data = ["data".to_owned()];
    assert_eq!(wants(json!({}), &[]), (true, true));
    assert_eq!(wants(json!({"kinds": ["deployments.apps"]}), &[]), (true, false));
    assert_eq!(wants(json!({"kinds": ["deployments"]}), &[]), (false, false));
    assert_eq!(wants(json!({"excludeKinds": ["deployments.apps"]}), &[]), (false, true));
    assert_eq!(wants(json!({"names": ["data"]}), &[]), (false, true));
    assert_eq!(wants(json!({"labelSelector": {"matchLabels": {"app": "web"}}}), &[]), (true, false));
    // The claim of a volume that is restored comes along.
    assert_eq!(wants(json!({"objects": false}), &data), (false, true));
}

#[test]
fn the_platforms_own_is_not_created() {
    let ours = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "labels": {"app.kubernetes.io/managed-by": "tripod"}}});
    let restore = restore(json!({}));
    assert_eq!(Wishes::new(&restore).unwrap().prepare(&archived("configmaps", ours)), Ok(None));
}

#[test]
fn what_controllers_make_is_not_created_unless_it_is_asked_for_by_kind() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}});
    let (all, named) = (restore(json!({})), restore(json!({"include": {"kinds": ["pods"]}})));
    let prepared =
        |restore: &Restore| Wishes::new(restore).unwrap().prepare(&archived("pods", pod.clone())).unwrap();
    assert!(prepared(&all).is_none() && prepared(&named).is_some());
}

#[test]
fn a_selector_that_can_not_be_read_names_its_field() {
    let restore = restore(
        json!({"include": {"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near", "values": []}]}}}),
    );
    let error = Wishes::new(&restore).err().unwrap();
    assert!(error.contains("spec.include.labelSelector"), "{error}");
}
