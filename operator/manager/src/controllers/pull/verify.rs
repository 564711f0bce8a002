//! Proves one point, by reading every byte it needs.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use tripod_crds::Centre;
use tripod_domain::manifest::PointManifest;
use tripod_replication::Progress;
use tripod_replication::addressed;
use tripod_replication::replica;

use super::copy::{pack_file, place, snapshot_file};
use crate::context::{Ctx, Error};
use crate::stores::replica_at;
use crate::vault::{SystemVault, layout};

/// What was found damaged or missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// Files of the repository.
    pub files: BTreeSet<String>,
    /// Why the repository can't be read so far that it is known which files the point needs.
    pub unreadable: Option<String>,
    /// Buckets whose inventory is not the manifest's.
    pub inventories: BTreeSet<String>,
    /// By bucket, keys and what was found.
    pub objects: BTreeMap<String, Vec<(String, String)>>,
}

impl Damage {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// For people: how many, and the first few.
    pub(super) fn words(&self) -> String {
        let files = self.files.iter().cloned().chain(self.unreadable.clone());
        let inventories = self.inventories.iter().map(|bucket| format!("inventory of bucket {bucket}"));
        let objects = self.objects.iter().flat_map(|(bucket, keys)| {
            keys.iter().map(move |(key, finding)| format!("{bucket}/{key}: {finding}"))
        });
        let all: Vec<String> = files.chain(inventories).chain(objects).collect();
        let first = all.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        format!("{} damaged or missing: {first}", all.len())
    }
}

/// What a proof came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Proof {
    pub damage: Damage,
    /// The files of the repository that the point needs, as far as that could be read.
    pub files: BTreeSet<String>,
}

/// Reads every byte the point needs. An error says nothing about it.
pub(super) async fn verify(
    ctx: &Ctx,
    centre: &Centre,
    vault: &SystemVault,
    manifest: &PointManifest,
) -> Result<Proof, Error> {
    let progress = Progress::default();
    let mut proof = verify_repository(vault, manifest, &progress).await?;
    let damage = &mut proof.damage;
    for (bucket, part) in &manifest.buckets {
        let at = layout::inventory(&manifest.system, &manifest.point, bucket);
        let text = match vault.store.get(&vault.bucket, &at).await {
            Ok(text) => text,
            Err(error) if error.is_not_found() => {
                damage.inventories.insert(bucket.clone());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let versions =
            replica::decode(&text).ok().filter(|versions| replica::digest(versions) == part.digest);
        let Some(versions) = versions else {
            damage.inventories.insert(bucket.clone());
            continue;
        };
        let here = replica_at(centre, vault.store.clone(), &manifest.system, bucket);
        let findings = replica::verify(&here, &versions, &progress).await?;
        if !findings.is_empty() {
            damage.objects.insert(bucket.clone(), findings);
        }
    }
    ctx.metrics.moved(&centre.name_any(), "verify", progress.so_far().1);
    Ok(proof)
}

pub(super) async fn verify_repository(
    vault: &SystemVault,
    manifest: &PointManifest,
    progress: &Progress,
) -> Result<Proof, Error> {
    let place = place(vault);
    let mut proof = Proof::default();
    let Proof { damage, files } = &mut proof;
    // Indexes and keys first: what they say decides what else is needed.
    for folder in ["keys/", "index/"] {
        let tally = addressed::verify(&place, folder, None, progress).await?;
        damage.files.extend(tally.damaged.into_iter().chain(tally.missing));
    }
    if !damage.files.is_empty() || manifest.snapshots().is_empty() {
        return Ok(proof);
    }
    match vault.packs_of(&manifest.snapshots()).await {
        Ok(packs) => {
            let packs = packs.iter().map(|pack| pack_file(pack));
            files.extend(packs.chain(manifest.snapshots().iter().map(|id| snapshot_file(id))));
            let tally = addressed::verify(&place, "", Some(files), progress).await?;
            damage.files.extend(tally.damaged.into_iter().chain(tally.missing));
        }
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(error) => damage.unreadable = Some(error.to_string()),
    }
    Ok(proof)
}
