//! What it costs to have departments, and what it costs to change one.

use std::time::{Duration, Instant};

use anyhow::Result;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde::Serialize;
use serde_json::json;

use crate::Bench;
use crate::fill::settle;
use crate::manifests::{department_name, resource};
use crate::meter::{Interval, OPERATOR};

/// Changes that are averaged over: processor time is told in hundredths of a second.
const CHANGES: usize = 20;
const PATIENCE: Duration = Duration::from_mins(1);

/// A time in which nobody asked for anything.
#[derive(Clone, Debug, Serialize)]
pub struct Rest {
    pub departments: usize,
    /// Seconds until nothing was written any more.
    pub settled_after: f64,
    pub during: Interval,
    pub operator_resident: u64,
}

impl Rest {
    /// Percent of one processor.
    pub fn operator_percent(&self) -> f64 {
        100.0 * self.during.cpu_of(OPERATOR) / self.during.seconds
    }

    pub fn writes_per_minute(&self) -> f64 {
        per_minute(self.during.writes, self.during.seconds)
    }
}

/// One budget edit, on the average, less what would have happened without it.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    pub departments: usize,
    pub operator_milliseconds: f64,
    /// Of the API server, the edit itself not counted.
    pub reads: f64,
    pub writes: f64,
    /// From the edit until the department was Ready with it, in the middle.
    pub milliseconds: f64,
}

#[allow(clippy::cast_precision_loss, reason = "counts of requests")]
fn per_minute(count: u64, seconds: f64) -> f64 {
    60.0 * count as f64 / seconds
}

pub async fn rest(bench: &Bench, departments: usize, length: Duration) -> Result<Rest> {
    let settled_after = settle(bench, &bench.client).await?;
    let before = bench.meter.read(&bench.client).await?;
    tokio::time::sleep(length).await;
    let during = bench.meter.read(&bench.client).await?.since(&before);
    let operator_resident = bench.meter.operator_memory()?.resident;
    Ok(Rest { departments, settled_after, during, operator_resident })
}

/// Changes the budgets of some departments, one after the other.
pub async fn change(bench: &Bench, rest: &Rest) -> Result<Change> {
    let departments = rest.departments;
    let api: Api<DynamicObject> = Api::all_with(bench.client.clone(), &resource("Department"));
    let before = bench.meter.read(&bench.client).await?;
    let mut times = Vec::new();
    for change in 0..CHANGES {
        let name = department_name(change * departments / CHANGES);
        // Each amount is a new one, also when a department's turn comes again.
        let budget = json!({"spec": {"budget": {"requests.cpu": (bench.systems + 5 + bench.edits() + change).to_string()}}});
        let start = Instant::now();
        let edited = api.patch(&name, &PatchParams::default(), &Patch::Merge(&budget)).await?;
        let generation = edited.metadata.generation.unwrap_or_default();
        bench
            .board
            .until(
                &format!("department {name} to be Ready with its new budget"),
                PATIENCE,
                |state| {
                    state
                        .departments
                        .objects
                        .get(&name)
                        .filter(|s| s.ready && s.generation >= generation)
                        .map(|_| ())
                },
                |state| format!("{:?}", state.departments.objects.get(&name)),
            )
            .await?;
        times.push(start.elapsed());
    }
    bench.count_edits(CHANGES);
    settle(bench, &bench.client).await?;
    let during = bench.meter.read(&bench.client).await?.since(&before);
    Ok(average(rest, &during, times))
}

#[allow(clippy::cast_precision_loss, reason = "counts of requests")]
fn average(rest: &Rest, during: &Interval, mut times: Vec<Duration>) -> Change {
    let count = times.len() as f64;
    let length = during.seconds / rest.during.seconds;
    let cpu = during.cpu_of(OPERATOR) - rest.during.cpu_of(OPERATOR) * length;
    let more =
        |during: u64, rest: u64, own: f64| ((during as f64 - rest as f64 * length) / count - own).max(0.0);
    times.sort();
    Change {
        departments: rest.departments,
        operator_milliseconds: 1000.0 * cpu / count,
        reads: more(during.reads, rest.during.reads, 0.0),
        writes: more(during.writes, rest.during.writes, 1.0),
        milliseconds: 1000.0 * times[times.len() / 2].as_secs_f64(),
    }
}
