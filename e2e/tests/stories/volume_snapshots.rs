//! Volumes whose driver has snapshots are read from them: all of one moment, which hooks keep quiet no longer than it takes; and
//! nothing of it is left. The driver is a fake of the lab; snapshot controller, sidecars and kubelet are the real ones.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::system::System;

use crate::fixture::{CENTRES, PATIENCE, protect, restic, system};

const IMAGE: &str = "docker.io/library/tripod-demo:dev";

#[test]
fn volumes_are_read_as_they_were_between_the_hooks() -> Result<()> {
    let system = system("frozen")?;
    system.at.lab.start_snapshots("production")?;
    let (kubectl, namespace) = (system.production()?, system.namespace());
    kubectl.apply(&claim(&namespace, "ledger", "lab-csi", "1Gi").to_string())?;
    kubectl.apply(&claim(&namespace, "notes", "lab-local", "1Gi").to_string())?;
    kubectl.apply(&pod(&namespace).to_string())?;
    kubectl.wait("deployment/desk", Some(&namespace), "Available", PATIENCE)?;

    let hooks = json!([{"name": "quiet", "before": write("quiet"), "after": write("awake")}]);
    protect(&system, &json!({"hooks": hooks}))?;
    let policy = kubectl.get(&["-n", &namespace, "backuppolicy/registration"])?;
    let told = described(&policy, "Ready");
    ensure!(told.contains("from snapshots: ledger") && told.contains("written to: notes"), "{told}");
    let point = system.back_up()?;
    let seen = system.await_verified(&point, &CENTRES, PATIENCE)?;
    ensure!(seen["spec"]["snapshots"][0]["claim"] == "ledger", "{}", seen["spec"]);
    ensure!(seen["spec"]["snapshots"].as_array().is_some_and(|all| all.len() == 1), "{}", seen["spec"]);
    // The system is awake by now, and was so before the ledger was read.
    let words = ["-n", namespace.as_str(), "exec", "deployment/desk", "--", "cat", "/ledger/state"];
    ensure!(kubectl.run(&words)? == "awake\n", "the hooks are not through");
    for volume in ["ledger", "notes"] {
        let (path, file) = (format!("/volumes/{volume}"), format!("/volumes/{volume}/state"));
        let held = restic(&system, "remote", &["dump", "--path", &path, "latest", &file])?;
        ensure!(held == "quiet\n", "{volume} was {held:?}");
    }
    nothing_is_left(&kubectl, &namespace, 2)?;

    what_can_not_be_is_said(&system, &kubectl, &namespace)
}

/// A claim that can't have one where all have to; and one that no quota has room for twice.
fn what_can_not_be_is_said(system: &System<'_>, kubectl: &Kubectl, namespace: &str) -> Result<()> {
    system.apply_policy("production", &json!({"include": {"volumeSnapshots": "Always"}}))?;
    kubectl.until(
        "the policy to be refused",
        PATIENCE,
        &["-n", namespace, "backuppolicy/registration"],
        |seen| {
            let told = described(seen, "Ready");
            ensure!(
                told.starts_with("Ready=False NoVolumeSnapshots") && told.contains("claim notes"),
                "{told}"
            );
            Ok(())
        },
    )?;
    kubectl.apply(&claim(namespace, "archive", "lab-csi", "12Gi").to_string())?;
    kubectl.until("the claim to be bound", PATIENCE, &["-n", namespace, "pvc/archive"], |seen| {
        ensure!(seen["status"]["phase"] == "Bound", "{}", seen["status"]);
        Ok(())
    })?;
    protect(system, &json!({}))?;
    let point = system.back_up()?;
    let object = format!("recoverypoint/{point}");
    kubectl.until("the point to fail", PATIENCE, &["-n", namespace, &object], |seen| {
        let told = described(seen, "Ready");
        ensure!(seen["status"]["phase"] == "Failed" && told.contains("ask for 12Gi more"), "{told}");
        Ok(())
    })?;
    nothing_is_left(kubectl, namespace, 3)
}

fn nothing_is_left(kubectl: &Kubectl, namespace: &str, claims: usize) -> Result<()> {
    kubectl.until(
        "snapshots and clones to be gone",
        PATIENCE,
        &["-n", namespace, "volumesnapshots,pvc"],
        |seen| {
            let left = seen["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let names: Vec<&Value> = left.iter().map(|object| &object["metadata"]["name"]).collect();
            ensure!(left.len() == claims, "{names:?}");
            Ok(())
        },
    )
}

/// A command in the pod that writes a word on both volumes.
fn write(word: &str) -> Value {
    let script = format!("echo {word} > /ledger/state; echo {word} > /notes/state");
    json!({"exec": {"selector": {"matchLabels": {"app": "desk"}}, "command": ["/bin/sh", "-c", script], "timeout": "1m"}})
}

fn claim(namespace: &str, name: &str, class: &str, size: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": size}}}})
}

fn pod(namespace: &str) -> Value {
    let volume = |name: &str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
    let container = json!({"name": "desk", "image": IMAGE, "volumeMounts": [mount("ledger"), mount("notes")],
        "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "desk", "namespace": namespace},
        "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "desk"}},
            "template": {"metadata": {"labels": {"app": "desk"}}, "spec": {"automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1, "securityContext": {"runAsUser": 999, "fsGroup": 999},
                "containers": [container], "volumes": [volume("ledger"), volume("notes")]}}}})
}
