//! A run: the key space in parts, each merged on its own; copies as many as help; a checkpoint every few seconds; deletions
//! last, when everything was listed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::copy::Copier;
use super::gone::Gone;
use super::journal::{self, Left, Writer};
use super::limits::limits;
use super::manifest::{Manifest, Place, Shared};
use super::merge::Merge;
use super::parts;
use super::ranges::{self, Part, Progress};
use super::record::Seen;
use super::report::{Counters, Report};
use super::walk::Walk;
use super::{Deletes, Filter, History, Options, Side, check, history, versions};
use crate::StoreError;

/// Parts of the key space that are gone through at the same time.
const PARTS: usize = 4;
/// Keys on a page of the journal, at most.
pub(super) const PAGE: usize = 1000;
/// Keys that may wait for one that is under way.
pub(super) const WINDOW: usize = 65_536;
/// Small enough to tell how fast a link is, in bytes.
pub(super) const MEASURE: u64 = 64 << 10;
/// Deletions in flight at once.
pub(super) const DELETIONS: usize = 16;

/// Makes the destination hold what the source holds.
///
/// # Errors
/// When it can't begin, a side can't be listed, or the manifest can't be written. That single objects could not be copied is
/// in the report.
pub async fn replicate(
    source: &Side,
    destination: &Side,
    place: Place,
    options: &Options,
    counters: &Arc<Counters>,
) -> Result<Report, StoreError> {
    check(source, destination)?;
    let limits = limits(source, destination, options).await?;
    let source = &source.as_of(options);
    let mut manifest = Manifest::open(place.clone(), &of(source, destination)).await?;
    if manifest.is_new() {
        if !options.adopt {
            refuse_unless_empty(destination, options.history).await?;
        }
        // From now on what lies there is known to be ours, also when this run is killed before its first checkpoint.
        manifest.commit(Vec::new()).await?;
    }
    // What has to be sorted first is listed once, and not once for each part.
    let at_once = if source.unsorted || destination.unsorted { 1 } else { PARTS };
    let parts = ranges::split(manifest.segments(), at_once);
    let copier = Arc::new(Copier::new(source, destination, manifest.reader(), options, limits));
    clear_uploads(&copier, |_| true).await?;
    let manifest: Shared = Arc::new(Mutex::new(manifest));
    let progress = Progress::new(&parts);
    let left = Left::find(&copier.manifest).await?;
    // Nothing can be done every zero seconds.
    let checkpoint = options.checkpoint.max(Duration::from_millis(1));
    let run = Run { copier, counters: counters.clone(), manifest, progress, checkpoint };
    let mut report = match options.history {
        History::All => history::replicate(&run, parts, options, &left).await?,
        History::Latest | History::At(_) => objects(&run, parts, options, &left).await?,
    };
    run.manifest.lock().await.sweep().await?;
    run.copier.losses.tell(&mut report);
    report.notes = run.copier.limits.notes(options.history);
    report.uncertain = source.uncertain();
    Ok(report)
}

/// One version of each key.
async fn objects(run: &Run, parts: Vec<Part>, options: &Options, left: &Left) -> Result<Report, StoreError> {
    let gone = Gone::up_to(options.deletes);
    all_parts(run, parts, options, left, &gone).await?;
    left.forget_over(&run.copier.manifest).await?;
    left.touched.forget(&run.copier.manifest).await?;
    let mut fuse = None;
    match options.deletes {
        Deletes::Mirror { most } if gone.count() > most => fuse = Some(gone.count()),
        Deletes::Mirror { .. } => {
            let copier = &run.copier;
            delete(&copier.source, &copier.destination, &run.counters, gone.take()).await;
        }
        Deletes::Ignore => {}
    }
    Ok(Report { fuse, ..run.counters.report() })
}

/// What a manifest is of.
pub(super) fn of(source: &Side, destination: &Side) -> String {
    format!("{}/{} to {}/{}", source.bucket, source.prefix, destination.bucket, destination.prefix)
}

pub(super) async fn refuse_unless_empty(destination: &Side, history: History) -> Result<(), StoreError> {
    let (bucket, prefix) = (&destination.bucket, &destination.prefix);
    let first = match history {
        History::All => {
            let page = destination.wire.versions(bucket, prefix, None).await?;
            page.versions.into_iter().next().map(|version| version.entry)
        }
        History::Latest | History::At(_) => {
            destination.wire.list(bucket, prefix, None, None).await?.entries.into_iter().next()
        }
    };
    match first {
        None => Ok(()),
        Some(entry) => Err(StoreError::NotEmpty { target: destination.to_string(), key: entry.key.clone() }),
    }
}

/// Throws away what a run that was killed has left half sent, of the keys at the destination that are meant.
pub(super) async fn clear_uploads(
    copier: &Copier,
    is_meant: impl Fn(&str) -> bool,
) -> Result<(), StoreError> {
    for (intent, key) in copier.manifest.intents().await?.into_iter().filter(|(_, key)| is_meant(key)) {
        parts::clear(copier, &key).await?;
        copier.manifest.fulfilled(&intent).await;
    }
    Ok(())
}

/// What a run, or one shard of it, works with.
pub(super) struct Run {
    pub(super) copier: Arc<Copier>,
    pub(super) counters: Arc<Counters>,
    pub(super) manifest: Shared,
    pub(super) progress: Progress,
    /// How often what was done is put on record.
    pub(super) checkpoint: Duration,
}

async fn all_parts(
    run: &Run,
    parts: Vec<Part>,
    options: &Options,
    left: &Left,
    gone: &Gone,
) -> Result<(), StoreError> {
    let id = journal::name_of_run();
    let mut tasks = JoinSet::new();
    for (number, part) in parts.into_iter().enumerate() {
        let merge = Merge::open(
            &run.copier.source,
            &run.copier.destination,
            &part.range,
            run.copier.manifest.clone(),
            part.segments,
            left,
            Filter::clone(&options.filter),
        );
        let journal = Writer::new(run.copier.manifest.clone(), id.clone(), number);
        let walk = Walk::new(run, number, journal, gone.clone());
        tasks.spawn(walk.run(merge, run.progress.clone()));
    }
    gather(tasks, run).await.map(drop)
}

/// What became of all parts; what they have done is on record every few seconds.
pub(super) async fn gather<T: 'static>(
    mut tasks: JoinSet<Result<T, StoreError>>,
    run: &Run,
) -> Result<Vec<T>, StoreError> {
    let (manifest, progress) = (&run.manifest, &run.progress);
    let mut tick = interval(run.checkpoint);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    let (mut all, mut failed) = (Vec::new(), None);
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                None => break,
                Some(Ok(Ok(part))) => all.push(part),
                Some(Ok(Err(error))) => failed = Some(error),
                Some(Err(error)) => failed = Some(lost(&error)),
            },
            _ = tick.tick() => manifest.lock().await.commit(progress.segments()).await?,
        }
    }
    manifest.lock().await.commit(progress.segments()).await?;
    failed.map_or(Ok(all), Err)
}

pub(super) fn lost(error: &tokio::task::JoinError) -> StoreError {
    StoreError::Other { what: "a part of the run".to_owned(), detail: error.to_string() }
}

/// Deletes what was replicated and is gone at the source: asked for once more, each.
pub(super) async fn delete(from: &Side, to: &Side, counters: &Counters, objects: Vec<(String, Seen)>) {
    let deletions = stream::iter(objects).map(|(key, listed)| async move {
        let here = to.key(&key);
        let sure = async {
            if versions::has(from, &key).await? {
                return Ok(false);
            }
            // Not what was written there since it was listed.
            let is_still = to.wire.head(&to.bucket, &here, crate::wire::Part::default()).await?;
            let is_still = is_still.is_some_and(|(headers, _)| {
                headers.get("etag").and_then(|v| v.to_str().ok()).map(crate::wire::ETag::new)
                    == Some(listed.etag.clone())
            });
            if is_still {
                to.wire.delete(&to.bucket, &here).await?;
            }
            Ok::<_, StoreError>(is_still)
        };
        let deleted = sure.await;
        (key, deleted)
    });
    let mut deletions = std::pin::pin!(deletions.buffer_unordered(DELETIONS));
    while let Some((key, deleted)) = deletions.next().await {
        match deleted {
            Ok(true) => {
                counters.deleted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(false) => {}
            Err(error) => counters.failed(&key, 0, format!("can't be deleted: {error}")),
        }
    }
}
