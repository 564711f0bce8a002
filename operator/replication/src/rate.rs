//! How fast a link may be used: so many bytes and requests a second, shared by all who use it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The most that may be saved up: a link that was idle is not flooded.
const BURST: Duration = Duration::from_millis(250);

/// So much a second, and not more. Cheap to clone; clones share it.
///
/// Whoever uses something is told how long to wait afterwards: uses are never refused, and large ones need no special case.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Bytes, or requests, in a second.
    per_second: f64,
    /// Until when what was used so far takes at that speed.
    paid_until: Instant,
}

impl Pace {
    /// So many units a second; at least one.
    #[must_use]
    pub fn new(per_second: u64) -> Self {
        Self(Arc::new(Mutex::new(State { per_second: units(per_second.max(1)), paid_until: Instant::now() })))
    }

    /// Another speed from now on.
    pub fn set(&self, per_second: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).per_second = units(per_second.max(1));
    }

    /// Uses so many units, and says how long to wait before the next use.
    #[must_use]
    pub fn charge(&self, amount: u64) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let takes =
            Duration::try_from_secs_f64(units(amount) / state.per_second).unwrap_or(Duration::from_hours(1));
        let from = state.paid_until.max(now.checked_sub(BURST).unwrap_or(now));
        state.paid_until = from + takes;
        let wait = state.paid_until.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// Uses one unit, after waiting for it.
    pub async fn one(&self) {
        if let Some(wait) = self.charge(1) {
            tokio::time::sleep(wait).await;
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "beyond 2^53 bytes a second nothing is limited")]
fn units(amount: u64) -> f64 {
    amount as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_used_is_paid_for_in_time() {
        let pace = Pace::new(1000);
        let start = Instant::now();
        for _ in 0..20 {
            if let Some(wait) = pace.clone().charge(500) {
                tokio::time::sleep(wait).await;
            }
        }
        let took = start.elapsed().as_secs_f64();
        assert!((9.5..=10.1).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_link_saves_up_little() {
        let pace = Pace::new(1000);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(pace.charge(250), None);
        assert_eq!(pace.charge(1000), Some(Duration::from_secs(1)));
    }
}
