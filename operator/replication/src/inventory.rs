//! What is in a bucket at one moment: listed, written down one object a line, and named by a digest.

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::BucketVersioningStatus;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::replica::Replica;
use crate::store::unquote;
use crate::{Store, StoreError};

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

/// What is in the bucket now, sorted by key.
///
/// # Errors
/// When it can't be listed.
pub async fn inventory(of: &Replica) -> Result<Vec<Version>, StoreError> {
    let mut versions = Vec::new();
    if is_versioned(&of.store, &of.bucket).await? {
        let mut pages = Pages::new(&of.store, &of.bucket, &of.prefix);
        while let Some(page) = pages.next().await? {
            let latest = page.versions().iter().filter(|v| v.is_latest() == Some(true));
            versions.extend(latest.filter_map(|v| {
                let key = v.key()?.strip_prefix(&of.prefix)?.to_owned();
                let size = v.size().and_then(|n| n.try_into().ok()).unwrap_or(0);
                let version_id = v.version_id().filter(|id| !id.is_empty()).map(str::to_owned);
                Some(Version { key, size, etag: unquote(v.e_tag()), version_id, sha256: None })
            }));
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
        Ok(reply) => Ok(reply.status() == Some(&BucketVersioningStatus::Enabled)),
        Err(StoreError::Unsupported { .. } | StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The pages of a listing of versions.
pub(crate) struct Pages<'a> {
    store: &'a Store,
    bucket: &'a str,
    prefix: &'a str,
    /// Where the next page starts; `None` after the last.
    next: Option<(Option<String>, Option<String>)>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(store: &'a Store, bucket: &'a str, prefix: &'a str) -> Self {
        Self { store, bucket, prefix, next: Some((None, None)) }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<ListObjectVersionsOutput>, StoreError> {
        let Some(start) = self.next.take() else { return Ok(None) };
        let (key, version) = start.clone();
        let list = self.store.client().list_object_versions().bucket(self.bucket).prefix(self.prefix);
        let sent = list.set_key_marker(key).set_version_id_marker(version).send().await;
        let page = sent.map_err(|e| self.store.target(self.bucket, self.prefix).sort(&e))?;
        if page.is_truncated() == Some(true) {
            let owned = |marker: Option<&str>| marker.map(str::to_owned);
            let next = (owned(page.next_key_marker()), owned(page.next_version_id_marker()));
            if next.0.is_none() || next == start {
                // Else this would list the same page for ever.
                return Err(StoreError::Other {
                    what: format!("versions of bucket {:?} at {}", self.bucket, self.store.endpoint()),
                    detail: "the listing is cut off and does not say where it goes on".into(),
                });
            }
            self.next = Some(next);
        }
        Ok(Some(page))
    }
}

/// The digest of a set of versions, in whatever order: keys, sizes and contents, whatever the store calls its
/// versions. Where a content was never read, the store's word for it (the `ETag`) stands in.
#[must_use]
pub fn digest(versions: &[Version]) -> String {
    let mut hash = Sha256::new();
    let mut sorted: Vec<&Version> = versions.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    for version in sorted {
        let content = version.sha256.clone().unwrap_or_else(|| format!("etag {}", version.etag));
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
