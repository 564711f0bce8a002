//! Reads what the phase of the restore needs.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::recovery_point::CopyState;
use tripod_crds::restore::{RestorePhase, VeleroBackup};
use tripod_crds::{Centre, Restore};
use tripod_domain::disaster_recovery_drill::Progress;
use tripod_domain::manifest::{CopyRecord, PointManifest};
use tripod_domain::restore::{Claim, Observed, Source, VolumeSeen, phase_of};
use tripod_domain::restoring::existing::{RESTORE_LABEL, RESTORE_UID};

use super::names;
use crate::context::{Ctx, Error};
use crate::controllers::{mover_job, workloads};
use crate::stores::{StoreAccess, Stores};
use crate::vault::layout;

pub(super) async fn observe(ctx: &Ctx, object: &Restore) -> Result<Observed, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let centre = object.spec.centre.clone().unwrap_or_else(|| ctx.centre.clone());
    let system = object.spec.system.clone().unwrap_or_else(|| namespace.clone());
    let mut seen = Observed {
        restore: object.clone(),
        centre,
        system,
        source: Source::NotAsked,
        volumes: BTreeMap::new(),
        workloads: BTreeMap::new(),
    };
    let phase = phase_of(object);
    if phase != RestorePhase::Waiting {
        seen.source = source(ctx, &seen, &namespace).await?;
    }
    if phase == RestorePhase::Filling {
        seen.volumes = volumes(ctx, object, &namespace).await?;
    }
    if phase == RestorePhase::Waiting && object.spec.wait_for_workloads {
        let label = format!("{RESTORE_LABEL}={}", object.name_any());
        seen.workloads = workloads::progress(&restorer(ctx, &namespace)?, &namespace, Some(&label)).await?;
    }
    Ok(seen)
}

fn restorer(ctx: &Ctx, namespace: &str) -> Result<kube::Client, kube::Error> {
    ctx.acting_as(namespace, names::RESTORER)
}

/// Where the point is read, and whether it may be. That a vault does not answer is an observation.
async fn source(ctx: &Ctx, seen: &Observed, namespace: &str) -> Result<Source, Error> {
    if let Some(words) = foreign(ctx, &seen.system, namespace) {
        return Ok(Source::Foreign(words));
    }
    if let Some(backup) = &seen.restore.spec.velero {
        return Ok(backup_of_velero(ctx, backup, namespace)
            .await
            .unwrap_or_else(|error| Source::Unreadable(error.to_string())));
    }
    let centres = Api::<Centre>::all(ctx.client.clone()).list(&ListParams::default()).await?;
    if !centres.iter().any(|c| c.name_any() == seen.centre) {
        return Ok(Source::UnknownCentre(centres.iter().map(ResourceExt::name_any).collect()));
    }
    Ok(read(ctx, seen).await.unwrap_or_else(|error| Source::Unreadable(error.to_string())))
}

async fn read(ctx: &Ctx, seen: &Observed) -> Result<Source, Error> {
    let (system, point) = (&seen.system, seen.restore.spec.point());
    let (_, vault) = ctx.stores.vault_at(&seen.centre, system).await?;
    let manifest: Option<PointManifest> = vault.read_json(&layout::manifest(system, point)).await?;
    let Some(manifest) = manifest else { return Ok(Source::Missing) };
    manifest.check().map_err(Error::Other)?;
    // The name is a department's word: what lies under it has to say the same.
    if manifest.system != *system || manifest.point != point {
        return Ok(Source::Missing);
    }
    vault.of_point(&manifest)?;
    let record: Option<CopyRecord> = vault.read_json(&layout::record(system, point)).await?;
    Ok(match record {
        Some(record) if record.state == CopyState::Verified && record.root_digest == manifest.root_digest => {
            Source::Ready(Box::new(manifest))
        }
        Some(record) => Source::Unproven(record.state, record.message),
        None => Source::Unproven(CopyState::Pending, None),
    })
}

/// The bucket has to say that it is this namespace's: the operator could read every bucket of the store.
async fn backup_of_velero(ctx: &Ctx, backup: &VeleroBackup, namespace: &str) -> Result<Source, Error> {
    let own = ctx.stores.centre(&ctx.centre).await?;
    let store = ctx.stores.open(&own).await?;
    match Stores::owned_bucket(&store, &backup.bucket, namespace).await {
        Ok(()) => {}
        Err(StoreAccess::Foreign(words)) => return Ok(Source::NoBackup(words)),
        Err(StoreAccess::Store(error)) if !error.is_transient() => {
            return Ok(Source::NoBackup(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(match store.head(&backup.bucket, &backup.key()).await? {
        Some(found) => Source::Tarball(found.size),
        None => Source::NoBackup(format!("bucket {:?} has no {}", backup.bucket, backup.key())),
    })
}

/// Why a system is not this namespace's department's; its own always is.
pub fn foreign(ctx: &Ctx, system: &str, namespace: &str) -> Option<String> {
    if system == namespace {
        return None;
    }
    let tenancy = ctx.tenancy.read();
    let (own, other) = (tenancy.department_of(namespace), tenancy.department_of(system));
    (own.is_none() || own != other).then(|| {
        format!("{system} is no namespace of the same department as {namespace} in this cluster; ask for it in {system} itself")
    })
}

/// The volumes that the status lists.
async fn volumes(
    ctx: &Ctx,
    object: &Restore,
    namespace: &str,
) -> Result<BTreeMap<String, VolumeSeen>, Error> {
    let listed = object.status.as_ref().map(|s| s.volumes.clone()).unwrap_or_default();
    if listed.is_empty() {
        return Ok(BTreeMap::new());
    }
    let claims = ctx.api::<PersistentVolumeClaim>(namespace).list(&ListParams::default()).await?.items;
    let pods = ctx.api::<Pod>(namespace).list(&ListParams::default()).await?.items;
    let of_restore = ListParams::default().labels(&format!("{RESTORE_LABEL}={}", object.name_any()));
    let jobs = ctx.api::<Job>(namespace).list(&of_restore).await?.items;
    let mut seen = BTreeMap::new();
    for volume in listed {
        let found = claims.iter().find(|c| c.name_any() == volume.name);
        let claim = match found.map(|c| c.annotations().get(RESTORE_UID)) {
            None => Claim::Absent,
            Some(mark) if mark.is_some() && mark == object.uid().as_ref() => Claim::Own,
            Some(_) => Claim::Foreign,
        };
        let name = names::mover(object, &volume.name);
        let mover = if jobs.iter().any(|j| j.name_any() == name) {
            mover_job::progress(ctx, namespace, &name).await?
        } else {
            Progress::Absent
        };
        let used_by = pods.iter().filter(|pod| uses(pod, &volume.name)).map(ResourceExt::name_any).collect();
        seen.insert(volume.name, VolumeSeen { claim, used_by, mover });
    }
    Ok(seen)
}

/// Whether a pod that has not ended has the claim, our movers left aside.
fn uses(pod: &Pod, claim: &str) -> bool {
    let ended = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    if matches!(ended, Some("Succeeded" | "Failed")) || pod.labels().contains_key("tripod.cloud/mover") {
        return false;
    }
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_ref());
    volumes
        .into_iter()
        .flatten()
        .any(|v| v.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == claim))
}
