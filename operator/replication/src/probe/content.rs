//! What a store says of a content, and whether it looks at it.

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};
use sha2::{Digest as _, Sha256};

use super::{Ability, Trial, decided, lacking, right};
use crate::StoreError;
use crate::store::unquote;

const BODY: &[u8] = b"checksum";
const ELSE: &[u8] = b"something else";

/// A wrong SHA-256 must be refused, the right one taken.
pub(super) async fn sha256(trial: &Trial<'_>) -> Result<Ability, StoreError> {
    let sum = |bytes: &[u8]| STANDARD.encode(Sha256::digest(bytes));
    verified(trial, "sha256", |put, bytes| put.checksum_sha256(sum(bytes))).await
}

/// The same of the sum that costs least, and that parts have in common with the whole.
pub(super) async fn crc64nvme(trial: &Trial<'_>) -> Ability {
    let sum =
        |bytes: &[u8]| STANDARD.encode(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes).to_be_bytes());
    let tried = verified(trial, "crc64nvme", |put, bytes| put.checksum_crc64_nvme(sum(bytes))).await;
    tried.unwrap_or_else(|error| lacking(&error))
}

async fn verified(
    trial: &Trial<'_>,
    name: &str,
    with_sum: impl Fn(PutObjectFluentBuilder, &[u8]) -> PutObjectFluentBuilder,
) -> Result<Ability, StoreError> {
    let key = &trial.key(name);
    let put = |of: &[u8]| {
        let request = trial.store.once().put_object().bucket(trial.bucket).key(key);
        with_sum(request.body(Bytes::from_static(BODY).into()), of).send()
    };
    match put(ELSE).await.map_err(|e| trial.sort(key, &e)) {
        Ok(_) | Err(StoreError::Unsupported { .. }) => return Ok(Ability::Absent),
        Err(error) if error.is_transient() => return Err(error),
        Err(_) => {}
    }
    match put(BODY).await.map_err(|e| trial.sort(key, &e)) {
        Ok(_) => Ok(Ability::Proven),
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(Ability::Refuted),
    }
}

/// The `ETag` of what is written in one piece.
pub(super) async fn md5_etag(trial: &Trial<'_>) -> Ability {
    let key = &trial.key("etag");
    let put = trial.store.once().put_object().bucket(trial.bucket).key(key);
    let tried = async {
        let put = put.body(Bytes::from_static(BODY).into()).send().await;
        put.map_err(|e| trial.lacking(&e))?;
        // What the store remembers: an answer to the write alone would not help the next run.
        let head = trial.store.head(trial.bucket, key).await.map_err(|e| lacking(&e))?;
        Ok(right(head.is_some_and(|head| unquote(Some(&head.etag)) == hex::encode(Md5::digest(BODY)))))
    };
    decided(tried.await)
}
