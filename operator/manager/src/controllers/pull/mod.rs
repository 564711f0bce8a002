//! Pull: at each centre that this operator serves, brings in the recovery points of the centre it pulls from, proves, again
//! and again, what lies there, mends what is damaged, and lets go of what no rule keeps. The one path between centres is S3,
//! read-only.

mod act;
mod copy;
#[cfg(test)]
mod fault_tests;
mod lock;
mod mend;
mod observe;
mod remove;
mod sweep;
mod uses;
mod verify;
mod words;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::{Controller, watcher};
use kube::{Api, ResourceExt};
use tripod_crds::Centre;
use tripod_crds::centre::CentreRole;
use tripod_crds::recovery_point::CopyState;
use tripod_domain::pull::{self, Observed, Step};

use crate::context::{Ctx, Error};

/// Steps that may fail in one pass before it ends.
const PATIENCE: usize = 4;

/// Runs until the process is told to stop.
pub async fn run(ctx: Arc<Ctx>) {
    let controller = Controller::new(Api::<Centre>::all(ctx.client.clone()), watcher::Config::default());
    super::drive("Pull", controller, super::FEW, ctx, reconcile).await;
}

async fn reconcile(object: Arc<Centre>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let rest = SignedDuration::from_secs(object.spec.pull_interval_seconds.into());
    if !object.is_served_by(&ctx.centre) || object.spec.role == CentreRole::Witness {
        return Ok(SignedDuration::from_hours(1));
    }
    let mut seen = observe::observe(&ctx, &object).await?;
    count(&ctx, &object, &seen);
    let mut failed = None;
    loop {
        let step = pull::decide(&seen, Timestamp::now());
        let done = act::act(&ctx, &object, &seen, &step).await;
        match done {
            // What each centre has proved is shown on the RecoveryPoint, by its own controller.
            Ok(()) => {
                let again = if step == Step::Rest { rest } else { SignedDuration::from_millis(50) };
                return failed.map_or(Ok(again), Err);
            }
            // One point that can't be copied, proved or removed holds up no other.
            Err(error) => {
                tracing::warn!(centre = object.name_any(), ?step, %error, "a step failed");
                failed.get_or_insert(error);
                seen.set_aside.push(step);
            }
        }
        if seen.set_aside.len() >= PATIENCE {
            return failed.map_or(Ok(rest), Err);
        }
    }
}

fn count(ctx: &Ctx, centre: &Centre, seen: &Observed) {
    for (state, name) in
        [(CopyState::Copied, "copied"), (CopyState::Verified, "verified"), (CopyState::Damaged, "damaged")]
    {
        let count = seen.records.iter().filter(|r| r.state == state).count();
        ctx.metrics.set_points(&centre.name_any(), name, count);
    }
}
