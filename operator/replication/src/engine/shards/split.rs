//! Nothing is free: the rest of a shard that somebody else works on is cut in two, so that nobody waits for a straggler.

use super::cut::halve;
use super::hold::of_range;
use super::state::{Piece, State, encoded};
use super::view::{Shard, View, state_name};
use super::work::Work;
use crate::StoreError;
use crate::engine::listing::Range;
use crate::engine::manifest::Manifest;
use crate::engine::record::Described;
use crate::wire::Condition;

/// What is cut off has at least so many objects: less is done sooner than said.
const LEAST: u64 = 128;
/// Shards that are looked at, at most, in one attempt.
const LOOKS: usize = 3;
/// Times it is tried to be faster than the holder.
const ATTEMPTS: u32 = 4;

/// Cuts, and takes what was cut off; `None` where nothing is worth it.
pub(super) async fn split(work: &Work, view: &mut View) -> Result<Option<Shard>, StoreError> {
    let running = view.running();
    if running.is_empty() {
        return Ok(None);
    }
    let manifest = Manifest::open(work.place.clone(), &work.of).await?;
    let mut stragglers: Vec<(u64, Shard)> = running
        .into_iter()
        .map(|shard| (on_record(&of_range(manifest.segments(), &shard.state.rest())), shard))
        .collect();
    stragglers.sort_by_key(|(left, _)| std::cmp::Reverse(*left));
    for (_, shard) in stragglers.into_iter().take(LOOKS) {
        let rest = shard.state.rest();
        let Some(at) = middle(work, manifest.segments(), &rest).await? else { continue };
        if let Some(taken) = cut_off(work, &shard, &at).await? {
            view.note(&taken);
            return Ok(Some(taken));
        }
    }
    Ok(None)
}

fn on_record(segments: &[Described]) -> u64 {
    segments.iter().map(|segment| u64::from(segment.count)).sum()
}

/// A key in the middle of what is left of a shard, with enough behind it to be worth it.
async fn middle(work: &Work, segments: &[Described], rest: &Range) -> Result<Option<String>, StoreError> {
    let at = match on_record_middle(work, segments, rest).await? {
        Some(at) => at,
        None => match halve(&work.source, rest).await? {
            Some(at) => at,
            None => return Ok(None),
        },
    };
    let source = &work.source;
    let after = format!("{}{at}", source.prefix);
    let list = || source.wire.list(&source.bucket, &source.prefix, Some(&after), None);
    let page = source.wire.persist(list).await?;
    let until = rest.until.as_ref().map(|until| format!("{}{until}", source.prefix));
    let inside = page.entries.iter().filter(|e| until.as_ref().is_none_or(|until| e.key <= *until)).count();
    let is_worth_it = inside as u64 >= LEAST || (page.truncated && inside == page.entries.len());
    Ok(is_worth_it.then_some(at))
}

/// The middle of the records of what is left.
async fn on_record_middle(
    work: &Work,
    segments: &[Described],
    rest: &Range,
) -> Result<Option<String>, StoreError> {
    let segments = of_range(segments, rest);
    let total = on_record(&segments);
    if total < 2 * LEAST {
        return Ok(None);
    }
    let mut count = 0;
    for segment in segments {
        count += u64::from(segment.count);
        if count * 2 < total {
            continue;
        }
        let is_inside = |key: &str| {
            rest.after.as_deref().is_none_or(|after| key > after)
                && rest.until.as_deref().is_none_or(|until| key < until)
        };
        let records = work.copier.manifest.records(&segment).await?;
        let inside: Vec<_> = records.into_iter().filter(|record| is_inside(&record.key)).collect();
        return Ok(inside.get(inside.len() / 2).map(|record| record.key.clone()));
    }
    Ok(None)
}

/// The holder's own object says what was cut off: from then on it counts, and its object is made by whoever comes first.
async fn cut_off(work: &Work, shard: &Shard, at: &str) -> Result<Option<Shard>, StoreError> {
    for _ in 0..ATTEMPTS {
        // Finding the middle took a while, and its holder writes now and then.
        let Some(shard) = shard.again(&work.objects, &work.run).await? else { return Ok(None) };
        let Some((left, piece)) = shard.state.cut(&shard.name, at).filter(|_| shard.state.is_running())
        else {
            return Ok(None);
        };
        if shard.replaced_by(&work.objects, &work.run, left).await?.is_some() {
            tracing::debug!(shard = shard.name, piece = piece.name, at, "cut in two");
            return take_new(work, &piece).await;
        }
    }
    Ok(None)
}

async fn take_new(work: &Work, piece: &Piece) -> Result<Option<Shard>, StoreError> {
    let state = State::new(piece).taken(&work.worker.name);
    let name = state_name(&work.run, &piece.name);
    let written = work.objects.write(&name, &Condition::Absent, &encoded(&state)?).await?;
    Ok(written.map(|etag| Shard { name: piece.name.clone(), etag, state }))
}
