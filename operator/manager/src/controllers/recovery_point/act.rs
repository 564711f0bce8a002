//! Writes the parts of a point into the vault, and its manifest last.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;
use sha2::{Digest, Sha256};
use tripod_crds::Centre;
use tripod_crds::recovery_point::Failing;
use tripod_domain::manifest::{BucketPart, PointManifest};
use tripod_domain::recovery_point::{Missing, MoverState, Observed, Outcome, Plan};
use tripod_replication::replica::{self, Replica};
use tripod_replication::{Created, Progress};

use super::{POINT_LABEL, gather, snapshots};
use crate::context::Ctx;
use crate::controllers::mover_job::{self, Mover};
use crate::stores::{Stores, replica_at};
use crate::vault::{SystemVault, layout};

pub(super) async fn act(ctx: &Ctx, seen: &Observed, plan: &Plan) -> Outcome {
    let result = match plan {
        Plan::Watch | Plan::Fail { .. } | Plan::Begin(_) | Plan::Await(_) => return Outcome::default(),
        Plan::Gather(missing) => {
            let mut outcome = Outcome::default();
            match gather_parts(ctx, seen, missing, &mut outcome.not_listed).await {
                Ok(()) => {}
                Err(Stop::Again(error)) => outcome.error = Some(error),
                Err(Stop::Final(why)) => outcome.failing = Some(why),
            }
            return outcome;
        }
        Plan::Clear(claims) => {
            return Outcome { error: clear(ctx, seen, claims).await.err(), ..Outcome::default() };
        }
        Plan::Seal(manifest) => seal(ctx, manifest).await,
    };
    Outcome { sealed: result.is_ok(), error: result.err(), ..Outcome::default() }
}

/// Why a pass did not get to its end.
pub(super) enum Stop {
    /// It is tried again.
    Again(String),
    /// Nothing will make it go away by itself.
    Final(Failing),
}

impl From<String> for Stop {
    fn from(words: String) -> Self {
        Self::Again(words)
    }
}

/// The name of a volume's mover: the same for the same point and claim, and never too long.
pub(super) fn mover_name(point: &str, claim: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("{point}/{claim}")));
    let start: String = point.chars().take(40).collect();
    format!("mover-{start}-{}", &digest[..8])
}

async fn gather_parts(
    ctx: &Ctx,
    seen: &Observed,
    missing: &Missing,
    not_listed: &mut Option<Vec<String>>,
) -> Result<(), Stop> {
    let system = seen.point.namespace().unwrap_or_default();
    let point = seen.point.name_any();
    let (centre, vault) = ctx.stores.vault_at(&ctx.centre, &system).await.map_err(|e| e.to_string())?;
    vault.ensure_repository().await.map_err(|e| e.to_string())?;
    // Snapshots first, all at one moment; then movers, which work while the rest is gathered.
    snapshots::freeze(ctx, &seen.point, &missing.freeze).await?;
    for claim in &missing.launch {
        launch_mover(ctx, seen, &system, &point, claim).await?;
    }
    if missing.objects {
        *not_listed = Some(archive_objects(ctx, seen, &vault).await?);
    }
    for bucket in &missing.buckets {
        copy_bucket(ctx, &centre, &vault, &point, bucket)
            .await
            .map_err(|e| format!("bucket {bucket}: {e}"))?;
    }
    Ok(())
}

async fn launch_mover(
    ctx: &Ctx,
    seen: &Observed,
    system: &str,
    point: &str,
    claim: &str,
) -> Result<(), Stop> {
    let name = mover_name(point, claim);
    if seen.movers.get(claim) == Some(&MoverState::Succeeded) {
        // It succeeded and its part is not there: it has to run again, under the same name.
        let jobs = ctx.api::<k8s_openapi::api::batch::v1::Job>(system);
        jobs.delete(&name, &DeleteParams::background()).await.map_err(|e| format!("mover {name}: {e}"))?;
        return Ok(());
    }
    let words = ["push", "--point", point].map(str::to_owned).to_vec();
    let labels = json!({POINT_LABEL: point});
    let clone = snapshots::clone(ctx, &seen.point, claim).await?;
    let reads = clone.as_deref().unwrap_or(claim);
    let job = Mover { name: &name, namespace: system, claim, reads, words, restores: false, labels }.job(ctx);
    Ok(ctx.apply(&ctx.client, &job).await.map(drop)?)
}

/// Movers that are through, by uid and version: one that was made anew meanwhile is left alone; and snapshots.
async fn clear(ctx: &Ctx, seen: &Observed, claims: &[String]) -> Result<(), String> {
    let jobs = ctx.api::<k8s_openapi::api::batch::v1::Job>(&seen.point.namespace().unwrap_or_default());
    for claim in claims {
        let name = mover_name(&seen.point.name_any(), claim);
        mover_job::remove(&jobs, &name).await.map_err(|e| format!("mover {name}: {e}"))?;
    }
    snapshots::remove(ctx, &seen.point, claims).await
}

/// The kinds that may not be listed.
async fn archive_objects(ctx: &Ctx, seen: &Observed, vault: &SystemVault) -> Result<Vec<String>, String> {
    let point = seen.point.name_any();
    let selection = seen.point.spec.selection.clone().unwrap_or_default();
    let (part, gathered) = gather::archive(ctx, vault, &point, &selection).await?;
    let not_listed = gathered.tally.not_listed;
    let needs: Vec<String> =
        gathered.needs.iter().map(|(need, reading)| format!("{} {reading:?}", need.title())).collect();
    let taken = part.files;
    tracing::info!(system = vault.system, point, taken, ?not_listed, ?needs, "objects are archived");
    let key = layout::objects_part(&vault.system, &point);
    vault.write_json(&key, &part).await.map_err(|e| e.to_string())?;
    Ok(not_listed)
}

/// Brings every version that is now in the bucket into the replica bucket of this centre. What an earlier point
/// brought there is not copied again.
async fn copy_bucket(
    ctx: &Ctx,
    centre: &Centre,
    vault: &SystemVault,
    point: &str,
    bucket: &str,
) -> Result<(), String> {
    Stores::owned_bucket(&vault.store, bucket, &vault.system).await.map_err(|e| e.to_string())?;
    let live = Replica { store: vault.store.clone(), bucket: bucket.to_owned(), prefix: String::new() };
    let kept = replica_at(centre, vault.store.clone(), &vault.system, bucket);
    // What an earlier point brought may go once that point is removed: not between here and the inventory that needs it.
    let _adding = vault.adding().await;
    let versions = replica::inventory(&live).await.map_err(|e| e.to_string())?;
    let known = known_versions(vault, bucket).await?;
    let is_new = |v: &&replica::Version| !known.contains_key(&(v.key.clone(), v.etag.clone()));
    let added = versions.iter().filter(is_new).map(|v| v.size).sum();
    let progress = Progress::default();
    let tally = replica::copy(&live, &versions, &kept, &known, &progress).await;
    ctx.metrics.moved(&ctx.centre, "copy", progress.so_far().1);
    if let Some((key, error)) = tally.failed.first() {
        return Err(format!(
            "{} of {} objects could not be copied; {key}: {error}",
            tally.failed.len(),
            versions.len()
        ));
    }
    let inventory = layout::inventory(&vault.system, point, bucket);
    vault
        .store
        .put(&vault.bucket, &inventory, replica::encode(&tally.versions))
        .await
        .map_err(|e| e.to_string())?;
    let part = BucketPart {
        objects: tally.versions.len() as u64,
        bytes: tally.versions.iter().map(|v| v.size).sum(),
        digest: replica::digest(&tally.versions),
        added: Some(added),
    };
    vault
        .write_json(&layout::bucket_part(&vault.system, point, bucket), &part)
        .await
        .map_err(|e| e.to_string())
}

/// What the newest point before this one has of the bucket, by key and content.
async fn known_versions(
    vault: &SystemVault,
    bucket: &str,
) -> Result<BTreeMap<(String, String), replica::Version>, String> {
    let folder = layout::records(&vault.system);
    let mut points = vault.store.list_directories(&vault.bucket, &folder).await.map_err(|e| e.to_string())?;
    points.sort();
    while let Some(point) = points.pop() {
        match vault.store.get(&vault.bucket, &layout::inventory(&vault.system, &point, bucket)).await {
            Ok(text) => {
                let versions = replica::decode(&text).map_err(|e| e.to_string())?;
                return Ok(versions.into_iter().map(|v| ((v.key.clone(), v.etag.clone()), v)).collect());
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(BTreeMap::new())
}

/// Written once. That it is there already, the same, is success; another one is not overwritten.
async fn seal(ctx: &Ctx, manifest: &PointManifest) -> Result<(), String> {
    let (_, vault) = ctx.stores.vault_at(&ctx.centre, &manifest.system).await.map_err(|e| e.to_string())?;
    let key = layout::manifest(&manifest.system, &manifest.point);
    let body = serde_json::to_vec_pretty(manifest).map_err(|e| e.to_string())?;
    match vault.store.put_new(&vault.bucket, &key, body.into()).await.map_err(|e| e.to_string())? {
        Created::Yes => Ok(()),
        Created::AlreadyThere => {
            let there: Option<PointManifest> = vault.read_json(&key).await.map_err(|e| e.to_string())?;
            let same = there.is_some_and(|there| there.root_digest == manifest.root_digest);
            if same { Ok(()) } else { Err(format!("{key} is there already, with another content")) }
        }
    }
}
