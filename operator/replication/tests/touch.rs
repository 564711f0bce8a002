//! Single keys, looked at because somebody says that they have changed; and the whole run after it, which knows.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use memory_store::{BucketOptions, ETags, Fault, MemoryStore, NewObject, Operation, Options as Kind};
use tripod_replication::StoreError;
use tripod_replication::engine::{self, Counters, Deletes, Filter, Options, Place, Report, Side};
use tripod_replication::wire::{Patience, Wire};

const BUCKET: &str = "b";
const VAULT: &str = "vault";

struct World {
    source: MemoryStore,
    target: MemoryStore,
    folder: tempfile::TempDir,
    /// The manifest lies in a bucket of the target.
    in_bucket: bool,
    options: Options,
}

fn side(store: &MemoryStore) -> Side {
    let config = store.config();
    let patience = Patience { silence: Duration::from_secs(5), pause: Duration::from_millis(2) };
    Side::new(Wire::with_patience(&config, patience).unwrap(), BUCKET, "")
}

impl World {
    async fn new(kind: Kind) -> Self {
        let source = MemoryStore::start(kind.clone()).await.unwrap();
        let target = MemoryStore::start(kind).await.unwrap();
        for store in [&source, &target] {
            store.create_bucket(BUCKET, BucketOptions::default());
        }
        let options = Options { deletes: Deletes::Mirror { most: 100 }, ..Options::default() };
        Self { source, target, folder: tempfile::tempdir().unwrap(), in_bucket: false, options }
    }

    fn put(&self, key: &str, content: &str) {
        self.source.put(BUCKET, key, content.as_bytes().to_vec());
    }

    fn place(&self) -> Place {
        if !self.in_bucket {
            return Place::Folder(self.folder.path().to_owned());
        }
        let wire = side(&self.target).wire;
        Place::Bucket { wire, bucket: VAULT.to_owned(), prefix: "replication/a/".to_owned() }
    }

    /// Notes that no whole run has taken in yet.
    fn notes(&self) -> usize {
        if self.in_bucket {
            let names = self.target.current(VAULT);
            return names.keys().filter(|name| name.starts_with("replication/a/touched/")).count();
        }
        std::fs::read_dir(self.folder.path().join("touched")).unwrap().count()
    }

    async fn run(&self) -> Report {
        let place = self.place();
        let counters = Arc::new(Counters::default());
        let (source, target) = (side(&self.source), side(&self.target));
        engine::replicate(&source, &target, place, &self.options, &counters).await.unwrap()
    }

    async fn try_touch(&self, keys: &[&str]) -> Result<Report, StoreError> {
        let place = self.place();
        let (source, target) = (side(&self.source), side(&self.target));
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        engine::touch(&source, &target, place, &self.options, &keys, &Arc::new(Counters::default())).await
    }

    async fn touch(&self, keys: &[&str]) -> Report {
        self.try_touch(keys).await.unwrap()
    }

    fn there(&self, key: &str) -> Option<String> {
        let content = self.target.get(BUCKET, key)?.content.clone()?;
        Some(String::from_utf8(content.to_bytes().to_vec()).unwrap())
    }
}

#[tokio::test]
async fn what_was_touched_is_not_copied_again() {
    for (etags, in_bucket) in [(ETags::Md5, false), (ETags::Opaque, true)] {
        let mut world = World::new(Kind { etags, ..Kind::default() }).await;
        world.in_bucket = in_bucket;
        world.target.create_bucket(VAULT, BucketOptions::default());
        for key in ["a", "b", "目录/c"] {
            world.put(key, "old");
        }
        assert_eq!(world.run().await.copied, 3);
        world.put("目录/c", "new");
        world.put("d", "new");
        let touched = world.touch(&["d", "目录/c", "a", "never there"]).await;
        assert_eq!((touched.copied, touched.kept, touched.failed), (2, 1, 0), "{etags:?}");
        assert_eq!((world.there("目录/c"), world.there("d")), (Some("new".into()), Some("new".into())));
        assert_eq!(world.notes(), 1);
        let run = world.run().await;
        assert_eq!((run.copied, run.kept, run.drifted), (0, 4, 0), "{etags:?}");
        // The manifest has taken it in: what follows needs no notes.
        assert_eq!(world.notes(), 0);
        let run = world.run().await;
        assert_eq!((run.copied, run.kept), (0, 4));
    }
}

#[tokio::test]
async fn what_was_touched_is_ours_and_goes_when_the_source_has_it_no_more() {
    let world = World::new(Kind::default()).await;
    world.put("a", "1");
    world.run().await;
    world.put("b", "2");
    world.target.put(BUCKET, "foreign", b"3".to_vec());
    world.touch(&["b"]).await;
    world.source.delete(BUCKET, "b");
    let touched = world.touch(&["b", "foreign"]).await;
    // Deleted is what a whole run finds gone.
    assert_eq!((touched.gone, touched.deleted, world.there("b")), (2, 0, Some("2".into())));
    let run = world.run().await;
    assert_eq!((run.deleted, run.foreign), (1, 1));
    assert_eq!((world.there("b"), world.there("foreign")), (None, Some("3".into())));
}

#[tokio::test]
async fn a_touch_that_ends_before_its_note_leaves_what_is_known_to_be_ours() {
    let world = World::new(Kind::default()).await;
    world.put("a", "1");
    world.run().await;
    world.put("b", "2");
    world.touch(&["b"]).await;
    let notes = world.folder.path().join("touched");
    for note in std::fs::read_dir(&notes).unwrap() {
        std::fs::remove_file(note.unwrap().path()).unwrap();
    }
    // The answer to the copy is lost, so that the journal stays; then the note.
    world.put("c", "3");
    world.target.faults().nth_of(Operation::PutObject, 1, Fault::ReplyLost);
    assert_eq!(world.touch(&["c"]).await.failed, 0);
    for note in std::fs::read_dir(&notes).unwrap() {
        std::fs::remove_file(note.unwrap().path()).unwrap();
    }
    for key in ["b", "c"] {
        world.source.delete(BUCKET, key);
    }
    world.run().await;
    assert_eq!(world.there("c"), None, "the journal says that it is ours");
    assert_eq!(world.there("b"), Some("2".into()), "of that nothing is on record: it stays");
}

#[tokio::test]
async fn only_what_lies_beside_the_content_has_changed() {
    let world = World::new(Kind::default()).await;
    let object = |owner: &str| NewObject::new(b"1".to_vec()).header("x-amz-meta-owner", owner);
    world.source.put_object(BUCKET, "a", object("zhang"));
    world.run().await;
    world.source.put_object(BUCKET, "new", object("zhang"));
    world.touch(&["new"]).await;
    // Headers tell seconds.
    world.source.set_clock_offset(SignedDuration::from_secs(2));
    for key in ["a", "new"] {
        world.source.put_object(BUCKET, key, object("li"));
        let touched = world.touch(&[key]).await;
        let there = world.target.get(BUCKET, key).unwrap();
        assert_eq!((touched.copied, &there.headers), (1, &world.source.get(BUCKET, key).unwrap().headers));
    }
    assert_eq!(world.touch(&["a", "new"]).await.copied, 0, "an event that comes twice");
}

#[tokio::test]
async fn one_that_fails_stops_no_other_and_tells_its_age() {
    let world = World::new(Kind::default()).await;
    world.run().await;
    for key in ["a", "b"] {
        world.put(key, "1");
    }
    world.source.faults().decide(|seen| {
        (seen.operation == Operation::GetObject && seen.key == "a").then_some(Fault::Status(500))
    });
    let touched = world.touch(&["a", "b"]).await;
    assert_eq!((touched.copied, touched.failed, touched.troubles[0].key.as_str()), (1, 1, "a"));
    assert!(touched.lag_left.is_some_and(|lag| lag < 5000), "{:?}", touched.lag_left);
}

#[tokio::test]
async fn filters_hold_and_a_whole_run_comes_first() {
    let mut world = World::new(Kind::default()).await;
    world.put("a.tmp", "1");
    world.put("large", "much too much");
    let refusal = world.try_touch(&["a.tmp"]).await.unwrap_err();
    assert!(refusal.to_string().contains("whole run first"), "{refusal}");
    let mut filter = Filter::globs(&[], &["*.tmp".to_owned()]).unwrap();
    filter.largest = Some(4);
    world.options.filter = filter;
    world.run().await;
    let long = "k".repeat(2000);
    assert_eq!(world.touch(&["a.tmp", "large", "", &long]).await, Report::default());
    assert!(world.target.current(BUCKET).is_empty());
}
