//! What goes over a link with a limit: every request of its side and every byte of objects and listings.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::sync::Arc;
use std::time::{Duration, Instant};

use memory_store::{BucketOptions, MemoryStore, NewObject, Options as Kind};
use tripod_replication::engine::{self, Counters, Options, Place, Side};
use tripod_replication::fair::Link;
use tripod_replication::wire::Wire;

const BUCKET: &str = "b";

async fn store() -> MemoryStore {
    let store = MemoryStore::start(Kind { min_part_size: 1, ..Kind::default() }).await.unwrap();
    store.create_bucket(BUCKET, BucketOptions::default());
    store
}

fn wire(store: &MemoryStore) -> Wire {
    Wire::connect(&store.config()).unwrap()
}

/// How long a run takes where one side lies behind the link.
async fn takes(source: Wire, target: Wire) -> Duration {
    let (source, target) = (Side::new(source, BUCKET, ""), Side::new(target, BUCKET, ""));
    let start = Instant::now();
    let counters = Arc::<Counters>::default();
    let report = engine::replicate(&source, &target, Place::Nowhere, &Options::default(), &counters).await;
    assert!(report.unwrap().is_whole());
    start.elapsed()
}

#[tokio::test]
async fn bytes_take_their_time_whichever_side_lies_behind_the_link() {
    for behind in ["source", "target"] {
        let (from, to) = (store().await, store().await);
        // Small, larger than what is held in memory, and in parts.
        for n in 0..10_u8 {
            from.put(BUCKET, &format!("small/{n}"), vec![n; 20_000]);
        }
        from.put(BUCKET, "large", vec![1; 600_000]);
        from.put_object(BUCKET, "parts", NewObject::in_parts([vec![2; 100_000], vec![3; 100_000]]));
        let link = Link::default();
        link.set(Some(1_000_000), None);
        let (mut source, mut target) = (wire(&from), wire(&to));
        match behind {
            "source" => source = source.over(link.lane("health")),
            _ => target = target.over(link.lane("health")),
        }
        // A quarter of a second is saved up, and the last piece of each body is not waited for.
        let took = takes(source, target).await.as_secs_f64();
        assert!((0.55..2.5).contains(&took), "{behind}: {took}");
    }
}

#[tokio::test]
async fn every_request_counts() {
    let (from, to) = (store().await, store().await);
    for n in 0..50 {
        from.put(BUCKET, &n.to_string(), b"1".to_vec());
    }
    let link = Link::default();
    link.set(None, Some(50));
    let took = takes(wire(&from).over(link.lane("health")), wire(&to)).await.as_secs_f64();
    // 50 GETs and a LIST at least, and an eighth of a second's worth saved up.
    assert!((0.7..2.5).contains(&took), "{took}");
}
