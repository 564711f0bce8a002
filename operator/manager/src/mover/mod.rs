//! The mover: runs in a department's namespace, beside a volume, and moves its files to and from the gateway.
//!
//! It holds no credentials of a store and no key of a repository: only a token for the gateway, bound to its own
//! account. Exit codes: 0 it is done; 1 it failed, and may be tried again; 2 it was called wrongly; 3 the gateway
//! refused, and will again.

mod connect;
mod digest;
mod disk;
mod pull;
mod push;
mod unpack;
mod walk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

/// `tripod mover …`
#[derive(Debug, Args)]
pub struct MoverArgs {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(Debug, Subcommand)]
enum Direction {
    /// Sends a volume to the gateway.
    Push(PushArgs),
    /// Fills an empty volume from the gateway.
    Pull(PullArgs),
}

/// What both directions need.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The operator's gateway: `https://…`.
    #[arg(long)]
    pub(crate) gateway: String,
    /// The volume claim, as the recovery point names it.
    #[arg(long)]
    pub(crate) claim: String,
    /// Where the volume is mounted.
    #[arg(long)]
    pub(crate) path: PathBuf,
    /// The projected token for the gateway. Read again for every attempt, as the kubelet renews it.
    #[arg(long)]
    pub(crate) token_file: PathBuf,
    /// The authority that signed the gateway's certificate; no other is trusted.
    #[arg(long, required_unless_present = "ca_pem")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The same, as PEM.
    #[arg(long, env = "TRIPOD_GATEWAY_CA")]
    pub(crate) ca_pem: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The recovery point that is being made.
    #[arg(long)]
    pub(crate) point: String,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Empty the folder first: for a volume that is nobody's yet, so that a second attempt can follow a first that
    /// was killed.
    #[arg(long)]
    pub(crate) replace: bool,
    /// The Restore that this is for. Without it, the namespace itself is a drill's.
    #[arg(long)]
    pub(crate) restore: Option<String>,
}

/// Why a run ended without its work being done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MoverError {
    /// The gateway says no, and would again.
    #[error("the gateway refused: {0}")]
    Refused(String),
    /// The connection or the gateway failed; another attempt may do.
    #[error("{0}")]
    Passing(String),
    /// The disk, the stream or the call is wrong; another attempt would fail the same way.
    #[error("{0}")]
    Failed(String),
}

impl From<std::io::Error> for MoverError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The last words of a run, where the kubelet keeps them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LastWords<'a> {
    error: &'a str,
}

/// Runs one direction to its end. Needs a `rustls` provider to be installed.
pub async fn run(args: MoverArgs) -> ExitCode {
    let outcome = match args.direction {
        Direction::Push(args) => push::run(&args).await.and_then(|report| said(&report, true)),
        Direction::Pull(args) => pull::run(&args).await.and_then(|report| said(&report, report.matches)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let text = error.to_string();
            tracing::error!(error = text, "the mover gave up");
            leave_error(&text);
            ExitCode::from(if matches!(error, MoverError::Refused(_)) { 3 } else { 1 })
        }
    }
}

fn said<T: Serialize>(report: &T, good: bool) -> Result<bool, MoverError> {
    let report = serde_json::to_string(report).map_err(|error| MoverError::Failed(error.to_string()))?;
    tracing::info!(report, "the mover is through");
    leave(&report);
    Ok(good)
}

/// Leaves word of why a pod could not do its work.
pub(crate) fn leave_error(error: &str) {
    if let Ok(words) = serde_json::to_string(&LastWords { error }) {
        leave(&words);
    }
}

/// Writes the report where the kubelet picks it up; outside a pod there is no such place.
fn leave(report: &str) {
    let log = Path::new("/dev/termination-log");
    if log.exists()
        && let Err(error) = std::fs::write(log, report)
    {
        tracing::warn!(%error, "the report could not be left");
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
