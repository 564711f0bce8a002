//! The seal on a snapshot that is being made: it may only be written once all of its data arrived and was read.
//!
//! The archiver skips files that it cannot read and saves the snapshot without them. For a backup that runs every
//! night on a desk that is right; for a recovery point it is not. So the backend asks the seal before it writes a
//! snapshot.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::digest::Totals;

#[derive(Default)]
struct State {
    failure: Option<String>,
    totals: Option<Totals>,
}

/// Shared by the pump that reads the stream, the readers of its files, and the backend.
#[derive(Default)]
pub(super) struct Seal(Mutex<State>);

impl Seal {
    /// Something is missing. The first reason stands, for what comes after follows from it.
    pub(super) fn fail(&self, reason: String) {
        self.state().failure.get_or_insert(reason);
    }

    /// The stream ended well.
    pub(super) fn complete(&self, totals: Totals) {
        self.state().totals = Some(totals);
    }

    /// What arrived, or why the snapshot must not be written.
    pub(super) fn check(&self) -> Result<Totals, String> {
        let state = self.state();
        match (&state.failure, &state.totals) {
            (Some(reason), _) => Err(reason.clone()),
            (None, Some(totals)) => Ok(totals.clone()),
            (None, None) => Err("the stream has not ended".to_owned()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A holder that panicked left either value whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_stream_opens_it() {
        let seal = Seal::default();
        assert!(seal.check().is_err());
        seal.complete(Totals::default());
        assert!(seal.check().is_ok());
        seal.fail("first".into());
        seal.fail("second".into());
        assert_eq!(seal.check(), Err("first".to_owned()));
    }
}
