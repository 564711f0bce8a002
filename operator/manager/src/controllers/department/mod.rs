//! Department: keeps namespaces, rights, walls and quotas in place, and its budget over all of them.

mod act;
mod observe;
mod scale;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::{Department, DepartmentStatus};
use tripod_domain::conditions;
use tripod_domain::department;

use self::act::Outcome;
pub(super) use self::act::{create_namespace, patch_namespace};
use crate::context::{Ctx, Error};

/// Runs until the process is told to stop.
pub async fn run(
    ctx: Arc<Ctx>,
    stream: impl Stream<Item = Result<Department, watcher::Error>> + Send + 'static,
    store: Store<Department>,
    wake: UnboundedReceiver<ObjectRef<Department>>,
) {
    let controller = Controller::for_stream(stream, store).reconcile_on(wake.boxed());
    super::drive("Department", controller, super::MANY, ctx, reconcile).await;
}

async fn reconcile(object: Arc<Department>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(SignedDuration::from_mins(1));
    }
    let now = Timestamp::now();
    let seen = observe::observe(&ctx, &object).await?;
    let plan = department::decide(&seen, now);
    let outcome = act::act(&ctx, &seen, &plan, now).await;
    if let Outcome::Raced = outcome {
        // Somebody was faster: what was read is old, and the next look is at what they wrote.
        return Ok(SignedDuration::from_millis(200));
    }
    let failed = if let Outcome::Failed(error) = &outcome { Err(error.clone()) } else { Ok(()) };
    let status = department::status(&seen, &plan, &failed, now);
    tell(&ctx, &object, &status).await;
    let free = department::free(&department::ledger_seen(&seen));
    if object.status.as_ref().is_none_or(|before| before.observed_generation != status.observed_generation)
        || ctx.tenancy.set_free(&object.name_any(), free)
    {
        ctx.tenancy.wake_waiting(&object.name_any());
    }
    let before = object.status.clone().map(|before| DepartmentStatus { ledger: BTreeMap::new(), ..before });
    ctx.write_status(&Api::all(ctx.client.clone()), object.as_ref(), before.as_ref(), &status).await?;
    failed.map(|()| department::again(&seen, &plan)).map_err(Error::Other)
}

/// An event for each condition that has just become bad.
async fn tell(ctx: &Ctx, object: &Department, status: &DepartmentStatus) {
    let before = object.status.clone().unwrap_or_default().conditions;
    for condition in status.conditions.iter().filter(|c| c.status == "False" && c.type_ != "UsageMeasured") {
        let known = conditions::find(&before, &condition.type_).is_some_and(|b| b.reason == condition.reason);
        if !known && !matches!(condition.reason.as_str(), "Provisioning" | "AwaitingQuota" | "ScalingToZero")
        {
            ctx.tell(&object.object_ref(&()), true, &condition.reason, &condition.message).await;
        }
    }
}
