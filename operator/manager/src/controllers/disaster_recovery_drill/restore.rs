//! Brings a recovery point into the isolated namespace: objects as the namespace's restorer, files by movers,
//! buckets into scratch buckets. What is done is marked on the namespace, so that it is done once.

use std::ops::ControlFlow;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tripod_crds::{Centre, DisasterRecoveryDrill};
use tripod_domain::isolation::{Stage, isolate};
use tripod_domain::manifest::PointManifest;
use tripod_replication::Progress as Counter;
use tripod_replication::materialise::materialise;
use tripod_replication::replica::{self, Replica, Version};

use super::names;
use crate::context::Ctx;
use crate::controllers::mover_job::Mover;
use crate::stores::replica_at;
use crate::vault::{Document, SystemVault, layout};

/// The configuration was applied.
pub(super) const CONFIGURED: &str = "tripod.cloud/configured";
/// The workloads were applied.
pub(super) const STARTED: &str = "tripod.cloud/started";
/// Objects that are read ahead of those that are written, and objects that are written at a time.
const AHEAD: usize = 64;
const AT_ONCE: usize = 16;
/// The isolated namespace's account that applies what is restored.
pub(super) const RESTORER: &str = "tripod-restorer";

/// The bucket's scratch bucket was filled and read back.
pub(super) fn filled_marker(bucket: &str) -> String {
    format!("bucket.tripod.cloud/{bucket}")
}

/// Whether the namespace carries the mark.
pub(super) async fn is_marked(ctx: &Ctx, namespace: &str, mark: &str) -> Result<bool, kube::Error> {
    let found = Api::<Namespace>::all(ctx.client.clone()).get_opt(namespace).await?;
    Ok(found.is_some_and(|n| n.annotations().contains_key(mark)))
}

async fn mark(ctx: &Ctx, namespace: &str, mark: &str) -> Result<(), String> {
    let patch = json!({"metadata": {"annotations": {mark: "true"}}});
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let patched = api.patch(namespace, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).map_err(|e| format!("namespace {namespace}: {e}"))
}

struct Source {
    centre: Centre,
    vault: SystemVault,
    manifest: PointManifest,
    namespace: String,
}

async fn source(ctx: &Ctx, drill: &DisasterRecoveryDrill) -> Result<Source, String> {
    let system = drill.namespace().unwrap_or_default();
    let at = ctx.stores.vault_at(&drill.spec.centre, &system).await;
    let (centre, vault) = at.map_err(|e| e.to_string())?;
    let point = drill.status.as_ref().and_then(|s| s.recovery_point.clone()).unwrap_or_default();
    let key = layout::manifest(&system, &point);
    let manifest: Option<PointManifest> = vault.read_json(&key).await.map_err(|e| e.to_string())?;
    let manifest = manifest.ok_or_else(|| format!("{key} is gone"))?;
    manifest.check()?;
    let vault = vault.of_point(&manifest).map_err(|e| e.to_string())?;
    Ok(Source { centre, vault, manifest, namespace: names::namespace(drill) })
}

pub(super) async fn restore(
    ctx: &Ctx,
    drill: &DisasterRecoveryDrill,
    configuration: bool,
    volumes: &[String],
    buckets: &[String],
) -> Result<(), String> {
    let from = source(ctx, drill).await?;
    if configuration {
        apply_stage(ctx, &from, Stage::Configuration).await?;
        mark(ctx, &from.namespace, CONFIGURED).await?;
    }
    for claim in volumes {
        let words = ["pull", "--replace"].map(str::to_owned).to_vec();
        let name = names::restore_job(claim);
        let mover = Mover {
            name: &name,
            namespace: &from.namespace,
            claim,
            reads: claim,
            words,
            restores: true,
            labels: json!({}),
        };
        ctx.apply(&ctx.client, &mover.job(ctx)).await?;
    }
    for bucket in buckets {
        fill(drill, &from, bucket).await.map_err(|e| format!("bucket {bucket}: {e}"))?;
        mark(ctx, &from.namespace, &filled_marker(bucket)).await?;
    }
    Ok(())
}

/// Applies the workloads.
pub(super) async fn start(ctx: &Ctx, drill: &DisasterRecoveryDrill) -> Result<(), String> {
    let from = source(ctx, drill).await?;
    apply_stage(ctx, &from, Stage::Workload).await?;
    mark(ctx, &from.namespace, STARTED).await
}

async fn apply_stage(ctx: &Ctx, from: &Source, stage: Stage) -> Result<(), String> {
    let Some(part) = &from.manifest.objects else { return Ok(()) };
    let client = ctx.acting_as(&from.namespace, RESTORER).map_err(|e| e.to_string())?;
    let (to, mut documents) = mpsc::channel::<Document>(AHEAD);
    // Who reads ends when nobody writes any more: the channel goes with it.
    let each = move |(), document| match to.blocking_send(document) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let reading = async {
        from.vault.each_document(&part.snapshot, |_| Some(()), each).await.map_err(|e| e.to_string())
    };
    let client = &client;
    let writing = async move {
        let mut busy = FuturesUnordered::new();
        while let Some(document) = documents.recv().await {
            while busy.len() >= AT_ONCE {
                busy.next().await.unwrap_or(Ok(()))?;
            }
            busy.push(apply_one(ctx, from, client, stage, document));
        }
        while let Some(done) = busy.next().await {
            done?;
        }
        Ok(())
    };
    let (read, written) = tokio::join!(reading, writing);
    written.and(read)
}

async fn apply_one(
    ctx: &Ctx,
    from: &Source,
    client: &Client,
    stage: Stage,
    document: Document,
) -> Result<(), String> {
    let object: Value =
        serde_json::from_slice(&document.body).map_err(|e| format!("{}: {e}", document.path))?;
    match isolate(&object, &from.namespace) {
        Some((of, object)) if of == stage => {
            ctx.apply(client, &object).await.map(drop).map_err(|e| format!("{}: {e}", document.path))
        }
        _ => Ok(()),
    }
}

/// Copies the point's versions into a scratch bucket and reads all of it back.
async fn fill(drill: &DisasterRecoveryDrill, from: &Source, bucket: &str) -> Result<(), String> {
    let vault = &from.vault;
    let (system, point) = (&from.manifest.system, &from.manifest.point);
    let text = vault.store.get(&vault.bucket, &layout::inventory(system, point, bucket)).await;
    let versions = replica::decode(&text.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    let scratch = Replica {
        store: vault.store.clone(),
        bucket: names::scratch_bucket(drill, bucket),
        prefix: String::new(),
    };
    vault.store.ensure_bucket(&scratch.bucket, false).await.map_err(|e| e.to_string())?;
    let kept = replica_at(&from.centre, vault.store.clone(), system, bucket);
    let counter = Counter::default();
    materialise(&kept, &versions, &scratch.bucket, &counter).await.map_err(|e| e.to_string())?;
    // The scratch bucket has versions of its own, if any: what counts is what is read from it now.
    let expected: Vec<Version> = versions.iter().map(|v| Version { version_id: None, ..v.clone() }).collect();
    let found = replica::verify(&scratch, &expected, &counter).await.map_err(|e| e.to_string())?;
    if let Some((key, finding)) = found.first() {
        return Err(format!("{key}: {finding}"));
    }
    let recorded = from.manifest.buckets.get(bucket).map(|part| part.digest.clone()).unwrap_or_default();
    let digest = replica::digest(&expected);
    if digest == recorded {
        Ok(())
    } else {
        Err(format!("read back {digest}, the recovery point has {recorded}"))
    }
}
