//! What the bucket is set to, and who answers for it.

use aws_sdk_s3::types::BucketVersioningStatus;

use super::{Ability, Trial};
use crate::StoreError;

pub(super) async fn versioning(trial: &Trial<'_>) -> Result<Ability, StoreError> {
    let sent = trial.store.client().get_bucket_versioning().bucket(trial.bucket).send().await;
    match sent.map_err(|e| trial.sort("", &e)) {
        Ok(reply) if reply.status() == Some(&BucketVersioningStatus::Enabled) => Ok(Ability::Proven),
        Ok(_) | Err(StoreError::Unsupported { .. }) => Ok(Ability::Absent),
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(Ability::Unknown),
    }
}

pub(super) async fn object_lock(trial: &Trial<'_>) -> Ability {
    let sent = trial.store.client().get_object_lock_configuration().bucket(trial.bucket).send().await;
    match sent.map_err(|e| trial.sort("", &e)) {
        Ok(reply) if reply.object_lock_configuration().is_some_and(|c| c.object_lock_enabled().is_some()) => {
            Ability::Proven
        }
        Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Unsupported { .. }) => Ability::Absent,
        Err(_) => Ability::Unknown,
    }
}

pub(super) async fn server(trial: &Trial<'_>) -> Option<String> {
    use aws_sdk_s3::error::SdkError;
    // A failed request shows its raw answer: ask for what can't be there.
    let get = trial.store.once().get_object().bucket(trial.bucket).key("tripod-probe/none");
    let SdkError::ServiceError(service) = get.send().await.err()? else { return None };
    service.raw().headers().get("server").map(str::to_owned)
}
