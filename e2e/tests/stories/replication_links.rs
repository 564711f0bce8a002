//! Two departments replicate over one link that the platform has limited: both together keep to the limit, the one with
//! little to copy does not wait behind the one with much, and a link without a limit is not slowed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::installation::Installation;
use tripod_e2e::kubectl::condition;
use tripod_e2e::lab::command::wait_for;

use crate::bucket_replication::{Pair, is_in_sync, keys, put};
use crate::fixture::system;

/// Bytes of an object: so few that those on the way at once are a small part of what is copied, and objects that have
/// arrived tell how much has.
const SIZE: usize = 32 << 10;
/// Of the department with much to copy, and of the one with little.
const OBJECTS: [usize; 2] = [960, 192];
/// Bytes a second, in MiB.
const LIMIT: usize = 2;
const NAME: &str = "limited";

#[test]
fn departments_share_a_limited_link() -> Result<()> {
    let (archive, ledger) = (system("archive")?, system("ledger")?);
    let pairs = [Pair::anew(&archive)?, Pair::anew(&ledger)?];
    let _limit = Limited::link(archive.at, "remote")?;
    for (pair, objects) in pairs.iter().zip(OBJECTS) {
        pair.delete(NAME)?;
        for n in 0..objects {
            put(&pair.source, &format!("{n:03}"), &noise(n as u64), &[])?;
        }
    }
    let begun = Instant::now();
    pairs[0].apply(NAME, &replication(&pairs[0]))?;
    // Not before the other is on its way: who comes first would else be left to chance.
    on_its_way(&pairs[0])?;
    pairs[1].apply(NAME, &replication(&pairs[1]))?;
    on_its_way(&pairs[1])?;
    let before = count(&pairs[0], "remote")?;
    wait_for("the department with little", Duration::from_mins(2), || {
        arrived(&pairs[1], "remote", OBJECTS[1])
    })?;
    let meanwhile = count(&pairs[0], "remote")? - before;
    // An equal share would be as much as its own; the rest is what was begun beside it and the time of a look. With none,
    // the one would have waited for the other, and nothing would have been shared.
    ensure!(
        (1..OBJECTS[1] * 3).contains(&meanwhile),
        "{meanwhile} objects of the other came meanwhile, after {before}"
    );
    wait_for("the link without a limit", Duration::from_secs(20), || {
        arrived(&pairs[0], "same-city", OBJECTS[0])
    })?;
    ensure!(count(&pairs[0], "remote")? < OBJECTS[0], "the limited link was as fast as the other one");
    wait_for("the department with much", Duration::from_mins(2), || {
        arrived(&pairs[0], "remote", OBJECTS[0])
    })?;
    let least = Duration::from_secs((OBJECTS.iter().sum::<usize>() * SIZE / (LIMIT << 20)) as u64);
    let took = begun.elapsed();
    ensure!(took * 10 > least * 9, "{took:?} for what takes {least:?} at {LIMIT} MiB a second");
    for pair in &pairs {
        pair.until("remote", NAME, is_in_sync)?;
        pair.is_alike("remote")?;
        pair.delete(NAME)?;
    }
    Ok(())
}

fn replication(of: &Pair<'_>) -> Value {
    let targets = json!([{"centre": "remote"}, {"centre": "same-city"}]);
    json!({"source": {"centre": "production", "bucket": of.bucket}, "targets": targets})
}

/// Bytes that are like no others: a store may keep the same ones once.
fn noise(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

fn count(pair: &Pair<'_>, centre: &str) -> Result<usize> {
    let at = pair.at(centre)?;
    at.store.block_on(async |s3| Ok(keys(&s3, &at.bucket).await?.len()))
}

fn on_its_way(pair: &Pair<'_>) -> Result<()> {
    wait_for("the first object", Duration::from_mins(2), || {
        ensure!(count(pair, "remote")? > 0, "nothing of {} is at remote", pair.bucket);
        Ok(())
    })
}

fn arrived(pair: &Pair<'_>, centre: &str, objects: usize) -> Result<()> {
    let there = count(pair, centre)?;
    ensure!(there == objects, "{there} of {objects} objects are at {centre}");
    Ok(())
}

/// Takes the limit off again, also when the story fails: others use the link after it.
struct Limited<'a> {
    at: &'a Installation,
    centre: &'static str,
}

impl<'a> Limited<'a> {
    fn link(at: &'a Installation, centre: &'static str) -> Result<Self> {
        let limited = Self { at, centre };
        limited.set(&json!([{"from": "production", "bandwidth": format!("{LIMIT}Mi")}]))?;
        let kubectl = at.kubectl(at.server_of(centre))?;
        kubectl.until("the limit of the link", Duration::from_mins(1), &["centre", centre], |seen| {
            let valid = condition(seen, "LinksValid");
            ensure!(valid.is_some_and(|c| c["status"] == "True"), "{}", seen["status"]);
            Ok(())
        })?;
        Ok(limited)
    }

    fn set(&self, links: &Value) -> Result<()> {
        let patch = json!({"spec": {"links": links}}).to_string();
        let kubectl = self.at.kubectl(self.at.server_of(self.centre))?;
        kubectl.run(&["patch", "centre", self.centre, "--type", "merge", "-p", &patch]).map(drop)
    }
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.set(&Value::Null) {
            eprintln!("the link to {} keeps its limit: {error:#}", self.centre);
        }
    }
}
