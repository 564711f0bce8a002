//! Inspections: each is answered once, by reading a vault; nothing is written but its status. An answered one is removed after
//! an hour.

mod buckets;
mod look;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::Inspection;
use tripod_domain::inspection::{self, Outcome, Plan};

use crate::context::{Ctx, Error};

/// Runs until the process is told to stop.
pub async fn run(ctx: Arc<Ctx>) {
    let all = Api::<Inspection>::all(ctx.client.clone());
    let controller = Controller::new(all, watcher::Config::default());
    super::drive("Inspection", controller, super::FEW, ctx, reconcile).await;
}

async fn reconcile(seen: Arc<Inspection>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let Some(object) = ctx.fresh(seen.as_ref()).await? else { return Ok(super::GONE) };
    let api = ctx.api::<Inspection>(&object.namespace().unwrap_or_default());
    match inspection::decide(&object, Timestamp::now()) {
        Plan::Keep(time) => Ok(time),
        Plan::Remove => {
            let only_this = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
            match api.delete(&object.name_any(), &DeleteParams::default().preconditions(only_this)).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(super::GONE),
                result => Ok(result.map(|_| super::GONE)?),
            }
        }
        Plan::Look => {
            let centre = object.spec.centre.clone().unwrap_or_else(|| ctx.centre.clone());
            let outcome = look::look(&ctx, &object, &centre).await?;
            let status = inspection::status(&object, &centre, &outcome, Timestamp::now());
            ctx.write_status(&api, &object, object.status.as_ref(), &status).await?;
            match outcome {
                Outcome::Answered(_) => Ok(inspection::KEPT),
                Outcome::Refused { reason, message } => {
                    ctx.tell(&object.object_ref(&()), true, reason, &message).await;
                    Ok(inspection::KEPT)
                }
                Outcome::Failed(message) => Err(Error::Other(message)),
            }
        }
    }
}
