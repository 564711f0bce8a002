//! What a department lost comes back: objects, files and a bucket, by its own people, with what they see before they do it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::lab::command::{output, wait_for};
use tripod_e2e::system::System;

use crate::fixture::{
    CENTRES, PATIENCE, await_disk, files, fill_volume, installation, kill_operator, protect, system,
};
use crate::tenancy::{Person, refused};

/// The system's own objects: what it reads, and what runs with the volume.
fn objects(namespace: &str) -> Value {
    let labels = json!({"app": "desk"});
    let meta = |name: &str| json!({"name": name, "namespace": namespace, "labels": labels});
    let pod = json!({"metadata": {"labels": labels}, "spec": {"automountServiceAccountToken": false,
        "securityContext": {"runAsUser": 999, "fsGroup": 999}, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "desk", "image": "docker.io/library/tripod-demo:dev",
            "command": ["/bin/sh", "-c", "while :; do sleep 1; done"],
            "envFrom": [{"configMapRef": {"name": "desk"}}, {"secretRef": {"name": "desk"}}],
            "volumeMounts": [{"name": "bulk", "mountPath": "/data"}]}],
        "volumes": [{"name": "bulk", "persistentVolumeClaim": {"claimName": "bulk"}}]}});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("desk"), "data": {"HOURS": "9-17"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta("desk"), "stringData": {"TOKEN": "of-the-desk"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta("desk"), "spec": {"selector": labels, "ports": [{"port": 80}]}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("desk"),
            "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": labels}, "template": pod}}]})
}

/// The folder of a claim's volume on this machine's disk.
fn folder(system: &System<'_>, centre: &str, claim: &str) -> Result<PathBuf> {
    let found = system.at.kubectl(centre)?.get(&["-n", &system.namespace(), &format!("pvc/{claim}")])?;
    let volume = found["spec"]["volumeName"].as_str().context("the claim has no volume")?.to_owned();
    Ok(system.at.lab.data().join(centre).join("volumes").join(volume))
}

fn restored(kubectl: &Kubectl, namespace: &str, name: &str) -> Result<Value> {
    let words = ["-n", namespace, &format!("restore/{name}")];
    let ended = kubectl.until(&format!("restore {name} to end"), PATIENCE, &words, |restore| {
        let phase = restore["status"]["phase"].as_str().unwrap_or_default();
        ensure!(["Succeeded", "Failed"].contains(&phase), "{phase}; {}", described(restore, "Ready"));
        Ok(restore.clone())
    })?;
    ensure!(
        ended["status"]["phase"] == "Succeeded",
        "{}; {}; {}",
        described(&ended, "Ready"),
        ended["status"]["problems"],
        ended["status"]["volumes"]
    );
    Ok(ended)
}

fn restore(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

#[test]
fn what_was_lost_comes_back() -> Result<()> {
    let system = system("restored")?;
    let (kubectl, namespace) = (system.production()?, system.namespace());
    fill_volume(&system, 50, 20_000)?;
    kubectl.apply(&objects(&namespace).to_string())?;
    kubectl.wait("deployment/desk", Some(&namespace), "Available", PATIENCE)?;
    let scans: Vec<(String, Vec<u8>)> = (0..40).map(|n| (format!("scans/{n}"), vec![n; 5000])).collect();
    system.fill_bucket(&scans)?;
    protect(&system, &json!({"include": {"buckets": [system.bucket()]}}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;
    let original = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("restored-original");
    let _ = std::fs::remove_dir_all(&original);
    output(Command::new("cp").arg("-a").args([&folder(&system, "production", "bulk")?, &original]))?;

    lose_everything(&system, &kubectl)?;
    let zhang = Person::admin_of("restored")?;
    let said = zhang.tripod(&["restore", &point, "-n", &namespace, "--name", "back"])?;
    ensure!(said.contains("4 created") || said.contains("5 created"), "{said}");
    let ended = restored(&kubectl, &namespace, "back")?;
    ensure!(ended["status"]["volumes"][0]["state"] == "Restored", "{}", ended["status"]);
    kubectl.wait("deployment/desk", Some(&namespace), "Available", PATIENCE)?;
    output(Command::new("diff").arg("-r").args([&original, &folder(&system, "production", "bulk")?]))?;
    let config = kubectl.get(&["-n", &namespace, "configmap/desk"])?;
    ensure!(
        config["data"]["HOURS"] == "9-17" && config["metadata"]["labels"]["tripod.cloud/restore"] == "back",
        "{config}"
    );
    let store = system.store("production")?;
    let keys = store.block_on(async |s3| Ok(s3.list_objects_v2().bucket(system.bucket()).send().await?))?;
    ensure!(keys.contents().len() == 40, "{} objects in the bucket", keys.contents().len());
    nothing_is_left_behind(&kubectl, &namespace)?;

    at_another_centre(&system, &point, &original)?;
    std::fs::remove_dir_all(original)?;
    Ok(())
}

/// All that the department has, and the bucket, as after a mistake with `kubectl delete`.
fn lose_everything(system: &System<'_>, kubectl: &Kubectl) -> Result<()> {
    let namespace = system.namespace();
    for object in ["deployment/desk", "service/desk", "configmap/desk", "secret/desk", "pvc/bulk"] {
        kubectl.run(&["-n", &namespace, "delete", object, "--timeout=120s"])?;
    }
    system.store("production")?.block_on(async |s3| {
        let listed = s3.list_objects_v2().bucket(system.bucket()).send().await?;
        for key in listed.contents().iter().filter_map(|o| o.key()) {
            s3.delete_object().bucket(system.bucket()).key(key).send().await?;
        }
        s3.delete_bucket().bucket(system.bucket()).send().await?;
        Ok(())
    })
}

/// No mover that holds a claim, and no right of the restorer.
fn nothing_is_left_behind(kubectl: &Kubectl, namespace: &str) -> Result<()> {
    wait_for("the restore to leave nothing behind", PATIENCE, || {
        let jobs =
            kubectl.run(&["-n", namespace, "get", "jobs", "-l", "tripod.cloud/restore", "-o", "name"])?;
        ensure!(jobs.trim().is_empty(), "{jobs}");
        let bindings = kubectl.run(&["-n", namespace, "get", "rolebindings", "-o", "name"])?;
        ensure!(!bindings.contains("tripod-restore"), "{bindings}");
        Ok(())
    })
}

/// In the remote centre's own cluster, from its own vault.
fn at_another_centre(system: &System<'_>, point: &str, original: &std::path::Path) -> Result<()> {
    let (kubectl, namespace) = (system.at.kubectl("remote")?, system.namespace());
    kubectl.apply(&restore(&namespace, "elsewhere", &json!({"recoveryPoint": point})).to_string())?;
    restored(&kubectl, &namespace, "elsewhere")?;
    kubectl.wait("deployment/desk", Some(&namespace), "Available", PATIENCE)?;
    output(Command::new("diff").arg("-r").arg(original).arg(folder(system, "remote", "bulk")?))?;
    kubectl.run(&[
        "-n",
        &namespace,
        "delete",
        "deployment,service,configmap,secret,pvc",
        "-l",
        "tripod.cloud/restore=elsewhere",
    ])?;
    kubectl.run(&["-n", &namespace, "delete", "restore/elsewhere", "--timeout=60s"]).map(drop)
}

#[test]
fn what_is_there_is_treated_as_asked() -> Result<()> {
    let system = system("careful")?;
    let (kubectl, namespace) = (system.production()?, system.namespace());
    let settings = |hours: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "desk", "namespace": namespace}, "data": {"HOURS": hours}});
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other", "namespace": namespace}, "stringData": {"PIN": "1234"}});
    kubectl.apply(&settings("9-17").to_string())?;
    kubectl.apply(&other.to_string())?;
    protect(&system, &json!({}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &["production"], PATIENCE)?;
    kubectl.apply(&settings("closed").to_string())?;
    let hours = || -> Result<String> {
        kubectl.run(&["-n", &namespace, "get", "configmap/desk", "-o", "jsonpath={.data.HOURS}"])
    };
    let zhang = Person::admin_of("careful")?;
    let run = |name: &str, words: &[&str]| {
        zhang.tripod(&[&["restore", &point, "-n", &namespace, "--name", name], words].concat())
    };

    let seen = run("look", &["--dry-run", "--existing", "update"])?;
    ensure!(seen.contains("data.HOURS: \"closed\" → \"9-17\""), "{seen}");
    ensure!(hours()? == "closed", "a dry run wrote");

    kubectl.run(&["-n", &namespace, "delete", "secret/other"])?;
    refused(run("strict", &["--existing", "fail"]), "a restore over what is there", "nothing was restored")?;
    ensure!(!kubectl.exists(&["-n", &namespace, "secret/other"])?, "it restored although it was to fail");

    let gentle = run("gentle", &["--existing", "skip"])?;
    ensure!(hours()? == "closed" && gentle.contains("1 skipped"), "{gentle}");
    ensure!(kubectl.exists(&["-n", &namespace, "secret/other"])?, "what was missing was not restored");

    let firm = run("firm", &["--existing", "update"])?;
    ensure!(hours()? == "9-17" && firm.contains("1 updated"), "{firm}");

    // Patches and selection; what is not chosen is left out.
    kubectl.run(&["-n", &namespace, "delete", "configmap/desk", "secret/other"])?;
    let spec = json!({"recoveryPoint": point, "include": {"kinds": ["configmaps"]}, "patches": [{"kind": "configmaps", "name": "desk",
        "operations": [{"op": "replace", "path": "/data/HOURS", "value": "10-16"}]}]});
    kubectl.apply(&restore(&namespace, "part", &spec).to_string())?;
    restored(&kubectl, &namespace, "part")?;
    ensure!(
        hours()? == "10-16" && !kubectl.exists(&["-n", &namespace, "secret/other"])?,
        "not the part that was asked for"
    );

    // Who may not write may not restore.
    let viewer = Person::new("li@careful", &["careful-audit"])?;
    viewer.may_not_create(&restore(&namespace, "viewer", &json!({"recoveryPoint": point})), "forbidden")?;
    // Another department's system is no source.
    let foreign =
        restore(&namespace, "foreign", &json!({"recoveryPoint": point, "system": "restored-registration"}));
    kubectl.apply(&foreign.to_string())?;
    kubectl.until(
        "the restore to be explained",
        PATIENCE,
        &["-n", &namespace, "restore/foreign"],
        |seen| {
            let ready = described(seen, "Ready");
            ensure!(ready.contains("ForeignSystem") && ready.contains("spec.system"), "{ready}");
            Ok(())
        },
    )?;
    kubectl.run(&["-n", &namespace, "delete", "restores", "--all", "--timeout=60s"]).map(drop)
}

#[test]
fn a_restore_whose_operator_is_killed_ends_well() -> Result<()> {
    let system = system("resumed")?;
    let (kubectl, namespace) = (system.production()?, system.namespace());
    fill_volume(&system, 60, 4 << 20)?;
    let many: Vec<Value> = (0..400)
        .map(|n| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("entry-{n}"), "namespace": namespace}, "data": {"n": n.to_string()}}))
        .collect();
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": many}).to_string())?;
    protect(&system, &json!({}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &["production"], PATIENCE)?;
    kubectl.run(&["-n", &namespace, "delete", "configmaps", "--all", "--timeout=120s"])?;
    kubectl.run(&["-n", &namespace, "delete", "pvc/bulk", "--timeout=120s"])?;

    kubectl.apply(&restore(&namespace, "back", &json!({"recoveryPoint": point})).to_string())?;
    let entries = || -> Result<usize> {
        let names = kubectl.run(&[
            "-n",
            &namespace,
            "get",
            "configmaps",
            "-l",
            "tripod.cloud/restore=back",
            "-o",
            "name",
        ])?;
        Ok(names.lines().count())
    };
    // In the middle of objects, and again in the middle of the volume.
    wait_for("the first objects", PATIENCE, || {
        ensure!(entries()? > 0, "none yet");
        Ok(())
    })?;
    kill_operator(&kubectl)?;
    let words = ["-n", &namespace, "restore/back"];
    kubectl.until("the volume to be filled", PATIENCE, &words, |seen| {
        ensure!(
            seen["status"]["phase"] == "Filling",
            "{}; {}",
            seen["status"]["phase"],
            described(seen, "Ready")
        );
        Ok(())
    })?;
    let volume = folder_of_new_claim(&system)?;
    await_disk("the first files", || files(&volume).len() > 2)?;
    kill_operator(&kubectl)?;
    let ended = restored(&kubectl, &namespace, "back")?;
    ensure!(entries()? == 400 && files(&volume).len() == 60, "{} and {}", entries()?, files(&volume).len());
    let counts = &ended["status"]["objects"];
    ensure!(counts["failed"] == 0 && counts["created"].as_u64() >= Some(401), "{counts}");
    installation()?.kubectl("production")?.wait("centre/production", None, "Ready", Duration::from_mins(2))
}

fn folder_of_new_claim(system: &System<'_>) -> Result<PathBuf> {
    let words = ["-n", &system.namespace(), "pvc/bulk"];
    system.production()?.until("the claim to be bound", PATIENCE, &words, |claim| {
        ensure!(claim["status"]["phase"] == "Bound", "{}", claim["status"]["phase"]);
        Ok(())
    })?;
    folder(system, "production", "bulk")
}
