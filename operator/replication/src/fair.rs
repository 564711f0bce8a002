//! A link that several share fairly: so many bytes and requests a second, and while more than one class has something to do,
//! each class gets the same. What one does not use is there for the others.
//!
//! Start-time fair queueing: what a class asks for is stamped with the class's own virtual time, and the lowest stamp is
//! served next. A class of many runs moves no faster than one of a single run.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

/// The most that may be saved up: a link that was idle is not flooded.
const BURST: Duration = Duration::from_millis(250);
/// Bytes that are served at once: what is larger is cut, so that nobody waits long behind it.
const PIECE: u64 = 64 << 10;
/// The longest pause before a limit is looked at again.
const LOOK: Duration = Duration::from_mins(1);

/// A link between two places. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Link {
    bytes: Arc<Queue>,
    requests: Arc<Queue>,
}

/// How one class uses a link. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lane {
    link: Link,
    class: Arc<str>,
}

/// A place in a queue: done when the turn has come. What was asked for counts, whether that is waited for or not.
pub(crate) type Turn = oneshot::Receiver<()>;

impl Link {
    /// Bytes and requests a second from now on; `None`: as many as go through.
    pub fn set(&self, bytes: Option<u64>, requests: Option<u64>) {
        self.bytes.set(bytes);
        self.requests.set(requests);
    }

    /// Bytes and requests a second that hold now.
    #[must_use]
    pub fn limits(&self) -> (Option<u64>, Option<u64>) {
        (self.bytes.limit(), self.requests.limit())
    }

    /// For those who share one class's part of the link.
    #[must_use]
    pub fn lane(&self, class: &str) -> Lane {
        Lane { link: self.clone(), class: class.into() }
    }
}

impl Lane {
    /// Waits until one more request may be made.
    pub async fn request(&self) {
        if let Some(turn) = self.link.requests.enter(&self.class, 1) {
            let _ = turn.await;
        }
    }

    /// Waits until so many bytes, which have come or are about to go, have had their time.
    pub async fn bytes(&self, mut amount: u64) {
        while amount > 0 {
            let piece = amount.min(PIECE);
            if let Some(turn) = self.link.bytes.enter(&self.class, piece) {
                let _ = turn.await;
            }
            amount -= piece;
        }
    }

    /// As [`Lane::bytes`], for who can't wait here.
    pub(crate) fn passed(&self, amount: u64) -> Option<Turn> {
        self.link.bytes.enter(&self.class, amount)
    }
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// The limit is another one.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Units a second.
    rate: Option<u64>,
    /// Units that may be served now; below zero where more was served than time has passed.
    saved: f64,
    /// When that was so.
    at: Option<Instant>,
    /// The stamp of what was served last.
    virtual_time: u64,
    /// Of each class, where its next stamp begins.
    finished: HashMap<Arc<str>, u64>,
    /// By stamp, then as they came.
    waiting: BTreeMap<(u64, u64), (u64, oneshot::Sender<()>)>,
    count: u64,
    /// Somebody serves.
    is_served: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, per_second: Option<u64>) {
        let mut state = self.lock();
        let rate = per_second.map(|n| n.max(1));
        if state.rate != rate {
            state.earn();
            state.rate = rate;
            self.changed.notify_one();
        }
    }

    fn limit(&self) -> Option<u64> {
        self.lock().rate
    }

    /// `None` where nothing has to be waited for.
    fn enter(self: &Arc<Self>, class: &Arc<str>, amount: u64) -> Option<Turn> {
        let mut state = self.lock();
        state.rate?;
        state.earn();
        let stamp = state.stamp(class, amount);
        if state.waiting.is_empty() && state.saved >= 0.0 {
            state.serve(stamp, amount);
            return None;
        }
        let (sender, turn) = oneshot::channel();
        state.count += 1;
        let place = (stamp, state.count);
        state.waiting.insert(place, (amount, sender));
        if !std::mem::replace(&mut state.is_served, true) {
            tokio::spawn(serve(self.clone()));
        }
        Some(turn)
    }
}

impl State {
    /// Time that has passed is worth something.
    fn earn(&mut self) {
        let now = Instant::now();
        let passed = self.at.map_or(Duration::ZERO, |at| now.duration_since(at));
        self.at = Some(now);
        let Some(rate) = self.rate.map(units) else {
            self.saved = 0.0;
            return;
        };
        self.saved = (self.saved + rate * passed.as_secs_f64()).min(rate * BURST.as_secs_f64());
    }

    fn stamp(&mut self, class: &Arc<str>, amount: u64) -> u64 {
        if self.waiting.is_empty() && self.saved >= 0.0 {
            // Nobody has anything to make up for: all begin anew.
            let last = self.finished.drain().map(|(_, at)| at).max().unwrap_or(0);
            self.virtual_time = self.virtual_time.max(last);
        }
        let begun = self.finished.get(class).copied().unwrap_or(0).max(self.virtual_time);
        self.finished.insert(class.clone(), begun + amount);
        begun
    }

    fn serve(&mut self, stamp: u64, amount: u64) {
        self.saved -= units(amount);
        self.virtual_time = self.virtual_time.max(stamp);
    }
}

/// Serves until nobody waits.
async fn serve(queue: Arc<Queue>) {
    loop {
        let pause = {
            let mut state = queue.lock();
            state.earn();
            loop {
                if let Some(rate) = state.rate.map(units)
                    && state.saved < 0.0
                {
                    break Duration::try_from_secs_f64(-state.saved / rate).unwrap_or(LOOK).min(LOOK);
                }
                let Some(((stamp, _), (amount, sender))) = state.waiting.pop_first() else {
                    state.is_served = false;
                    return;
                };
                state.serve(stamp, amount);
                // Whoever does not wait any longer has used it all the same.
                let _ = sender.send(());
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = queue.changed.notified() => {}
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "beyond 2^53 bytes a second nothing is limited")]
fn units(amount: u64) -> f64 {
    amount as f64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const RATE: u64 = 1_000_000;

    /// Uses the link as long as it is let, and counts; `flows` at once, as those of a run.
    fn greedy(link: &Link, class: &str, flows: usize) -> Arc<AtomicU64> {
        let used = Arc::<AtomicU64>::default();
        for _ in 0..flows {
            let (lane, used) = (link.lane(class), used.clone());
            tokio::spawn(async move {
                loop {
                    lane.bytes(4096).await;
                    used.fetch_add(4096, Ordering::Relaxed);
                }
            });
        }
        used
    }

    fn limited(bytes: u64) -> Link {
        let link = Link::default();
        link.set(Some(bytes), None);
        link
    }

    async fn after(seconds: u64, of: &[&Arc<AtomicU64>]) -> Vec<f64> {
        let before: Vec<u64> = of.iter().map(|used| used.load(Ordering::Relaxed)).collect();
        sleep(Duration::from_secs(seconds)).await;
        let now = of.iter().map(|used| used.load(Ordering::Relaxed));
        now.zip(before).map(|(now, before)| units(now - before) / units(RATE * seconds)).collect()
    }

    fn is_about(share: f64, expected: f64) -> bool {
        (share - expected).abs() <= expected * 0.05
    }

    #[tokio::test(start_paused = true)]
    async fn two_runs_of_one_class_and_one_of_another_get_half_each() {
        let link = limited(RATE);
        let (a, again, b) = (greedy(&link, "a", 8), greedy(&link, "a", 8), greedy(&link, "b", 1));
        let shares = after(20, &[&a, &again, &b]).await;
        assert!(is_about(shares[2], 0.5) && is_about(shares[0] + shares[1], 0.5), "{shares:?}");
        assert!(is_about(shares[0], 0.25), "{shares:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_does_not_use_the_other_has() {
        let link = limited(RATE);
        let a = greedy(&link, "a", 8);
        assert!(is_about(after(10, &[&a]).await[0], 1.0));
        // A tenth of the link is all that this one wants.
        let (lane, modest) = (link.lane("b"), Arc::<AtomicU64>::default());
        let counted = modest.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tick.tick().await;
                lane.bytes(10_000).await;
                counted.fetch_add(10_000, Ordering::Relaxed);
            }
        });
        let shares = after(20, &[&a, &modest]).await;
        assert!(is_about(shares[0], 0.9) && is_about(shares[1], 0.1), "{shares:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_idle_has_nothing_to_make_up_for() {
        let link = limited(RATE);
        let a = greedy(&link, "a", 4);
        sleep(Duration::from_mins(10)).await;
        let b = greedy(&link, "b", 4);
        let shares = after(10, &[&a, &b]).await;
        assert!(is_about(shares[0], 0.5) && is_about(shares[1], 0.5), "{shares:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_link_saves_up_little() {
        let link = limited(RATE);
        let lane = link.lane("a");
        lane.bytes(1).await;
        sleep(Duration::from_mins(10)).await;
        let used = greedy(&link, "a", 16);
        sleep(Duration::from_secs(1)).await;
        let most = RATE + RATE / 4 + 16 * 4096;
        let used = used.load(Ordering::Relaxed);
        assert!((RATE..=most).contains(&used), "{used}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_limit_counts_at_once_also_for_those_who_wait() {
        let link = limited(100);
        let lane = link.lane("a");
        lane.bytes(60_000).await;
        let waits = tokio::spawn(async move { lane.bytes(1).await });
        sleep(Duration::from_secs(1)).await;
        assert!(!waits.is_finished());
        link.set(Some(RATE), None);
        sleep(Duration::from_millis(100)).await;
        assert!(waits.is_finished());
        link.set(None, None);
        let start = Instant::now();
        link.lane("b").bytes(u64::from(u32::MAX)).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_have_a_limit_of_their_own() {
        let link = Link::default();
        link.set(None, Some(10));
        let lane = link.lane("a");
        let start = Instant::now();
        for _ in 0..103 {
            lane.request().await;
            lane.bytes(1 << 30).await;
        }
        let took = start.elapsed().as_secs_f64();
        assert!((9.7..=10.3).contains(&took), "{took}");
    }
}
