//! Restore: one step a pass, from what is persisted and what is found. What takes long tells how far it is.

mod act;
mod buckets;
mod names;
mod objects;
mod observe;
mod volumes;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::Restore;
use tripod_crds::restore::RestorePhase;
use tripod_domain::restore::{self, Observed, Outcome, Plan};
use tripod_domain::restoring::existing::RESTORE_LABEL;

pub use observe::foreign;

use crate::context::{Ctx, Error};
use objects::Counting;

/// Between two looks at a restore that waits for something.
const STEP: SignedDuration = SignedDuration::from_secs(2);
/// Between two looks at one that can't begin.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);
/// How often a pass that takes long tells how far it is.
const TELL: Duration = Duration::from_secs(3);

/// Runs until the process is told to stop.
pub async fn run(ctx: Arc<Ctx>) {
    let jobs: Api<Job> = Api::all(ctx.client.clone());
    let movers = watcher::Config::default().labels(RESTORE_LABEL);
    let controller = Controller::new(Api::<Restore>::all(ctx.client.clone()), watcher::Config::default())
        .watches(jobs, movers, |job| {
            let restore = job.labels().get(RESTORE_LABEL)?;
            Some(ObjectRef::new(restore).within(&job.namespace()?))
        });
    super::drive("Restore", controller, super::FEW, ctx, reconcile).await;
}

async fn reconcile(seen: Arc<Restore>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let Some(object) = ctx.fresh(seen.as_ref()).await? else { return Ok(super::GONE) };
    let namespace = object.namespace().unwrap_or_default();
    if !restore::is_under_way(&object) {
        act::let_go(&ctx, &object).await?;
        return Ok(SignedDuration::from_hours(1));
    }
    let seen = observe::observe(&ctx, &object).await?;
    let plan = restore::decide(&seen, Timestamp::now());
    let outcome = carry_out(&ctx, &seen, &plan).await;
    let status = restore::status(&seen, &plan, &outcome, Timestamp::now());
    let before = restore::phase_of(&object);
    let reason = |list: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]| {
        list.iter().find(|c| c.type_ == "Ready").map(|c| (c.reason.clone(), c.message.clone()))
    };
    let (was, is) = (
        object.status.as_ref().and_then(|s| reason(&s.conditions)),
        reason(&status.conditions).unwrap_or_default(),
    );
    if status.phase != Some(before) || was.is_none_or(|(reason, _)| reason != is.0) {
        let stuck = status.phase == Some(RestorePhase::Failed) || matches!(plan, Plan::Wait { .. });
        ctx.tell(&object.object_ref(&()), stuck && is.0 != "WaitingForWorkloads", &is.0, &is.1).await;
        tracing::info!(restore = object.name_any(), namespace, phase = ?status.phase, reason = is.0, "restore");
    }
    let over = matches!(status.phase, Some(RestorePhase::Succeeded | RestorePhase::Failed));
    if over {
        ctx.metrics.restored(status.phase == Some(RestorePhase::Succeeded));
    }
    ctx.write_status(&ctx.api(&namespace), &object, object.status.as_ref(), &status).await?;
    match outcome.error {
        Some(error) => Err(Error::Other(error)),
        None if matches!(plan, Plan::Wait { reason, .. } if reason != "WaitingForWorkloads") => Ok(PATIENCE),
        None if status.phase == Some(before) => Ok(STEP),
        None => Ok(SignedDuration::from_millis(10)),
    }
}

/// Carries out a plan, and meanwhile says in the status how far it is.
async fn carry_out(ctx: &Ctx, seen: &Observed, plan: &Plan) -> Outcome {
    let counting = Counting::default();
    let work = act::act(ctx, seen, plan, &counting);
    tokio::pin!(work);
    loop {
        tokio::select! {
            outcome = &mut work => return outcome,
            () = tokio::time::sleep(TELL) => {
                let object = &seen.restore;
                let status = restore::underway(seen, &counting.so_far());
                let api = ctx.api(&object.namespace().unwrap_or_default());
                if let Err(error) = ctx.write_status(&api, object, object.status.as_ref(), &status).await {
                    tracing::debug!(%error, "progress of a restore could not be told");
                }
            }
        }
    }
}
