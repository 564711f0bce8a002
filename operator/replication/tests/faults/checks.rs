//! What must hold after a history, and during it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tripod_replication::engine::{self, Deletes, Depth, Filter};

use crate::campaign::{PATIENT, side};
use crate::memory_store::{Content, Version};
use crate::world::{BUCKET, World};

pub fn alike(world: &World, deletes: Deletes, seed: u64) {
    let (source, target) = (world.source.current(BUCKET), world.target.current(BUCKET));
    for (key, wanted) in &source {
        let there = target.get(key).unwrap_or_else(|| panic!("seed {seed}: {key:?} is missing"));
        let bytes = |content: &Option<Content>| content.as_ref().map(Content::to_bytes);
        assert_eq!(bytes(&there.content), bytes(&wanted.content), "seed {seed}: content of {key:?}");
        assert_eq!(there.headers, wanted.headers, "seed {seed}: headers of {key:?}");
        assert_eq!(there.tags, wanted.tags, "seed {seed}: tags of {key:?}");
    }
    for key in target.keys().filter(|key| !source.contains_key(*key)) {
        // What somebody else wrote under a key that the source has no more is not ours to delete.
        let is_other = bytes_of(&target[key]) == b"somebody else's";
        let stays = deletes == Deletes::Ignore || world.foreign.contains(key) || is_other;
        assert!(stays, "seed {seed}: {key:?} is still there");
    }
}

pub fn bytes_of(version: &Version) -> Vec<u8> {
    version.content.as_ref().map(|content| content.to_bytes().to_vec()).unwrap_or_default()
}

/// Of each key the target's contents came in the source's order.
pub fn never_older(world: &World, seed: u64) {
    let order = world.order.lock().unwrap();
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for became in world.target.history() {
        let Some(etag) = became.etag else { continue };
        // An empty object is the same whenever it was written.
        let Some(number) =
            order.get(&(became.key.clone(), etag.clone())).filter(|_| !etag.starts_with("d41d8cd9"))
        else {
            continue;
        };
        let before = newest.entry(became.key.clone()).or_default();
        assert!(
            number >= before,
            "seed {seed}: {:?} went from content {before} back to {number}",
            became.key
        );
        *before = *number;
    }
}

/// What is on record as proved is what the source holds under that name.
pub async fn no_false_proof(world: &World, seed: u64) {
    let read = Arc::new(AtomicU64::new(0));
    let mut findings = Vec::new();
    let filter = Filter::default();
    let (source, target) = (side(&world.source, BUCKET, PATIENT), side(&world.target, BUCKET, PATIENT));
    let tell = |finding| findings.push(finding);
    let verified =
        engine::verify(&source, &target, world.place(), &filter, Depth::Content, &read, tell).await;
    verified.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.what.contains("another content")).collect();
    assert!(wrong.is_empty(), "seed {seed}: taken for proved, and it is not: {wrong:?}");
}
