//! One shard, from the moment it is held until it is whole, lost or given back.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::state::{State, descends, encoded};
use super::view::Shard;
use super::work::Work;
use crate::StoreError;
use crate::engine::gone::Gone;
use crate::engine::journal::{Left, Writer};
use crate::engine::listing::Range;
use crate::engine::manifest::{Manifest, Reader, Shared};
use crate::engine::merge::{Limit, Merge};
use crate::engine::ranges::{Part, Progress};
use crate::engine::record::{Described, Encoder, Seen};
use crate::engine::report::Counters;
use crate::engine::run::{Run, clear_uploads, lost};
use crate::engine::tally::Tally;
use crate::engine::walk::Walk;
use crate::wire::Condition;

/// What became of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Whole,
    /// Somebody else has it.
    Lost,
    /// Given back, as it was asked for.
    Stopped,
}

/// What of it goes on while the walk goes on.
struct Hold<'a> {
    work: &'a Work,
    shard: Shard,
    /// When it was taken; what was done since comes on top.
    before: State,
    run: Run,
    limit: Limit,
    gone: Gone,
    /// Found gone, and on no page yet.
    unwritten: Vec<(String, Seen)>,
    losses: Tally,
}

/// Does what is left of a shard.
///
/// # Errors
/// When a side can't be listed, or what was done can't be put on record. The lease is given back then, if that can be done.
pub(super) async fn carry_out(work: &Work, shard: Shard) -> Result<Ended, StoreError> {
    let rest = shard.state.rest();
    if shard.state.epoch > 1 {
        let prefix = &work.destination.prefix;
        let is_meant = |key: &str| key.strip_prefix(prefix.as_str()).is_some_and(|key| lies_in(key, &rest));
        clear_uploads(&work.copier, is_meant).await?;
    }
    let left = left(work, &shard.name).await?;
    let manifest = Manifest::open(work.place.clone(), &work.of).await?;
    let segments = of_range(manifest.segments(), &rest);
    let limit = Limit::default();
    limit.set(rest.until.clone());
    let merge = Merge::open(
        &work.source,
        &work.destination,
        &rest,
        work.copier.manifest.clone(),
        segments,
        &left,
        work.filter.clone(),
    );
    let manifest: Shared = Arc::new(Mutex::new(manifest));
    let progress = Progress::new(&[Part { range: rest, segments: Vec::new() }]);
    let counters = Arc::<Counters>::default();
    let run =
        Run { copier: work.copier.clone(), counters, manifest, progress, checkpoint: work.worker.renew };
    let by = format!("{}-{}~{}", work.run, shard.name, shard.state.epoch);
    let gone = Gone::up_to(work.deletes);
    let walk = Walk::new(&run, 0, Writer::new(work.copier.manifest.clone(), by, 0), gone.clone());
    let before = shard.state.clone();
    let progress = run.progress.clone();
    let (losses, unwritten) = (Tally::default(), Vec::new());
    let mut hold = Hold { work, shard, before, run, limit: limit.clone(), gone, unwritten, losses };
    let mut walks = JoinSet::new();
    walks.spawn(walk.run(merge.limited(limit), progress));
    let ended = hold.follow(&mut walks).await;
    if ended.is_err() {
        // Others may fare better; if it can't be given back, they wait until it has expired.
        let _ = hold.give_back().await;
    }
    ended
}

impl Hold<'_> {
    async fn follow(&mut self, walks: &mut JoinSet<Result<(), StoreError>>) -> Result<Ended, StoreError> {
        let mut tick = interval(self.work.worker.renew);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        loop {
            tokio::select! {
                ended = walks.join_next() => {
                    let result = ended.map_or(Ok(()), |ended| ended.unwrap_or_else(|e| Err(lost(&e))));
                    let is_held = self.publish(result.is_ok()).await?;
                    return result.map(|()| if is_held { Ended::Whole } else { Ended::Lost });
                }
                _ = tick.tick() => if !self.publish(false).await? {
                    return Ok(Ended::Lost);
                },
                () = self.work.told_to_stop() => {
                    let is_held = self.publish(false).await?;
                    self.give_back().await?;
                    return Ok(if is_held { Ended::Stopped } else { Ended::Lost });
                }
            }
        }
    }

    /// Puts on record what was done so far, which renews the lease. `false`: it is somebody else's by now.
    async fn publish(&mut self, whole: bool) -> Result<bool, StoreError> {
        // In this order: what is gone among the keys on record is on a page.
        let fresh = self.run.progress.segments();
        self.unwritten.extend(self.gone.take());
        let (pages, beyond) = self.write_gone().await?;
        self.losses.take(&self.work.copier.losses);
        loop {
            let mut next = self.shard.state.changed();
            next.segments.clone_from(&self.before.segments);
            next.segments.extend(self.clipped(&fresh, next.until.as_deref()).await?);
            next.tally = self.before.tally.clone().and(&Tally::of(&self.run.counters)).and(&self.losses);
            next.gone_beyond = self.before.gone_beyond + beyond;
            next.gone.extend(pages.iter().filter(|page| !self.shard.state.gone.contains(page)).cloned());
            next.whole = whole;
            if let Some(shard) = self.shard.replaced_by(&self.work.objects, &self.work.run, next).await? {
                self.work.count(&shard);
                self.shard = shard;
                return Ok(true);
            }
            if !self.reread().await? {
                return Ok(false);
            }
        }
    }

    /// After somebody else has changed it. `false`: they hold it now.
    async fn reread(&mut self) -> Result<bool, StoreError> {
        let Some(there) = self.shard.again(&self.work.objects, &self.work.run).await? else {
            return Ok(false);
        };
        if !there.state.is_held_as(&self.shard.state) {
            return Ok(false);
        }
        // Its rest was cut off: on to there, and no further.
        self.limit.set(there.state.until.clone());
        self.shard = there;
        Ok(true)
    }

    async fn give_back(&self) -> Result<(), StoreError> {
        let next = self.shard.state.given_back();
        self.shard.replaced_by(&self.work.objects, &self.work.run, next).await.map(drop)
    }

    /// Writes down which objects are gone: a page, where there are any that are on none. And how many there are beyond those
    /// that may be deleted.
    async fn write_gone(&mut self) -> Result<(Vec<String>, u64), StoreError> {
        let beyond = self.gone.beyond();
        if self.unwritten.is_empty() {
            return Ok((Vec::new(), beyond));
        }
        let State { epoch, changes, .. } = self.shard.state;
        let name = gone_name(&self.work.run, &format!("{}~{epoch}~{changes}", self.shard.name));
        // One of the same name is of an attempt that was not put on record.
        self.work.objects.write(&name, &Condition::None, &encoded(&self.unwritten)?).await?;
        self.unwritten.clear();
        Ok((vec![name], beyond))
    }

    /// What of these lies before the end.
    async fn clipped(
        &self,
        segments: &[Described],
        until: Option<&str>,
    ) -> Result<Vec<Described>, StoreError> {
        let range = Range { after: None, until: until.map(str::to_owned) };
        clip(&self.run.manifest, &self.work.copier.manifest, segments, &range).await
    }
}

fn gone_name(run: &str, page: &str) -> String {
    format!("{}{run}/gone/{page}", super::state::FOLDER)
}

/// Pages of the journal that concern a shard: those of other runs, and of this one those that were written for it, or for one
/// that it was cut off from.
async fn left(work: &Work, shard: &str) -> Result<Left, StoreError> {
    let own = format!("{}-", work.run);
    let is_of_others = |page: &str| {
        page.strip_prefix(&own)
            .and_then(|rest| rest.split_once('~'))
            .is_none_or(|(of, _)| descends(shard, of))
    };
    Ok(Left::find(&work.copier.manifest).await?.without(|page| !is_of_others(page)))
}

/// Segments with keys of a range.
pub(super) fn of_range(segments: &[Described], range: &Range) -> Vec<Described> {
    let meets = |segment: &&Described| {
        range.after.as_ref().is_none_or(|after| segment.last > *after)
            && range.until.as_ref().is_none_or(|until| segment.first <= *until)
    };
    segments.iter().filter(meets).cloned().collect()
}

/// The records of these segments that lie in a range, in segments.
pub(super) async fn clip(
    manifest: &Shared,
    reader: &Reader,
    segments: &[Described],
    range: &Range,
) -> Result<Vec<Described>, StoreError> {
    let mut clipped = Vec::new();
    for segment in of_range(segments, range) {
        if lies_in(&segment.first, range) && lies_in(&segment.last, range) {
            clipped.push(segment);
            continue;
        }
        let mut encoder = Encoder::default();
        for record in reader.records(&segment).await? {
            let record = record?;
            if lies_in(&record.key, range) {
                encoder.add(&record)?;
            }
        }
        if let Some(segment) = encoder.finish() {
            clipped.push(manifest.lock().await.keep(segment).await?);
        }
    }
    Ok(clipped)
}

fn lies_in(key: &str, range: &Range) -> bool {
    range.after.as_deref().is_none_or(|after| key > after)
        && range.until.as_deref().is_none_or(|until| key <= until)
}
