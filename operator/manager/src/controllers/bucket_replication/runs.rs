//! The runs of all replications: a bounded number at once, each in a task of its own, with what it has done so far and how
//! the last one ended. All of it is lost with the process; what has to last is in the manifests and in the status.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tripod_crds::BucketReplication;
use tripod_crds::bucket_replication::{Target, Workers};
use tripod_domain::bucket_event::Event;
use tripod_domain::bucket_replication::{self as domain, Current, Ended, Figures, Refusal, Runs};
use tripod_domain::poll;
use tripod_replication::engine::{Counters, Report};

use super::hints::Collected;
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

/// Given to a run, which waits for its turn and counts.
pub(super) struct Turn {
    all: Arc<RunsOfAll>,
    key: Key,
    hinted: Arc<Notify>,
    pub(super) counters: Arc<Counters>,
    /// Only these are looked at; where there are none named, everything is.
    pub(super) keys: Option<BTreeSet<String>>,
    started_at: Arc<OnceLock<Timestamp>>,
    workers: Arc<Mutex<Option<Workers>>>,
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

/// Shared by all passes.
#[derive(Debug)]
pub struct RunsOfAll {
    places: Semaphore,
    jobs: Semaphore,
    touches: Semaphore,
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

    fn take_keys(&self, key: &Key) -> BTreeSet<String> {
        self.lock().get_mut(key).map(|entry| entry.hints.take_keys()).unwrap_or_default()
    }

    /// A run of everything begins.
    fn begins(&self, key: &Key) {
        if let Some(entry) = self.lock().get_mut(key) {
            entry.hints.forget();
        }
    }

    /// What a look at keys came to that was made while a run waited for its turn.
    fn touched(&self, key: &Key, result: &Result<Report, Refusal>) {
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Running,
    Ended,
}

fn figures(report: &Report, moment: Moment) -> Figures {
    let lag = match moment {
        Moment::Ended if report.failed == 0 => Some(0),
        Moment::Running | Moment::Ended => report.lag_left,
    };
    Figures {
        listed: report.listed,
        wanted: report.wanted,
        wanted_bytes: report.wanted_bytes,
        copied: report.copied,
        copied_bytes: report.copied_bytes,
        deleted: report.deleted,
        failed: report.failed,
        drifted: report.drifted,
        foreign: report.foreign,
        fuse: report.fuse,
        lag: lag.map(|milliseconds| milliseconds / 1000),
        // A key may hold anything, and be long.
        trouble: report.troubles.first().map(|trouble| {
            let text = format!("{:?}: {}", trouble.key, trouble.reason);
            text.chars().take(400).collect()
        }),
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    fn of(name: &str) -> Key {
        let part = str::to_owned;
        Key {
            uid: part("1"),
            namespace: part("health-web"),
            name: part(name),
            centre: part("remote"),
            source_centre: part("production"),
            source: part("files"),
            bucket: part("files"),
        }
    }

    async fn nothing(_: BTreeSet<String>) -> Result<Report, Refusal> {
        Ok(Report::default())
    }

    fn asked() -> Asked {
        Asked { generation: Some(1), token: None }
    }

    async fn until(mut there: impl FnMut() -> bool) {
        while !there() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn how_a_run_ended_is_known_and_failures_in_a_row_are_counted() {
        let all = Arc::new(RunsOfAll::new(Arc::default()));
        let wrong = || Refusal { reason: "Wrong".into(), message: "w".into() };
        for (result, failures) in
            [(Err(wrong()), 1), (Err(wrong()), 2), (Ok(Report::default()), 0), (Err(wrong()), 1)]
        {
            let before = all.look(&of("a")).last.map(|last| last.ended_at);
            all.start(&of("a"), asked(), false, |turn| async move {
                let _turn = turn.wait(nothing).await;
                result
            });
            until(|| all.look(&of("a")).last.map(|last| last.ended_at) != before).await;
            let Runs { current, last, .. } = all.look(&of("a"));
            assert_eq!((current, last.unwrap().failures), (None, failures));
        }
    }

    #[tokio::test]
    async fn so_many_at_once_and_what_is_stopped_makes_room() {
        let all = Arc::new(RunsOfAll::new(Arc::default()));
        let runs = |name: &str| all.look(&of(name)).current.is_some_and(|c| c.started_at.is_some());
        for name in ["a", "b", "c"] {
            all.start(&of(name), asked(), false, |turn| async move {
                let _turn = turn.wait(nothing).await;
                std::future::pending().await
            });
        }
        until(|| runs("a") && runs("b")).await;
        assert!(!runs("c") && all.look(&of("c")).current.is_some());
        all.stop(&of("a"));
        until(|| runs("c")).await;
        assert_eq!(all.look(&of("a")), Runs::default());
        all.keep_only(|key| key.name == "b");
        assert!(runs("b") && all.look(&of("c")).current.is_none());
    }

    #[tokio::test]
    async fn a_run_that_breaks_off_is_a_failure() {
        let all = Arc::new(RunsOfAll::new(Arc::default()));
        all.start(&of("a"), asked(), false, |_| async { panic!("broken") });
        until(|| all.look(&of("a")).last.is_some()).await;
        let last = all.look(&of("a")).last.unwrap();
        assert_eq!(last.result.unwrap_err().reason, "RunFailed");
    }

    fn event(key: &str, is_gone: bool) -> Event {
        Event { bucket: "files".into(), keys: [key.to_owned()].into(), is_gone }
    }

    #[tokio::test]
    async fn keys_of_events_are_collected_and_looked_at_when_no_run_is_under_way() {
        let all = Arc::new(RunsOfAll::new(Arc::default()));
        all.look(&of("a"));
        assert!(all.hint("production", &[event("k", false)]).is_none(), "nobody acts here yet");
        let mut woken = all.open();
        let other = Event { bucket: "other".into(), ..event("k", false) };
        let heard = all.hint("production", &[event("k", false), event("l", false), other]).unwrap();
        assert_eq!((heard.taken, heard.ignored), (2, 1));
        assert_eq!(all.hint("moon", &[event("k", false)]).unwrap(), Heard { ignored: 1, ..Heard::default() });
        assert!(woken.try_recv().is_err(), "more may come");
        assert_eq!(woken.next().await.unwrap().name, "a");
        assert_eq!(all.look(&of("a")).hints.keys, 2);
        let (done, ends) = tokio::sync::oneshot::channel::<Report>();
        all.start(&of("a"), asked(), true, |turn| async move {
            let _turn = turn.wait(nothing).await;
            assert_eq!(turn.keys.as_ref().unwrap().len(), 2);
            Ok(ends.await.unwrap())
        });
        // What comes meanwhile waits for its end.
        all.hint("production", &[event("m", false)]).unwrap();
        all.clone().wake_later(of("a")).await;
        assert!(woken.try_recv().is_err() && all.look(&of("a")).current.is_some_and(|c| c.is_touch));
        done.send(Report { failed: 1, lag_left: Some(7000), gone: 1, ..Report::default() }).unwrap();
        woken.next().await.unwrap();
        let Runs { current, last, hints } = all.look(&of("a"));
        assert!(current.is_none() && last.is_none(), "it is no run of everything");
        assert_eq!((hints.keys, hints.whole, hints.gone, hints.missing), (1, true, true, Some(7)));
        // A run of everything looks at all of it.
        all.start(&of("a"), asked(), false, |turn| async move {
            let _turn = turn.wait(nothing).await;
            Ok(Report::default())
        });
        until(|| all.look(&of("a")).last.is_some()).await;
        assert_eq!((all.look(&of("a")).hints.keys, all.look(&of("a")).hints.whole), (0, false));
        assert_eq!(all.look(&of("a")).hints.missing, None);
    }

    #[tokio::test]
    async fn what_a_look_that_is_stopped_was_to_look_at_is_not_forgotten() {
        let all = Arc::new(RunsOfAll::new(Arc::default()));
        all.look(&of("a"));
        let _woken = all.open();
        all.hint("production", &[event("k", false)]).unwrap();
        all.start(&of("a"), asked(), true, |_| std::future::pending());
        all.stop(&of("a"));
        assert!(all.look(&of("a")).hints.whole);
    }

    #[tokio::test]
    async fn keys_do_not_wait_until_a_run_of_everything_has_its_turn() {
        let all = Arc::new(RunsOfAll::new(Arc::default()));
        let _woken = all.open();
        for name in ["a", "b"] {
            all.start(&of(name), asked(), false, |turn| async move {
                let _turn = turn.wait(nothing).await;
                std::future::pending().await
            });
        }
        until(|| ["a", "b"].iter().all(|n| all.look(&of(n)).current.is_some_and(|c| c.started_at.is_some())))
            .await;
        let looked_at = Arc::<Mutex<Vec<String>>>::default();
        let looks = looked_at.clone();
        all.start(&of("c"), asked(), false, |turn| async move {
            let _turn = turn
                .wait(|keys| {
                    looks.lock().unwrap().extend(keys);
                    async { Err(Refusal { reason: "No".into(), message: "n".into() }) }
                })
                .await;
            Ok(Report::default())
        });
        all.hint("production", &[event("k", false)]).unwrap();
        all.clone().wake_later(of("c")).await;
        until(|| *looked_at.lock().unwrap() == ["k"]).await;
        let Runs { current, hints, .. } = all.look(&of("c"));
        assert!(current.is_some_and(|c| c.started_at.is_none()) && hints.whole, "it still waits");
        all.stop(&of("a"));
        until(|| all.look(&of("c")).last.is_some()).await;
        assert_eq!(all.look(&of("c")).hints, domain::Hints::default());
    }
}
