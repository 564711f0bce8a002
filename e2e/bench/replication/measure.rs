//! What one process costs: its own time and memory, by the kernel's word when it has ended.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// What a run cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds on the wall.
    pub wall: f64,
    /// Seconds of processors.
    pub cpu: f64,
    /// The most memory it ever had, in MiB.
    pub rss: f64,
}

impl Cost {
    /// The faster one, with the larger memory of both.
    pub fn better(self, other: Self) -> Self {
        let fastest = if self.wall <= other.wall { self } else { other };
        Self { rss: self.rss.max(other.rss), ..fastest }
    }
}

/// Runs a command in a process of its own kind, so that nothing else is counted.
///
/// # Errors
/// When it fails, with the end of what it said.
pub fn run(words: &[String], variables: &[(String, String)]) -> Result<Cost> {
    let this = std::env::current_exe()?;
    let mut command = Command::new(this);
    command
        .env("RUST_BACKTRACE", "0")
        .arg("measure")
        .arg("--")
        .args(words)
        .envs(variables.iter().map(|(n, v)| (n, v)));
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let end: Vec<&str> = said.lines().rev().take(4).collect();
    ensure!(output.status.success(), "{}: {}", words.first().map_or("", String::as_str), end.join(" | "));
    serde_json::from_slice(&output.stdout).context("the figures of a run")
}

/// The process that only waits for another, and says what that cost.
pub fn inner(words: &[String]) -> Result<()> {
    let (program, rest) = words.split_first().context("no command")?;
    let begun = Instant::now();
    let status = Command::new(program).args(rest).stdout(Stdio::null()).status()?;
    let wall = begun.elapsed();
    ensure!(status.success(), "{status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
        Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0)) + Duration::from_micros(micros)
    };
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    #[allow(clippy::cast_precision_loss, reason = "kibibytes of a process")]
    let rss = usage.max_rss() as f64 / 1024.0;
    println!("{}", serde_json::to_string(&Cost { wall: wall.as_secs_f64(), cpu: cpu.as_secs_f64(), rss })?);
    Ok(())
}
