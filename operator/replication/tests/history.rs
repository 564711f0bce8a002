//! What must hold of histories, whatever goes wrong: random writes, overwrites, uploads in parts, deletions and deletions of
//! single versions while the engine runs, faults at both stores, kills at any request. After quiescence both sides have the
//! same versions and delete markers in the same order, with all that is kept beside them; and of a moment of the past the
//! destination holds what was current then.
//!
//! `TRIPOD_SEEDS=10000 cargo test --release -p tripod-replication --test history` is the campaign; `TRIPOD_SEED=7` repeats one.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use memory_store::{
    BucketOptions, Conditions, Content, ETags, Fault, MemoryStore, NewObject, ObjectLock, Operation,
    Options as Kind, Version, Versioning,
};
use tripod_replication::engine::{
    self, Counters, Deletes, Depth, Filter, Finding, History, Note, Options, Place, Report, Side, Verified,
};
use tripod_replication::wire::{Patience, Wire};
use tripod_replication::{StoreConfig, StoreError};

const BUCKET: &str = "b";
/// Keys that are written to again and again, some of them odd.
const KEYS: [&str; 8] = ["a", "a/b", "a b+c%20d", "dir/", "目录/文件", "z\u{1}\nz", "\u{e9}", "-"];
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Both stores, and what was ever written at the source.
struct World {
    source: Arc<MemoryStore>,
    target: Arc<MemoryStore>,
    folder: tempfile::TempDir,
    /// By key and `ETag`: how manieth content of its key it is.
    order: Arc<Mutex<BTreeMap<(String, String), u64>>>,
    locks: bool,
    /// Whether the target's history tells contents apart.
    tells: bool,
}

fn side(store: &MemoryStore) -> Side {
    let config = StoreConfig {
        endpoint: store.endpoint(),
        region: "us-east-1".into(),
        ca_pem: None,
        access_key_id: "key".into(),
        secret_access_key: "secret".into(),
        session_token: None,
        reach: tripod_replication::Reach::default(),
    };
    let patience = Patience { silence: Duration::from_millis(150), pause: Duration::from_millis(2) };
    Side::new(Wire::with_patience(&config, patience).unwrap(), BUCKET, "")
}

async fn store(kind: Kind, bucket: BucketOptions) -> Arc<MemoryStore> {
    let store = MemoryStore::start(kind).await.unwrap();
    store.create_bucket(BUCKET, bucket);
    Arc::new(store)
}

impl World {
    async fn new(random: &mut Rng) -> Self {
        let etags = |random: &mut Rng| if random.u8(..5) == 0 { ETags::Opaque } else { ETags::Md5 };
        let kind = |random: &mut Rng| Kind {
            etags: etags(random),
            no_part_number: random.u8(..4) == 0,
            page_size: random.usize(2..9),
            min_part_size: 1,
            history: true,
            ..Kind::default()
        };
        let locks = random.u8(..4) == 0;
        let object_lock = locks.then_some(ObjectLock { default: None });
        let bucket = BucketOptions { versioning: Versioning::Enabled, object_lock };
        let source = store(kind(random), bucket.clone()).await;
        let conditions = if random.u8(..6) == 0 { Conditions::Refused } else { Conditions::Honoured };
        let target_kind = Kind { conditions, ..kind(random) };
        let tells = target_kind.etags == ETags::Md5 && conditions == Conditions::Honoured;
        let target = store(target_kind, bucket).await;
        let folder = tempfile::tempdir().unwrap();
        Self { source, target, folder, order: Arc::default(), locks, tells }
    }

    /// Two that do nothing by chance.
    async fn plain() -> Self {
        Self {
            source: store(Kind::default(), BucketOptions::versioned()).await,
            target: store(Kind::default(), BucketOptions::versioned()).await,
            folder: tempfile::tempdir().unwrap(),
            order: Arc::default(),
            locks: false,
            tells: true,
        }
    }

    fn place(&self) -> Place {
        Place::Folder(self.folder.path().join("manifest"))
    }

    async fn run(&self, options: &Options) -> Result<Report, StoreError> {
        let counters = Arc::new(Counters::default());
        engine::replicate(&side(&self.source), &side(&self.target), self.place(), options, &counters).await
    }

    async fn verify(&self, depth: Depth) -> (Verified, Vec<Finding>) {
        let (source, target, filter) = (side(&self.source), side(&self.target), Filter::default());
        let (mut findings, read) = (Vec::new(), Arc::default());
        let tell = |finding| findings.push(finding);
        let verified =
            engine::verify_versions(&source, &target, self.place(), &filter, depth, &read, tell).await;
        (verified.unwrap(), findings)
    }

    /// What was killed in this process lets its lock go a moment later.
    async fn is_free(&self) {
        let path = self.folder.path().join("manifest/lock");
        for _ in 0..2000 {
            match std::fs::File::open(&path) {
                Ok(file) if file.try_lock().is_err() => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => return,
            }
        }
        panic!("{} is held for ever", path.display());
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// An object like no other, except where it is empty.
fn object(random: &mut Rng, locks: bool) -> (NewObject, u64) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Mostly of the same size: what only sizes or moments tell apart is not told apart.
    let size = if random.u8(..3) == 0 { random.usize(..200) } else { 32 };
    let bytes = |random: &mut Rng, size: usize| -> Vec<u8> {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(size));
        bytes
    };
    let kind = random.u8(..7);
    let object = match kind {
        0 => NewObject::new(Vec::new()),
        1 => {
            let sizes = [random.usize(1..90_000), random.usize(1..40), random.usize(1..9)];
            let object = NewObject::in_parts(sizes.map(|size| Content::from(bytes(random, size))));
            object.begun(SignedDuration::from_mins(random.i64(0..150)))
        }
        2 => NewObject::new(bytes(random, 70_000)),
        _ => NewObject::new(bytes(random, size)),
    };
    // What is the same content, and was written twice, has the same beside it.
    let shown = if kind == 0 { 0 } else { number };
    let mut object =
        object.header("x-amz-meta-number", &shown.to_string()).header("content-type", "text/x-test");
    if kind != 0 && random.u8(..4) == 0 {
        object = object.tag("a key", "värde=&");
    }
    if kind != 0 && locks && random.bool() {
        object = object.header("x-amz-object-lock-mode", "GOVERNANCE");
        object = object.header("x-amz-object-lock-retain-until-date", "2099-01-02T03:04:05.000Z");
    }
    if kind != 0 && locks && random.u8(..4) == 0 {
        object = object.header("x-amz-object-lock-legal-hold", "ON");
    }
    (object, number)
}

fn is_locked(version: &Version) -> bool {
    version.header("x-amz-object-lock-mode").or(version.header("x-amz-object-lock-legal-hold")).is_some()
}

/// Who changes the source.
#[derive(Clone)]
struct Hands {
    source: Arc<MemoryStore>,
    order: Arc<Mutex<BTreeMap<(String, String), u64>>>,
    locks: bool,
    /// Versions are deleted for good that are newer than this; none at all with `None`.
    deletes_behind: Option<Timestamp>,
}

impl Hands {
    fn change(&self, random: &mut Rng) {
        let key = KEYS[random.usize(..KEYS.len())];
        match random.u8(..7) {
            0 | 1 => self.source.delete(BUCKET, key),
            2 => {
                let Some(behind) = self.deletes_behind else { return };
                let snapshot = self.source.snapshot(BUCKET);
                let versions = snapshot.get(key).map(Vec::as_slice).unwrap_or_default();
                let free = versions.iter().filter(|v| v.modified > behind && !is_locked(v));
                if let Some(version) = random.choice(free.collect::<Vec<_>>()) {
                    self.source.delete_version(BUCKET, key, &version.id);
                }
            }
            _ => {
                let (object, number) = object(random, self.locks);
                let etag = self.source.put_object(BUCKET, key, object).etag.clone();
                self.order.lock().unwrap().insert((key.to_owned(), etag), number);
            }
        }
    }
}

/// What may go wrong with an operation.
fn fault(operation: Operation, random: &mut Rng) -> Fault {
    let offset = random.usize(..40);
    let common = [
        Fault::ConnectionCutBefore,
        Fault::ReplyLost,
        Fault::Status(500),
        Fault::Status(503),
        Fault::Slow(Duration::from_millis(5)),
    ];
    let special = match operation {
        Operation::GetObject => vec![Fault::TruncatedBody, Fault::FlippedByte(offset), Fault::WrongETag],
        Operation::PutObject => vec![Fault::FlippedUpload(offset), Fault::Full(507), Fault::WrongETag],
        Operation::UploadPart => vec![Fault::FlippedUpload(offset), Fault::Full(507)],
        Operation::CompleteMultipartUpload => vec![Fault::ErrorInside200, Fault::Full(507)],
        Operation::ListObjectVersions => vec![Fault::ListDuplicate, Fault::TruncatedBody],
        Operation::HeadObject => vec![Fault::WrongETag],
        _ => vec![],
    };
    // A peer that says nothing costs time: rarely.
    if random.u8(..60) == 0 {
        return Fault::HalfOpen;
    }
    if !special.is_empty() && random.bool() {
        return special[random.usize(..special.len())].clone();
    }
    common[random.usize(..common.len())].clone()
}

/// Faults at both, and at a request the end.
fn arm(world: &World, random: &mut Rng) -> Arc<tokio::sync::Notify> {
    let killed = Arc::new(tokio::sync::Notify::new());
    let kill_at = if random.u8(..2) == 0 { random.u64(1..150) } else { u64::MAX };
    let one_in = random.u32(6..80);
    let count = Arc::new(AtomicU64::new(0));
    for store in [&world.source, &world.target] {
        let (killed, count, mut random) = (killed.clone(), count.clone(), random.fork());
        store.faults().clear();
        store.faults().decide(move |seen| {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == kill_at {
                killed.notify_one();
                // Done or not: the one who is killed does not hear of it.
                return Some(if random.bool() { Fault::ReplyLost } else { Fault::HalfOpen });
            }
            (random.u32(..one_in) == 0).then(|| fault(seen.operation, &mut random))
        });
    }
    killed
}

/// Changes at the source while a run is under way, which may be killed in the middle.
async fn round(world: &World, hands: &Hands, options: &Options, random: &mut Rng) {
    let killed = arm(world, random);
    let changes = {
        let (hands, mut random) = (hands.clone(), random.fork());
        async move {
            for _ in 0..random.u8(..12) {
                tokio::time::sleep(Duration::from_micros(random.u64(..1500))).await;
                hands.change(&mut random);
            }
        }
    };
    let run = async {
        tokio::select! {
            () = killed.notified() => {}
            _ = world.run(options) => {}
        }
    };
    tokio::join!(changes, run);
    world.is_free().await;
    world.source.faults().clear();
    world.target.faults().clear();
}

/// Runs without faults until there is nothing left to do.
async fn settle(world: &World, options: &Options, seed: u64) -> Report {
    for _ in 0..4 {
        let report = world.run(options).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(report.is_whole(), "seed {seed}: {report:?}");
        assert_eq!(report.missing, 0, "seed {seed}: versions are missing below newer ones");
        if report.copied == 0 && report.deleted == 0 && report.markers == 0 {
            return report;
        }
    }
    panic!("seed {seed}: there is always something left to do");
}

/// A version, as both sides have to have it.
#[derive(Clone, PartialEq, Eq)]
struct Shown {
    content: Option<Vec<u8>>,
    headers: String,
    tags: Vec<(String, String)>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes =
            self.content.as_ref().map(|bytes| (bytes.len(), bytes.iter().take(9).collect::<Vec<_>>()));
        write!(f, "{bytes:?} {}", self.headers)
    }
}

fn shown(version: &Version) -> Shown {
    Shown {
        content: version.content.as_ref().map(|content| content.to_bytes().to_vec()),
        headers: format!("{:?}", version.headers),
        tags: version.tags.clone(),
    }
}

fn chains(store: &MemoryStore) -> BTreeMap<String, Vec<Shown>> {
    let snapshot = store.snapshot(BUCKET);
    snapshot
        .iter()
        .map(|(key, versions)| (key.clone(), versions.iter().map(|v| shown(v)).collect()))
        .collect()
}

fn alike(world: &World, deletes: Deletes, seed: u64) {
    let (source, target) = (chains(&world.source), chains(&world.target));
    if matches!(deletes, Deletes::Mirror { .. }) {
        for key in source.keys().chain(target.keys()) {
            assert_eq!(source.get(key), target.get(key), "seed {seed}: versions of {key:?}");
        }
        return;
    }
    for (key, wanted) in &source {
        let there = target.get(key).map(Vec::as_slice).unwrap_or_default();
        let mut rest = there.iter();
        let all = wanted.iter().all(|version| rest.any(|there| there == version));
        assert!(all, "seed {seed}: {key:?} is to have {wanted:?}, and has {there:?}");
        assert_eq!(wanted.last(), there.last(), "seed {seed}: the current version of {key:?}");
    }
}

/// Of each key the target's contents came in the source's order.
fn never_older(world: &World, seed: u64) {
    let order = world.order.lock().unwrap();
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for became in world.target.history() {
        let Some(etag) = became.etag.filter(|etag| !etag.starts_with("d41d8cd9")) else { continue };
        let Some(number) = order.get(&(became.key.clone(), etag)) else { continue };
        let before = newest.entry(became.key.clone()).or_default();
        assert!(number >= before, "seed {seed}: {:?} went from {before} back to {number}", became.key);
        *before = *number;
    }
}

/// All versions, through whatever goes wrong.
async fn all_versions(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let world = World::new(&mut random).await;
    // What is locked can't be deleted, also where it was written twice.
    let mirror = !world.locks && random.u8(..3) > 0;
    let deletes = if mirror { Deletes::Mirror { most: 1000 } } else { Deletes::Ignore };
    let options =
        Options { deletes, at_once: random.usize(1..9), history: History::All, ..Options::default() };
    let shrinks = random.bool();
    let hands = Hands {
        source: world.source.clone(),
        order: world.order.clone(),
        locks: world.locks,
        deletes_behind: shrinks.then_some(Timestamp::MIN),
    };
    for _ in 0..random.u8(..30) {
        hands.change(&mut random);
    }
    for _ in 0..random.u8(2..6) {
        round(&world, &hands, &options, &mut random).await;
    }
    let report = settle(&world, &options, seed).await;
    alike(&world, deletes, seed);
    assert_eq!(world.target.unfinished_uploads(BUCKET), [], "seed {seed}: uploads are left half sent");
    assert_eq!((report.lost_lock, report.lost_tags), (0, 0), "seed {seed}");
    if world.tells && !shrinks {
        never_older(&world, seed);
    }
    let (verified, findings) = world.verify(Depth::Content).await;
    assert_eq!((verified.bad, findings), (0, Vec::new()), "seed {seed}");
}

/// A moment of the past, through whatever goes wrong.
async fn earlier_moments(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let world = World::new(&mut random).await;
    let mut hands = Hands {
        source: world.source.clone(),
        order: world.order.clone(),
        locks: world.locks,
        deletes_behind: None,
    };
    let mut moments = Vec::new();
    for hour in 1..random.i32(3..6) {
        for _ in 0..random.u8(5..25) {
            hands.change(&mut random);
        }
        // The last millisecond before the clock is put on.
        let now = Timestamp::now() + HOUR * (hour - 1) + SignedDuration::from_secs(1);
        moments.push((now, world.source.current(BUCKET)));
        world.source.set_clock_offset(HOUR * hour);
    }
    // What came later may even be deleted for good.
    hands.deletes_behind = moments.last().map(|(last, _)| *last);
    for _ in 0..random.u8(2..4) {
        let (moment, then) = &moments[random.usize(..moments.len())];
        let history = History::At(moment.as_millisecond());
        let deletes = Deletes::Mirror { most: 1000 };
        let options = Options { deletes, at_once: random.usize(1..9), history, ..Options::default() };
        for _ in 0..random.u8(..3) {
            round(&world, &hands, &options, &mut random).await;
        }
        let report = settle(&world, &options, seed).await;
        let there = world.target.current(BUCKET);
        let keys: std::collections::BTreeSet<_> = then.keys().chain(there.keys()).collect();
        let differs =
            |key: &&&String| then.get(**key).map(|v| shown(v)) != there.get(**key).map(|v| shown(v));
        let wrong: Vec<_> = keys.iter().filter(differs).collect();
        assert!(
            wrong.len() as u64 <= report.uncertain,
            "seed {seed}: {wrong:?} are not as they were at {moment}, and {} are said to be uncertain",
            report.uncertain
        );
        assert_eq!(world.target.unfinished_uploads(BUCKET), [], "seed {seed}: uploads are left half sent");
    }
}

async fn stories<F: Future<Output = ()>>(count: u64, story: impl Fn(u64) -> F) {
    if let Some(seed) = number("TRIPOD_SEED") {
        return story(seed).await;
    }
    let seeds = number("TRIPOD_SEEDS").unwrap_or(count);
    let first = number("TRIPOD_FIRST_SEED").unwrap_or(1);
    for seed in first..first + seeds {
        story(seed).await;
    }
    println!("{seeds} seeds from {first}");
}

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
    let (source, target) = (side(&world.source), side(&world.target));
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
    let (source, target, options) = (side(&world.source), side(&world.target), all(MIRROR));
    let report = engine::plan(&source, &target, world.place(), &options, |step| {
        planned.push(format!("{} {} {}", step.why, step.key, step.size));
    });
    let report = report.await.unwrap();
    assert_eq!(planned, ["new k 3", "marker k 0", "deleted k 6"]);
    assert_eq!((report.wanted, report.gone, report.kept), (2, 1, 1));
    let (verified, _) = world.verify(Depth::Listing).await;
    assert_eq!((verified.good, verified.bad, verified.extra), (1, 2, 1));
}
