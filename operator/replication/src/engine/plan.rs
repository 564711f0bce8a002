//! What a run would do, a key at a time, without doing it.

use std::sync::atomic::Ordering;

use super::decide::{Step, Why};
use super::journal::Left;
use super::limits::limits;
use super::manifest::{Manifest, Place};
use super::merge::{Merge, Merged};
use super::ranges::{self, Part};
use super::record::Seen;
use super::report::{Counters, Planned, Report};
use super::run::{PAGE, of};
use super::tags::Asked;
use super::walk::count;
use super::{Deletes, History, Options, Side, check, inspect};
use crate::StoreError;
use crate::wire::Entry;

/// Says what a run would do, a key at a time, and does nothing.
///
/// # Errors
/// As [`replicate`].
pub async fn plan(
    source: &Side,
    destination: &Side,
    place: Place,
    options: &Options,
    mut tell: impl FnMut(Planned),
) -> Result<Report, StoreError> {
    check(source, destination)?;
    let notes = limits(source, destination, options).await?.notes(options.history);
    let source = &source.as_of(options);
    let manifest = Manifest::open(place, &of(source, destination)).await?;
    let counters = Counters::default();
    if options.history == History::All {
        inspect::plan((source, destination), &manifest, options, &counters, &mut tell).await?;
        return Ok(Report { notes, ..counters.report() });
    }
    for Part { range, segments } in ranges::split(manifest.segments(), 1) {
        let reader = manifest.reader();
        let left = Left::find(&reader).await?;
        let filter = options.filter.clone();
        let asked = Asked::of(&filter);
        let mut merge = Merge::open(source, destination, &range, reader, segments, &left, filter);
        let mut copies: Vec<(Entry, Why)> = Vec::new();
        loop {
            let merged = merge.next().await?;
            let is_whole = copies.len() == if asked.is_some() { PAGE } else { 1 };
            if merged.is_none() || is_whole {
                for (entry, why) in tagged(source, asked.as_ref(), std::mem::take(&mut copies)).await? {
                    counters.found(&Seen::of(&entry), why);
                    tell(Planned { key: entry.key, why: why.name(), size: entry.size });
                }
            }
            let Some(merged) = merged else { break };
            let Merged::Step(step) = merged else { continue };
            match step {
                Step::Copy { entry, why, .. } => copies.push((entry, why)),
                Step::Gone { record, .. } => {
                    counters.gone.fetch_add(1, Ordering::Relaxed);
                    if matches!(options.deletes, Deletes::Mirror { .. }) {
                        tell(Planned { key: record.key, why: "deleted", size: record.destination.size });
                    }
                }
                step => count(&counters, &step),
            }
        }
        counters.listed_at(merge.source_now());
    }
    Ok(Report { notes, uncertain: source.uncertain(), ..counters.report() })
}

/// Those that have the tags that are asked for.
async fn tagged(
    source: &Side,
    asked: Option<&Asked>,
    copies: Vec<(Entry, Why)>,
) -> Result<Vec<(Entry, Why)>, StoreError> {
    let Some(asked) = asked else { return Ok(copies) };
    let each = asked.are_on_each(source, copies, |(entry, _)| entry.key.as_str(), None).await;
    let kept = each.into_iter().filter_map(|(copy, are_there)| match are_there {
        Ok(are_there) => are_there.then_some(Ok(copy)),
        Err(error) => Some(Err(error)),
    });
    kept.collect()
}
