//! Fills a department's bucket in the store of this centre with what a point has of it, and reads all of it back.

use std::collections::BTreeMap;

use kube::ResourceExt;
use tripod_crds::restore::{ExistingPolicy, PartState};
use tripod_domain::manifest::PointManifest;
use tripod_domain::restore::Observed;
use tripod_replication::Progress as Counter;
use tripod_replication::materialise::materialise;
use tripod_replication::replica::{self, Replica, Version};

use crate::context::Ctx;
use crate::stores::{SYSTEM_TAG, Stores, replica_at};
use crate::vault::VaultError;

/// What became of it. A store that fails is tried again; what is wrong in itself is not.
pub(super) async fn fill(
    ctx: &Ctx,
    seen: &Observed,
    manifest: &PointManifest,
    bucket: &str,
) -> (String, PartState, Option<String>) {
    match restore(ctx, seen, manifest, bucket).await {
        Ok(message) => (bucket.to_owned(), PartState::Restored, Some(message)),
        Err(Stop::Final(message)) => (bucket.to_owned(), PartState::Failed, Some(message)),
        Err(Stop::ForNow(message)) => {
            (bucket.to_owned(), PartState::Filling, Some(format!("will be tried again: {message}")))
        }
    }
}

enum Stop {
    Final(String),
    ForNow(String),
}

impl From<tripod_replication::StoreError> for Stop {
    fn from(error: tripod_replication::StoreError) -> Self {
        if error.is_transient() { Self::ForNow(error.to_string()) } else { Self::Final(error.to_string()) }
    }
}

impl From<VaultError> for Stop {
    fn from(error: VaultError) -> Self {
        if error.is_transient() { Self::ForNow(error.to_string()) } else { Self::Final(error.to_string()) }
    }
}

async fn restore(ctx: &Ctx, seen: &Observed, manifest: &PointManifest, bucket: &str) -> Result<String, Stop> {
    let for_now = |error: crate::stores::StoreAccess| Stop::ForNow(error.to_string());
    let system = &manifest.system;
    let (from_centre, vault) = ctx.stores.vault_at(&seen.centre, system).await.map_err(for_now)?;
    let own = ctx.stores.centre(&ctx.centre).await.map_err(for_now)?;
    let store = ctx.stores.open(&own).await.map_err(for_now)?;
    let owner = seen.restore.namespace().unwrap_or_default();
    if store.has_bucket(bucket).await? {
        Stores::owned_bucket(&store, bucket, &owner).await.map_err(|e| Stop::Final(e.to_string()))?;
    } else {
        // Nobody's yet: it becomes the system's before anything is in it.
        store.ensure_bucket(bucket, false).await?;
        store.put_bucket_tags(bucket, &BTreeMap::from([(SYSTEM_TAG.to_owned(), owner)])).await?;
    }
    let held = vault.inventory(manifest, bucket).await?;
    let versions = held.ok_or_else(|| Stop::Final(format!("the point has no bucket {bucket}")))?;
    let there: BTreeMap<String, (u64, String)> =
        store.list(bucket, "").await?.into_iter().map(|o| (o.key, (o.size, o.etag))).collect();
    let (wanted, same, kept) = choose(versions, &there, seen.restore.spec.existing);
    if seen.restore.spec.existing == ExistingPolicy::Fail && kept > 0 {
        let words = format!("{kept} objects are there already and not as in the point (spec.existing: Fail)");
        return Err(Stop::Final(words));
    }
    let kept_at = replica_at(&from_centre, vault.store.clone(), system, bucket);
    let counter = Counter::default();
    let here = Replica { store: store.clone(), bucket: bucket.to_owned(), prefix: String::new() };
    if from_centre.name_any() == own.name_any() {
        materialise(&kept_at, &wanted, bucket, &counter).await?;
    } else {
        let tally = replica::copy(&kept_at, &wanted, &here, &BTreeMap::new(), &counter).await;
        if let Some((_, error)) = tally.failed.into_iter().next() {
            return Err(error.into());
        }
    }
    ctx.metrics.moved(&own.name_any(), "restore", counter.so_far().1);
    // What counts is what is read from the bucket now.
    let expected: Vec<Version> = wanted.into_iter().map(|v| Version { version_id: None, ..v }).collect();
    if let Some((key, finding)) = replica::verify(&here, &expected, &counter).await?.first() {
        return Err(Stop::Final(format!("{key}: {finding}")));
    }
    Ok(format!(
        "{} objects restored and read back, {same} were as in the point, {kept} stay as they are",
        expected.len()
    ))
}

/// What is to be written; how many are as in the point, and how many are otherwise and stay.
fn choose(
    versions: Vec<Version>,
    there: &BTreeMap<String, (u64, String)>,
    policy: ExistingPolicy,
) -> (Vec<Version>, usize, usize) {
    let (mut same, mut kept) = (0, 0);
    let wanted = versions.into_iter().filter(|version| match there.get(&version.key) {
        None => true,
        // A replica was written from the original, part by part as it was: its ETag is the same where stores make them alike.
        Some((size, etag)) if *size == version.size && *etag == version.etag => {
            same += 1;
            false
        }
        Some(_) if policy == ExistingPolicy::Update => true,
        Some(_) => {
            kept += 1;
            false
        }
    });
    (wanted.collect(), same, kept)
}
