//! What events have told about one target, until a run looks at it. Bounded: where too much has changed to be looked at key by
//! key, a run of everything is asked for instead.

use std::collections::BTreeSet;

use tripod_domain::bucket_event::Event;
use tripod_domain::bucket_replication::{Hints, Refusal};
use tripod_replication::engine::Report;

/// Keys that wait, at most.
const KEYS: usize = 10_000;
/// Keys that are looked at one by one between two runs of everything, at most: each of them is remembered until then.
const BETWEEN: usize = 100_000;

/// Collected, and not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Collected {
    keys: BTreeSet<String>,
    gone: bool,
    pub(super) whole: bool,
    pub(super) missing: Option<u64>,
    /// Somebody is about to be woken.
    pub(super) is_awaited: bool,
    /// Keys that were looked at one by one since the last run of everything.
    looked_at: usize,
}

impl Collected {
    /// Takes an event; whether somebody has to be woken for it.
    pub(super) fn add(&mut self, event: &Event) -> bool {
        if event.is_gone {
            self.gone = true;
        } else if !self.whole {
            self.keys.extend(event.keys.iter().cloned());
        }
        if self.keys.len() > KEYS || self.looked_at + self.keys.len() > BETWEEN {
            self.keys.clear();
            self.whole = true;
        }
        !std::mem::replace(&mut self.is_awaited, true)
    }

    /// The keys, which are about to be looked at.
    pub(super) fn take_keys(&mut self) -> BTreeSet<String> {
        self.looked_at += self.keys.len();
        std::mem::take(&mut self.keys)
    }

    /// A run of everything begins, and lists what has happened before.
    pub(super) fn forget(&mut self) {
        (self.gone, self.whole, self.looked_at) = (false, false, 0);
        self.keys.clear();
    }

    /// What a look at some keys came to.
    pub(super) fn touched(&mut self, result: &Result<Report, Refusal>) {
        match result {
            Ok(report) => {
                self.gone |= report.gone > 0;
                self.whole |= report.failed > 0;
                let missing = report.lag_left.map(|milliseconds| milliseconds / 1000);
                self.missing = self.missing.max(missing);
            }
            Err(_) => self.whole = true,
        }
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.gone && !self.whole
    }

    pub(super) fn seen(&self) -> Hints {
        Hints { keys: self.keys.len(), gone: self.gone, whole: self.whole, missing: self.missing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: String, is_gone: bool) -> Event {
        Event { bucket: "b".into(), keys: [key].into(), is_gone }
    }

    #[test]
    fn too_many_keys_are_a_run_of_everything() {
        let mut collected = Collected::default();
        assert!(collected.add(&event("a".into(), false)));
        assert!(!collected.add(&event("a".into(), false)));
        assert_eq!((collected.seen().keys, collected.seen().whole), (1, false));
        for n in 0..KEYS {
            collected.add(&event(n.to_string(), false));
        }
        assert_eq!((collected.seen().keys, collected.seen().whole), (0, true));
        collected.add(&event("b".into(), false));
        assert_eq!(collected.seen().keys, 0, "it will be listed");
        collected.forget();
        assert!(collected.is_empty());
        collected.add(&event("b".into(), true));
        assert_eq!((collected.seen().keys, collected.seen().gone), (0, true));
    }

    #[test]
    fn so_many_between_two_runs_of_everything() {
        let mut collected = Collected::default();
        let mut looked_at = 0;
        while !collected.seen().whole {
            collected.add(&event(looked_at.to_string(), false));
            looked_at += collected.take_keys().len();
        }
        assert_eq!(looked_at, BETWEEN);
    }
}
