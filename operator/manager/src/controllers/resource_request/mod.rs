//! ResourceRequest: the project gate. Assesses, counts approvals, makes the system's namespace with its grant, and sees
//! to its end; quota, walls and rights in it are the Department controller's.

mod act;
mod observe;

use std::sync::Arc;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Resource, ResourceExt};
use tripod_crds::ResourceRequest;
use tripod_domain::conditions;
use tripod_domain::resource_request::{self, System};
use tripod_domain::tenancy::department_of_home;

use self::act::Outcome;
use crate::context::{Ctx, Error};

/// Runs until the process is told to stop.
pub async fn run(
    ctx: Arc<Ctx>,
    stream: impl Stream<Item = Result<ResourceRequest, watcher::Error>> + Send + 'static,
    store: Store<ResourceRequest>,
    wake: UnboundedReceiver<ObjectRef<ResourceRequest>>,
) {
    let controller = Controller::for_stream(stream, store).reconcile_on(wake.boxed());
    super::drive("ResourceRequest", controller, super::MANY, ctx, reconcile).await;
}

async fn reconcile(object: Arc<ResourceRequest>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let mut seen = observe::observe(&ctx, &object).await?;
    let plan = resource_request::decide(&seen, Timestamp::now());
    let acted = match act::act(&ctx, &seen, &plan).await {
        Outcome::Raced => return Ok(SignedDuration::from_millis(200)),
        Outcome::Done => Ok(()),
        Outcome::Failed(error) => Err(error),
    };
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let department = department_of_home(&namespace).unwrap_or_default();
    if object.metadata.deletion_timestamp.is_some() {
        ctx.tenancy.wrote_waiting(department, &name, false);
        return acted.map(|()| SignedDuration::from_mins(1)).map_err(Error::Other);
    }
    // What was just made is part of what the status says.
    if let Some(system) =
        resource_request::namespace_name(&object).and_then(|n| ctx.tenancy.read().namespace(&n))
        && matches!(seen.system, System::Absent)
        && plan.grant.is_some()
    {
        seen.system = System::Ours(system);
    }
    let now = Timestamp::now();
    let status = resource_request::status(&seen, &plan, &acted, now);
    let ready = conditions::find(&status.conditions, "Ready").is_some_and(|c| c.status == "True");
    ctx.tenancy.wrote_waiting(department, &name, !ready);
    if let Some(seconds) = resource_request::delivered(object.status.as_ref(), &status) {
        ctx.metrics.delivered(seconds);
    }
    for news in resource_request::news(object.status.as_ref(), &status) {
        ctx.tell(&object.object_ref(&()), news.warning, &news.reason, &news.message).await;
    }
    ctx.write_status(&ctx.api(&namespace), object.as_ref(), object.status.as_ref(), &status).await?;
    acted.map(|()| resource_request::again(&seen, &plan, now)).map_err(Error::Other)
}
