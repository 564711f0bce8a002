//! All shards of a run as one process sees them. Whether a lease has expired is told by this process's own clock: it is when
//! nothing was written for long enough while this process looked.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::objects::Objects;
use super::state::{FOLDER, Piece, Plan, State, decoded, encoded};
use crate::StoreError;
use crate::engine::tally::Tally;
use crate::wire::{Condition, ETag};

/// The shards of one run.
#[derive(Debug)]
pub(super) struct View {
    pub(super) objects: Objects,
    pub(super) run: String,
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    /// As the last listing called it: what is still called so is not read again.
    listed: ETag,
    etag: ETag,
    state: State,
    since: Instant,
}

/// A shard that is there to be taken, or was taken.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub(super) name: String,
    pub(super) etag: ETag,
    pub(super) state: State,
}

/// All runs that were begun and not ended; and the names of all that lies there.
pub(super) async fn runs(objects: &Objects) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let names: Vec<String> = objects.list(FOLDER).await?.into_iter().map(|(name, _)| name).collect();
    let plan = |name: &String| Some(name.strip_prefix(FOLDER)?.strip_suffix("/plan")?.to_owned());
    Ok((names.iter().filter_map(plan).collect(), names))
}

pub(super) fn plan_name(run: &str) -> String {
    format!("{FOLDER}{run}/plan")
}

pub(super) fn state_name(run: &str, shard: &str) -> String {
    format!("{FOLDER}{run}/state/{shard}")
}

pub(super) async fn plan(objects: &Objects, run: &str) -> Result<Option<Plan>, StoreError> {
    let name = plan_name(run);
    objects.read(&name).await?.map(|(bytes, _)| decoded(&name, &bytes)).transpose()
}

impl View {
    pub(super) fn new(objects: Objects, run: &str) -> Self {
        Self { objects, run: run.to_owned(), known: BTreeMap::new() }
    }

    /// Looks again. `false`: the run is over, and there is nothing left of it.
    pub(super) async fn refresh(&mut self) -> Result<bool, StoreError> {
        loop {
            let prefix = state_name(&self.run, "");
            let listed = self.objects.list(&prefix).await?;
            let shard = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
            let listed: BTreeMap<String, ETag> =
                listed.into_iter().map(|(name, etag)| (shard(&name), etag)).collect();
            self.known.retain(|name, _| listed.contains_key(name));
            for (name, etag) in listed {
                self.look(name, etag).await?;
            }
            let missing = self.missing();
            if missing.is_empty() {
                return Ok(!self.known.is_empty());
            }
            // Only of a run that goes on: of one that is being cleared away nothing is to be made again.
            if plan(&self.objects, &self.run).await?.is_none() {
                return Ok(false);
            }
            for piece in missing {
                let name = state_name(&self.run, &piece.name);
                self.objects.write(&name, &Condition::Absent, &encoded(&State::new(&piece))?).await?;
            }
        }
    }

    async fn look(&mut self, name: String, listed: ETag) -> Result<(), StoreError> {
        if self.known.get(&name).is_some_and(|known| known.listed == listed) {
            return Ok(());
        }
        let at = state_name(&self.run, &name);
        let Some((bytes, etag)) = self.objects.read(&at).await? else {
            self.known.remove(&name);
            return Ok(());
        };
        let state = decoded(&at, &bytes)?;
        self.known.insert(name, Known { listed, etag, state, since: Instant::now() });
        Ok(())
    }

    /// What was cut off, and has no object yet.
    fn missing(&self) -> Vec<Piece> {
        let cut_off = self.known.values().flat_map(|known| &known.state.cut_off);
        cut_off.filter(|piece| !self.known.contains_key(&piece.name)).cloned().collect()
    }

    /// Takes note of what this process has written itself.
    pub(super) fn note(&mut self, shard: &Shard) {
        let Shard { name, etag, state } = shard.clone();
        let known = Known { listed: etag.clone(), etag, state, since: Instant::now() };
        self.known.insert(name, known);
    }

    /// All of them, in the order of their keys.
    pub(super) fn states(&self) -> Vec<(&str, &State)> {
        let mut states: Vec<_> =
            self.known.iter().map(|(name, known)| (name.as_str(), &known.state)).collect();
        states.sort_by(|(_, a), (_, b)| a.after.cmp(&b.after));
        states
    }

    pub(super) fn is_whole(&self) -> bool {
        self.known.values().all(|known| known.state.whole)
    }

    /// Those that nobody has, or whose holder has said nothing for so long.
    pub(super) fn to_be_had(&self, expire: Duration) -> Vec<Shard> {
        self.shards(|known| {
            known.state.is_free() || (known.state.is_running() && known.since.elapsed() >= expire)
        })
    }

    /// Those that somebody works on.
    pub(super) fn running(&self) -> Vec<Shard> {
        self.shards(|known| known.state.is_running())
    }

    fn shards(&self, is_meant: impl Fn(&Known) -> bool) -> Vec<Shard> {
        let meant = self.known.iter().filter(|(_, known)| is_meant(known));
        let shard = |(name, known): (&String, &Known)| Shard {
            name: name.clone(),
            etag: known.etag.clone(),
            state: known.state.clone(),
        };
        meant.map(shard).collect()
    }

    /// What all of them have done.
    pub(super) fn tally(&self) -> Tally {
        self.known.values().fold(Tally::default(), |sum, known| sum.and(&known.state.tally))
    }
}

impl Shard {
    /// As it is now; `None` where it is gone.
    pub(super) async fn again(&self, objects: &Objects, run: &str) -> Result<Option<Self>, StoreError> {
        let name = state_name(run, &self.name);
        let Some((bytes, etag)) = objects.read(&name).await? else { return Ok(None) };
        Ok(Some(Self { name: self.name.clone(), etag, state: decoded(&name, &bytes)? }))
    }

    /// Writes it anew, if it is still what it was.
    pub(super) async fn replaced_by(
        &self,
        objects: &Objects,
        run: &str,
        next: State,
    ) -> Result<Option<Self>, StoreError> {
        let name = state_name(run, &self.name);
        let written = objects.write(&name, &Condition::Is(self.etag.clone()), &encoded(&next)?).await?;
        Ok(written.map(|etag| Self { name: self.name.clone(), etag, state: next }))
    }
}
