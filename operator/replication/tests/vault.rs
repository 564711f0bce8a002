//! What recovery points are made of, on its way from one store to another: versions of a bucket's objects, and files that are
//! named by their content. Nothing that is not what it should be becomes visible.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::collections::{BTreeMap, BTreeSet};

use memory_store::{BucketOptions, Content, Fault, MemoryStore, NewObject, Operation, Options};
use sha2::{Digest, Sha256};
use tripod_replication::addressed::{self, Place};
use tripod_replication::replica::{self, Replica, ReplicaTally, Version};
use tripod_replication::sweep::{Needed, sweep};
use tripod_replication::{Progress, Store};

const LIVE: &str = "live";
const KEPT: &str = "kept";

fn store(of: &MemoryStore) -> Store {
    Store::connect(&of.config()).unwrap()
}

struct World {
    source: MemoryStore,
    target: MemoryStore,
    live: Replica,
    kept: Replica,
}

async fn world(source: BucketOptions) -> World {
    let (from, to) = (
        MemoryStore::start(Options::default()).await.unwrap(),
        MemoryStore::start(Options::default()).await.unwrap(),
    );
    from.create_bucket(LIVE, source);
    to.create_bucket(KEPT, BucketOptions::versioned());
    let live = Replica { store: store(&from), bucket: LIVE.into(), prefix: String::new() };
    let kept = Replica { store: store(&to), bucket: KEPT.into(), prefix: "health/files/".into() };
    World { source: from, target: to, live, kept }
}

impl World {
    async fn copy(&self, versions: &[Version]) -> ReplicaTally {
        replica::copy(&self.live, versions, &self.kept, &BTreeMap::new(), &Progress::default()).await
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[tokio::test]
async fn the_version_that_was_listed_arrives_with_all_that_is_kept_beside_it() {
    let world = world(BucketOptions::versioned()).await;
    let object =
        NewObject::new(vec![1; 100_000]).header("content-type", "text/csv").header("x-amz-meta-a", "b");
    world.source.put_object(LIVE, "目录/文件 +%", object.tag("class", "public"));
    world.source.put(LIVE, "empty", Vec::new());
    let versions = replica::inventory(&world.live).await.unwrap();
    world.source.put(LIVE, "目录/文件 +%", vec![2; 100_000]);
    let tally = world.copy(&versions).await;
    assert_eq!((tally.copied, tally.bytes, tally.failed), (2, 100_000, Vec::new()));
    let there = world.target.get(KEPT, "health/files/目录/文件 +%").unwrap();
    assert_eq!(there.content.as_ref().unwrap().to_bytes(), vec![1; 100_000]);
    assert_eq!(there.tags, [("class".to_owned(), "public".to_owned())]);
    assert_eq!(there.header("content-type"), Some("text/csv"));
    assert_eq!(there.header("x-amz-meta-a"), Some("b"));
    let version = tally.versions.iter().find(|version| version.size > 0).unwrap();
    assert_eq!(
        (version.sha256.clone(), version.version_id.clone()),
        (Some(sha256(&vec![1; 100_000])), Some(there.id.clone()))
    );
    assert_eq!(replica::verify(&world.kept, &tally.versions, &Progress::default()).await.unwrap(), []);
    world.target.corrupt(KEPT, "health/files/目录/文件 +%", 7);
    let found = replica::verify(&world.kept, &tally.versions, &Progress::default()).await.unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn an_object_that_was_replaced_since_it_was_listed_is_not_taken_for_it() {
    let world = world(BucketOptions::default()).await;
    world.source.put(LIVE, "a", vec![1; 10]);
    let versions = replica::inventory(&world.live).await.unwrap();
    world.source.put(LIVE, "a", vec![2; 10]);
    let tally = world.copy(&versions).await;
    assert_eq!((tally.copied, tally.failed.len()), (0, 1));
    assert!(world.target.snapshot(KEPT).is_empty());
}

/// Small ones in memory, larger ones as they pass, the largest in parts.
#[tokio::test]
async fn what_is_not_what_is_on_record_never_becomes_visible() {
    for size in [1000, 1 << 20, 65 << 20] {
        let world = world(BucketOptions::versioned()).await;
        world.source.put(LIVE, "a", vec![3; size]);
        let mut versions = replica::inventory(&world.live).await.unwrap();
        versions[0].sha256 = Some(sha256(&vec![3; size]));
        world.source.corrupt(LIVE, "a", size - 1);
        let tally = world.copy(&versions).await;
        assert!(tally.failed[0].1.to_string().contains("SHA-256"), "{:?}", tally.failed);
        assert!(world.target.snapshot(KEPT).is_empty(), "{size}");
        assert!(world.target.unfinished_uploads(KEPT).is_empty(), "{size}");
    }
}

#[tokio::test]
async fn what_breaks_off_is_begun_again_and_of_large_objects_only_a_part() {
    let world = world(BucketOptions::versioned()).await;
    let large: Vec<u8> = (0..70_u32 << 20).map(|n| (n >> 12).to_le_bytes()[0]).collect();
    let digest = sha256(&large);
    world.source.put(LIVE, "large", large);
    world.source.put(LIVE, "small", vec![5; 300_000]);
    let versions = replica::inventory(&world.live).await.unwrap();
    world.source.faults().nth_of(Operation::GetObject, 3, Fault::TruncatedBody);
    world.source.faults().nth_of(Operation::GetObject, 5, Fault::ConnectionCutBefore);
    world.target.faults().nth_of(Operation::UploadPart, 2, Fault::Status(503));
    world.target.faults().nth_of(Operation::PutObject, 1, Fault::ReplyLost);
    let tally = world.copy(&versions).await;
    assert_eq!((tally.copied, &tally.failed), (2, &Vec::new()));
    assert_eq!(tally.versions[0].sha256, Some(digest));
    assert_eq!(world.target.get(KEPT, "health/files/large").unwrap().parts.len(), 2);
    assert!(world.target.unfinished_uploads(KEPT).is_empty());
    assert_eq!(replica::verify(&world.kept, &tally.versions, &Progress::default()).await.unwrap(), []);
}

#[tokio::test]
async fn a_damaged_file_does_not_travel() {
    let world = world(BucketOptions::default()).await;
    let name = |content: &[u8]| format!("repository/data/{}", sha256(content));
    let (good, bad) = (vec![1; 100_000], vec![2; 200_000]);
    world.source.put(LIVE, &name(&good), Content::from(good.clone()));
    world.source.put(LIVE, &name(&bad), Content::from(bad.clone()));
    world.source.corrupt(LIVE, &name(&bad), 0);
    let place = |replica: &Replica| Place {
        store: replica.store.clone(),
        bucket: replica.bucket.clone(),
        prefix: "repository/".into(),
    };
    let (from, to) = (place(&world.live), place(&world.kept));
    let again = BTreeSet::new();
    let tally = addressed::copy_missing(&from, &to, "data/", &again, &Progress::default()).await.unwrap();
    assert_eq!((tally.copied, tally.bytes, tally.damaged.len()), (1, 100_000, 1));
    assert_eq!(world.target.snapshot(KEPT).into_keys().collect::<Vec<_>>(), [name(&good)]);
    let tally = addressed::copy_missing(&from, &to, "data/", &again, &Progress::default()).await.unwrap();
    assert_eq!((tally.copied, tally.skipped), (0, 1));
    let verified = addressed::verify(&from, "data/", None, &Progress::default()).await.unwrap();
    assert_eq!((verified.checked, verified.damaged.len()), (2, 1));
}

#[tokio::test]
async fn versions_that_no_inventory_names_are_swept_and_no_others() {
    let world = world(BucketOptions::default()).await;
    let mut inventories = Vec::new();
    for body in [b"one", b"two", b"six"] {
        world.source.put(LIVE, "changes", body.to_vec());
        world.source.put(LIVE, "stays", b"the same".to_vec());
        inventories.push(world.copy(&replica::inventory(&world.live).await.unwrap()).await.versions);
    }
    let other = Replica { prefix: "health/other/".into(), ..world.kept.clone() };
    let live = replica::inventory(&world.live).await.unwrap();
    let elsewhere =
        replica::copy(&world.live, &live, &other, &BTreeMap::new(), &Progress::default()).await.versions;
    let mut needed = Needed::default();
    needed.add(inventories[1].clone());
    needed.add(inventories[2].clone());
    let (old, progress) = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1), Progress::default());
    // None is older than the beginning of time.
    assert_eq!(sweep(&world.kept, &needed, jiff::Timestamp::UNIX_EPOCH, &progress).await.unwrap(), 0);
    assert_eq!(progress.so_far().0, 0);
    assert_eq!(sweep(&world.kept, &needed, old, &progress).await.unwrap(), 0);
    assert_eq!(progress.so_far(), (2, 11));
    for inventory in &inventories[1..] {
        assert_eq!(replica::verify(&world.kept, inventory, &progress).await.unwrap(), []);
    }
    assert_eq!(replica::verify(&other, &elsewhere, &progress).await.unwrap(), []);
    assert_eq!(replica::verify(&world.kept, &inventories[0], &progress).await.unwrap().len(), 2);
}
