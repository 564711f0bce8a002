//! Every work on a vault, with one fault at every request that it makes: a store that fails, lies or is cut off, and a process
//! that dies there. What was whole before is whole afterwards; the same work again succeeds; and what was said to be done, and
//! is proved, reads as it was written.
//!
//! `TRIPOD_FAULTS=all` has more kinds of faults; `-- --nocapture` prints the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::SignedDuration;
use tripod_replication::addressed::{self, Place};
use tripod_replication::{Progress, Store};

use super::memory_store::{BucketOptions, Fault, MemoryStore, Options};
use super::prune::Removal;
use super::{Document, MasterKey, Part, SystemVault, VaultError, documents, layout};

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
}

/// What goes wrong.
#[derive(Clone, Debug)]
enum Trouble {
    /// With one request.
    Once(Fault),
    /// With that one and all that follow: the process is gone, or the store.
    FromThere(Fault),
}

fn troubles() -> Vec<Trouble> {
    let mut few = vec![
        Trouble::FromThere(Fault::ConnectionCutBefore),
        Trouble::Once(Fault::FlippedByte(40)),
        Trouble::Once(Fault::FlippedUpload(40)),
        Trouble::FromThere(Fault::Full(507)),
    ];
    if std::env::var("TRIPOD_FAULTS").is_ok_and(|which| which == "all") {
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
            Trouble::FromThere(Fault::FlippedByte(7)),
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
        let memory = MemoryStore::start(Options::default()).await.unwrap();
        memory.create_bucket(VAULT, BucketOptions::default());
        for (key, body) in objects {
            memory.put(VAULT, key, body.clone());
        }
        let store = Store::connect(&memory.config()).unwrap();
        let vault = SystemVault::new(store, VAULT.into(), SYSTEM.into(), &MasterKey::new(&[7; 32]).unwrap());
        Self { memory, vault }
    }

    fn objects(&self) -> Objects {
        let all = self.memory.current(VAULT).into_iter();
        all.filter_map(|(key, version)| Some((key, version.content.as_ref()?.to_bytes()))).collect()
    }

    fn place(&self) -> Place {
        Place {
            store: self.vault.store.clone(),
            bucket: VAULT.into(),
            prefix: format!("{}/", layout::repository(SYSTEM)),
        }
    }

    async fn archive(&self, point: u8) -> Result<Part, VaultError> {
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
        let name = format!("p{point}");
        let part = tokio::join!(self.vault.archive_documents(&name, stream), sending).0?;
        self.vault.write_json(&layout::objects_part(SYSTEM, &name), &part).await?;
        Ok(part)
    }

    /// What the vault says it has of a point.
    async fn part(&self, point: u8) -> Option<Part> {
        self.vault.read_json(&layout::objects_part(SYSTEM, &format!("p{point}"))).await.ok().flatten()
    }

    /// Packs, then the index, then the snapshot, as points are pulled.
    async fn copy_from(&self, other: &Self, point: u8) -> Result<Part, VaultError> {
        let (there, here) = (other.place(), self.place());
        let (none, progress) = (BTreeSet::new(), Progress::default());
        let name = layout::objects_part(SYSTEM, &format!("p{point}"));
        let part: Part = other.vault.read_json(&name).await?.ok_or(VaultError::NotFound(name.clone()))?;
        let whole = |tally: addressed::CopyTally| match tally.damaged.iter().chain(&tally.missing).next() {
            Some(file) => Err(VaultError::Incomplete(file.clone())),
            None => Ok(()),
        };
        for folder in ["keys/", "config"] {
            whole(addressed::copy_missing(&there, &here, folder, &none, &progress).await?)?;
        }
        let packs = other.vault.packs_of(std::slice::from_ref(&part.snapshot)).await?;
        let files = packs.iter().map(|pack| format!("data/{}/{pack}", &pack[..2])).collect();
        whole(addressed::copy_these(&there, &here, "data/", &files, &none, &progress).await?)?;
        self.vault.reindex(false, packs).await?;
        let snapshot = BTreeSet::from([format!("snapshots/{}", part.snapshot)]);
        whole(addressed::copy_these(&there, &here, "snapshots/", &snapshot, &none, &progress).await?)?;
        self.vault.write_json(&name, &part).await?;
        Ok(part)
    }

    async fn sweep(&self) -> Result<(), VaultError> {
        let part: Option<Part> = self.vault.read_json(&layout::objects_part(SYSTEM, "p2")).await?;
        let needed = part.map(|part| part.snapshot).into_iter().collect();
        self.vault.delete_other_snapshots(needed).await?;
        self.vault.prune(Removal::Marked(SignedDuration::ZERO)).await?;
        self.vault.prune(Removal::AtOnce).await
    }

    /// Every file of the repository is what its name says, and what is said of the point can be read. What is not is named.
    async fn damage(&self) -> Vec<String> {
        let mut damaged = Vec::new();
        for folder in ["keys/", "index/", "snapshots/", "data/"] {
            let tally = addressed::verify(&self.place(), folder, None, &Progress::default()).await.unwrap();
            damaged.extend(tally.damaged);
        }
        let part = layout::objects_part(SYSTEM, "p2");
        if let Err(error) = self.vault.read_json::<Part>(&part).await {
            damaged.push(error.to_string());
        }
        damaged
    }

    async fn reads(&self, point: u8, snapshot: &str) -> Result<(), String> {
        let read = self.vault.read_documents(snapshot).await;
        let mut read = read.map_err(|error| format!("p{point} can't be read: {error}"))?;
        read.sort_by(|a, b| a.path.cmp(&b.path));
        if read == content(point) { Ok(()) } else { Err(format!("p{point} reads otherwise")) }
    }
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
    first: String,
}

impl Before {
    async fn made() -> Self {
        let here = Here::with(&Objects::new()).await;
        let first = here.archive(1).await.unwrap().snapshot;
        let one = here.objects();
        here.archive(2).await.unwrap();
        Self { one, both: here.objects(), first }
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
            Work::Sweep => (&before.both, None),
        };
        Self { work, here: Here::with(here).await, other }
    }

    fn faulty(&self) -> &MemoryStore {
        match (self.work, &self.other) {
            (Work::CopyFromFaulty, Some(other)) => &other.memory,
            _ => &self.here.memory,
        }
    }

    async fn work(&self) -> Result<(), VaultError> {
        match (self.work, &self.other) {
            (Work::Archive, _) => self.here.archive(2).await.map(drop),
            (Work::Sweep, _) => self.here.sweep().await,
            (_, Some(other)) => self.here.copy_from(other, 2).await.map(drop),
            (_, None) => unreachable!("nothing to copy from"),
        }
    }

    /// What has to hold whatever happened; the store is well again.
    async fn holds(&self, before: &Before, done: bool) -> Result<(), String> {
        if self.work != Work::Sweep {
            self.here.reads(1, &before.first).await?;
        }
        let part = self.here.part(2).await;
        match (&part, done || self.work == Work::Sweep) {
            (Some(part), _) => self.here.reads(2, &part.snapshot).await,
            (None, true) => Err("it was said to be done, and is not there".into()),
            (None, false) => Ok(()),
        }
    }
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
    let case = |what: String| format!("{work:?}, {trouble:?} at request {at} ({ended:?}): {what}");
    // Bytes that changed on their way in: no store knows of it, and no answer shows it. The proof does.
    if !run.here.damage().await.is_empty() {
        let lying = matches!(trouble, Trouble::Once(Fault::FlippedUpload(_)));
        tally.proof.fetch_add(1, Ordering::Relaxed);
        return if lying { Ok(()) } else { Err(case("damage".into())) };
    }
    let by_whom = if ended.is_ok() { &tally.withstood } else { &tally.failed };
    by_whom.fetch_add(1, Ordering::Relaxed);
    run.holds(before, ended.is_ok()).await.map_err(&case)?;
    if ended.is_err() {
        run.work().await.map_err(|error| case(format!("again: {error}")))?;
        run.holds(before, true).await.map_err(&case)?;
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
    clean.holds(&before, true).await.unwrap();
    let mut wrong = Vec::new();
    for trouble in troubles() {
        let tally = Tally::default();
        let trials = (1..=requests).map(|at| trial(work, &trouble, at, &before, &tally));
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
