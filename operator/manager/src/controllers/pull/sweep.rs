//! Deletes what no point of a system needs any more: snapshots, packs, and versions of the objects of its buckets.
//!
//! What is needed is read first, all of it; one manifest or inventory that can't be read, and nothing goes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kube::ResourceExt;
use tripod_crds::Centre;
use tripod_crds::recovery_point::PointPhase;
use tripod_domain::manifest::{Part, PointManifest, Tombstone};
use tripod_domain::pull::{Observed, PointKey, is_due};
use tripod_replication::{Progress, StoreError, replica, sweep as versions};

use super::lock;
use super::uses::{self, Uses};
use super::words::{manifest_of, now};
use crate::context::{Ctx, Error};
use crate::stores::replica_at;
use crate::vault::prune::Removal;
use crate::vault::{SystemVault, layout};

/// What the remaining points of a system need.
#[derive(Default)]
struct Needed {
    /// By the key of their repository.
    snapshots: BTreeMap<String, BTreeSet<String>>,
    /// By bucket.
    versions: BTreeMap<String, versions::Needed>,
}

impl Needed {
    fn add<'p>(&mut self, parts: impl IntoIterator<Item = &'p Part>) {
        for part in parts {
            self.snapshots.entry(part.key.clone()).or_default().insert(part.snapshot.clone());
        }
    }
}

/// Has the system's part of the vault alone while it works. It can be cut off anywhere: what is left over is found again.
pub(super) async fn sweep(ctx: &Ctx, centre: &Centre, seen: &Observed, system: &str) -> Result<(), Error> {
    let vault = ctx.stores.vault(centre, system).await?;
    let _alone = vault.sweeping().await;
    // What has begun since it was decided.
    let users = uses::read(ctx, centre).await?;
    if let Some(user) = users.busy.get(system) {
        tracing::info!(system, user, "nothing is swept while the system is in use");
        return Ok(());
    }
    let of_system: Vec<&Tombstone> = seen.tombstones.iter().filter(|t| t.manifest.system == system).collect();
    let is_due = |tombstone: &Tombstone| is_due(tombstone, seen.prune_delay, now());
    let due: Vec<&Tombstone> = of_system.iter().copied().filter(|t| is_due(t)).collect();
    // What was marked has lost its snapshots and inventories already.
    let is_early = |tombstone: &Tombstone| !is_due(tombstone) && tombstone.marked_at.is_none();
    let (early, doomed): (Vec<&Tombstone>, Vec<&Tombstone>) =
        of_system.into_iter().partition(|t| is_early(t));
    let doomed: BTreeSet<&str> = doomed.iter().map(|t| t.manifest.point.as_str()).collect();
    let needed = needed(&vault, centre, &users, &doomed, &early).await.map_err(|error| {
        Error::Other(format!("nothing of {system} is swept, since it is not known what is needed: {error}"))
    })?;
    for tombstone in &due {
        let point = &tombstone.manifest.point;
        // What a removal that was cut off has left.
        vault.store.delete_prefix(&vault.bucket, &layout::point(system, point)).await?;
        vault.store.delete_prefix(&vault.bucket, &layout::copy(system, point)).await?;
    }
    // Where points are pulled nobody else writes into the repository. Where they are made, packs are marked first.
    let at_once = centre.spec.pull_from.is_some();
    let removal = if at_once { Removal::AtOnce } else { Removal::Marked(seen.prune_delay) };
    let snapshots = sweep_repositories(&vault, needed.snapshots, removal).await?;
    let objects = sweep_buckets(centre, &vault, &needed.versions, seen.prune_delay).await?;
    if let Some(days) = centre.locks_for_days() {
        lock::purge(centre, &vault, days).await?;
    }
    tracing::info!(centre = centre.name_any(), system, snapshots, objects, points = due.len(), "swept");
    for tombstone in due {
        bury(&vault, tombstone, at_once).await?;
    }
    forget(&vault, seen).await
}

async fn needed(
    vault: &SystemVault,
    centre: &Centre,
    users: &Uses,
    doomed: &BTreeSet<&str>,
    early: &[&Tombstone],
) -> Result<Needed, Error> {
    let system = &vault.system;
    let mut needed = Needed::default();
    let mut inventories: BTreeSet<String> = BTreeSet::new();
    let failed = |point: &str| {
        users.points.iter().any(|p| {
            p.namespace().as_ref() == Some(system)
                && p.name_any() == point
                && p.spec.origin == centre.name_any()
                && p.status.as_ref().and_then(|s| s.phase) == Some(PointPhase::Failed)
        })
    };
    for point in vault.store.list_directories(&vault.bucket, &layout::points(system)).await? {
        if doomed.contains(point.as_str()) || failed(&point) {
            continue;
        }
        let key = PointKey { system: system.clone(), point };
        if vault.store.head(&vault.bucket, &layout::manifest(system, &key.point)).await?.is_none() {
            needed.add(&parts(vault, &key.point).await?);
            continue;
        }
        let manifest = manifest_of(vault, &key).await?;
        needed.add(manifest.parts());
        inventories.extend(inventories_of(&manifest));
    }
    for tombstone in early {
        needed.add(tombstone.manifest.parts());
        inventories.extend(inventories_of(&tombstone.manifest));
    }
    // Every inventory that is here counts, of whatever point; and those of whole points have to be here.
    for listed in vault.store.list(&vault.bucket, &layout::records(system)).await? {
        let Some((point, bucket)) = inventory_key(system, &listed.key) else { continue };
        inventories.remove(&listed.key);
        if !doomed.contains(point) {
            let text = vault.store.get(&vault.bucket, &listed.key).await?;
            needed.versions.entry(bucket.to_owned()).or_default().add(replica::decode(&text)?);
        }
    }
    match inventories.first() {
        Some(missing) => Err(Error::Other(format!("{missing} is gone"))),
        None => Ok(needed),
    }
}

fn inventories_of(manifest: &PointManifest) -> impl Iterator<Item = String> {
    manifest.buckets.keys().map(|bucket| layout::inventory(&manifest.system, &manifest.point, bucket))
}

/// Point and bucket.
fn inventory_key<'k>(system: &str, key: &'k str) -> Option<(&'k str, &'k str)> {
    let (point, rest) = key.strip_prefix(&layout::records(system))?.split_once('/')?;
    Some((point, rest.strip_prefix("inventories/")?.strip_suffix(".ndjson")?))
}

/// The parts of a point that is not whole.
async fn parts(vault: &SystemVault, point: &str) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let folder = layout::point(&vault.system, point);
    for listed in vault.store.list(&vault.bucket, &folder).await? {
        if listed.key.starts_with(&format!("{folder}parts/buckets/")) {
            continue;
        }
        parts.extend(vault.read_json::<Part>(&listed.key).await?);
    }
    Ok(parts)
}

/// Snapshots that went. A repository of a key that is out of use goes with its last pack.
async fn sweep_repositories(
    vault: &SystemVault,
    mut needed: BTreeMap<String, BTreeSet<String>>,
    removal: Removal,
) -> Result<usize, Error> {
    let mut went = 0;
    for key in vault.repositories().await? {
        let needed = needed.remove(&key).unwrap_or_default();
        let repository = match vault.made_with(&key) {
            Ok(repository) => repository,
            // Its points can't be read here either: their Centre says so.
            Err(error) => {
                tracing::warn!(system = vault.system, %error, "a repository is not swept");
                continue;
            }
        };
        let is_out_of_use = needed.is_empty() && !repository.is_current();
        went += repository.delete_other_snapshots(needed).await?;
        repository.prune(removal).await?;
        let data = format!("{}/data/", repository.repository_path());
        if is_out_of_use && vault.store.list(&vault.bucket, &data).await?.is_empty() {
            repository.delete_repository().await?;
            tracing::info!(system = vault.system, key, "the last of a master key is gone");
        }
    }
    match needed.first_key_value() {
        Some((key, _)) => Err(Error::Other(format!("the repository of master key {key} is gone"))),
        None => Ok(went),
    }
}

/// Bytes that went.
async fn sweep_buckets(
    centre: &Centre,
    vault: &SystemVault,
    needed: &BTreeMap<String, versions::Needed>,
    delay: SignedDuration,
) -> Result<u64, Error> {
    let progress = Progress::default();
    // By the store's clock, which may be ahead of this one; the run that could be under way was looked for.
    let before = now().checked_sub(delay).unwrap_or_default();
    let folder = format!("{}/", vault.system);
    let buckets = match vault.store.list_directories(&centre.spec.store.replica_bucket(), &folder).await {
        Err(StoreError::NoSuchBucket { .. }) => Vec::new(),
        result => result?,
    };
    for bucket in buckets {
        let replica = replica_at(centre, vault.store.clone(), &vault.system, &bucket);
        let none = versions::Needed::default();
        let swept = versions::sweep(&replica, needed.get(&bucket).unwrap_or(&none), before, &progress).await;
        match swept {
            Ok(0) | Err(StoreError::Unsupported { .. }) => {}
            Ok(locked) => {
                tracing::info!(system = vault.system, bucket, locked, "versions are locked and stay");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(progress.so_far().1)
}

/// At once where its data is gone; else once what was marked had its time.
async fn bury(vault: &SystemVault, tombstone: &Tombstone, at_once: bool) -> Result<(), Error> {
    let (system, point) = (&vault.system, &tombstone.manifest.point);
    let at = layout::tombstone(system, point);
    if at_once || tombstone.marked_at.is_some() {
        vault.store.put(&vault.bucket, &layout::gone(system, point), bytes::Bytes::new()).await?;
        vault.store.delete(&vault.bucket, &at).await?;
    } else {
        vault.write_json(&at, &Tombstone { marked_at: Some(now()), ..tombstone.clone() }).await?;
    }
    Ok(())
}

/// What the source does not have any more can't be copied again.
async fn forget(vault: &SystemVault, seen: &Observed) -> Result<(), Error> {
    let Ok(offered) = &seen.offered else { return Ok(()) };
    for key in &seen.gone {
        if key.system != vault.system || offered.contains(key) {
            continue;
        }
        vault.store.delete(&vault.bucket, &layout::gone(&key.system, &key.point)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::memory_store::{BucketOptions, MemoryStore, Options};
    use crate::vault::{Document, Keyring, MasterKey, documents};
    use tripod_replication::Store;

    /// The vault as an operator sees it that is given these keys, the current one first.
    fn vault(memory: &MemoryStore, keys: &[u8]) -> SystemVault {
        let mut keys = keys.iter().map(|byte| MasterKey::new(&[*byte; 32]).unwrap());
        let ring = Keyring::new(keys.next().unwrap(), keys.collect());
        SystemVault::new(Store::connect(&memory.config()).unwrap(), "vault".into(), "tax".into(), ring)
    }

    async fn archive(vault: &SystemVault) -> Part {
        vault.ensure_repository().await.unwrap();
        let (feed, stream) = documents();
        let sending = async {
            let document = Document { path: "desk".into(), body: b"open".to_vec() };
            feed.send(document).await.unwrap();
            feed.finish().await.unwrap();
        };
        tokio::join!(vault.archive_documents("p", stream), sending).0.unwrap()
    }

    #[tokio::test]
    async fn the_repository_of_an_old_key_goes_with_its_last_point_and_no_sooner() {
        let memory = MemoryStore::start(Options::default()).await.unwrap();
        memory.create_bucket("vault", BucketOptions::default());
        let old = archive(&vault(&memory, &[7])).await;
        let both = vault(&memory, &[8, 7]);
        let new = archive(&both).await;
        assert_ne!(old.key, new.key);
        let sweep = async |vault: &SystemVault, parts: &[&Part]| {
            let mut needed = Needed::default();
            needed.add(parts.iter().copied());
            sweep_repositories(vault, needed.snapshots, Removal::AtOnce).await
        };
        let reads = async |part: &Part| {
            both.made_with(&part.key)
                .unwrap()
                .read_documents(&part.snapshot)
                .await
                .is_ok_and(|read| read.len() == 1)
        };
        assert_eq!(sweep(&both, &[&old, &new]).await.unwrap(), 0);
        assert!(reads(&old).await && reads(&new).await);
        // Who is not given the key leaves alone what it opens.
        assert_eq!(sweep(&vault(&memory, &[8]), &[&new]).await.unwrap(), 0);
        assert!(reads(&old).await);
        assert_eq!(sweep(&both, &[&new]).await.unwrap(), 1);
        let left = memory.current("vault").into_keys().filter(|key| key.contains(&old.key)).count();
        assert_eq!((left, reads(&new).await), (0, true));
        assert!(sweep(&both, &[&old, &new]).await.unwrap_err().to_string().contains(&old.key));
        // The current one stays, also when nothing needs it.
        sweep(&both, &[]).await.unwrap();
        assert_eq!(both.repositories().await.unwrap(), [new.key]);
    }

    #[test]
    fn an_inventory_says_of_which_point_and_bucket_it_is() {
        let key = layout::inventory("tax", "daily-1", "files.v2");
        assert_eq!(inventory_key("tax", &key), Some(("daily-1", "files.v2")));
        assert_eq!(inventory_key("tax", &layout::record("tax", "daily-1")), None);
    }
}
