//! From nothing to departments with all of their systems, and how long each stage took.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, future, stream};
use kube::api::{DynamicObject, PostParams};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::Bench;
use crate::board::State;
use crate::manifests::{self, department_name, home, resource};
use crate::meter::Interval;

/// Requests under way at a time: enough that the API server is never waited for.
const AT_ONCE: usize = 32;

/// Seconds from the first create until the last of each was there.
#[derive(Clone, Debug, Serialize)]
pub struct Stages {
    pub departments: usize,
    pub systems: usize,
    pub departments_created: f64,
    pub home_namespaces: f64,
    pub departments_ready: f64,
    pub requests_created: f64,
    pub system_namespaces: f64,
    pub requests_ready: f64,
    pub during: Interval,
    /// Bytes of the operator in memory at its end.
    pub operator_resident: u64,
}

/// Creates departments and their requests, these as soon as there is a home for them, and waits until all are Ready.
pub async fn fill(
    bench: &Bench,
    homes: &mut mpsc::UnboundedReceiver<String>,
    range: Range<usize>,
) -> Result<Stages> {
    let all = range.end;
    let (departments, systems) = (range.len(), range.len() * bench.systems);
    let before = bench.meter.read(&bench.client).await?;
    let start = Instant::now();
    let since = |moment: Option<Instant>| moment.map_or(0.0, |at| at.duration_since(start).as_secs_f64());
    let making = async {
        create_departments(bench, range.clone()).await?;
        anyhow::Ok(Instant::now())
    };
    let asking = async {
        create_requests(bench, homes, range.clone()).await?;
        anyhow::Ok(Instant::now())
    };
    let (made, asked) = tokio::try_join!(making, asking)?;
    let done = |state: &State| state.departments.ready >= all && state.requests.ready >= all * bench.systems;
    bench
        .board
        .until(
            "all to be Ready",
            bench.deadline,
            |state| done(state).then_some(()),
            |state| seen(state, all, bench.systems),
        )
        .await?;
    let during = bench.meter.read(&bench.client).await?.since(&before);
    Ok(bench.board.look(|state| Stages {
        departments,
        systems,
        departments_created: since(Some(made)),
        home_namespaces: since(state.last_home),
        departments_ready: since(state.departments.last),
        requests_created: since(Some(asked)),
        system_namespaces: since(state.last_system),
        requests_ready: since(state.requests.last),
        during,
        operator_resident: bench.meter.operator_memory().map_or(0, |m| m.resident),
    }))
}

fn seen(state: &State, departments: usize, systems: usize) -> String {
    format!(
        "{} of {departments} departments and {} of {} requests are Ready, {} system namespaces exist; departments: {}; requests: {}",
        state.departments.ready,
        state.requests.ready,
        departments * systems,
        state.systems.len(),
        state.departments.complaints(),
        state.requests.complaints()
    )
}

async fn create_departments(bench: &Bench, range: Range<usize>) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(bench.client.clone(), &resource("Department"));
    stream::iter(range.map(Ok))
        .try_for_each_concurrent(AT_ONCE, |index| {
            let (api, manifest) = (api.clone(), manifests::department(index, bench.systems));
            async move { create(&api, manifest).await }
        })
        .await
}

/// Takes home namespaces in the order in which they appear, until each department of the range has had its own.
async fn create_requests(
    bench: &Bench,
    homes: &mut mpsc::UnboundedReceiver<String>,
    range: Range<usize>,
) -> Result<()> {
    let mut missing: BTreeSet<String> = range.map(|index| home(&department_name(index))).collect();
    let (patience, user, count) = (bench.deadline, &bench.user, missing.len());
    let arriving = stream::poll_fn(|context| homes.poll_recv(context));
    // So many and no more: the channel stays open for the next range.
    let wanted = arriving.filter(|home| future::ready(missing.remove(home))).take(count).map(anyhow::Ok);
    let creating = wanted.try_for_each_concurrent(Some(AT_ONCE / 4), |home| async move {
        let api: Api<DynamicObject> =
            Api::namespaced_with(bench.client.clone(), &home, &resource("ResourceRequest"));
        let department = home.trim_start_matches("dept-");
        stream::iter((0..bench.systems).map(Ok))
            .try_for_each_concurrent(4, |system| create(&api, manifests::request(department, system, user)))
            .await
    });
    match tokio::time::timeout(patience, creating).await {
        Ok(result) => result,
        Err(_) => bail!(
            "waited {} s for home namespaces; last seen: {}",
            patience.as_secs(),
            bench.board.look(|state| format!(
                "{} exist; departments: {}",
                state.homes.len(),
                state.departments.complaints()
            ))
        ),
    }
}

/// Creates an object of ours. A conflict is an error: the benchmark begins with nothing.
pub async fn create(api: &Api<DynamicObject>, manifest: Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(manifest)?;
    let name = object.metadata.name.clone().unwrap_or_default();
    api.create(&PostParams::default(), &object).await.with_context(|| format!("creating {name}"))?;
    Ok(())
}

/// Waits until nothing is written any more, but for what any cluster writes; returns after how many seconds.
pub async fn settle(bench: &Bench, client: &Client) -> Result<f64> {
    const WINDOW: Duration = Duration::from_secs(5);
    const PATIENCE: Duration = Duration::from_mins(4);
    let start = Instant::now();
    let mut before = bench.meter.read(client).await?;
    let mut quiet = 0;
    while quiet < 2 {
        tokio::time::sleep(WINDOW).await;
        let now = bench.meter.read(client).await?;
        let during = now.since(&before);
        quiet = if during.writes == 0 { quiet + 1 } else { 0 };
        if start.elapsed() > PATIENCE {
            eprintln!(
                "bench: not at rest after {} s; still written: {:?}",
                PATIENCE.as_secs(),
                during.written
            );
            break;
        }
        before = now;
    }
    Ok(start.elapsed().as_secs_f64())
}
