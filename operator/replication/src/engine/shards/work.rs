//! One worker: takes what is to be had, does it, and cuts off from others when there is nothing else to do; until all is whole.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use super::Worker;
use super::hold::{Ended, carry_out};
use super::objects::Objects;
use super::split::split;
use super::view::{Shard, View};
use crate::StoreError;
use crate::engine::copy::Copier;
use crate::engine::limits::limits;
use crate::engine::manifest::{Manifest, Place};
use crate::engine::report::{Counters, Report};
use crate::engine::run::{lost, of};
use crate::engine::tally::Tally;
use crate::engine::{Deletes, Filter, Options, Side, check};

/// How often it is looked whether there is something to do, at least.
const LOOK: Duration = Duration::from_secs(2);

/// What all hands of a worker share.
pub(super) struct Work {
    pub(super) source: Side,
    pub(super) destination: Side,
    pub(super) place: Place,
    pub(super) objects: Objects,
    pub(super) run: String,
    pub(super) of: String,
    pub(super) copier: Arc<Copier>,
    pub(super) filter: Filter,
    pub(super) deletes: Deletes,
    pub(super) worker: Worker,
    counters: Arc<Counters>,
    /// By shard and epoch, what this worker has found of it and added.
    tallies: Lock<BTreeMap<(String, u64), Tally>>,
    view: Mutex<View>,
    /// Turns to true when one hand can't go on.
    broken: watch::Sender<bool>,
}

/// What a hand does next.
enum Next {
    Do(Box<Shard>),
    /// All is being worked on.
    Wait,
    /// All is whole, or there is no such run any more.
    Over,
}

/// Works on a run until all of it is whole, or it is over, or the worker is told to stop. What is reported is what the shards
/// say that this worker has had a hand in; [`super::Observer`] tells of all.
///
/// # Errors
/// When a side can't be listed, or the store beside the manifest can't be used. That single objects could not be copied is in
/// the report.
pub async fn work(
    source: &Side,
    destination: &Side,
    place: Place,
    options: &Options,
    run: &str,
    worker: Worker,
    counters: &Arc<Counters>,
) -> Result<Report, StoreError> {
    check(source, destination)?;
    let limits = limits(source, destination, options).await?;
    let (objects, of) = (Objects::of(&place)?, of(source, destination));
    let reader = Manifest::open(place.clone(), &of).await?.reader();
    let hands = worker.hands.max(1);
    let work = Arc::new(Work {
        source: source.clone(),
        destination: destination.clone(),
        place,
        view: Mutex::new(View::new(objects.clone(), run)),
        objects,
        run: run.to_owned(),
        of,
        copier: Arc::new(Copier::new(source, destination, reader, options, limits)),
        filter: options.filter.clone(),
        deletes: options.deletes,
        worker,
        counters: counters.clone(),
        tallies: Lock::default(),
        broken: watch::Sender::new(false),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..hands {
        let work = work.clone();
        tasks.spawn(async move { work.hand().await });
    }
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended.unwrap_or_else(|error| Err(lost(&error))) {
            // The others give back what they have: whoever comes next begins with all of it.
            work.broken.send_replace(true);
            failed = failed.or(Some(error));
        }
    }
    failed.map_or_else(|| Ok(counters.report()), Err)
}

impl Work {
    async fn hand(&self) -> Result<(), StoreError> {
        while !self.is_told_to_stop() {
            match self.next().await? {
                Next::Do(shard) => {
                    let (name, epoch) = (shard.name.clone(), shard.state.epoch);
                    tracing::debug!(shard = name, epoch, "taken");
                    let ended = carry_out(self, *shard).await?;
                    tracing::debug!(shard = name, epoch, ?ended, "done with");
                    if ended == Ended::Stopped {
                        return Ok(());
                    }
                }
                Next::Wait => {
                    tokio::select! {
                        () = tokio::time::sleep(self.worker.renew.min(LOOK)) => {}
                        () = self.told_to_stop() => return Ok(()),
                    }
                }
                Next::Over => return Ok(()),
            }
        }
        Ok(())
    }

    async fn next(&self) -> Result<Next, StoreError> {
        let mut view = self.view.lock().await;
        if !view.refresh().await? || view.is_whole() {
            return Ok(Next::Over);
        }
        let mut shards = view.to_be_had(self.worker.expire);
        // Not all begin with the same one.
        let mut hasher = DefaultHasher::new();
        self.worker.name.hash(&mut hasher);
        let first = usize::try_from(hasher.finish() % shards.len().max(1) as u64).unwrap_or(0);
        shards.rotate_left(first);
        for shard in shards {
            let taken = shard.state.taken(&self.worker.name);
            if let Some(taken) = shard.replaced_by(&self.objects, &self.run, taken).await? {
                view.note(&taken);
                return Ok(Next::Do(taken.into()));
            }
        }
        Ok(split(self, &mut view).await?.map_or(Next::Wait, |shard| Next::Do(shard.into())))
    }

    /// What was done of a shard counts as this worker's.
    pub(super) fn count(&self, shard: &Shard) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.insert((shard.name.clone(), shard.state.epoch), shard.state.tally.clone());
        tallies.values().fold(Tally::default(), Tally::and).show(&self.counters);
    }

    fn is_told_to_stop(&self) -> bool {
        *self.worker.stop.borrow() || *self.broken.borrow()
    }

    /// Done when leases are to be given back.
    pub(super) async fn told_to_stop(&self) {
        let (mut stop, mut broken) = (self.worker.stop.clone(), self.broken.subscribe());
        let told = async |told: &mut watch::Receiver<bool>| {
            if told.wait_for(|told| *told).await.is_err() {
                // Nobody is left who could say so.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = told(&mut stop) => {}
            () = told(&mut broken) => {}
        }
    }
}
