//! How fast a store is: its own objects are written, read, looked at, listed and deleted, in a new folder below the prefix. No
//! call is made twice, so that each is measured as it is. Whatever happens, the folder is emptied at the end.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hdrhistogram::Histogram;
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use tripod_replication::StoreError;
use tripod_replication::engine::Side;
use tripod_replication::wire::{About, Condition, Outgoing, Part, of_bytes};

use super::arguments::{BenchArguments, Output};
use super::progress::size;
use crate::operator::told_to_stop;

/// Times the whole folder is listed.
const LISTINGS: u64 = 16;
/// A call that takes longer is shown as this: an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;
/// Objects that are cleared away at once, and times that it is tried.
const CLEARED: usize = 32;
const ATTEMPTS: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Put,
    Get,
    Head,
    List,
    Delete,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Put, Self::Get, Self::Head, Self::List, Self::Delete];

    fn name(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::List => "LIST",
            Self::Delete => "DELETE",
        }
    }
}

/// The store, and what is written there.
struct Bench {
    side: Side,
    /// Ends in a slash. No other object is below it.
    folder: String,
    /// Each object is another piece of it.
    content: Bytes,
    objects: u64,
    size: usize,
    at_once: u16,
    /// No more calls are begun.
    stopped: AtomicBool,
}

/// Calls of one kind, while they are made.
struct Tally {
    /// Microseconds of those that succeeded.
    latencies: Histogram<u64>,
    errors: u64,
    objects: u64,
    bytes: u64,
    first_error: Option<String>,
}

/// What they came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    call: &'static str,
    /// Those that failed too.
    count: u64,
    errors: u64,
    objects_per_second: f64,
    bytes_per_second: f64,
    /// Of those that succeeded.
    p50_milliseconds: f64,
    p90_milliseconds: f64,
    p99_milliseconds: f64,
    max_milliseconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
}

/// Measures, tells, and leaves nothing behind.
pub(super) async fn run(arguments: BenchArguments) -> anyhow::Result<ExitCode> {
    let output = arguments.output;
    let bench = Arc::new(Bench::open(arguments).await?);
    let watch = tokio::spawn({
        let bench = bench.clone();
        async move {
            told_to_stop().await;
            bench.stopped.store(true, Ordering::Relaxed);
            eprintln!("stopping; s3://{}/{} is being emptied", bench.side.bucket, bench.folder);
        }
    });
    let measured = bench.measure().await;
    let cleared = bench.clear().await;
    watch.abort();
    cleared.with_context(|| {
        format!("objects below s3://{}/{} may be left; delete that folder", bench.side.bucket, bench.folder)
    })?;
    let figures = measured?;
    if bench.stopped.load(Ordering::Relaxed) {
        bail!("stopped; nothing is left");
    }
    let text = match output {
        Output::Json => json!({
            "store": bench.side.wire.endpoint(), "objects": bench.objects, "size": bench.size,
            "atOnce": bench.at_once, "calls": figures,
        })
        .to_string(),
        Output::Text => table(&figures),
    };
    super::print(&text)?;
    let errors: u64 = figures.iter().map(|figures| figures.errors).sum();
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

impl Bench {
    async fn open(arguments: BenchArguments) -> anyhow::Result<Self> {
        let side = arguments.place.open().await?;
        let random = || RandomState::new().build_hasher().finish();
        let folder = format!("{}tripod-bench-{:016x}{:016x}/", side.prefix, random(), random());
        let objects = usize::try_from(arguments.objects)?;
        let bytes = usize::try_from(arguments.size)?;
        let there = side.wire.list(&side.bucket, &folder, None, None).await?;
        if let Some(entry) = there.entries.first() {
            bail!("{:?} is there before anything was written; nothing was touched", entry.key);
        }
        Ok(Self {
            content: noise(bytes + objects, random()),
            side,
            folder,
            objects: arguments.objects,
            size: bytes,
            at_once: arguments.at_once,
            stopped: AtomicBool::new(false),
        })
    }

    async fn measure(self: &Arc<Self>) -> anyhow::Result<Vec<Figures>> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let begun = Instant::now();
            let tally = self.calls(kind).await?;
            let figures = tally.figures(kind, begun.elapsed());
            // Nothing was written: nothing can be said of the others.
            if let (Kind::Put, 0, Some(error)) = (kind, tally.objects, figures.first_error.clone()) {
                bail!("{error}");
            }
            all.push(figures);
            if self.stopped.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(all)
    }

    /// All calls of a kind, so many at once.
    async fn calls(self: &Arc<Self>, kind: Kind) -> anyhow::Result<Tally> {
        let most = if kind == Kind::List { LISTINGS } else { self.objects };
        let next = Arc::new(AtomicU64::new(0));
        let mut workers = JoinSet::new();
        let tally = Arc::new(Mutex::new(Tally::new()?));
        for _ in 0..most.min(self.at_once.into()) {
            let (bench, next, tally) = (self.clone(), next.clone(), tally.clone());
            workers.spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= most || bench.stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    bench.one(kind, n, &tally).await;
                }
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended?;
        }
        Arc::into_inner(tally).and_then(|tally| tally.into_inner().ok()).context("a call never ended")
    }

    async fn one(&self, kind: Kind, n: u64, tally: &Mutex<Tally>) {
        if kind == Kind::List {
            return self.list(tally).await;
        }
        let key = format!("{}{n:08}", self.folder);
        let begun = Instant::now();
        let done = match kind {
            Kind::Put => self.put(&key, n).await,
            Kind::Get => self.get(&key, n).await,
            Kind::Head => self.head(&key).await,
            _ => self.side.wire.delete(&self.side.bucket, &key).await.map(|()| 0),
        };
        lock(tally).count(begun.elapsed(), done.map(|bytes| (1, bytes)));
    }

    /// A piece of the content for each object.
    fn body(&self, n: u64) -> Bytes {
        let at = usize::try_from(n).unwrap_or(0).min(self.content.len() - self.size);
        self.content.slice(at..at + self.size)
    }

    async fn put(&self, key: &str, n: u64) -> Result<u64, StoreError> {
        let (to, body) = (&self.side, Outgoing::Whole(Some(self.body(n))));
        to.wire.put(&to.bucket, key, &About::default(), &Condition::None, body, None).await?;
        Ok(self.size as u64)
    }

    /// All of it, and whether it is what was written.
    async fn get(&self, key: &str, n: u64) -> Result<u64, StoreError> {
        let from = &self.side;
        let found = from.wire.get(&from.bucket, key, Part::default()).await?;
        let (mut body, passed) = from.wire.pass(found, false, None);
        let wrong = |detail: String| StoreError::Other { what: format!("{}/{key}", from.bucket), detail };
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| wrong(error.to_string()))?;
        }
        if passed.digests() != Some(of_bytes(&self.body(n), false)) {
            return Err(wrong("is read as something else than was written".to_owned()));
        }
        Ok(self.size as u64)
    }

    async fn head(&self, key: &str) -> Result<u64, StoreError> {
        let at = &self.side;
        match at.wire.head(&at.bucket, key, Part::default()).await? {
            Some(_) => Ok(0),
            None => Err(StoreError::NotFound { bucket: at.bucket.clone(), key: key.to_owned() }),
        }
    }

    /// The whole folder, page by page; each is a call.
    async fn list(&self, tally: &Mutex<Tally>) {
        let at = &self.side;
        let (mut after, mut token): (Option<String>, Option<String>) = (None, None);
        while !self.stopped.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let page = at.wire.list(&at.bucket, &self.folder, after.as_deref(), token.as_deref()).await;
            let entries = page.as_ref().map(|page| (page.entries.len() as u64, 0)).map_err(Clone::clone);
            lock(tally).count(begun.elapsed(), entries);
            let Ok(page) = page else { return };
            if !page.truncated || page.entries.is_empty() {
                return;
            }
            after = page.entries.last().map(|entry| entry.key.clone());
            token = page.token;
        }
    }

    /// Deletes what is in the folder, until nothing is.
    async fn clear(&self) -> Result<(), StoreError> {
        let (at, mut pause) = (&self.side, at_first(&self.side));
        let mut failures = 0;
        loop {
            let tried = async {
                let page = at.wire.list(&at.bucket, &self.folder, None, None).await?;
                // Whatever a store may list: nothing else is deleted.
                let own = page.entries.iter().filter(|entry| entry.key.starts_with(&self.folder));
                let deletions = own.map(|entry| at.wire.delete(&at.bucket, &entry.key)).collect::<Vec<_>>();
                let count = deletions.len();
                let done: Vec<_> = stream::iter(deletions).buffer_unordered(CLEARED).collect().await;
                done.into_iter().collect::<Result<(), _>>().map(|()| count)
            };
            match tried.await {
                Ok(0) => return Ok(()),
                Ok(_) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures == ATTEMPTS {
                        return Err(error);
                    }
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn at_first(side: &Side) -> Duration {
    side.wire.patience().pause
}

/// Bytes that no store can make fewer of.
fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    });
    let mut noise: Vec<u8> = words.take(length.div_ceil(8)).flatten().collect();
    noise.truncate(length);
    noise.into()
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        // One that grows by itself does not grow where it saturates.
        let latencies = Histogram::new_with_max(LONGEST, 3)?;
        Ok(Self { latencies, errors: 0, objects: 0, bytes: 0, first_error: None })
    }

    /// `done`: objects and bytes.
    fn count(&mut self, took: Duration, done: Result<(u64, u64), StoreError>) {
        match done {
            Ok((objects, bytes)) => {
                self.latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
                self.objects += objects;
                self.bytes += bytes;
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn figures(&self, kind: Kind, took: Duration) -> Figures {
        let seconds = took.as_secs_f64().max(0.000_001);
        let milliseconds = |micros: u64| number(micros) / 1000.0;
        let quantile = |q: f64| milliseconds(self.latencies.value_at_quantile(q));
        Figures {
            call: kind.name(),
            count: self.latencies.len() + self.errors,
            errors: self.errors,
            objects_per_second: number(self.objects) / seconds,
            bytes_per_second: number(self.bytes) / seconds,
            p50_milliseconds: quantile(0.5),
            p90_milliseconds: quantile(0.9),
            p99_milliseconds: quantile(0.99),
            max_milliseconds: milliseconds(self.latencies.max()),
            first_error: self.first_error.clone(),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "it is shown with three digits")]
fn number(count: u64) -> f64 {
    count as f64
}

fn table(all: &[Figures]) -> String {
    let head = ["call", "count", "errors", "objects/s", "bytes/s", "p50 ms", "p90 ms", "p99 ms", "max ms"];
    let mut text = format!("{:6} {:>9} {:>7}", head[0], head[1], head[2]);
    for title in &head[3..] {
        // Writing to a String does not fail.
        let _ = write!(text, " {title:>11}");
    }
    for of in all {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of bytes fits")]
        let bytes = size(of.bytes_per_second as u64);
        let _ = write!(
            text,
            "\n{:6} {:>9} {:>7} {:>11.1} {bytes:>11}",
            of.call, of.count, of.errors, of.objects_per_second
        );
        for latency in [of.p50_milliseconds, of.p90_milliseconds, of.p99_milliseconds, of.max_milliseconds] {
            let _ = write!(text, " {latency:>11.2}");
        }
    }
    for of in all {
        if let Some(error) = &of.first_error {
            let _ = write!(text, "\n{}: {error}", of.call);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_calls() {
        let mut all = Tally::new().unwrap();
        for took in 1..=1000 {
            all.count(Duration::from_millis(took), Ok((1, 1024)));
        }
        for n in 0..3 {
            let detail = format!("error {n}");
            let failed = StoreError::Unreachable { endpoint: "s".into(), detail };
            all.count(Duration::from_mins(1), Err(failed));
        }
        let figures = all.figures(Kind::Get, Duration::from_secs(10));
        assert_eq!((figures.call, figures.count, figures.errors), ("GET", 1003, 3));
        let near =
            |value: f64, expected: f64| assert!((value / expected - 1.0).abs() < 0.002, "{value} {expected}");
        near(figures.objects_per_second, 100.0);
        near(figures.bytes_per_second, 102_400.0);
        near(figures.p50_milliseconds, 500.0);
        near(figures.p90_milliseconds, 900.0);
        near(figures.p99_milliseconds, 990.0);
        near(figures.max_milliseconds, 1000.0);
        let shown = table(&[figures]);
        assert!(shown.contains("error 0") && shown.contains("100.0 KiB"), "{shown}");
    }

    #[test]
    fn a_call_that_never_seems_to_end_has_a_place() {
        let mut tally = Tally::new().unwrap();
        for took in [Duration::ZERO, Duration::from_hours(30)] {
            tally.count(took, Ok((1, 0)));
        }
        let figures = tally.figures(Kind::Put, Duration::from_hours(30));
        assert_eq!(figures.count, 2);
        assert!(figures.p50_milliseconds < 0.01 && figures.max_milliseconds > 3_599_000.0, "{figures:?}");
    }

    #[test]
    fn of_nothing_nothing_is_said() {
        let figures = Tally::new().unwrap().figures(Kind::Put, Duration::ZERO);
        assert_eq!((figures.count, figures.max_milliseconds.to_bits(), figures.first_error), (0, 0, None));
    }

    #[test]
    fn noise_is_as_long_as_it_should_be_and_never_the_same() {
        assert!([0, 1, 7, 8, 9, 4096].into_iter().all(|length| noise(length, 1).len() == length));
        assert_ne!(noise(64, 1), noise(64, 2));
        assert_ne!(noise(64, 1).slice(..32), noise(64, 1).slice(32..));
    }
}
