//! Centre: tries its store out and tells what was proven.

mod act;
mod keys;
mod observe;

use std::sync::Arc;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{Controller, WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::Centre;
use tripod_domain::{centre, conditions, master_keys};

use crate::context::{Ctx, Error};

/// Runs until the process is told to stop.
pub async fn run(ctx: Arc<Ctx>) {
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), &ctx.namespace);
    // A credential that changes may mend or break any centre.
    let changed = watcher(secrets, watcher::Config::default()).default_backoff().touched_objects();
    let changed = changed.filter_map(|secret| async move { secret.ok().map(drop) });
    let controller = Controller::new(Api::<Centre>::all(ctx.client.clone()), watcher::Config::default())
        .reconcile_all_on(changed);
    super::drive("Centre", controller, super::FEW, ctx, reconcile).await;
}

async fn reconcile(object: Arc<Centre>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let seen = observe::observe(&ctx, &object);
    let plan = centre::decide(&seen, Timestamp::now());
    let outcome = act::act(&ctx, &seen, plan).await;
    let (keys, escrow) = keys::look(&ctx, &object, &outcome).await;
    let mut status = centre::status(&seen, &outcome, Timestamp::now());
    centre::note_escrow(&mut status, &seen, &escrow, Timestamp::now());
    master_keys::note(&mut status, keys, object.metadata.generation, Timestamp::now());
    if let Some(ready) = conditions::find(&status.conditions, "Ready") {
        ctx.metrics.probed(&object.name_any(), ready.status == "True", Timestamp::now().as_second());
    }
    if let centre::Outcome::Failed { reason, message } = &outcome {
        ctx.tell(&object.object_ref(&()), true, reason, message).await;
    }
    if let Some(missing) = master_keys::newly_missing(object.status.as_ref(), &status) {
        ctx.tell(&object.object_ref(&()), true, "KeyMissing", missing).await;
    }
    if let centre::Escrow::Failed(message) = &escrow {
        ctx.tell(&object.object_ref(&()), true, "NotWrapped", message).await;
    }
    ctx.write_status(&Api::all(ctx.client.clone()), object.as_ref(), object.status.as_ref(), &status).await?;
    Ok(centre::recheck(&outcome))
}
