//! Whether the destination still holds what is on record: by its listing, or by reading all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, stream};
use serde::Serialize;

use super::decide::{Step, Why};
use super::journal;
use super::manifest::{Manifest, Place};
use super::merge::{Merge, Merged};
use super::ranges::{self, Part};
use super::run::of;
use super::tags::Asked;
use super::{Filter, Side, check};
use crate::StoreError;
use crate::wire::{Digests, ETag, Entry, Part as Piece};

/// Objects that are read at once.
const AT_ONCE: usize = 8;

/// How closely it is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Both sides list the same objects, and those on record are what was recorded.
    Listing,
    /// Every object is read at both sides.
    Content,
}

/// What is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub key: String,
    pub what: String,
}

/// What a verification came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Objects that are as they should be.
    pub good: u64,
    /// Bytes that were read, of one side.
    pub read: u64,
    pub bad: u64,
    /// Objects at the destination that the source does not have.
    pub extra: u64,
}

/// Compares both sides and the record of them; changes nothing.
///
/// # Errors
/// When a side can't be listed, or the manifest can't be read. Of single objects it is a finding.
pub async fn verify(
    source: &Side,
    destination: &Side,
    place: Place,
    filter: &Filter,
    depth: Depth,
    read: &Arc<AtomicU64>,
    mut tell: impl FnMut(Finding),
) -> Result<Verified, StoreError> {
    check(source, destination)?;
    let manifest = Manifest::open(place, &of(source, destination)).await?;
    let mut verified = Verified::default();
    for Part { range, segments } in ranges::split(manifest.segments(), 1) {
        let reader = manifest.reader();
        let left = journal::Left::notes(&reader).await?;
        let merge = Merge::open(source, destination, &range, reader, segments, &left, filter.clone());
        let asked = Asked::of(filter);
        let asked = asked.as_ref();
        let steps = stream::try_unfold(merge, async |mut merge| {
            Ok::<_, StoreError>(merge.next().await?.map(|merged| (merged, merge)))
        });
        let looked = steps.map(|merged| async move {
            match merged? {
                Merged::LeftOut(_) => Ok(None),
                Merged::Step(Step::Copy { entry, .. }) if lacks(asked, source, &entry).await? => Ok(None),
                Merged::Step(step) => look(source, destination, step, depth, read).await.map(Some),
            }
        });
        let mut looked = std::pin::pin!(looked.buffered(AT_ONCE));
        while let Some(seen) = looked.next().await {
            match seen? {
                None | Some(Looked::Nothing) => {}
                Some(Looked::Good) => verified.good += 1,
                Some(Looked::Extra) => verified.extra += 1,
                Some(Looked::Bad(finding)) => {
                    verified.bad += 1;
                    tell(finding);
                }
            }
        }
    }
    verified.read = read.load(Ordering::Relaxed);
    Ok(verified)
}

/// Whether it is not wanted, for want of tags.
async fn lacks(asked: Option<&Asked>, source: &Side, entry: &Entry) -> Result<bool, StoreError> {
    match asked {
        Some(asked) => Ok(!asked.are_on(source, &entry.key).await?),
        None => Ok(false),
    }
}

enum Looked {
    Nothing,
    Good,
    Extra,
    Bad(Finding),
}

async fn look(
    source: &Side,
    destination: &Side,
    step: Step,
    depth: Depth,
    read: &AtomicU64,
) -> Result<Looked, StoreError> {
    let bad = |key: String, what: &str| Looked::Bad(Finding { key, what: what.to_owned() });
    Ok(match step {
        Step::Forget => Looked::Nothing,
        Step::Foreign => Looked::Extra,
        Step::Gone { record, .. } => bad(record.key, "is gone at the source"),
        Step::Copy { entry, why: Why::New, .. } => bad(entry.key, "is not there yet"),
        Step::Copy { entry, why: Why::Changed, .. } => bad(entry.key, "was changed at the source"),
        Step::Copy { entry, why: Why::Drifted, .. } => {
            bad(entry.key, "was changed or deleted at the destination")
        }
        Step::Keep(_) if depth == Depth::Listing => Looked::Good,
        Step::Keep(record) => {
            let entry = |seen: &super::Seen| Entry {
                key: record.key.clone(),
                size: seen.size,
                etag: seen.etag.clone(),
                modified: seen.modified,
                version: None,
            };
            let here = digests(destination, &entry(&record.destination)).await;
            let there = digests(source, &entry(&record.source)).await;
            match (here, there) {
                (Ok(here), Ok(there)) if here == there => {
                    read.fetch_add(here.bytes, Ordering::Relaxed);
                    Looked::Good
                }
                (Ok(_), Ok(_)) => bad(record.key, "has another content than at the source"),
                (Err(error), _) | (_, Err(error)) if error.is_transient() => return Err(error),
                (Err(error), _) | (_, Err(error)) => bad(record.key, &error.to_string()),
            }
        }
    })
}

async fn digests(side: &Side, entry: &Entry) -> Result<Digests, StoreError> {
    let key = side.key(&entry.key);
    let read = async || {
        let is: Option<&ETag> = (!entry.etag.is_empty()).then_some(&entry.etag);
        let found = side.wire.get(&side.bucket, &key, Piece { is, ..Piece::default() }).await?;
        side.wire.digest(&side.bucket, &key, found).await
    };
    side.wire.persist(read).await
}
