//! How a run in shards stands, and how it ends: what all have put on record becomes the manifest's, deletions are made, and
//! nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::hold::clip;
use super::objects::Objects;
use super::state::{FOLDER, State, decoded};
use super::view::{View, plan_name, runs};
use crate::StoreError;
use crate::engine::copy::Copier;
use crate::engine::journal::Left;
use crate::engine::limits::limits;
use crate::engine::manifest::{Manifest, Place};
use crate::engine::record::{Described, Seen};
use crate::engine::report::{Counters, Report};
use crate::engine::run::{clear_uploads, delete, of};
use crate::engine::{Deletes, Options, Side};

/// How a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Those that were begun with and those that were cut off.
    pub shards: usize,
    pub whole: usize,
    /// Who has a shard at the moment.
    pub workers: usize,
}

impl Standing {
    /// Whether it can be finished.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.shards > 0 && self.shards == self.whole
    }
}

/// Watches a run, for whoever has begun it.
#[derive(Debug)]
pub struct Observer {
    view: View,
}

impl Observer {
    /// Of a run.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] where the place is no bucket.
    pub fn new(place: &Place, run: &str) -> Result<Self, StoreError> {
        Ok(Self { view: View::new(Objects::of(place)?, run) })
    }

    /// How it stands; counters show what was done, all together. What a killed worker had looked at behind its last checkpoint
    /// is counted again.
    ///
    /// # Errors
    /// When it can't be read, or the run is over.
    pub async fn look(&mut self, counters: &Counters) -> Result<Standing, StoreError> {
        if !self.view.refresh().await? {
            return Err(over(&self.view.run));
        }
        self.view.tally().show(counters);
        let states = self.view.states();
        let who = states.iter().filter_map(|(_, state)| state.worker.as_ref().filter(|_| !state.whole));
        Ok(Standing {
            shards: states.len(),
            whole: states.iter().filter(|(_, state)| state.whole).count(),
            workers: who.collect::<BTreeSet<_>>().len(),
        })
    }
}

/// Ends a run of which all shards are whole, as [`crate::engine::replicate`] ends: what is on record counts, and what the
/// source has no more is deleted, if that is wanted and not more than may be.
///
/// # Errors
/// When it is not whole, or the manifest can't be written. It can be called again then.
pub async fn finish(
    source: &Side,
    destination: &Side,
    place: &Place,
    options: &Options,
    run: &str,
    counters: &Arc<Counters>,
) -> Result<Report, StoreError> {
    let mut view = View::new(Objects::of(place)?, run);
    if !view.refresh().await? {
        return Err(over(run));
    }
    if !view.is_whole() {
        return Err(StoreError::Other {
            what: format!("run {run}"),
            detail: "has shards that are not whole yet".to_owned(),
        });
    }
    let mut manifest = Manifest::open(place.clone(), &of(source, destination)).await?;
    let segments: Vec<Described> =
        view.states().iter().flat_map(|(_, state)| state.segments.clone()).collect();
    manifest.commit(segments).await?;
    let reader = manifest.reader();
    // Also when an earlier attempt to end it has committed and come no further.
    reader.sweep(manifest.segments()).await?;
    let limits = limits(source, destination, options).await?;
    let notes = limits.notes(options.history);
    clear_uploads(&Copier::new(source, destination, reader.clone(), options, limits), |_| true).await?;
    let own = format!("{run}-");
    let left = Left::find(&reader).await?.without(|page| page.starts_with(&own));
    left.forget_over(&reader).await?;
    left.touched.forget_before(&reader, run).await?;
    let tally = view.tally();
    tally.show(counters);
    let gone = Gone::read(&view).await?;
    let mut fuse = None;
    match options.deletes {
        Deletes::Mirror { most } if gone.count() > most => fuse = Some(gone.count()),
        Deletes::Mirror { .. } => {
            delete(source, destination, counters, gone.objects.into_iter().collect()).await;
        }
        Deletes::Ignore => {}
    }
    remove(&view.objects, run).await?;
    let mut report = counters.report();
    tally.complete(&mut report);
    (report.fuse, report.notes) = (fuse, notes);
    Ok(report)
}

/// Closes all runs that were begun and not ended: what they have done counts from now on, and workers find nothing left to do.
/// Whether there was any.
///
/// # Errors
/// When that can't be put on record. A place that is no bucket has no such runs.
pub async fn close(source: &Side, destination: &Side, place: &Place) -> Result<bool, StoreError> {
    let Ok(objects) = Objects::of(place) else { return Ok(false) };
    let (begun, _) = runs(&objects).await?;
    for run in &begun {
        close_one(source, destination, place, run).await?;
    }
    Ok(!begun.is_empty())
}

pub(super) async fn close_one(
    source: &Side,
    destination: &Side,
    place: &Place,
    run: &str,
) -> Result<(), StoreError> {
    let mut view = View::new(Objects::of(place)?, run);
    if view.refresh().await? {
        let manifest = Manifest::open(place.clone(), &of(source, destination)).await?;
        let before = manifest.segments().to_vec();
        let reader = manifest.reader();
        let manifest = Arc::new(Mutex::new(manifest));
        let mut segments = Vec::new();
        for (_, state) in view.states() {
            segments.extend(state.segments.iter().cloned());
            if !state.whole {
                segments.extend(clip(&manifest, &reader, &before, &state.rest()).await?);
            }
        }
        manifest.lock().await.commit(segments).await?;
    }
    remove(&view.objects, run).await
}

/// The plan first: without it nothing is a run any more.
async fn remove(objects: &Objects, run: &str) -> Result<(), StoreError> {
    objects.remove(&plan_name(run)).await?;
    for (name, _) in objects.list(&format!("{FOLDER}{run}/")).await? {
        objects.remove(&name).await?;
    }
    Ok(())
}

/// What the source has no more. Who took a shard over may have found the same again.
struct Gone {
    objects: BTreeMap<String, Seen>,
    beyond: u64,
}

impl Gone {
    async fn read(view: &View) -> Result<Self, StoreError> {
        let (mut objects, mut beyond) = (BTreeMap::new(), 0);
        for (_, State { gone, gone_beyond, .. }) in view.states() {
            beyond += gone_beyond;
            for name in gone {
                let page = view.objects.read(name).await?.ok_or_else(|| StoreError::Other {
                    what: format!("manifest, {name}"),
                    detail: "is gone".to_owned(),
                })?;
                objects.extend(decoded::<Vec<(String, Seen)>>(name, &page.0)?);
            }
        }
        Ok(Self { objects, beyond })
    }

    fn count(&self) -> u64 {
        self.objects.len() as u64 + self.beyond
    }
}

fn over(run: &str) -> StoreError {
    StoreError::Other { what: format!("run {run}"), detail: "is over; nothing of it is left".to_owned() }
}
