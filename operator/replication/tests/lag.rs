//! The lag that is told is the age of the oldest object that the destination lacks, by the source's clock.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use memory_store::{BucketOptions, Fault, MemoryStore, Operation, Options as Kind};
use tripod_replication::engine::{self, Counters, Options, Place, Side};
use tripod_replication::wire::{Patience, Wire};

const BUCKET: &str = "b";
/// Far from this machine's, so that only the source's clock can be right.
const OFF: SignedDuration = SignedDuration::from_hours(-7);
const HELD: &str = "held back";
const AT_ONCE: usize = 4;

struct World {
    source: Arc<MemoryStore>,
    target: Arc<MemoryStore>,
    folder: tempfile::TempDir,
    offset: SignedDuration,
}

fn side(store: &MemoryStore) -> Side {
    let config = store.config();
    let patience = Patience { silence: Duration::from_secs(20), pause: Duration::from_millis(1) };
    Side::new(Wire::with_patience(&config, patience).unwrap(), BUCKET, "")
}

impl World {
    async fn new() -> Self {
        let kind = |clock_offset| Kind { clock_offset, page_size: 3, ..Kind::default() };
        let source = MemoryStore::start(kind(OFF)).await.unwrap();
        let target = MemoryStore::start(kind(SignedDuration::from_hours(5))).await.unwrap();
        for store in [&source, &target] {
            store.create_bucket(BUCKET, BucketOptions::default());
        }
        let (source, target) = (Arc::new(source), Arc::new(target));
        Self { source, target, folder: tempfile::tempdir().unwrap(), offset: OFF }
    }

    /// The source's clock goes on.
    fn pass(&mut self, time: SignedDuration) {
        self.offset += time;
        self.source.set_clock_offset(self.offset);
    }

    /// Milliseconds; the truth.
    fn lag(&self) -> Option<i64> {
        let there = self.target.current(BUCKET);
        let source = self.source.current(BUCKET);
        let missing =
            source.iter().filter(|(key, version)| there.get(*key).map(|t| &t.etag) != Some(&version.etag));
        let oldest = missing.map(|(_, version)| version.modified).min()?;
        Some((Timestamp::now() + self.offset).as_millisecond() - oldest.as_millisecond())
    }

    async fn run(&self, counters: &Arc<Counters>) -> engine::Report {
        let place = Place::Folder(self.folder.path().to_owned());
        let options = Options { at_once: AT_ONCE, ..Options::default() };
        engine::replicate(&side(&self.source), &side(&self.target), place, &options, counters).await.unwrap()
    }

    /// The source gives this one object to nobody.
    fn hold(&self, key: &'static str) {
        self.source.faults().decide(move |seen| {
            (seen.operation == Operation::GetObject && seen.key == key).then_some(Fault::Status(500))
        });
    }
}

fn is_true(told: Option<u64>, truth: Option<i64>) -> bool {
    match (told, truth) {
        (None, None) => true,
        (Some(told), Some(truth)) => (i64::try_from(told).unwrap() - truth).abs() <= 1000,
        _ => false,
    }
}

#[tokio::test]
async fn after_each_run_it_is_that_of_what_is_held_back() {
    let mut world = World::new().await;
    world.hold(HELD);
    for round in 0..8 {
        for n in 0..4 {
            world.source.put(BUCKET, &format!("{round}/{n}"), format!("{round} {n}").into_bytes());
            world.pass(SignedDuration::from_millis(1700));
        }
        if round == 2 {
            world.source.put(BUCKET, HELD, b"1".to_vec());
        }
        if round == 6 {
            world.source.faults().clear();
        }
        world.pass(SignedDuration::from_secs(30));
        let report = world.run(&Arc::default()).await;
        let truth = world.lag();
        assert_eq!(truth.is_some(), (2..6).contains(&round), "round {round}");
        assert!(
            is_true(report.lag_left, truth),
            "round {round}: {:?} and in truth {truth:?}",
            report.lag_left
        );
    }
}

/// At any moment.
#[tokio::test]
async fn while_a_run_goes_on_it_is_that_of_what_is_not_there_yet() {
    let mut world = World::new().await;
    for n in 0..40 {
        world.source.put(BUCKET, &format!("{n:02}"), format!("{n}").into_bytes());
        world.pass(SignedDuration::from_secs(7));
    }
    world.source.put(BUCKET, HELD, b"1".to_vec());
    world.hold(HELD);
    // Each copy takes a moment: there is something to see.
    world.target.faults().every(Operation::PutObject, Fault::Slow(Duration::from_millis(20)));
    let counters = Arc::<Counters>::default();
    // As many as are copied at once may have arrived and not be counted yet.
    let behind = 7000 * i64::try_from(AT_ONCE).unwrap();
    let mut looks = 0;
    let mut run = std::pin::pin!(world.run(&counters));
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    let report = loop {
        tokio::select! {
            report = &mut run => break report,
            _ = tick.tick() => {
                let (told, truth) = (counters.report(), world.lag().unwrap());
                // Until all was listed it is not known what is missing.
                if told.wanted < 41 {
                    continue;
                }
                let told = i64::try_from(told.lag_left.unwrap()).unwrap();
                let range = truth - 1000..=truth + behind + 1000;
                assert!(range.contains(&told), "{told} and in truth {range:?}");
                looks += 1;
            }
        }
    };
    assert!(looks > 20, "{looks} looks");
    assert_eq!((report.copied, report.failed), (40, 1));
    assert!(is_true(report.lag_left, world.lag()), "{:?} {:?}", report.lag_left, world.lag());
}
