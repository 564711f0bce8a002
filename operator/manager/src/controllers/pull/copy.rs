//! Copies one point from the vault of another centre.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use tripod_crds::Centre;
use tripod_domain::manifest::PointManifest;
use tripod_domain::pull::PointKey;
use tripod_replication::Progress;
use tripod_replication::addressed::{self, CopyTally, Place};
use tripod_replication::replica;

use super::words::manifest_of;
use crate::context::{Ctx, Error};
use crate::stores::replica_at;
use crate::vault::{SystemVault, layout};

/// Packs before their index, before snapshots, before the manifest: whenever this is cut off, nothing that is here points to
/// something that is not. Only what the point needs comes; the index is made here, of the packs that came: the source's
/// would name packs that this centre has let go of.
pub(super) async fn copy(
    ctx: &Ctx,
    centre: &Centre,
    from: &str,
    vault: &SystemVault,
    key: &PointKey,
) -> Result<PointManifest, Error> {
    let source_centre = ctx.stores.centre(from).await?;
    let source = ctx.stores.vault(&source_centre, &key.system).await?;
    let manifest = manifest_of(&source, key).await?;
    let (source, vault) = (source.of_point(&manifest)?, &vault.of_point(&manifest)?);
    let progress = Progress::default();
    copy_repository(from, &source, vault, &manifest, &progress).await?;
    for bucket in manifest.buckets.keys() {
        copy_bucket((&source_centre, &source), (centre, vault), &key.point, bucket, &progress).await?;
    }
    for name in source.store.list(&source.bucket, &layout::point(&key.system, &key.point)).await? {
        if !name.key.ends_with("/manifest.json") {
            let body = source.store.get(&source.bucket, &name.key).await?;
            vault.store.put(&vault.bucket, &name.key, body).await?;
        }
    }
    vault.write_json(&layout::manifest(&key.system, &key.point), &manifest).await?;
    ctx.metrics.moved(&centre.name_any(), "copy", progress.so_far().1);
    Ok(manifest)
}

pub(super) async fn copy_repository(
    from: &str,
    source: &SystemVault,
    vault: &SystemVault,
    manifest: &PointManifest,
    progress: &Progress,
) -> Result<(), Error> {
    let (there, here) = (place(source), place(vault));
    for folder in ["keys/", "config"] {
        let tally = addressed::copy_missing(&there, &here, folder, &BTreeSet::new(), progress).await?;
        whole(from, &tally)?;
    }
    let snapshots = manifest.snapshots();
    if snapshots.is_empty() {
        return Ok(());
    }
    let packs = source.packs_of(&snapshots).await?;
    let data = packs.iter().map(|pack| pack_file(pack)).collect();
    let files = [("data/", data), ("snapshots/", snapshots.iter().map(|id| snapshot_file(id)).collect())];
    for (folder, these) in files {
        let tally = addressed::copy_these(&there, &here, folder, &these, &BTreeSet::new(), progress).await?;
        tracing::info!(
            point = manifest.point,
            from,
            folder,
            tally.copied,
            tally.skipped,
            tally.bytes,
            "pulled"
        );
        whole(from, &tally)?;
        if folder == "data/" {
            vault.reindex(false, packs.clone()).await?;
        }
    }
    Ok(())
}

fn whole(from: &str, tally: &CopyTally) -> Result<(), Error> {
    match (tally.damaged.first(), tally.missing.first()) {
        (None, None) => Ok(()),
        (Some(file), _) => Err(Error::Other(format!(
            "{from} has {} damaged files, for instance {file}",
            tally.damaged.len()
        ))),
        (None, Some(file)) => {
            Err(Error::Other(format!("{from} lacks {} files, for instance {file}", tally.missing.len())))
        }
    }
}

/// Where a pack lies in a repository.
pub(super) fn pack_file(pack: &str) -> String {
    format!("data/{}/{pack}", pack.get(..2).unwrap_or_default())
}

/// Where a snapshot lies in a repository.
pub(super) fn snapshot_file(id: &str) -> String {
    format!("snapshots/{id}")
}

/// The repository as a place of files.
pub(super) fn place(vault: &SystemVault) -> Place {
    let prefix = format!("{}/", vault.repository_path());
    Place { store: vault.store.clone(), bucket: vault.bucket.clone(), prefix }
}

/// Brings the versions of one bucket that the point needs, and writes down what is here.
pub(super) async fn copy_bucket(
    (from, source): (&Centre, &SystemVault),
    (centre, vault): (&Centre, &SystemVault),
    point: &str,
    bucket: &str,
    progress: &Progress,
) -> Result<(), Error> {
    let inventory = layout::inventory(&vault.system, point, bucket);
    let versions = replica::decode(&source.store.get(&source.bucket, &inventory).await?)?;
    let there = replica_at(from, source.store.clone(), &vault.system, bucket);
    let here = replica_at(centre, vault.store.clone(), &vault.system, bucket);
    let known = held(vault, bucket).await?;
    let tally = replica::copy(&there, &versions, &here, &known, progress).await;
    tracing::info!(point, bucket, tally.copied, tally.skipped, tally.bytes, "pulled a bucket");
    // What came is noted even where some failed: it is not fetched a second time.
    vault.store.put(&vault.bucket, &inventory, replica::encode(&tally.versions)).await?;
    match tally.failed.into_iter().next() {
        Some((_, error)) => Err(error.into()),
        None => Ok(()),
    }
}

/// What this centre holds of a bucket, from the inventories of all its points.
async fn held(
    vault: &SystemVault,
    bucket: &str,
) -> Result<BTreeMap<(String, String), replica::Version>, Error> {
    let mut known = BTreeMap::new();
    for point in vault.store.list_directories(&vault.bucket, &layout::records(&vault.system)).await? {
        match vault.store.get(&vault.bucket, &layout::inventory(&vault.system, &point, bucket)).await {
            // One that is damaged makes nothing known.
            Ok(text) => known.extend(
                replica::decode(&text)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|v| ((v.key.clone(), v.etag.clone()), v)),
            ),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(known)
}
