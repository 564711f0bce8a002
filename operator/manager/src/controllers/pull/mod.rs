//! Pull: at each centre that this operator serves, brings in the recovery points of the centre it pulls from,
//! and proves, again and again, what lies there. The one path between centres is S3, read-only.

mod act;
mod observe;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::runtime::{Controller, watcher};
use tripod_crds::Centre;
use tripod_crds::centre::CentreRole;
use tripod_domain::pull::{self, Step};

use crate::context::{Ctx, Error};

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
    let seen = observe::observe(&ctx, &object).await?;
    let step = pull::decide(&seen, Timestamp::now());
    act::act(&ctx, &object, &seen, &step).await?;
    // What each centre has proved is shown on the RecoveryPoint, by its own controller.
    Ok(if step == Step::Rest { rest } else { SignedDuration::from_millis(50) })
}
