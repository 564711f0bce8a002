//! What must hold whatever goes wrong: a random history at the source, faults at both stores, kills at any request, somebody
//! else's hands at the destination. After quiescence both sides hold the same; nothing newer was ever replaced by something
//! older; no upload is left half sent; and what was taken for proved is right.
//!
//! `TRIPOD_SEEDS=10000 cargo test --release -p tripod-replication --test faults` is the campaign; `TRIPOD_SEED=7` repeats one.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

#[path = "../campaign/mod.rs"]
mod campaign;
mod checks;
#[path = "../memory_store/mod.rs"]
mod memory_store;
mod random;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use jiff::SignedDuration;
use memory_store::{BucketOptions, Fault, MemoryStore, NewObject, Operation, Options as Kind};
use tripod_replication::engine::{self, Deletes, Options, Place, Side};
use tripod_replication::wire::{Patience, Wire};
use tripod_replication::{StoreConfig, StoreError};

use self::campaign::{HASTY, side, stories};
use self::checks::{alike, bytes_of};
use self::random::{change, settle, story};
use self::world::{BUCKET, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_both_sides_end_alike() {
    stories(200, story).await;
}

/// The race that others lose: overwritten with the same size between the GET and the PUT of its copy. Moments of both
/// stores then say that the copy is the newer one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overwrite_between_get_and_put_is_not_stale_for_ever() {
    let mut random = Rng::with_seed(1);
    let world = World::new(&mut random).await;
    world.source.put(BUCKET, "k", b"old content".to_vec());
    let source = world.source.clone();
    let mut once = true;
    world.target.faults().decide(move |seen| {
        if seen.operation == Operation::PutObject && std::mem::take(&mut once) {
            source.put(BUCKET, "k", b"new content".to_vec());
        }
        None
    });
    let options = Options::default();
    world.run(&options).await.unwrap();
    assert_eq!(bytes_of(&world.target.get(BUCKET, "k").unwrap()), b"old content");
    world.target.faults().clear();
    let report = world.run(&options).await.unwrap();
    assert_eq!(
        (report.copied, bytes_of(&world.target.get(BUCKET, "k").unwrap())),
        (1, b"new content".to_vec())
    );
}

/// Killed at every request, one after the other, and taken up again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_request_loses_nothing() {
    for kill_at in 1..60 {
        let mut random = Rng::with_seed(7);
        let world = World::new(&mut random).await;
        for _ in 0..14 {
            change(&world.source, &world.order, &mut random);
        }
        let options = Options { at_once: 2, ..Options::default() };
        let killed = Arc::new(tokio::sync::Notify::new());
        let count = Arc::new(AtomicU64::new(0));
        for store in [&world.source, &world.target] {
            let (killed, count) = (killed.clone(), count.clone());
            store.faults().decide(move |_| {
                if count.fetch_add(1, Ordering::Relaxed) + 1 == kill_at {
                    killed.notify_one();
                    return Some(Fault::HalfOpen);
                }
                None
            });
        }
        tokio::select! {
            () = killed.notified() => {}
            done = world.run(&options) => drop(done.unwrap()),
        }
        world.source.faults().clear();
        world.target.faults().clear();
        world.is_free().await;
        settle(&world, &options, kill_at).await;
        alike(&world, Deletes::Ignore, kill_at);
        assert_eq!(world.target.unfinished_uploads(BUCKET), [], "killed at request {kill_at}");
    }
}

/// The same content with other metadata is another object.
#[tokio::test]
async fn metadata_alone_is_a_change() {
    let mut random = Rng::with_seed(9);
    let world = World::new(&mut random).await;
    let object = |who: &str| NewObject::new(b"the same".to_vec()).header("x-amz-meta-who", who);
    world.source.put_object(BUCKET, "k", object("me"));
    let options = Options::default();
    world.run(&options).await.unwrap();
    world.source.set_clock_offset(SignedDuration::from_hours(2));
    world.source.put_object(BUCKET, "k", object("you"));
    assert_eq!(world.run(&options).await.unwrap().copied, 1);
    alike(&world, Deletes::Ignore, 9);
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_not_overwritten_unasked() {
    let mut random = Rng::with_seed(3);
    let world = World::new(&mut random).await;
    world.source.put(BUCKET, "k", b"ours".to_vec());
    world.target.put(BUCKET, "k", b"theirs".to_vec());
    let refused = world.run(&Options::default()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::NotEmpty { key, .. } if key == "k"), "{refused}");
    let refused = refused.to_string();
    assert!(refused.contains("is not empty") && refused.contains("adopt"), "{refused}");
    assert_eq!(bytes_of(&world.target.get(BUCKET, "k").unwrap()), b"theirs");
    world.run(&Options { adopt: true, ..Options::default() }).await.unwrap();
    assert_eq!(bytes_of(&world.target.get(BUCKET, "k").unwrap()), b"ours");
}

#[tokio::test]
async fn more_deletions_than_allowed_are_none() {
    let mut random = Rng::with_seed(4);
    let world = World::new(&mut random).await;
    for key in ["a", "b", "c"] {
        world.source.put(BUCKET, key, key.as_bytes().to_vec());
    }
    let options = Options { deletes: Deletes::Mirror { most: 2 }, ..Options::default() };
    world.run(&options).await.unwrap();
    for key in ["a", "b", "c"] {
        world.source.delete(BUCKET, key);
    }
    let report = world.run(&options).await.unwrap();
    assert_eq!((report.fuse, report.deleted, report.is_whole()), (Some(3), 0, false));
    assert_eq!(world.target.current(BUCKET).len(), 3);
    world.source.put(BUCKET, "a", b"again".to_vec());
    let report = world.run(&options).await.unwrap();
    assert_eq!((report.fuse, report.deleted, report.copied), (None, 2, 1));
}

#[tokio::test]
async fn one_run_at_a_time_has_a_manifest() {
    let mut random = Rng::with_seed(5);
    let world = World::new(&mut random).await;
    world.source.put(BUCKET, "k", b"x".to_vec());
    // So that they meet; and far below the patience of a run.
    world.target.faults().all(Fault::Slow(Duration::from_millis(20)));
    let options = Options::default();
    let (first, second) = tokio::join!(world.run(&options), world.run(&options));
    let refused = first.err().or(second.err()).unwrap().to_string();
    assert!(refused.contains("held by another run"), "{refused}");
}

/// A store that speaks TLS is reached with the certificate that its description names, and not without.
#[tokio::test]
async fn certificates_of_the_description_are_trusted_and_no_others() {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = rustls::crypto::ring::default_provider();
    let tls = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let source = MemoryStore::start(Kind { tls: Some(Arc::new(tls)), ..Kind::default() }).await.unwrap();
    let target = MemoryStore::start(Kind::default()).await.unwrap();
    for store in [&source, &target] {
        store.create_bucket(BUCKET, BucketOptions::default());
    }
    source.put(BUCKET, "k", b"secret on its way".to_vec());
    let run = async |ca_pem: Option<String>| {
        let config = StoreConfig { ca_pem, ..source.config() };
        let patience = Patience { silence: Duration::from_secs(5), pause: Duration::from_millis(1) };
        let from = Side::new(Wire::with_patience(&config, patience).unwrap(), BUCKET, "");
        let options = Options { adopt: true, ..Options::default() };
        engine::replicate(&from, &side(&target, BUCKET, HASTY), Place::Nowhere, &options, &Arc::default())
            .await
    };
    let refused = run(None).await.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    assert_eq!(run(Some(made.cert.pem())).await.unwrap().copied, 1);
}
