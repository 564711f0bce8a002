//! How a run in shards begins, or is taken up again.

use bytes::Bytes;

use super::objects::Objects;
use super::state::{FOLDER, Plan, State, encoded};
use super::view::{plan, plan_name, runs, state_name};
use super::{cut, finish};
use crate::StoreError;
use crate::engine::copy::Copier;
use crate::engine::journal;
use crate::engine::limits::limits;
use crate::engine::listing::Range;
use crate::engine::manifest::{Manifest, Place};
use crate::engine::ranges;
use crate::engine::run::{clear_uploads, of, refuse_unless_empty};
use crate::engine::{History, Options, Side, check};
use crate::wire::Condition;

/// A run that workers can work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub run: String,
    /// Somebody has begun it before.
    pub taken_up: bool,
}

/// How large a run would be, as far as is known before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// A run in shards was begun and has not ended.
    pub begun: bool,
    /// Objects on record.
    pub recorded: u64,
    /// Where nothing is on record yet: those that the source lists.
    pub unrecorded: u64,
}

/// Looks how large a run would be; counts no further than up to `most`.
///
/// # Errors
/// When the manifest can't be read, or the source can't be listed.
pub async fn inventory(
    source: &Side,
    destination: &Side,
    place: &Place,
    most: u64,
) -> Result<Inventory, StoreError> {
    let begun = match Objects::of(place) {
        Ok(objects) => !runs(&objects).await?.0.is_empty(),
        Err(_) => false,
    };
    let manifest = Manifest::open(place.clone(), &of(source, destination)).await?;
    let recorded = manifest.segments().iter().map(|segment| u64::from(segment.count)).sum();
    let mut unrecorded = 0;
    if recorded == 0 {
        let mut after: Option<String> = None;
        while unrecorded < most {
            let list = || source.wire.list(&source.bucket, &source.prefix, after.as_deref(), None);
            let page = source.wire.persist(list).await?;
            unrecorded += page.entries.len() as u64;
            after = page.entries.last().map(|entry| entry.key.clone());
            if !page.truncated || after.is_none() {
                break;
            }
        }
    }
    Ok(Inventory { begun, recorded, unrecorded })
}

/// Begins a run in about so many shards, or takes up the one that was begun with the same terms. One of other terms is closed:
/// what it has done counts.
///
/// # Errors
/// [`StoreError::Unsupported`] where the manifest lies in a store without conditional writes, or in no bucket: then
/// [`crate::engine::replicate`] does it. Else as that.
pub async fn open(
    source: &Side,
    destination: &Side,
    place: &Place,
    options: &Options,
    shards: usize,
    terms: &str,
) -> Result<Opened, StoreError> {
    check(source, destination)?;
    refuse_what_is_listed_whole(source, destination, options)?;
    let (objects, of) = (Objects::of(place)?, of(source, destination));
    let limits = limits(source, destination, options).await?;
    if let Some(run) = take_up(source, destination, place, &objects, terms).await? {
        return Ok(Opened { run, taken_up: true });
    }
    let run = journal::name_of_run();
    objects.prove_conditions(&format!("{FOLDER}{run}/probe")).await?;
    let mut manifest = Manifest::open(place.clone(), &of).await?;
    if manifest.is_new() {
        if !options.adopt {
            refuse_unless_empty(destination, options.history).await?;
        }
        // From now on what lies there is known to be ours, also when all are killed before their first checkpoint.
        manifest.commit(Vec::new()).await?;
    }
    clear_uploads(&Copier::new(source, destination, manifest.reader(), options, limits), |_| true).await?;
    let plan = Plan::new(of, terms, cut_up(source, &manifest, shards).await?);
    for piece in &plan.shards {
        write_new(&objects, &state_name(&run, &piece.name), &encoded(&State::new(piece))?).await?;
    }
    // Last: from here on there is something to be done.
    write_new(&objects, &plan_name(&run), &encoded(&plan)?).await?;
    Ok(Opened { run, taken_up: false })
}

/// Histories have more than one object of a key, and what lists in no order has no shards.
fn refuse_what_is_listed_whole(
    source: &Side,
    destination: &Side,
    options: &Options,
) -> Result<(), StoreError> {
    let unsupported = |side: &Side, detail: &str| {
        let (endpoint, detail) = (side.wire.endpoint().to_owned(), detail.to_owned());
        Err(StoreError::Unsupported { endpoint, detail })
    };
    if options.history != History::Latest {
        return unsupported(source, "a history is replicated by one process");
    }
    match [source, destination].into_iter().find(|side| side.unsorted) {
        Some(side) => unsupported(side, "what is listed in no order is replicated by one process"),
        None => Ok(()),
    }
}

/// The run that was begun with these terms; what else lies there is closed, or thrown away.
async fn take_up(
    source: &Side,
    destination: &Side,
    place: &Place,
    objects: &Objects,
    terms: &str,
) -> Result<Option<String>, StoreError> {
    let (begun, names) = runs(objects).await?;
    let of_none = |name: &&String| !begun.iter().any(|run| name.starts_with(&format!("{FOLDER}{run}/")));
    for name in names.iter().filter(of_none) {
        objects.remove(name).await?;
    }
    let mut taken = None;
    for run in begun {
        let same = plan(objects, &run)
            .await?
            .is_some_and(|plan| plan.terms == terms && plan.of == of(source, destination));
        if same && taken.is_none() {
            taken = Some(run);
        } else {
            finish::close_one(source, destination, place, &run).await?;
        }
    }
    Ok(taken)
}

/// At quantiles of the manifest; where it has too few segments for that, by asking the source.
async fn cut_up(source: &Side, manifest: &Manifest, shards: usize) -> Result<Vec<Range>, StoreError> {
    let parts = ranges::split(manifest.segments(), shards);
    if parts.len() * 2 > shards {
        return Ok(parts.into_iter().map(|part| part.range).collect());
    }
    cut::cut(source, shards).await
}

async fn write_new(objects: &Objects, name: &str, bytes: &Bytes) -> Result<(), StoreError> {
    match objects.write(name, &Condition::Absent, bytes).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::Other {
            what: format!("manifest, {name}"),
            detail: "is written by another at the same time".to_owned(),
        }),
    }
}
