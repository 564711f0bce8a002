//! What must hold whatever goes wrong: a random history at the source, faults at both stores, kills at any request, somebody
//! else's hands at the destination. After quiescence both sides hold the same; nothing newer was ever replaced by something
//! older; no upload is left half sent; and what was taken for proved is right.
//!
//! `TRIPOD_SEEDS=10000 cargo test --release -p tripod-replication --test faults` is the campaign; `TRIPOD_SEED=7` repeats one.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use jiff::SignedDuration;
use memory_store::{
    BucketOptions, Conditions, Content, ETags, Fault, MemoryStore, NewObject, Operation, Options as Kind,
    Order,
};
use tripod_replication::engine::{self, Counters, Deletes, Depth, Filter, Options, Place, Report, Side};
use tripod_replication::wire::{Patience, Wire};
use tripod_replication::{Reach, StoreConfig, StoreError};

const BUCKET: &str = "b";
const KEY: &str = "key";
/// Keys that are written to again and again, some of them odd.
const KEYS: [&str; 12] = [
    "a",
    "a/b",
    "a//b",
    "a/../b",
    "a b+c%20d",
    "dir/",
    "目录/文件",
    "z\u{1}\nz",
    "\u{e9}",
    "e\u{301}",
    "-",
    "~",
];

/// Both stores, and what was ever written at the source.
struct World {
    source: Arc<MemoryStore>,
    target: Arc<MemoryStore>,
    folder: tempfile::TempDir,
    /// By key and `ETag`: how manieth content of its key it is.
    order: Arc<Mutex<BTreeMap<(String, String), u64>>>,
    /// Keys that somebody else has written at the target, and the source never had.
    foreign: BTreeSet<String>,
    /// Whether the target's history tells contents apart.
    tells: bool,
}

fn config(store: &MemoryStore) -> StoreConfig {
    StoreConfig {
        endpoint: store.endpoint(),
        region: "us-east-1".into(),
        ca_pem: None,
        access_key_id: KEY.into(),
        secret_access_key: "secret".into(),
        session_token: None,
        reach: Reach::default(),
    }
}

/// While things go wrong: so short that no history takes long.
const HASTY: Duration = Duration::from_millis(150);
/// When nothing does: so long that a machine with other work to do is not taken for a store that is silent.
const PATIENT: Duration = Duration::from_secs(20);

fn side(store: &MemoryStore, silence: Duration) -> Side {
    let config = config(store);
    let patience = Patience { silence, pause: Duration::from_millis(2) };
    let side = Side::new(Wire::with_patience(&config, patience).unwrap(), BUCKET, "");
    if store.is_unordered() { side.unsorted() } else { side }
}

impl World {
    async fn new(random: &mut Rng) -> Self {
        let etags = |random: &mut Rng| if random.u8(..6) == 0 { ETags::Opaque } else { ETags::Md5 };
        let kind = |random: &mut Rng| Kind {
            etags: etags(random),
            no_part_number: random.u8(..4) == 0,
            page_size: random.usize(2..9),
            min_part_size: 1,
            order: if random.u8(..10) == 0 { Order::Backwards } else { Order::Keys },
            clock_offset: SignedDuration::from_secs(random.i64(-3600..3600)),
            history: true,
            ..Kind::default()
        };
        let source = MemoryStore::start(kind(random)).await.unwrap();
        let mut options = kind(random);
        if random.u8(..8) == 0 {
            options.conditions = Conditions::Refused;
        }
        let tells = options.etags == ETags::Md5 && options.conditions == Conditions::Honoured;
        let target = MemoryStore::start(options).await.unwrap();
        for store in [&source, &target] {
            let versioned = if random.bool() { BucketOptions::versioned() } else { BucketOptions::default() };
            store.create_bucket(BUCKET, versioned);
        }
        Self {
            source: Arc::new(source),
            target: Arc::new(target),
            folder: tempfile::tempdir().unwrap(),
            order: Arc::default(),
            foreign: BTreeSet::new(),
            tells,
        }
    }

    fn place(&self) -> Place {
        Place::Folder(self.folder.path().join("manifest"))
    }

    async fn run(&self, options: &Options) -> Result<Report, StoreError> {
        self.run_with(options, HASTY).await
    }

    async fn run_with(&self, options: &Options, silence: Duration) -> Result<Report, StoreError> {
        let (from, to) = (side(&self.source, silence), side(&self.target, silence));
        engine::replicate(&from, &to, self.place(), options, &Arc::<Counters>::default()).await
    }

    /// As for events of some keys, of which some never were.
    async fn touch(&self, options: &Options, random: &mut Rng) {
        let mut keys = KEYS.map(str::to_owned).to_vec();
        random.shuffle(&mut keys);
        keys.truncate(random.usize(1..KEYS.len()));
        keys.push("never there".to_owned());
        let counters = Arc::new(Counters::default());
        let (source, target) = (side(&self.source, HASTY), side(&self.target, HASTY));
        let keys = keys.into_iter().collect();
        // That no whole run has begun yet is one of its answers.
        let _ = engine::touch(&source, &target, self.place(), options, &keys, &counters).await;
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

/// One change at the source.
fn change(source: &MemoryStore, order: &Mutex<BTreeMap<(String, String), u64>>, random: &mut Rng) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let key = KEYS[random.usize(..KEYS.len())];
    if random.u8(..5) == 0 {
        source.delete(BUCKET, key);
        return;
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Mostly of the same size: what only sizes or moments tell apart is not told apart.
    let size = if random.u8(..3) == 0 { random.usize(..200) } else { 32 };
    let bytes = |random: &mut Rng, size: usize| -> Vec<u8> {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(size));
        bytes
    };
    let kind = random.u8(..6);
    let object_is_empty = kind == 0;
    let object = match kind {
        0 => NewObject::new(Vec::new()),
        1 => {
            let sizes = [random.usize(1..90_000), random.usize(1..40), random.usize(1..9)];
            NewObject::in_parts(sizes.map(|size| Content::from(bytes(random, size))))
        }
        2 => NewObject::new(bytes(random, 70_000)),
        _ => NewObject::new(bytes(random, size)),
    };
    // Listings tell moments in seconds: what was overwritten with the same content within one can't be told apart.
    let shown = if object_is_empty { 0 } else { number };
    let object = object.header("x-amz-meta-number", &shown.to_string()).header("content-type", "text/x-test");
    let object =
        if !object_is_empty && random.u8(..4) == 0 { object.tag("a key", "värde=&") } else { object };
    let etag = source.put_object(BUCKET, key, object).etag.clone();
    order.lock().unwrap().insert((key.to_owned(), etag), number);
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
        Operation::ListObjectsV2 => vec![Fault::ListDuplicate, Fault::ListOutOfOrder, Fault::TruncatedBody],
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

fn arm(store: &MemoryStore, seed: u64, one_in: u32) {
    let mut random = Rng::with_seed(seed);
    store.faults().clear();
    store
        .faults()
        .decide(move |seen| (random.u32(..one_in) == 0).then(|| fault(seen.operation, &mut random)));
}

/// Changes at the source while a run is under way, which may be killed in the middle.
async fn round(world: &World, options: &Options, random: &mut Rng) {
    let one_in = random.u32(4..60);
    arm(&world.source, random.u64(..), one_in);
    arm(&world.target, random.u64(..), one_in);
    if random.u8(..8) == 0 {
        // Credentials that expire in the middle.
        world.target.admit_only(Some(KEY), Some(random.u64(1..40)));
    }
    let changes = {
        let (source, order, mut random) = (world.source.clone(), world.order.clone(), random.fork());
        async move {
            for _ in 0..random.u8(..12) {
                tokio::time::sleep(Duration::from_micros(random.u64(..1500))).await;
                change(&source, &order, &mut random);
            }
        }
    };
    let kill_after = (random.u8(..3) == 0).then(|| Duration::from_micros(random.u64(..8000)));
    let mut touched = (random.u8(..2) == 0).then(|| random.fork());
    let run = async {
        let work = async {
            match &mut touched {
                Some(random) => world.touch(options, random).await,
                None => drop(world.run(options).await),
            }
        };
        match kill_after {
            Some(after) => drop(tokio::time::timeout(after, work).await),
            None => work.await,
        }
    };
    let _ = tokio::join!(changes, run);
    world.is_free().await;
    world.source.faults().clear();
    world.target.faults().clear();
    world.target.admit_only(None, None);
}

/// Somebody else's hands at the destination.
fn tamper(world: &mut World, random: &mut Rng) {
    let key = KEYS[random.usize(..KEYS.len())];
    match random.u8(..6) {
        0 => drop(world.target.put(BUCKET, key, b"somebody else's".to_vec())),
        1 => world.target.delete(BUCKET, key),
        2 => {
            world.foreign.insert("foreign".to_owned());
            world.target.put(BUCKET, "foreign", b"foreign".to_vec());
        }
        _ => {}
    }
}

async fn story(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let mut world = World::new(&mut random).await;
    let deletes = if random.bool() { Deletes::Mirror { most: 1000 } } else { Deletes::Ignore };
    let checkpoint = Duration::from_millis(random.u64(1..20));
    let options = Options { deletes, checkpoint, at_once: random.usize(1..9), ..Options::default() };
    for _ in 0..random.u8(..20) {
        change(&world.source, &world.order, &mut random);
    }
    // A first run that is refused because nothing can be listed is no run.
    for _ in 0..random.u8(2..6) {
        round(&world, &options, &mut random).await;
        no_false_proof(&world, seed).await;
        if world.folder.path().join("manifest/index.json").exists() {
            tamper(&mut world, &mut random);
        }
    }
    settle(&world, &options, seed).await;
    alike(&world, deletes, seed);
    assert_eq!(world.target.unfinished_uploads(BUCKET), [], "seed {seed}: uploads are left half sent");
    if world.tells {
        never_older(&world, seed);
    }
}

/// Runs without faults until there is nothing left to do.
async fn settle(world: &World, options: &Options, seed: u64) {
    for _ in 0..4 {
        let report = world.run_with(options, PATIENT).await;
        let report = report.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(report.is_whole(), "seed {seed}: {report:?}");
        if report.copied == 0 && report.deleted == 0 {
            return;
        }
    }
    panic!("seed {seed}: there is always something left to do");
}

fn alike(world: &World, deletes: Deletes, seed: u64) {
    let (source, target) = (world.source.current(BUCKET), world.target.current(BUCKET));
    for (key, wanted) in &source {
        let there = target.get(key).unwrap_or_else(|| panic!("seed {seed}: {key:?} is missing"));
        let bytes = |content: &Option<Content>| content.as_ref().map(Content::to_bytes);
        assert_eq!(bytes(&there.content), bytes(&wanted.content), "seed {seed}: content of {key:?}");
        assert_eq!(there.headers, wanted.headers, "seed {seed}: headers of {key:?}");
        assert_eq!(there.tags, wanted.tags, "seed {seed}: tags of {key:?}");
    }
    for key in target.keys().filter(|key| !source.contains_key(*key)) {
        // What somebody else wrote under a key that the source has no more is not ours to delete.
        let is_other = bytes_of(&target[key]) == b"somebody else's";
        let stays = deletes == Deletes::Ignore || world.foreign.contains(key) || is_other;
        assert!(stays, "seed {seed}: {key:?} is still there");
    }
}

fn bytes_of(version: &memory_store::Version) -> Vec<u8> {
    version.content.as_ref().map(|content| content.to_bytes().to_vec()).unwrap_or_default()
}

/// Of each key the target's contents came in the source's order.
fn never_older(world: &World, seed: u64) {
    let order = world.order.lock().unwrap();
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for became in world.target.history() {
        let Some(etag) = became.etag else { continue };
        // An empty object is the same whenever it was written.
        let Some(number) =
            order.get(&(became.key.clone(), etag.clone())).filter(|_| !etag.starts_with("d41d8cd9"))
        else {
            continue;
        };
        let before = newest.entry(became.key.clone()).or_default();
        assert!(
            number >= before,
            "seed {seed}: {:?} went from content {before} back to {number}",
            became.key
        );
        *before = *number;
    }
}

/// What is on record as proved is what the source holds under that name.
async fn no_false_proof(world: &World, seed: u64) {
    let read = Arc::new(AtomicU64::new(0));
    let mut findings = Vec::new();
    let filter = Filter::default();
    let (source, target) = (side(&world.source, HASTY), side(&world.target, HASTY));
    let tell = |finding| findings.push(finding);
    let verified =
        engine::verify(&source, &target, world.place(), &filter, Depth::Content, &read, tell).await;
    verified.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.what.contains("another content")).collect();
    assert!(wrong.is_empty(), "seed {seed}: taken for proved, and it is not: {wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_both_sides_end_alike() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("TRIPOD_SEED") {
        return story(seed).await;
    }
    let seeds = number("TRIPOD_SEEDS").unwrap_or(200);
    let first = number("TRIPOD_FIRST_SEED").unwrap_or(1);
    for seed in first..first + seeds {
        story(seed).await;
    }
    println!("{seeds} seeds from {first}");
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
    world.target.faults().all(Fault::Slow(Duration::from_millis(100)));
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
        let config = StoreConfig { ca_pem, ..config(&source) };
        let patience = Patience { silence: Duration::from_secs(5), pause: Duration::from_millis(1) };
        let from = Side::new(Wire::with_patience(&config, patience).unwrap(), BUCKET, "");
        let options = Options { adopt: true, ..Options::default() };
        engine::replicate(&from, &side(&target, HASTY), Place::Nowhere, &options, &Arc::default()).await
    };
    let refused = run(None).await.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    assert_eq!(run(Some(made.cert.pem())).await.unwrap().copied, 1);
}
