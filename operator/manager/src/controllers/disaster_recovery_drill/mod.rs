//! DisasterRecoveryDrill: one step a pass, from what is persisted and what is found.

mod act;
mod names;
mod observe;
mod restore;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::DisasterRecoveryDrill;
use tripod_crds::disaster_recovery_drill::DrillPhase;
use tripod_domain::disaster_recovery_drill::{self as drill, Plan};

use crate::context::{Ctx, Error};

/// Between two looks at a drill that runs.
const STEP: SignedDuration = SignedDuration::from_secs(1);

/// Runs until the process is told to stop.
pub async fn run(ctx: Arc<Ctx>) {
    let api: Api<DisasterRecoveryDrill> = Api::all(ctx.client.clone());
    super::drive(
        "DisasterRecoveryDrill",
        Controller::new(api, watcher::Config::default()),
        super::FEW,
        ctx,
        reconcile,
    )
    .await;
}

async fn reconcile(seen: Arc<DisasterRecoveryDrill>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let Some(object) = ctx.fresh(seen.as_ref()).await? else { return Ok(super::GONE) };
    let namespace = object.namespace().unwrap_or_default();
    if let Some((ended, passed)) = drill::concluded(&object) {
        ctx.metrics.drilled(&namespace, ended.as_second(), passed);
    }
    let seen = observe::observe(&ctx, &object).await?;
    let plan = drill::decide(&seen, Timestamp::now());
    if plan == Plan::Ignore {
        return Ok(SignedDuration::from_hours(1));
    }
    let outcome = act::act(&ctx, &seen, &plan).await;
    if plan == Plan::Release {
        return outcome.error.map_or(Ok(STEP), |error| Err(Error::Other(error)));
    }
    let status = drill::status(&seen, &plan, &outcome, Timestamp::now());
    let before = drill::phase_of(&object);
    if let Some(phase) = status.phase.filter(|phase| *phase != before) {
        let failed = phase == DrillPhase::Failed;
        let words = status.conditions.iter().find(|c| c.type_ == "Concluded").map(|c| c.message.clone());
        let message = words.unwrap_or_else(|| format!("entered {phase:?}"));
        ctx.tell(&object.object_ref(&()), failed, &format!("{phase:?}"), &message).await;
        tracing::info!(drill = object.name_any(), namespace, ?phase, "drill");
    }
    ctx.write_status(&ctx.api(&namespace), &object, object.status.as_ref(), &status).await?;
    match outcome.error {
        Some(error) => Err(Error::Other(error)),
        // A Centre may be applied later, or change hands.
        None if matches!(plan, Plan::Leave(_)) => Ok(SignedDuration::from_secs(30)),
        None => Ok(STEP),
    }
}
