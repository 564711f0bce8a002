//! What is wrong is said in the condition and in an event, with the field and what to do; others don't notice.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, condition, described};

use crate::fixture::{PATIENCE, installation, system};

#[test]
fn a_wrong_store_is_explained() -> Result<()> {
    let at = installation()?;
    let kubectl = at.kubectl("production")?;
    let wrong = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store-wrong", "namespace": "tripod-system"},
        "stringData": {"accessKeyId": "operator-production", "secretAccessKey": "not-the-secret"}});
    kubectl.apply(&wrong.to_string())?;
    let change = |name: &str, change: fn(&mut Value)| -> Result<Value> {
        let mut centre = at.centre(&at.lab.centre("production")?);
        centre["metadata"]["name"] = json!(name);
        centre["spec"]["role"] = json!("Witness");
        centre["spec"]["servedBy"] = json!("production");
        change(&mut centre["spec"]["store"]);
        Ok(centre)
    };
    let cases = [
        (
            change("wrong-credential", |s| s["credentialsSecretRef"] = json!({"name": "store-wrong"}))?,
            "AccessDenied",
            ["spec.store.credentialsSecretRef", "secret key does not belong"],
        ),
        (
            change("no-credential", |s| s["credentialsSecretRef"] = json!({"name": "nowhere"}))?,
            "CredentialsMissing",
            ["spec.store.credentialsSecretRef", "Secret tripod-system/nowhere does not exist; create it"],
        ),
        (
            change("no-bucket", |s| s["bucket"] = json!("no-such-bucket"))?,
            "BucketMissing",
            ["spec.store.bucket", "create it or correct the name"],
        ),
        (
            // Where the store is, and none listens.
            change("no-store", |s| {
                let endpoint = s["endpoint"].as_str().unwrap_or_default().replace(":7070", ":9");
                s["endpoint"] = json!(endpoint);
            })?,
            "StoreUnreachable",
            ["spec.store.endpoint", ":9 can't be reached"],
        ),
        // Of the cloud, of the operator's own pod, by address and by name, and of the cluster.
        (
            change("metadata", |s| s["endpoint"] = json!("http://169.254.169.254"))?,
            "EndpointRefused",
            ["spec.store.endpoint", "169.254.169.254 is in 169.254.0.0/16"],
        ),
        (
            change("itself", |s| s["endpoint"] = json!("http://[::1]:8080"))?,
            "EndpointRefused",
            ["::1 is in ::/96", "stores.reach.allow"],
        ),
        (
            change("api-server", |s| s["endpoint"] = json!("http://kubernetes.default.svc:443"))?,
            "EndpointRefused",
            ["http://kubernetes.default.svc:443", "stores.reach.allow"],
        ),
    ];
    for (centre, reason, words) in &cases {
        kubectl.apply(&centre.to_string())?;
        let name = centre["metadata"]["name"].as_str().unwrap_or_default();
        explained(&kubectl, &[&format!("centre/{name}")], reason, words)?;
        kubectl.run(&["delete", &format!("centre/{name}"), "--timeout=30s"])?;
    }
    kubectl.wait("centre/production", None, "Ready", PATIENCE)
}

#[test]
fn a_wrong_policy_is_explained() -> Result<()> {
    let (one, other) = (system("careless")?, system("curious")?);
    one.fill_bucket(&[("secret".into(), b"of the careless".to_vec())])?;
    let kubectl = other.production()?;
    let policy = |spec: Value| {
        json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "BackupPolicy",
            "metadata": {"name": "wrong", "namespace": other.namespace()}, "spec": spec})
    };
    let cases = [
        (json!({"schedule": "often enough"}), "InvalidSchedule", ["spec.schedule", "often enough"]),
        (
            json!({"objectives": [{"centre": "moon", "rpo": "1h"}]}),
            "UnknownCentre",
            ["spec.objectives[0].centre", "same-city"],
        ),
        (
            json!({"include": {"buckets": ["no-such-bucket"]}}),
            "BucketUnreadable",
            ["spec.include.buckets[0]", "does not exist"],
        ),
        // Another department's, and the platform's own.
        (
            json!({"include": {"buckets": [one.bucket()]}}),
            "BucketUnreadable",
            ["spec.include.buckets[0]", "tripod.cloud/system=curious-registration"],
        ),
        (
            json!({"include": {"buckets": ["tripod-vault"]}}),
            "BucketUnreadable",
            ["spec.include.buckets[0]", "tripod.cloud/system=curious-registration"],
        ),
    ];
    for (spec, reason, words) in cases {
        kubectl.apply(&policy(spec).to_string())?;
        explained(&kubectl, &["-n", &other.namespace(), "backuppolicy/wrong"], reason, &words)?;
    }
    let points = kubectl.get(&["-n", &other.namespace(), "recoverypoints"])?;
    ensure!(points["items"].as_array().is_some_and(Vec::is_empty), "a wrong policy made a point: {points}");
    kubectl.run(&["-n", &other.namespace(), "delete", "backuppolicy/wrong"]).map(drop)
}

#[test]
fn a_drill_of_nowhere_is_explained() -> Result<()> {
    let system = system("curious")?;
    let kubectl = system.production()?;
    for (name, centre, reason, words) in [
        ("nowhere", "moon", "UnknownCentre", ["spec.centre", "remote, same-city"]),
        (
            "elsewhere",
            "remote",
            "ServedElsewhere",
            ["centre remote", "apply the drill in the cluster of remote"],
        ),
    ] {
        let drill = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "DisasterRecoveryDrill",
            "metadata": {"name": name, "namespace": system.namespace()}, "spec": {"centre": centre, "policy": "registration"}});
        kubectl.apply(&drill.to_string())?;
        let object = format!("drill/{name}");
        let wrong = kubectl.until(
            "the drill to be explained",
            PATIENCE,
            &["-n", &system.namespace(), &object],
            |seen| {
                ensure!(
                    condition(seen, "Ready").is_some_and(|c| c["reason"] == reason),
                    "{}",
                    described(seen, "Ready")
                );
                Ok(described(seen, "Ready"))
            },
        )?;
        ensure!(words.iter().all(|w| wrong.contains(w)), "{wrong}");
        kubectl.run(&["-n", &system.namespace(), "delete", &object, "--timeout=30s"])?;
    }
    Ok(())
}

/// The condition Ready has the reason, its message the words, and an event says the same.
fn explained(kubectl: &Kubectl, words: &[&str], reason: &str, expected: &[&str]) -> Result<()> {
    let object = kubectl.until(&format!("{words:?} to be explained"), PATIENCE, words, |seen| {
        let ready = condition(seen, "Ready").filter(|c| c["reason"] == reason && c["status"] == "False");
        ensure!(ready.is_some(), "{}", described(seen, "Ready"));
        let ready = described(seen, "Ready");
        ensure!(expected.iter().all(|word| ready.contains(word)), "{ready}");
        Ok(seen.clone())
    })?;
    let about = format!("regarding.uid={}", object["metadata"]["uid"].as_str().unwrap_or_default());
    let events = ["events.events.k8s.io", "--all-namespaces", "--field-selector", &about];
    kubectl.until("an event", PATIENCE, &events, |events| {
        let items = events["items"].as_array().cloned().unwrap_or_default();
        let told = items.iter().any(|e| e["reason"] == reason && e["type"] == "Warning");
        ensure!(told, "{} events, none says {reason}", items.len());
        Ok(())
    })
}
