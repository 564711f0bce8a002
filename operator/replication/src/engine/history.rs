//! A run over all versions: the key space in parts, the chains of each merged, keys in parallel and versions of a key in
//! their order; versions that the source has no more deleted last, when everything was listed.
//!
//! What is under way is held in memory, and nothing else. Everything is derived from both listings, so that a run that was
//! killed is taken up by the next; what is on record tells only what the two stores call the same content.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::append::{Appended, Appender};
use super::chain::Steps;
use super::chains::{Both, ChainMerge, Merged, recorded};
use super::decide::Why;
use super::gate::Permit;
use super::journal::{self, Left, Writer};
use super::ranges::{Part, Progress};
use super::record::{Proof, Record};
use super::recorder::Recorder;
use super::report::{Counters, Report};
use super::run::{DELETIONS, MEASURE, PAGE, Run, WINDOW, gather, lost};
use super::{Deletes, Options, versions};
use crate::StoreError;

/// Versions of keys that wait for their turn, at most; one key may have more.
const WAITING: usize = 65_536;

/// Versions of the destination that are no copies.
#[derive(Default)]
struct Extra {
    count: u64,
    /// No more of them than may be deleted.
    keys: Vec<Superfluous>,
    most: u64,
}

/// Those of one key.
struct Superfluous {
    key: String,
    ids: Vec<Box<str>>,
    record: Option<Record>,
}

impl Extra {
    fn add(&mut self, counters: &Counters, key: &str, ids: Vec<Box<str>>, record: Option<&Record>) {
        let more = ids.len() as u64;
        counters.gone.fetch_add(more, Ordering::Relaxed);
        self.count += more;
        if more > 0 && self.count <= self.most {
            self.keys.push(Superfluous { key: key.to_owned(), ids, record: record.cloned() });
        }
    }
}

/// All of it.
///
/// # Errors
/// As [`super::replicate`].
pub(super) async fn replicate(
    run: &Run,
    parts: Vec<Part>,
    options: &Options,
    left: &Left,
) -> Result<Report, StoreError> {
    let extra = all_parts(run, parts, options, left).await?;
    left.forget_over(&run.copier.manifest).await?;
    let fuse = match options.deletes {
        Deletes::Mirror { most } if extra.count > most => Some(extra.count),
        Deletes::Mirror { .. } => {
            delete(run, options, extra).await;
            None
        }
        Deletes::Ignore => None,
    };
    Ok(Report { fuse, ..run.counters.report() })
}

/// Brings all chains up to date.
async fn all_parts(run: &Run, parts: Vec<Part>, options: &Options, left: &Left) -> Result<Extra, StoreError> {
    let id = journal::name_of_run();
    let most = if let Deletes::Mirror { most } = options.deletes { most } else { 0 };
    let appender = appender(run, options);
    let mut tasks = JoinSet::new();
    for (number, part) in parts.into_iter().enumerate() {
        let copier = &run.copier;
        let merge = ChainMerge::open(
            (&copier.source, &copier.destination),
            &part.range,
            copier.manifest.clone(),
            part.segments,
            left,
            options.filter.clone(),
        );
        let walk = Walk {
            number,
            appender: appender.clone(),
            recorder: Recorder::new(run.manifest.clone()),
            journal: Writer::new(copier.manifest.clone(), id.clone(), number),
            found: Vec::new(),
            ready: VecDeque::new(),
            waiting: 0,
            under_way: JoinSet::new(),
            extra: Extra { most, ..Extra::default() },
            checkpoint: run.checkpoint,
        };
        tasks.spawn(walk.run(merge, run.progress.clone()));
    }
    let mut all = Extra { most, ..Extra::default() };
    for part in gather(tasks, run).await? {
        all.count += part.count;
        all.keys.extend(part.keys);
    }
    Ok(all)
}

fn appender(run: &Run, options: &Options) -> Appender {
    let mirror = matches!(options.deletes, Deletes::Mirror { .. });
    Appender { copier: run.copier.clone(), counters: run.counters.clone(), mirror }
}

/// One part of the key space, gone through in order.
struct Walk {
    number: usize,
    appender: Appender,
    recorder: Recorder,
    journal: Writer,
    /// To be written, and not yet in the journal.
    found: Vec<(Both, u64)>,
    /// In the journal, and waiting to be let in.
    ready: VecDeque<(Both, u64)>,
    /// Versions in both.
    waiting: usize,
    under_way: JoinSet<Ended>,
    extra: Extra,
    checkpoint: Duration,
}

/// A key that has ended.
struct Ended {
    slot: u64,
    key: String,
    /// When the oldest that was lacking was written.
    modified: i64,
    before: Option<Record>,
    result: Result<Appended, StoreError>,
}

impl Walk {
    async fn run(mut self, mut merge: ChainMerge, progress: Progress) -> Result<Extra, StoreError> {
        let mut tick = interval(self.checkpoint);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let gate = self.appender.copier.gate.clone();
        let (mut listed, mut failed) = (false, None);
        while !(listed && self.found.is_empty() && self.ready.is_empty() && self.under_way.is_empty()) {
            let room = self.found.len() < PAGE && self.waiting < WAITING && self.recorder.waiting() < WINDOW;
            tokio::select! {
                biased;
                Some(ended) = self.under_way.join_next() => match ended {
                    Ok(ended) => self.ended(ended).await?,
                    Err(error) => return Err(lost(&error)),
                },
                _ = tick.tick() => {
                    progress.publish(self.number, self.recorder.checkpoint().await?, false);
                }
                permit = gate.enter(), if !self.ready.is_empty() => self.start(permit),
                merged = merge.next(), if !listed && room => match merged {
                    Ok(Some(merged)) => self.step(merged).await?,
                    Ok(None) => listed = true,
                    Err(error) => (listed, failed) = (true, Some(error)),
                },
                // Nothing else can be done at the moment.
                () = std::future::ready(()), if self.ready.is_empty() && !self.found.is_empty() => {
                    self.journal.about_to_copy(self.found.iter().map(|(both, _)| both.key.as_str())).await?;
                    self.ready.extend(self.found.drain(..));
                }
            }
        }
        self.appender.counters.listed_at(merge.source_now());
        let done = failed.is_none();
        progress.publish(self.number, self.recorder.checkpoint().await?, done);
        failed.map_or(Ok(self.extra), Err)
    }

    async fn step(&mut self, merged: Merged) -> Result<(), StoreError> {
        let both = match merged {
            Merged::LeftOut(None) => return Ok(()),
            Merged::LeftOut(Some(record)) => return self.recorder.push(record).await,
            Merged::Both(both) => both,
        };
        let counters = &self.appender.counters;
        if !both.is_ours() {
            counters.foreign.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let steps = both.steps(self.appender.mirror);
        count(counters, &both, &steps);
        // What was begun may lack its lock.
        let locks = both.is_begun && self.appender.copier.limits.destination_locks == Some(true);
        let is_doubtful = steps.doubts(&both.source, &both.destination).next().is_some();
        if !steps.append.is_empty() || is_doubtful || (locks && !both.source.is_empty()) {
            let slot = self.recorder.reserve();
            self.waiting += both.source.len() + both.destination.len();
            self.found.push((both, slot));
            return Ok(());
        }
        counters.missing.fetch_add(steps.missing, Ordering::Relaxed);
        let ids = steps.extra.iter().map(|d| both.destination[*d].id.clone()).collect();
        self.extra.add(counters, &both.key, ids, both.record.as_ref());
        let proof = both.record.as_ref().map_or(Proof::ETag, |record| record.proof);
        let record = recorded(&both.key, (&both.source, &both.destination), both.pairs(), proof);
        // Without any version at the source it stays known as ours, as long as the destination has one.
        let before = both.record.filter(|_| both.source.is_empty() && !both.destination.is_empty());
        match record.or(before) {
            Some(record) => self.recorder.push(record).await,
            None => Ok(()),
        }
    }

    fn start(&mut self, permit: Permit) {
        let Some((both, slot)) = self.ready.pop_front() else { return };
        self.waiting -= both.source.len() + both.destination.len();
        let appender = self.appender.clone();
        self.under_way.spawn(async move {
            let steps = both.steps(appender.mirror);
            let oldest = steps.append.first().map(|s| both.source[*s].modified);
            let is_measure = matches!(steps.append[..], [s] if both.source[s].size <= MEASURE);
            let (key, before) = (both.key.clone(), both.record.clone());
            let result = appender.append(both).await;
            permit.leave(is_measure && result.is_ok());
            Ended { slot, key, modified: oldest.unwrap_or(0), before, result }
        });
    }

    async fn ended(&mut self, ended: Ended) -> Result<(), StoreError> {
        let Ended { slot, key, modified, before, result } = ended;
        let counters = &self.appender.counters;
        let record = match result {
            Ok(Appended { record, extra, missing }) => {
                counters.missing.fetch_add(missing, Ordering::Relaxed);
                self.extra.add(counters, &key, extra, record.as_ref());
                record
            }
            Err(error) => {
                counters.failed(&key, modified, error.to_string());
                before
            }
        };
        self.recorder.fill(slot, record).await
    }
}

/// Counts what was found of one key: versions.
pub(super) fn count(counters: &Counters, both: &Both, steps: &Steps) {
    let add = |counter: &std::sync::atomic::AtomicU64, more: u64| counter.fetch_add(more, Ordering::Relaxed);
    add(&counters.listed, both.source.len() as u64);
    add(&counters.kept, steps.copies.iter().flatten().count() as u64);
    let why = if steps.again { Why::Drifted } else { Why::New };
    for link in steps.append.iter().map(|s| &both.source[*s]) {
        counters.found(&link.seen(), why);
    }
}

/// Deletes versions that are no copies of any: both sides are listed once more, for each key.
async fn delete(run: &Run, options: &Options, extra: Extra) {
    let appender = &appender(run, options);
    let deletions = stream::iter(extra.keys).map(|of| async move {
        let key = of.key.clone();
        (key, delete_of(run, appender, of).await)
    });
    let mut deletions = std::pin::pin!(deletions.buffer_unordered(DELETIONS));
    while let Some((key, deleted)) = deletions.next().await {
        if let Err(error) = deleted {
            run.counters.failed(&key, 0, format!("a version can't be deleted: {error}"));
        }
    }
}

async fn delete_of(run: &Run, appender: &Appender, of: Superfluous) -> Result<(), StoreError> {
    let (from, to) = (&run.copier.source, &run.copier.destination);
    let Superfluous { key, ids, record } = of;
    let (source, destination) = tokio::try_join!(versions::of_key(from, &key), versions::of_key(to, &key))?;
    let at = to.key(&key);
    let both = Both { key, source, destination, record, is_begun: true, is_torn: false };
    let steps = both.steps(appender.mirror);
    // The oldest first: what is current stays so until the last.
    for d in steps.extra {
        let id = &both.destination[d].id;
        if ids.contains(id) {
            to.wire.persist(|| to.wire.delete_version(&to.bucket, &at, id)).await?;
            run.counters.deleted.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
