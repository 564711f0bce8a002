//! Movers that fill volumes, and their removal once they are through.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;
use tripod_crds::Restore;
use tripod_domain::restore::Filling;
use tripod_domain::restoring::existing::RESTORE_LABEL;

use super::names;
use crate::context::Ctx;
use crate::controllers::mover_job::{self, Mover};

pub(super) async fn act(ctx: &Ctx, restore: &Restore, filling: &Filling) -> Result<(), String> {
    for claim in &filling.launch {
        launch(ctx, restore, claim).await?;
    }
    for claim in &filling.remove {
        remove(ctx, restore, claim).await?;
    }
    Ok(())
}

async fn launch(ctx: &Ctx, restore: &Restore, claim: &str) -> Result<(), String> {
    let (name, namespace) = (names::mover(restore, claim), restore.namespace().unwrap_or_default());
    let restore_name = restore.name_any();
    let mover = Mover {
        name: &name,
        namespace: &namespace,
        claim,
        reads: claim,
        words: ["pull", "--replace", "--restore", &restore_name].map(str::to_owned).to_vec(),
        restores: true,
        labels: json!({RESTORE_LABEL: restore_name}),
    };
    let mut job = mover.job(ctx);
    job["metadata"]["ownerReferences"] = names::owner(restore);
    ctx.apply(&ctx.client, &job).await.map(drop)
}

/// A finished pod still names its claim, and so the claim could not be deleted while it is there.
async fn remove(ctx: &Ctx, restore: &Restore, claim: &str) -> Result<(), String> {
    let jobs = ctx.api::<Job>(&restore.namespace().unwrap_or_default());
    let name = names::mover(restore, claim);
    mover_job::remove(&jobs, &name).await.map_err(|error| format!("mover {name}: {error}"))
}

/// How many of the volumes that are to be restored have a claim already.
pub(super) async fn there_already(ctx: &Ctx, restore: &Restore) -> Result<u64, String> {
    let claims = ctx.api::<PersistentVolumeClaim>(&restore.namespace().unwrap_or_default());
    let claims = claims.list(&ListParams::default()).await.map_err(|e| format!("claims: {e}"))?;
    let volumes = restore.status.as_ref().map(|s| s.volumes.as_slice()).unwrap_or_default();
    Ok(volumes.iter().filter(|v| claims.iter().any(|c| c.name_any() == v.name)).count() as u64)
}
