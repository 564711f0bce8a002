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

/// A key in the middle of what is left of a shard, with enough on both sides to be worth it.
async fn middle(work: &Work, segments: &[Described], rest: &Range) -> Result<Option<String>, StoreError> {
    let (keys, is_all) = page(work, rest).await?;
    if is_all {
        let middle = keys.len() / 2;
        return Ok(keys.into_iter().nth(middle).filter(|_| middle as u64 >= LEAST));
    }
    let at = match on_record_middle(work, segments, rest).await? {
        None => halve(&work.source, rest).await?,
        at => at,
    };
    let Some(at) = at else { return Ok(None) };
    let (behind, is_all) = page(work, &Range { after: Some(at.clone()), until: rest.until.clone() }).await?;
    Ok((!is_all || behind.len() as u64 >= LEAST).then_some(at))
}

/// The first keys of a range that the source has, and whether that is all of them.
async fn page(work: &Work, range: &Range) -> Result<(Vec<String>, bool), StoreError> {
    let (source, prefix) = (&work.source, &work.source.prefix);
    let after = range.after.as_ref().map(|after| format!("{prefix}{after}"));
    let list = || source.wire.list(&source.bucket, prefix, after.as_deref(), None);
    let page = source.wire.persist(list).await?;
    let listed = page.entries.len();
    let relative = page.entries.into_iter().filter_map(|e| e.key.strip_prefix(prefix).map(str::to_owned));
    let keys: Vec<String> =
        relative.filter(|key| range.until.as_ref().is_none_or(|until| key <= until)).collect();
    let is_all = !page.truncated || keys.len() < listed;
    Ok((keys, is_all))
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
        let mut inside = Vec::new();
        for record in work.copier.manifest.records(&segment).await? {
            let key = record?.key;
            if is_inside(&key) {
                inside.push(key);
            }
        }
        return Ok(inside.get(inside.len() / 2).cloned());
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
