//! How a run waits until it may begin, and what it tells while it goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, SemaphorePermit};
use tripod_crds::bucket_replication::Workers;
use tripod_domain::bucket_replication::Refusal;
use tripod_replication::engine::{Counters, Report};

use super::runs::{Key, RunsOfAll};

/// Given to a run, which waits for its turn and counts.
pub(super) struct Turn {
    pub(super) all: Arc<RunsOfAll>,
    pub(super) key: Key,
    pub(super) hinted: Arc<Notify>,
    pub(super) counters: Arc<Counters>,
    /// Only these are looked at; where there are none named, everything is.
    pub(super) keys: Option<BTreeSet<String>>,
    pub(super) started_at: Arc<OnceLock<Timestamp>>,
    pub(super) workers: Arc<Mutex<Option<Workers>>>,
}

impl Turn {
    /// Waits; what is returned is held while the work lasts. Until a run of everything begins, keys that events name are
    /// looked at: others may be before it for hours.
    pub(super) async fn wait<F>(
        &self,
        look: impl Fn(BTreeSet<String>) -> F + Send + Sync,
    ) -> Option<SemaphorePermit<'_>>
    where
        F: Future<Output = Result<Report, Refusal>> + Send,
    {
        if self.keys.is_some() {
            let permit = self.all.touches.acquire().await.ok();
            let _ = self.started_at.set(Timestamp::now());
            return permit;
        }
        let mut place = std::pin::pin!(self.all.places.acquire());
        loop {
            tokio::select! {
                biased;
                permit = &mut place => {
                    self.all.begins(&self.key);
                    let _ = self.started_at.set(Timestamp::now());
                    return permit.ok();
                }
                () = self.hinted.notified() => {
                    let keys = self.all.take_keys(&self.key);
                    let _permit = self.all.touches.acquire().await;
                    self.all.touched(&self.key, &look(keys).await);
                }
            }
        }
    }

    /// The same for a run that others make: the operator's own go on beside it.
    pub(super) async fn wait_for_job(&self) -> Option<SemaphorePermit<'_>> {
        self.all.jobs.acquire().await.ok()
    }

    /// How far those are who make it.
    pub(super) fn show(&self, workers: Option<Workers>) {
        *self.workers.lock().unwrap_or_else(PoisonError::into_inner) = workers;
    }
}
