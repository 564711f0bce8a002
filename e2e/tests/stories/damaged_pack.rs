//! One byte of a pack goes bad in every vault. The next verification finds it, nobody restores from it, and as soon as one
//! other centre has the pack whole, the copy is mended from there.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::system::{System, state_at};

use crate::fixture::{CENTRES, PATIENCE, fill_volume, nothing_left, packs, protect, restic, system};

#[test]
fn a_damaged_copy_loses_its_mark_and_is_mended_from_another_centre() -> Result<()> {
    let system = system("damaged")?;
    fill_volume(&system, 4, 100_000)?;
    protect(&system, &json!({}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;

    let largest =
        packs(&system, "same-city").into_iter().max_by_key(|p| fs::metadata(p).map_or(0, |m| m.len()));
    let name = largest.as_ref().and_then(|pack| pack.file_name()).context("the vault has no pack")?;
    let name = name.to_string_lossy().into_owned();
    for centre in CENTRES {
        flip_a_byte(&the_pack(&system, centre, &name)?)?;
    }
    let namespace = system.namespace();
    let object = format!("recoverypoint/{point}");
    let words = ["-n", &namespace, &object];
    let same_city = system.at.kubectl("same-city")?;
    let _often = Often::verify(&same_city, "same-city")?;
    same_city.until("the damage to be found, and others to be asked", PATIENCE, &words, |seen| {
        let verified = described(seen, "Verified");
        ensure!(
            seen["status"]["here"] == "Damaged" && verified.starts_with("Verified=False Damaged"),
            "{verified}"
        );
        let message = text_at(seen, "same-city", "message");
        ensure!(message.contains(&name), "the damaged pack is not named: {message}");
        ensure!(message.contains("asked: production") && message.contains("remote"), "{message}");
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

    flip_a_byte(&the_pack(&system, "production", &name)?)?;
    await_mended(&same_city, "same-city", "from production", &words)?;
    let remote = system.at.kubectl("remote")?;
    let _often_too = Often::verify(&remote, "remote")?;
    await_mended(&remote, "remote", "from", &words)?;
    for centre in CENTRES {
        restic(&system, centre, &["check", "--read-data"])?;
    }
    Ok(())
}

fn await_mended(kubectl: &Kubectl, centre: &str, from: &str, words: &[&str]) -> Result<()> {
    kubectl.until(&format!("the copy at {centre} to be mended"), PATIENCE, words, |seen| {
        let mended = text_at(seen, centre, "mended");
        ensure!(
            seen["status"]["here"] == "Verified" && mended.contains(from),
            "{}; mended: {mended}; {}",
            described(seen, "Verified"),
            text_at(seen, centre, "message")
        );
        Ok(())
    })
}

fn text_at<'v>(point: &'v Value, centre: &str, field: &str) -> &'v str {
    let copies = point["status"]["centres"].as_array();
    let copy = copies.and_then(|copies| copies.iter().find(|c| c["centre"] == centre));
    copy.and_then(|c| c[field].as_str()).unwrap_or_default()
}

/// A pack has the same name everywhere.
fn the_pack(system: &System<'_>, centre: &str, name: &str) -> Result<PathBuf> {
    let found = packs(system, centre).into_iter().find(|pack| pack.ends_with(name));
    found.with_context(|| format!("{centre} has no pack {name}"))
}

/// While it lives, a centre proves its copies again every ten seconds.
struct Often<'a>(&'a Kubectl, &'a str);

impl<'a> Often<'a> {
    fn verify(kubectl: &'a Kubectl, centre: &'a str) -> Result<Self> {
        every(kubectl, centre, 10)?;
        Ok(Self(kubectl, centre))
    }
}

impl Drop for Often<'_> {
    fn drop(&mut self) {
        if let Err(error) = every(self.0, self.1, 600) {
            eprintln!("the interval could not be set back: {error:#}");
        }
    }
}

fn every(kubectl: &Kubectl, centre: &str, seconds: u32) -> Result<()> {
    let patch = json!({"spec": {"verifyIntervalSeconds": seconds}}).to_string();
    kubectl.run(&["patch", &format!("centre/{centre}"), "--type=merge", "-p", &patch]).map(drop)
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
