//! What a point has of a bucket, as its manifest vouches for it.

use tripod_domain::manifest::PointManifest;
use tripod_replication::replica::{self, Version};

use super::layout;
use super::repository::{SystemVault, VaultError};

impl SystemVault {
    /// The versions of a bucket in a point; nothing where the point has no such bucket.
    ///
    /// # Errors
    /// When it can't be read, or is not the one of the point.
    pub async fn inventory(
        &self,
        of: &PointManifest,
        bucket: &str,
    ) -> Result<Option<Vec<Version>>, VaultError> {
        let Some(part) = of.buckets.get(bucket) else { return Ok(None) };
        let key = layout::inventory(&of.system, &of.point, bucket);
        let text = self.store.get(&self.bucket, &key).await?;
        let malformed = |detail: String| VaultError::Malformed { key: key.clone(), detail };
        let versions = replica::decode(&text).map_err(|error| malformed(error.to_string()))?;
        if replica::digest(&versions) != part.digest {
            return Err(malformed("the inventory is not the one of the point".to_owned()));
        }
        Ok(Some(versions))
    }
}
