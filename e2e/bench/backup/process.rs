//! What processes cost while something is done.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tripod_e2e::lab::process::{Process, Usage};

use crate::Row;

/// A process that is watched from now on.
pub struct Watched {
    process: Process,
    begun: Instant,
    before: Duration,
}

impl Watched {
    /// Forgets the most memory that it has had until now.
    pub fn begin(process: Process) -> Result<Self> {
        let path = format!("/proc/{}/clear_refs", process.pid);
        std::fs::write(&path, "5").with_context(|| path.clone())?;
        Ok(Self { process, begun: Instant::now(), before: process.usage()?.cpu })
    }

    pub fn end(self, client: String, what: &'static str, objects: usize) -> Result<Row> {
        let wall = self.begun.elapsed().as_secs_f64();
        let usage = self.process.usage().context("it was started again, or ended")?;
        let cpu = usage.cpu.saturating_sub(self.before).as_secs_f64();
        Ok(Row { client, what, wall, cpu, rss: mebibytes(usage.peak), objects })
    }
}

#[allow(clippy::cast_precision_loss, reason = "bytes of a process")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// How often is looked for processes that come and go.
const LOOK: Duration = Duration::from_millis(50);

/// Does something, and looks meanwhile at processes that come and go. A row for each name: processor time of all that have it,
/// the most memory of one. What a process did after the last look is not in it.
pub fn watch<T>(
    processes: impl Fn() -> Vec<Process> + Send,
    name: impl Fn(Process) -> String,
    what: &'static str,
    objects: usize,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<Row>)> {
    for process in processes() {
        // Forgets the most memory that it has had until now.
        std::fs::write(format!("/proc/{}/clear_refs", process.pid), "5")?;
    }
    let begun = Instant::now();
    let (done, seen) = std::thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let looking = scope.spawn(move || {
            let mut seen: BTreeMap<Process, (Option<Usage>, Usage)> = BTreeMap::new();
            let mut first = true;
            loop {
                for process in processes() {
                    let Ok(usage) = process.usage() else { continue };
                    let entry = seen.entry(process).or_insert((first.then_some(usage), usage));
                    entry.1 = usage;
                }
                first = false;
                if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return seen;
                }
            }
        });
        let done = work();
        drop(stop);
        (done, looking.join().unwrap_or_default())
    });
    let wall = begun.elapsed().as_secs_f64();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (process, (before, after)) in seen {
        let client = name(process);
        let row =
            rows.entry(client.clone()).or_insert(Row { client, what, wall, cpu: 0.0, rss: 0.0, objects });
        row.cpu += after.cpu.saturating_sub(before.unwrap_or_default().cpu).as_secs_f64();
        row.rss = row.rss.max(mebibytes(after.peak));
    }
    Ok((done?, rows.into_values().collect()))
}
