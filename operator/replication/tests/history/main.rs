//! What must hold of histories, whatever goes wrong: random writes, overwrites, uploads in parts, deletions and deletions of
//! single versions while the engine runs, faults at both stores, kills at any request. After quiescence both sides have the
//! same versions and delete markers in the same order, with all that is kept beside them; and of a moment of the past the
//! destination holds what was current then.
//!
//! `TRIPOD_SEEDS=10000 cargo test --release -p tripod-replication --test history` is the campaign; `TRIPOD_SEED=7` repeats one.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

#[path = "../campaign/mod.rs"]
mod campaign;
mod checks;
#[path = "../memory_store/mod.rs"]
mod memory_store;
mod random;
mod world;

use jiff::Timestamp;
use memory_store::{
    BucketOptions, ETags, Fault, MemoryStore, NewObject, ObjectLock, Operation, Options as Kind, Versioning,
};
use tripod_replication::engine::{self, Deletes, Depth, History, Note, Options};

use self::campaign::{PATIENT, side, stories};
use self::checks::{alike, chains};
use self::random::{all_versions, earlier_moments, is_locked};
use self::world::{BUCKET, HOUR, World, store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_both_sides_have_the_same_versions() {
    stories(50, all_versions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_the_past_is_as_it_was() {
    stories(30, earlier_moments).await;
}

fn all(deletes: Deletes) -> Options {
    Options { deletes, history: History::All, ..Options::default() }
}

const MIRROR: Deletes = Deletes::Mirror { most: 10 };

#[tokio::test]
async fn versions_and_markers_arrive_in_their_order_and_once() {
    let world = World::plain().await;
    let put = |text: &str| world.source.put(BUCKET, "k", text.as_bytes().to_vec());
    put("one");
    world.source.delete(BUCKET, "k");
    put("two");
    let third = put("three");
    world.source.delete(BUCKET, "l");
    let report = world.run(&all(MIRROR)).await.unwrap();
    assert_eq!((report.copied, report.markers, report.listed), (3, 2, 5));
    alike(&world, MIRROR, 0);
    world.target.reset_requests();
    let report = world.run(&all(MIRROR)).await.unwrap();
    assert_eq!((report.copied, report.markers, report.kept), (0, 0, 5));
    let writes = [Operation::PutObject, Operation::DeleteObject, Operation::HeadObject];
    assert_eq!(writes.map(|operation| world.target.requests(operation)), [0; 3]);

    // Deleted for good: only where deletions are followed, and no more than may be.
    world.source.delete_version(BUCKET, "k", &third.id);
    let report = world.run(&all(Deletes::Mirror { most: 0 })).await.unwrap();
    assert_eq!((report.fuse, report.deleted), (Some(1), 0));
    let report = world.run(&all(MIRROR)).await.unwrap();
    assert_eq!((report.fuse, report.deleted), (None, 1));
    alike(&world, MIRROR, 0);
    for version in world.source.snapshot(BUCKET).remove("k").unwrap() {
        world.source.delete_version(BUCKET, "k", &version.id);
    }
    assert_eq!(world.run(&all(MIRROR)).await.unwrap().deleted, 3);
    alike(&world, MIRROR, 0);
}

/// Two versions that nothing tells apart, the answer to the first of them lost, and what lay below deleted meanwhile: the one
/// that landed is the first, and the second is not taken for there.
#[tokio::test]
async fn of_two_alike_the_one_that_landed_unheard_is_the_first() {
    let world = World::plain().await;
    let version = world.source.put(BUCKET, "k", b"one".to_vec());
    world.source.delete(BUCKET, "k");
    world.source.delete(BUCKET, "k");
    let (source, mut put, mut marked) = (world.source.clone(), false, false);
    world.target.faults().decide(move |seen| match seen.operation {
        Operation::PutObject if !std::mem::replace(&mut put, true) => {
            source.delete_version(BUCKET, "k", &version.id);
            Some(Fault::ReplyLost)
        }
        Operation::DeleteObject if !std::mem::replace(&mut marked, true) => Some(Fault::ReplyLost),
        _ => None,
    });
    let report = world.run(&all(MIRROR)).await.unwrap();
    world.target.faults().clear();
    assert_eq!((report.failed, report.missing, report.deleted), (0, 0, 1), "{:?}", report.troubles);
    alike(&world, MIRROR, 0);
}

#[tokio::test]
async fn what_was_never_replicated_is_left_alone() {
    let world = World::plain().await;
    world.source.put(BUCKET, "k", b"ours".to_vec());
    world.run(&all(MIRROR)).await.unwrap();
    world.target.put(BUCKET, "theirs", b"theirs".to_vec());
    let report = world.run(&all(MIRROR)).await.unwrap();
    assert_eq!((report.foreign, report.deleted), (1, 0));
    assert!(world.target.get(BUCKET, "theirs").is_some());
    // Written over what was replicated: put right, and what lies above it stays unless deletions are followed.
    world.target.put(BUCKET, "k", b"theirs".to_vec());
    let report = world.run(&all(Deletes::Ignore)).await.unwrap();
    assert_eq!((report.drifted, report.copied), (1, 1));
    assert_eq!(world.target.snapshot(BUCKET)["k"].len(), 3);
    assert_eq!(world.run(&all(MIRROR)).await.unwrap().deleted, 2);
    assert_eq!(chains(&world.target)["k"], chains(&world.source)["k"]);
}

/// What expired at the destination stays away: to put it there again would hide what is newer.
#[tokio::test]
async fn nothing_older_is_put_on_top_of_something_newer() {
    let world = World::plain().await;
    for text in ["one", "two", "three"] {
        world.source.put(BUCKET, "k", text.as_bytes().to_vec());
    }
    world.run(&all(MIRROR)).await.unwrap();
    let first = world.target.snapshot(BUCKET)["k"][0].id.clone();
    world.target.delete_version(BUCKET, "k", &first);
    let report = world.run(&all(MIRROR)).await.unwrap();
    assert_eq!((report.copied, report.deleted, report.missing), (0, 0, 1));
    world.source.put(BUCKET, "k", b"four".to_vec());
    let report = world.run(&all(MIRROR)).await.unwrap();
    assert_eq!((report.copied, report.missing), (1, 1));
    let contents = chains(&world.target)["k"].iter().map(|v| v.content.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(contents, [b"two".to_vec(), b"three".to_vec(), b"four".to_vec()]);
}

/// Two stores that name nothing alike: what is on record tells, and without it contents do.
#[tokio::test]
async fn contents_that_the_stores_name_differently_are_recognised() {
    let mut world = World::plain().await;
    world.target = store(Kind { etags: ETags::Opaque, ..Kind::default() }, BucketOptions::versioned()).await;
    for text in ["one", "two", "one"] {
        world.source.put(BUCKET, "k", text.as_bytes().to_vec());
    }
    let report = world.run(&all(MIRROR)).await.unwrap();
    assert_eq!((report.copied, report.read_back), (3, 3));
    world.target.reset_requests();
    let report = world.run(&all(MIRROR)).await.unwrap();
    assert_eq!((report.copied, world.target.requests(Operation::GetObject)), (0, 0));
    world.folder = tempfile::tempdir().unwrap();
    let report = world.run(&Options { adopt: true, ..all(MIRROR) }).await.unwrap();
    assert_eq!((report.copied, report.deleted), (0, 0));
    alike(&world, MIRROR, 0);
}

#[tokio::test]
async fn what_can_not_be_exact_is_refused_and_the_side_is_named() {
    let kinds = [BucketOptions::default(), BucketOptions::versioned()];
    for (source, target, history, named) in [
        (&kinds[0], &kinds[1], History::All, "the source"),
        (&kinds[1], &kinds[0], History::All, "the target"),
        (&kinds[0], &kinds[1], History::At(0), "the source"),
        (&kinds[1], &kinds[0], History::At(i64::MAX), "the source"),
    ] {
        let world = World {
            source: store(Kind::default(), source.clone()).await,
            target: store(Kind::default(), target.clone()).await,
            ..World::plain().await
        };
        world.source.put(BUCKET, "k", b"x".to_vec());
        let options = Options { history, ..Options::default() };
        let refused = world.run(&options).await.unwrap_err().to_string();
        assert!(refused.starts_with(named), "{refused}");
        assert_eq!(world.target.requests(Operation::PutObject), 0);
        assert!(!world.folder.path().join("manifest").exists());
    }
}

#[tokio::test]
async fn what_is_written_in_parts_is_not_called_exact() {
    let world = World::plain().await;
    world.source.put(BUCKET, "k", b"old".to_vec());
    world.source.set_clock_offset(HOUR);
    let then = Timestamp::now() + HOUR / 2;
    let late = NewObject::in_parts([b"begun before".to_vec()]).begun(HOUR);
    world.source.put_object(BUCKET, "k", late);
    world.source.put(BUCKET, "l", b"later".to_vec());
    let options = Options { history: History::At(then.as_millisecond()), ..Options::default() };
    let report = world.run(&options).await.unwrap();
    assert_eq!((report.copied, report.uncertain), (1, 1));
    assert!(world.target.get(BUCKET, "l").is_none());
}

fn locked() -> BucketOptions {
    let object_lock = Some(ObjectLock { default: None });
    BucketOptions { versioning: Versioning::Enabled, object_lock }
}

fn put_locked(store: &MemoryStore) {
    let until = "2099-01-02T03:04:05.000Z";
    let lock = |object: NewObject| {
        let object = object.header("x-amz-object-lock-mode", "COMPLIANCE");
        object
            .header("x-amz-object-lock-retain-until-date", until)
            .header("x-amz-object-lock-legal-hold", "ON")
    };
    store.put_object(BUCKET, "large", lock(NewObject::new(vec![7; 70_000])));
    store.put_object(BUCKET, "parts", lock(NewObject::in_parts([vec![1; 9], vec![2; 3]])));
    store.put_object(BUCKET, "small", lock(NewObject::new(b"x".to_vec())));
    store.put_object(BUCKET, "free", NewObject::new(b"x".to_vec()));
}

/// By the write where its MD5 is known, and right after it where it is not.
#[tokio::test]
async fn locks_arrive() {
    for (etags, history, afterwards) in
        [(ETags::Md5, History::Latest, 1), (ETags::Opaque, History::Latest, 2), (ETags::Md5, History::All, 1)]
    {
        let kind = || Kind { min_part_size: 1, ..Kind::default() };
        let world = World {
            source: store(Kind { etags, ..kind() }, locked()).await,
            target: store(kind(), locked()).await,
            ..World::plain().await
        };
        put_locked(&world.source);
        let options = Options { history, ..Options::default() };
        let report = world.run(&options).await.unwrap();
        assert_eq!((report.copied, report.lost_lock, report.failed), (4, 0, 0), "{report:?}");
        assert_eq!(report.notes, []);
        alike(&world, MIRROR, 0);
        let set = [Operation::PutObjectRetention, Operation::PutObjectLegalHold];
        assert_eq!(set.map(|operation| world.target.requests(operation)), [afterwards; 2], "{etags:?}");
    }
}

/// The lock is another request, which was not made: the next run makes it.
#[tokio::test]
async fn a_lock_that_was_not_set_is_set_by_the_next_run() {
    for history in [History::Latest, History::All] {
        let world = World {
            source: store(Kind { min_part_size: 1, ..Kind::default() }, locked()).await,
            target: store(Kind { min_part_size: 1, ..Kind::default() }, locked()).await,
            ..World::plain().await
        };
        put_locked(&world.source);
        let options = Options { history, ..Options::default() };
        world.target.faults().every(Operation::PutObjectRetention, Fault::Status(503));
        let report = world.run(&options).await.unwrap();
        assert_eq!(report.failed, 1, "{report:?}");
        world.target.faults().clear();
        let report = world.run(&options).await.unwrap();
        assert!(report.is_whole(), "{report:?}");
        let parts = world.target.get(BUCKET, "parts").unwrap();
        assert!(is_locked(&parts), "{history:?}: {parts:?}");
    }
}

#[tokio::test]
async fn what_is_lost_is_said_before_and_counted_after() {
    let world = World {
        source: store(Kind::default(), locked()).await,
        target: store(Kind { no_tags: true, min_part_size: 1, ..Kind::default() }, BucketOptions::default())
            .await,
        ..World::plain().await
    };
    put_locked(&world.source);
    let cold = NewObject::new(b"cold".to_vec()).header("x-amz-storage-class", "GLACIER_IR").tag("a", "b");
    world.source.put_object(BUCKET, "cold", cold);
    let warm = NewObject::new(b"warm".to_vec()).header("x-amz-storage-class", "STANDARD_IA");
    world.source.put_object(BUCKET, "warm", warm);
    let classes = [("GLACIER_IR".to_owned(), "COLD".to_owned())].into();
    let options = Options { storage_classes: classes, ..Options::default() };
    let (source, target) = (side(&world.source, BUCKET, PATIENT), side(&world.target, BUCKET, PATIENT));
    let limits = engine::limits(&source, &target, &options).await.unwrap();
    let notes = [Note::NoVersions, Note::NoLocks, Note::NoTags];
    assert_eq!(limits.notes(History::Latest), notes);
    let planned = engine::plan(&source, &target, world.place(), &options, |_| {}).await.unwrap();
    assert_eq!(planned.notes, notes);
    let report = world.run(&options).await.unwrap();
    assert_eq!((report.copied, report.failed), (6, 0), "{report:?}");
    assert_eq!((report.lost_lock, report.lost_tags, report.lost_storage_class), (3, 1, 1));
    assert_eq!(report.notes, notes);
    let class = |key: &str| {
        let version = world.target.get(BUCKET, key).unwrap();
        version.header("x-amz-storage-class").map(str::to_owned)
    };
    assert_eq!((class("cold").as_deref(), class("warm")), (Some("COLD"), None));
}

#[tokio::test]
async fn a_plan_of_all_versions_is_what_a_run_does() {
    let world = World::plain().await;
    world.source.put(BUCKET, "k", b"one".to_vec());
    world.run(&all(MIRROR)).await.unwrap();
    world.source.put(BUCKET, "k", b"two".to_vec());
    world.source.delete(BUCKET, "k");
    world.target.put(BUCKET, "k", b"theirs".to_vec());
    let mut planned = Vec::new();
    let (source, target, options) =
        (side(&world.source, BUCKET, PATIENT), side(&world.target, BUCKET, PATIENT), all(MIRROR));
    let report = engine::plan(&source, &target, world.place(), &options, |step| {
        planned.push(format!("{} {} {}", step.why, step.key, step.size));
    });
    let report = report.await.unwrap();
    assert_eq!(planned, ["new k 3", "marker k 0", "deleted k 6"]);
    assert_eq!((report.wanted, report.gone, report.kept), (2, 1, 1));
    let (verified, _) = world.verify(Depth::Listing).await;
    assert_eq!((verified.good, verified.bad, verified.extra), (1, 2, 1));
}
