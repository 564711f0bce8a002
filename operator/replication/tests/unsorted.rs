//! A store that lists its objects in no order is refused, unless it was said that it does so: then listings are sorted first.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::sync::Arc;

use memory_store::{BucketOptions, MemoryStore, Options as Kind, Order};
use tripod_replication::engine::{self, Deletes, Options, Place, Side};
use tripod_replication::wire::Wire;

const BUCKET: &str = "b";
/// More than are sorted in memory at once.
const OBJECTS: u32 = 60_000;

async fn store(kind: Kind) -> (MemoryStore, Side) {
    let store = MemoryStore::start(kind).await.unwrap();
    store.create_bucket(BUCKET, BucketOptions::default());
    let config = store.config();
    let side = Side::new(Wire::connect(&config).unwrap(), BUCKET, "in/");
    (store, side)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_without_an_order_is_sorted_where_that_is_known_and_refused_where_not() {
    let (from, source) = store(Kind { order: Order::Backwards, ..Kind::default() }).await;
    let (to, target) = store(Kind { order: Order::Backwards, ..Kind::default() }).await;
    for n in 0..OBJECTS {
        from.put(BUCKET, &format!("in/{n}"), vec![1]);
        // Most are there already.
        if n % 100 != 0 {
            to.put(BUCKET, &format!("in/{n}"), vec![1]);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let place = || Place::Folder(folder.path().join("manifest"));
    let options = Options { adopt: true, deletes: Deletes::Mirror { most: 10 }, ..Options::default() };
    let refused = engine::replicate(&source, &target, place(), &options, &Arc::default()).await.unwrap_err();
    assert!(refused.to_string().contains("unsorted"), "{refused}");

    let (source, target) = (source.unsorted(), target.unsorted());
    let report = engine::replicate(&source, &target, place(), &options, &Arc::default()).await.unwrap();
    assert_eq!((report.listed, report.copied, report.failed), (60_000, 600, 0));
    from.delete(BUCKET, "in/7");
    from.put(BUCKET, "in/8", vec![2]);
    let report = engine::replicate(&source, &target, place(), &options, &Arc::default()).await.unwrap();
    assert_eq!((report.listed, report.copied, report.deleted), (59_999, 1, 1));
    assert_eq!(to.current(BUCKET).len(), 59_999);
}
