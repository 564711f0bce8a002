//! What a store really does, tried out rather than believed. Leaves nothing behind, but where objects can be locked one of a
//! few bytes, which the next trial takes away.

mod bucket;
mod content;
mod headers;
mod keys;
mod listing;
mod parts;
mod writes;

use std::collections::BTreeMap;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::http::Response;
use bytes::Bytes;

pub use keys::OddKey;

use crate::{Store, StoreError};

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
    /// Of many who create one key at once one wins, and a write on the condition of a wrong `ETag` is refused.
    pub conditional_writes: Ability,
    /// A write on the condition of the right `ETag` is taken, and on that of a wrong one refused.
    pub conditional_overwrites: Ability,
    /// A wrong SHA-256 is refused.
    pub checksums: Ability,
    /// A wrong CRC64NVME is refused.
    pub crc64nvme: Ability,
    /// The `ETag` of what was written in one piece is the MD5 of it.
    pub md5_etags: Ability,
    /// The `ETag` of what was written in parts is the MD5 of their MD5s, and their number.
    pub part_etags: Ability,
    /// One part can be read by its number.
    pub part_reads: Ability,
    /// Parts may be of different sizes.
    pub uneven_parts: Ability,
    /// Parts may be smaller than 5 MiB.
    pub small_parts: Ability,
    /// The bucket keeps versions.
    pub versioning: Ability,
    /// A locked version can't be deleted.
    pub object_lock: Ability,
    /// Keys are listed in the order of their bytes, each once, also across pages.
    pub list_order: Ability,
    /// A listing starts after whatever key it is told.
    pub start_after: Ability,
    /// Keys that some stores refuse, change or mistake for one another.
    pub odd_keys: BTreeMap<OddKey, Ability>,
    /// Metadata keeps text that is not ASCII.
    pub unicode_metadata: Ability,
    /// `Cache-Control`, `Expires` and their like are kept.
    pub headers: Ability,
    pub tags: Ability,
    /// The `Server` header.
    pub server: Option<String>,
}

/// Where things are tried out.
#[derive(Clone, Copy)]
struct Trial<'a> {
    store: &'a Store,
    bucket: &'a str,
    /// What every key starts with.
    base: &'a str,
    /// What is locked: it can't be cleared away at once.
    locked: &'a str,
}

impl Trial<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    fn sort<E>(&self, key: &str, error: &SdkError<E, Response>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.store.target(self.bucket, key).sort(error)
    }

    /// What a call that failed says of the ability that it was to show.
    fn lacking<E>(&self, error: &SdkError<E, Response>) -> Ability
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        lacking(&self.sort("", error))
    }

    /// Takes away what was written, with its versions. Best effort: the finding matters more than a left-over of a few
    /// bytes.
    async fn clear(&self) {
        parts::abort_all(self).await;
        let _ = self.store.erase(self.bucket, self.base).await;
    }
}

/// No answer is no proof, and neither is one that is about the account. Any other refusal is the store's own word.
fn lacking(error: &StoreError) -> Ability {
    match error {
        StoreError::Unreachable { .. }
        | StoreError::Conflict { .. }
        | StoreError::Denied { .. }
        | StoreError::NoSuchBucket { .. } => Ability::Unknown,
        _ => Ability::Absent,
    }
}

/// Of an ability that is there or wrong.
fn right(is: bool) -> Ability {
    if is { Ability::Proven } else { Ability::Refuted }
}

/// A trial that ends at the first call that decides it.
fn decided(trial: Result<Ability, Ability>) -> Ability {
    trial.unwrap_or_else(|ability| ability)
}

/// Tries a store out under `prefix` of a bucket. `nonce` keeps two probes apart.
///
/// # Errors
/// When the store can't be reached, refuses the credentials, has no such bucket, or does not give back what was
/// put: then nothing else about it matters.
pub async fn probe(store: &Store, bucket: &str, prefix: &str, nonce: &str) -> Result<Probe, StoreError> {
    let (base, all_locked) = (format!("{prefix}{nonce}-"), format!("{prefix}locked/"));
    let locked = format!("{all_locked}{nonce}");
    let trial = Trial { store, bucket, base: &base, locked: &locked };
    // Of trials before: it is locked no more, or the next one has it.
    let _ = store.erase(bucket, &all_locked).await;
    let result = async {
        read_back(&trial, &trial.key("object")).await?;
        Box::pin(try_all(&trial)).await
    }
    .await;
    trial.clear().await;
    result
}

/// All at once: over a long line each of the many small calls costs its way there and back.
async fn try_all(trial: &Trial<'_>) -> Result<Probe, StoreError> {
    // On the heap, for the sake of the stacks of threads: a call is a large thing.
    let needed = Box::pin(async {
        tokio::try_join!(writes::conditional(trial), content::sha256(trial), bucket::versioning(trial))
    });
    let contents = Box::pin(async { tokio::join!(content::crc64nvme(trial), content::md5_etag(trial)) });
    let kept = Box::pin(async {
        tokio::join!(headers::metadata(trial), headers::headers(trial), headers::tags(trial))
    });
    let more = Box::pin(async {
        tokio::join!(writes::overwrites(trial), bucket::object_lock(trial), bucket::server(trial))
    });
    let (needed, contents, (list_order, start_after), parts, odd_keys, kept, more) = tokio::join!(
        needed,
        contents,
        Box::pin(listing::order(trial)),
        Box::pin(parts::parts(trial)),
        keys::odd_keys(trial),
        kept,
        more,
    );
    let (conditional_writes, checksums, versioning) = needed?;
    let (crc64nvme, md5_etags) = contents;
    let (unicode_metadata, headers, tags) = kept;
    let (conditional_overwrites, object_lock, server) = more;
    Ok(Probe {
        conditional_writes,
        conditional_overwrites,
        checksums,
        crc64nvme,
        md5_etags,
        part_etags: parts.etags,
        part_reads: parts.reads,
        uneven_parts: parts.uneven,
        small_parts: parts.small,
        versioning,
        object_lock,
        list_order,
        start_after,
        odd_keys,
        unicode_metadata,
        headers,
        tags,
        server,
    })
}

async fn read_back(trial: &Trial<'_>, key: &str) -> Result<(), StoreError> {
    let Trial { store, bucket, .. } = trial;
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
