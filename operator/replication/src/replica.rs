//! Versions of a bucket's objects, kept under a prefix of a versioned bucket: a later overwrite or deletion at
//! the source never takes away what an earlier recovery point needs.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};

use crate::store::persist;
use crate::transfer::{At, Meant, digest as digest_of, transfer};
use crate::wire::ETag;
use crate::{Progress, Store, StoreError};

pub use crate::inventory::{Version, decode, digest, encode, inventory};

/// Objects in flight at once.
const AT_ONCE: usize = 32;
/// After so many objects in a row that could not be had from a store, it is left alone.
const UNREACHABLE: usize = 8;

/// A folder of versions in a bucket. For a department's own bucket the prefix is empty.
#[derive(Clone, Debug)]
pub struct Replica {
    pub store: Store,
    pub bucket: String,
    /// Empty, or ends in `/`.
    pub prefix: String,
}

impl Replica {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn at<'a>(&'a self, key: &'a str) -> At<'a> {
        At { wire: self.store.wire(), bucket: &self.bucket, key }
    }
}

/// What a copy came to.
#[derive(Clone, Debug, Default)]
pub struct ReplicaTally {
    /// What the destination now holds, with its own version ids, sorted by key.
    pub versions: Vec<Version>,
    pub copied: u64,
    pub skipped: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Keys that could not be copied, with the reason. One bad object never stops the others.
    pub failed: Vec<(String, StoreError)>,
}

/// Copies versions that the destination does not hold. `known` is what it holds already, by key and content:
/// an object that was copied for an earlier point is not fetched again. One bad object stops no other; a store that
/// can't be reached any more is not asked for each of the rest.
pub async fn copy(
    source: &Replica,
    versions: &[Version],
    destination: &Replica,
    known: &BTreeMap<(String, String), Version>,
    progress: &Progress,
) -> ReplicaTally {
    let mut tally = ReplicaTally::default();
    let mut copies = stream::iter(versions.iter().cloned())
        .map(|version| async move {
            let held = known.get(&(version.key.clone(), version.etag.clone()));
            // Not every store makes its ETags of the content.
            if let Some(held) = held.filter(|held| held.size == version.size) {
                return (version, Ok((held.clone(), false)));
            }
            // A body on its way can't be sent twice: what breaks off starts again with the GET.
            let copied = persist(|| copy_one(source, &version, destination)).await;
            if copied.is_ok() {
                progress.add(version.size);
            }
            (version, copied.map(|held| (held, true)))
        })
        .buffer_unordered(AT_ONCE);
    let mut unreachable = 0;
    while let Some((version, result)) = copies.next().await {
        match result {
            Ok((held, fresh)) => {
                unreachable = 0;
                if fresh {
                    tally.copied += 1;
                    tally.bytes += held.size;
                } else {
                    tally.skipped += 1;
                }
                tally.versions.push(held);
            }
            Err(error) => {
                unreachable += usize::from(error.is_transient());
                tally.failed.push((version.key.clone(), error));
                if unreachable >= UNREACHABLE {
                    break;
                }
            }
        }
    }
    drop(copies);
    tally.versions.sort_by(|a, b| a.key.cmp(&b.key));
    tally
}

/// Exactly that version, with all that S3 keeps beside it, hashed on the way.
pub(crate) async fn copy_one(
    source: &Replica,
    version: &Version,
    destination: &Replica,
) -> Result<Version, StoreError> {
    let (from, to) = (source.key(&version.key), destination.key(&version.key));
    let etag = ETag::new(&version.etag);
    let meant = Meant {
        version: version.version_id.as_deref(),
        // Where neither a version id nor the digest says which content is meant; a replica's own ETag need not be that
        // of the source.
        etag: (version.version_id.is_none() && version.sha256.is_none()).then_some(&etag),
        size: version.size,
        sha256: version.sha256.as_deref(),
    };
    let arrived = transfer(source.at(&from), meant, destination.at(&to)).await?;
    // The source's ETag stays the name of the content: two stores may make different ones of the same bytes.
    Ok(Version { version_id: arrived.version, sha256: Some(arrived.sha256), ..version.clone() })
}

/// Reads every version whole and compares it with the digest on record. Returns the keys that are damaged or
/// gone, each with what was found.
///
/// # Errors
/// When the store can't be asked.
pub async fn verify(
    replica: &Replica,
    versions: &[Version],
    progress: &Progress,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut findings = Vec::new();
    let mut reads = stream::iter(versions.iter().cloned())
        .map(|version| async move {
            let digest = persist(|| read_digest(replica, &version)).await;
            (version, digest)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((version, digest)) = reads.next().await {
        match digest {
            Ok((sha256, size)) => {
                progress.add(size);
                if version.sha256.as_ref() != Some(&sha256) {
                    findings.push((version.key.clone(), format!("SHA-256 is {sha256}")));
                }
            }
            Err(error) if error.is_transient() || matches!(error, StoreError::Denied { .. }) => {
                return Err(error);
            }
            Err(error) => findings.push((version.key.clone(), error.to_string())),
        }
    }
    Ok(findings)
}

async fn read_digest(replica: &Replica, version: &Version) -> Result<(String, u64), StoreError> {
    let key = replica.key(&version.key);
    digest_of(replica.at(&key), version.version_id.as_deref()).await
}
