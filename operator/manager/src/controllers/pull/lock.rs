//! Locks what a proof has found whole, where the centre says for how long; and brings back what was deleted or covered in spite
//! of that. Whoever deletes with the store's own credentials only covers what is locked.
//!
//! Indexes of repositories and records of copies are not locked: both are made anew from what is.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tripod_crds::Centre;
use tripod_crds::recovery_point::CopyState;
use tripod_domain::manifest::PointManifest;
use tripod_domain::pull::{PointKey, lock_until};
use tripod_replication::retain::Keeper;
use tripod_replication::{Progress, StoreError, addressed, replica};

use super::copy::place;
use super::verify::Damage;
use super::words::{announce, manifest_of, note, now, record_of, tell};
use crate::context::{Ctx, Error};
use crate::stores::replica_at;
use crate::vault::{SystemVault, layout};

/// The vault as a place that keeps versions.
pub(super) fn keeper(vault: &SystemVault) -> Keeper<'_> {
    Keeper { store: &vault.store, bucket: &vault.bucket }
}

/// Locks every byte that the point needs: `files` of the repository, documents, and versions of objects of its buckets.
/// Returns until when.
///
/// # Errors
/// The first call that failed for good.
pub(super) async fn lock(
    centre: &Centre,
    vault: &SystemVault,
    manifest: &PointManifest,
    files: &BTreeSet<String>,
    days: u32,
) -> Result<Timestamp, StoreError> {
    let until = lock_until(days, now());
    let (system, point) = (&manifest.system, &manifest.point);
    let repository = vault.repository_path();
    let mut keys: Vec<String> = files.iter().map(|file| format!("{repository}/{file}")).collect();
    let inventories = manifest.buckets.keys().map(|bucket| layout::inventory(system, point, bucket));
    keys.extend(inventories);
    // Listed: a point of buckets alone needs no repository.
    for prefix in
        [format!("{repository}/config"), format!("{repository}/keys/"), layout::point(system, point)]
    {
        let listed = vault.store.list(&vault.bucket, &prefix).await?;
        keys.extend(listed.into_iter().map(|listed| listed.key));
    }
    let mut made = keeper(vault).lock(keys.into_iter().map(|key| (key, None)), until).await?;
    for bucket in manifest.buckets.keys() {
        let text = vault.store.get(&vault.bucket, &layout::inventory(system, point, bucket)).await?;
        let here = replica_at(centre, vault.store.clone(), system, bucket);
        let versions = replica::decode(&text)?.into_iter();
        let versions = versions.map(|v| (format!("{}{}", here.prefix, v.key), v.version_id));
        made += Keeper { store: &here.store, bucket: &here.bucket }.lock(versions, until).await?;
    }
    tracing::info!(centre = centre.name_any(), point, %until, made, "locked");
    Ok(until)
}

/// Of these points, those of which a lock protects what was deleted.
pub(super) async fn lost(
    keeper: Keeper<'_>,
    candidates: impl Iterator<Item = &PointKey>,
) -> Result<Vec<PointKey>, Error> {
    let mut lost = Vec::new();
    for key in candidates {
        let manifest = layout::manifest(&key.system, &key.point);
        if keeper.is_deleted_in_spite(&manifest, now()).await? {
            lost.push(key.clone());
        }
    }
    Ok(lost)
}

/// Brings back what a point is known by here, and notes it as copied: its proof tells what else has to come back.
pub(super) async fn recall_point(ctx: &Ctx, centre: &Centre, key: &PointKey) -> Result<(), Error> {
    let vault = ctx.stores.vault(centre, &key.system).await?;
    recall_documents(&vault, key).await?;
    let manifest = manifest_of(&vault, key).await?;
    note(&vault, &record_of(centre, &manifest, CopyState::Copied, None, None)).await?;
    announce(ctx, &vault, &manifest).await?;
    let message = format!(
        "it was deleted from the vault at {} though it is locked, and brought back; see who had the store's credentials",
        centre.name_any()
    );
    ctx.metrics.recalled(&centre.name_any(), now().as_second());
    tell(ctx, key, true, "Recalled", &message).await;
    Ok(())
}

/// Manifest, parts and inventories.
pub(super) async fn recall_documents(vault: &SystemVault, key: &PointKey) -> Result<(), Error> {
    for folder in [layout::point(&key.system, &key.point), layout::copy(&key.system, &key.point)] {
        keeper(vault).recall(&folder, |_, deleted| deleted, now()).await?;
    }
    Ok(())
}

/// Brings back the manifest, where a lock protects one; whether there is one now.
pub(super) async fn recall_manifest(vault: &SystemVault, key: &PointKey) -> Result<bool, Error> {
    let manifest = layout::manifest(&key.system, &key.point);
    let recalled = keeper(vault).recall(&manifest, |key, _| key == manifest, now()).await?;
    Ok(!recalled.is_empty())
}

/// Brings back what a proof found missing or damaged: all that was deleted, where it could not even be read what is needed. How
/// many files came.
pub(super) async fn recall_damage(
    vault: &SystemVault,
    manifest: &PointManifest,
    damage: &Damage,
) -> Result<usize, Error> {
    let (system, point) = (&manifest.system, &manifest.point);
    let repository = vault.repository_path();
    let files = damage.files.iter().map(|file| format!("{repository}/{file}"));
    let inventories = damage.inventories.iter().map(|bucket| layout::inventory(system, point, bucket));
    let mut damaged: BTreeSet<String> = files.chain(inventories).collect();
    if damage.unreadable.is_some() {
        // Nobody can say which files are needed: each is looked at.
        let all = addressed::verify(&place(vault), "", None, &Progress::default()).await?;
        damaged.extend(all.damaged.iter().map(|file| format!("{repository}/{file}")));
    }
    let is_wanted = |key: &str, deleted| damaged.contains(key) || (deleted && damage.unreadable.is_some());
    let mut recalled = 0;
    for folder in [format!("{repository}/"), layout::copy(system, point)] {
        recalled += keeper(vault).recall(&folder, is_wanted, now()).await?.len();
    }
    Ok(recalled)
}

/// What has not been of use for as long as a lock lasts goes for good.
pub(super) async fn purge(centre: &Centre, vault: &SystemVault, days: u32) -> Result<(), Error> {
    let before = now() - SignedDuration::from_hours(24 * i64::from(days));
    for folder in [layout::system(&vault.system), layout::records(&vault.system)] {
        let locked = keeper(vault).purge(&folder, before).await?;
        if locked > 0 {
            tracing::info!(
                centre = centre.name_any(),
                folder,
                locked,
                "versions are out of use, and locked still"
            );
        }
    }
    Ok(())
}
