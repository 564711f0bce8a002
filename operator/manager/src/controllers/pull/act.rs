//! Copies one point, or proves one, and notes the finding in the vault of the centre.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{ObjectMeta, PostParams};
use tripod_crds::recovery_point::CopyState;
use tripod_crds::{Centre, RecoveryPoint, RecoveryPointSpec};
use tripod_domain::manifest::{CopyRecord, PointManifest};
use tripod_domain::pull::{Observed, PointKey, Step};
use tripod_replication::Progress;
use tripod_replication::addressed::{self, Place};
use tripod_replication::replica;

use crate::context::{Ctx, Error};
use crate::stores::replica_at;
use crate::vault::{SystemVault, layout};

pub(super) async fn act(ctx: &Ctx, centre: &Centre, seen: &Observed, step: &Step) -> Result<(), Error> {
    match step {
        Step::Rest => Ok(()),
        Step::Copy(key) => {
            let vault = ctx.stores.vault(centre, &key.system).await?;
            let manifest = match &centre.spec.pull_from {
                None => manifest_of(&vault, key).await?,
                Some(from) => copy(ctx, centre, from, &vault, key).await?,
            };
            note(&vault, centre, &manifest, CopyState::Copied, None, None).await?;
            announce(ctx, &manifest).await
        }
        Step::Verify(key) => {
            let vault = ctx.stores.vault(centre, &key.system).await?;
            let manifest = manifest_of(&vault, key).await?;
            let before = seen.records.iter().find(|r| r.system == key.system && r.point == key.point);
            let finding = verify(ctx, centre, &vault, &manifest).await?;
            let (state, message) = match finding {
                None => (CopyState::Verified, None),
                Some(damage) => (CopyState::Damaged, Some(damage)),
            };
            if let Some(damage) = &message {
                tracing::error!(centre = centre.name_any(), point = key.point, damage, "damage found");
            }
            note(&vault, centre, &manifest, state, message, before).await?;
            announce(ctx, &manifest).await
        }
    }
}

async fn manifest_of(vault: &SystemVault, key: &PointKey) -> Result<PointManifest, Error> {
    let at = layout::manifest(&key.system, &key.point);
    let manifest: Option<PointManifest> = vault.read_json(&at).await?;
    let manifest = manifest.ok_or_else(|| Error::Other(format!("{at} is gone")))?;
    manifest.check().map_err(|e| Error::Other(format!("{at}: {e}")))?;
    Ok(manifest)
}

/// Packs before indexes before snapshots before the manifest: whenever this is cut off, nothing that is here
/// points to something that is not.
async fn copy(
    ctx: &Ctx,
    centre: &Centre,
    from: &str,
    vault: &SystemVault,
    key: &PointKey,
) -> Result<PointManifest, Error> {
    let source_centre = ctx.stores.centre(from).await?;
    let source = ctx.stores.vault(&source_centre, &key.system).await?;
    let manifest = manifest_of(&source, key).await?;
    let (there, here) = (place(&source), place(vault));
    let progress = Progress::default();
    let mut bytes = 0;
    for folder in ["keys/", "config", "data/", "index/", "snapshots/"] {
        let tally = addressed::copy_missing(&there, &here, folder, &BTreeSet::new(), &progress).await?;
        bytes += tally.bytes;
        tracing::info!(point = key.point, from, folder, tally.copied, tally.skipped, tally.bytes, "pulled");
        if let Some(file) = tally.damaged.first() {
            return Err(Error::Other(format!(
                "{from} has {} damaged files, for instance {file}",
                tally.damaged.len()
            )));
        }
    }
    for bucket in manifest.buckets.keys() {
        copy_bucket(centre, &source_centre, &source, vault, key, bucket, &progress).await?;
    }
    for name in
        source.store.list(&source.bucket, &format!("{}{}/", layout::points(&key.system), key.point)).await?
    {
        if !name.key.ends_with("/manifest.json") {
            let body = source.store.get(&source.bucket, &name.key).await?;
            vault.store.put(&vault.bucket, &name.key, body).await?;
        }
    }
    vault.write_json(&layout::manifest(&key.system, &key.point), &manifest).await?;
    ctx.metrics.moved(&centre.name_any(), "copy", progress.so_far().1.max(bytes));
    Ok(manifest)
}

fn place(vault: &SystemVault) -> Place {
    let prefix = format!("{}/", layout::repository(&vault.system));
    Place { store: vault.store.clone(), bucket: vault.bucket.clone(), prefix }
}

async fn copy_bucket(
    centre: &Centre,
    source_centre: &Centre,
    source: &SystemVault,
    vault: &SystemVault,
    key: &PointKey,
    bucket: &str,
    progress: &Progress,
) -> Result<(), Error> {
    let text = source.store.get(&source.bucket, &layout::inventory(&key.system, &key.point, bucket)).await?;
    let versions = replica::decode(&text)?;
    let there = replica_at(source_centre, source.store.clone(), &key.system, bucket);
    let here = replica_at(centre, vault.store.clone(), &key.system, bucket);
    let known = held(vault, bucket).await?;
    let tally = replica::copy(&there, &versions, &here, &known, progress).await;
    tracing::info!(point = key.point, bucket, tally.copied, tally.skipped, tally.bytes, "pulled a bucket");
    // What came is noted even where some failed: it is not fetched a second time.
    let inventory = layout::inventory(&key.system, &key.point, bucket);
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
            Ok(text) => known
                .extend(replica::decode(&text)?.into_iter().map(|v| ((v.key.clone(), v.etag.clone()), v))),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(known)
}

/// Reads every byte the point needs. `Some` says what is damaged or missing; an error says nothing about it.
async fn verify(
    ctx: &Ctx,
    centre: &Centre,
    vault: &SystemVault,
    manifest: &PointManifest,
) -> Result<Option<String>, Error> {
    let progress = Progress::default();
    let place = place(vault);
    // Indexes and keys first: what they say decides what else is needed.
    let mut damage = Vec::new();
    for folder in ["keys/", "index/"] {
        let tally = addressed::verify(&place, folder, None, &progress).await?;
        damage.extend(tally.damaged.into_iter().chain(tally.missing));
    }
    if damage.is_empty() {
        match vault.packs_of(&manifest.snapshots()).await {
            Ok(packs) => {
                let packs = packs.into_iter().map(|pack| format!("data/{}/{pack}", &pack[..2]));
                let snapshots = manifest.snapshots().into_iter().map(|id| format!("snapshots/{id}"));
                let needed: BTreeSet<String> = packs.chain(snapshots).collect();
                let tally = addressed::verify(&place, "", Some(&needed), &progress).await?;
                damage.extend(tally.damaged.into_iter().chain(tally.missing));
            }
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => damage.push(error.to_string()),
        }
    }
    for (bucket, part) in &manifest.buckets {
        let at = layout::inventory(&manifest.system, &manifest.point, bucket);
        let versions = replica::decode(&vault.store.get(&vault.bucket, &at).await?)?;
        if replica::digest(&versions) != part.digest {
            damage.push(format!("inventory of bucket {bucket}"));
            continue;
        }
        let here = replica_at(centre, vault.store.clone(), &manifest.system, bucket);
        let findings = replica::verify(&here, &versions, &progress).await?;
        damage.extend(findings.into_iter().map(|(key, finding)| format!("{bucket}/{key}: {finding}")));
    }
    ctx.metrics.moved(&centre.name_any(), "verify", progress.so_far().1);
    let listed = damage.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    Ok((!damage.is_empty()).then(|| format!("{} damaged or missing: {listed}", damage.len())))
}

async fn note(
    vault: &SystemVault,
    centre: &Centre,
    manifest: &PointManifest,
    state: CopyState,
    message: Option<String>,
    before: Option<&CopyRecord>,
) -> Result<(), Error> {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let record = CopyRecord {
        centre: centre.name_any(),
        system: manifest.system.clone(),
        point: manifest.point.clone(),
        root_digest: manifest.root_digest.clone(),
        taken_at: manifest.taken_at,
        state,
        copied_at: before.and_then(|b| b.copied_at).or(Some(now)),
        verified_at: (state != CopyState::Copied).then_some(now),
        message,
    };
    Ok(vault.write_json(&layout::record(&manifest.system, &manifest.point), &record).await?)
}

/// Makes the point known in this cluster, where its namespace exists. The copy is safe without that.
async fn announce(ctx: &Ctx, manifest: &PointManifest) -> Result<(), Error> {
    let api = ctx.api::<RecoveryPoint>(&manifest.system);
    if api.get_opt(&manifest.point).await?.is_some() {
        return Ok(());
    }
    let point = RecoveryPoint {
        metadata: ObjectMeta {
            name: Some(manifest.point.clone()),
            namespace: Some(manifest.system.clone()),
            labels: Some([("tripod.cloud/policy".to_owned(), manifest.policy.clone())].into()),
            ..ObjectMeta::default()
        },
        spec: RecoveryPointSpec {
            policy: manifest.policy.clone(),
            origin: manifest.origin.clone(),
            taken_at: Time(manifest.taken_at),
            objects: manifest.objects.is_some(),
            volumes: manifest.volumes.keys().cloned().collect(),
            buckets: manifest.buckets.keys().cloned().collect(),
            selection: None,
            hooks: Vec::new(),
        },
        status: None,
    };
    match api.create(&PostParams::default(), &point).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}
