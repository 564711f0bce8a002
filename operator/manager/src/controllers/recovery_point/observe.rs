//! Reads what is in the vault of the point, how its movers are, and what every centre has proved.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use tripod_crds::centre::CentreRole;
use tripod_crds::recovery_point::PointPhase;
use tripod_crds::{Centre, RecoveryPoint};
use tripod_domain::change::HISTORY;
use tripod_domain::disaster_recovery_drill::Progress;
use tripod_domain::manifest::{CopyRecord, Part, PointManifest};
use tripod_domain::recovery_point::{MoverState, Observed, Reading};
use tripod_domain::volume_snapshots;

use crate::context::{Ctx, Error};
use crate::controllers::mover_job;
use crate::stores::StoreAccess;
use crate::vault::{SystemVault, VaultError, layout};

/// A vault elsewhere that does not answer in this time is taken for unreadable: it must not hold up this one.
const PATIENCE: Duration = Duration::from_secs(8);

pub(super) async fn observe(ctx: &Ctx, object: &RecoveryPoint) -> Result<Observed, Error> {
    let (system, point) = (object.namespace().unwrap_or_default(), object.name_any());
    let centres = Api::<Centre>::all(ctx.client.clone()).list(&ListParams::default()).await?.items;
    let mut seen = Observed {
        point: object.clone(),
        centre: ctx.centre.clone(),
        manifest: None,
        objects: None,
        volumes: BTreeMap::new(),
        buckets: BTreeMap::new(),
        movers: BTreeMap::new(),
        snapshots: BTreeMap::new(),
        before: Vec::new(),
        hooks: BTreeMap::new(),
        readings: readings(ctx, &centres, &system, &point).await,
        interval: centres.iter().map(|c| c.spec.pull_interval_seconds).min().unwrap_or(60),
    };
    let phase = object.status.as_ref().and_then(|s| s.phase);
    if object.spec.origin != ctx.centre || phase == Some(PointPhase::Failed) {
        return Ok(seen);
    }
    let (_, vault) = ctx.stores.vault_at(&ctx.centre, &system).await?;
    seen.manifest = vault.read_json(&layout::manifest(&system, &point)).await?;
    if seen.manifest.is_some() {
        return Ok(seen);
    }
    seen.hooks = super::hooks::observe(ctx, object).await?;
    // What was made before the master key was replaced is made again: all of a point lies in one repository.
    let is_current = |part: &Part| part.key == vault.key_id().as_str();
    seen.objects = part(&vault, &layout::objects_part(&system, &point)).await?.filter(is_current);
    for claim in &object.spec.volumes {
        let part = part(&vault, &layout::volume_part(&system, &point, claim)).await?;
        if let Some(part) = part.filter(is_current) {
            seen.volumes.insert(claim.clone(), part);
        }
        let state = match mover_job::progress(ctx, &system, &super::act::mover_name(&point, claim)).await? {
            Progress::Absent => MoverState::Absent,
            Progress::Running(_) => MoverState::Running,
            Progress::Failed(words) => MoverState::Failed(words),
            Progress::Done(_) => MoverState::Succeeded,
        };
        seen.movers.insert(claim.clone(), state);
    }
    seen.snapshots = super::snapshots::observe(ctx, object).await?;
    for bucket in &object.spec.buckets {
        if let Some(part) = part(&vault, &layout::bucket_part(&system, &point, bucket)).await? {
            seen.buckets.insert(bucket.clone(), part);
        }
    }
    let spec = &object.spec;
    // When the manifest is next, and not at each pass that waits for movers to end.
    let cleared = seen.movers.values().all(|state| *state == MoverState::Absent)
        && seen.snapshots.values().all(volume_snapshots::Seen::is_gone);
    let whole = seen.objects.is_some() || !spec.objects;
    if cleared
        && whole
        && seen.volumes.len() == spec.volumes.len()
        && seen.buckets.len() == spec.buckets.len()
    {
        seen.before = before(ctx, &vault, object).await?;
    }
    Ok(seen)
}

/// A part that is there and can't be read was damaged by the store: it counts as missing, and is made again.
async fn part<T: DeserializeOwned>(vault: &SystemVault, key: &str) -> Result<Option<T>, Error> {
    match vault.read_json(key).await {
        Err(error @ VaultError::Malformed { .. }) => {
            tracing::warn!(key, %error, "a part can't be read and is made again");
            Ok(None)
        }
        read => Ok(read?),
    }
}

/// The manifests of the complete points of the policy before this one, the newest first. One that can't be read any more is
/// left out: it is compared with, and nothing else.
async fn before(ctx: &Ctx, vault: &SystemVault, object: &RecoveryPoint) -> Result<Vec<PointManifest>, Error> {
    let points = ctx.api::<RecoveryPoint>(&vault.system).list(&ListParams::default()).await?;
    let earlier = |point: &RecoveryPoint| {
        let complete = point.status.as_ref().and_then(|status| status.phase) == Some(PointPhase::Complete);
        complete && point.spec.policy == object.spec.policy && point.spec.taken_at.0 < object.spec.taken_at.0
    };
    let mut names: Vec<_> =
        points.iter().filter(|point| earlier(point)).map(|p| (p.spec.taken_at.0, p.name_any())).collect();
    names.sort_by(|a, b| b.cmp(a));
    let mut manifests = Vec::new();
    for (_, name) in names.into_iter().take(HISTORY) {
        match vault.read_json::<PointManifest>(&layout::manifest(&vault.system, &name)).await {
            Ok(manifest) => manifests.extend(manifest),
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => tracing::warn!(point = name, %error, "a manifest can't be read"),
        }
    }
    Ok(manifests)
}

/// Witnesses keep no copies. All others are asked side by side.
async fn readings(ctx: &Ctx, centres: &[Centre], system: &str, point: &str) -> BTreeMap<String, Reading> {
    let keepers = centres.iter().filter(|c| c.spec.role != CentreRole::Witness).cloned();
    let asked = keepers.map(|centre| async move {
        let reading = match tokio::time::timeout(PATIENCE, read(ctx, &centre, system, point)).await {
            Ok(Ok(reading)) => reading,
            Ok(Err(error)) => Reading::Unreadable(error),
            Err(_) => Reading::Unreadable(format!("no answer in {} s", PATIENCE.as_secs())),
        };
        (centre.name_any(), reading)
    });
    futures::future::join_all(asked).await.into_iter().collect()
}

async fn read(ctx: &Ctx, centre: &Centre, system: &str, point: &str) -> Result<Reading, String> {
    let store = ctx.stores.open(centre).await.map_err(|e: StoreAccess| e.to_string())?;
    let bucket = &centre.spec.store.bucket;
    match store.get(bucket, &layout::record(system, point)).await {
        Ok(body) => serde_json::from_slice::<CopyRecord>(&body)
            .map(Reading::Record)
            .map_err(|e| format!("its record is malformed: {e}")),
        Err(error) if error.is_not_found() => {
            for key in [layout::tombstone(system, point), layout::gone(system, point)] {
                if store.head(bucket, &key).await.map_err(|e| e.to_string())?.is_some() {
                    return Ok(Reading::Removed);
                }
            }
            Ok(Reading::NoRecord)
        }
        Err(error) => Err(error.to_string()),
    }
}
