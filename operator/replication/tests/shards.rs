//! A run in shards by several workers that are killed at any moment: it ends as a run by one does. What the source holds is
//! there, what is on record is right, nothing is left of the run, and the next ordinary run finds nothing to do.
//!
//! `TRIPOD_SEEDS=200 cargo test -p tripod-replication --test shards` tries more; `TRIPOD_SEED=7` repeats one.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fastrand::Rng;
use memory_store::{
    BucketOptions, Conditions, Content, Fault, MemoryStore, NewObject, Operation, Options as Kind,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tripod_replication::StoreError;
use tripod_replication::engine::shards::{self, Observer, Standing, Worker};
use tripod_replication::engine::{self, Counters, Deletes, Depth, Filter, Options, Place, Report, Side};
use tripod_replication::wire::{Patience, Wire};

const BUCKET: &str = "b";
const VAULT: &str = "vault";
const PREFIX: &str = "replication/a/";
const TERMS: &str = "all of it";

struct World {
    source: Arc<MemoryStore>,
    target: Arc<MemoryStore>,
    options: Options,
    random: Rng,
    /// Of the workers that are not told to.
    stop: watch::Sender<bool>,
}

fn wire(store: &MemoryStore) -> Wire {
    let config = store.config();
    let patience = Patience { silence: Duration::from_secs(2), pause: Duration::from_millis(2) };
    Wire::with_patience(&config, patience).unwrap()
}

impl World {
    async fn new(seed: u64) -> Self {
        Self::with(seed, Kind::default()).await
    }

    async fn with(seed: u64, kind: Kind) -> Self {
        let mut random = Rng::with_seed(seed);
        let page_size = random.usize(20..300);
        let start = async |kind: Kind| MemoryStore::start(Kind { page_size, ..kind }).await.unwrap();
        let source = start(Kind::default()).await;
        let target = start(Kind { min_part_size: 1, ..kind }).await;
        for (store, bucket) in [(&source, BUCKET), (&target, BUCKET), (&target, VAULT)] {
            store.create_bucket(bucket, BucketOptions::default());
        }
        Self {
            source: source.into(),
            target: target.into(),
            options: Options { at_once: random.usize(4..32), ..Options::default() },
            random,
            stop: watch::Sender::new(false),
        }
    }

    /// Objects with keys of a few kinds, some of them written in parts.
    fn fill(&mut self, objects: usize) {
        for number in 0..objects {
            let key = match number % 5 {
                0 => format!("scans/2024/{number:06}.txt"),
                1 => format!("scans/2025/{:x}", number * 7919),
                2 => format!("目录/{number}/文件"),
                3 => format!("{number:05}"),
                _ => format!("logs/~/{} b+c%20d", number / 3 * 3 + number % 2),
            };
            let object = if number % 301 == 7 {
                NewObject::in_parts([Content::from(vec![1; 300]), Content::from(key.clone().into_bytes())])
            } else {
                NewObject::new(format!("content of {key}").into_bytes())
            };
            self.source.put_object(BUCKET, &key, object.header("x-amz-meta-number", &number.to_string()));
        }
    }

    fn from(&self) -> Side {
        Side::new(wire(&self.source), BUCKET, "")
    }

    fn to(&self) -> Side {
        Side::new(wire(&self.target), BUCKET, "")
    }

    fn place(&self) -> Place {
        Place::Bucket { wire: wire(&self.target), bucket: VAULT.into(), prefix: PREFIX.into() }
    }

    async fn open(&self, parts: usize, terms: &str) -> Result<shards::Opened, StoreError> {
        shards::open(&self.from(), &self.to(), &self.place(), &self.options, parts, terms).await
    }

    /// A worker in a hurry.
    fn worker(&self, name: &str) -> Worker {
        Worker {
            renew: Duration::from_millis(20),
            expire: Duration::from_millis(400),
            ..Worker::new(name, self.stop.subscribe())
        }
    }

    fn work(
        &self,
        run: &str,
        worker: Worker,
    ) -> impl Future<Output = Result<Report, StoreError>> + Send + 'static {
        let (from, to, place) = (self.from(), self.to(), self.place());
        let (options, run) = (self.options.clone(), run.to_owned());
        async move { shards::work(&from, &to, place, &options, &run, worker, &Arc::default()).await }
    }

    async fn look(&self, run: &str) -> Standing {
        Observer::new(&self.place(), run).unwrap().look(&Counters::default()).await.unwrap()
    }

    async fn finish(&self, run: &str) -> Report {
        let (from, to, place) = (self.from(), self.to(), self.place());
        shards::finish(&from, &to, &place, &self.options, run, &Arc::default()).await.unwrap()
    }

    /// From beginning to end, by so many workers.
    async fn run(&self, workers: usize) -> Report {
        let run = self.open(workers * 4, TERMS).await.unwrap().run;
        let mut tasks = JoinSet::new();
        for number in 0..workers {
            tasks.spawn(self.work(&run, self.worker(&number.to_string())));
        }
        for ended in tasks.join_all().await {
            ended.unwrap();
        }
        self.finish(&run).await
    }

    async fn replicate(&self) -> Report {
        let (from, to, place) = (self.from(), self.to(), self.place());
        engine::replicate(&from, &to, place, &self.options, &Arc::default()).await.unwrap()
    }

    /// Everything is there, all of it is proved, nothing is left over, and there is nothing to do.
    async fn is_done(&self, seed: u64) {
        let (source, target) = (self.source.current(BUCKET), self.target.current(BUCKET));
        let keys = |of: &std::collections::BTreeMap<String, _>| of.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&source), keys(&target), "seed {seed}");
        for (key, wanted) in &source {
            let bytes = |content: &Option<Content>| content.as_ref().map(Content::to_bytes);
            assert_eq!(bytes(&target[key].content), bytes(&wanted.content), "seed {seed}: {key:?}");
            assert_eq!(target[key].headers, wanted.headers, "seed {seed}: {key:?}");
        }
        assert_eq!(self.target.unfinished_uploads(BUCKET), [], "seed {seed}");
        let read = Arc::new(AtomicU64::new(0));
        let (from, to, place, filter) = (self.from(), self.to(), self.place(), Filter::default());
        let mut findings = Vec::new();
        let tell = |finding| findings.push(finding);
        let verified = engine::verify(&from, &to, place, &filter, Depth::Content, &read, tell).await.unwrap();
        assert_eq!((verified.good, findings), (source.len() as u64, vec![]), "seed {seed}");
        let report = self.replicate().await;
        let listed = source.len() as u64;
        assert_eq!(
            (report.listed, report.kept, report.copied),
            (listed, listed, 0),
            "seed {seed}: {report:?}"
        );
        // What a killed worker had sent may have come in after the sweep. It counts for nothing, and goes with the next run
        // that changes anything.
        self.source.put(BUCKET, "one more", b"one more".as_slice());
        self.replicate().await;
        self.left(seed);
    }

    /// In the vault there is the manifest alone, with the segments that count.
    fn left(&self, seed: u64) {
        let vault = self.target.current(VAULT);
        let index = &vault[&format!("{PREFIX}index.json")];
        let index: serde_json::Value =
            serde_json::from_slice(&index.content.as_ref().unwrap().to_bytes()).unwrap();
        let segments = index["segments"].as_array().unwrap();
        // Where a shard was cut, each side has its own keys.
        for pair in segments.windows(2) {
            assert!(pair[0]["last"].as_str() < pair[1]["first"].as_str(), "seed {seed}: {pair:?} overlap");
        }
        let counting = segments.iter();
        let counting: BTreeSet<String> =
            counting.map(|s| format!("segments/{}", s["name"].as_str().unwrap())).collect();
        let lie = vault.keys().filter_map(|key| key.strip_prefix(PREFIX));
        let lie: BTreeSet<String> = lie
            .filter(|name| !name.starts_with("journal/") && *name != "index.json")
            .map(Into::into)
            .collect();
        assert_eq!(lie, counting, "seed {seed}");
    }
}

/// Faults that pass, one in so many.
fn arm(store: &MemoryStore, seed: u64, one_in: u32) {
    let mut random = Rng::with_seed(seed);
    store.faults().decide(move |seen| {
        let faults = [Fault::ConnectionCutBefore, Fault::ReplyLost, Fault::Status(503)];
        let listing = [Fault::ListOutOfOrder, Fault::TruncatedBody];
        let is_listing = seen.operation == Operation::ListObjectsV2 && seen.bucket == BUCKET;
        let at = random.usize(..6);
        (random.u32(..one_in) == 0)
            .then(|| if is_listing { listing[at % 2].clone() } else { faults[at % 3].clone() })
    });
}

/// Workers come and go until all is whole.
async fn story(seed: u64) {
    let mut world = World::new(seed).await;
    let (objects, parts) = (world.random.usize(300..2000), world.random.usize(1..24));
    world.fill(objects);
    if world.random.bool() {
        // A manifest to be cut at, and much that changed since.
        world.replicate().await;
        for (number, key) in world.source.current(BUCKET).into_keys().enumerate() {
            if number % 3 == 0 {
                world.source.put(BUCKET, &key, format!("changed {number}").into_bytes());
            }
        }
    }
    let run = world.open(parts, TERMS).await.unwrap().run;
    if world.random.bool() {
        let one_in = world.random.u32(60..400);
        arm(&world.source, world.random.u64(..), one_in);
        arm(&world.target, world.random.u64(..), one_in);
    }
    let workers = world.random.usize(1..4);
    let (mut tasks, mut started) = (JoinSet::new(), 0);
    loop {
        while tasks.len() < workers {
            let work = world.work(&run, world.worker(&format!("w{started}")));
            // The first ones are killed in the middle of something.
            let kill_after = (started < 6).then(|| Duration::from_micros(world.random.u64(1000..300_000)));
            started += 1;
            tasks.spawn(async move {
                match kill_after {
                    Some(after) => tokio::time::timeout(after, work).await.ok(),
                    None => Some(work.await),
                }
            });
        }
        // One that fails, as stores do, is replaced too.
        if let Some(Ok(Some(Ok(_)))) = tasks.join_next().await {
            break;
        }
        assert!(started < 60, "seed {seed}: it never ends");
    }
    world.source.faults().clear();
    world.target.faults().clear();
    tasks.shutdown().await;
    assert!(world.look(&run).await.is_whole(), "seed {seed}");
    let report = world.finish(&run).await;
    // What could not be copied within its attempts is left to the next run, as ever.
    if report.failed > 0 {
        world.replicate().await;
    }
    world.is_done(seed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_killed_and_replaced_and_it_ends_as_ever() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("TRIPOD_SEED") {
        return story(seed).await;
    }
    for seed in 1..=number("TRIPOD_SEEDS").unwrap_or(8) {
        story(seed).await;
    }
}

/// One shard is held by one worker; those that come later cut it up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_straggler_is_cut_up() {
    for (seed, with_manifest) in [(1, false), (2, true)] {
        let mut world = World::new(seed).await;
        world.fill(1500);
        if with_manifest {
            world.replicate().await;
            for key in world.source.current(BUCKET).into_keys() {
                world.source.put(BUCKET, &key, b"changed".to_vec());
            }
        }
        world.options.at_once = 4;
        world.source.faults().every(Operation::GetObject, Fault::Slow(Duration::from_millis(3)));
        let run = world.open(1, TERMS).await.unwrap().run;
        assert_eq!(world.look(&run).await.shards, 1);
        let alone = Worker { hands: 1, ..world.worker("alone") };
        let alone = tokio::spawn(world.work(&run, alone));
        while world.look(&run).await.workers == 0 {
            tokio::task::yield_now().await;
        }
        let helper = world.work(&run, world.worker("helper")).await.unwrap();
        alone.await.unwrap().unwrap();
        let standing = world.look(&run).await;
        assert!(standing.is_whole() && standing.shards > 2, "{standing:?}");
        assert!(helper.copied > 200, "{helper:?}");
        world.source.faults().clear();
        assert!(world.finish(&run).await.is_whole());
        world.is_done(seed).await;
    }
}

/// A worker that says nothing for long loses what it has. It finds out, and nothing of its counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_a_lease_is_fenced_off() {
    let mut world = World::new(3).await;
    world.fill(60);
    world.options.at_once = 1;
    world.source.faults().every(Operation::GetObject, Fault::Slow(Duration::from_millis(15)));
    let run = world.open(1, TERMS).await.unwrap().run;
    let silent = Worker { hands: 1, renew: Duration::from_mins(10), ..world.worker("silent") };
    let silent = tokio::spawn(world.work(&run, silent));
    while world.look(&run).await.workers == 0 {
        tokio::task::yield_now().await;
    }
    let eager = Worker { hands: 1, expire: Duration::from_millis(100), ..world.worker("eager") };
    let eager = world.work(&run, eager).await.unwrap();
    let silent = silent.await.unwrap().unwrap();
    assert_eq!((silent.listed, silent.copied), (0, 0), "what a worker did without a lease counts");
    assert_eq!(eager.listed, 60);
    world.source.faults().clear();
    assert!(world.finish(&run).await.is_whole());
    world.is_done(3).await;
}

/// Who is told to stop gives back what it has: nobody has to wait until it has expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_to_stop_gives_its_leases_back() {
    let mut world = World::new(4).await;
    world.fill(400);
    world.source.faults().every(Operation::GetObject, Fault::Slow(Duration::from_millis(20)));
    let run = world.open(3, TERMS).await.unwrap().run;
    let first = tokio::spawn(world.work(&run, world.worker("first")));
    while world.look(&run).await.workers == 0 {
        tokio::task::yield_now().await;
    }
    world.stop.send_replace(true);
    first.await.unwrap().unwrap();
    let standing = world.look(&run).await;
    assert_eq!((standing.workers, standing.is_whole()), (0, false));
    world.stop.send_replace(false);
    world.source.faults().clear();
    let never = Duration::from_hours(1);
    world.work(&run, Worker { expire: never, ..world.worker("second") }).await.unwrap();
    assert!(world.finish(&run).await.is_whole());
    world.is_done(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_source_has_no_more_is_deleted_under_the_fuse() {
    let mut world = World::new(5).await;
    world.fill(300);
    assert_eq!(world.run(2).await.copied, 300 - duplicates(300));
    for key in ["00003", "00008", "00298"] {
        world.source.delete(BUCKET, key);
    }
    let before = world.target.current(BUCKET).len();
    world.options.deletes = Deletes::Mirror { most: 2 };
    let report = world.run(3).await;
    assert_eq!((report.fuse, report.deleted, report.is_whole()), (Some(3), 0, false));
    assert_eq!(world.target.current(BUCKET).len(), before);
    world.options.deletes = Deletes::Mirror { most: 3 };
    let report = world.run(3).await;
    assert_eq!((report.fuse, report.deleted, report.gone), (None, 3, 3));
    world.is_done(5).await;
}

/// Keys that [`World::fill`] makes twice.
fn duplicates(objects: usize) -> u64 {
    let of = |number: usize| format!("{}", number / 3 * 3 + number % 2);
    let all: Vec<String> = (0..objects).filter(|number| number % 5 == 4).map(of).collect();
    (all.len() - all.iter().collect::<BTreeSet<_>>().len()) as u64
}

/// A coordinator that was interrupted finds its run; one that wants something else closes it, and nothing is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_taken_up_by_those_who_want_the_same() {
    let mut world = World::new(6).await;
    world.fill(800);
    let first = world.open(8, TERMS).await.unwrap();
    let again = world.open(8, TERMS).await.unwrap();
    assert!(!first.taken_up && again.taken_up && again.run == first.run);
    // One shard is done; another one is not even begun.
    let worker = Worker { hands: 1, ..world.worker("one") };
    let work = tokio::spawn(world.work(&first.run, worker));
    while world.look(&first.run).await.whole == 0 {
        tokio::task::yield_now().await;
    }
    work.abort();
    let _ = work.await;
    let other = world.open(8, "other terms").await.unwrap();
    assert!(!other.taken_up && other.run != first.run);
    // Those that are late find that it is over.
    world.work(&first.run, world.worker("late")).await.unwrap();
    world.work(&other.run, world.worker("two")).await.unwrap();
    let report = world.finish(&other.run).await;
    assert!(report.kept > 0 && report.kept + report.copied == report.listed, "{report:?}");
    world.is_done(6).await;
    // Closed without another one: the ordinary run goes on where it was.
    for key in world.source.current(BUCKET).into_keys().take(100) {
        world.source.put(BUCKET, &key, b"changed".to_vec());
    }
    let third = world.open(8, TERMS).await.unwrap();
    world.work(&third.run, world.worker("three")).await.unwrap();
    let close = async || shards::close(&world.from(), &world.to(), &world.place()).await.unwrap();
    assert!(close().await);
    assert!(!close().await);
    world.is_done(6).await;
}

/// Finishing is interrupted anywhere, and called again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_it_is_finished_loses_nothing() {
    for kill_at in 1..40 {
        let mut world = World::new(7).await;
        world.fill(120);
        world.options.deletes = Deletes::Mirror { most: 5 };
        world.run(1).await;
        world.source.delete(BUCKET, "00003");
        world.source.put(BUCKET, "00008", b"changed".to_vec());
        let run = world.open(3, TERMS).await.unwrap().run;
        world.work(&run, world.worker("one")).await.unwrap();
        let killed = Arc::new(tokio::sync::Notify::new());
        let (notify, mut count) = (killed.clone(), 0);
        world.target.faults().decide(move |_| {
            count += 1;
            (count == kill_at).then(|| {
                notify.notify_one();
                Fault::HalfOpen
            })
        });
        let (from, to, place) = (world.from(), world.to(), world.place());
        let counters = Arc::default();
        let finish = shards::finish(&from, &to, &place, &world.options, &run, &counters);
        tokio::select! {
            () = killed.notified() => {}
            done = finish => drop(done.unwrap()),
        }
        world.target.faults().clear();
        let run = world.open(3, TERMS).await.unwrap();
        world.work(&run.run, world.worker("two")).await.unwrap();
        world.finish(&run.run).await;
        world.is_done(kill_at).await;
    }
}

#[tokio::test]
async fn a_store_in_which_nothing_can_be_leased_is_refused() {
    for conditions in [Conditions::Refused, Conditions::Ignored, Conditions::OnlyAbsent] {
        let world = World::with(8, Kind { conditions, ..Kind::default() }).await;
        world.source.put(BUCKET, "a", b"1".to_vec());
        let refused = world.open(4, TERMS).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unsupported { .. }), "{conditions:?}: {refused}");
        assert_eq!(world.target.current(VAULT).keys().collect::<Vec<_>>(), [""; 0], "{conditions:?}");
        assert_eq!(world.replicate().await.copied, 1);
    }
    let world = World::new(8).await;
    let (from, to) = (world.from(), world.to());
    let refused = shards::open(&from, &to, &Place::Nowhere, &world.options, 4, TERMS).await.unwrap_err();
    assert!(refused.to_string().contains("not in a bucket"), "{refused}");
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_not_overwritten_unasked() {
    let mut world = World::new(9).await;
    world.source.put(BUCKET, "k", b"ours".to_vec());
    world.target.put(BUCKET, "k", b"theirs".to_vec());
    let refused = world.open(4, TERMS).await.unwrap_err().to_string();
    assert!(refused.contains("is not empty"), "{refused}");
    world.options.adopt = true;
    assert_eq!(world.run(1).await.copied, 1);
    world.is_done(9).await;
}

/// How large a run would be is known before it, from the record or from the source.
#[tokio::test]
async fn the_inventory_counts_no_further_than_it_has_to() {
    let mut world = World::new(10).await;
    world.fill(500);
    let all = world.source.current(BUCKET).len() as u64;
    let inventory =
        async |most| shards::inventory(&world.from(), &world.to(), &world.place(), most).await.unwrap();
    assert_eq!(inventory(u64::MAX).await.unrecorded, all);
    let before = world.source.requests(Operation::ListObjectsV2);
    assert!(inventory(10).await.unrecorded >= 10);
    assert_eq!(world.source.requests(Operation::ListObjectsV2), before + 1);
    let run = world.open(12, TERMS).await.unwrap().run;
    // Without a manifest the source is asked where to cut.
    assert!(world.look(&run).await.shards >= 8, "{:?}", world.look(&run).await);
    assert!(inventory(1).await.begun);
    world.work(&run, world.worker("one")).await.unwrap();
    world.finish(&run).await;
    let inventory = inventory(u64::MAX).await;
    assert_eq!((inventory.begun, inventory.recorded, inventory.unrecorded), (false, all, 0));
    world.is_done(10).await;
}

/// Workers choose by tags as one process does, and say how many they left out.
#[tokio::test]
async fn what_lacks_the_tags_is_left_out_by_workers_too() {
    let mut world = World::new(11).await;
    world.fill(60);
    for number in 0..7 {
        let object = NewObject::new(b"kept".to_vec()).tag("keep", "yes");
        world.source.put_object(BUCKET, &format!("tagged/{number}"), object);
    }
    let all = world.source.current(BUCKET).len() as u64;
    world.options.filter.tags = [("keep".to_owned(), "yes".to_owned())].into();
    let report = world.run(2).await;
    assert_eq!((report.copied, report.left_out, report.failed), (7, all - 7, 0));
    assert!(world.target.current(BUCKET).keys().all(|key| key.starts_with("tagged/")));
    // What they lacked is on record: nobody is asked again.
    let before = world.source.requests(Operation::GetObjectTagging);
    let report = world.run(2).await;
    assert_eq!((report.copied, report.kept, report.left_out), (0, 7, all - 7));
    assert_eq!(world.source.requests(Operation::GetObjectTagging), before);
}
