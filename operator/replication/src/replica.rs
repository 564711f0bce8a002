//! Versions of a bucket's objects, kept under a prefix of a versioned bucket: a later overwrite or deletion at
//! the source never takes away what an earlier recovery point needs.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::body::Body;
use crate::error::Target;
use crate::store::persist;
use crate::{Progress, Store, StoreError};

pub use crate::inventory::{Version, decode, digest, encode, inventory};

/// Objects in flight at once.
const AT_ONCE: usize = 8;
/// Up to this size an object is one body in memory; above, it goes in parts of this size, one at a time.
const PART: u64 = 8 << 20;
/// S3 takes 10,000 parts at most: those of larger objects are larger.
const PARTS: u64 = 10_000;

/// A folder of versions in a bucket. For a department's own bucket the prefix is empty.
#[derive(Clone, Debug)]
pub struct Replica {
    pub store: Store,
    pub bucket: String,
    /// Empty, or ends in `/`.
    pub prefix: String,
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
                if unreachable >= AT_ONCE {
                    break;
                }
            }
        }
    }
    drop(copies);
    tally.versions.sort_by(|a, b| a.key.cmp(&b.key));
    tally
}

/// GET of exactly that version into a PUT with the same metadata, hashed on the way. Nothing becomes visible at the
/// destination before size and digest were found right.
pub(crate) async fn copy_one(
    source: &Replica,
    version: &Version,
    destination: &Replica,
) -> Result<Version, StoreError> {
    let from = format!("{}{}", source.prefix, version.key);
    let target = source.store.target(&source.bucket, &from);
    let get = source.store.client().get_object().bucket(&source.bucket).key(&from);
    let get = match (&version.version_id, &version.sha256) {
        (Some(id), _) => get.version_id(id),
        // The digest is compared below, and a replica's own ETag need not be the one of the source.
        (None, Some(_)) => get,
        (None, None) => get.if_match(format!("\"{}\"", version.etag)),
    };
    let reply = get.send().await.map_err(|e| target.sort(&e))?;
    let about = Description {
        content_type: reply.content_type().map(str::to_owned),
        content_language: reply.content_language().map(str::to_owned),
        cache_control: reply.cache_control().map(str::to_owned),
        content_disposition: reply.content_disposition().map(str::to_owned),
        content_encoding: reply.content_encoding().map(str::to_owned),
        metadata: reply.metadata().cloned(),
    };
    let part = part_size(version.size);
    let mut incoming = Incoming {
        body: Body::new(reply.body, source.store.silence(), target),
        expected: version,
        part,
        from: target,
    };
    let to = format!("{}{}", destination.prefix, version.key);
    let first = incoming.body.next_part(part).await?;
    let version_id = if incoming.body.is_spent() {
        incoming.check()?;
        put_small(destination, &to, first, about).await?
    } else {
        put_large(destination, &to, first, &mut incoming, about).await?
    };
    // The source's ETag stays the name of the content: two stores may make different ones of the same bytes.
    Ok(Version { version_id, sha256: Some(incoming.body.digest().0), ..version.clone() })
}

/// An object on its way, and what it should turn out to be.
struct Incoming<'a> {
    body: Body<'a>,
    expected: &'a Version,
    /// Bytes.
    part: usize,
    from: Target<'a>,
}

impl Incoming<'_> {
    /// Whether what came is what was listed.
    fn check(&self) -> Result<(), StoreError> {
        let (sha256, size) = self.body.digest();
        let wrong = match &self.expected.sha256 {
            _ if size != self.expected.size => {
                format!("it has {size} bytes, and {} were listed", self.expected.size)
            }
            Some(expected) if *expected != sha256 => format!("its SHA-256 is {sha256}, not {expected}"),
            _ => return Ok(()),
        };
        let Target { bucket, key, .. } = self.from;
        Err(StoreError::Mismatch { bucket: bucket.to_owned(), key: key.to_owned(), detail: wrong })
    }
}

/// Bytes of a part of an object of that many bytes.
fn part_size(size: u64) -> usize {
    usize::try_from(size.div_ceil(PARTS).max(PART)).unwrap_or(usize::MAX)
}

/// What S3 keeps beside the content.
struct Description {
    content_type: Option<String>,
    content_language: Option<String>,
    cache_control: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    metadata: Option<std::collections::HashMap<String, String>>,
}

async fn put_small(
    to: &Replica,
    key: &str,
    body: Bytes,
    about: Description,
) -> Result<Option<String>, StoreError> {
    let settings = Store::for_body(body.len());
    let put = to.store.client().put_object().bucket(&to.bucket).key(key).body(body.into());
    let put = put
        .set_content_type(about.content_type)
        .set_content_language(about.content_language)
        .set_cache_control(about.cache_control)
        .set_content_disposition(about.content_disposition)
        .set_content_encoding(about.content_encoding)
        .set_metadata(about.metadata);
    let sent = put.customize().config_override(settings).send().await;
    let reply = sent.map_err(|e| to.store.target(&to.bucket, key).sort(&e))?;
    Ok(reply.version_id().map(str::to_owned))
}

async fn put_large(
    to: &Replica,
    key: &str,
    first: Bytes,
    incoming: &mut Incoming<'_>,
    about: Description,
) -> Result<Option<String>, StoreError> {
    let s3 = to.store.client();
    let create = s3.create_multipart_upload().bucket(&to.bucket).key(key);
    let create = create
        .set_content_type(about.content_type)
        .set_content_language(about.content_language)
        .set_cache_control(about.cache_control)
        .set_content_disposition(about.content_disposition)
        .set_content_encoding(about.content_encoding)
        .set_metadata(about.metadata);
    let target = to.store.target(&to.bucket, key);
    let upload = create.send().await.map_err(|e| target.sort(&e))?.upload_id().unwrap_or_default().to_owned();
    let sent = async {
        let (mut parts, mut next) = (Vec::new(), first);
        while !next.is_empty() {
            let number = i32::try_from(parts.len() + 1).unwrap_or(i32::MAX);
            let settings = Store::for_body(next.len());
            let part = s3.upload_part().bucket(&to.bucket).key(key).upload_id(&upload).part_number(number);
            let sent = part.body(next.into()).customize().config_override(settings).send().await;
            let reply = sent.map_err(|e| target.sort(&e))?;
            parts.push(
                CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(reply.e_tag().map(str::to_owned))
                    .build(),
            );
            next = incoming.body.next_part(incoming.part).await?;
        }
        incoming.check()?;
        let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = s3.complete_multipart_upload().bucket(&to.bucket).key(key).upload_id(&upload);
        let reply = complete.multipart_upload(whole).send().await.map_err(|e| target.sort(&e))?;
        Ok(reply.version_id().map(str::to_owned))
    };
    let result = sent.await;
    if result.is_err() {
        // Its parts would be kept, and paid for, for ever.
        let _ = s3.abort_multipart_upload().bucket(&to.bucket).key(key).upload_id(&upload).send().await;
    }
    result
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
    let key = format!("{}{}", replica.prefix, version.key);
    let get = replica.store.client().get_object().bucket(&replica.bucket).key(&key);
    let get = get.set_version_id(version.version_id.clone());
    let target = replica.store.target(&replica.bucket, &key);
    let reply = get.send().await.map_err(|e| target.sort(&e))?;
    let mut body = Body::new(reply.body, replica.store.silence(), target);
    body.drain().await?;
    Ok(body.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_object_fits_into_the_parts_that_s3_takes() {
        let largest: u64 = 5 << 40;
        assert!(largest.div_ceil(part_size(largest) as u64) <= PARTS);
        assert_eq!(part_size(1), 8 << 20);
    }
}
