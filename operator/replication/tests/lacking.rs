//! What stores are known not to have: the way around it is taken from the start. Where they have it after all, nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::sync::Arc;

use memory_store::{BucketOptions, Conditions, Content, MemoryStore, NewObject, Operation, Options as Kind};
use tripod_replication::engine::{self, Lacking, Options, Place, Report, Side};
use tripod_replication::wire::Wire;

const BUCKET: &str = "b";
const ALL: Lacking = Lacking { conditions: true, parts: true, tags: true };

struct World {
    source: MemoryStore,
    target: MemoryStore,
}

impl World {
    /// Of stores that have it, or have it not.
    async fn new(has: bool) -> Self {
        let kind = Kind {
            min_part_size: 1,
            no_part_number: !has,
            conditions: if has { Conditions::Honoured } else { Conditions::Refused },
            ..Kind::default()
        };
        let world = Self {
            source: MemoryStore::start(kind.clone()).await.unwrap(),
            target: MemoryStore::start(kind).await.unwrap(),
        };
        for store in [&world.source, &world.target] {
            store.create_bucket(BUCKET, BucketOptions::default());
        }
        for n in 0..20_u8 {
            world.source.put(BUCKET, &format!("small {n:02}"), vec![n; 100]);
        }
        world.source.put_object(BUCKET, "tagged", NewObject::new(b"tagged".to_vec()).tag("a", "b"));
        let odd = [vec![1; 70_000], vec![2; 3], vec![3; 9]];
        world.source.put_object(BUCKET, "odd parts", NewObject::in_parts(odd));
        let usual = [vec![1; 5 << 20], vec![2; 5 << 20], vec![3; 9]];
        world.source.put_object(BUCKET, "usual parts", NewObject::in_parts(usual));
        world
    }

    async fn run(&self, lacking: Lacking) -> Report {
        let options = Options { lacking, at_once: 4, ..Options::default() };
        let (source, target) = (side(&self.source), side(&self.target));
        let report = engine::replicate(&source, &target, Place::Nowhere, &options, &Arc::default()).await;
        let report = report.unwrap();
        assert!(report.is_whole() && report.copied == 23, "{report:?}");
        let (there, here) = (self.target.current(BUCKET), self.source.current(BUCKET));
        assert!(there.keys().eq(here.keys()));
        for (key, wanted) in &here {
            let bytes = |content: &Option<Content>| content.as_ref().map(Content::to_bytes);
            assert_eq!(bytes(&there[key].content), bytes(&wanted.content), "{key}");
            assert_eq!(there[key].tags, wanted.tags, "{key}");
        }
        report
    }
}

fn side(store: &MemoryStore) -> Side {
    let config = store.config();
    Side::new(Wire::connect(&config).unwrap(), BUCKET, "")
}

#[tokio::test]
async fn what_is_known_is_not_tried() {
    // Without: the first writes are refused, and the first object in parts is sent as a whole.
    let world = World::new(false).await;
    world.run(Lacking::default()).await;
    assert!(world.target.requests(Operation::PutObject) > 22);

    let world = World::new(false).await;
    let report = world.run(ALL).await;
    // Those of one piece, and the one of which nobody knows how it was cut.
    assert_eq!(world.target.requests(Operation::PutObject), 22);
    assert_eq!(world.target.requests(Operation::CompleteMultipartUpload), 1);
    // Three ranges of the other, and that one twice: it is proved by reading.
    assert_eq!(world.source.requests(Operation::GetObject), 21 + 3 + 2);
    assert_eq!(world.source.requests(Operation::HeadObject), 2);
    assert_eq!((report.lost_tags, report.read_back), (1, 1));
    let (there, here) = (&world.target, &world.source);
    assert_eq!(there.get(BUCKET, "usual parts").unwrap().etag, here.get(BUCKET, "usual parts").unwrap().etag);
}

#[tokio::test]
async fn what_is_there_after_all_is_not_missed() {
    let world = World::new(true).await;
    let report = world.run(ALL).await;
    assert_eq!((report.failed, report.read_back), (0, 1));
    // All of it is known, and nothing of it needed.
    let world = World::new(true).await;
    let report = world.run(Lacking::default()).await;
    assert_eq!((report.lost_tags, report.read_back), (0, 0));
}
