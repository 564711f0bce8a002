//! Files whose name is the SHA-256 of their content, as in a backup repository. They are never changed, so that
//! what is there with the right name and size need not be fetched again, and what is read can be proved.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};

use crate::store::persist;
use crate::transfer::{At, Meant, digest, transfer};
use crate::{Progress, Store, StoreError};

/// How many files are moved or read at once.
const AT_ONCE: usize = 16;

/// A folder in a bucket.
#[derive(Clone, Debug)]
pub struct Place {
    pub store: Store,
    pub bucket: String,
    /// Ends in `/`.
    pub prefix: String,
}

/// What a copy came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyTally {
    pub copied: u64,
    /// There already, with the right name and size.
    pub skipped: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Files that were asked for and that neither side has.
    pub missing: Vec<String>,
    /// Files of the source whose content is not what their name says. Not copied.
    pub damaged: Vec<String>,
}

/// What a verification came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyTally {
    pub checked: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Files whose content is not what their name says.
    pub damaged: Vec<String>,
    /// Files that were asked for and are not there.
    pub missing: Vec<String>,
}

impl VerifyTally {
    /// Everything that was asked for is there and right.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty()
    }
}

impl Place {
    /// Names of all files below the folder, with sizes. Names are relative to the place.
    async fn files(&self, folder: &str) -> Result<BTreeMap<String, u64>, StoreError> {
        let listed = self.store.list(&self.bucket, &format!("{}{folder}", self.prefix)).await?;
        let relative = |key: &str| key.strip_prefix(&self.prefix).map(str::to_owned);
        Ok(listed.into_iter().filter_map(|l| Some((relative(&l.key)?, l.size))).collect())
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn at<'a>(&'a self, key: &'a str) -> At<'a> {
        At { wire: self.store.wire(), bucket: &self.bucket, key }
    }
}

/// Copies what the destination lacks or has in another size, and what is named in `again` in any case. What the
/// source has damaged is counted and not copied: damage does not travel.
///
/// # Errors
/// The first call that failed for good. What was copied by then stays and is not copied again.
pub async fn copy_missing(
    source: &Place,
    destination: &Place,
    folder: &str,
    again: &BTreeSet<String>,
    progress: &Progress,
) -> Result<CopyTally, StoreError> {
    let (there, here) = futures::future::try_join(source.files(folder), destination.files(folder)).await?;
    copy_listed(source, destination, &there, &here, again, progress).await
}

/// As [`copy_missing`], of these files only.
///
/// # Errors
/// The first call that failed for good.
pub async fn copy_these(
    source: &Place,
    destination: &Place,
    folder: &str,
    files: &BTreeSet<String>,
    again: &BTreeSet<String>,
    progress: &Progress,
) -> Result<CopyTally, StoreError> {
    let (mut there, here) =
        futures::future::try_join(source.files(folder), destination.files(folder)).await?;
    there.retain(|name, _| files.contains(name));
    let nowhere =
        |name: &&String| !there.contains_key(*name) && (again.contains(*name) || !here.contains_key(*name));
    let missing = files.iter().filter(nowhere).cloned().collect();
    let tally = copy_listed(source, destination, &there, &here, again, progress).await?;
    Ok(CopyTally { missing, ..tally })
}

async fn copy_listed(
    source: &Place,
    destination: &Place,
    there: &BTreeMap<String, u64>,
    here: &BTreeMap<String, u64>,
    again: &BTreeSet<String>,
    progress: &Progress,
) -> Result<CopyTally, StoreError> {
    let wanted: Vec<(String, u64)> = there
        .iter()
        .filter(|(name, size)| again.contains(*name) || here.get(*name) != Some(*size))
        .map(|(name, size)| (name.clone(), *size))
        .collect();
    let mut tally = CopyTally { skipped: (there.len() - wanted.len()) as u64, ..CopyTally::default() };
    let mut copies = stream::iter(wanted)
        .map(|(name, size)| async move {
            let (from, to) = (source.key(&name), destination.key(&name));
            let meant = Meant { size, sha256: digest_in(&name), ..Meant::default() };
            match persist(|| transfer(source.at(&from), meant, destination.at(&to))).await {
                Ok(_) => {
                    progress.add(size);
                    Ok((name, Some(size)))
                }
                Err(StoreError::Mismatch { .. }) => Ok((name, None)),
                Err(error) => Err(error),
            }
        })
        .buffer_unordered(AT_ONCE);
    while let Some(copy) = copies.next().await {
        match copy? {
            (_, Some(bytes)) => {
                tally.copied += 1;
                tally.bytes += bytes;
            }
            (name, None) => tally.damaged.push(name),
        }
    }
    Ok(tally)
}

/// Reads files and compares each with its name: all below the folder, or those in `only`.
///
/// # Errors
/// The first call that failed for good; that a file is absent or damaged is a finding, not an error.
pub async fn verify(
    place: &Place,
    folder: &str,
    only: Option<&BTreeSet<String>>,
    progress: &Progress,
) -> Result<VerifyTally, StoreError> {
    let names: Vec<String> = match only {
        Some(only) => only.iter().cloned().collect(),
        None => place.files(folder).await?.into_keys().collect(),
    };
    let mut tally = VerifyTally::default();
    let mut reads = stream::iter(names)
        .map(|name| async move {
            let key = place.key(&name);
            let read = persist(|| digest(place.at(&key), None)).await;
            (name, read)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((name, body)) = reads.next().await {
        match body {
            Ok((sha256, size)) => {
                progress.add(size);
                tally.checked += 1;
                tally.bytes += size;
                if digest_in(&name).is_some_and(|expected| expected != sha256) {
                    tally.damaged.push(name);
                }
            }
            Err(error) if error.is_not_found() => tally.missing.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(tally)
}

/// The SHA-256 that a name says its content has. A name that is no digest (`config`) says nothing.
pub(crate) fn digest_in(name: &str) -> Option<&str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let is_digest =
        last.len() == 64 && last.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_digest.then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_digest_says_what_its_content_is() {
        let digest = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(digest_in(&format!("data/2c/{digest}")), Some(digest));
        assert_eq!(digest_in(digest), Some(digest));
        assert_eq!(digest_in("config"), None);
        assert_eq!(digest_in(&digest.to_uppercase()), None);
    }
}
