//! What a process costs while something is done.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tripod_e2e::lab::process::Process;

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
        #[allow(clippy::cast_precision_loss, reason = "bytes of a process")]
        let rss = usage.peak as f64 / f64::from(1 << 20);
        let cpu = usage.cpu.saturating_sub(self.before);
        Ok(Row { client, what, wall, cpu: cpu.as_secs_f64(), rss, objects })
    }
}
