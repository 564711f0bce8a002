//! Making and clearing away: buckets, prefixes, objects with all their versions.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{BucketVersioningStatus, Tag, Tagging, VersioningConfiguration};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{Store, StoreError};

/// Deletions in flight at once.
const AT_ONCE: usize = 16;

/// How much is in a bucket, as of its current versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub objects: u64,
    pub bytes: u64,
}

impl Store {
    /// Counts what is in a bucket, by listing all of it a page at a time.
    pub async fn measure(&self, bucket: &str) -> Result<Size, StoreError> {
        let mut pages = self.client().list_objects_v2().bucket(bucket).into_paginator().send();
        let mut size = Size::default();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| self.target(bucket, "").sort(&e))?;
            for object in page.contents() {
                size.objects += 1;
                size.bytes += object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            }
        }
        Ok(size)
    }

    /// Deletes an object; that there is none is success.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        let sent = self.client().delete_object().bucket(bucket).key(key).send().await;
        match sent.map_err(|e| self.target(bucket, key).sort(&e)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether a bucket is there.
    pub async fn has_bucket(&self, bucket: &str) -> Result<bool, StoreError> {
        let sent = self.client().head_bucket().bucket(bucket).send().await;
        match sent.map_err(|e| self.target(bucket, "").sort(&e)) {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. } | StoreError::NoSuchBucket { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a bucket unless it is there.
    pub async fn ensure_bucket(&self, bucket: &str, versioned: bool) -> Result<(), StoreError> {
        if !self.has_bucket(bucket).await? {
            let made = self.once().create_bucket().bucket(bucket).send().await;
            match made.map_err(|e| self.target(bucket, "").sort(&e)) {
                // 409: somebody was faster; if it is not ours, the first write says so.
                Ok(_) | Err(StoreError::Mismatch { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if versioned {
            let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            let sent = self
                .client()
                .put_bucket_versioning()
                .bucket(bucket)
                .versioning_configuration(on)
                .send()
                .await;
            sent.map_err(|e| self.target(bucket, "").sort(&e))?;
        }
        Ok(())
    }

    /// The tags of a bucket: none where it has none or the store knows none.
    pub async fn bucket_tags(&self, bucket: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let sent = self.client().get_bucket_tagging().bucket(bucket).send().await;
        match sent.map_err(|e| self.target(bucket, "").sort(&e)) {
            Ok(reply) => Ok(reply.tag_set().iter().map(|t| (t.key().into(), t.value().into())).collect()),
            Err(StoreError::NotFound { .. } | StoreError::Unsupported { .. }) => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Gives a bucket these tags, and no others.
    pub async fn put_bucket_tags(
        &self,
        bucket: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let malformed = |e: aws_sdk_s3::error::BuildError| StoreError::Other {
            what: format!("tags of bucket {bucket:?}"),
            detail: e.to_string(),
        };
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags = tags.collect::<Result<Vec<_>, _>>().map_err(malformed)?;
        let tags = Tagging::builder().set_tag_set(Some(tags)).build().map_err(malformed)?;
        let sent = self.client().put_bucket_tagging().bucket(bucket).tagging(tags).send().await;
        sent.map(drop).map_err(|e| self.target(bucket, "").sort(&e))
    }

    /// Deletes a bucket with everything in it, all versions and delete markers. That there is none is success.
    pub async fn remove_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        if !self.has_bucket(bucket).await? {
            return Ok(());
        }
        self.erase(bucket, "").await?;
        let sent = self.client().delete_bucket().bucket(bucket).send().await;
        match sent.map_err(|e| self.target(bucket, "").sort(&e)) {
            Err(StoreError::NoSuchBucket { .. } | StoreError::NotFound { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes what is under a prefix, as [`Store::delete`] does: where the bucket keeps versions they stay.
    pub async fn delete_prefix(&self, bucket: &str, prefix: &str) -> Result<(), StoreError> {
        let listed = self.list(bucket, prefix).await?;
        let deletions =
            listed.into_iter().map(|listed| async move { self.delete(bucket, &listed.key).await });
        stream::iter(deletions).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Deletes what is under a prefix with all versions and delete markers. Nothing can bring it back.
    pub async fn erase(&self, bucket: &str, prefix: &str) -> Result<(), StoreError> {
        let versions = self.all_versions(bucket, prefix).await?;
        let deletions = versions.into_iter().map(|(key, version)| async move {
            let request = self.client().delete_object().bucket(bucket).key(&key).version_id(version);
            match request.send().await.map_err(|e| self.target(bucket, &key).sort(&e)) {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(()),
            }
        });
        stream::iter(deletions).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        // What the store does not count as a version: everything, where it knows none.
        self.delete_prefix(bucket, prefix).await
    }

    /// Every version and delete marker under a prefix, as key and version id. None where the store knows none.
    async fn all_versions(&self, bucket: &str, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let mut found = Vec::new();
        let mut pages = crate::inventory::Pages::new(self, bucket, prefix);
        loop {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) | Err(StoreError::Unsupported { .. }) => return Ok(found),
                Err(error) => return Err(error),
            };
            let versions =
                page.versions().iter().filter_map(|v| Some((v.key()?.into(), v.version_id()?.into())));
            let markers =
                page.delete_markers().iter().filter_map(|m| Some((m.key()?.into(), m.version_id()?.into())));
            found.extend(versions.chain(markers));
        }
    }
}
