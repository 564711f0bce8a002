//! `replicate-worker`: one of those that make a large run together, in a pod of a Job. It speaks with the two stores and with
//! nobody else.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::sync::watch;
use tripod_replication::engine::shards::{self, Worker};
use tripod_replication::engine::{Counters, Report};

use super::order::{Order, Ready};
use crate::mover::leave_error;
use crate::operator::told_to_stop;

/// Another attempt would end the same way.
pub const WRONG: u8 = 2;
/// It was told to stop before all was done: no failure, and whoever comes next goes on.
pub const STOPPED: u8 = 75;
/// How often it is logged how far this worker is.
const SAY: Duration = Duration::from_secs(30);

#[derive(Args)]
pub struct WorkerArguments {
    /// What to do, as JSON.
    #[arg(long, env = "TRIPOD_ORDER", value_name = "JSON", hide_env_values = true)]
    order: Option<String>,
    /// File with the same.
    #[arg(long, env = "TRIPOD_ORDER_FILE", value_name = "FILE")]
    order_file: Option<PathBuf>,
    /// What this worker is called.
    #[arg(long, env = "POD_NAME", default_value = "worker")]
    name: String,
}

/// Works until all is whole, or the process is told to stop. Exit codes: 0 all is whole, or nothing is wanted any more; 1 it
/// could not go on, and may be tried again; 2 it was told something wrong; 75 it was told to stop. That objects could not be
/// copied is no failure of a worker: the run says so.
pub async fn run(arguments: WorkerArguments) -> ExitCode {
    let (order, ready) = match prepare(&arguments) {
        Ok(prepared) => prepared,
        Err(error) => return gave_up(&error, WRONG),
    };
    let (stop, told) = watch::channel(false);
    let stopping = tokio::spawn(async move {
        told_to_stop().await;
        tracing::info!("told to stop; what was begun is given back");
        // Nobody listens any more where the work has ended.
        let _ = stop.send(true);
        std::future::pending::<()>().await;
    });
    let worker = Worker::new(&arguments.name, told.clone());
    let counters = Arc::<Counters>::default();
    let Ready { source, target, place, options } = ready;
    let work = shards::work(&source, &target, place, &options, &order.run, worker, &counters);
    let ended = tokio::select! {
        ended = work => ended,
        () = say(&counters) => return ExitCode::FAILURE,
    };
    stopping.abort();
    match ended {
        Ok(report) => {
            log(&report, "ended");
            if *told.borrow() { ExitCode::from(STOPPED) } else { ExitCode::SUCCESS }
        }
        Err(error) => gave_up(&error.into(), 1),
    }
}

fn prepare(arguments: &WorkerArguments) -> anyhow::Result<(Order, Ready)> {
    let text = match (&arguments.order, &arguments.order_file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => {
            std::fs::read_to_string(file).with_context(|| format!("--order-file {}", file.display()))?
        }
        (None, None) => anyhow::bail!("neither --order nor --order-file is given"),
    };
    let order = Order::parse(&text)?;
    let ready = order.ready(|name| std::env::var(name).ok())?;
    Ok((order, ready))
}

fn gave_up(error: &anyhow::Error, code: u8) -> ExitCode {
    let text = format!("{error:#}");
    tracing::error!(error = text, "the worker gave up");
    leave_error(&text);
    ExitCode::from(code)
}

/// Says now and then how far it is.
async fn say(counters: &Counters) {
    loop {
        tokio::time::sleep(SAY).await;
        log(&counters.report(), "under way");
    }
}

fn log(report: &Report, how: &str) {
    let Report { listed, kept, copied, copied_bytes, failed, .. } = report;
    tracing::info!(listed, kept, copied, copied_bytes, failed, "{how}");
    for trouble in &report.troubles {
        tracing::warn!(key = trouble.key, reason = trouble.reason, "not copied");
    }
}
