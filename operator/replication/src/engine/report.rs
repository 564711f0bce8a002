//! What a run did, as it goes and at its end.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::decide::Why;
use super::lag::{Clock, Missing};
use super::limits::Note;
use super::record::{Proof, Seen};

/// Troubles that are told one by one; the rest is counted.
const TOLD: usize = 100;

/// Counts as it goes; shared.
#[derive(Debug, Default)]
pub struct Counters {
    /// Objects of the source that were looked at.
    pub listed: AtomicU64,
    /// Those that the destination had.
    pub kept: AtomicU64,
    /// To be copied, found so far.
    pub wanted: AtomicU64,
    pub wanted_bytes: AtomicU64,
    pub copied: AtomicU64,
    pub copied_bytes: AtomicU64,
    /// Of those that were copied or kept: proved by reading, not by `ETag`.
    pub read_back: AtomicU64,
    /// Somebody else wrote at the destination.
    pub drifted: AtomicU64,
    pub deleted: AtomicU64,
    /// The source has them no more, and they stay.
    pub gone: AtomicU64,
    /// At the destination, and never replicated.
    pub foreign: AtomicU64,
    pub failed: AtomicU64,
    /// Lacking the tags that were asked for.
    pub left_out: AtomicU64,
    /// Delete markers that were put at the destination, where all versions are replicated.
    pub markers: AtomicU64,
    /// Versions that the destination lacks below newer ones.
    pub missing: AtomicU64,
    /// When the oldest that the destination lacked was written, by the source's clock, in milliseconds since 1970.
    pub(super) oldest: AtomicI64,
    /// The same of those that it still lacks at the end.
    pub(super) oldest_left: AtomicI64,
    /// The source's clock at its last listing.
    pub(super) now: AtomicI64,
    /// And at this moment.
    clock: Clock,
    /// What was found missing and is not there yet.
    awaited: Missing,
    pub(super) troubles: Mutex<Vec<Trouble>>,
}

/// One object that could not be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub key: String,
    pub reason: String,
}

/// One object that would be copied or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    pub key: String,
    /// `new`, `changed`, `drifted` or `deleted`; `marker`: of all versions, a delete marker.
    pub why: &'static str,
    /// Bytes.
    pub size: u64,
}

/// The whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub listed: u64,
    pub kept: u64,
    pub copied: u64,
    pub copied_bytes: u64,
    pub read_back: u64,
    pub drifted: u64,
    pub deleted: u64,
    pub gone: u64,
    pub foreign: u64,
    pub failed: u64,
    /// Objects that lack the tags that were asked for.
    pub left_out: u64,
    /// The first of those that failed.
    pub troubles: Vec<Trouble>,
    /// How many would have been deleted where that was more than was allowed; then none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuse: Option<u64>,
    /// Objects whose tags, or whose storage class, the destination does not keep.
    pub lost_tags: u64,
    pub lost_storage_class: u64,
    /// Objects that were locked against deletion, and at the destination are not.
    pub lost_lock: u64,
    /// What was known beforehand not to be kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Of a moment of the past: objects that may not have been what they are said to have been, for they were written in
    /// parts and are dated by when that began, or in the place of another. Where there are any, the copy is not exact.
    #[serde(skip_serializing_if = "is_zero")]
    pub uncertain: u64,
    /// Of all versions: delete markers that were put there.
    #[serde(skip_serializing_if = "is_zero")]
    pub markers: u64,
    /// Of all versions: those that the destination lacks below newer ones. Nothing older takes the place of what is newer.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Age of the oldest object that the destination lacked when this run listed, in milliseconds, by the source's own clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_found: Option<u64>,
    /// Age of the oldest that it lacks at this moment, of those that were found so far; by the source's clock too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_left: Option<u64>,
    /// Bytes that were to be copied, and objects, whatever became of them.
    pub wanted: u64,
    pub wanted_bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Report {
    /// Whether the destination holds all that the source held when it was listed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed == 0 && self.fuse.is_none()
    }
}

fn earlier(cell: &AtomicI64, moment: i64) {
    if moment > 0 {
        let earlier = |before: i64| (before == 0 || moment < before).then_some(moment);
        // Not news is no error.
        let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
    }
}

impl Counters {
    pub(super) fn found(&self, seen: &Seen, why: Why) {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        self.wanted_bytes.fetch_add(seen.size, Ordering::Relaxed);
        if why == Why::Drifted {
            self.drifted.fetch_add(1, Ordering::Relaxed);
        } else {
            earlier(&self.oldest, seen.modified);
            self.awaited.add(seen.modified);
        }
    }

    /// One is there, and proved.
    pub(super) fn copied(&self, bytes: u64, proof: Proof) {
        self.copied.fetch_add(1, Ordering::Relaxed);
        self.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
        if proof == Proof::Read {
            self.read_back.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One that was found missing is there, or has failed.
    pub(super) fn ended(&self, modified: i64, why: Why) {
        if why != Why::Drifted {
            self.awaited.remove(modified);
        }
    }

    pub(super) fn failed(&self, key: &str, modified: i64, reason: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        earlier(&self.oldest_left, modified);
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.len() < TOLD {
            troubles.push(Trouble { key: key.to_owned(), reason });
        }
    }

    pub(super) fn listed_at(&self, now: Option<i64>) {
        if let Some(now) = now {
            self.now.fetch_max(now, Ordering::Relaxed);
            self.clock.shows(now);
        }
    }

    /// As it stands.
    #[must_use]
    pub fn report(&self) -> Report {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = self.now.load(Ordering::Relaxed);
        let oldest = self.oldest.load(Ordering::Relaxed);
        // Clocks in headers have no fractions: what is younger than that has no age.
        let age = |now: i64, oldest: i64| u64::try_from((now - oldest).max(0)).ok();
        let left =
            [Some(self.oldest_left.load(Ordering::Relaxed)).filter(|at| *at != 0), self.awaited.oldest()];
        let left = left.into_iter().flatten().min();
        Report {
            listed: get(&self.listed),
            kept: get(&self.kept),
            copied: get(&self.copied),
            copied_bytes: get(&self.copied_bytes),
            read_back: get(&self.read_back),
            drifted: get(&self.drifted),
            deleted: get(&self.deleted),
            gone: get(&self.gone),
            foreign: get(&self.foreign),
            failed: get(&self.failed),
            left_out: get(&self.left_out),
            markers: get(&self.markers),
            missing: get(&self.missing),
            troubles: self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            wanted: get(&self.wanted),
            wanted_bytes: get(&self.wanted_bytes),
            lag_found: (oldest != 0 && now != 0).then(|| age(now, oldest)).flatten(),
            lag_left: left.zip(self.clock.now()).and_then(|(oldest, now)| age(now, oldest)),
            ..Report::default()
        }
    }
}
