//! What the bucket is set to, and who answers for it.

use aws_sdk_s3::types::BucketVersioningStatus;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp, Unit};

use super::{Ability, Trial, decided, lacking};
use crate::StoreError;
use crate::wire::Retention;

pub(super) async fn versioning(trial: &Trial<'_>) -> Result<Ability, StoreError> {
    let sent = trial.store.client().get_bucket_versioning().bucket(trial.bucket).send().await;
    match sent.map_err(|e| trial.sort("", &e)) {
        Ok(reply) if reply.status() == Some(&BucketVersioningStatus::Enabled) => Ok(Ability::Proven),
        Ok(_) | Err(StoreError::Unsupported { .. }) => Ok(Ability::Absent),
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(Ability::Unknown),
    }
}

/// For how long what is tried with is locked: the next trial takes it away.
const LOCKED: SignedDuration = SignedDuration::from_secs(120);

/// That a store says it can is no proof: a version is locked, and may then not be deleted.
pub(super) async fn object_lock(trial: &Trial<'_>) -> Ability {
    match trial.store.wire().has_object_lock(trial.bucket).await {
        Ok(true) => decided(is_held(trial).await),
        Ok(false) => Ability::Absent,
        Err(_) => Ability::Unknown,
    }
}

async fn is_held(trial: &Trial<'_>) -> Result<Ability, Ability> {
    let Trial { store, bucket, locked, .. } = trial;
    let lacking = |error: StoreError| lacking(&error);
    store.put(bucket, locked, Bytes::from_static(b"tripod probe")).await.map_err(lacking)?;
    let version = store.head(bucket, locked).await.map_err(lacking)?.and_then(|meta| meta.version_id);
    let version = version.ok_or(Ability::Refuted)?;
    let until = Timestamp::now() + LOCKED;
    let until = until.round(Unit::Second).unwrap_or(until).to_string();
    let retention = Retention { mode: "COMPLIANCE".into(), until };
    let wire = store.wire();
    wire.put_retention((bucket, locked), Some(&version), &retention).await.map_err(lacking)?;
    match wire.delete_version(bucket, locked, &version).await {
        Ok(()) => Ok(Ability::Refuted),
        Err(StoreError::Denied { .. }) => Ok(Ability::Proven),
        Err(error) => Err(lacking(error)),
    }
}

pub(super) async fn server(trial: &Trial<'_>) -> Option<String> {
    use aws_sdk_s3::error::SdkError;
    // A failed request shows its raw answer: ask for what can't be there.
    let get = trial.store.once().get_object().bucket(trial.bucket).key("tripod-probe/none");
    let SdkError::ServiceError(service) = get.send().await.err()? else { return None };
    service.raw().headers().get("server").map(str::to_owned)
}
