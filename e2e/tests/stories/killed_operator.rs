//! The operator is killed in the middle of a backup, of a pull, and of a drill. Each ends well all the same.

use anyhow::{Result, ensure};
use serde_json::json;
use tripod_e2e::kubectl::described;
use tripod_e2e::system::{System, state_at};

use crate::fixture::{
    CENTRES, PATIENCE, await_disk, fill_volume, kill_operator, nothing_left, packs, protect, restic, system,
};

/// Enough for several packs, so that there is a middle to be killed in.
const FILES: u32 = 40;
const BYTES: u32 = 5 << 20;

#[test]
fn what_was_under_way_ends_well() -> Result<()> {
    let system = system("killed")?;
    fill_volume(&system, FILES, BYTES)?;
    protect(&system, &json!({}))?;
    during_a_backup(&system)?;
    fill_volume(&system, FILES, BYTES)?;
    during_a_pull(&system)?;
    during_a_drill(&system)
}

fn during_a_backup(system: &System<'_>) -> Result<()> {
    let before = packs(system, "production").len();
    let point = system.back_up()?;
    await_disk("the first packs", || packs(system, "production").len() > before + 1)?;
    kill_operator(&system.production()?)?;
    let seen = system.production()?.get(&["-n", &system.namespace(), &format!("recoverypoint/{point}")])?;
    ensure!(seen["status"]["phase"] == "Running", "killed too late: {}", seen["status"]["phase"]);
    system.await_verified(&point, &CENTRES, PATIENCE)?;
    all_are_whole(system)
}

fn during_a_pull(system: &System<'_>) -> Result<()> {
    let before = packs(system, "same-city").len();
    let point = system.back_up()?;
    await_disk("the pull to begin", || packs(system, "same-city").len() > before + 1)?;
    kill_operator(&system.at.kubectl("same-city")?)?;
    let seen = system.production()?.get(&["-n", &system.namespace(), &format!("recoverypoint/{point}")])?;
    ensure!(state_at(&seen, "same-city") != "Verified", "killed too late");
    system.await_verified(&point, &CENTRES, PATIENCE)?;
    all_are_whole(system)
}

fn during_a_drill(system: &System<'_>) -> Result<()> {
    let kubectl = system.start_drill("killed", "same-city", None, &json!([]))?;
    let words = ["-n", &system.namespace(), "drill/killed"];
    kubectl.until("the drill to be under way", PATIENCE, &words, |drill| {
        let phase = drill["status"]["phase"].as_str().unwrap_or_default();
        ensure!(
            ["Restoring", "Starting", "Checking"].contains(&phase),
            "{phase}: {}",
            described(drill, "Ready")
        );
        Ok(())
    })?;
    kill_operator(&kubectl)?;
    system.await_drill(&kubectl, "killed", PATIENCE)?;
    nothing_left(system, &kubectl, "same-city")
}

fn all_are_whole(system: &System<'_>) -> Result<()> {
    CENTRES.iter().try_for_each(|centre| restic(system, centre, &["check", "--read-data"]).map(drop))
}
