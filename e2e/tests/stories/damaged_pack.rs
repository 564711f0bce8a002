//! One byte of a pack in the same-city vault goes bad. The next verification finds it, and nobody restores from it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::system::state_at;

use crate::fixture::{CENTRES, PATIENCE, fill_volume, nothing_left, packs, protect, system};

#[test]
fn a_damaged_copy_loses_its_mark_and_regains_it_when_mended() -> Result<()> {
    let system = system("damaged")?;
    fill_volume(&system, 4, 100_000)?;
    protect(&system, &json!({}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;

    let largest =
        packs(&system, "same-city").into_iter().max_by_key(|p| fs::metadata(p).map_or(0, |m| m.len()));
    let pack = largest.context("the vault has no pack")?;
    flip_a_byte(&pack)?;
    let namespace = system.namespace();
    let object = format!("recoverypoint/{point}");
    let words = ["-n", &namespace, &object];
    let same_city = system.at.kubectl("same-city")?;
    let _often = Often::verify(&same_city)?;
    same_city.until("the damage to be found", PATIENCE, &words, |seen| {
        let verified = described(seen, "Verified");
        ensure!(
            seen["status"]["here"] == "Damaged" && verified.starts_with("Verified=False Damaged"),
            "{verified}"
        );
        let message =
            seen["status"]["centres"].as_array().into_iter().flatten().find(|c| c["centre"] == "same-city");
        let message = message.and_then(|c| c["message"].as_str()).unwrap_or_default();
        let name = pack.file_name().unwrap_or_default().to_string_lossy();
        ensure!(message.contains(&*name), "the damaged pack is not named: {message}");
        Ok(())
    })?;
    system.production()?.until("production to know", PATIENCE, &words, |seen| {
        let states = CENTRES.map(|centre| state_at(seen, centre));
        ensure!(states == ["Verified", "Damaged", "Verified"], "{states:?}");
        Ok(())
    })?;

    // A rehearsal has nothing to restore from, and says so.
    let kubectl = system.start_drill("from-damage", "same-city", Some(&point), &json!([]))?;
    let drill = ["-n", &namespace, "drill/from-damage"];
    kubectl.until("the drill to wait", Duration::from_secs(30), &drill, |drill| {
        let ready = described(drill, "Ready");
        ensure!(
            ready.contains(&format!("spec.recoveryPoint: {point} is not Verified at same-city")),
            "{ready}"
        );
        Ok(())
    })?;
    kubectl.run(&["-n", &namespace, "delete", "drill/from-damage", "--timeout=60s"])?;
    nothing_left(&system, &kubectl, "same-city")?;

    flip_a_byte(&pack)?;
    same_city.until("the mended copy to be proved", PATIENCE, &words, |seen| {
        ensure!(seen["status"]["here"] == "Verified", "{}", described(seen, "Verified"));
        Ok(())
    })
}

/// While it lives, the same-city centre proves its copies again every ten seconds.
struct Often<'a>(&'a Kubectl);

impl<'a> Often<'a> {
    fn verify(kubectl: &'a Kubectl) -> Result<Self> {
        every(kubectl, 10)?;
        Ok(Self(kubectl))
    }
}

impl Drop for Often<'_> {
    fn drop(&mut self) {
        if let Err(error) = every(self.0, 600) {
            eprintln!("the interval could not be set back: {error:#}");
        }
    }
}

fn every(kubectl: &Kubectl, seconds: u32) -> Result<()> {
    let patch = json!({"spec": {"verifyIntervalSeconds": seconds}}).to_string();
    kubectl.run(&["patch", "centre/same-city", "--type=merge", "-p", &patch]).map(drop)
}

/// In the middle, and in place, as a bad disk would. Twice is not at all.
fn flip_a_byte(file: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let disk = fs::File::options().read(true).write(true).open(file)?;
    let (middle, mut byte) = (disk.metadata()?.len() / 2, [0u8]);
    disk.read_exact_at(&mut byte, middle)?;
    disk.write_all_at(&[byte[0] ^ 1], middle)?;
    Ok(disk.sync_all()?)
}
