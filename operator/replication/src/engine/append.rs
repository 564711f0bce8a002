//! The versions of one key, put on top of what the destination has of it, strictly in their order. Whatever goes wrong, both
//! sides are listed again and what is to be done is derived anew: no answer that was lost does harm.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::chain::{Known, Link, Newest, Pair, Steps, steps};
use super::chains::{Both, recorded};
use super::copy::{Copied, Copier, Wanted};
use super::record::{Proof, Record};
use super::report::Counters;
use super::setback::Setback;
use super::{Side, versions};
use crate::StoreError;
use crate::wire::{Condition, Digests, ETag};

/// Times it is tried without any success between.
const ATTEMPTS: u32 = 5;

/// Brings chains up to date. Cheap to clone.
#[derive(Clone)]
pub(super) struct Appender {
    pub(super) copier: Arc<Copier>,
    pub(super) counters: Arc<Counters>,
    /// What the destination has beyond is going to be deleted.
    pub(super) mirror: bool,
}

/// What a key came to.
#[derive(Debug, Default)]
pub(super) struct Appended {
    pub(super) record: Option<Record>,
    /// Ids of versions of the destination that are no copies.
    pub(super) extra: Vec<Box<str>>,
    /// Versions of the source that are missing below newer ones.
    pub(super) missing: u64,
}

/// What was read: of the source or not, by number.
type Contents = HashMap<(bool, usize), Digests>;

/// A chain under way.
struct Work {
    key: String,
    source: Vec<Link>,
    destination: Vec<Link>,
    pairs: Vec<Pair>,
    record: Option<Record>,
    is_begun: bool,
    proof: Proof,
    /// Versions that were put there since it last failed.
    done: u32,
}

impl Work {
    /// From here on something may land that nobody hears of. Where nothing was known yet, what was found to be copied is known
    /// by now; and whatever comes on top of it is ours, in order: of versions that nothing tells apart it is the first ones.
    fn begin(&mut self, steps: &Steps) {
        if self.record.is_some() {
            return;
        }
        let top = steps.copies.iter().enumerate().rev().find_map(|(s, d)| Some((s, (*d)?)));
        match top {
            Some((s, d)) => self.record_copy(&self.source[s].clone(), &self.destination[d].clone()),
            None => self.is_begun = true,
        }
    }

    /// Known to the next attempt.
    fn record_copy(&mut self, link: &Link, there: &Link) {
        let newest = Newest { source: link.id.clone(), destination: there.id.clone(), pairs: Vec::new() };
        self.record = Some(Record {
            key: self.key.clone(),
            source: link.seen(),
            destination: there.seen(),
            proof: self.proof,
            newest: Some(newest.into()),
        });
    }
}

impl Appender {
    /// Appends until the destination's chain ends as the source's does, or it can't be done.
    ///
    /// # Errors
    /// The last one.
    pub(super) async fn append(&self, both: Both) -> Result<Appended, StoreError> {
        let pairs = both.pairs().to_vec();
        let proof = both.record.as_ref().map_or(Proof::ETag, |record| record.proof);
        let Both { key, source, destination, record, is_begun, is_torn } = both;
        let mut work = Work { key, source, destination, pairs, record, is_begun, proof, done: 0 };
        let copier = &self.copier;
        let (mut failed, mut lists, mut conditional) = (0, is_torn, true);
        let mut pause = copier.source.wire.patience().pause;
        loop {
            let setback = match self.attempt(&mut work, lists, failed > 0).await {
                Ok(appended) => return Ok(appended),
                Err(setback) => setback,
            };
            if std::mem::take(&mut work.done) > 0 {
                (failed, pause) = (0, copier.source.wire.patience().pause);
            }
            (failed, lists) = (failed + 1, true);
            let error = match setback {
                Setback::Changed => busy(&copier.source, &work.key),
                Setback::Replaced => busy(&copier.destination, &work.key),
                Setback::Failed(StoreError::Unsupported { .. }) if conditional => {
                    conditional = false;
                    copier.knows.conditions.store(false, Ordering::Relaxed);
                    continue;
                }
                Setback::Failed(error) if error.is_transient() => {
                    copier.gate.struggles();
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    error
                }
                Setback::Failed(error) => return Err(error),
            };
            if failed >= ATTEMPTS {
                return Err(error);
            }
        }
    }

    async fn attempt(&self, work: &mut Work, lists: bool, again: bool) -> Result<Appended, Setback> {
        let copier = &self.copier;
        if lists {
            (work.source, work.destination) = tokio::try_join!(
                versions::of_key(&copier.source, &work.key),
                versions::of_key(&copier.destination, &work.key)
            )?;
        }
        self.recognise(work).await?;
        let steps = self.steps(work);
        if work.is_begun || again {
            self.lock_again(work, &steps).await?;
        }
        let missing = steps.missing;
        let extra = steps.extra.iter().map(|n| work.destination[*n].id.clone()).collect();
        if !steps.append.is_empty() {
            work.begin(&steps);
        }
        for s in steps.append {
            self.put(work, s, again).await?;
            work.done += 1;
        }
        let both = (work.source.as_slice(), work.destination.as_slice());
        let record = recorded(&work.key, both, &work.pairs, work.proof);
        Ok(Appended { record, extra, missing })
    }

    fn steps(&self, work: &Work) -> Steps {
        let known = Known::of(&work.source, &work.destination, work.record.as_ref(), work.is_begun);
        steps(&work.source, &work.destination, &work.pairs, known, self.mirror)
    }

    /// One version on top.
    async fn put(&self, work: &mut Work, s: usize, again: bool) -> Result<(), Setback> {
        let copier = &self.copier;
        let link = work.source[s].clone();
        let condition = match work.destination.last() {
            Some(top) if top.is_marker => Condition::Absent,
            None => Condition::Absent,
            Some(top) if top.etag.is_empty() => Condition::None,
            Some(top) => Condition::Is(top.etag.clone()),
        };
        let mut there = Link { id: Box::default(), modified: 0, ..link.clone() };
        if link.is_marker {
            copier.request().await;
            let to = &copier.destination;
            let knows = copier.knows.conditions.load(Ordering::Relaxed);
            let condition = if knows { condition } else { Condition::None };
            let marked = to.wire.mark_deleted(&to.bucket, &to.key(&work.key), &condition).await;
            let marked = marked.map_err(|error| match error {
                StoreError::Mismatch { .. } => Setback::Replaced,
                error => Setback::Failed(error),
            })?;
            there.id = marked.unwrap_or_default().into();
            self.counters.markers.fetch_add(1, Ordering::Relaxed);
        } else {
            let wanted = Wanted {
                key: work.key.clone(),
                seen: link.seen(),
                version: Some(link.id.clone()),
                condition,
            };
            let Copied::Whole { record, bytes, version } = copier.attempt(&wanted, again).await? else {
                return Err(Setback::Changed);
            };
            self.counters.copied.fetch_add(1, Ordering::Relaxed);
            self.counters.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
            if record.proof == Proof::Read {
                self.counters.read_back.fetch_add(1, Ordering::Relaxed);
            }
            work.proof = record.proof;
            there.etag = record.destination.etag;
            there.id = version.unwrap_or_default().into();
            learn(&mut work.pairs, &link.etag, &there.etag);
        }
        work.record_copy(&link, &there);
        work.destination.push(there);
        Ok(())
    }

    /// Reads versions of the same size that the stores name differently, where some of both sides have no counterpart: a run
    /// that was killed may have copied them without recording how they are called.
    async fn recognise(&self, work: &mut Work) -> Result<(), Setback> {
        let mut contents: Contents = HashMap::new();
        while let Some((s, d)) = self.candidate(work, &contents) {
            for (at_source, n) in [(true, s), (false, d)] {
                if contents.contains_key(&(at_source, n)) {
                    continue;
                }
                let read = self.content(work, at_source, n).await?;
                contents.insert((at_source, n), read);
            }
            if contents[&(true, s)] == contents[&(false, d)] {
                let (link, there) = (&work.source[s], &work.destination[d]);
                learn(&mut work.pairs, &link.etag, &there.etag);
                work.proof = Proof::Read;
            }
        }
        Ok(())
    }

    /// Digests of one version. That two differ has consequences: it is believed of what was read alike twice.
    async fn content(&self, work: &Work, at_source: bool, n: usize) -> Result<Digests, Setback> {
        let copier = &self.copier;
        let (side, link) = if at_source {
            (&copier.source, &work.source[n])
        } else {
            (&copier.destination, &work.destination[n])
        };
        let read = || async {
            let which = (work.key.as_str(), Some(link.id.as_ref()));
            copier.read(side, which, &link.etag).await.map_err(|error| match error {
                StoreError::Mismatch { .. } | StoreError::NotFound { .. } => Setback::Changed,
                error => Setback::Failed(error),
            })
        };
        let (first, second) = (read().await?, read().await?);
        if first != second {
            return Err(Setback::Failed(StoreError::Unreachable {
                endpoint: side.wire.endpoint().to_owned(),
                detail: format!(
                    "{}/{} was read twice, and is not the same",
                    side.bucket,
                    side.key(&work.key)
                ),
            }));
        }
        Ok(first)
    }

    /// Two that may be the same, and of which it was not found out yet.
    fn candidate(&self, work: &Work, contents: &Contents) -> Option<(usize, usize)> {
        let steps = self.steps(work);
        let were_read = |s, d| contents.contains_key(&(true, s)) && contents.contains_key(&(false, d));
        steps.doubts(&work.source, &work.destination).find(|(s, d)| !were_read(*s, *d))
    }

    /// The newest copy, where it is not known that its lock was set: that is another request than the one that wrote it.
    async fn lock_again(&self, work: &Work, steps: &Steps) -> Result<(), StoreError> {
        let Some((s, d)) = steps.copies.iter().enumerate().rev().find_map(|(s, d)| Some((s, (*d)?))) else {
            return Ok(());
        };
        let (link, there) = (&work.source[s], &work.destination[d]);
        if link.is_marker {
            return Ok(());
        }
        self.copier.lock_again(&work.key, Some(&link.id), Some(&there.id)).await
    }
}

fn learn(pairs: &mut Vec<Pair>, source: &ETag, destination: &ETag) {
    let pair = Pair { source: source.clone(), destination: destination.clone() };
    if source != destination && !pairs.contains(&pair) {
        pairs.push(pair);
    }
}

fn busy(side: &Side, key: &str) -> StoreError {
    StoreError::Conflict {
        bucket: side.bucket.clone(),
        key: side.key(key),
        detail: "its versions change faster than they can be copied; the next run tries again".to_owned(),
    }
}
