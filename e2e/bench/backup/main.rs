//! `bench-backup`: many objects are backed up and restored, by Tripod and by Velero, on the same API server and the same
//! S3 server, in one run; and many files, by Tripod, restic and kopia, on the same disk and S3 server. What is waited for has a
//! deadline, and what is restored is counted, or compared.

mod files;
mod objects;
mod peers;
mod process;
mod tripod;
mod velero;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Serialize;
use tripod_e2e::installation::Installation;
use tripod_e2e::lab::progress::Progress;
use tripod_e2e::lab::{Lab, LabSpec};

use objects::Kind as Objects;
use peers::{Kind, Peer};

/// Backup and restore of many objects, beside Velero.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What is backed up. Default: all, one after the other, each in a lab of its own.
    #[arg(long, value_enum)]
    work: Vec<Work>,
    /// Objects of each work, instead of its own number.
    #[arg(long)]
    objects: Option<usize>,
    /// OCI archive of the operator.
    #[arg(long)]
    image: PathBuf,
    /// Folder with `velero` and `plugins/velero-plugin-for-aws`; without it Tripod is measured alone.
    #[arg(long)]
    velero: Option<PathBuf>,
    /// `restic`; without it, it is left out.
    #[arg(long)]
    restic: Option<PathBuf>,
    /// `kopia`; without it, it is left out.
    #[arg(long)]
    kopia: Option<PathBuf>,
    /// Where the figures are written, as JSON.
    #[arg(long, default_value = "target/bench/backup.json")]
    output: PathBuf,
    /// Leave the lab up for a look.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Work {
    /// 31,000 Secrets of 1 KiB.
    Secrets,
    /// 10,000 objects: half of them ConfigMaps, then Secrets, ServiceAccounts, Services and Deployments.
    Mixed,
    /// 200,000 files of 10 KiB, of which one in a hundred is changed.
    Files,
}

/// What one client needed for one thing.
#[derive(Clone, Debug, Serialize)]
struct Row {
    client: String,
    what: &'static str,
    /// Seconds from the wish until it was said to be done.
    wall: f64,
    /// Seconds of processors, of the client's own process.
    cpu: f64,
    /// The most it had in memory, in MiB.
    rss: f64,
    objects: usize,
}

const LAB: &str = "tripod-backup";

struct Lease(bool);

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.0
            && let Err(error) = Lab::down(LAB)
        {
            eprintln!("lab {LAB}: {error:#}");
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-backup: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let all = [Work::Secrets, Work::Mixed, Work::Files];
    let works = if arguments.work.is_empty() { &all[..] } else { &arguments.work };
    let mut figures = Vec::new();
    for work in works {
        let rows = match work {
            Work::Files => measure_files(arguments)?,
            Work::Secrets | Work::Mixed => measure(arguments, *work)?,
        };
        print(*work, &rows);
        figures.push(serde_json::json!({"work": work, "rows": rows}));
    }
    if let Some(folder) = arguments.output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&arguments.output, serde_json::to_vec_pretty(&figures)?)?;
    println!("Figures: {}", arguments.output.display());
    Ok(())
}

fn measure(arguments: &Arguments, work: Work) -> Result<Vec<Row>> {
    Lab::down(LAB)?;
    let _lease = Lease(arguments.keep);
    let progress = Progress::new(false);
    let at = Installation::ensure(&LabSpec::quick(LAB), &arguments.image, &progress)?;
    let kinds = match work {
        Work::Secrets => objects::only(Objects::Secret, arguments.objects.unwrap_or(31_000)),
        _ => objects::mixed(arguments.objects.unwrap_or(10_000)),
    };
    let count = objects::count(&kinds);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let kubeconfig = Kubeconfig::read_from(at.lab.centre("production")?.kubeconfig)?;
    let client = runtime.block_on(async {
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        anyhow::Ok(Client::try_from(config)?)
    })?;
    let ours = tripod::Tripod::prepare(&at, false)?;
    let step = format!("creating {count} objects, {} at once", objects::AT_ONCE);
    let begun = std::time::Instant::now();
    progress.step(&step, || runtime.block_on(objects::fill(&client, &ours.source, &kinds)))?;
    let mut rows = vec![Row {
        client: format!("{} plain creates at once", objects::AT_ONCE),
        what: "create",
        wall: begun.elapsed().as_secs_f64(),
        cpu: 0.0,
        rss: 0.0,
        objects: count,
    }];
    let there = |namespace: &str| runtime.block_on(objects::there(&client, namespace, &kinds));
    let (row, point) = progress.step("tripod: backup", || ours.back_up(count))?;
    rows.push(row);
    rows.push(progress.step("tripod: restore", || ours.restore(&point, count))?);
    let restored = there(&ours.target)?;
    ensure!(restored == count, "tripod restored {restored} of {count} objects");
    if let Some(folder) = &arguments.velero {
        for queries in [None, Some(2000)] {
            let peer = progress.step("velero: start", || velero::Velero::start(&at, folder, queries))?;
            if queries.is_none() {
                rows.push(progress.step("velero: backup", || peer.back_up(&ours.source, count))?);
            }
            rows.push(progress.step("velero: restore", || peer.restore(&ours.source, count))?);
            let restored = there(&peer.target())?;
            ensure!(restored == count, "velero restored {restored} of {count} objects");
        }
    }
    Ok(rows)
}

/// All do the same to the same files, one after the other.
fn measure_files(arguments: &Arguments) -> Result<Vec<Row>> {
    const CHANGED: &str = "again";
    Lab::down(LAB)?;
    let _lease = Lease(arguments.keep);
    let progress = Progress::new(false);
    let at = Installation::ensure(&LabSpec::quick(LAB), &arguments.image, &progress)?;
    let ours = tripod::Tripod::prepare(&at, true)?;
    let count = arguments.objects.unwrap_or(200_000);
    let mut files = progress.step(&format!("writing {count} files"), || files::Files::make(&ours, count))?;
    let (mut rows, _) = progress.step("tripod: backup", || ours.back_up_files("backup", count))?;
    let given = [(Kind::Restic, &arguments.restic), (Kind::Kopia, &arguments.kopia)];
    let given = given.into_iter().filter_map(|(kind, program)| Some((kind, program.as_ref()?)));
    let peers: Vec<Peer<'_>> =
        given.map(|(kind, program)| Peer::prepare(&at, kind, program)).collect::<Result<_>>()?;
    for peer in &peers {
        rows.push(progress.step(&format!("{}: backup", peer.name()), || peer.back_up(&files, "backup"))?);
    }
    files.change()?;
    let (changed, point) = progress.step("tripod: backup again", || ours.back_up_files(CHANGED, count))?;
    rows.extend(changed);
    for peer in &peers {
        rows.push(progress.step(&format!("{}: {CHANGED}", peer.name()), || peer.back_up(&files, CHANGED))?);
    }
    rows.extend(progress.step("tripod: restore", || ours.restore_files(&point, count))?);
    files.are_in(&files::folder_of(&ours, &ours.target)?)?;
    for peer in &peers {
        rows.push(progress.step(&format!("{}: restore", peer.name()), || peer.restore(&files))?);
    }
    Ok(rows)
}

fn print(work: Work, rows: &[Row]) {
    println!(
        "{work:?}\n  {:28} {:8} {:>9} {:>9} {:>9} {:>9}",
        "", "", "objects", "wall s", "CPU s", "RSS MiB"
    );
    for row in rows {
        let Row { client, what, wall, cpu, rss, objects } = row;
        println!("  {client:28} {what:8} {objects:>9} {wall:>9.1} {cpu:>9.1} {rss:>9.1}");
    }
}
