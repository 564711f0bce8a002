//! Records in the order of their keys, while copies end in any order; cut into segments where the keys say so, so that a
//! change concerns the segment that it lies in and no other.

use std::collections::VecDeque;

use super::manifest::Shared;
use super::record::{Described, Encoder, Record};
use crate::StoreError;

/// A segment has at least and at most so many records, and ends at a key of which the hash says so.
const LEAST: u32 = 1024;
const MOST: u32 = 16_384;
const ON_AVERAGE: u64 = 4096;

/// Records of one range.
pub(super) struct Recorder {
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    first: u64,
    encoder: Encoder,
    manifest: Shared,
    /// Segments that are whole.
    done: Vec<Described>,
}

enum Slot {
    Done(Option<Record>),
    /// Under way.
    Pending,
}

impl Recorder {
    pub(super) fn new(manifest: Shared) -> Self {
        Self { slots: VecDeque::new(), first: 0, encoder: Encoder::default(), manifest, done: Vec::new() }
    }

    /// The next key's record.
    pub(super) async fn push(&mut self, record: Record) -> Result<(), StoreError> {
        if self.slots.is_empty() {
            return self.write(record).await;
        }
        self.slots.push_back(Slot::Done(Some(record)));
        Ok(())
    }

    /// The next key's record, which is known only later: by the number that is returned.
    pub(super) fn reserve(&mut self) -> u64 {
        self.slots.push_back(Slot::Pending);
        self.first + self.slots.len() as u64 - 1
    }

    /// What a reserved place is for.
    pub(super) async fn fill(&mut self, number: u64, record: Option<Record>) -> Result<(), StoreError> {
        let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot::Done(record);
        }
        while let Some(Slot::Done(_)) = self.slots.front() {
            let Some(Slot::Done(record)) = self.slots.pop_front() else { break };
            self.first += 1;
            if let Some(record) = record {
                self.write(record).await?;
            }
        }
        Ok(())
    }

    /// Places that wait, or stand behind one that waits.
    pub(super) fn waiting(&self) -> usize {
        self.slots.len()
    }

    async fn write(&mut self, record: Record) -> Result<(), StoreError> {
        self.encoder.add(&record)?;
        let count = self.encoder.count();
        let is_end = count >= MOST || (count >= LEAST && hash(&record.key).is_multiple_of(ON_AVERAGE));
        if is_end {
            self.cut().await?;
        }
        Ok(())
    }

    async fn cut(&mut self) -> Result<(), StoreError> {
        if let Some(segment) = self.encoder.finish() {
            let described = self.manifest.lock().await.keep(segment).await?;
            self.done.push(described);
        }
        Ok(())
    }

    /// Ends the segment that is being written: all segments so far.
    pub(super) async fn checkpoint(&mut self) -> Result<Vec<Described>, StoreError> {
        self.cut().await?;
        Ok(self.done.clone())
    }
}

/// FNV-1a: the same everywhere and for ever.
fn hash(key: &str) -> u64 {
    key.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
