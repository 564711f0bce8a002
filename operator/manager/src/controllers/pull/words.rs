//! What is read from and written into the vault about a point, and made known in this cluster.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{ObjectMeta, PostParams};
use tripod_crds::recovery_point::{CopyState, HOLD};
use tripod_crds::{Centre, RecoveryPoint, RecoveryPointSpec};
use tripod_domain::manifest::{CopyRecord, Hold, PointManifest};
use tripod_domain::pull::PointKey;

use crate::context::{Ctx, Error};
use crate::vault::{SystemVault, VaultError, layout};

/// The manifest, if it can be vouched for.
pub(super) async fn manifest_of(vault: &SystemVault, key: &PointKey) -> Result<PointManifest, VaultError> {
    let at = layout::manifest(&key.system, &key.point);
    let manifest: Option<PointManifest> = vault.read_json(&at).await?;
    let manifest = manifest.ok_or_else(|| VaultError::NotFound(at.clone()))?;
    manifest.check().map_err(|detail| VaultError::Malformed { key: at.clone(), detail })?;
    if manifest.system == key.system && manifest.point == key.point {
        return Ok(manifest);
    }
    Err(VaultError::Malformed { key: at, detail: format!("it is of {}/{}", manifest.system, manifest.point) })
}

/// To the second, as Kubernetes writes times.
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

/// A record of the state, with what stood in the one before.
pub(super) fn record_of(
    centre: &Centre,
    manifest: &PointManifest,
    state: CopyState,
    message: Option<String>,
    before: Option<&CopyRecord>,
) -> CopyRecord {
    CopyRecord {
        centre: centre.name_any(),
        system: manifest.system.clone(),
        point: manifest.point.clone(),
        root_digest: manifest.root_digest.clone(),
        taken_at: manifest.taken_at,
        state,
        copied_at: before.and_then(|b| b.copied_at).or_else(|| Some(now())),
        verified_at: (state != CopyState::Copied).then(now),
        message,
        policy: Some(manifest.policy.clone()),
        kept_by: before.and_then(|b| b.kept_by.clone()),
        mended: before.and_then(|b| b.mended.clone()),
        mending_at: before.and_then(|b| b.mending_at),
        unusual: manifest.unusual.clone(),
        locked_until: before.and_then(|b| b.locked_until),
    }
}

/// Writes a record.
pub(super) async fn note(vault: &SystemVault, record: &CopyRecord) -> Result<(), Error> {
    Ok(vault.write_json(&layout::record(&record.system, &record.point), record).await?)
}

/// Makes the point known in this cluster, where its namespace exists. The copy is safe without that.
pub(super) async fn announce(ctx: &Ctx, vault: &SystemVault, manifest: &PointManifest) -> Result<(), Error> {
    let api = ctx.api::<RecoveryPoint>(&manifest.system);
    if api.get_opt(&manifest.point).await?.is_some() {
        return Ok(());
    }
    // One that somebody deleted comes back held as it was.
    let held: Option<Hold> = vault.read_json(&layout::hold(&manifest.system, &manifest.point)).await?;
    let point = RecoveryPoint {
        metadata: ObjectMeta {
            name: Some(manifest.point.clone()),
            namespace: Some(manifest.system.clone()),
            labels: Some([("tripod.cloud/policy".to_owned(), manifest.policy.clone())].into()),
            annotations: held.map(|hold| [(HOLD.to_owned(), hold.reason)].into()),
            ..ObjectMeta::default()
        },
        spec: RecoveryPointSpec {
            policy: manifest.policy.clone(),
            origin: manifest.origin.clone(),
            taken_at: Time(manifest.taken_at),
            objects: manifest.objects.is_some(),
            volumes: manifest.volumes.keys().cloned().collect(),
            snapshots: Vec::new(),
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

/// Tells people about a point, where it is known in this cluster.
pub(super) async fn tell(ctx: &Ctx, key: &PointKey, warning: bool, reason: &str, message: &str) {
    use kube::Resource;
    if let Ok(Some(point)) = ctx.api::<RecoveryPoint>(&key.system).get_opt(&key.point).await {
        ctx.tell(&point.object_ref(&()), warning, reason, message).await;
    }
}
