//! How a workload is stopped so that it can be started again as it was.

use serde_json::{Value, json};

/// What is scaled: group and kind. Bare pods have nobody who would start them again; they are left alone.
pub const KINDS: [(&str, &str); 5] = [
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
];
/// Annotation of a stopped workload: what it had before.
pub const BEFORE: &str = "tripod.cloud/before-suspension";
/// Node label that no node has.
const NOWHERE: &str = "tripod.cloud/suspended";

/// The merge patch that stops a workload or gives back what it had; `None`: nothing is to be done.
#[must_use]
pub fn patch(kind: &str, workload: &Value, stop: bool) -> Option<Value> {
    // What an owner creates, its owner stops: the jobs of a cron job run to their end.
    let owned = workload["metadata"]["ownerReferences"].as_array().is_some_and(|o| !o.is_empty());
    let before = workload["metadata"]["annotations"][BEFORE].as_str();
    match (stop, before) {
        (true, None) if !owned => {
            let (had, spec) = stopped(kind, &workload["spec"])?;
            Some(json!({"metadata": {"annotations": {BEFORE: had}}, "spec": spec}))
        }
        (false, Some(had)) => {
            Some(json!({"metadata": {"annotations": {BEFORE: Value::Null}}, "spec": restored(kind, had)}))
        }
        _ => None,
    }
}

/// What it has, and the change that stops it.
fn stopped(kind: &str, spec: &Value) -> Option<(String, Value)> {
    match kind {
        "Deployment" | "StatefulSet" => {
            let replicas = spec["replicas"].as_i64().unwrap_or(1);
            (replicas > 0).then(|| (replicas.to_string(), json!({"replicas": 0})))
        }
        "DaemonSet" => {
            Some(("running".to_owned(), json!({"template": {"spec": {"nodeSelector": {NOWHERE: "true"}}}})))
        }
        _ => {
            let suspended = spec["suspend"].as_bool().unwrap_or(false);
            (!suspended).then(|| ("running".to_owned(), json!({"suspend": true})))
        }
    }
}

fn restored(kind: &str, had: &str) -> Value {
    match kind {
        "Deployment" | "StatefulSet" => json!({"replicas": had.parse::<i64>().unwrap_or(1)}),
        "DaemonSet" => json!({"template": {"spec": {"nodeSelector": {NOWHERE: Value::Null}}}}),
        _ => json!({"suspend": false}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(target: &mut Value, patch: &Value) {
        let Some(fields) = patch.as_object() else { return *target = patch.clone() };
        if !target.is_object() {
            *target = json!({});
        }
        for (key, value) in fields {
            if value.is_null() {
                target.as_object_mut().unwrap().remove(key);
            } else {
                apply(&mut target[key], value);
            }
        }
    }

    #[test]
    fn what_is_stopped_and_started_is_as_it_was() {
        for (kind, spec) in [
            ("Deployment", json!({"replicas": 3})),
            ("StatefulSet", json!({"replicas": 1})),
            ("DaemonSet", json!({"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}})),
            ("CronJob", json!({"suspend": false, "schedule": "* * * * *"})),
            ("Job", json!({"suspend": false})),
        ] {
            let original = json!({"metadata": {"annotations": {"a": "b"}}, "spec": spec});
            let mut workload = original.clone();
            let stop = patch(kind, &workload, true).unwrap();
            apply(&mut workload, &stop);
            assert_ne!(workload, original, "{kind}");
            assert_eq!(patch(kind, &workload, true), None, "{kind}: once is enough");
            let start = patch(kind, &workload, false).unwrap();
            apply(&mut workload, &start);
            assert_eq!(workload, original, "{kind}");
        }
    }

    #[test]
    fn what_was_stopped_before_stays_so() {
        for (kind, spec) in [("Deployment", json!({"replicas": 0})), ("CronJob", json!({"suspend": true}))] {
            let workload = json!({"metadata": {}, "spec": spec});
            assert_eq!((patch(kind, &workload, true), patch(kind, &workload, false)), (None, None));
        }
    }
}
