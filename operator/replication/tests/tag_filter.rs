//! Objects chosen by their tags: what lacks them is left alone at both sides, and is not asked for at each run.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use memory_store::{BucketOptions, Fault, MemoryStore, NewObject, Operation, Options as Kind};
use tripod_replication::StoreError;
use tripod_replication::engine::{self, Deletes, Depth, Filter, Options, Place, Report, Side};
use tripod_replication::wire::Wire;

const BUCKET: &str = "b";

struct World {
    source: MemoryStore,
    target: MemoryStore,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let source = MemoryStore::start(Kind { min_part_size: 1, ..Kind::default() }).await.unwrap();
        let target = MemoryStore::start(Kind { min_part_size: 1, ..Kind::default() }).await.unwrap();
        for store in [&source, &target] {
            store.create_bucket(BUCKET, BucketOptions::default());
        }
        Self { source, target, folder: tempfile::tempdir().unwrap() }
    }

    fn put(&self, key: &str, tags: &[(&str, &str)]) {
        let object = NewObject::new(format!("content of {key}").into_bytes());
        let object = tags.iter().fold(object, |object, (name, value)| object.tag(name, value));
        self.source.put_object(BUCKET, key, object);
    }

    fn place(&self) -> Place {
        Place::Folder(self.folder.path().to_owned())
    }

    async fn run(&self, options: &Options) -> Result<Report, StoreError> {
        let (source, target) = (side(&self.source), side(&self.target));
        engine::replicate(&source, &target, self.place(), options, &Arc::default()).await
    }

    fn there(&self) -> Vec<String> {
        self.target.current(BUCKET).into_keys().collect()
    }
}

fn side(store: &MemoryStore) -> Side {
    let config = store.config();
    Side::new(Wire::connect(&config).unwrap(), BUCKET, "")
}

fn only(tags: &[(&str, &str)]) -> Options {
    let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut filter = Filter::default();
    filter.tags = tags;
    Options { filter, deletes: Deletes::Mirror { most: 100 }, ..Options::default() }
}

const KEEP: [(&str, &str); 2] = [("keep", "yes"), ("ä", "=&<")];

#[tokio::test]
async fn what_has_all_of_them_is_copied_and_the_rest_is_asked_for_once() {
    let world = World::new().await;
    world.put("all", &[KEEP[1], ("more", "1"), KEEP[0]]);
    world.put("none", &[]);
    world.put("one", &KEEP[..1]);
    world.put("other", &[("keep", "no"), KEEP[1]]);
    let report = world.run(&only(&KEEP)).await.unwrap();
    assert_eq!((report.copied, report.left_out, report.wanted, report.listed), (1, 3, 1, 4));
    assert_eq!(world.there(), ["all"]);
    assert_eq!(world.target.get(BUCKET, "all").unwrap().tags.len(), 3);

    world.source.reset_requests();
    let report = world.run(&only(&KEEP)).await.unwrap();
    assert_eq!((report.copied, report.left_out, report.kept), (0, 3, 1));
    assert_eq!(world.source.requests(Operation::GetObjectTagging), 0);
    assert_eq!(world.source.requests(Operation::GetObject), 0);

    // What is written anew is asked for anew; with other tags, all are.
    world.put("none", &[KEEP[0], KEEP[1], ("now", "too")]);
    assert_eq!(world.run(&only(&KEEP)).await.unwrap().copied, 1);
    let report = world.run(&only(&KEEP[..1])).await.unwrap();
    assert_eq!((report.copied, report.left_out), (1, 1));
    let report = world.run(&only(&[])).await.unwrap();
    assert_eq!((report.copied, report.left_out, world.there().len()), (1, 0, 4));
}

#[tokio::test]
async fn what_lies_where_one_is_left_out_is_nobodys_copy() {
    let world = World::new().await;
    world.put("left", &[]);
    world.put("equal", &[]);
    world.put("taken", &KEEP);
    for key in ["left", "taken"] {
        world.target.put(BUCKET, key, b"theirs".to_vec());
    }
    world.target.put(BUCKET, "equal", b"content of equal".to_vec());
    let options = Options { adopt: true, ..only(&KEEP) };
    let report = world.run(&options).await.unwrap();
    assert_eq!((report.copied, report.left_out), (1, 2));
    for key in ["left", "equal", "taken"] {
        world.source.delete(BUCKET, key);
    }
    let report = world.run(&options).await.unwrap();
    assert_eq!((report.deleted, report.foreign), (1, 2));
    assert_eq!(world.there(), ["equal", "left"]);
}

#[tokio::test]
async fn what_was_copied_and_lost_its_tags_stays_as_it_was() {
    let world = World::new().await;
    world.put("k", &KEEP);
    assert_eq!(world.run(&only(&KEEP)).await.unwrap().copied, 1);
    world.source.put(BUCKET, "k", b"without tags".to_vec());
    let report = world.run(&only(&KEEP)).await.unwrap();
    assert_eq!((report.copied, report.left_out, report.deleted), (0, 1, 0));
    assert_eq!(world.target.get(BUCKET, "k").unwrap().size(), "content of k".len());
    world.source.delete(BUCKET, "k");
    assert_eq!(world.run(&only(&KEEP)).await.unwrap().deleted, 1);
}

/// Overwritten between the question and the copy.
#[tokio::test]
async fn one_that_loses_its_tags_on_the_way_is_left_out() {
    let world = Arc::new(World::new().await);
    world.put("k", &KEEP);
    let (there, mut once) = (Arc::downgrade(&world), true);
    world.source.faults().decide(move |seen| {
        if seen.operation == Operation::GetObject && std::mem::take(&mut once) {
            there.upgrade().unwrap().source.put(BUCKET, "k", b"without tags".to_vec());
        }
        None
    });
    let report = world.run(&only(&KEEP)).await.unwrap();
    assert_eq!((report.copied, report.left_out, report.failed), (0, 1, 0));
    assert!(world.there().is_empty());
}

#[tokio::test]
async fn plan_and_verify_see_the_same_objects() {
    let world = World::new().await;
    world.put("all", &KEEP);
    world.put("none", &[]);
    let (source, target) = (side(&world.source), side(&world.target));
    let mut planned = Vec::new();
    let report =
        engine::plan(&source, &target, world.place(), &only(&KEEP), |it| planned.push(it.key)).await.unwrap();
    assert_eq!((planned, report.wanted), (vec!["all".to_owned()], 1));
    world.run(&only(&KEEP)).await.unwrap();
    for place in [world.place(), Place::Nowhere] {
        let mut findings = Vec::new();
        let (read, filter) = (Arc::<AtomicU64>::default(), only(&KEEP).filter);
        let tell = |finding: engine::Finding| findings.push(finding.key);
        let verified = engine::verify(&source, &target, place, &filter, Depth::Content, &read, tell).await;
        assert!(findings.iter().all(|key| key == "all"), "{findings:?}");
        assert_eq!(verified.unwrap().extra, 0);
    }
}

#[tokio::test]
async fn who_can_not_ask_is_told() {
    let world = World::new().await;
    world.put("k", &KEEP);
    world.source.faults().every(Operation::GetObjectTagging, Fault::Denied);
    let report = world.run(&only(&KEEP)).await.unwrap();
    assert_eq!((report.copied, report.failed, report.left_out), (0, 1, 0));
    let reason = &report.troubles[0].reason;
    assert!(reason.contains("this needs s3:GetObjectTagging"), "{reason}");
    world.source.faults().clear();
    world.source.faults().every(Operation::GetObjectTagging, Fault::Status(501));
    let refused = world.run(&only(&KEEP)).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Unsupported { .. }) && refused.to_string().contains("--tag"),
        "{refused}"
    );
    world.source.faults().clear();
    assert_eq!(world.run(&only(&KEEP)).await.unwrap().copied, 1);
}
