//! `bench-replication`: the engine as people run it, against others that copy from S3 to S3, on the same stores in the same
//! run. Wall time, processor time and memory are the client's alone.

mod client;
mod measure;
mod store;
mod table;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use client::Client;
use measure::Cost;
use work::Work;

/// S3 to S3: this against others, on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    inner: Option<Inner>,
    /// The engine's command.
    #[arg(long, default_value = "target/release/tripod")]
    tripod: PathBuf,
    /// The store in memory, and the loop without any safety that shows what a client could reach at best.
    #[arg(long, default_value = "target/release/examples")]
    examples: PathBuf,
    /// Folder with rclone, s3sync, juicefs and mc, as far as they are there.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Works to do; all by default.
    #[arg(long = "work", value_enum)]
    works: Vec<Work>,
    /// Times each is done; the fastest counts.
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// Tell the engine's works only, without peers.
    #[arg(long)]
    alone: bool,
    /// Where the figures are written, as JSON.
    #[arg(long, default_value = "target/bench/replication.json")]
    output: PathBuf,
}

#[derive(Subcommand)]
enum Inner {
    /// Run one command and say what it cost.
    #[command(hide = true)]
    Measure {
        #[arg(trailing_var_arg = true, required = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.inner {
        Some(Inner::Measure { words }) => measure::inner(words),
        None => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let works = if arguments.works.is_empty() { Work::all() } else { arguments.works.clone() };
    let clients: Vec<Client> =
        Client::all(&arguments.tripod, &arguments.examples, arguments.peers.as_deref())
            .into_iter()
            .filter(|client| !arguments.alone || client.is_ours())
            .collect();
    let mut rows = Vec::new();
    for work in works {
        let mut costs: Vec<(&'static str, Result<Cost, String>)> = Vec::new();
        for client in clients.iter().filter(|client| work.suits(client)) {
            eprintln!("{}: {} …", work.title(), client.name());
            let mut best: Option<Cost> = None;
            let mut failed = None;
            for _ in 0..arguments.times {
                match work.once(client, arguments) {
                    Ok(cost) => best = Some(best.map_or(cost, |best| best.better(cost))),
                    Err(error) => failed = Some(format!("{error:#}")),
                }
            }
            let cost = best.ok_or_else(|| failed.unwrap_or_else(|| "it was not run".to_owned()));
            if let Err(why) = &cost {
                eprintln!("  {why}");
            }
            costs.push((client.name(), cost));
        }
        print!("{}", table::of(work, &costs));
        rows.push(table::json(work, &costs));
    }
    if let Some(folder) = arguments.output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(&rows)?;
    std::fs::write(&arguments.output, text).with_context(|| arguments.output.display().to_string())?;
    println!("Figures: {}", arguments.output.display());
    Ok(())
}
