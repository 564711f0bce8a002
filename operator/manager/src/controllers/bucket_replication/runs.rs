//! The runs of all replications: a bounded number at once, each in a task of its own, with what it has done so far and how
//! the last one ended. All of it is lost with the process; what has to last is in the manifests and in the status.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tripod_crds::BucketReplication;
use tripod_crds::bucket_replication::{Target, Workers};
use tripod_domain::bucket_event::Event;
use tripod_domain::bucket_replication::{self as domain, Current, Ended, Figures, Refusal, Runs};
use tripod_domain::poll;
use tripod_replication::engine::{Counters, Report};

use super::figures::{Moment, figures};
use super::hints::Collected;
use super::turn::Turn;
use crate::events::Heard;
use crate::telemetry::metrics::{Metrics, Replicated};

/// Runs at once: each already uses as much of its link as helps.
const AT_ONCE: usize = 2;
/// Runs at once that are made by Jobs.
const JOBS_AT_ONCE: usize = 2;
/// Looks at keys of events, at once. They have places of their own: a long run must not hold them up.
const TOUCHES: usize = 4;
/// Events that come together are one reason to look.
const TOGETHER: Duration = Duration::from_secs(1);

/// One target of one object, and its two buckets: about others nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    centre: String,
    source_centre: String,
    source: String,
    bucket: String,
}

/// The key of a target.
pub(super) fn key(object: &BucketReplication, target: &Target) -> Key {
    let spec = &object.spec;
    Key {
        uid: object.uid().unwrap_or_default(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        centre: target.centre.clone(),
        source_centre: spec.source.centre.clone(),
        source: spec.source.bucket.clone(),
        bucket: domain::bucket(spec, target).to_owned(),
    }
}

impl Key {
    /// As metrics name it.
    pub(super) fn labels(&self) -> Replicated {
        Replicated {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            source: self.source_centre.clone(),
            target: self.centre.clone(),
        }
    }
}

/// What a run was started for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) generation: Option<i64>,
    pub(super) token: Option<String>,
}

/// Shared by all passes.
#[derive(Debug)]
pub struct RunsOfAll {
    pub(super) places: Semaphore,
    pub(super) jobs: Semaphore,
    pub(super) touches: Semaphore,
    /// Wakes the controller, while there is one.
    wake: Mutex<Option<UnboundedSender<ObjectRef<BucketReplication>>>>,
    metrics: Arc<Metrics>,
    known: Mutex<HashMap<Key, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    task: Option<Task>,
    last: Option<Ended>,
    hints: Collected,
}

#[derive(Debug)]
struct Task {
    asked: Asked,
    is_touch: bool,
    /// There are keys to be looked at while it waits for its turn.
    hinted: Arc<Notify>,
    counters: Arc<Counters>,
    started_at: Arc<OnceLock<Timestamp>>,
    workers: Arc<Mutex<Option<Workers>>>,
    /// Bytes and drifted objects that metrics have counted.
    counted: (u64, u64),
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl RunsOfAll {
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let (places, jobs, touches) =
            (Semaphore::new(AT_ONCE), Semaphore::new(JOBS_AT_ONCE), Semaphore::new(TOUCHES));
        Self { places, jobs, touches, wake: Mutex::default(), metrics, known: Mutex::default() }
    }

    /// What is known of a target's runs. From now on it is one of those that are known.
    pub(super) fn look(&self, key: &Key) -> Runs {
        let mut known = self.lock();
        let entry = known.entry(key.clone()).or_default();
        if let Some(task) = &mut entry.task {
            task.count(&self.metrics, key);
            // One that ended as it should has said so and is gone from here.
            if task.handle.is_finished() {
                let message = "the run broke off; the operator's log says why".to_owned();
                entry.end(key, Err(Refusal { reason: "RunFailed".to_owned(), message }));
            }
        }
        let current = entry.task.as_ref().map(|task| Current {
            is_touch: task.is_touch,
            generation: task.asked.generation,
            started_at: task.started_at.get().copied(),
            figures: figures(&task.counters.report(), Moment::Running),
            workers: task.workers.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        });
        Runs { current, last: entry.last.clone(), hints: entry.hints.seen() }
    }

    /// Starts a run, unless there is one: of the keys that events have named, or of everything.
    pub(super) fn start<F>(
        self: &Arc<Self>,
        key: &Key,
        asked: Asked,
        is_touch: bool,
        work: impl FnOnce(Turn) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<Report, Refusal>> + Send + 'static,
    {
        let mut known = self.lock();
        let entry = known.entry(key.clone()).or_default();
        if entry.task.is_some() {
            return;
        }
        let (counters, started_at) = (Arc::<Counters>::default(), Arc::<OnceLock<Timestamp>>::default());
        let workers = Arc::<Mutex<Option<Workers>>>::default();
        let keys = is_touch.then(|| entry.hints.take_keys());
        let hinted = Arc::<Notify>::default();
        if entry.hints.has_keys() {
            hinted.notify_one();
        }
        let turn = Turn {
            all: self.clone(),
            key: key.clone(),
            hinted: hinted.clone(),
            counters: counters.clone(),
            keys,
            started_at: started_at.clone(),
            workers: workers.clone(),
        };
        let (all, of, own) = (self.clone(), key.clone(), counters.clone());
        let task = tokio::spawn(async move {
            let result = work(turn).await;
            all.ended(&of, &own, result);
        });
        entry.task = Some(Task {
            asked,
            is_touch,
            hinted,
            counters,
            started_at,
            workers,
            counted: (0, 0),
            handle: task.abort_handle(),
        });
    }

    /// Ends the run that is under way; what it has done is on record.
    pub(super) fn stop(&self, key: &Key) {
        if let Some(entry) = self.lock().get_mut(key) {
            // What it was to look at, the next run looks at.
            entry.hints.whole |=
                entry.task.take().is_some_and(|task| task.is_touch || task.started_at.get().is_none());
        }
    }

    /// Stops and forgets what is not meant any more.
    pub(super) fn keep_only(&self, is_meant: impl Fn(&Key) -> bool) {
        self.lock().retain(|key, _| {
            let keep = is_meant(key);
            if !keep {
                self.metrics.forget_replication(&key.labels());
            }
            keep
        });
    }

    fn ended(&self, key: &Key, of: &Arc<Counters>, result: Result<Report, Refusal>) {
        let mut known = self.lock();
        // It may have been stopped, and another one begun, while it ended.
        let Some(entry) = known.get_mut(key) else { return };
        let is_it = |task: &&mut Task| Arc::ptr_eq(&task.counters, of);
        let Some(task) = entry.task.as_mut().filter(is_it) else { return };
        task.count(&self.metrics, key);
        entry.end(key, result);
        if !entry.hints.is_empty() {
            self.wake(key);
        }
    }

    /// Whoever leads is woken from now on, and events are heard.
    pub(super) fn open(&self) -> UnboundedReceiver<ObjectRef<BucketReplication>> {
        let (sender, receiver) = unbounded();
        *self.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Nobody acts here any longer.
    pub(super) fn close(&self) {
        *self.wake.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_open(&self) -> bool {
        self.wake.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn wake(&self, key: &Key) {
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wake) = &*wake {
            let _ = wake.unbounded_send(ObjectRef::new(&key.name).within(&key.namespace));
        }
    }

    /// Something has happened at a centre. `None` where nobody acts here.
    pub fn hint(self: &Arc<Self>, centre: &str, events: &[Event]) -> Option<Heard> {
        if !self.is_open() {
            return None;
        }
        let mut known = self.lock();
        let mut heard =
            Heard { knows_centre: known.keys().any(|k| k.source_centre == centre), ..Heard::default() };
        for event in events {
            let mut is_meant = false;
            let meant =
                known.iter_mut().filter(|(k, _)| k.source_centre == centre && k.source == event.bucket);
            for (key, entry) in meant {
                is_meant = true;
                if entry.hints.add(event) {
                    tokio::spawn(self.clone().wake_later(key.clone()));
                }
            }
            *(if is_meant { &mut heard.taken } else { &mut heard.ignored }) += 1;
        }
        Some(heard)
    }

    async fn wake_later(self: Arc<Self>, key: Key) {
        tokio::time::sleep(TOGETHER).await;
        let mut known = self.lock();
        let Some(entry) = known.get_mut(&key) else { return };
        entry.hints.is_awaited = false;
        match &entry.task {
            None => self.wake(&key),
            Some(task) if !task.is_touch && task.started_at.get().is_none() => task.hinted.notify_one(),
            // Its end wakes.
            Some(_) => {}
        }
    }

    pub(super) fn take_keys(&self, key: &Key) -> BTreeSet<String> {
        self.lock().get_mut(key).map(|entry| entry.hints.take_keys()).unwrap_or_default()
    }

    /// A run of everything begins.
    pub(super) fn begins(&self, key: &Key) {
        if let Some(entry) = self.lock().get_mut(key) {
            entry.hints.forget();
        }
    }

    /// What a look at keys came to that was made while a run waited for its turn.
    pub(super) fn touched(&self, key: &Key, result: &Result<Report, Refusal>) {
        if let Ok(report) = result {
            self.metrics.replicated(&key.labels(), report.copied_bytes, report.drifted);
        }
        if let Some(entry) = self.lock().get_mut(key) {
            entry.hints.touched(result);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    fn count(&mut self, metrics: &Metrics, key: &Key) {
        let report = self.counters.report();
        let (bytes, drifted) = self.counted;
        let more = |now: u64, before: u64| now.saturating_sub(before);
        metrics.replicated(&key.labels(), more(report.copied_bytes, bytes), more(report.drifted, drifted));
        self.counted = (report.copied_bytes.max(bytes), report.drifted.max(drifted));
    }
}

impl Entry {
    fn end(&mut self, key: &Key, result: Result<Report, Refusal>) {
        let Some(task) = self.task.take() else { return };
        if task.is_touch {
            if let Err(refusal) = &result {
                tracing::warn!(replication = ?key.labels(), refusal.reason, refusal.message, "events were not followed");
            }
            self.hints.touched(&result);
            return;
        }
        self.hints.missing = None;
        let result = result.map(|report| figures(&report, Moment::Ended));
        let (failures, quiet) = self.last.as_ref().map_or((0, 0), |last| (last.failures, last.quiet));
        let now = Timestamp::now();
        self.last = Some(Ended {
            generation: task.asked.generation,
            token: task.asked.token.clone(),
            started_at: task.started_at.get().copied().unwrap_or(now),
            ended_at: now,
            failures: if result.as_ref().is_ok_and(Figures::is_whole) { 0 } else { failures + 1 },
            quiet: poll::quiet(quiet, result.as_ref().is_ok_and(Figures::found_something)),
            result,
        });
    }
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
