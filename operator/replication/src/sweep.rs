//! Versions of a replica that no recovery point names any more, deleted for good.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use jiff::Timestamp;

use crate::inventory::Pages;
use crate::replica::{Replica, Version};
use crate::{Progress, StoreError};

/// Deletions in flight at once.
const AT_ONCE: usize = 16;

/// What inventories name.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    versions: BTreeSet<(String, String)>,
    /// Named without a version: every version of such a key stays.
    keys: BTreeSet<String>,
}

impl Needed {
    /// Adds what one inventory names.
    pub fn add(&mut self, versions: Vec<Version>) {
        for version in versions {
            match version.version_id {
                Some(id) => drop(self.versions.insert((version.key, id))),
                None => drop(self.keys.insert(version.key)),
            }
        }
    }

    fn has(&self, key: &str, id: &str) -> bool {
        self.keys.contains(key) || self.versions.contains(&(key.to_owned(), id.to_owned()))
    }
}

/// Deletes every version that is not needed and was written before `before`: younger ones may be of a run that has not
/// written down yet what it needs. What the store has locked stays, and is counted.
///
/// # Errors
/// When versions can't be listed, or the first deletion that failed for good.
pub async fn sweep(
    replica: &Replica,
    needed: &Needed,
    before: Timestamp,
    progress: &Progress,
) -> Result<u64, StoreError> {
    let mut locked = 0;
    let mut pages = Pages::new(&replica.store, &replica.bucket, &replica.prefix);
    while let Some(page) = pages.next().await? {
        let doomed: Vec<(String, String, u64)> = page
            .versions()
            .iter()
            .filter_map(|version| {
                let (key, id) = (version.key()?, version.version_id()?);
                let old = version.last_modified()?.secs() < before.as_second();
                let relative = key.strip_prefix(&replica.prefix)?;
                let size = version.size().and_then(|n| n.try_into().ok()).unwrap_or(0);
                (old && !needed.has(relative, id)).then(|| (key.to_owned(), id.to_owned(), size))
            })
            .collect();
        let deletions = doomed.into_iter().map(|(key, id, size)| async move {
            // What fails is found again by the next sweep.
            (replica.store.wire().delete_version(&replica.bucket, &key, &id).await, size)
        });
        let mut deletions = stream::iter(deletions).buffer_unordered(AT_ONCE);
        while let Some((deleted, size)) = deletions.next().await {
            match deleted {
                Ok(()) => progress.add(size),
                Err(StoreError::Denied { .. }) => locked += 1,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(locked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(key: &str, id: Option<&str>) -> Version {
        Version {
            key: key.into(),
            size: 1,
            etag: "e".into(),
            version_id: id.map(str::to_owned),
            sha256: None,
        }
    }

    #[test]
    fn a_key_that_is_named_without_a_version_keeps_all_of_them() {
        let mut needed = Needed::default();
        needed.add(vec![version("a", Some("1")), version("b", None)]);
        needed.add(vec![version("a", Some("3"))]);
        assert!(needed.has("a", "1") && needed.has("a", "3") && !needed.has("a", "2"));
        assert!(needed.has("b", "1") && needed.has("b", "null") && !needed.has("c", "1"));
    }
}
