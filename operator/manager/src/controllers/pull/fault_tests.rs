//! Every work on a vault, with one fault at every request that it makes: a store that fails, lies or is cut off, and a process
//! that dies there. What was whole before is whole afterwards; the same work again succeeds; and what was said to be done, and
//! is proved, reads as it was written.
//!
//! `TRIPOD_FAULTS=all` has more kinds of faults; `-- --nocapture` prints the table.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tripod_domain::manifest::{MANIFEST_VERSION, PointManifest};
use tripod_domain::pull::PointKey;
use tripod_replication::{Progress, Store};

use super::copy::copy_repository;
use super::lock;
use super::mend::mend_index;
use super::verify::{Damage, verify_repository};
use super::words::manifest_of;
use crate::context::Error;
use crate::vault::memory_store::{BucketOptions, Fault, Flip, MemoryStore, ObjectLock, Options};
use crate::vault::prune::Removal;
use crate::vault::{Document, MasterKey, SystemVault, documents, layout};

const VAULT: &str = "vault";
const SYSTEM: &str = "tax";
/// Runs under way at a time: most of their time they wait to try again.
const WIDTH: usize = 6;

type Objects = BTreeMap<String, Bytes>;

/// What is done, at the vault where the faults are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// A second point is archived beside the first.
    Archive,
    /// The second point is copied here from another vault, which has both. The faults are there.
    CopyFromFaulty,
    /// The same; the faults are here.
    CopyToFaulty,
    /// The first of two points is let go of, with its data.
    Sweep,
    /// Both points were locked, and then covered and deleted; they are brought back.
    Recall,
}

/// What goes wrong.
#[derive(Clone, Debug)]
enum Trouble {
    /// With one request.
    Once(Fault),
    /// With that one and all that follow: the process is gone, or the store.
    FromThere(Fault),
}

impl Trouble {
    /// Whether the store says that it has written what it has not.
    fn is_a_lie(&self) -> bool {
        matches!(self, Self::Once(Fault::FlippedUpload(_) | Fault::ErrorInside200))
    }
}

/// Whether there are hours for it.
fn is_whole() -> bool {
    std::env::var("TRIPOD_FAULTS").is_ok_and(|which| which == "all")
}

fn troubles() -> Vec<Trouble> {
    let mut few = vec![
        Trouble::FromThere(Fault::ConnectionCutBefore),
        Trouble::Once(Fault::FlippedByte(Flip::at(40))),
        Trouble::Once(Fault::FlippedUpload(Flip::at(40))),
        Trouble::FromThere(Fault::Full(507)),
    ];
    if is_whole() {
        few.extend([
            Trouble::Once(Fault::ReplyLost),
            Trouble::Once(Fault::Status(503)),
            Trouble::Once(Fault::TruncatedBody),
            Trouble::FromThere(Fault::ExpiredToken),
            Trouble::FromThere(Fault::ReplyLost),
            Trouble::FromThere(Fault::Status(500)),
            Trouble::Once(Fault::Denied),
            Trouble::Once(Fault::ConnectionCutBefore),
            Trouble::Once(Fault::ErrorInside200),
            Trouble::Once(Fault::WrongETag),
            Trouble::Once(Fault::ListDuplicate),
            Trouble::Once(Fault::ListOutOfOrder),
            Trouble::FromThere(Fault::FlippedByte(Flip::at(7))),
        ]);
    }
    few
}

/// A vault, and the store in memory that it is in.
struct Here {
    memory: MemoryStore,
    vault: SystemVault,
}

impl Here {
    async fn with(objects: &Objects) -> Self {
        Self::in_bucket(BucketOptions::default(), objects).await
    }

    async fn in_bucket(bucket: BucketOptions, objects: &Objects) -> Self {
        let memory = MemoryStore::start(Options::default()).await.unwrap();
        memory.create_bucket(VAULT, bucket);
        for (key, body) in objects {
            memory.put(VAULT, key, body.clone());
        }
        let store = Store::connect(&memory.config()).unwrap();
        let vault = SystemVault::new(store, VAULT.into(), SYSTEM.into(), MasterKey::new(&[7; 32]).unwrap());
        Self { memory, vault }
    }

    /// Whoever has the store's credentials covers packs and indexes, and deletes everything else.
    async fn attacked(objects: &Objects) -> Self {
        let object_lock = Some(ObjectLock { default: None });
        let bucket = BucketOptions { object_lock, ..BucketOptions::versioned() };
        let here = Self::in_bucket(bucket, objects).await;
        let locked = objects.keys().filter(|key| !key.contains("/index/")).map(|key| (key.clone(), None));
        let until = Timestamp::now() + SignedDuration::from_hours(24);
        lock::keeper(&here.vault).lock(locked, until).await.unwrap();
        for key in objects.keys() {
            if key.contains("/data/") || key.contains("/index/") {
                here.memory.put(VAULT, key, b"pay".to_vec());
            } else {
                here.memory.delete(VAULT, key);
            }
        }
        here
    }

    fn objects(&self) -> Objects {
        let all = self.memory.current(VAULT).into_iter();
        all.filter_map(|(key, version)| Some((key, version.content.as_ref()?.to_bytes()))).collect()
    }

    /// As at the origin: the manifest last.
    async fn archive(&self, point: u8) -> Result<(), Error> {
        self.vault.ensure_repository().await?;
        let (feed, stream) = documents();
        let sending = async {
            for document in content(point) {
                if feed.send(document).await.is_err() {
                    return;
                }
            }
            let _ = feed.finish().await;
        };
        let key = key(point);
        let part = tokio::join!(self.vault.archive_documents(&key.point, stream), sending).0?;
        let (volumes, buckets) = (BTreeMap::new(), BTreeMap::new());
        let root_digest = PointManifest::compute_root(Some(&part), &volumes, &buckets);
        let (policy, origin) = ("p".to_owned(), "production".to_owned());
        let PointKey { system, point } = key;
        let (taken_at, completed_at) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        self.publish(&PointManifest {
            version: MANIFEST_VERSION,
            system,
            policy,
            point,
            origin,
            taken_at,
            completed_at,
            objects: Some(part),
            volumes,
            buckets,
            root_digest,
            unusual: Vec::new(),
        })
        .await
    }

    async fn publish(&self, manifest: &PointManifest) -> Result<(), Error> {
        Ok(self.vault.write_json(&layout::manifest(&manifest.system, &manifest.point), manifest).await?)
    }

    /// As points are pulled.
    async fn copy_from(&self, other: &Self, point: u8) -> Result<(), Error> {
        let manifest = manifest_of(&other.vault, &key(point)).await?;
        let progress = Progress::default();
        copy_repository("production", &other.vault, &self.vault, &manifest, &progress).await?;
        self.publish(&manifest).await
    }

    /// The first point goes, and what nobody needs then.
    async fn sweep(&self) -> Result<(), Error> {
        let needed = manifest_of(&self.vault, &key(2)).await?.snapshots().into_iter().collect();
        self.vault.delete_other_snapshots(needed).await?;
        self.vault.prune(Removal::Marked(SignedDuration::ZERO)).await?;
        Ok(self.vault.prune(Removal::AtOnce).await?)
    }

    /// As a point is mended that was deleted in spite of its locks.
    async fn recall(&self, point: u8) -> Result<(), Error> {
        let key = key(point);
        lock::recall_documents(&self.vault, &key).await?;
        let manifest = manifest_of(&self.vault, &key).await?;
        for _ in 0..5 {
            let damage = self.damage(&manifest).await?;
            if damage.is_none() {
                return Ok(());
            }
            if lock::recall_damage(&self.vault, &manifest, &damage).await? == 0 {
                mend_index(&self.vault, &damage).await?;
            }
        }
        let damage = self.damage(&manifest).await?;
        if damage.is_none() { Ok(()) } else { Err(Error::Other(damage.words())) }
    }

    async fn damage(&self, manifest: &PointManifest) -> Result<Damage, Error> {
        Ok(verify_repository(&self.vault, manifest, &Progress::default()).await?.damage)
    }

    /// What the proof of a point says, if there is such a point.
    async fn proof(&self, point: u8) -> Option<Result<PointManifest, String>> {
        let at = layout::manifest(SYSTEM, &key(point).point);
        self.vault.store.head(VAULT, &at).await.unwrap()?;
        let manifest = match manifest_of(&self.vault, &key(point)).await {
            Ok(manifest) => manifest,
            Err(error) => return Some(Err(error.to_string())),
        };
        let damage = self.damage(&manifest).await.unwrap();
        Some(if damage.is_none() { Ok(manifest) } else { Err(damage.words()) })
    }

    async fn reads(&self, point: u8, manifest: &PointManifest) -> Result<(), String> {
        let read = self.vault.read_documents(&manifest.snapshots()[0]).await;
        let mut read = read.map_err(|error| format!("p{point} can't be read: {error}"))?;
        read.sort_by(|a, b| a.path.cmp(&b.path));
        if read == content(point) { Ok(()) } else { Err(format!("p{point} reads otherwise")) }
    }
}

fn key(point: u8) -> PointKey {
    PointKey { system: SYSTEM.into(), point: format!("p{point}") }
}

/// Some bytes that all points have, and some that no other has.
fn content(point: u8) -> Vec<Document> {
    let noise = (0..50_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761 + u32::from(point) * 2) >> 13).to_le_bytes()[0]);
    let document = |path: &str, body: Vec<u8>| Document { path: path.into(), body };
    vec![document("common", vec![1; 50_000]), document("own", noise.collect())]
}

/// Vaults as they are before: with the first point, and with both.
struct Before {
    one: Objects,
    both: Objects,
}

impl Before {
    async fn made() -> Self {
        let here = Here::with(&Objects::new()).await;
        here.archive(1).await.unwrap();
        let one = here.objects();
        here.archive(2).await.unwrap();
        Self { one, both: here.objects() }
    }
}

/// One work at fresh vaults; the second is the other vault, where there is one.
struct Run {
    work: Work,
    here: Here,
    other: Option<Here>,
}

impl Run {
    async fn new(work: Work, before: &Before) -> Self {
        let (here, other) = match work {
            Work::Archive => (&before.one, None),
            Work::CopyFromFaulty | Work::CopyToFaulty => (&before.one, Some(Here::with(&before.both).await)),
            Work::Sweep | Work::Recall => (&before.both, None),
        };
        let here = if work == Work::Recall { Here::attacked(here).await } else { Here::with(here).await };
        Self { work, here, other }
    }

    fn faulty(&self) -> &MemoryStore {
        match (self.work, &self.other) {
            (Work::CopyFromFaulty, Some(other)) => &other.memory,
            _ => &self.here.memory,
        }
    }

    async fn work(&self) -> Result<(), Error> {
        match (self.work, &self.other) {
            (Work::Archive, _) => self.here.archive(2).await,
            (Work::Sweep, _) => self.here.sweep().await,
            (Work::Recall, _) => {
                self.here.recall(1).await?;
                self.here.recall(2).await
            }
            (_, Some(other)) => self.here.copy_from(other, 2).await,
            (_, None) => unreachable!("nothing to copy from"),
        }
    }

    /// What has to hold whatever happened; the store is well again. Points that are there are proved, and read as they were
    /// written; the first is there but after a sweep, and the second where it was said to be.
    async fn holds(&self, done: bool) -> Result<(), Wrong> {
        if self.work == Work::Recall && !done {
            return Ok(());
        }
        let first = (self.work != Work::Sweep).then_some((1, true));
        for (point, needed) in first.into_iter().chain([(2, done || self.work == Work::Sweep)]) {
            match self.here.proof(point).await {
                Some(Ok(manifest)) => self.here.reads(point, &manifest).await.map_err(Wrong::Unseen)?,
                Some(Err(damage)) => return Err(Wrong::Seen(format!("p{point}: {damage}"))),
                None if needed => return Err(Wrong::Seen(format!("p{point} is not there"))),
                None => {}
            }
        }
        Ok(())
    }
}

/// What does not hold.
#[derive(thiserror::Error, Debug)]
enum Wrong {
    #[error("the proof says: {0}")]
    Seen(String),
    #[error("it is proved, and yet: {0}")]
    Unseen(String),
}

/// What came of the faults of one kind in one work.
#[derive(Debug, Default)]
struct Tally {
    /// The work succeeded all the same.
    withstood: AtomicUsize,
    /// It failed, and succeeded when it was done again.
    failed: AtomicUsize,
    /// Damage that nobody could have seen but the proof that follows.
    proof: AtomicUsize,
}

async fn trial(work: Work, trouble: &Trouble, at: u64, before: &Before, tally: &Tally) -> Result<(), String> {
    let run = Run::new(work, before).await;
    let faults = run.faulty().faults();
    match trouble {
        Trouble::Once(fault) => faults.nth(at, fault.clone()),
        Trouble::FromThere(fault) => {
            let fault = fault.clone();
            faults.decide(move |seen| (seen.number >= at).then(|| fault.clone()));
        }
    }
    let ended = run.work().await;
    faults.clear();
    let done = ended.is_ok();
    let case = |what: String| format!("{work:?}, {trouble:?} at request {at} ({ended:?}): {what}");
    match run.holds(done).await {
        Ok(()) => {}
        // A store that says it has written what it has not, or something else: no answer shows it. The proof does.
        Err(Wrong::Seen(_)) if trouble.is_a_lie() => {
            tally.proof.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        Err(wrong) => return Err(case(wrong.to_string())),
    }
    let by_whom = if done { &tally.withstood } else { &tally.failed };
    by_whom.fetch_add(1, Ordering::Relaxed);
    if !done {
        run.work().await.map_err(|error| case(format!("again: {error}")))?;
        run.holds(true).await.map_err(|wrong| case(format!("again: {wrong}")))?;
    }
    Ok(())
}

async fn campaign(work: Work) {
    let before = Before::made().await;
    let clean = Run::new(work, &before).await;
    clean.faulty().reset_requests();
    clean.work().await.unwrap();
    let requests = clean.faulty().all_requests();
    assert!(requests > 5, "{requests} requests");
    clean.holds(true).await.unwrap();
    let mut wrong = Vec::new();
    // Of a recall, which is many proofs, each third where time is short.
    let stride = if work == Work::Recall && !is_whole() { 3 } else { 1 };
    for trouble in troubles() {
        let tally = Tally::default();
        let trials = (1..=requests).step_by(stride).map(|at| trial(work, &trouble, at, &before, &tally));
        let ended: Vec<_> = stream::iter(trials).buffer_unordered(WIDTH).collect().await;
        wrong.extend(ended.into_iter().filter_map(Result::err));
        println!("{work:?} | {requests} requests | {trouble:?} | {tally:?}");
    }
    assert!(wrong.is_empty(), "{} of the runs went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_cut_off_anywhere_is_made_again() {
    campaign(Work::Archive).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_from_a_failing_store_takes_nothing_damaged() {
    campaign(Work::CopyFromFaulty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_into_a_failing_store_is_made_again() {
    campaign(Work::CopyToFaulty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_cut_off_anywhere_takes_nothing_that_is_needed() {
    campaign(Work::Sweep).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_covered_and_deleted_in_spite_of_locks_is_brought_back_in_the_end() {
    campaign(Work::Recall).await;
}
