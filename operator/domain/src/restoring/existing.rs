//! What happens to an object that is to be restored, given what is there.

use serde_json::{Value, json};
use tripod_crds::restore::ExistingPolicy;

/// Label of what a restore created: the restore's name.
pub const RESTORE_LABEL: &str = "tripod.cloud/restore";
/// Annotation of what a restore wrote: the restore's uid. It tells one's own work after a crash from what others made.
pub const RESTORE_UID: &str = "tripod.cloud/restore-uid";

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// It is there as it should be, by whoever.
    Unchanged,
    /// This restore has created or replaced it before.
    Own,
    /// It stays as it is.
    Skip,
    /// Put this in its place; it names the version that is replaced.
    Replace(Value),
    /// It must not be there.
    Conflict,
}

/// Pure, total. `wanted` is as it would be created.
#[must_use]
pub fn settle(wanted: &Value, live: &Value, policy: ExistingPolicy, uid: &str) -> Settled {
    if live.pointer("/metadata/annotations/tripod.cloud~1restore-uid").and_then(Value::as_str) == Some(uid) {
        return Settled::Own;
    }
    if is_as_wanted(wanted, live) {
        return Settled::Unchanged;
    }
    match policy {
        ExistingPolicy::Skip => Settled::Skip,
        ExistingPolicy::Fail => Settled::Conflict,
        ExistingPolicy::Update => Settled::Replace(replacement(wanted, live)),
    }
}

/// Whether all that is wanted is there: what the API server or a controller added beside it is no difference. The marks
/// of the restore itself are none either.
#[must_use]
pub fn is_as_wanted(wanted: &Value, live: &Value) -> bool {
    let mut wanted = wanted.clone();
    for (group, key) in [("labels", RESTORE_LABEL), ("annotations", RESTORE_UID)] {
        if let Some(marks) = wanted["metadata"].get_mut(group).and_then(Value::as_object_mut) {
            marks.remove(key);
        }
    }
    // Contents are compared whole: one more key of a ConfigMap is a difference.
    let whole = ["data", "binaryData"].iter().all(|field| match (wanted.get(field), live.get(field)) {
        (Some(wanted), Some(live)) => wanted == live,
        (None, Some(live)) => live.as_object().is_none_or(serde_json::Map::is_empty),
        _ => true,
    });
    whole && contains(&wanted, live)
}

fn contains(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted
            .iter()
            .all(|(key, value)| live.get(key).map_or_else(|| is_nothing(value), |l| contains(value, l))),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(w, l)| contains(w, l))
        }
        _ => wanted == live,
    }
}

/// The API server leaves out what is empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// What is wanted, as the next version of what is there: what ties the object to its cluster stays.
fn replacement(wanted: &Value, live: &Value) -> Value {
    let mut object = wanted.clone();
    for field in ["uid", "resourceVersion", "ownerReferences", "finalizers"] {
        if let Some(value) = live["metadata"].get(field) {
            object["metadata"][field] = value.clone();
        }
    }
    if live["kind"] == json!("Service") {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
            if let Some(value) = live["spec"].get(field) {
                object["spec"][field] = value.clone();
            }
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Value {
        json!({"kind": "ConfigMap", "metadata": {"name": "a", "labels": {RESTORE_LABEL: "r"}, "annotations": {RESTORE_UID: "u"}},
            "data": {"key": "value"}})
    }

    fn live(data: &Value) -> Value {
        json!({"kind": "ConfigMap", "metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "creationTimestamp": "x",
            "ownerReferences": [1]}, "data": data})
    }

    #[test]
    fn each_policy_does_what_it_says() {
        let other = live(&json!({"key": "other"}));
        let settled = |policy| settle(&wanted(), &other, policy, "u");
        assert_eq!(settled(ExistingPolicy::Skip), Settled::Skip);
        assert_eq!(settled(ExistingPolicy::Fail), Settled::Conflict);
        let Settled::Replace(object) = settled(ExistingPolicy::Update) else { panic!("not replaced") };
        assert_eq!(object["data"], json!({"key": "value"}));
        assert_eq!(object["metadata"]["resourceVersion"], "7");
        assert_eq!(object["metadata"]["ownerReferences"], json!([1]));
    }

    #[test]
    fn what_is_the_same_is_left_alone_by_every_policy() {
        for policy in [ExistingPolicy::Skip, ExistingPolicy::Fail, ExistingPolicy::Update] {
            assert_eq!(settle(&wanted(), &live(&json!({"key": "value"})), policy, "u"), Settled::Unchanged);
            let more = live(&json!({"key": "value", "more": "x"}));
            assert_ne!(settle(&wanted(), &more, policy, "u"), Settled::Unchanged);
        }
    }

    #[test]
    fn defaults_of_the_server_are_no_difference() {
        let wanted = json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"name": "c", "resources": {}}]}}}});
        let live = json!({"kind": "Deployment", "spec": {"replicas": 1, "template": {"metadata": {}, "spec": {"containers": [
            {"name": "c", "imagePullPolicy": "Always"}]}}}});
        assert!(is_as_wanted(&wanted, &live));
        let more = json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}, {"name": "d"}]}}}});
        assert!(!is_as_wanted(&wanted, &more));
    }

    #[test]
    fn ones_own_work_is_known_again() {
        let mut mine = live(&json!({"key": "changed since"}));
        mine["metadata"]["annotations"] = json!({RESTORE_UID: "u"});
        assert_eq!(settle(&wanted(), &mine, ExistingPolicy::Fail, "u"), Settled::Own);
        assert_eq!(settle(&wanted(), &mine, ExistingPolicy::Fail, "v"), Settled::Conflict);
    }

    #[test]
    fn a_service_keeps_its_address() {
        let wanted = json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
        let live = json!({"kind": "Service", "metadata": {"name": "a", "resourceVersion": "1"},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 81}]}});
        let Settled::Replace(object) = settle(&wanted, &live, ExistingPolicy::Update, "u") else { panic!() };
        assert_eq!(object["spec"], json!({"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}));
    }
}
