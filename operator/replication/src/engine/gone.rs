//! Objects that the source has no more, as a run comes upon them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Deletes;
use super::record::Seen;

/// Shared by the parts of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    most: u64,
    found: Arc<Mutex<Found>>,
}

#[derive(Debug, Default)]
struct Found {
    count: u64,
    /// No more of them than may be deleted.
    objects: Vec<(String, Seen)>,
}

impl Gone {
    pub(super) fn up_to(deletes: Deletes) -> Self {
        let most = if let Deletes::Mirror { most } = deletes { most } else { 0 };
        Self { most, found: Arc::default() }
    }

    /// One more, with what lies at the destination.
    pub(super) fn note(&self, key: &str, there: Seen) {
        let mut found = self.lock();
        found.count += 1;
        if found.count <= self.most {
            found.objects.push((key.to_owned(), there));
        }
    }

    /// All of them.
    pub(super) fn count(&self) -> u64 {
        self.lock().count
    }

    /// Those of which only the number is known.
    pub(super) fn beyond(&self) -> u64 {
        self.lock().count.saturating_sub(self.most)
    }

    /// Those that may be deleted and were not taken before.
    pub(super) fn take(&self) -> Vec<(String, Seen)> {
        std::mem::take(&mut self.lock().objects)
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
