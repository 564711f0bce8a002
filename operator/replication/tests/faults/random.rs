//! A history at random, by its seed: changes, faults, kills, and somebody else's hands.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tripod_replication::engine::{Deletes, Options};

use crate::campaign::{PATIENT, fault};
use crate::checks::{alike, never_older, no_false_proof};
use crate::memory_store::{Content, MemoryStore, NewObject};
use crate::world::{BUCKET, KEY, KEYS, World};

/// One change at the source.
pub fn change(source: &MemoryStore, order: &Mutex<BTreeMap<(String, String), u64>>, random: &mut Rng) {
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

pub fn arm(store: &MemoryStore, seed: u64, one_in: u32) {
    let mut random = Rng::with_seed(seed);
    store.faults().clear();
    store
        .faults()
        .decide(move |seen| (random.u32(..one_in) == 0).then(|| fault(seen.operation, &mut random)));
}

/// Changes at the source while a run is under way, which may be killed in the middle.
pub async fn round(world: &World, options: &Options, random: &mut Rng) {
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
pub fn tamper(world: &mut World, random: &mut Rng) {
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

pub async fn story(seed: u64) {
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
pub async fn settle(world: &World, options: &Options, seed: u64) {
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
