//! `replicate`, `plan`, `verify`, `ls`: the engine for people, without any Kubernetes.

mod history;
mod location;
mod progress;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tripod_replication::engine::{
    self, Counters, Deletes, Depth, Filter, Options, Place, Report, Side, Verified,
};
use tripod_replication::rate::Pace;

use self::history::HistoryArguments;
use self::location::{Access, Location};

/// Shown below the help of every command.
const EXIT_CODES: &str = "\
Exit codes: 0 the destination is whole; 1 it could not be done at all; 2 wrong usage;
3 some objects could not be copied or are not as they should be; 4 more would have been deleted than is allowed.

Credentials, region and endpoint: options, then the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_CA_BUNDLE, AWS_PROFILE), then ~/.aws. For one side only:
TRIPOD_SOURCE_ACCESS_KEY_ID, TRIPOD_TARGET_SECRET_ACCESS_KEY and so on.";

/// S3 to S3.
#[derive(Subcommand)]
pub enum Replication {
    /// Make one bucket, or a folder of it, like another.
    #[command(after_help = EXIT_CODES)]
    Replicate(ReplicateArguments),
    /// Say what `replicate` would do, and do nothing.
    #[command(after_help = EXIT_CODES)]
    Plan(PlanArguments),
    /// Compare both sides and what is on record of them.
    #[command(after_help = EXIT_CODES)]
    Verify(VerifyArguments),
    /// List objects in the order of their keys.
    #[command(after_help = EXIT_CODES)]
    Ls(LsArguments),
}

/// Both sides.
#[derive(Args)]
struct Sides {
    /// Where objects come from: s3://bucket/prefix/
    source: Location,
    /// Where they go to: s3://bucket/prefix/
    target: Location,
    /// URL of the source's store, for instance https://s3.example
    #[arg(long, value_name = "URL")]
    source_endpoint: Option<String>,
    /// URL of the target's store.
    #[arg(long, value_name = "URL")]
    target_endpoint: Option<String>,
    /// Profile of ~/.aws for the source.
    #[arg(long, value_name = "NAME")]
    source_profile: Option<String>,
    /// Profile of ~/.aws for the target.
    #[arg(long, value_name = "NAME")]
    target_profile: Option<String>,
    #[arg(long, value_name = "NAME")]
    source_region: Option<String>,
    #[arg(long, value_name = "NAME")]
    target_region: Option<String>,
    /// PEM certificates to trust beside the machine's own.
    #[arg(long, value_name = "FILE")]
    source_ca_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    target_ca_file: Option<PathBuf>,
    /// Where it is recorded what was copied. Without it a folder below $XDG_STATE_HOME or ~/.local/state.
    #[arg(long, value_name = "FOLDER")]
    manifest: Option<PathBuf>,
    /// Keep no record: both sides are compared by size and ETag alone, and deletions are not recognised.
    #[arg(long, conflicts_with = "manifest")]
    no_manifest: bool,
    #[command(flatten)]
    filter: FilterArguments,
    /// How results are written.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Args)]
struct FilterArguments {
    /// Only keys that match, for instance 'reports/**/*.pdf'; can be repeated.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// No keys that match; can be repeated.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Only objects of at least so many bytes.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    min_size: Option<u64>,
    /// Only objects of at most so many bytes.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_size: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Args)]
pub struct ReplicateArguments {
    #[command(flatten)]
    sides: Sides,
    #[command(flatten)]
    history: HistoryArguments,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
struct How {
    /// Delete at the target what was replicated and is gone at the source.
    #[arg(long)]
    delete: bool,
    /// Delete nothing at all where more objects than these would be deleted.
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "delete")]
    max_delete: u64,
    /// Take a target over that is not empty: what differs is replaced.
    #[arg(long)]
    adopt: bool,
    /// At most so many bytes a second, for instance 20Mi.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    bandwidth: Option<u64>,
    /// At most so many objects begun a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// At most so many objects under way at once. Up to there it finds out by itself how many help.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    at_once: u16,
}

#[derive(Args)]
pub struct PlanArguments {
    #[command(flatten)]
    sides: Sides,
    #[command(flatten)]
    history: HistoryArguments,
    /// Delete at the target what was replicated and is gone at the source.
    #[arg(long)]
    delete: bool,
}

#[derive(Args)]
pub struct VerifyArguments {
    #[command(flatten)]
    sides: Sides,
    /// Read every object at both sides.
    #[arg(long)]
    read: bool,
    /// Compare all versions in their order, with delete markers.
    #[arg(long)]
    all_versions: bool,
}

#[derive(Args)]
pub struct LsArguments {
    /// s3://bucket/prefix
    location: Location,
    /// URL of the store.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Profile of ~/.aws.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Only count.
    #[arg(long)]
    summary: bool,
    /// All versions and delete markers, the newest of a key first; the current one has a star.
    #[arg(long)]
    versions: bool,
}

/// `10`, `5k`, `20Mi`, `1G`: as Kubernetes writes quantities.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1_u64 << 40),
        ("k", 1000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
    ];
    let (number, unit) = units
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1));
    let number: u64 = number.parse().map_err(|_| "write it like 500, 20Mi or 1G".to_owned())?;
    number.checked_mul(unit).filter(|n| *n > 0).ok_or_else(|| "it is zero, or too much".to_owned())
}

/// Runs one command.
pub async fn run(command: Replication) -> ExitCode {
    let done = match command {
        Replication::Replicate(arguments) => replicate(arguments).await,
        Replication::Plan(arguments) => plan(arguments).await,
        Replication::Verify(arguments) => verify(arguments).await,
        Replication::Ls(arguments) => ls(arguments).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

impl FilterArguments {
    fn filter(&self) -> anyhow::Result<Filter> {
        let mut filter = Filter::globs(&self.include, &self.exclude)
            .map_err(|e| anyhow::anyhow!("--include, --exclude: {e}"))?;
        (filter.smallest, filter.largest) = (self.min_size, self.max_size);
        Ok(filter)
    }
}

impl Sides {
    async fn open(&self) -> anyhow::Result<(Side, Side, Place)> {
        let source = Access {
            name: "source",
            endpoint: self.source_endpoint.clone(),
            profile: self.source_profile.clone(),
            region: self.source_region.clone(),
            ca_file: self.source_ca_file.clone(),
        };
        let target = Access {
            name: "target",
            endpoint: self.target_endpoint.clone(),
            profile: self.target_profile.clone(),
            region: self.target_region.clone(),
            ca_file: self.target_ca_file.clone(),
        };
        let (source, target) = (source.open(&self.source).await?, target.open(&self.target).await?);
        let place = match &self.manifest {
            _ if self.no_manifest => Place::Nowhere,
            Some(folder) => Place::Folder(folder.clone()),
            None => Place::Folder(state_folder(&format!("{source} to {target}"))?),
        };
        Ok((source, target, place))
    }
}

/// The same folder for the same two sides.
fn state_folder(of: &str) -> anyhow::Result<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = state
        .or_else(home)
        .context("neither XDG_STATE_HOME nor HOME is set; name a folder with --manifest")?;
    Ok(state.join("tripod/replication").join(&hex::encode(Sha256::digest(of))[..16]))
}

async fn replicate(arguments: ReplicateArguments) -> anyhow::Result<ExitCode> {
    let ReplicateArguments { sides, history, how } = arguments;
    let (source, target, place) = sides.open().await?;
    let deletes = if how.delete { Deletes::Mirror { most: how.max_delete } } else { Deletes::Ignore };
    let options = Options {
        deletes,
        filter: sides.filter.filter()?,
        adopt: how.adopt,
        at_once: how.at_once.into(),
        pace: how.bandwidth.map(Pace::new),
        requests: how.requests.map(Pace::new),
        history: history.history(),
        storage_classes: history.storage_classes(),
    };
    history::warn(&source, &target, &options).await?;
    let counters = Arc::new(Counters::default());
    let shown = progress::show(counters.clone());
    let report = engine::replicate(&source, &target, place, &options, &counters).await;
    let took = shown.stop().await;
    let report = report?;
    let line = match sides.output {
        Output::Json => json!({"report": report, "seconds": took.as_secs_f64()}).to_string(),
        Output::Text => progress::told(&report, took),
    };
    print(&line)?;
    Ok(code(&report))
}

fn code(report: &Report) -> ExitCode {
    match (report.fuse, report.failed) {
        (Some(_), _) => ExitCode::from(4),
        (None, 0) => ExitCode::SUCCESS,
        _ => ExitCode::from(3),
    }
}

async fn plan(arguments: PlanArguments) -> anyhow::Result<ExitCode> {
    let PlanArguments { sides, history, delete } = arguments;
    let (source, target, place) = sides.open().await?;
    let deletes = if delete { Deletes::Mirror { most: u64::MAX } } else { Deletes::Ignore };
    let options = Options {
        deletes,
        filter: sides.filter.filter()?,
        history: history.history(),
        storage_classes: history.storage_classes(),
        ..Options::default()
    };
    history::warn(&source, &target, &options).await?;
    let mut out = std::io::stdout().lock();
    let mut broken = Ok(());
    let report = engine::plan(&source, &target, place, &options, |planned| {
        let line = match sides.output {
            Output::Json => json!(planned).to_string(),
            Output::Text => format!("{:8} {:>14} {}", planned.why, planned.size, shown_key(&planned.key)),
        };
        if broken.is_ok() {
            broken = writeln!(out, "{line}");
        }
    });
    let report = report.await?;
    drop(out);
    broken?;
    if sides.output == Output::Text {
        let gone = if delete { "to delete" } else { "gone at the source, which stay" };
        print(&format!(
            "{} to copy ({}), {} as they should be, {} {gone}, {} that only the target has",
            report.wanted,
            progress::size(report.wanted_bytes),
            report.kept,
            report.gone,
            report.foreign
        ))?;
        let history = progress::history(&report);
        if !history.is_empty() {
            print(history.trim_start())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(arguments: VerifyArguments) -> anyhow::Result<ExitCode> {
    let VerifyArguments { sides, read, all_versions } = arguments;
    let (source, target, place) = sides.open().await?;
    let filter = sides.filter.filter()?;
    let depth = if read { Depth::Content } else { Depth::Listing };
    let mut findings = Vec::new();
    let bytes = Arc::new(AtomicU64::new(0));
    let tell = |finding: engine::Finding| match sides.output {
        Output::Json => findings.push(json!(finding)),
        Output::Text => println!("{} {}", shown_key(&finding.key), finding.what),
    };
    let verified = if all_versions {
        engine::verify_versions(&source, &target, place, &filter, depth, &bytes, tell).await?
    } else {
        engine::verify(&source, &target, place, &filter, depth, &bytes, tell).await?
    };
    let Verified { good, bad, extra, read } = verified;
    print(&match sides.output {
        Output::Json => json!({"verified": verified, "findings": findings}).to_string(),
        Output::Text => format!(
            "{good} as they should be, {bad} not, {extra} that only the target has; {} read",
            progress::size(read)
        ),
    })?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

async fn ls(arguments: LsArguments) -> anyhow::Result<ExitCode> {
    let access = Access {
        name: "source",
        endpoint: arguments.endpoint,
        profile: arguments.profile,
        region: arguments.region,
        ca_file: arguments.ca_file,
    };
    let side = access.open(&arguments.location).await?;
    if arguments.versions {
        history::list(&side, arguments.summary).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut objects, mut total) = (0_u64, 0_u64);
    let (mut after, mut token): (Option<String>, Option<String>) = (None, None);
    loop {
        let page = side.wire.list(&side.bucket, &side.prefix, after.as_deref(), token.as_deref()).await?;
        let mut lines = String::new();
        for entry in &page.entries {
            objects += 1;
            total += entry.size;
            if !arguments.summary {
                let modified = jiff::Timestamp::from_millisecond(entry.modified).unwrap_or_default();
                let key = shown_key(&entry.key);
                // Writing to a String does not fail.
                let _ = writeln!(lines, "{modified:.0} {:>14} {} {key}", entry.size, entry.etag);
            }
        }
        write!(std::io::stdout().lock(), "{lines}")?;
        if !page.truncated || page.entries.is_empty() {
            break;
        }
        after = page.entries.last().map(|entry| entry.key.clone());
        token = page.token;
    }
    print(&format!("{objects} objects, {}", progress::size(total)))?;
    Ok(ExitCode::SUCCESS)
}

/// A key may hold anything; a terminal should not.
fn shown_key(key: &str) -> String {
    if key.chars().any(char::is_control) { key.escape_debug().to_string() } else { key.to_owned() }
}

fn print(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_as_kubernetes_writes_them() {
        assert_eq!(bytes("500"), Ok(500));
        assert_eq!(bytes("20Mi"), Ok(20 << 20));
        assert_eq!(bytes("5k"), Ok(5000));
        for wrong in ["", "0", "-1", "Mi", "1.5Gi", "99999999999Ti"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
