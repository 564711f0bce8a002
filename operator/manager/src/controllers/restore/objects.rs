//! Runs over the objects of a point, in the order of their needs, and creates them with the rights of the namespace's
//! restorer: what that account may not do is refused by the API server, object by object.
//!
//! One document at a time is read, and a few are written at once: memory does not grow with the point.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::ResourceExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tripod_crds::Restore;
use tripod_crds::restore::RestoreInclude;
use tripod_domain::restore::{Observed, Source};
use tripod_domain::restoring::archived::{MOST, kind_in, read};
use tripod_domain::restoring::order::{LAST_BEFORE_FILLING, Rank, rank_of_wanted};
use tripod_domain::restoring::prepare::Wishes;
use tripod_domain::restoring::tally::{Fate, Tally};

use super::names;
use super::writer::{Trouble, Writer};
use crate::context::Ctx;
use crate::vault::Document;
use crate::velero::Tarball;

/// Objects that are written at once.
const AT_ONCE: usize = 32;
/// Documents that were read and wait to be written.
const AHEAD: usize = 128;

/// Which objects a run is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    BeforeFilling,
    AfterFilling,
    All,
}

/// Whether it writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Write,
    Compare,
}

/// What a run has come to so far. Shared with who tells of it.
#[derive(Default)]
pub(super) struct Counting {
    tally: Mutex<Tally>,
    conflicts: AtomicU64,
}

impl Counting {
    pub(super) fn so_far(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    pub(super) fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn with(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn fate(&self, title: &str, fate: Fate) {
        self.with(|tally| {
            // What turns out not to be wanted was counted when its path was seen.
            if fate == Fate::LeftOut {
                tally.counts.total = tally.counts.total.saturating_sub(1);
            }
            tally.note(title, fate);
        });
    }
}

/// # Errors
/// What keeps the run from going on: the vault or the API server. What is wrong with one object is in the count.
pub(super) async fn run(
    ctx: &Ctx,
    seen: &Observed,
    part: Part,
    mode: Mode,
    counting: &Counting,
) -> Result<(), String> {
    let namespace = seen.restore.namespace().unwrap_or_default();
    let places = Arc::new(Places::of(&seen.restore, part));
    let (to, mut from) = mpsc::channel::<(Rank, Document)>(AHEAD);
    let Some(reading) = begin_to_read(ctx, seen, &places, to).await? else { return Ok(()) };
    let wishes = Wishes::new(&seen.restore)?;
    let client = ctx.acting_as(&namespace, names::RESTORER).map_err(|e| e.to_string())?;
    let volumes: Vec<String> =
        seen.restore.status.iter().flat_map(|s| &s.volumes).map(|v| v.name.clone()).collect();
    let writer = Writer::new(client, &seen.restore, mode, counting);
    let mut busy = FuturesUnordered::new();
    let mut at = None;
    while let Some((rank, document)) = from.recv().await {
        // All paths were seen before the first document was read.
        counting.with(|tally| places.count_once(tally));
        // What comes later may need all that came before.
        let room = if at == Some(rank) { AT_ONCE } else { 1 };
        while busy.len() >= room {
            busy.next().await.unwrap_or(Ok(()))?;
        }
        at = Some(rank);
        busy.push(one(document, &wishes, &volumes, &writer, counting));
    }
    counting.with(|tally| places.count_once(tally));
    while let Some(done) = busy.next().await {
        done?;
    }
    reading.await.map_err(|e| e.to_string())??;
    if places.too_many.load(Ordering::Relaxed) > 0 {
        return Err(format!(
            "the point has more than {MOST} objects; restore it in parts, with spec.include"
        ));
    }
    Ok(())
}

/// Reads beside the writing, from the point or from a backup of Velero. `None`: there are no objects.
async fn begin_to_read(
    ctx: &Ctx,
    seen: &Observed,
    places: &Arc<Places>,
    to: mpsc::Sender<(Rank, Document)>,
) -> Result<Option<JoinHandle<Result<(), String>>>, String> {
    let (places, counted) = (places.clone(), places.clone());
    let mut count = 0;
    let each = move |rank, document| {
        count += 1;
        if count > MOST {
            counted.too_many.store(1, Ordering::Relaxed);
            return ControlFlow::Break(());
        }
        if to.blocking_send((rank, document)).is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let place = move |path: &str| places.place(path);
    match (&seen.source, &seen.restore.spec.velero) {
        (Source::Ready(manifest), _) => {
            let Some(objects) = manifest.objects.clone() else { return Ok(None) };
            let (_, vault) =
                ctx.stores.vault_at(&seen.centre, &seen.system).await.map_err(|e| e.to_string())?;
            let vault = vault.made_with(&objects.key).map_err(|e| e.to_string())?;
            let reading = async move { vault.each_document(&objects.snapshot, place, each).await };
            Ok(Some(tokio::spawn(async move { reading.await.map_err(|e| e.to_string()) })))
        }
        (Source::Tarball(size), Some(backup)) => {
            let own = ctx.stores.centre(&ctx.centre).await.map_err(|e| e.to_string())?;
            let store = ctx.stores.open(&own).await.map_err(|e| e.to_string())?;
            let namespace = backup.namespace.clone().unwrap_or_else(|| seen.system.clone());
            let tarball = Tarball { store, bucket: backup.bucket.clone(), key: backup.key(), size: *size };
            let runtime = Handle::current();
            Ok(Some(tokio::task::spawn_blocking(move || {
                tarball
                    .each_document(&runtime, &namespace, place, each)
                    .map_err(|e| format!("spec.velero: {e}"))
            })))
        }
        _ => Err("the point was not read".to_owned()),
    }
}

async fn one(
    document: Document,
    wishes: &Wishes<'_>,
    volumes: &[String],
    writer: &Writer<'_>,
    counting: &Counting,
) -> Result<(), String> {
    let archived = match read(&document.path, &document.body) {
        Ok(Some(archived)) => archived,
        Ok(None) => return Ok(()),
        Err(words) => {
            let path: String = document.path.chars().take(120).collect();
            counting.fate(&path, Fate::Failed(words));
            return Ok(());
        }
    };
    // What is written from here on is held twice at most.
    drop(document);
    let title = archived.title();
    if !wishes.wants(&archived, volumes) {
        counting.fate(&title, Fate::LeftOut);
        return Ok(());
    }
    let object = match wishes.prepare(&archived) {
        Ok(Some(object)) => object,
        Ok(None) => {
            counting.fate(&title, Fate::LeftOut);
            return Ok(());
        }
        Err(words) => {
            counting.fate(&title, Fate::Failed(words));
            return Ok(());
        }
    };
    match writer.put(&archived, object).await {
        Ok(fate) => counting.fate(&title, fate),
        Err(Trouble::Object(words)) => counting.fate(&title, Fate::Failed(words)),
        Err(Trouble::Server(words)) => return Err(format!("{title}: {words}")),
    }
    Ok(())
}

/// Which documents are read, judged by their paths, and how many are.
struct Places {
    part: Part,
    include: RestoreInclude,
    wanted: AtomicU64,
    left_out: AtomicU64,
    too_many: AtomicU64,
}

impl Places {
    fn of(restore: &Restore, part: Part) -> Self {
        Self {
            part,
            include: restore.spec.include.clone(),
            wanted: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            too_many: AtomicU64::new(0),
        }
    }

    fn place(&self, path: &str) -> Option<Rank> {
        let rank = match kind_in(path) {
            Ok(None) => return None,
            Ok(Some(kind)) => rank_of_wanted(&self.include, kind),
            // It is read, and what is wrong with it is told.
            Err(_) => Some(Rank::Account),
        };
        let Some(rank) = rank else {
            if self.part != Part::AfterFilling {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
            return None;
        };
        let here = match self.part {
            Part::All => true,
            Part::BeforeFilling => rank <= LAST_BEFORE_FILLING,
            Part::AfterFilling => rank > LAST_BEFORE_FILLING,
        };
        here.then(|| {
            self.wanted.fetch_add(1, Ordering::Relaxed);
            rank
        })
    }

    fn count_once(&self, tally: &mut Tally) {
        tally.counts.total += self.wanted.swap(0, Ordering::Relaxed);
        tally.counts.left_out += self.left_out.swap(0, Ordering::Relaxed);
    }
}
