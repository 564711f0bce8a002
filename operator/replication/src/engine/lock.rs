//! Copies are locked against deletion as their originals are, where the destination's bucket has object lock: by the write
//! itself, if its MD5 is known beforehand, which stores demand of locked writes; else right after it.

use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};

use super::copy::Copier;
use crate::StoreError;
use crate::wire::{About, Lock, Part};

/// What ends sooner than this protects nothing any more, and stores refuse a lock that has ended.
const SHORT: SignedDuration = SignedDuration::from_mins(1);

impl Copier {
    /// What a copy is to be written with, and what it is to be locked with afterwards. `md5`: of what is sent, if it is known.
    pub(super) fn protected(&self, mut about: About, md5: Option<&[u8; 16]>) -> (About, Option<Lock>) {
        if !self.limits.destination_locks.unwrap_or(false) {
            if !about.lock.is_none() {
                self.losses.lock.fetch_add(1, Ordering::Relaxed);
            }
            return (about, None);
        }
        about.lock = lasting(std::mem::take(&mut about.lock), Timestamp::now());
        // The bucket may lock what nobody asks to lock: then too the MD5 is demanded.
        if let Some(md5) = md5 {
            return (about.with_md5(md5).locked(), None);
        }
        let lock = std::mem::take(&mut about.lock);
        (about, (!lock.is_none()).then_some(lock))
    }

    /// Locks what was written.
    ///
    /// # Errors
    /// What a call can fail with: then the copy is there, and is not what it should be.
    pub(super) async fn lock(
        &self,
        key: &str,
        version: Option<&str>,
        lock: Option<Lock>,
    ) -> Result<(), StoreError> {
        let Some(lock) = lock else { return Ok(()) };
        let to = &self.destination;
        if let Some(retention) = &lock.retention {
            to.wire.persist(|| to.wire.put_retention((&to.bucket, key), version, retention)).await?;
        }
        if lock.hold {
            to.wire.persist(|| to.wire.put_legal_hold((&to.bucket, key), version)).await?;
        }
        Ok(())
    }

    /// Locks a copy as its original is: the request that should have done it may not have been made.
    ///
    /// # Errors
    /// What a call can fail with.
    pub(super) async fn lock_again(
        &self,
        key: &str,
        original: Option<&str>,
        copy: Option<&str>,
    ) -> Result<(), StoreError> {
        if self.limits.destination_locks != Some(true) {
            return Ok(());
        }
        let (from, to) = (&self.source, &self.destination);
        let (at, part) = (from.key(key), Part { version: original, ..Part::default() });
        let head = from.wire.persist(|| from.wire.head(&from.bucket, &at, part)).await?;
        let lock = head.map(|(_, about)| lasting(about.lock, Timestamp::now()));
        self.lock(&to.key(key), copy, lock.filter(|lock| !lock.is_none())).await
    }
}

/// What of a lock has not ended.
fn lasting(lock: Lock, now: Timestamp) -> Lock {
    let lasts = |until: &str| until.parse::<Timestamp>().is_ok_and(|until| until.duration_since(now) > SHORT);
    Lock { retention: lock.retention.filter(|retention| lasts(&retention.until)), ..lock }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Retention;

    #[test]
    fn what_has_ended_is_not_locked_again() {
        let lock = |until: &str| Lock {
            retention: Some(Retention { mode: "GOVERNANCE".into(), until: until.into() }),
            hold: true,
        };
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let later = lock("2026-01-02T03:06:05Z");
        assert_eq!(lasting(later.clone(), now), later);
        for over in ["2026-01-02T03:05:05Z", "2025-01-01T00:00:00Z", "never"] {
            assert_eq!(lasting(lock(over), now), Lock { retention: None, hold: true });
        }
    }
}
