//! Histories at random, by their seeds: writes, deletions, faults and kills.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tripod_replication::engine::{Deletes, Depth, History, Options, Report};

use crate::campaign::{HASTY, fault};
use crate::checks::{alike, never_older, shown};
use crate::memory_store::{Content, Fault, MemoryStore, NewObject, Version};
use crate::world::{BUCKET, HOUR, KEYS, World};

/// An object like no other, except where it is empty.
pub fn object(random: &mut Rng, locks: bool) -> (NewObject, u64) {
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

pub fn is_locked(version: &Version) -> bool {
    version.header("x-amz-object-lock-mode").or(version.header("x-amz-object-lock-legal-hold")).is_some()
}

/// Who changes the source.
#[derive(Clone)]
pub struct Hands {
    pub source: Arc<MemoryStore>,
    pub order: Arc<Mutex<BTreeMap<(String, String), u64>>>,
    pub locks: bool,
    /// Versions are deleted for good that are newer than this; none at all with `None`.
    pub deletes_behind: Option<Timestamp>,
}

impl Hands {
    pub fn change(&self, random: &mut Rng) {
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

/// Faults at both, and at a request the end.
pub fn arm(world: &World, random: &mut Rng) -> Arc<tokio::sync::Notify> {
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
pub async fn round(world: &World, hands: &Hands, options: &Options, random: &mut Rng) {
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
            _ = world.run_with(options, HASTY) => {}
        }
    };
    tokio::join!(changes, run);
    world.is_free().await;
    world.source.faults().clear();
    world.target.faults().clear();
}

/// Runs without faults until there is nothing left to do.
pub async fn settle(world: &World, options: &Options, seed: u64) -> Report {
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

/// All versions, through whatever goes wrong.
pub async fn all_versions(seed: u64) {
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
pub async fn earlier_moments(seed: u64) {
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
