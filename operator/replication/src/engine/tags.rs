//! Objects that are wanted only if they have certain tags. A listing tells no tags, and asking costs a request for each object:
//! so only those are asked for that would be copied, and that one lacks them is on record for a day. A tag that is added later
//! changes nothing else at an object; after a day it is noticed.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use sha2::{Digest as _, Sha256};

use super::record::{Proof, Record, Seen};
use super::{Filter, Side, journal};
use crate::StoreError;
use crate::rate::Pace;
use crate::wire::{ETag, Entry};

/// Objects that are asked for at once.
const AT_ONCE: usize = 32;
/// Milliseconds in which nobody is asked again.
const DAY: i64 = 24 * 3600 * 1000;

/// Tags that an object has to have, all of them.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    tags: BTreeMap<String, String>,
    /// What was asked for, in a record: with other tags it says nothing.
    name: ETag,
}

impl Asked {
    /// Of a filter that asks for any.
    pub(super) fn of(filter: &Filter) -> Option<Self> {
        if filter.tags.is_empty() {
            return None;
        }
        let mut digest = Sha256::new();
        for text in filter.tags.iter().flat_map(|(name, value)| [name, value]) {
            digest.update(text.len().to_be_bytes());
            digest.update(text);
        }
        let name = ETag::new(&format!("tags {}", &hex::encode(digest.finalize())[..16]));
        Some(Self { tags: filter.tags.clone(), name })
    }

    /// Whether an object has them. One that is gone has none.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] of a store that keeps none; else what a call can fail with.
    pub(super) async fn are_on(&self, side: &Side, key: &str) -> Result<bool, StoreError> {
        let at = side.key(key);
        match side.wire.persist(|| side.wire.tags(&side.bucket, &at, None)).await {
            Ok(there) => Ok(self.tags.iter().all(|(n, v)| there.iter().any(|(m, w)| n == m && v == w))),
            Err(error) if error.is_not_found() => Ok(false),
            Err(StoreError::Unsupported { endpoint, detail }) => Err(StoreError::Unsupported {
                endpoint,
                detail: format!(
                    "{detail}; without tags of objects nothing can be chosen by them: leave --tag out"
                ),
            }),
            Err(error) => Err(error),
        }
    }

    /// The same of many, in their order.
    pub(super) async fn are_on_each<T>(
        &self,
        side: &Side,
        objects: Vec<T>,
        key: impl Fn(&T) -> &str,
        requests: Option<&Pace>,
    ) -> Vec<(T, Result<bool, StoreError>)> {
        let asked = objects.into_iter().map(|object| {
            let key = key(&object).to_owned();
            async move {
                if let Some(requests) = requests {
                    requests.one().await;
                }
                (object, self.are_on(side, &key).await)
            }
        });
        stream::iter(asked).buffered(AT_ONCE).collect().await
    }

    /// What is on record of an object that lacks them.
    pub(super) fn lacking(&self, entry: &Entry) -> Record {
        let destination = Seen { size: 0, etag: self.name.clone(), modified: now() };
        let (key, source) = (entry.key.clone(), Seen::of(entry));
        Record { key, source, destination, proof: Proof::LeftOut, newest: None }
    }

    /// Whether that still says something of the object.
    pub(super) fn still_lacks(&self, record: &Record, entry: &Entry) -> bool {
        self.lacks_at(record, entry, now())
    }

    fn lacks_at(&self, record: &Record, entry: &Entry, now: i64) -> bool {
        record.proof == Proof::LeftOut
            && record.destination.etag == self.name
            && record.source.is_still(entry)
            && now - record.destination.modified < DAY
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    i64::try_from(journal::now() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(tags: &[(&str, &str)]) -> Asked {
        let tags = tags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Asked::of(&Filter { tags, ..Filter::default() }).unwrap()
    }

    #[test]
    fn that_an_object_lacks_them_is_known_for_a_day_and_as_it_was() {
        assert!(Asked::of(&Filter::default()).is_none());
        let wanted = asked(&[("a", "b"), ("c", "d")]);
        let entry = Entry { key: "k".into(), size: 1, etag: ETag::new("e"), modified: 7, version: None };
        let record = wanted.lacking(&entry);
        assert!(wanted.still_lacks(&record, &entry));
        assert!(wanted.lacks_at(&record, &entry, record.destination.modified + DAY - 1));
        assert!(!wanted.lacks_at(&record, &entry, record.destination.modified + DAY));
        assert!(!wanted.still_lacks(&record, &Entry { modified: 8, ..entry.clone() }));
        for others in [asked(&[("a", "b")]), asked(&[("ab", ""), ("c", "d")])] {
            assert!(!others.still_lacks(&record, &entry));
        }
    }
}
