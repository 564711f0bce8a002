//! What the API server said last of every department, request and namespace: three watches, and the moments at which
//! the first and the last of each was there. Who waits asks the board, and never the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Object, PartialObjectMeta};
use kube::core::object::NotUsed;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use crate::manifests::resource;

/// Of a status, what the benchmark looks at. All else is skipped while it is read: the watcher shares two cores with
/// what it watches.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub conditions: Vec<Condition>,
    pub phase: Option<String>,
    pub spec_hash: Option<String>,
}

type Watched = Object<NotUsed, Status>;

/// One object as it was seen last.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub uid: String,
    pub generation: i64,
    /// Ready, and that is about the present generation.
    pub ready: bool,
    /// What the condition Ready says.
    pub says: String,
    pub phase: Option<String>,
    pub spec_hash: Option<String>,
}

/// Objects of one kind, by namespace and name.
#[derive(Debug, Default)]
pub struct Kind {
    pub objects: BTreeMap<String, Seen>,
    /// How many are Ready now.
    pub ready: usize,
    /// When the last one became Ready.
    pub last: Option<Instant>,
}

#[derive(Debug, Default)]
pub struct State {
    pub departments: Kind,
    pub requests: Kind,
    pub homes: BTreeSet<String>,
    pub systems: BTreeSet<String>,
    /// When the last namespace of each sort appeared.
    pub last_home: Option<Instant>,
    pub last_system: Option<Instant>,
    /// A watch that has ended: nothing that is waited for will come.
    pub broken: Option<String>,
}

pub struct Board {
    state: watch::Sender<State>,
}

impl Kind {
    fn put(&mut self, key: String, seen: Seen) {
        let ready = seen.ready;
        let before = self.objects.insert(key, seen).is_some_and(|s| s.ready);
        match (before, ready) {
            (false, true) => {
                self.ready += 1;
                self.last = Some(Instant::now());
            }
            (true, false) => self.ready -= 1,
            _ => {}
        }
    }

    fn remove(&mut self, key: &str) {
        if self.objects.remove(key).is_some_and(|s| s.ready) {
            self.ready -= 1;
        }
    }

    /// What those say that are not Ready: how many of each, the most frequent first.
    pub fn complaints(&self) -> String {
        let mut by_text: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for (name, seen) in self.objects.iter().filter(|(_, seen)| !seen.ready) {
            by_text.entry(&seen.says).or_insert((0, name)).0 += 1;
        }
        let mut all: Vec<_> = by_text.into_iter().collect();
        all.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let lines =
            all.iter().take(5).map(|(text, (count, name))| format!("{count}, for instance {name}: {text}"));
        lines.collect::<Vec<_>>().join("; ")
    }
}

impl Board {
    /// Starts the watches. Names of home namespaces go to `homes` as they appear.
    pub fn start(client: &Client, homes: mpsc::UnboundedSender<String>) -> std::sync::Arc<Self> {
        let board = std::sync::Arc::new(Self { state: watch::channel(State::default()).0 });
        let follow = |kind: &'static str, pick: fn(&mut State) -> &mut Kind| {
            let api: Api<Watched> = Api::all_with(client.clone(), &resource(kind));
            let stream = watcher(api, watcher::Config::default()).default_backoff();
            let board = board.clone();
            tokio::spawn(async move {
                let end = board.follow(stream, pick).await;
                board.state.send_modify(|s| s.broken = Some(format!("the watch on {kind} ended: {end:?}")));
            });
        };
        follow("Department", |state| &mut state.departments);
        follow("ResourceRequest", |state| &mut state.requests);
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
        let config = watcher::Config::default().labels("tripod.cloud/department");
        let stream = watcher(api, config).default_backoff();
        let watching = board.clone();
        tokio::spawn(async move {
            let end = watching.follow_namespaces(stream, &homes).await;
            watching
                .state
                .send_modify(|s| s.broken = Some(format!("the watch on namespaces ended: {end:?}")));
        });
        board
    }

    async fn follow(
        &self,
        stream: impl Stream<Item = watcher::Result<Event<Watched>>>,
        pick: fn(&mut State) -> &mut Kind,
    ) -> Result<(), watcher::Error> {
        let mut stream = pin!(stream);
        while let Some(event) = stream.try_next().await? {
            match event {
                Event::Apply(object) | Event::InitApply(object) => {
                    let (key, seen) = (key(&object), Seen::of(&object));
                    self.state.send_modify(|state| pick(state).put(key, seen));
                }
                Event::Delete(object) => self.state.send_modify(|state| pick(state).remove(&key(&object))),
                Event::Init | Event::InitDone => {}
            }
        }
        Ok(())
    }

    async fn follow_namespaces<N: ResourceExt>(
        &self,
        stream: impl Stream<Item = watcher::Result<Event<N>>>,
        homes: &mpsc::UnboundedSender<String>,
    ) -> Result<(), watcher::Error> {
        let mut stream = pin!(stream);
        while let Some(event) = stream.try_next().await? {
            let (Event::Apply(namespace) | Event::InitApply(namespace)) = event else { continue };
            let (name, is_system) =
                (namespace.name_any(), namespace.labels().contains_key("tripod.cloud/request"));
            let known = |state: &State| state.homes.contains(&name) || state.systems.contains(&name);
            if known(&self.state.borrow()) {
                continue;
            }
            self.state.send_modify(|state| {
                let (set, last) = if is_system {
                    (&mut state.systems, &mut state.last_system)
                } else {
                    (&mut state.homes, &mut state.last_home)
                };
                set.insert(name.clone());
                *last = Some(Instant::now());
            });
            if !is_system {
                // Nobody listens any more when all requests are made.
                let _ = homes.send(name);
            }
        }
        Ok(())
    }

    /// Waits until the board shows something, and returns it.
    ///
    /// # Errors
    /// When the deadline is over, with what `instead` says of the board; or when a watch has ended.
    pub async fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&State) -> Option<T>,
        instead: impl Fn(&State) -> String,
    ) -> Result<T> {
        let mut receiver = self.state.subscribe();
        let mut found = None;
        let wait = receiver.wait_for(|state| {
            found = wanted(state);
            found.is_some() || state.broken.is_some()
        });
        let ended = tokio::time::timeout(deadline, wait).await.is_err();
        let state = self.state.borrow();
        match (found, &state.broken) {
            (Some(found), _) => Ok(found),
            (None, Some(broken)) => bail!("waiting for {what}: {broken}"),
            _ if ended => bail!("waited {} s for {what}; last seen: {}", deadline.as_secs(), instead(&state)),
            _ => bail!("waiting for {what}: the board is gone"),
        }
    }

    /// Looks at the board as it is.
    pub fn look<T>(&self, at: impl FnOnce(&State) -> T) -> T {
        at(&self.state.borrow())
    }
}

/// `namespace/name`, or `name`.
fn key(object: &Watched) -> String {
    object
        .namespace()
        .map_or_else(|| object.name_any(), |namespace| format!("{namespace}/{}", object.name_any()))
}

impl Seen {
    fn of(object: &Watched) -> Self {
        let generation = object.metadata.generation.unwrap_or_default();
        let status = object.status.as_ref();
        let condition = status.and_then(|s| s.conditions.iter().find(|c| c.type_ == "Ready"));
        Self {
            uid: object.uid().unwrap_or_default(),
            generation,
            ready: condition.is_some_and(|c| c.status == "True" && c.observed_generation == Some(generation)),
            says: condition.map_or_else(
                || "no condition Ready".to_owned(),
                |c| format!("{} {}: {}", c.status, c.reason, c.message),
            ),
            phase: status.and_then(|s| s.phase.clone()),
            spec_hash: status.and_then(|s| s.spec_hash.clone()),
        }
    }
}
