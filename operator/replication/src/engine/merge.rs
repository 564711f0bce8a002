//! Both listings and the manifest, merged by key: one step a key, in order.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use super::decide::{Known, Step, decide};
use super::journal;
use super::listing::{Cursor, Range};
use super::manifest::Reader;
use super::record::{Decoder, Described, Proof, Record};
use super::tags::Asked;
use super::touched::{self, Touched};
use super::{Filter, Side};
use crate::StoreError;

/// Steps for the keys of one range.
pub(super) struct Merge {
    source: Cursor,
    destination: Cursor,
    records: Records,
    journal: journal::Cursor,
    touched: Arc<Touched>,
    filter: Filter,
    asked: Option<Asked>,
    limit: Option<Limit>,
}

/// Where a range ends that may become shorter while it is gone through. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Limit(Arc<RwLock<Option<String>>>);

impl Limit {
    /// The last key that is still meant.
    pub(super) fn set(&self, until: Option<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn is_behind(&self, key: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_deref().is_some_and(|until| key > until)
    }
}

/// What a key came to.
pub(super) enum Merged {
    Step(Step),
    /// Left out by the filter; what is on record stays on record.
    LeftOut(Option<Record>),
}

pub(super) struct Records {
    manifest: Reader,
    segments: VecDeque<Described>,
    page: Option<Decoder>,
    next: Option<Record>,
    last: Option<String>,
    until: Option<String>,
}

impl Records {
    /// Those of a range; `segments` are those that have keys of it.
    pub(super) fn open(manifest: Reader, segments: Vec<Described>, range: &Range) -> Self {
        let (last, until) = (range.after.clone(), range.until.clone());
        Self { manifest, segments: segments.into(), page: None, next: None, last, until }
    }

    pub(super) fn take(&mut self) -> Option<Record> {
        self.next.take()
    }

    pub(super) async fn peek(&mut self) -> Result<Option<&Record>, StoreError> {
        while self.next.is_none() {
            self.next = self.page.as_mut().and_then(Iterator::next).transpose()?;
            if let Some(record) = &self.next {
                // A segment of before the last checkpoint overlaps with those that were written since.
                if self.last.as_deref().is_some_and(|last| record.key.as_str() <= last) {
                    self.next = None;
                    continue;
                }
                // Nor is what lies behind the range any of its business.
                if self.until.as_deref().is_some_and(|until| record.key.as_str() > until) {
                    self.next = None;
                    self.segments.clear();
                    self.page = None;
                    break;
                }
                self.last = Some(record.key.clone());
                break;
            }
            // Taken off only when it was read: whoever waits for this may stop waiting.
            let Some(described) = self.segments.front() else { break };
            self.page = Some(self.manifest.records(described).await?);
            self.segments.pop_front();
        }
        Ok(self.next.as_ref())
    }
}

/// The first key of all, and who has it.
pub(super) fn first(heads: [Option<&str>; 3]) -> Option<(&str, [bool; 3])> {
    let key = heads.into_iter().flatten().min()?;
    Some((key, heads.map(|head| head == Some(key))))
}

impl Merge {
    /// `segments` are those that have keys of the range.
    pub(super) fn open(
        source: &Side,
        destination: &Side,
        range: &Range,
        manifest: Reader,
        segments: Vec<Described>,
        journal: &journal::Left,
        filter: Filter,
    ) -> Self {
        Self {
            journal: journal.cursor(&manifest),
            touched: journal.touched.clone(),
            source: Cursor::open(source.clone(), range.clone()),
            destination: Cursor::open(destination.clone(), range.clone()),
            records: Records::open(manifest, segments, range),
            asked: Asked::of(&filter),
            filter,
            limit: None,
        }
    }

    /// Ends where the limit is, as it stands at each key.
    pub(super) fn limited(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// The source's clock at its last page.
    pub(super) fn source_now(&self) -> Option<i64> {
        self.source.now
    }

    /// The next key's step; none after the last.
    ///
    /// # Errors
    /// When a side can't be listed, or the manifest can't be read: then nothing more can be said about any key.
    pub(super) async fn next(&mut self) -> Result<Option<Merged>, StoreError> {
        let source = self.source.peek().await?.map(|entry| entry.key.as_str());
        let destination = self.destination.peek().await?.map(|entry| entry.key.as_str());
        let record = self.records.peek().await?.map(|record| record.key.as_str());
        let Some((key, is_at)) = first([source, destination, record]) else { return Ok(None) };
        let [at_source, at_destination, on_record] = is_at;
        if self.limit.as_ref().is_some_and(|limit| limit.is_behind(key)) {
            return Ok(None);
        }
        let wants_key = self.filter.wants_key(key);
        let note = self.touched.get(key);
        let is_known = on_record || note.is_some();
        let begun = at_destination && !is_known && wants_key && self.journal.has(key).await?;
        // From here on nothing is waited for: whoever waits for this may stop waiting.
        let entry = if at_source { self.source.take() } else { None };
        let there = if at_destination { self.destination.take() } else { None };
        let record = if on_record { self.records.take() } else { None };
        let record = touched::known(record, note, entry.as_ref());
        let wanted = wants_key && entry.as_ref().is_none_or(|entry| self.filter.wants_size(entry));
        let is_left_out = |record: &Record| record.proof == Proof::LeftOut;
        if !wanted {
            return Ok(Some(Merged::LeftOut(record.filter(|record| !is_left_out(record)))));
        }
        if let (Some(asked), Some(entry), Some(record)) = (&self.asked, &entry, &record)
            && asked.still_lacks(record, entry)
        {
            return Ok(Some(Merged::LeftOut(Some(record.clone()))));
        }
        let known = match record.filter(|record| !is_left_out(record)) {
            Some(record) => Known::Recorded(record),
            // What lies there may be equal and yet lack the tags: it is not ours before they were asked for.
            None if begun || (self.asked.is_some() && entry.is_some()) => Known::Begun,
            None => Known::Nothing,
        };
        Ok(Some(Merged::Step(decide(entry, there.as_ref(), known))))
    }
}
