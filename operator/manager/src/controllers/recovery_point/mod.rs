//! RecoveryPoint: at its origin, runs its hooks and gathers what belongs to it; everywhere, shows what the centres have proved.

mod act;
mod gather;
mod hooks;
mod observe;
mod snapshots;

pub use hooks::Running as RunningHooks;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::hook::HookState;
use tripod_crds::recovery_point::PointPhase;
use tripod_crds::{RecoveryPoint, RecoveryPointStatus};
use tripod_domain::hooks::At;
use tripod_domain::recovery_point::{self, Plan};

use crate::context::{Ctx, Error};

/// Label of a point's Jobs, with its name.
const POINT_LABEL: &str = "tripod.cloud/recovery-point";

/// Runs until the process is told to stop.
pub async fn run(ctx: Arc<Ctx>) {
    let jobs: Api<Job> = Api::all(ctx.client.clone());
    let movers = watcher::Config::default().labels(POINT_LABEL);
    let controller = Controller::new(
        Api::<RecoveryPoint>::all(ctx.client.clone()),
        watcher::Config::default(),
    )
    .watches(jobs, movers, |job| {
        let point = job.labels().get(POINT_LABEL)?;
        Some(ObjectRef::new(point).within(&job.namespace()?))
    });
    super::drive("RecoveryPoint", controller, super::FEW, ctx, reconcile).await;
}

async fn reconcile(seen: Arc<RecoveryPoint>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let Some(object) = ctx.fresh(seen.as_ref()).await? else { return Ok(super::GONE) };
    let namespace = object.namespace().unwrap_or_default();
    let seen = observe::observe(&ctx, &object).await?;
    let plan = recovery_point::decide(&seen, Timestamp::now());
    let before = object.status.as_ref().and_then(|s| s.phase);
    // Before anything else: what writes the status down has to begin the step, or it would be taken for broken off.
    if let Plan::Begin(at) = plan {
        return begin(&ctx, &object, &seen, &plan, at).await;
    }
    if before.is_none() && !matches!(plan, Plan::Watch) {
        // Movers are let in only while the point is Running: say so before one is started.
        let status =
            recovery_point::status(&seen, &plan, &recovery_point::Outcome::default(), Timestamp::now());
        ctx.write_status(&ctx.api(&namespace), &object, object.status.as_ref(), &status).await?;
        return Ok(SignedDuration::from_millis(100));
    }
    let outcome = act::act(&ctx, &seen, &plan).await;
    let status = recovery_point::status(&seen, &plan, &outcome, Timestamp::now());
    if status.phase != before {
        match status.phase {
            Some(PointPhase::Complete) => {
                ctx.tell(
                    &object.object_ref(&()),
                    false,
                    "Complete",
                    "everything is in the vault of its origin",
                )
                .await;
            }
            Some(PointPhase::Failed) => {
                let why = status.conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.message.clone());
                ctx.tell(&object.object_ref(&()), true, "Failed", &why.unwrap_or_default()).await;
            }
            _ => {}
        }
    }
    tell_of_hooks(&ctx, &object, &status).await;
    ctx.write_status(&ctx.api(&namespace), &object, object.status.as_ref(), &status).await?;
    hooks::clean(&ctx, &object, &status).await;
    match outcome.error {
        Some(error) => Err(Error::Other(error)),
        None => Ok(recovery_point::recheck(&seen, &plan)),
    }
}

/// A step of a hook is written down before it is begun: whoever comes next knows of it, however this ends.
async fn begin(
    ctx: &Ctx,
    object: &RecoveryPoint,
    seen: &recovery_point::Observed,
    plan: &Plan,
    at: At,
) -> Result<SignedDuration, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let status = recovery_point::status(seen, plan, &recovery_point::Outcome::default(), Timestamp::now());
    tell_of_hooks(ctx, object, &status).await;
    ctx.write_status(&ctx.api(&namespace), object, object.status.as_ref(), &status).await?;
    hooks::clean(ctx, object, &status).await;
    hooks::begin(ctx, object, at).await.map_err(Error::Other)?;
    Ok(recovery_point::recheck(seen, plan))
}

/// Tells of steps that have failed since the status that the object has.
async fn tell_of_hooks(ctx: &Ctx, object: &RecoveryPoint, status: &RecoveryPointStatus) {
    let known: Vec<_> = object.status.iter().flat_map(|status| &status.hooks).collect();
    let failed = status.hooks.iter().filter(|step| step.state == HookState::Failed);
    for step in failed.filter(|step| !known.contains(step)) {
        let words = step.message.as_deref().unwrap_or_default();
        let message = format!("{:?} {}: {words}", step.phase, step.name);
        ctx.tell(&object.object_ref(&()), true, "HookFailed", &message).await;
    }
}
