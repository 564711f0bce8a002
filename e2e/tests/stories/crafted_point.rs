//! Whoever holds a store writes a recovery point of their own making into it. What it restores is no more than the one who
//! asks could have made; the rest is refused, one by one, and nobody else is touched.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_domain::manifest::{Part, PointManifest};
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::lab::command::output;
use tripod_e2e::system::System;

use crate::fixture::{CENTRES, PATIENCE, derived, protect, repository, system};

const POINT: &str = "registration-20261101t000000";

#[test]
fn a_crafted_point_makes_nothing_that_its_reader_could_not() -> Result<()> {
    let system = system("crafted")?;
    let (kubectl, namespace) = (system.production()?, system.namespace());
    kubectl.apply(&config_map(&namespace, "mine").to_string())?;
    protect(&system, &json!({}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES[..1], PATIENCE)?;

    let before = everything(
        &kubectl,
        &["rolebindings,roles,resourcequotas,networkpolicies,serviceaccounts"],
        &namespace,
    )?;
    let outside = everything(&kubectl, &["configmaps"], "kube-system")?;
    craft(&system)?;
    let restore = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore",
        "metadata": {"name": "crafted", "namespace": namespace},
        "spec": {"recoveryPoint": POINT, "existing": "Update", "include": {"kinds": KINDS}}});
    kubectl.apply(&restore.to_string())?;
    let ended =
        kubectl.until("the restore to end", PATIENCE, &["-n", &namespace, "restore/crafted"], |seen| {
            let phase = seen["status"]["phase"].as_str().unwrap_or_default();
            ensure!(["Succeeded", "Failed"].contains(&phase), "{phase}; {}", described(seen, "Ready"));
            Ok(seen.clone())
        })?;
    ensure!(ended["status"]["phase"] == "Failed", "{}", described(&ended, "Ready"));
    let problems = ended["status"]["problems"].to_string();
    for (object, words) in [
        ("rolebindings.rbac.authorization.k8s.io/take-all", "forbidden"),
        ("clusterrolebindings.rbac.authorization.k8s.io/take-all", ""),
        ("serviceaccounts/tripod-mover", "platform"),
        ("resourcequotas/tripod-budget", "forbidden"),
        ("networkpolicies.networking.k8s.io/open", "forbidden"),
        ("configmaps/liar.json", "metadata.name"),
        ("configmaps/bomb.json", "recursion"),
        ("restores.tripod.cloud/again", "forbidden"),
        ("pods/privileged", "forbidden"),
    ] {
        ensure!(
            problems.contains(object) && problems.contains(words),
            "{object}: {words:?} is not in {problems}"
        );
    }
    // What is harmless comes through, where it belongs.
    ensure!(kubectl.exists(&["-n", &namespace, "configmap/placed"])?, "{problems}");
    ensure!(everything(&kubectl, &["configmaps"], "kube-system")? == outside, "it wrote into kube-system");
    let now = everything(
        &kubectl,
        &["rolebindings,roles,resourcequotas,networkpolicies,serviceaccounts"],
        &namespace,
    )?;
    let new: Vec<&String> = now.iter().filter(|name| !before.contains(name)).collect();
    ensure!(new.iter().all(|name| name.contains("tripod-restore-crafted")), "it made {new:?}");
    kubectl.run(&["-n", &namespace, "delete", "restore/crafted", "--timeout=60s"]).map(drop)
}

/// Asked for by name, so that nothing is left out before the API server can refuse it.
const KINDS: [&str; 9] = [
    "configmaps",
    "serviceaccounts",
    "resourcequotas",
    "pods",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "networkpolicies.networking.k8s.io",
    "restores.tripod.cloud",
    "namespaces",
];

fn everything(kubectl: &Kubectl, kinds: &[&str], namespace: &str) -> Result<Vec<String>> {
    let words = [
        &[
            "get",
            "-n",
            namespace,
            "-o",
            "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid}{\"\\n\"}{end}",
        ],
        kinds,
    ]
    .concat();
    Ok(kubectl.run(&words)?.lines().map(str::to_owned).collect())
}

fn config_map(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"a": "b"}})
}

/// What the documents of the point are.
fn documents() -> Vec<(&'static str, String)> {
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"});
    let binding = |kind: &str| {
        json!({"apiVersion": format!("{rbac}/v1"), "kind": kind, "metadata": {"name": "take-all"}, "roleRef": role,
            "subjects": [{"kind": "User", "name": "mallory", "apiGroup": rbac}]})
        .to_string()
    };
    let deep = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"bomb\"}},\"data\":{}{}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    vec![
        ("configmaps/placed.json", config_map("kube-system", "placed").to_string()),
        ("configmaps/liar.json", config_map("x", "../../kube-system/configmaps/placed").to_string()),
        ("configmaps/bomb.json", deep),
        ("rolebindings.rbac.authorization.k8s.io/take-all.json", binding("RoleBinding")),
        ("clusterrolebindings.rbac.authorization.k8s.io/take-all.json", binding("ClusterRoleBinding")),
        (
            "serviceaccounts/tripod-mover.json",
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tripod-mover", "annotations": {"a": "b"}}}).to_string(),
        ),
        (
            "resourcequotas/tripod-budget.json",
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tripod-budget"}, "spec": {"hard": {"requests.cpu": "900"}}}).to_string(),
        ),
        (
            "networkpolicies.networking.k8s.io/open.json",
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "open"},
                "spec": {"podSelector": {}, "egress": [{}], "policyTypes": ["Egress"]}})
            .to_string(),
        ),
        (
            "restores.tripod.cloud/again.json",
            json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore", "metadata": {"name": "again"}, "spec": {"recoveryPoint": POINT}}).to_string(),
        ),
        (
            "pods/privileged.json",
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "privileged"}, "spec": {"hostPID": true,
                "containers": [{"name": "c", "image": "busybox", "securityContext": {"privileged": true}}]}})
            .to_string(),
        ),
        (
            "namespaces/mine.json",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}}).to_string(),
        ),
    ]
}

/// With all that production's operator has: the key of the vault, and its store.
fn craft(system: &System<'_>) -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crafted");
    let _ = std::fs::remove_dir_all(&folder);
    for (path, body) in documents() {
        let file = folder.join("objects").join(path);
        std::fs::create_dir_all(file.parent().context("no folder")?)?;
        std::fs::write(file, body)?;
    }
    let store = system.store("production")?;
    let password = derived(system, &system.at.vault_key()?, "vault-password")?;
    let at = repository(system)?;
    let repository = format!("s3:{}/{}/{at}", store.endpoint, store.bucket);
    let restic = |words: &[&str]| {
        output(
            Command::new("restic")
                .env("AWS_ACCESS_KEY_ID", &store.operator.access_key_id)
                .env("AWS_SECRET_ACCESS_KEY", &store.operator.secret_access_key)
                .env("RESTIC_PASSWORD", &password)
                .args(["-r", &repository, "--no-cache", "--json"])
                .args(words),
        )
    };
    let objects = folder.join("objects").display().to_string();
    restic(&["backup", "--tag", "crafted", &objects])?;
    let snapshots: Value = serde_json::from_str(&restic(&["snapshots", "--tag", "crafted"])?)?;
    let newest = snapshots.as_array().and_then(|all| all.last()).context("no snapshot")?;
    let part = Part {
        snapshot: newest["id"].as_str().context("no id")?.to_owned(),
        key: at.rsplit('/').next().unwrap_or_default().to_owned(),
        files: 1,
        bytes: 1,
        digest: "sha256:crafted".into(),
        added: None,
    };
    let root = PointManifest::compute_root(Some(&part), &BTreeMap::new(), &BTreeMap::new());
    let taken = "2026-11-01T00:00:00Z";
    let manifest = json!({"version": 1, "system": system.namespace(), "policy": "registration", "point": POINT,
        "origin": "production", "takenAt": taken, "completedAt": taken, "objects": part, "rootDigest": root});
    let record = json!({"centre": "production", "system": system.namespace(), "point": POINT, "rootDigest": root,
        "takenAt": taken, "state": "Verified", "copiedAt": taken, "verifiedAt": taken});
    let base = system.namespace();
    store.block_on(async |s3| {
        for (key, body) in [
            (format!("systems/{base}/points/{POINT}/manifest.json"), manifest),
            (format!("copies/{base}/{POINT}/record.json"), record),
        ] {
            s3.put_object()
                .bucket(&store.bucket)
                .key(key)
                .body(body.to_string().into_bytes().into())
                .send()
                .await?;
        }
        Ok(())
    })
}
