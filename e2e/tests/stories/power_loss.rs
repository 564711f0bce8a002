//! The API server of a centre dies and comes back in the middle of a backup and of a restore; and a node loses its power. What
//! was under way ends well, or with its reason, and nothing that is left behind is in the way of the next.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::described;
use tripod_e2e::lab::progress::Progress;
use tripod_e2e::system::System;

use crate::fixture::{CENTRES, PATIENCE, await_disk, files, fill_volume, packs, protect, restic, system};

/// Enough for several packs, so that there is a middle.
const FILES: u32 = 40;
const BYTES: u32 = 5 << 20;

#[test]
fn an_api_server_that_comes_back_is_waited_for() -> Result<()> {
    let system = system("restarts")?;
    fill_volume(&system, FILES, BYTES)?;
    protect(&system, &json!({}))?;
    let point = begin(&system)?;
    system.at.lab.crash("production", "kube-apiserver")?;
    system.at.lab.revive("production", &Progress::new(true))?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;
    all_are_whole(&system)?;

    let (kubectl, namespace) = (system.production()?, system.namespace());
    kubectl.run(&["-n", &namespace, "delete", "pvc/bulk", "--timeout=60s"])?;
    let restore = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore", "metadata": {"name": "back", "namespace": namespace},
        "spec": {"recoveryPoint": point}});
    kubectl.apply(&restore.to_string())?;
    kubectl.until("files to come back", PATIENCE, &["-n", &namespace, "pvc/bulk"], |claim| {
        let volume = claim["spec"]["volumeName"].as_str().context("it has no volume")?;
        ensure!(!files(&volume_folder(&system, volume)).is_empty(), "{volume} is empty");
        Ok(())
    })?;
    let before = kubectl.get(&["-n", &namespace, "restore/back"])?;
    ensure!(before["status"]["phase"] != "Succeeded", "killed too late");
    system.at.lab.crash("production", "kube-apiserver")?;
    system.at.lab.revive("production", &Progress::new(true))?;
    kubectl.until("the restore to end", PATIENCE, &["-n", &namespace, "restore/back"], |restore| {
        let (phase, told) = (&restore["status"]["phase"], described(restore, "Ready"));
        ensure!(phase == "Succeeded", "{phase}; {told}");
        Ok(())
    })
}

#[test]
fn a_node_that_loses_its_power_spoils_no_point() -> Result<()> {
    let system = system("darkness")?;
    fill_volume(&system, FILES, BYTES)?;
    protect(&system, &json!({}))?;
    let point = begin(&system)?;
    system.at.lab.cut_power("production")?;
    system.at.lab.revive("production", &Progress::new(true))?;
    let (kubectl, object) = (system.production()?, format!("recoverypoint/{point}"));
    let ended =
        kubectl.until("the point to end", PATIENCE, &["-n", &system.namespace(), &object], |seen| {
            let phase = seen["status"]["phase"].as_str().unwrap_or_default();
            ensure!(["Complete", "Failed"].contains(&phase), "{phase}; {}", described(seen, "Ready"));
            Ok(seen.clone())
        })?;
    says_how_it_ended(&system, &point, &ended)?;
    let next = system.back_up()?;
    system.await_verified(&next, &CENTRES, PATIENCE)?;
    all_are_whole(&system)
}

fn says_how_it_ended(system: &System<'_>, point: &str, ended: &Value) -> Result<()> {
    if ended["status"]["phase"] == "Complete" {
        return system.await_verified(point, &CENTRES, PATIENCE).map(drop);
    }
    let told = described(ended, "Ready");
    ensure!(told.starts_with("Ready=False") && told.len() > "Ready=False".len() + 20, "{told}");
    Ok(())
}

/// A point of which some is in the vault, and not all.
fn begin(system: &System<'_>) -> Result<String> {
    let before = packs(system, "production").len();
    let point = system.back_up()?;
    await_disk("the first packs", || packs(system, "production").len() > before + 1)?;
    let seen = system.production()?.get(&["-n", &system.namespace(), &format!("recoverypoint/{point}")])?;
    ensure!(seen["status"]["phase"] == "Running", "too late: {}", seen["status"]["phase"]);
    Ok(point)
}

fn volume_folder(system: &System<'_>, volume: &str) -> PathBuf {
    system.at.lab.data().join("production/volumes").join(volume)
}

fn all_are_whole(system: &System<'_>) -> Result<()> {
    CENTRES.iter().try_for_each(|centre| restic(system, centre, &["check", "--read-data"]).map(drop))
}
