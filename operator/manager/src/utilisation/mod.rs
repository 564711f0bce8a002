//! What departments really use: read for the whole cluster at once, so that its cost does not grow with their number;
//! kept in the book of the running day; and written as reports when a day is over.
//!
//! A reading that fails says why, and is no zero. The book is kept in ConfigMaps of the operator's own namespace after
//! every interval: whoever leads next goes on from there.

mod buckets;
mod checkpoint;
mod metrics_api;
mod prometheus;
mod reports;
mod running;
mod source;
mod volumes;
pub mod windows;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::runtime::reflector::Store;
use tripod_crds::SupervisionPolicy;
use tripod_domain::utilisation::book::Book;
use tripod_domain::utilisation::{Measured, Readings, slot};

use self::running::Running;
pub use self::source::{Source, SourceArguments};
use crate::context::Ctx;

/// The last reading of every namespace, or why there is none.
type Latest = Result<HashMap<String, Readings>, String>;

/// Shared by the sampler and those who want to know.
#[derive(Clone)]
pub struct Utilisation {
    latest: Arc<RwLock<Latest>>,
    book: Arc<Mutex<Book>>,
}

impl Default for Utilisation {
    fn default() -> Self {
        Self { latest: Arc::new(RwLock::new(Err("nothing was read yet".to_owned()))), book: Arc::default() }
    }
}

impl Utilisation {
    /// What these namespaces use at the moment.
    ///
    /// # Errors
    /// Why nothing could be read.
    pub fn of<'a>(
        &self,
        namespaces: impl Iterator<Item = &'a String>,
    ) -> Result<BTreeMap<String, Readings>, String> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        let latest = latest.as_ref().map_err(Clone::clone)?;
        // One that was made since had no pod and no claim when all of them were read.
        let nothing = || -> Readings {
            let some = latest.values().next();
            let read = |m: &Measured| *m != Measured::Storage || some.is_some_and(|r| r.contains_key(m));
            [Measured::Cpu, Measured::Memory, Measured::Storage]
                .into_iter()
                .filter(read)
                .map(|m| (m, Ok(0)))
                .collect()
        };
        Ok(namespaces.map(|name| (name.clone(), latest.get(name).cloned().unwrap_or_else(nothing))).collect())
    }

    /// The running day of all namespaces.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what was read, and names the namespaces of which that is news; all of them are concerned where `None`.
    fn remember(&self, now: Latest) -> Option<Vec<String>> {
        let mut known = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, now);
        match (&before, &*known) {
            (Ok(before), Ok(now)) => {
                let all = before.keys().chain(now.keys());
                Some(all.filter(|name| before.get(*name) != now.get(*name)).cloned().collect())
            }
            (Err(before), Err(now)) if before == now => Some(Vec::new()),
            _ => None,
        }
    }
}

/// Reads, keeps and reports.
pub struct Sampler {
    ctx: Arc<Ctx>,
    utilisation: Utilisation,
    policies: Store<SupervisionPolicy>,
    source: Source,
    running: Running,
    /// Seconds between two readings that count.
    interval: i64,
    last_kept: i64,
    reports: reports::Reports,
}

impl Sampler {
    pub fn new(ctx: Arc<Ctx>, policies: Store<SupervisionPolicy>, source: Source, interval: i64) -> Self {
        let utilisation = ctx.utilisation.clone();
        Self {
            ctx,
            utilisation,
            policies,
            source,
            running: Running::default(),
            interval,
            last_kept: i64::MIN,
            reports: reports::Reports::default(),
        }
    }

    /// Samples for as long as it is polled. Looks three times an interval: what is unknown may be known a moment later.
    pub async fn run(mut self) {
        self.take_up().await;
        let pause = Duration::from_secs(u64::try_from(self.interval / 3).unwrap_or(20).clamp(5, 20));
        loop {
            let start = Instant::now();
            let read = self.source.read(&self.ctx, &mut self.running, self.interval).await;
            self.ctx.metrics.sampled(self.source.name(), read.is_ok(), start.elapsed());
            self.pass(read, Timestamp::now()).await;
            tokio::time::sleep(pause.saturating_sub(start.elapsed())).await;
        }
    }

    /// Goes on from what was kept; without it, a day begins anew, and a day with holes is better than a wrong one.
    async fn take_up(&self) {
        loop {
            match checkpoint::load(&self.ctx).await {
                Ok(shards) => {
                    let mut book = self.utilisation.book();
                    for (name, text) in shards {
                        if let Err(error) = book.take_up(&text) {
                            tracing::error!(
                                shard = name,
                                error,
                                "what was read before is lost; its day has a hole"
                            );
                        }
                    }
                    return;
                }
                Err(error) => tracing::warn!(%error, "the book of readings can't be read"),
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    /// Everything that follows from one reading. The time is an argument: a month passes in a minute where it has to.
    pub async fn pass(&mut self, read: Latest, now: Timestamp) {
        if let Err(error) = &read {
            tracing::warn!(error, "what departments use can't be read");
        }
        let zone = self.zone();
        self.record(read.as_ref().ok(), now, &zone);
        match self.utilisation.remember(read) {
            Some(news) => self.ctx.tenancy.wake_departments_of(news.iter()),
            None => self.ctx.tenancy.wake_all(),
        }
        self.reports.write_due(&self.ctx, &self.utilisation, &self.policies, now, &zone).await;
        let slot = slot::of(now, self.interval);
        if slot > self.last_kept {
            self.last_kept = slot;
            self.keep().await;
        }
    }

    /// Days begin where the first policy says; they can't begin twice.
    fn zone(&self) -> TimeZone {
        let all = self.policies.state();
        let first = all.iter().min_by_key(|policy| policy.metadata.name.clone());
        slot::zone(first.map_or("+08:00", |policy| policy.spec.utc_offset.as_str()))
    }

    /// Puts the readings of all departments' namespaces into the book, and of each home the sum of all of them.
    fn record(&self, read: Option<&HashMap<String, Readings>>, now: Timestamp, zone: &TimeZone) {
        let nothing = HashMap::new();
        let read = read.unwrap_or(&nothing);
        let departments = self.ctx.tenancy.read().departments();
        let mut book = self.utilisation.book();
        let none = Readings::new();
        for (home, namespaces) in &departments {
            for (name, since) in namespaces {
                if name != home {
                    book.record(name, *since, read.get(name).unwrap_or(&none), now, self.interval, zone);
                }
            }
            let all = namespaces.iter().map(|(name, _)| (name.as_str(), read.get(name)));
            let total = tripod_domain::utilisation::sum(&all);
            let since = namespaces.iter().map(|(_, since)| *since).min().unwrap_or(now);
            book.record(home, since, &total, now, self.interval, zone);
        }
        let known: std::collections::HashSet<&str> = departments
            .iter()
            .flat_map(|(home, all)| all.iter().map(|(n, _)| n.as_str()).chain([home.as_str()]))
            .collect();
        book.keep(|name| known.contains(name));
    }

    async fn keep(&self) {
        let changes = self.utilisation.book().take_changes();
        let failed = checkpoint::keep(&self.ctx, changes).await;
        if !failed.is_empty() {
            self.utilisation.book().not_kept(failed);
        }
    }
}

#[cfg(test)]
mod month_tests;
