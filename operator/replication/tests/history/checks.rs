//! What must hold after a history.

use std::collections::BTreeMap;

use tripod_replication::engine::Deletes;

use crate::memory_store::{MemoryStore, Version};
use crate::world::{BUCKET, World};

/// A version, as both sides have to have it.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown {
    pub content: Option<Vec<u8>>,
    pub headers: String,
    pub tags: Vec<(String, String)>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes =
            self.content.as_ref().map(|bytes| (bytes.len(), bytes.iter().take(9).collect::<Vec<_>>()));
        write!(f, "{bytes:?} {}", self.headers)
    }
}

pub fn shown(version: &Version) -> Shown {
    Shown {
        content: version.content.as_ref().map(|content| content.to_bytes().to_vec()),
        headers: format!("{:?}", version.headers),
        tags: version.tags.clone(),
    }
}

pub fn chains(store: &MemoryStore) -> BTreeMap<String, Vec<Shown>> {
    let snapshot = store.snapshot(BUCKET);
    snapshot
        .iter()
        .map(|(key, versions)| (key.clone(), versions.iter().map(|v| shown(v)).collect()))
        .collect()
}

pub fn alike(world: &World, deletes: Deletes, seed: u64) {
    let (source, target) = (chains(&world.source), chains(&world.target));
    if matches!(deletes, Deletes::Mirror { .. }) {
        for key in source.keys().chain(target.keys()) {
            assert_eq!(source.get(key), target.get(key), "seed {seed}: versions of {key:?}");
        }
        return;
    }
    for (key, wanted) in &source {
        let there = target.get(key).map(Vec::as_slice).unwrap_or_default();
        let mut rest = there.iter();
        let all = wanted.iter().all(|version| rest.any(|there| there == version));
        assert!(all, "seed {seed}: {key:?} is to have {wanted:?}, and has {there:?}");
        assert_eq!(wanted.last(), there.last(), "seed {seed}: the current version of {key:?}");
    }
}

/// Of each key the target's contents came in the source's order.
pub fn never_older(world: &World, seed: u64) {
    let order = world.order.lock().unwrap();
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for became in world.target.history() {
        let Some(etag) = became.etag.filter(|etag| !etag.starts_with("d41d8cd9")) else { continue };
        let Some(number) = order.get(&(became.key.clone(), etag)) else { continue };
        let before = newest.entry(became.key.clone()).or_default();
        assert!(number >= before, "seed {seed}: {:?} went from {before} back to {number}", became.key);
        *before = *number;
    }
}
