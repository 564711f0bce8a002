//! The link between production and same-city is cut in the middle of a pull, and mended.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tripod_e2e::kubectl::described;
use tripod_e2e::lab::Lab;
use tripod_e2e::system::{System, state_at};

use crate::fixture::{PATIENCE, await_disk, files, on_disk, protect, restic, system};

/// So many that a pull takes seconds: a cut can't come too late.
const OBJECTS: usize = 3000;
/// Requests that may be in flight when the link is cut, and so be made twice.
const IN_FLIGHT: usize = 8;

/// Mends the link when a story ends, however it ends.
pub struct Cut<'a>(pub &'a Lab);

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.heal() {
            eprintln!("the link could not be mended: {error:#}");
        }
    }
}

#[test]
fn a_pull_survives_a_cut_and_fetches_nothing_twice() -> Result<()> {
    let system = system("cut")?;
    // Objects that no earlier run has brought anywhere.
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let objects: Vec<_> = (0..OBJECTS)
        .map(|n| (format!("{run}/{n:05}"), format!("object {n} of {run}").into_bytes()))
        .collect();
    system.fill_bucket(&objects)?;
    protect(&system, &json!({"include": {"buckets": [system.bucket()]}}))?;
    let replica = on_disk(&system, "same-city", "tripod-vault-replica").join(system.namespace());
    let before = files(&replica).len();
    let point = system.back_up()?;
    await_disk("the pull to begin", || files(&replica).len() > before + OBJECTS / 20)?;
    let lab = &system.at.lab;
    let cut = Cut(lab);
    lab.cut("production", "same-city")?;
    ensure!(files(&replica).len() < before + OBJECTS, "the link was cut too late");

    // The third centre doesn't care, and nobody claims what isn't so.
    let seen = system.await_verified(&point, &["production", "remote"], PATIENCE)?;
    ensure!(state_at(&seen, "same-city") != "Verified", "{}", seen["status"]["centres"]);
    let words = ["-n", &system.namespace(), &format!("recoverypoint/{point}")];
    system.production()?.until("production to say that it can't see", PATIENCE, &words, |seen| {
        let copy =
            seen["status"]["centres"].as_array().into_iter().flatten().find(|c| c["centre"] == "same-city");
        let message = copy.and_then(|c| c["message"].as_str()).unwrap_or_default();
        ensure!(message.contains("can't be read now"), "{copy:?}; {}", described(seen, "Ready"));
        Ok(())
    })?;
    drop(cut);

    let healed = system.await_verified(&point, &["same-city"], PATIENCE)?;
    ensure!(healed["status"]["rootDigest"] == seen["status"]["rootDigest"], "another point arrived");
    restic(&system, "same-city", &["check", "--read-data"])?;
    nothing_was_fetched_twice(&system, &format!("{}/{}/{run}/", system.namespace(), system.bucket()))
}

/// The store of production itself says what was read from it, and by whom.
fn nothing_was_fetched_twice(system: &System<'_>, prefix: &str) -> Result<()> {
    let log = system.at.lab.data().join("production/log/versitygw-access.log");
    let text = std::fs::read_to_string(&log).with_context(|| log.display().to_string())?;
    let address = system.at.lab.centre("same-city")?.address;
    let mut reads: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines().filter(|l| l.contains(&address) && l.contains(" tripod-vault-replica ")) {
        let key = line.split("s3_GetObject ").nth(1).and_then(|rest| rest.split(' ').next());
        if let Some(key) = key.filter(|key| key.starts_with(prefix)) {
            *reads.entry(key).or_default() += 1;
        }
    }
    let objects = reads.len();
    let again: usize = reads.values().map(|times| times - 1).sum();
    ensure!(objects >= OBJECTS, "the log shows reads of {objects} objects only: {:?}", text.lines().last());
    // Each in-flight request may have been tried a few times while the line was dead.
    ensure!(again <= 9 * IN_FLIGHT, "{again} reads were made again");
    println!("{objects} objects, {again} reads made again");
    Ok(())
}
