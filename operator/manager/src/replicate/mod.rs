//! `replicate`, `plan`, `verify`, `ls`, `bench`: the engine for people, without any Kubernetes.

mod arguments;
mod bench;
mod history;
mod location;
pub mod order;
mod progress;
pub mod worker;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tripod_replication::engine::{
    self, Counters, Deletes, Depth, Filter, Options, Place, Report, Side, Verified,
};
use tripod_replication::rate::Pace;

use self::arguments::{
    FilterArguments, LsArguments, Output, PlanArguments, ReplicateArguments, Sides, VerifyArguments,
};
use self::location::Access;

pub use self::arguments::Replication;

/// Runs one command.
pub async fn run(command: Replication) -> ExitCode {
    let done = match command {
        Replication::Replicate(arguments) => replicate(arguments).await,
        Replication::Plan(arguments) => plan(arguments).await,
        Replication::Verify(arguments) => verify(arguments).await,
        Replication::Ls(arguments) => ls(arguments).await,
        Replication::ReplicateWorker(arguments) => return worker::run(arguments).await,
        Replication::Bench(arguments) => bench::run(arguments).await,
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
        for (name, value) in &self.tag {
            if filter.tags.insert(name.clone(), value.clone()).is_some_and(|before| before != *value) {
                anyhow::bail!("--tag {name}=: no object has two values of one tag; give one of them");
            }
        }
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
        let source = if self.source_unsorted { source.unsorted() } else { source };
        let target = if self.target_unsorted { target.unsorted() } else { target };
        Ok((source, target, place))
    }
}

impl arguments::Place {
    async fn open(self) -> anyhow::Result<Side> {
        let access = Access {
            name: "source",
            endpoint: self.endpoint,
            profile: self.profile,
            region: self.region,
            ca_file: self.ca_file,
        };
        access.open(&self.location).await
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
        ..Options::default()
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
    let side = arguments.place.open().await?;
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
