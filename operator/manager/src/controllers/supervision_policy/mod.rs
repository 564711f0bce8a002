//! SupervisionPolicy: says whether it is in force, and has what it judges looked at again when it changes. Verdicts are
//! reached where reports are written.

use std::sync::Arc;

use futures::Stream;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::Store;
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::SupervisionPolicy;
use tripod_domain::conditions;
use tripod_domain::supervision_policy::{self, Observed};

use crate::context::{Ctx, Error};

/// Runs until the process is told to stop.
pub async fn run(
    ctx: Arc<Ctx>,
    stream: impl Stream<Item = Result<SupervisionPolicy, watcher::Error>> + Send + 'static,
    store: Store<SupervisionPolicy>,
) {
    let controller = Controller::for_stream(stream, store);
    super::drive("SupervisionPolicy", controller, super::FEW, ctx, reconcile).await;
}

async fn reconcile(object: Arc<SupervisionPolicy>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let departments = ctx.tenancy.departments.state().iter().map(|d| d.name_any()).collect();
    let seen = Observed { policy: (*object).clone(), departments };
    let before = object.status.as_ref();
    let status = supervision_policy::status(&seen, Timestamp::now());
    if before.is_none_or(|b| b.observed_generation != status.observed_generation) {
        // An exemption is no change of a report: requests have to look themselves.
        ctx.tenancy.wake_systems();
    }
    let ready = |conditions| conditions::find(conditions, "Ready").cloned();
    let now = ready(&status.conditions);
    if let Some(bad) = now.filter(|c| c.status == "False")
        && before.and_then(|b| ready(&b.conditions)).is_none_or(|b| b.reason != bad.reason)
    {
        ctx.tell(&object.object_ref(&()), true, &bad.reason, &bad.message).await;
    }
    ctx.write_status(&Api::all(ctx.client.clone()), object.as_ref(), before, &status).await?;
    // A day begins, and with it what was not effective yet.
    Ok(SignedDuration::from_mins(10))
}
