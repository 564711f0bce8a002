//! How many objects are under way at once. The number grows while that makes things faster, and is halved where a store
//! struggles: nobody has to guess it for a link.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// To begin with.
const FIRST: usize = 32;
const LEAST: usize = 4;
/// A copy takes so many times as long as the fastest: then more at once only make a queue longer.
const SLOWER: u32 = 3;
/// After it was halved it is left alone for so long: errors come in flocks.
const REST: Duration = Duration::from_millis(500);

/// Lets so many in.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    most: usize,
    /// Permits to be taken out of use as they come back.
    owed: usize,
    fastest: Option<Duration>,
    halved: Option<Instant>,
}

/// One that was let in.
#[derive(Debug)]
pub(super) struct Permit {
    gate: Gate,
    held: Option<OwnedSemaphorePermit>,
    begun: Instant,
}

impl Gate {
    /// At most so many.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        let limit = FIRST.min(most);
        let state = State { limit, most, owed: 0, fastest: None, halved: None };
        Self { permits: Arc::new(Semaphore::new(limit)), state: Arc::new(Mutex::new(state)) }
    }

    pub(super) async fn enter(&self) -> Permit {
        // It is never closed.
        let held = self.permits.clone().acquire_owned().await.ok();
        Permit { gate: self.clone(), held, begun: Instant::now() }
    }

    /// A store answered that it is too much, or not at all.
    pub(super) fn struggles(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.halved.is_some_and(|at| now.duration_since(at) < REST) {
            return;
        }
        state.halved = Some(now);
        let next = (state.limit / 2).max(LEAST.min(state.most));
        let fewer = state.limit - next;
        state.limit = next;
        let at_once = self.permits.forget_permits(fewer);
        state.owed += fewer - at_once;
    }

    /// Whether no store has struggled so far.
    pub(super) fn is_at_ease(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).halved.is_none()
    }

    #[cfg(test)]
    fn limit(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).limit
    }

    fn left(&self, permit: OwnedSemaphorePermit, took: Option<Duration>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.owed > 0 {
            state.owed -= 1;
            permit.forget();
            return;
        }
        // All are in use, this one too: there is more to do than is let in.
        let crowded = self.permits.available_permits() == 0;
        drop(permit);
        let Some(took) = took else { return };
        let fastest = state.fastest.map_or(took, |fastest| fastest.min(took));
        state.fastest = Some(fastest);
        if crowded && state.limit < state.most && took <= fastest * SLOWER {
            state.limit += 1;
            self.permits.add_permits(1);
        }
    }
}

impl Permit {
    /// Done, and as fast as it could be: small objects tell how fast a link is, large ones how large they are.
    pub(super) fn leave(mut self, is_measure: bool) {
        if let Some(permit) = self.held.take() {
            self.gate.left(permit, is_measure.then(|| self.begun.elapsed()));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(permit) = self.held.take() {
            self.gate.left(permit, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_grows_when_that_helps_and_is_halved_when_a_store_struggles() {
        let gate = Gate::new(100);
        let mut inside = Vec::new();
        for _ in 0..FIRST {
            inside.push(gate.enter().await);
        }
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await }
        });
        tokio::task::yield_now().await;
        inside.pop().unwrap().leave(true);
        let last = waiting.await.unwrap();
        last.leave(true);
        assert_eq!(gate.limit(), FIRST + 1);
        gate.struggles();
        gate.struggles();
        let half = FIRST.div_ceil(2);
        assert_eq!(gate.limit(), half);
        drop(inside);
        assert_eq!(gate.permits.available_permits(), half);
    }
}
