//! Mends one point: what is damaged or missing here is fetched again from any other centre that has the same bytes. What is
//! fetched is what its name or its record says it is, or it is not taken: damage does not travel.

use std::collections::BTreeSet;

use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::Centre;
use tripod_crds::centre::CentreRole;
use tripod_crds::recovery_point::CopyState;
use tripod_domain::manifest::{CopyRecord, PointManifest};
use tripod_domain::pull::PointKey;
use tripod_replication::Progress;
use tripod_replication::addressed;
use tripod_replication::replica::{self, Version};

use super::copy::{copy_bucket, pack_file, place, snapshot_file};
use super::lock;
use super::verify::{Damage, verify};
use super::words::{announce, manifest_of, note, now, record_of, tell};
use crate::context::{Ctx, Error};
use crate::stores::replica_at;
use crate::vault::{SystemVault, layout};

/// So often a centre helps itself: what comes back may itself be what covered something, and show what else is damaged.
const ROUNDS: usize = 5;
/// Where that was had from, for people.
const OWN_VERSIONS: &str = "its own locked versions";

/// Where a point is mended.
struct Here<'a> {
    ctx: &'a Ctx,
    centre: &'a Centre,
    vault: &'a SystemVault,
}

/// Asks one centre after the other until the point is whole, and notes what came of it.
pub(super) async fn mend(
    ctx: &Ctx,
    centre: &Centre,
    vault: &SystemVault,
    before: &CopyRecord,
) -> Result<(), Error> {
    let here = Here { ctx, centre, vault };
    let key = PointKey { system: before.system.clone(), point: before.point.clone() };
    let peers = peers(ctx, centre).await?;
    let (mut helped, mut asked) = (Vec::new(), Vec::new());
    let manifest = match manifest_of(vault, &key).await {
        Ok(manifest) => manifest,
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(error) => match here.fetch_manifest(before, &peers).await? {
            Some((manifest, name)) => {
                helped.push(name);
                manifest
            }
            None => return here.given_up(before, format!("{error}; no other centre has its manifest")).await,
        },
    };
    let repository = vault.of_point(&manifest)?;
    let here = Here { ctx, centre, vault: &repository };
    let mut damage = here.verify(&manifest).await?;
    helped.extend(here.help_itself(&manifest, &mut damage).await?);
    helped.dedup();
    for peer in &peers {
        if damage.is_none() {
            break;
        }
        let fetched = here.fetch_from(peer, &manifest, &damage).await;
        let left = here.verify(&manifest).await?;
        if left != damage {
            helped.push(peer.name_any());
        }
        asked.push(match fetched {
            Ok(()) if left != damage => format!("{} had some of it", peer.name_any()),
            Ok(()) => format!("{} does not have it whole", peer.name_any()),
            Err(error) => format!("{}: {error}", peer.name_any()),
        });
        damage = left;
    }
    if !damage.is_none() {
        let asked = if asked.is_empty() { "no other centre is known".to_owned() } else { asked.join("; ") };
        return here.given_up(before, format!("{}; asked: {asked}", damage.words())).await;
    }
    let from = helped.join(", ");
    let mended =
        if helped.is_empty() { before.mended.clone() } else { Some(format!("{} from {from}", now())) };
    let record = record_of(centre, &manifest, CopyState::Verified, None, Some(before));
    note(vault, &CopyRecord { mended, mending_at: Some(now()), ..record }).await?;
    announce(ctx, vault, &manifest).await?;
    if helped.is_empty() {
        // It was whole again before anybody was asked.
        return Ok(());
    }
    ctx.metrics.mended(&centre.name_any());
    let at = centre.name_any();
    tell(ctx, &key, false, "Mended", &format!("the copy at {at} was mended from {from}, and proved again"))
        .await;
    Ok(())
}

/// Those with a vault, the one that is pulled from first.
async fn peers(ctx: &Ctx, centre: &Centre) -> Result<Vec<Centre>, Error> {
    let mut peers = Api::<Centre>::all(ctx.client.clone()).list(&ListParams::default()).await?.items;
    peers.retain(|c| c.name_any() != centre.name_any() && c.spec.role != CentreRole::Witness);
    peers.sort_by_key(|c| (Some(c.name_any()) != centre.spec.pull_from, c.name_any()));
    Ok(peers)
}

impl Here<'_> {
    async fn given_up(&self, before: &CopyRecord, message: String) -> Result<(), Error> {
        let key = PointKey { system: before.system.clone(), point: before.point.clone() };
        tell(self.ctx, &key, true, "NotMended", &message).await;
        // Asked again once the next proof has failed.
        let at = before.verified_at.map_or_else(now, |verified| verified.max(now()));
        note(self.vault, &CopyRecord { message: Some(message), mending_at: Some(at), ..before.clone() }).await
    }

    async fn verify(&self, manifest: &PointManifest) -> Result<Damage, Error> {
        Ok(verify(self.ctx, self.centre, self.vault, manifest).await?.damage)
    }

    /// Before anybody else is asked: what was deleted or covered here in spite of a lock comes back, and the index is made
    /// anew, as often as that shows more. Returns what helped, for people.
    async fn help_itself(&self, manifest: &PointManifest, damage: &mut Damage) -> Result<Vec<String>, Error> {
        let mut helped = BTreeSet::new();
        for _ in 0..ROUNDS {
            let before = damage.clone();
            if self.recall(manifest, damage).await? {
                helped.insert(OWN_VERSIONS.to_owned());
                *damage = self.verify(manifest).await?;
            }
            if !damage.is_none() && mend_index(self.vault, damage).await? {
                *damage = self.verify(manifest).await?;
                if damage.is_none() {
                    helped.insert("its own packs".to_owned());
                }
            }
            if damage.is_none() || *damage == before {
                break;
            }
        }
        Ok(helped.into_iter().collect())
    }

    /// Whether anything came back. It may have been covered before it was deleted: the next proof tells.
    async fn recall(&self, manifest: &PointManifest, damage: &Damage) -> Result<bool, Error> {
        let locks = self.centre.locks_for_days().is_some() && !damage.is_none();
        if !locks || lock::recall_damage(self.vault, manifest, damage).await? == 0 {
            return Ok(false);
        }
        self.ctx.metrics.recalled(&self.centre.name_any(), now().as_second());
        Ok(true)
    }

    /// One with the digest that this centre has on record.
    async fn fetch_manifest(
        &self,
        before: &CopyRecord,
        peers: &[Centre],
    ) -> Result<Option<(PointManifest, String)>, Error> {
        let key = PointKey { system: before.system.clone(), point: before.point.clone() };
        if self.centre.locks_for_days().is_some() && lock::recall_manifest(self.vault, &key).await? {
            match manifest_of(self.vault, &key).await {
                Ok(manifest) if manifest.root_digest == before.root_digest => {
                    return Ok(Some((manifest, OWN_VERSIONS.to_owned())));
                }
                _ => {}
            }
        }
        for peer in peers {
            let Ok(there) = self.ctx.stores.vault(peer, &key.system).await else { continue };
            match manifest_of(&there, &key).await {
                Ok(manifest) if manifest.root_digest == before.root_digest => {
                    self.vault.write_json(&layout::manifest(&key.system, &key.point), &manifest).await?;
                    return Ok(Some((manifest, peer.name_any())));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    async fn fetch_from(
        &self,
        peer: &Centre,
        manifest: &PointManifest,
        damage: &Damage,
    ) -> Result<(), Error> {
        let there = self.ctx.stores.vault(peer, &manifest.system).await?.of_point(manifest)?;
        let progress = Progress::default();
        self.fetch_files(&there, manifest, damage, &progress).await?;
        for bucket in &damage.inventories {
            self.fetch_inventory((peer, &there), manifest, bucket, &progress).await?;
        }
        for (bucket, findings) in &damage.objects {
            let keys = findings.iter().map(|(key, _)| key.as_str()).collect();
            self.fetch_objects((peer, &there), manifest, bucket, &keys, &progress).await?;
        }
        self.ctx.metrics.moved(&self.centre.name_any(), "copy", progress.so_far().1);
        Ok(())
    }

    async fn fetch_files(
        &self,
        there: &SystemVault,
        manifest: &PointManifest,
        damage: &Damage,
        progress: &Progress,
    ) -> Result<(), Error> {
        let (from, to) = (place(there), place(self.vault));
        let mut bad: BTreeSet<String> =
            damage.files.iter().filter(|f| !f.starts_with("index/")).cloned().collect();
        if damage.unreadable.is_some() {
            // Which files the point needs is then known from there.
            let packs = there.packs_of(&manifest.snapshots()).await?;
            let needed = packs.iter().map(|pack| pack_file(pack));
            let needed = needed.chain(manifest.snapshots().iter().map(|id| snapshot_file(id))).collect();
            let tally = addressed::verify(&to, "", Some(&needed), progress).await?;
            bad.extend(tally.damaged.into_iter().chain(tally.missing));
        }
        if bad.is_empty() {
            return Ok(());
        }
        // Read there before anything is written here: there are stores that keep what came of a body that broke off, and
        // then what is damaged here would be lost.
        let there = addressed::verify(&from, "", Some(&bad), progress).await?;
        for file in there.damaged.iter().chain(&there.missing) {
            bad.remove(file);
        }
        addressed::copy_these(&from, &to, "", &bad, &bad, progress).await?;
        let packs = bad.iter().filter(|file| file.starts_with("data/"));
        let packs: BTreeSet<String> =
            packs.filter_map(|file| file.rsplit('/').next()).map(ToOwned::to_owned).collect();
        if !packs.is_empty() {
            self.vault.reindex(false, packs).await?;
        }
        Ok(())
    }

    async fn fetch_inventory(
        &self,
        (peer, there): (&Centre, &SystemVault),
        manifest: &PointManifest,
        bucket: &str,
        progress: &Progress,
    ) -> Result<(), Error> {
        let versions = inventory(there, manifest, bucket).await?;
        if manifest.buckets.get(bucket).is_none_or(|part| part.digest != replica::digest(&versions)) {
            return Err(Error::Other(format!(
                "its inventory of bucket {bucket} is not that of the point either"
            )));
        }
        copy_bucket((peer, there), (self.centre, self.vault), &manifest.point, bucket, progress).await
    }

    /// Objects with the content on record, as new versions; the inventory here then names those.
    async fn fetch_objects(
        &self,
        (peer, there): (&Centre, &SystemVault),
        manifest: &PointManifest,
        bucket: &str,
        keys: &BTreeSet<&str>,
        progress: &Progress,
    ) -> Result<(), Error> {
        let mut ours = inventory(self.vault, manifest, bucket).await?;
        let theirs = inventory(there, manifest, bucket).await?;
        let same = |our: &Version, their: &Version| our.key == their.key && our.sha256 == their.sha256;
        let damaged = ours.iter().filter(|v| keys.contains(v.key.as_str()));
        let wanted: Vec<Version> =
            damaged.filter_map(|our| theirs.iter().find(|their| same(our, their)).cloned()).collect();
        let from = replica_at(peer, there.store.clone(), &manifest.system, bucket);
        let to = replica_at(self.centre, self.vault.store.clone(), &manifest.system, bucket);
        let tally = replica::copy(&from, &wanted, &to, &std::collections::BTreeMap::new(), progress).await;
        for version in &mut ours {
            if let Some(fetched) = tally.versions.iter().find(|fetched| same(version, fetched)) {
                version.version_id.clone_from(&fetched.version_id);
            }
        }
        let at = layout::inventory(&manifest.system, &manifest.point, bucket);
        self.vault.store.put(&self.vault.bucket, &at, replica::encode(&ours)).await?;
        match tally.failed.into_iter().next() {
            Some((_, error)) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// An index is made anew from the packs that are here; whether there was anything to do.
pub(super) async fn mend_index(vault: &SystemVault, damage: &Damage) -> Result<bool, Error> {
    let broken: Vec<&String> = damage.files.iter().filter(|file| file.starts_with("index/")).collect();
    if broken.is_empty() && damage.unreadable.is_none() {
        return Ok(false);
    }
    let _alone = vault.sweeping().await;
    for file in &broken {
        let key = format!("{}/{file}", vault.repository_path());
        vault.store.delete(&vault.bucket, &key).await?;
    }
    match vault.reindex(damage.unreadable.is_some(), BTreeSet::new()).await {
        Err(error) if error.is_transient() => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, system = vault.system, "the index can't be made anew");
            Ok(true)
        }
        Ok(()) => Ok(true),
    }
}

async fn inventory(
    vault: &SystemVault,
    manifest: &PointManifest,
    bucket: &str,
) -> Result<Vec<Version>, Error> {
    let at = layout::inventory(&manifest.system, &manifest.point, bucket);
    Ok(replica::decode(&vault.store.get(&vault.bucket, &at).await?)?)
}
