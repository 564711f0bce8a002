//! What a store keeps whatever anybody asks of it: locks, what comes back from under them, and what goes for good.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use jiff::{SignedDuration, Timestamp};
use memory_store::{BucketOptions, Fault, MemoryStore, ObjectLock, Operation, Options, Versioning};
use sha2::{Digest, Sha256};
use tripod_replication::retain::Keeper;
use tripod_replication::{Store, StoreError};

const BUCKET: &str = "vault";

struct World {
    memory: MemoryStore,
    store: Store,
}

async fn world(object_lock: bool) -> World {
    let memory = MemoryStore::start(Options::default()).await.unwrap();
    let object_lock = object_lock.then_some(ObjectLock { default: None });
    memory.create_bucket(BUCKET, BucketOptions { versioning: Versioning::Enabled, object_lock });
    let store = Store::connect(&memory.config()).unwrap();
    World { memory, store }
}

impl World {
    fn keeper(&self) -> Keeper<'_> {
        Keeper { store: &self.store, bucket: BUCKET }
    }

    async fn lock(&self, key: &str, days: i64) -> Result<u64, StoreError> {
        self.keeper().lock([(key.to_owned(), None)], Timestamp::now() + hours(24 * days)).await
    }

    async fn recall(&self, damaged: &[&str]) -> Vec<String> {
        let is_wanted = |key: &str, deleted| deleted || damaged.contains(&key);
        self.keeper().recall("", is_wanted, Timestamp::now()).await.unwrap()
    }

    fn content(&self, key: &str) -> Option<Vec<u8>> {
        Some(self.memory.get(BUCKET, key)?.content.as_ref()?.to_bytes().to_vec())
    }

    fn versions(&self, key: &str) -> usize {
        self.memory.snapshot(BUCKET).get(key).map_or(0, Vec::len)
    }
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// Named by its content.
fn pack(content: &[u8]) -> String {
    format!("data/{}", hex::encode(Sha256::digest(content)))
}

#[tokio::test]
async fn a_lock_holds_against_who_may_delete_and_is_made_longer_only_when_it_has_to_be() {
    let world = world(true).await;
    let id = world.memory.put(BUCKET, "a", b"1".to_vec()).id.clone();
    assert_eq!(world.lock("a", 2).await.unwrap(), 1);
    let refused = world.store.erase(BUCKET, "").await.unwrap_err();
    assert!(matches!(refused, StoreError::Denied { .. }), "{refused}");
    assert_eq!(world.content("a").unwrap(), b"1");
    // For less than it has, nothing is written; for more it is.
    assert_eq!(world.lock("a", 1).await.unwrap(), 0);
    assert_eq!(world.memory.requests(Operation::PutObjectRetention), 1);
    assert_eq!(world.lock("a", 3).await.unwrap(), 1);
    // A version by its id, though it is not current any more.
    world.memory.put(BUCKET, "a", b"2".to_vec());
    let until = Timestamp::now() + hours(24 * 9);
    assert_eq!(world.keeper().lock([("a".to_owned(), Some(id))], until).await.unwrap(), 1);
    assert!(world.lock("none", 1).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_bucket_without_locks_says_so() {
    let world = world(false).await;
    world.memory.put(BUCKET, "a", b"1".to_vec());
    let error = world.lock("a", 2).await.unwrap_err().to_string();
    assert!(error.contains("Object Lock"), "{error}");
}

#[tokio::test]
async fn what_was_deleted_or_covered_comes_back_from_under_its_lock() {
    let world = world(true).await;
    let covered = pack(b"good");
    for (key, content) in [("deleted", "d"), ("twice", "t"), ("free", "f"), ("changed", "c")] {
        world.memory.put(BUCKET, key, content.as_bytes().to_vec());
    }
    world.memory.put(BUCKET, &covered, b"good".to_vec());
    for key in ["deleted", "twice", "changed", &covered] {
        world.lock(key, 2).await.unwrap();
    }
    for key in ["deleted", "twice", "twice", "free"] {
        world.memory.delete(BUCKET, key);
    }
    world.memory.put(BUCKET, "changed", b"C".to_vec());
    // Who covers it may lock as well, and delete on top.
    world.memory.put(BUCKET, &covered, b"evil".to_vec());
    world.lock(&covered, 2).await.unwrap();
    world.memory.delete(BUCKET, &covered);
    assert!(world.keeper().is_deleted_in_spite("deleted", Timestamp::now()).await.unwrap());
    for key in ["free", "changed", "delete", "none"] {
        assert!(!world.keeper().is_deleted_in_spite(key, Timestamp::now()).await.unwrap(), "{key}");
    }
    let mut recalled = world.recall(&[]).await;
    recalled.sort();
    assert_eq!(recalled, [covered.as_str(), "deleted", "twice"]);
    assert_eq!(world.content("deleted").unwrap(), b"d");
    assert_eq!(world.content("twice").unwrap(), b"t");
    assert_eq!(world.content("free"), None);
    assert_eq!(world.content("changed").unwrap(), b"C");
    // Proved, and found to be what covered it: what its name says is put on top.
    assert_eq!(world.content(&covered).unwrap(), b"evil");
    assert_eq!(world.recall(&[&covered]).await, std::slice::from_ref(&covered));
    assert_eq!(world.content(&covered).unwrap(), b"good");
    assert!(world.recall(&[]).await.is_empty());
}

#[tokio::test]
async fn what_is_locked_and_wrong_itself_is_passed_over() {
    let world = world(true).await;
    let key = pack(b"good");
    for content in [b"good", b"bad1", b"bad2"] {
        world.memory.put(BUCKET, &key, content.to_vec());
        world.lock(&key, 2).await.unwrap();
    }
    assert_eq!(world.recall(&[&key]).await, std::slice::from_ref(&key));
    assert_eq!(world.content(&key).unwrap(), b"good");
}

#[tokio::test]
async fn a_recall_that_is_cut_off_is_taken_up_again() {
    let world = world(true).await;
    let keys: Vec<String> = (0..3).map(|n| pack(&[n])).collect();
    for (n, key) in (0..).zip(&keys) {
        world.memory.put(BUCKET, key, vec![n]);
        world.lock(key, 2).await.unwrap();
        world.memory.put(BUCKET, key, b"evil".to_vec());
        world.memory.delete(BUCKET, key);
    }
    world.memory.faults().every(Operation::PutObject, Fault::Status(403));
    assert!(world.keeper().recall("", |_, deleted| deleted, Timestamp::now()).await.is_err());
    world.memory.faults().clear();
    assert_eq!(world.recall(&[]).await.len(), 3);
    for (n, key) in (0..).zip(&keys) {
        assert_eq!(world.content(key), Some(vec![n]));
    }
}

#[tokio::test]
async fn only_what_is_out_of_use_for_long_and_not_locked_goes_for_good() {
    let world = world(true).await;
    for key in ["covered", "deleted", "locked", "again"] {
        world.memory.put(BUCKET, key, b"1".to_vec());
    }
    world.lock("locked", 2).await.unwrap();
    world.memory.put(BUCKET, "covered", b"2".to_vec());
    for key in ["deleted", "locked", "again"] {
        world.memory.delete(BUCKET, key);
    }
    world.memory.put(BUCKET, "again", b"3".to_vec());
    let old = Timestamp::now() + hours(1);
    assert_eq!(world.keeper().purge("", Timestamp::now() - hours(1)).await.unwrap(), 0);
    assert_eq!(world.versions("covered") + world.versions("deleted"), 4);
    assert_eq!(world.keeper().purge("", old).await.unwrap(), 1);
    assert_eq!(world.versions("covered"), 1);
    assert_eq!(world.versions("deleted"), 0);
    assert_eq!((world.versions("again"), world.content("again").unwrap()), (1, b"3".to_vec()));
    // Its marker stays with it: without, it would be there again.
    assert_eq!((world.versions("locked"), world.content("locked")), (2, None));
    world.memory.set_clock_offset(hours(49));
    assert_eq!(world.keeper().purge("", Timestamp::now() + hours(60)).await.unwrap(), 0);
    assert_eq!(world.versions("locked"), 0);
}

#[tokio::test]
async fn histories_that_go_over_pages_are_whole() {
    let memory = MemoryStore::start(Options { page_size: 2, ..Options::default() }).await.unwrap();
    let object_lock = Some(ObjectLock { default: None });
    memory.create_bucket(BUCKET, BucketOptions { versioning: Versioning::Enabled, object_lock });
    let world = World { store: Store::connect(&memory.config()).unwrap(), memory };
    for n in 0..5_u8 {
        let key = format!("{n}");
        world.memory.put(BUCKET, &key, vec![n]);
        world.lock(&key, 2).await.unwrap();
        (0..=n).for_each(|_| world.memory.delete(BUCKET, &key));
    }
    assert_eq!(world.recall(&[]).await.len(), 5);
    for n in 0..5_u8 {
        assert_eq!(world.content(&format!("{n}")), Some(vec![n]));
    }
}
