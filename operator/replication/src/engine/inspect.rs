//! All versions, looked at: what a run would do, and what is not as it should be. Changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, stream};

use super::chain::Link;
use super::chains::{Both, ChainMerge, Merged};
use super::history::count;
use super::journal::Left;
use super::manifest::{Manifest, Place};
use super::ranges::{self, Part};
use super::report::{Counters, Planned};
use super::run::of;
use super::verify::{Depth, Finding, Verified};
use super::{Deletes, Filter, Options, Side, check};
use crate::StoreError;
use crate::wire::{Digests, Part as Piece};

/// Keys that are read at once.
const AT_ONCE: usize = 8;

/// Says what a run over all versions would do.
pub(super) async fn plan(
    (source, destination): (&Side, &Side),
    manifest: &Manifest,
    options: &Options,
    counters: &Counters,
    tell: &mut impl FnMut(Planned),
) -> Result<(), StoreError> {
    let mirror = matches!(options.deletes, Deletes::Mirror { .. });
    let left = Left::find(&manifest.reader()).await?;
    for Part { range, segments } in ranges::split(manifest.segments(), 1) {
        let filter = options.filter.clone();
        let sides = (source, destination);
        let mut merge = ChainMerge::open(sides, &range, manifest.reader(), segments, &left, filter);
        while let Some(merged) = merge.next().await? {
            let Merged::Both(both) = merged else { continue };
            if !both.is_ours() {
                counters.foreign.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let steps = both.steps(mirror);
            count(counters, &both, &steps);
            counters.missing.fetch_add(steps.missing, Ordering::Relaxed);
            counters.gone.fetch_add(steps.extra.len() as u64, Ordering::Relaxed);
            let planned = |why, link: &Link| Planned { key: both.key.clone(), why, size: link.size };
            for link in steps.append.iter().map(|s| &both.source[*s]) {
                let why = if steps.again { "drifted" } else { "new" };
                tell(planned(if link.is_marker { "marker" } else { why }, link));
            }
            for d in steps.extra.iter().filter(|_| mirror) {
                tell(planned("deleted", &both.destination[*d]));
            }
        }
        counters.listed_at(merge.source_now());
    }
    Ok(())
}

/// Compares the versions of both sides, key by key and in their order; changes nothing. What counts are versions and delete
/// markers.
///
/// # Errors
/// When a side can't be listed, or the manifest can't be read. Of single keys it is a finding.
pub async fn verify_versions(
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
        let (sides, left) = ((source, destination), Left::default());
        let merge = ChainMerge::open(sides, &range, manifest.reader(), segments, &left, filter.clone());
        let keys = stream::try_unfold(merge, async |mut merge| {
            Ok::<_, StoreError>(merge.next().await?.map(|merged| (merged, merge)))
        });
        let looked = keys.map(|merged| async move {
            match merged? {
                Merged::LeftOut(_) => Ok(Looked::default()),
                Merged::Both(both) => look(source, destination, &both, depth, read).await,
            }
        });
        let mut looked = std::pin::pin!(looked.buffered(AT_ONCE));
        while let Some(looked) = looked.next().await {
            let Looked { good, bad, extra, findings } = looked?;
            verified.good += good;
            verified.bad += bad;
            verified.extra += extra;
            findings.into_iter().for_each(&mut tell);
        }
    }
    verified.read = read.load(Ordering::Relaxed);
    Ok(verified)
}

#[derive(Default)]
struct Looked {
    good: u64,
    bad: u64,
    extra: u64,
    findings: Vec<Finding>,
}

async fn look(
    source: &Side,
    destination: &Side,
    both: &Both,
    depth: Depth,
    read: &AtomicU64,
) -> Result<Looked, StoreError> {
    let steps = both.steps(false);
    let mut looked = Looked { extra: steps.extra.len() as u64, ..Looked::default() };
    let finding = |what: String| Finding { key: both.key.clone(), what };
    if steps.again {
        looked.bad += 1;
        looked.findings.push(finding("was changed or deleted at the destination".to_owned()));
    } else if !steps.append.is_empty() {
        looked.bad += steps.append.len() as u64;
        looked.findings.push(finding(format!("lacks its newest versions: {}", steps.append.len())));
    }
    if steps.missing > 0 {
        looked.bad += steps.missing;
        looked.findings.push(finding(format!("lacks versions below newer ones: {}", steps.missing)));
    }
    for (s, d) in steps.copies.iter().enumerate().filter_map(|(s, d)| Some((s, (*d)?))) {
        let (link, there) = (&both.source[s], &both.destination[d]);
        if depth == Depth::Listing || link.is_marker {
            looked.good += 1;
            continue;
        }
        let original = digests(source, &both.key, link).await;
        let wrong = match (original, digests(destination, &both.key, there).await) {
            (Ok(original), Ok(copy)) if original == copy => {
                read.fetch_add(copy.bytes, Ordering::Relaxed);
                looked.good += 1;
                continue;
            }
            (Ok(_), Ok(_)) => "has another content than at the source".to_owned(),
            (Err(error), _) | (_, Err(error)) if error.is_transient() => return Err(error),
            (Err(error), _) | (_, Err(error)) => error.to_string(),
        };
        looked.bad += 1;
        looked.findings.push(finding(format!("version {} {wrong}", there.id)));
    }
    Ok(looked)
}

async fn digests(side: &Side, key: &str, link: &Link) -> Result<Digests, StoreError> {
    let key = side.key(key);
    let read = async || {
        let piece = Piece { version: Some(&link.id), ..Piece::default() };
        let found = side.wire.get(&side.bucket, &key, piece).await?;
        side.wire.digest(&side.bucket, &key, found).await
    };
    side.wire.persist(read).await
}
