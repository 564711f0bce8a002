//! Files whose name is the SHA-256 of their content, as in a backup repository. They are never changed, so that
//! what is there with the right name and size need not be fetched again, and what is read can be proved.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::{Progress, Store, StoreError};

/// How many files are moved or read at once. Each is held in memory whole: packs are up to 40 MiB.
const AT_ONCE: usize = 4;

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
    let wanted: Vec<(String, u64)> = there
        .iter()
        .filter(|(name, size)| again.contains(*name) || here.get(*name) != Some(*size))
        .map(|(name, size)| (name.clone(), *size))
        .collect();
    let mut tally = CopyTally { skipped: (there.len() - wanted.len()) as u64, ..CopyTally::default() };
    let mut copies = stream::iter(wanted)
        .map(|(name, _)| async move {
            let body = source.store.get(&source.bucket, &source.key(&name)).await?;
            if !is_addressed_right(&name, &body) {
                return Ok((name, None));
            }
            let bytes = body.len() as u64;
            destination.store.put(&destination.bucket, &destination.key(&name), body).await?;
            progress.add(bytes);
            Ok::<_, StoreError>((name, Some(bytes)))
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
            let body = place.store.get(&place.bucket, &place.key(&name)).await;
            (name, body)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((name, body)) = reads.next().await {
        match body {
            Ok(body) => {
                progress.add(body.len() as u64);
                tally.checked += 1;
                tally.bytes += body.len() as u64;
                if !is_addressed_right(&name, &body) {
                    tally.damaged.push(name);
                }
            }
            Err(error) if error.is_not_found() => tally.missing.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(tally)
}

/// Whether the content has the digest that its name says. A name that is no digest (`config`) says nothing.
fn is_addressed_right(name: &str, body: &[u8]) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    let is_digest = last.len() == 64 && last.bytes().all(|b| b.is_ascii_hexdigit());
    !is_digest || hex::encode(Sha256::digest(body)) == last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_digest_binds_its_content() {
        let name = format!("data/2c/{}", hex::encode(Sha256::digest(b"foo")));
        assert!(is_addressed_right(&name, b"foo"));
        assert!(!is_addressed_right(&name, b"fop"));
        assert!(is_addressed_right("config", b"anything"));
    }
}
