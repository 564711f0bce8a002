//! A run: the key space in parts, each merged on its own; copies as many as help; a checkpoint every few seconds; deletions
//! last, when everything was listed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::copy::{Copied, Copier};
use super::decide::{Step, Why};
use super::gate::Permit;
use super::gone::Gone;
use super::journal::{self, Left, Writer};
use super::limits::limits;
use super::manifest::{Manifest, Place, Shared};
use super::merge::{Merge, Merged};
use super::parts;
use super::ranges::{self, Part, Progress};
use super::record::{Proof, Record, Seen};
use super::recorder::Recorder;
use super::report::{Counters, Planned, Report};
use super::tags::Asked;
use super::{Deletes, Filter, History, Options, Side, check, history, inspect, versions};
use crate::StoreError;
use crate::wire::{Condition, Entry};

/// Parts of the key space that are gone through at the same time.
const PARTS: usize = 4;
/// Keys on a page of the journal, at most.
pub(super) const PAGE: usize = 1000;
/// Keys that may wait for one that is under way.
pub(super) const WINDOW: usize = 65_536;
/// Small enough to tell how fast a link is, in bytes.
pub(super) const MEASURE: u64 = 64 << 10;
/// Deletions in flight at once.
pub(super) const DELETIONS: usize = 16;

/// Makes the destination hold what the source holds.
///
/// # Errors
/// When it can't begin, a side can't be listed, or the manifest can't be written. That single objects could not be copied is
/// in the report.
pub async fn replicate(
    source: &Side,
    destination: &Side,
    place: Place,
    options: &Options,
    counters: &Arc<Counters>,
) -> Result<Report, StoreError> {
    check(source, destination)?;
    let limits = limits(source, destination, options).await?;
    let source = &source.as_of(options);
    let mut manifest = Manifest::open(place.clone(), &of(source, destination)).await?;
    if manifest.is_new() {
        if !options.adopt {
            refuse_unless_empty(destination, options.history).await?;
        }
        // From now on what lies there is known to be ours, also when this run is killed before its first checkpoint.
        manifest.commit(Vec::new()).await?;
    }
    // What has to be sorted first is listed once, and not once for each part.
    let at_once = if source.unsorted || destination.unsorted { 1 } else { PARTS };
    let parts = ranges::split(manifest.segments(), at_once);
    let copier = Arc::new(Copier::new(source, destination, manifest.reader(), options, limits));
    clear_uploads(&copier, |_| true).await?;
    let manifest: Shared = Arc::new(Mutex::new(manifest));
    let progress = Progress::new(&parts);
    let left = Left::find(&copier.manifest).await?;
    // Nothing can be done every zero seconds.
    let checkpoint = options.checkpoint.max(Duration::from_millis(1));
    let run = Run { copier, counters: counters.clone(), manifest, progress, checkpoint };
    let mut report = match options.history {
        History::All => history::replicate(&run, parts, options, &left).await?,
        History::Latest | History::At(_) => objects(&run, parts, options, &left).await?,
    };
    run.copier.losses.tell(&mut report);
    report.notes = run.copier.limits.notes(options.history);
    report.uncertain = source.uncertain();
    Ok(report)
}

/// One version of each key.
async fn objects(run: &Run, parts: Vec<Part>, options: &Options, left: &Left) -> Result<Report, StoreError> {
    let gone = Gone::up_to(options.deletes);
    all_parts(run, parts, options, left, &gone).await?;
    left.forget_over(&run.copier.manifest).await?;
    left.touched.forget(&run.copier.manifest).await?;
    let mut fuse = None;
    match options.deletes {
        Deletes::Mirror { most } if gone.count() > most => fuse = Some(gone.count()),
        Deletes::Mirror { .. } => {
            let copier = &run.copier;
            delete(&copier.source, &copier.destination, &run.counters, gone.take()).await;
        }
        Deletes::Ignore => {}
    }
    Ok(Report { fuse, ..run.counters.report() })
}

/// Says what a run would do, a key at a time, and does nothing.
///
/// # Errors
/// As [`replicate`].
pub async fn plan(
    source: &Side,
    destination: &Side,
    place: Place,
    options: &Options,
    mut tell: impl FnMut(Planned),
) -> Result<Report, StoreError> {
    check(source, destination)?;
    let notes = limits(source, destination, options).await?.notes(options.history);
    let source = &source.as_of(options);
    let manifest = Manifest::open(place, &of(source, destination)).await?;
    let counters = Counters::default();
    if options.history == History::All {
        inspect::plan((source, destination), &manifest, options, &counters, &mut tell).await?;
        return Ok(Report { notes, ..counters.report() });
    }
    for Part { range, segments } in ranges::split(manifest.segments(), 1) {
        let reader = manifest.reader();
        let left = Left::find(&reader).await?;
        let filter = options.filter.clone();
        let asked = Asked::of(&filter);
        let mut merge = Merge::open(source, destination, &range, reader, segments, &left, filter);
        let mut copies: Vec<(Entry, Why)> = Vec::new();
        loop {
            let merged = merge.next().await?;
            let is_whole = copies.len() == if asked.is_some() { PAGE } else { 1 };
            if merged.is_none() || is_whole {
                for (entry, why) in tagged(source, asked.as_ref(), std::mem::take(&mut copies)).await? {
                    counters.found(&Seen::of(&entry), why);
                    tell(Planned { key: entry.key, why: why.name(), size: entry.size });
                }
            }
            let Some(merged) = merged else { break };
            let Merged::Step(step) = merged else { continue };
            match step {
                Step::Copy { entry, why, .. } => copies.push((entry, why)),
                Step::Gone { record, .. } => {
                    counters.gone.fetch_add(1, Ordering::Relaxed);
                    if matches!(options.deletes, Deletes::Mirror { .. }) {
                        tell(Planned { key: record.key, why: "deleted", size: record.destination.size });
                    }
                }
                step => count(&counters, &step),
            }
        }
        counters.listed_at(merge.source_now());
    }
    Ok(Report { notes, uncertain: source.uncertain(), ..counters.report() })
}

/// Those that have the tags that are asked for.
async fn tagged(
    source: &Side,
    asked: Option<&Asked>,
    copies: Vec<(Entry, Why)>,
) -> Result<Vec<(Entry, Why)>, StoreError> {
    let Some(asked) = asked else { return Ok(copies) };
    let each = asked.are_on_each(source, copies, |(entry, _)| entry.key.as_str(), None).await;
    let kept = each.into_iter().filter_map(|(copy, are_there)| match are_there {
        Ok(are_there) => are_there.then_some(Ok(copy)),
        Err(error) => Some(Err(error)),
    });
    kept.collect()
}

/// What a manifest is of.
pub(super) fn of(source: &Side, destination: &Side) -> String {
    format!("{}/{} to {}/{}", source.bucket, source.prefix, destination.bucket, destination.prefix)
}

pub(super) async fn refuse_unless_empty(destination: &Side, history: History) -> Result<(), StoreError> {
    let (bucket, prefix) = (&destination.bucket, &destination.prefix);
    let first = match history {
        History::All => {
            let page = destination.wire.versions(bucket, prefix, None).await?;
            page.versions.into_iter().next().map(|version| version.entry)
        }
        History::Latest | History::At(_) => {
            destination.wire.list(bucket, prefix, None, None).await?.entries.into_iter().next()
        }
    };
    match first {
        None => Ok(()),
        Some(entry) => Err(StoreError::NotEmpty { target: destination.to_string(), key: entry.key.clone() }),
    }
}

/// Throws away what a run that was killed has left half sent, of the keys at the destination that are meant.
pub(super) async fn clear_uploads(
    copier: &Copier,
    is_meant: impl Fn(&str) -> bool,
) -> Result<(), StoreError> {
    for (intent, key) in copier.manifest.intents().await?.into_iter().filter(|(_, key)| is_meant(key)) {
        parts::clear(copier, &key).await?;
        copier.manifest.fulfilled(&intent).await;
    }
    Ok(())
}

/// What a run, or one shard of it, works with.
pub(super) struct Run {
    pub(super) copier: Arc<Copier>,
    pub(super) counters: Arc<Counters>,
    pub(super) manifest: Shared,
    pub(super) progress: Progress,
    /// How often what was done is put on record.
    pub(super) checkpoint: Duration,
}

async fn all_parts(
    run: &Run,
    parts: Vec<Part>,
    options: &Options,
    left: &Left,
    gone: &Gone,
) -> Result<(), StoreError> {
    let id = journal::name_of_run();
    let mut tasks = JoinSet::new();
    for (number, part) in parts.into_iter().enumerate() {
        let merge = Merge::open(
            &run.copier.source,
            &run.copier.destination,
            &part.range,
            run.copier.manifest.clone(),
            part.segments,
            left,
            Filter::clone(&options.filter),
        );
        let journal = Writer::new(run.copier.manifest.clone(), id.clone(), number);
        let walk = Walk::new(run, number, journal, gone.clone());
        tasks.spawn(walk.run(merge, run.progress.clone()));
    }
    gather(tasks, run).await.map(drop)
}

/// What became of all parts; what they have done is on record every few seconds.
pub(super) async fn gather<T: 'static>(
    mut tasks: JoinSet<Result<T, StoreError>>,
    run: &Run,
) -> Result<Vec<T>, StoreError> {
    let (manifest, progress) = (&run.manifest, &run.progress);
    let mut tick = interval(run.checkpoint);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    let (mut all, mut failed) = (Vec::new(), None);
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                None => break,
                Some(Ok(Ok(part))) => all.push(part),
                Some(Ok(Err(error))) => failed = Some(error),
                Some(Err(error)) => failed = Some(lost(&error)),
            },
            _ = tick.tick() => manifest.lock().await.commit(progress.segments()).await?,
        }
    }
    manifest.lock().await.commit(progress.segments()).await?;
    failed.map_or(Ok(all), Err)
}

pub(super) fn lost(error: &tokio::task::JoinError) -> StoreError {
    StoreError::Other { what: "a part of the run".to_owned(), detail: error.to_string() }
}

/// One part of the key space, gone through in order.
pub(super) struct Walk {
    number: usize,
    copier: Arc<Copier>,
    counters: Arc<Counters>,
    recorder: Recorder,
    journal: Writer,
    /// To be copied, and not yet in the journal.
    found: Vec<Waiting>,
    /// In the journal, and waiting to be let in.
    ready: VecDeque<Waiting>,
    copies: JoinSet<Ended>,
    gone: Gone,
    checkpoint: Duration,
    /// The moment up to which the source was listed, as last told.
    now: Option<i64>,
}

/// A copy that has ended.
struct Ended {
    slot: u64,
    key: String,
    modified: i64,
    why: Why,
    before: Option<Record>,
    result: Result<Copied, StoreError>,
}

/// A copy that waits to be let in.
struct Waiting {
    entry: Entry,
    condition: Condition,
    why: Why,
    record: Option<Record>,
    slot: u64,
}

impl Walk {
    pub(super) fn new(run: &Run, number: usize, journal: Writer, gone: Gone) -> Self {
        Self {
            number,
            copier: run.copier.clone(),
            counters: run.counters.clone(),
            recorder: Recorder::new(run.manifest.clone()),
            journal,
            found: Vec::new(),
            ready: VecDeque::new(),
            copies: JoinSet::new(),
            gone,
            checkpoint: run.checkpoint,
            now: None,
        }
    }

    /// Copies what is missing, and publishes what is on record: again and again, and at the end.
    pub(super) async fn run(mut self, mut merge: Merge, progress: Progress) -> Result<(), StoreError> {
        let mut tick = interval(self.checkpoint);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let gate = self.copier.gate.clone();
        let (mut listed, mut failed) = (false, None);
        while !(listed && self.found.is_empty() && self.ready.is_empty() && self.copies.is_empty()) {
            let room = self.found.len() < PAGE && self.recorder.waiting() < WINDOW;
            tokio::select! {
                biased;
                Some(ended) = self.copies.join_next() => match ended {
                    Ok(ended) => self.ended(ended).await?,
                    Err(error) => return Err(lost(&error)),
                },
                _ = tick.tick() => {
                    progress.publish(self.number, self.recorder.checkpoint().await?, false);
                }
                permit = gate.enter(), if !self.ready.is_empty() => {
                    if let Some(waiting) = self.ready.pop_front() {
                        self.start(waiting, permit);
                    }
                }
                merged = merge.next(), if !listed && room => match merged {
                    Ok(Some(merged)) => {
                        self.tell_clock(&merge);
                        self.step(merged).await?;
                    }
                    Ok(None) => listed = true,
                    Err(error) => (listed, failed) = (true, Some(error)),
                },
                // Nothing else can be done at the moment.
                () = std::future::ready(()), if self.ready.is_empty() && !self.found.is_empty() => {
                    self.leave_out().await?;
                    self.journal.about_to_copy(self.found.iter().map(|w| w.entry.key.as_str())).await?;
                    self.ready.extend(self.found.drain(..));
                }
            }
        }
        self.tell_clock(&merge);
        let done = failed.is_none();
        progress.publish(self.number, self.recorder.checkpoint().await?, done);
        failed.map_or(Ok(()), Err)
    }

    /// Once a page: while a run goes on, the age of what is missing is known.
    fn tell_clock(&mut self, merge: &Merge) {
        let now = merge.source_now();
        if now != self.now {
            self.now = now;
            self.counters.listed_at(now);
        }
    }

    async fn step(&mut self, merged: Merged) -> Result<(), StoreError> {
        let step = match merged {
            Merged::LeftOut(None) => return Ok(()),
            Merged::LeftOut(Some(record)) => {
                if record.proof == Proof::LeftOut {
                    self.counters.left_out.fetch_add(1, Ordering::Relaxed);
                    self.counters.listed.fetch_add(1, Ordering::Relaxed);
                }
                return self.recorder.push(record).await;
            }
            Merged::Step(step) => step,
        };
        count(&self.counters, &step);
        match step {
            Step::Keep(record) => self.recorder.push(record).await?,
            Step::Copy { entry, condition, why, record } => {
                if self.copier.asked.is_none() {
                    self.counters.found(&Seen::of(&entry), why);
                }
                let slot = self.recorder.reserve();
                self.found.push(Waiting { entry, condition, why, record, slot });
            }
            Step::Gone { record, there } => {
                self.gone.note(&record.key, there);
                self.recorder.push(record).await?;
            }
            Step::Foreign | Step::Forget => {}
        }
        Ok(())
    }

    /// Takes those away that lack the tags. Before they are in the journal: what lies in their places is none of ours.
    async fn leave_out(&mut self) -> Result<(), StoreError> {
        let copier = self.copier.clone();
        let Some(asked) = &copier.asked else { return Ok(()) };
        let (found, requests) = (std::mem::take(&mut self.found), copier.requests.as_ref());
        let each = asked.are_on_each(&copier.source, found, |waiting| &waiting.entry.key, requests).await;
        for (waiting, are_there) in each {
            let entry = &waiting.entry;
            match are_there {
                Ok(true) => {
                    self.counters.found(&Seen::of(entry), waiting.why);
                    self.found.push(waiting);
                }
                Ok(false) => {
                    self.counters.left_out.fetch_add(1, Ordering::Relaxed);
                    let record = waiting.record.unwrap_or_else(|| asked.lacking(entry));
                    self.recorder.fill(waiting.slot, Some(record)).await?;
                }
                Err(error @ StoreError::Unsupported { .. }) => return Err(error),
                Err(error) => {
                    self.counters.failed(&entry.key, entry.modified, error.to_string());
                    self.recorder.fill(waiting.slot, waiting.record).await?;
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, waiting: Waiting, permit: Permit) {
        let copier = self.copier.clone();
        let Waiting { entry, condition, why, record, slot } = waiting;
        self.copies.spawn(async move {
            let (key, modified, is_measure) = (entry.key.clone(), entry.modified, entry.size <= MEASURE);
            let result = copier.copy(entry, condition).await;
            permit.leave(is_measure && result.is_ok());
            Ended { slot, key, modified, why, before: record, result }
        });
    }

    async fn ended(&mut self, ended: Ended) -> Result<(), StoreError> {
        let Ended { slot, key, modified, why, before, result } = ended;
        let record = match result {
            Ok(Copied::Whole { record, bytes, .. }) => {
                self.counters.copied(bytes, record.proof);
                Some(record)
            }
            Ok(Copied::Gone) => before,
            Ok(Copied::LeftOut) => {
                self.counters.left_out.fetch_add(1, Ordering::Relaxed);
                before
            }
            Err(error) => {
                self.counters.failed(&key, modified, error.to_string());
                before
            }
        };
        self.counters.ended(modified, why);
        self.recorder.fill(slot, record).await
    }
}

fn count(counters: &Counters, step: &Step) {
    let add = |counter: &std::sync::atomic::AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    match step {
        Step::Keep(_) => {
            add(&counters.listed);
            add(&counters.kept);
        }
        Step::Copy { .. } => {
            add(&counters.listed);
        }
        Step::Gone { .. } => {
            add(&counters.gone);
        }
        Step::Foreign => {
            add(&counters.foreign);
        }
        Step::Forget => {}
    }
}

/// Deletes what was replicated and is gone at the source: asked for once more, each.
pub(super) async fn delete(from: &Side, to: &Side, counters: &Counters, objects: Vec<(String, Seen)>) {
    let deletions = stream::iter(objects).map(|(key, listed)| async move {
        let here = to.key(&key);
        let sure = async {
            if versions::has(from, &key).await? {
                return Ok(false);
            }
            // Not what was written there since it was listed.
            let is_still = to.wire.head(&to.bucket, &here, crate::wire::Part::default()).await?;
            let is_still = is_still.is_some_and(|(headers, _)| {
                headers.get("etag").and_then(|v| v.to_str().ok()).map(crate::wire::ETag::new)
                    == Some(listed.etag.clone())
            });
            if is_still {
                to.wire.delete(&to.bucket, &here).await?;
            }
            Ok::<_, StoreError>(is_still)
        };
        let deleted = sure.await;
        (key, deleted)
    });
    let mut deletions = std::pin::pin!(deletions.buffer_unordered(DELETIONS));
    while let Some((key, deleted)) = deletions.next().await {
        match deleted {
            Ok(true) => {
                counters.deleted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(false) => {}
            Err(error) => counters.failed(&key, 0, format!("can't be deleted: {error}")),
        }
    }
}
