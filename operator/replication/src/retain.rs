//! Versions that a store keeps whatever anybody asks of it: what was proved is locked, what was deleted or overwritten above a
//! lock is brought back, and what has been out of use for long goes for good.
//!
//! A lock is of the compliance mode: nobody takes it off or shortens it, whatever his rights.

use std::collections::VecDeque;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::addressed::digest_in;
use crate::store::persist;
use crate::transfer::{At, Meant, transfer};
use crate::wire::{Part, Retention, Version};
use crate::{Store, StoreError};

/// Versions looked at or changed at once.
const AT_ONCE: usize = 16;
const COMPLIANCE: &str = "COMPLIANCE";

/// A bucket whose versions are kept.
#[derive(Clone, Copy, Debug)]
pub struct Keeper<'a> {
    pub store: &'a Store,
    pub bucket: &'a str,
}

impl<'a> Keeper<'a> {
    /// Locks versions until a moment, or the current ones of keys without a version id. What is locked for so long already
    /// costs one HEAD. Returns how many locks were put on or made longer.
    ///
    /// # Errors
    /// The first call that failed for good: [`StoreError::NotFound`] where there is no such version. What was locked by then
    /// is.
    pub async fn lock(
        self,
        versions: impl IntoIterator<Item = (String, Option<String>)>,
        until: Timestamp,
    ) -> Result<u64, StoreError> {
        let retention = Retention { mode: COMPLIANCE.to_owned(), until: until.to_string() };
        let retention = &retention;
        let locks = versions.into_iter().map(|(key, version)| async move {
            let version = version.as_deref();
            // Some stores don't tell of an older version: then it is locked anew, until the same moment.
            if until_of(self.told(&key, version).await?).is_some_and(|held| held >= until) {
                return Ok(0);
            }
            persist(|| self.store.wire().put_retention((self.bucket, &key), version, retention)).await?;
            Ok(1)
        });
        stream::iter(locks).buffer_unordered(AT_ONCE).try_fold(0, async |sum, n| Ok(sum + n)).await
    }

    /// Brings back what a lock protects under a prefix though it was deleted, or a later version covers it: of the keys that are
    /// wanted, who is told whether they were deleted. Returns those that were brought back. Whether they are right now is for
    /// the caller to prove.
    ///
    /// # Errors
    /// The first call that failed for good. What was brought back by then is.
    pub async fn recall(
        self,
        prefix: &str,
        is_wanted: impl Fn(&str, bool) -> bool,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let mut recalled = Vec::new();
        let mut histories = self.histories(prefix);
        while let Some(history) = histories.next().await? {
            let Some(top) = history.first() else { continue };
            let key = &top.entry.key;
            if is_wanted(key, top.is_marker) && self.recall_one(&history, now).await? {
                recalled.push(key.clone());
            }
        }
        Ok(recalled)
    }

    /// Whether a key was deleted while a lock protects it.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn is_deleted_in_spite(self, key: &str, now: Timestamp) -> Result<bool, StoreError> {
        let Some(history) = self.histories(key).next().await? else { return Ok(false) };
        let deleted = history.first().is_some_and(|top| top.is_marker && top.entry.key == key);
        Ok(deleted && !self.protected(&history, now).await?.is_empty())
    }

    /// Deletes for good what has not been current since `before`: covered by a later version, or deleted. What a lock protects
    /// stays; returns how many versions that are.
    ///
    /// # Errors
    /// When versions can't be listed, or the first deletion that failed for another reason.
    pub async fn purge(self, prefix: &str, before: Timestamp) -> Result<u64, StoreError> {
        let (mut locked, mut histories) = (0, self.histories(prefix));
        while let Some(history) = histories.next().await? {
            let old = |version: &Version| version.entry.modified < before.as_millisecond();
            let doomed = history.iter().skip(1).zip(&history).filter(|(_, above)| old(above));
            let mut stays = history.len() - 1;
            for (version, _) in doomed {
                match self.delete(version).await {
                    Ok(()) => stays -= 1,
                    Err(StoreError::Denied { .. }) => locked += 1,
                    Err(error) => return Err(error),
                }
            }
            // The marker last: without it, what is below would be there again.
            if let Some(top) = history.first().filter(|top| top.is_marker && old(top) && stays == 0) {
                self.delete(top).await?;
            }
        }
        Ok(locked)
    }

    async fn recall_one(self, history: &[Version], now: Timestamp) -> Result<bool, StoreError> {
        for at in self.protected(history, now).await? {
            let (above, good) = (&history[..at], &history[at]);
            if above.iter().all(|version| version.is_marker) {
                for marker in above {
                    self.delete(marker).await?;
                }
                return Ok(true);
            }
            // What covers it may be locked as well: the same content is put on top.
            let key = &good.entry.key;
            let place = At { wire: self.store.wire(), bucket: self.bucket, key };
            let version = good.entry.version.as_deref();
            let meant = Meant { version, size: good.entry.size, sha256: digest_in(key), ..Meant::default() };
            match persist(|| transfer(place, meant, place)).await {
                Ok(_) => return Ok(true),
                // Somebody has locked what is wrong: there may be another below it.
                Err(StoreError::Mismatch { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Where in a history the versions are that are not current and that a lock protects, the newest first.
    async fn protected(self, history: &[Version], now: Timestamp) -> Result<Vec<usize>, StoreError> {
        let mut protected = Vec::new();
        for (at, version) in history.iter().enumerate().skip(1).filter(|(_, v)| !v.is_marker) {
            let (key, id) = (version.entry.key.as_str(), version.entry.version.as_deref());
            let retention = match self.told(key, id).await {
                Ok(None) => persist(|| self.store.wire().retention((self.bucket, key), id)).await?,
                Err(StoreError::NotFound { .. }) => None,
                told => told?,
            };
            if until_of(retention).is_some_and(|until| until > now) {
                protected.push(at);
            }
        }
        Ok(protected)
    }

    /// What a HEAD tells of the lock of a version.
    async fn told(self, key: &str, version: Option<&str>) -> Result<Option<Retention>, StoreError> {
        let part = Part { version, ..Part::default() };
        let found = persist(|| self.store.wire().head(self.bucket, key, part)).await?;
        let missing = || StoreError::NotFound { bucket: self.bucket.to_owned(), key: key.to_owned() };
        Ok(found.ok_or_else(missing)?.1.lock.retention)
    }

    async fn delete(self, version: &Version) -> Result<(), StoreError> {
        let (key, id) = (&version.entry.key, version.entry.version.as_deref().unwrap_or("null"));
        persist(|| self.store.wire().delete_version(self.bucket, key, id)).await
    }

    fn histories(self, prefix: &'a str) -> Histories<'a> {
        Histories { keeper: self, prefix, page: VecDeque::new(), after: None, more: true }
    }
}

fn until_of(retention: Option<Retention>) -> Option<Timestamp> {
    retention.filter(|retention| retention.mode == COMPLIANCE)?.until.parse().ok()
}

/// The versions of one key after the other, the newest first.
struct Histories<'a> {
    keeper: Keeper<'a>,
    prefix: &'a str,
    page: VecDeque<Version>,
    after: Option<(String, Option<String>)>,
    more: bool,
}

impl Histories<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Version>>, StoreError> {
        let mut history: Vec<Version> = Vec::new();
        loop {
            while let Some(version) = self.page.front() {
                if history.first().is_some_and(|first| first.entry.key != version.entry.key) {
                    return Ok(Some(history));
                }
                history.extend(self.page.pop_front());
            }
            if !self.more {
                return Ok(Some(history).filter(|history| !history.is_empty()));
            }
            self.turn().await?;
        }
    }

    async fn turn(&mut self) -> Result<(), StoreError> {
        let Keeper { store, bucket } = self.keeper;
        let after = self.after.as_ref().map(|(key, version)| (key.as_str(), version.as_deref()));
        let page = persist(|| store.wire().versions(bucket, self.prefix, after)).await?;
        self.more = page.truncated;
        if self.more && (page.next.is_none() || page.next == self.after) {
            // Else this would list the same page for ever.
            return Err(StoreError::Other {
                what: format!("versions of bucket {bucket:?} at {}", store.endpoint()),
                detail: "the listing is cut off and does not say where it goes on".into(),
            });
        }
        self.after = page.next;
        let mut versions = page.versions;
        // Some stores list all markers before all versions.
        versions.sort_by(|a, b| {
            let newest = (b.is_latest, b.entry.modified).cmp(&(a.is_latest, a.entry.modified));
            a.entry.key.cmp(&b.entry.key).then(newest)
        });
        self.page = versions.into();
        Ok(())
    }
}
