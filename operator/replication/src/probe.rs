//! What a store really does, tried out rather than believed. Leaves nothing behind.

use aws_sdk_s3::types::BucketVersioningStatus;
use base64::Engine as _;
use bytes::Bytes;
use futures::future::join_all;
use sha2::{Digest, Sha256};

use crate::{Created, Store, StoreError};

/// Writers that race for one key. One, and only one, may win.
const RACERS: usize = 8;

/// One ability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Tried, and right.
    Proven,
    /// Tried, and wrong.
    Refuted,
    /// The store says that it does not have it.
    Absent,
    /// Could not be tried.
    Unknown,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub conditional_writes: Ability,
    pub checksums: Ability,
    pub versioning: Ability,
    pub object_lock: Ability,
    /// The `Server` header.
    pub server: Option<String>,
}

/// Tries a store out under `prefix` of a bucket. `nonce` keeps two probes apart.
///
/// # Errors
/// When the store can't be reached, refuses the credentials, has no such bucket, or does not give back what was
/// put: then nothing else about it matters.
pub async fn probe(store: &Store, bucket: &str, prefix: &str, nonce: &str) -> Result<Probe, StoreError> {
    let key = |name: &str| format!("{prefix}{nonce}-{name}");
    let result = async {
        read_back(store, bucket, &key("object")).await?;
        Ok(Probe {
            conditional_writes: conditional_writes(store, bucket, &key("race")).await?,
            checksums: checksums(store, bucket, &key("checksum")).await?,
            versioning: versioning(store, bucket).await?,
            object_lock: object_lock(store, bucket).await,
            server: server(store, bucket).await,
        })
    }
    .await;
    // With its versions. Best effort: the finding matters more than a left-over of a few bytes.
    let _ = store.erase(bucket, &key("")).await;
    result
}

async fn read_back(store: &Store, bucket: &str, key: &str) -> Result<(), StoreError> {
    let body = Bytes::from(format!("tripod probe {key}"));
    store.put(bucket, key, body.clone()).await?;
    let wrong = |detail: &str| StoreError::Other { what: format!("{bucket}/{key}"), detail: detail.into() };
    if store.get(bucket, key).await? != body {
        return Err(wrong("what was read is not what was written"));
    }
    if !store
        .list(bucket, key)
        .await?
        .iter()
        .any(|listed| listed.key == key && listed.size == body.len() as u64)
    {
        return Err(wrong("what was written is not listed"));
    }
    Ok(())
}

/// Creators race; then a write on the condition of an `ETag` that is not there must fail.
async fn conditional_writes(store: &Store, bucket: &str, key: &str) -> Result<Ability, StoreError> {
    store.delete(bucket, key).await?;
    let race = (0..RACERS).map(|n| store.put_new(bucket, key, Bytes::from(format!("racer {n}"))));
    let mut won = 0;
    for finish in join_all(race).await {
        match finish {
            Ok(Created::Yes) => won += 1,
            Ok(Created::AlreadyThere) => {}
            Err(StoreError::Unsupported { .. }) => return Ok(Ability::Absent),
            Err(error) => return Err(error),
        }
    }
    let stale =
        store.once().put_object().bucket(bucket).key(key).if_match("\"0123456789abcdef0123456789abcdef\"");
    let stale = stale.body(Bytes::from_static(b"stale").into()).send().await;
    match stale.map_err(|e| store.target(bucket, key).sort(&e)) {
        Err(StoreError::Mismatch { .. }) if won == 1 => Ok(Ability::Proven),
        Ok(_) | Err(StoreError::Mismatch { .. }) => Ok(Ability::Refuted),
        Err(StoreError::Unsupported { .. }) => Ok(Ability::Absent),
        // No answer is no proof.
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(Ability::Unknown),
    }
}

/// A wrong SHA-256 must be refused, the right one taken.
async fn checksums(store: &Store, bucket: &str, key: &str) -> Result<Ability, StoreError> {
    let body = Bytes::from_static(b"checksum");
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(Sha256::digest(bytes));
    let put = |sum: String| {
        let request = store.once().put_object().bucket(bucket).key(key).checksum_sha256(sum);
        request.body(body.clone().into()).send()
    };
    match put(encode(b"something else")).await.map_err(|e| store.target(bucket, key).sort(&e)) {
        Ok(_) | Err(StoreError::Unsupported { .. }) => return Ok(Ability::Absent),
        Err(error) if error.is_transient() => return Err(error),
        Err(_) => {}
    }
    match put(encode(&body)).await.map_err(|e| store.target(bucket, key).sort(&e)) {
        Ok(_) => Ok(Ability::Proven),
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(Ability::Refuted),
    }
}

async fn versioning(store: &Store, bucket: &str) -> Result<Ability, StoreError> {
    let sent = store.client().get_bucket_versioning().bucket(bucket).send().await;
    match sent.map_err(|e| store.target(bucket, "").sort(&e)) {
        Ok(reply) if reply.status() == Some(&BucketVersioningStatus::Enabled) => Ok(Ability::Proven),
        Ok(_) | Err(StoreError::Unsupported { .. }) => Ok(Ability::Absent),
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(Ability::Unknown),
    }
}

async fn object_lock(store: &Store, bucket: &str) -> Ability {
    let sent = store.client().get_object_lock_configuration().bucket(bucket).send().await;
    match sent.map_err(|e| store.target(bucket, "").sort(&e)) {
        Ok(reply) if reply.object_lock_configuration().is_some_and(|c| c.object_lock_enabled().is_some()) => {
            Ability::Proven
        }
        Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Unsupported { .. }) => Ability::Absent,
        Err(_) => Ability::Unknown,
    }
}

async fn server(store: &Store, bucket: &str) -> Option<String> {
    use aws_sdk_s3::error::SdkError;
    // A failed request shows its raw answer: ask for what can't be there.
    let error = store.once().get_object().bucket(bucket).key("tripod-probe/none").send().await.err()?;
    let SdkError::ServiceError(service) = error else { return None };
    service.raw().headers().get("server").map(str::to_owned)
}
