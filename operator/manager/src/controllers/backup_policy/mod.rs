//! BackupPolicy: makes a recovery point when one is due, and shows how the centres stand.

mod act;
mod observe;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::{BackupPolicy, RecoveryPoint};
use tripod_domain::{backup_policy, duration};

use crate::context::{Ctx, Error};

/// Runs until the process is told to stop.
pub async fn run(ctx: Arc<Ctx>) {
    let points: Api<RecoveryPoint> = Api::all(ctx.client.clone());
    let controller =
        Controller::new(Api::<BackupPolicy>::all(ctx.client.clone()), watcher::Config::default()).watches(
            points,
            watcher::Config::default(),
            |point| point.namespace().map(|namespace| ObjectRef::new(&point.spec.policy).within(&namespace)),
        );
    super::drive("BackupPolicy", controller, super::FEW, ctx, reconcile).await;
}

async fn reconcile(object: Arc<BackupPolicy>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let seen = observe::observe(&ctx, &object).await?;
    let plan = backup_policy::decide(&seen, Timestamp::now());
    let created = act::act(&ctx, &namespace, &plan).await;
    let status = backup_policy::status(&seen, &plan, &created, Timestamp::now());
    for standing in &status.centres {
        let taken = standing.newest_verified_at.as_ref().map(|t| t.0.as_second());
        ctx.metrics.set_verified(&namespace, &object.name_any(), &standing.centre, taken);
    }
    for objective in &object.spec.objectives {
        let seconds = duration::parse(&objective.rpo).ok().map(|rpo| rpo.as_secs());
        ctx.metrics.set_objective(&namespace, &object.name_any(), &objective.centre, seconds);
    }
    let was_ready = object.status.as_ref().and_then(|s| s.conditions.first()).map(|c| c.reason.clone());
    if !plan.ready.holds && was_ready.as_ref() != Some(&plan.ready.reason) {
        ctx.tell(&object.object_ref(&()), true, &plan.ready.reason, &plan.ready.message).await;
    }
    ctx.write_status(&ctx.api(&namespace), object.as_ref(), object.status.as_ref(), &status).await?;
    created.map(|()| plan.recheck).map_err(Error::Other)
}
