//! One part of the key space, gone through in order: found, noted, copied as many at once as help, and recorded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::copy::{Copied, Copier};
use super::decide::{Step, Why};
use super::gate::Permit;
use super::gone::Gone;
use super::journal::Writer;
use super::merge::{Merge, Merged};
use super::ranges::Progress;
use super::record::{Proof, Record, Seen};
use super::recorder::Recorder;
use super::report::Counters;
use super::run::{MEASURE, PAGE, Run, WINDOW, lost};
use crate::StoreError;
use crate::wire::{Condition, Entry};

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

pub(super) fn count(counters: &Counters, step: &Step) {
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
