//! Small objects beside a manifest that several processes change: each on the condition that it is still the one that was
//! read. A store that does not keep that promise can't be used for it.

use bytes::Bytes;

use crate::StoreError;
use crate::engine::manifest::Place;
use crate::wire::{About, Condition, ETag, Outgoing, Part, Wire};

/// A place in a bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    wire: Wire,
    bucket: String,
    prefix: String,
}

impl Objects {
    /// # Errors
    /// [`StoreError::Unsupported`] where the place is no bucket.
    pub(super) fn of(place: &Place) -> Result<Self, StoreError> {
        match place {
            Place::Bucket { wire, bucket, prefix } => {
                Ok(Self { wire: wire.clone(), bucket: bucket.clone(), prefix: prefix.clone() })
            }
            Place::Folder(_) | Place::Nowhere => Err(StoreError::Unsupported {
                endpoint: "a manifest that is not in a bucket".to_owned(),
                detail: "shards are leased in a bucket; name one".to_owned(),
            }),
        }
    }

    pub(super) async fn read(&self, name: &str) -> Result<Option<(Bytes, ETag)>, StoreError> {
        let key = format!("{}{name}", self.prefix);
        let read = async || {
            let found = self.wire.get(&self.bucket, &key, Part::default()).await?;
            let etag = found.etag.clone();
            Ok::<_, StoreError>((self.wire.rest(&self.bucket, &key, found).await?, etag))
        };
        match self.wire.persist(read).await {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes where the condition holds, and says what the store calls it then; `None` where it does not hold. What is written
    /// has to be unlike anything that others write: the answer to it may be lost, and then it is looked for.
    pub(super) async fn write(
        &self,
        name: &str,
        condition: &Condition,
        bytes: &Bytes,
    ) -> Result<Option<ETag>, StoreError> {
        let key = format!("{}{name}", self.prefix);
        let put = async || {
            let body = Outgoing::Whole(Some(bytes.clone()));
            self.wire.put(&self.bucket, &key, &About::default(), condition, body, None).await
        };
        match self.wire.persist(put).await {
            Ok(written) if !written.etag.is_empty() => Ok(Some(written.etag)),
            Ok(_) | Err(StoreError::Mismatch { .. } | StoreError::NotFound { .. }) => {
                let there = self.read(name).await?;
                Ok(there.filter(|(there, _)| there == bytes).map(|(_, etag)| etag))
            }
            Err(error) => Err(error),
        }
    }

    /// Names below a folder that ends in `/`, with what the store calls their content.
    pub(super) async fn list(&self, below: &str) -> Result<Vec<(String, ETag)>, StoreError> {
        let at = format!("{}{below}", self.prefix);
        let (mut after, mut found): (Option<String>, Vec<(String, ETag)>) = (None, Vec::new());
        loop {
            let list = || self.wire.list(&self.bucket, &at, after.as_deref(), None);
            let page = self.wire.persist(list).await?;
            let is_last = !page.truncated || page.entries.is_empty();
            after = page.entries.last().map(|entry| entry.key.clone());
            let relative = page
                .entries
                .into_iter()
                .filter_map(|entry| Some((entry.key.strip_prefix(&self.prefix)?.to_owned(), entry.etag)));
            found.extend(relative);
            if is_last {
                return Ok(found);
            }
        }
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let key = format!("{}{name}", self.prefix);
        self.wire.persist(|| self.wire.delete(&self.bucket, &key)).await
    }

    /// Tries out, with an object of this name, whether conditions hold here.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] where they do not.
    pub(super) async fn prove_conditions(&self, name: &str) -> Result<(), StoreError> {
        let (first, second) = (Bytes::from(format!("{name} 1")), Bytes::from(format!("{name} 2")));
        let proved = async {
            let Some(etag) = self.write(name, &Condition::Absent, &first).await? else { return Ok(false) };
            let again = self.write(name, &Condition::Absent, &second).await?;
            let replaced = self.write(name, &Condition::Is(etag.clone()), &second).await?;
            let late = self.write(name, &Condition::Is(etag), &first).await?;
            Ok::<_, StoreError>(again.is_none() && replaced.is_some() && late.is_none())
        };
        let proved = proved.await;
        self.remove(name).await?;
        if proved? {
            return Ok(());
        }
        Err(StoreError::Unsupported {
            endpoint: self.wire.endpoint().to_owned(),
            detail: format!(
                "writes on a condition (If-Match, If-None-Match) do not hold in bucket {:?}; shards can't be leased there",
                self.bucket
            ),
        })
    }
}
