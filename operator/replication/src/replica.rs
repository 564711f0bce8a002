//! Versions of a bucket's objects, kept under a prefix of a versioned bucket: a later overwrite or deletion at
//! the source never takes away what an earlier recovery point needs.

use std::collections::BTreeMap;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::unquote;
use crate::{Progress, Store, StoreError};

/// Objects in flight at once.
const AT_ONCE: usize = 8;
/// Up to this size an object is one body in memory; above, it goes in parts of this size, one at a time.
const PART: usize = 8 << 20;

/// A folder of versions in a bucket. For a department's own bucket the prefix is empty.
#[derive(Clone, Debug)]
pub struct Replica {
    pub store: Store,
    pub bucket: String,
    /// Empty, or ends in `/`.
    pub prefix: String,
}

/// One object of a bucket at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Relative to the prefix.
    pub key: String,
    /// Bytes.
    pub size: u64,
    pub etag: String,
    /// Absent where the bucket keeps no versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Of the content, hex; known once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
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

/// What is in the bucket now, sorted by key.
///
/// # Errors
/// When it can't be listed.
pub async fn inventory(of: &Replica) -> Result<Vec<Version>, StoreError> {
    let target = of.store.target(&of.bucket, &of.prefix);
    let mut versions = Vec::new();
    if is_versioned(&of.store, &of.bucket).await? {
        let (mut key_marker, mut version_marker) = (None, None);
        loop {
            let request = of.store.client().list_object_versions().bucket(&of.bucket).prefix(&of.prefix);
            let request = request.set_key_marker(key_marker).set_version_id_marker(version_marker);
            let page = request.send().await.map_err(|e| target.sort(&e))?;
            let latest = page.versions().iter().filter(|v| v.is_latest() == Some(true));
            versions.extend(latest.filter_map(|v| {
                let key = v.key()?.strip_prefix(&of.prefix)?.to_owned();
                let size = v.size().and_then(|n| n.try_into().ok()).unwrap_or(0);
                let version_id = v.version_id().map(str::to_owned);
                Some(Version { key, size, etag: unquote(v.e_tag()), version_id, sha256: None })
            }));
            if page.is_truncated() != Some(true) {
                break;
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            version_marker = page.next_version_id_marker().map(str::to_owned);
        }
    } else {
        let listed = of.store.list(&of.bucket, &of.prefix).await?;
        versions.extend(listed.into_iter().filter_map(|l| {
            let key = l.key.strip_prefix(&of.prefix)?.to_owned();
            Some(Version { key, size: l.size, etag: l.etag, version_id: None, sha256: None })
        }));
    }
    versions.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(versions)
}

async fn is_versioned(store: &Store, bucket: &str) -> Result<bool, StoreError> {
    let sent = store.client().get_bucket_versioning().bucket(bucket).send().await;
    match sent.map_err(|e| store.target(bucket, "").sort(&e)) {
        Ok(reply) => Ok(reply.status() == Some(&aws_sdk_s3::types::BucketVersioningStatus::Enabled)),
        Err(StoreError::Unsupported { .. } | StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Every version and delete marker of a bucket, as key and version id.
pub(crate) async fn all_versions(store: &Store, bucket: &str) -> Result<Vec<(String, String)>, StoreError> {
    let target = store.target(bucket, "");
    let mut found = Vec::new();
    let (mut key_marker, mut version_marker) = (None, None);
    loop {
        let request = store.client().list_object_versions().bucket(bucket);
        let request = request.set_key_marker(key_marker).set_version_id_marker(version_marker);
        let page = match request.send().await.map_err(|e| target.sort(&e)) {
            Err(StoreError::Unsupported { .. }) => return Ok(found),
            page => page?,
        };
        let versions = page.versions().iter().filter_map(|v| Some((v.key()?.into(), v.version_id()?.into())));
        let markers =
            page.delete_markers().iter().filter_map(|m| Some((m.key()?.into(), m.version_id()?.into())));
        found.extend(versions.chain(markers));
        if page.is_truncated() != Some(true) {
            return Ok(found);
        }
        key_marker = page.next_key_marker().map(str::to_owned);
        version_marker = page.next_version_id_marker().map(str::to_owned);
    }
}

/// Copies versions that the destination does not hold. `known` is what it holds already, by key and content:
/// an object that was copied for an earlier point is not fetched again.
pub async fn copy(
    source: &Replica,
    versions: &[Version],
    destination: &Replica,
    known: &BTreeMap<(String, String), Version>,
    progress: &Progress,
) -> ReplicaTally {
    let mut tally = ReplicaTally::default();
    let mut copies = stream::iter(versions)
        .map(|version| async move {
            if let Some(held) = known.get(&(version.key.clone(), version.etag.clone())) {
                return (version, Ok((held.clone(), false)));
            }
            let copied = copy_one(source, version, destination).await;
            if copied.is_ok() {
                progress.add(version.size);
            }
            (version, copied.map(|held| (held, true)))
        })
        .buffer_unordered(AT_ONCE);
    while let Some((version, result)) = copies.next().await {
        match result {
            Ok((held, fresh)) => {
                if fresh {
                    tally.copied += 1;
                    tally.bytes += held.size;
                } else {
                    tally.skipped += 1;
                }
                tally.versions.push(held);
            }
            Err(error) => tally.failed.push((version.key.clone(), error)),
        }
    }
    tally.versions.sort_by(|a, b| a.key.cmp(&b.key));
    tally
}

/// GET of exactly that version into a PUT with the same metadata, hashed on the way.
async fn copy_one(source: &Replica, version: &Version, destination: &Replica) -> Result<Version, StoreError> {
    let from = format!("{}{}", source.prefix, version.key);
    let mut get = source.store.client().get_object().bucket(&source.bucket).key(&from);
    get = match &version.version_id {
        Some(id) => get.version_id(id),
        None => get.if_match(format!("\"{}\"", version.etag)),
    };
    let reply = get.send().await.map_err(|e| source.store.target(&source.bucket, &from).sort(&e))?;
    let description = Description {
        content_type: reply.content_type().map(str::to_owned),
        cache_control: reply.cache_control().map(str::to_owned),
        content_disposition: reply.content_disposition().map(str::to_owned),
        content_encoding: reply.content_encoding().map(str::to_owned),
        metadata: reply.metadata().cloned(),
    };
    let to = format!("{}{}", destination.prefix, version.key);
    let mut body = Body::new(reply.body, source, &from);
    let first = body.next_part().await?;
    let version_id = if body.at_end {
        put_small(destination, &to, first, description).await?
    } else {
        put_large(destination, &to, first, &mut body, description).await?
    };
    let (sha256, size) = body.finish();
    if size != version.size || version.sha256.as_ref().is_some_and(|expected| *expected != sha256) {
        return Err(StoreError::Mismatch {
            bucket: source.bucket.clone(),
            key: from,
            detail: format!("{size} bytes with SHA-256 {sha256}, where {} bytes were listed", version.size),
        });
    }
    // The source's ETag stays the name of the content: two stores may make different ones of the same bytes.
    Ok(Version {
        key: version.key.clone(),
        size,
        etag: version.etag.clone(),
        version_id,
        sha256: Some(sha256),
    })
}

/// What S3 keeps beside the content.
struct Description {
    content_type: Option<String>,
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
    let put = to.store.client().put_object().bucket(&to.bucket).key(key).body(body.into());
    let put = put
        .set_content_type(about.content_type)
        .set_cache_control(about.cache_control)
        .set_content_disposition(about.content_disposition)
        .set_content_encoding(about.content_encoding)
        .set_metadata(about.metadata);
    let reply = put.send().await.map_err(|e| to.store.target(&to.bucket, key).sort(&e))?;
    Ok(reply.version_id().map(str::to_owned))
}

async fn put_large(
    to: &Replica,
    key: &str,
    first: Bytes,
    body: &mut Body<'_>,
    about: Description,
) -> Result<Option<String>, StoreError> {
    let s3 = to.store.client();
    let create = s3.create_multipart_upload().bucket(&to.bucket).key(key);
    let create = create
        .set_content_type(about.content_type)
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
            let part = s3.upload_part().bucket(&to.bucket).key(key).upload_id(&upload).part_number(number);
            let reply = part.body(next.into()).send().await.map_err(|e| target.sort(&e))?;
            parts.push(
                CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(reply.e_tag().map(str::to_owned))
                    .build(),
            );
            next = body.next_part().await?;
        }
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

/// A body that is cut into parts and hashed as it comes.
struct Body<'a> {
    stream: ByteStream,
    rest: BytesMut,
    hash: Sha256,
    size: u64,
    at_end: bool,
    source: &'a Replica,
    key: &'a str,
}

impl<'a> Body<'a> {
    fn new(stream: ByteStream, source: &'a Replica, key: &'a str) -> Self {
        Self { stream, rest: BytesMut::new(), hash: Sha256::new(), size: 0, at_end: false, source, key }
    }

    /// Up to [`PART`] bytes; empty at the end.
    async fn next_part(&mut self) -> Result<Bytes, StoreError> {
        while self.rest.len() <= PART && !self.at_end {
            match self.stream.next().await {
                Some(Ok(chunk)) => {
                    self.hash.update(&chunk);
                    self.size += chunk.len() as u64;
                    self.rest.extend_from_slice(&chunk);
                }
                Some(Err(error)) => {
                    return Err(StoreError::Unreachable {
                        endpoint: self.source.store.endpoint().to_owned(),
                        detail: format!("{}/{} broke off: {error}", self.source.bucket, self.key),
                    });
                }
                None => self.at_end = true,
            }
        }
        let length = self.rest.len().min(PART);
        let part = self.rest.split_to(length).freeze();
        self.at_end = self.at_end && self.rest.is_empty();
        Ok(part)
    }

    fn finish(self) -> (String, u64) {
        (hex::encode(self.hash.finalize()), self.size)
    }
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
    let mut reads = stream::iter(versions)
        .map(|version| async move { (version, read_digest(replica, version).await) })
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
    let reply = get.send().await.map_err(|e| replica.store.target(&replica.bucket, &key).sort(&e))?;
    let mut body = Body::new(reply.body, replica, &key);
    while !body.next_part().await?.is_empty() {}
    Ok(body.finish())
}

/// The digest of a set of versions: keys, sizes and contents, whatever the store calls its versions.
#[must_use]
pub fn digest(versions: &[Version]) -> String {
    let mut hash = Sha256::new();
    for version in versions {
        let content = version.sha256.as_deref().unwrap_or_default();
        hash.update(format!("{}\0{}\0{content}\n", version.key, version.size));
    }
    format!("sha256:{}", hex::encode(hash.finalize()))
}

/// One version a line.
#[must_use]
pub fn encode(versions: &[Version]) -> Bytes {
    let lines = versions.iter().filter_map(|v| serde_json::to_string(v).ok());
    lines.map(|line| line + "\n").collect::<String>().into()
}

/// The reverse of [`encode`].
///
/// # Errors
/// Names the line that is not a version.
pub fn decode(text: &[u8]) -> Result<Vec<Version>, StoreError> {
    let lines = text.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let parse = |(number, line): (usize, &[u8])| {
        let what = || format!("line {} of an inventory", number + 1);
        serde_json::from_slice(line).map_err(|e| StoreError::Other { what: what(), detail: e.to_string() })
    };
    lines.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_is_read_as_it_was_written() {
        let version = |key: &str| Version {
            key: key.into(),
            size: 3,
            etag: "e".into(),
            version_id: Some("v".into()),
            sha256: None,
        };
        let versions = vec![version("a\n\"b\""), version("目录/文件")];
        assert_eq!(decode(&encode(&versions)).unwrap(), versions);
        assert!(decode(b"{}").unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn the_digest_is_of_contents_not_of_version_ids() {
        let version = |id: &str, sha: &str| Version {
            key: "k".into(),
            size: 1,
            etag: "e".into(),
            version_id: Some(id.into()),
            sha256: Some(sha.into()),
        };
        assert_eq!(digest(&[version("1", "x")]), digest(&[version("2", "x")]));
        assert_ne!(digest(&[version("1", "x")]), digest(&[version("1", "y")]));
    }
}
