//! How old is what the destination lacks, at any moment of a run: by the source's clock and by no other.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// When what is missing was written, in milliseconds since 1970 by the source's clock; how many at each moment.
#[derive(Debug, Default)]
pub(super) struct Missing(Mutex<BTreeMap<i64, u64>>);

impl Missing {
    fn moments(&self) -> MutexGuard<'_, BTreeMap<i64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment that is not known is none.
    pub(super) fn add(&self, moment: i64) {
        if moment > 0 {
            *self.moments().entry(moment).or_default() += 1;
        }
    }

    pub(super) fn remove(&self, moment: i64) {
        let mut moments = self.moments();
        if let Some(count) = moments.get_mut(&moment) {
            *count -= 1;
            if *count == 0 {
                moments.remove(&moment);
            }
        }
    }

    pub(super) fn oldest(&self) -> Option<i64> {
        self.moments().keys().next().copied()
    }
}

/// The source's clock, followed by this machine's between two answers. Answers tell seconds and come late, so that of all that
/// was seen the furthest is the nearest to the truth.
#[derive(Debug)]
pub(super) struct Clock {
    since: Instant,
    /// Milliseconds since 1970 when `since` was.
    ahead: Mutex<Option<i64>>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { since: Instant::now(), ahead: Mutex::new(None) }
    }
}

impl Clock {
    fn passed(&self) -> i64 {
        i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn shows(&self, moment: i64) {
        let ahead = moment - self.passed();
        let mut known = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(ahead, |known| known.max(ahead)));
    }

    /// `None` before the source has said anything.
    pub(super) fn now(&self) -> Option<i64> {
        let known = *self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        known.map(|ahead| ahead + self.passed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_missing_until_the_last_of_its_moment_is_there() {
        let missing = Missing::default();
        for moment in [0, 30, 10, 10] {
            missing.add(moment);
        }
        let oldest = |gone: i64| {
            missing.remove(gone);
            missing.oldest()
        };
        assert_eq!([oldest(99), oldest(10), oldest(10), oldest(30)], [Some(10), Some(10), Some(30), None]);
    }

    #[test]
    fn the_furthest_answer_counts() {
        let clock = Clock::default();
        assert_eq!(clock.now(), None);
        clock.shows(1_000_000);
        clock.shows(990_000);
        assert!((1_000_000..1_005_000).contains(&clock.now().unwrap()));
    }
}
