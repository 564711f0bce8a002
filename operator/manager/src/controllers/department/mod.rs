//! Department: keeps its namespace, rights, quota and walls in place, and measures its use.

mod act;
mod observe;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::Department;
use tripod_domain::department::{self, Plan};
use tripod_domain::quantity;

use crate::context::{Ctx, Error};
use crate::telemetry::metrics::Column;

/// Runs until the process is told to stop.
pub async fn run(ctx: Arc<Ctx>) {
    let controller = Controller::new(Api::<Department>::all(ctx.client.clone()), watcher::Config::default());
    super::drive("Department", controller, ctx, reconcile).await;
}

async fn reconcile(object: Arc<Department>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(department::RECHECK);
    }
    let seen = observe::observe(&ctx, &object).await?;
    let plan = department::decide(&seen);
    let applied = act::act(&ctx, &seen, &plan).await;
    let status = department::status(&seen, &plan, applied.clone(), Timestamp::now());
    show(&ctx, &seen);
    if let Plan::Refuse(verdict) = &plan {
        ctx.tell(&object.object_ref(&()), true, &verdict.reason, &verdict.message).await;
    }
    ctx.write_status(&Api::all(ctx.client.clone()), object.as_ref(), object.status.as_ref(), &status).await?;
    applied.map(|()| department::RECHECK).map_err(Error::Other)
}

/// The same numbers as gauges; what is unknown has no series.
fn show(ctx: &Ctx, seen: &department::Observed) {
    let name = seen.department.name_any();
    let units = |q: Option<&_>| q.and_then(|q| quantity::parse(q).ok()).map(quantity::units);
    let usage = seen.usage.as_ref().ok();
    let budget = |resource: &str| units(seen.department.spec.budget.get(resource));
    let requested = |resource: &str| units(seen.requested.get(resource));
    ctx.metrics.set_cpu(&name, Column::Budget, budget("requests.cpu"));
    ctx.metrics.set_cpu(&name, Column::Requested, requested("requests.cpu"));
    ctx.metrics.set_cpu(&name, Column::Used, usage.map(|u| quantity::units(u.cpu)));
    ctx.metrics.set_memory(&name, Column::Budget, budget("requests.memory"));
    ctx.metrics.set_memory(&name, Column::Requested, requested("requests.memory"));
    ctx.metrics.set_memory(&name, Column::Used, usage.map(|u| quantity::units(u.memory)));
}
