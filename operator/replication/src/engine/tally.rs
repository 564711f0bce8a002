//! Counters as numbers that are written down and added up: of a shard, and of all of them.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::Losses;
use super::report::{Counters, Report, Trouble};

/// Troubles that are written down one by one; the rest is counted.
const TOLD: usize = 10;

/// What was done, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Tally {
    listed: u64,
    kept: u64,
    wanted: u64,
    wanted_bytes: u64,
    copied: u64,
    copied_bytes: u64,
    read_back: u64,
    drifted: u64,
    gone: u64,
    foreign: u64,
    failed: u64,
    /// Moments by the source's clock, in milliseconds since 1970; 0 where there is none.
    oldest: i64,
    oldest_left: i64,
    now: i64,
    troubles: Vec<Trouble>,
    left_out: u64,
    lost_tags: u64,
    lost_storage_class: u64,
    lost_lock: u64,
}

impl Tally {
    /// As counters stand.
    pub(super) fn of(counters: &Counters) -> Self {
        let Report { listed, kept, copied, copied_bytes, read_back, drifted, gone, foreign, failed, .. } =
            counters.report();
        let Report { wanted, wanted_bytes, left_out, mut troubles, .. } = counters.report();
        troubles.truncate(TOLD);
        Self {
            listed,
            kept,
            wanted,
            wanted_bytes,
            copied,
            copied_bytes,
            read_back,
            drifted,
            gone,
            foreign,
            failed,
            oldest: counters.oldest.load(Ordering::Relaxed),
            oldest_left: counters.oldest_left.load(Ordering::Relaxed),
            now: counters.now.load(Ordering::Relaxed),
            troubles,
            left_out,
            lost_tags: 0,
            lost_storage_class: 0,
            lost_lock: 0,
        }
    }

    /// Takes over what was lost since somebody took it over last.
    pub(super) fn take(&mut self, losses: &Losses) {
        self.lost_tags += losses.tags.swap(0, Ordering::Relaxed);
        self.lost_storage_class += losses.storage_class.swap(0, Ordering::Relaxed);
        self.lost_lock += losses.lock.swap(0, Ordering::Relaxed);
    }

    /// Both together.
    pub(super) fn and(mut self, other: &Self) -> Self {
        let sums = [
            (&mut self.listed, other.listed),
            (&mut self.kept, other.kept),
            (&mut self.wanted, other.wanted),
            (&mut self.wanted_bytes, other.wanted_bytes),
            (&mut self.copied, other.copied),
            (&mut self.copied_bytes, other.copied_bytes),
            (&mut self.read_back, other.read_back),
            (&mut self.drifted, other.drifted),
            (&mut self.gone, other.gone),
            (&mut self.foreign, other.foreign),
            (&mut self.failed, other.failed),
            (&mut self.left_out, other.left_out),
            (&mut self.lost_tags, other.lost_tags),
            (&mut self.lost_storage_class, other.lost_storage_class),
            (&mut self.lost_lock, other.lost_lock),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
        self.oldest = earlier(self.oldest, other.oldest);
        self.oldest_left = earlier(self.oldest_left, other.oldest_left);
        self.now = self.now.max(other.now);
        let room = TOLD.saturating_sub(self.troubles.len());
        self.troubles.extend(other.troubles.iter().take(room).cloned());
        self
    }

    /// Makes counters show this; of what they count beside it nothing is changed.
    pub(super) fn show(&self, counters: &Counters) {
        let shown: [(&AtomicU64, u64); 12] = [
            (&counters.listed, self.listed),
            (&counters.kept, self.kept),
            (&counters.wanted, self.wanted),
            (&counters.wanted_bytes, self.wanted_bytes),
            (&counters.copied, self.copied),
            (&counters.copied_bytes, self.copied_bytes),
            (&counters.read_back, self.read_back),
            (&counters.drifted, self.drifted),
            (&counters.gone, self.gone),
            (&counters.foreign, self.foreign),
            (&counters.failed, self.failed),
            (&counters.left_out, self.left_out),
        ];
        for (counter, number) in shown {
            counter.store(number, Ordering::Relaxed);
        }
        counters.oldest.store(self.oldest, Ordering::Relaxed);
        counters.oldest_left.store(self.oldest_left, Ordering::Relaxed);
        counters.now.store(self.now, Ordering::Relaxed);
        self.troubles.clone_into(&mut counters.troubles.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What counters do not know.
    pub(super) fn complete(&self, report: &mut Report) {
        report.lost_tags = self.lost_tags;
        report.lost_storage_class = self.lost_storage_class;
        report.lost_lock = self.lost_lock;
    }
}

/// Of two moments; 0 is none.
fn earlier(one: i64, other: i64) -> i64 {
    match (one, other) {
        (0, moment) | (moment, 0) => moment,
        (one, other) => one.min(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_shown_and_moments_are_not_added() {
        let one = Tally {
            listed: 3,
            failed: 1,
            left_out: 2,
            lost_lock: 1,
            oldest: 50,
            now: 100,
            ..Tally::default()
        };
        let two = Tally { listed: 4, left_out: 3, oldest: 40, now: 90, lost_tags: 2, ..Tally::default() };
        let both = one.and(&two);
        let counters = Counters::default();
        counters.deleted.store(7, Ordering::Relaxed);
        both.show(&counters);
        let mut report = counters.report();
        both.complete(&mut report);
        assert_eq!((report.listed, report.failed, report.deleted, report.lost_tags), (7, 1, 7, 2));
        assert_eq!((report.left_out, report.lost_lock), (5, 1));
        assert_eq!(report.lag_found, Some(60));
        assert_eq!(Tally::of(&counters), Tally { lost_tags: 0, lost_lock: 0, ..both });
        assert_eq!(Tally::default().and(&Tally { oldest_left: 9, ..Tally::default() }).oldest_left, 9);
    }
}
