//! A few keys looked at now, because somebody says that they have changed: an event is a hint, never a fact.
//!
//! Each key is asked for at both sides, and decided about as in a whole run. What is copied is proved in the same way and noted
//! beside the manifest, so that the next whole run knows that it is ours. Nothing is deleted: only who has listed everything
//! knows that a key is gone. A touch and a whole run never go on at the same time; the caller sees to that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, stream};

use super::copy::{Copied, Copier};
use super::decide::{Known, Step, Why, decide};
use super::journal::{self, Writer};
use super::limits::limits;
use super::manifest::{Manifest, Place};
use super::record::{Proof, Record, Seen};
use super::report::{Counters, Report};
use super::touched::{self, precise};
use super::{History, Options, Side, check, run};
use crate::StoreError;
use crate::wire::{About, Condition, ETag, Entry, Part};

/// Keys that are written down together, before and after.
const PAGE: usize = 1000;
/// Keys that are looked at, at once.
const LOOKS: usize = 16;
/// A moment that nothing was written at.
const NEVER: i64 = -1;
/// The longest key that S3 has, in bytes.
const LONGEST: usize = 1024;

/// Makes the destination hold what the source holds under these keys, which are relative to the source's prefix.
///
/// # Errors
/// When no whole run has begun yet, or the manifest can't be read or written. That single objects could not be copied is in
/// the report.
pub async fn touch(
    source: &Side,
    destination: &Side,
    place: Place,
    options: &Options,
    keys: &BTreeSet<String>,
    counters: &Arc<Counters>,
) -> Result<Report, StoreError> {
    check(source, destination)?;
    if options.history != History::Latest {
        return Err(StoreError::Other {
            what: source.to_string(),
            detail: "has a history that is replicated whole; make a run of everything".to_owned(),
        });
    }
    let limits = limits(source, destination, options).await?;
    let manifest = Manifest::open(place, &run::of(source, destination)).await?;
    if manifest.is_new() {
        return Err(StoreError::Other {
            what: destination.to_string(),
            detail: "nothing was replicated there yet; make a whole run first".to_owned(),
        });
    }
    let copier = Copier::new(source, destination, manifest.reader(), options, limits);
    run::clear_uploads(&copier, |_| true).await?;
    let id = journal::name_of_run();
    let writer = Writer::new(manifest.reader(), id.clone(), 0);
    let mut touch = Touch { copier, counters: counters.clone(), options: options.clone(), writer };
    let is_meant =
        |key: &&String| !key.is_empty() && key.len() <= LONGEST && options.filter.wants_key(key.as_str());
    let keys: Vec<String> = keys.iter().filter(is_meant).cloned().collect();
    for (number, keys) in keys.chunks(PAGE).enumerate() {
        let records = records(&manifest, keys).await?;
        touch.page(&format!("{id}-{number:06}"), keys, records).await?;
    }
    let mut report = counters.report();
    touch.copier.losses.tell(&mut report);
    Ok(report)
}

struct Touch {
    copier: Copier,
    counters: Arc<Counters>,
    options: Options,
    writer: Writer,
}

/// An object as a HEAD tells it.
struct Head {
    entry: Entry,
    about: About,
}

/// To be copied.
struct Wanted {
    entry: Entry,
    condition: Condition,
    why: Why,
}

impl Touch {
    async fn page(
        &mut self,
        name: &str,
        keys: &[String],
        mut records: HashMap<String, Record>,
    ) -> Result<(), StoreError> {
        let this = &*self;
        let look = |key: String| async move {
            let heads = this.look(&key).await;
            (key, heads)
        };
        let pairs: Vec<_> = stream::iter(keys.to_vec()).map(look).buffered(LOOKS).collect().await;
        let mut wanted = Vec::new();
        for (key, heads) in pairs {
            match heads {
                Ok((here, there)) => {
                    // That it was left out says nothing of what is there.
                    let record = records.remove(&key).filter(|record| record.proof != Proof::LeftOut);
                    wanted.extend(self.wanted(here, there, record));
                }
                Err(error) => self.counters.failed(&key, 0, error.to_string()),
            }
        }
        let wanted = self.tagged(wanted).await;
        for wanted in &wanted {
            self.counters.found(&Seen::of(&wanted.entry), wanted.why);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let count = wanted.len();
        let page = self.writer.about_to_copy(wanted.iter().map(|w| w.entry.key.as_str())).await?;
        let copied: BTreeMap<String, Record> = stream::iter(wanted)
            .map(|wanted| self.copy(wanted))
            .buffer_unordered(self.options.at_once.max(1))
            .filter_map(async |record| record)
            .map(|record| (record.key.clone(), record))
            .collect()
            .await;
        let copied: Vec<Record> = copied.into_values().collect();
        let place = &self.copier.manifest;
        touched::keep(place, name, &copied).await?;
        // Where no answer was lost, no request lands later: then the notes say all that the journal does.
        if copied.len() == count && self.copier.gate.is_at_ease() {
            place.remove(&page).await?;
        }
        Ok(())
    }

    /// Those that have the tags that are asked for.
    async fn tagged(&self, wanted: Vec<Wanted>) -> Vec<Wanted> {
        let Some(asked) = &self.copier.asked else { return wanted };
        let (side, requests) = (&self.copier.source, self.copier.requests.as_ref());
        let each = asked.are_on_each(side, wanted, |wanted| &wanted.entry.key, requests).await;
        let kept = each.into_iter().filter_map(|(wanted, are_there)| match are_there {
            Ok(true) => Some(wanted),
            Ok(false) => {
                self.counters.left_out.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(error) => {
                self.counters.failed(&wanted.entry.key, wanted.entry.modified, error.to_string());
                None
            }
        });
        kept.collect()
    }

    /// What both sides have under a key.
    async fn look(&self, key: &str) -> Result<(Option<Head>, Option<Head>), StoreError> {
        self.copier.request().await;
        let (here, now) = head(&self.copier.source, key).await?;
        self.counters.listed_at(now);
        let (there, _) = head(&self.copier.destination, key).await?;
        Ok((here, there))
    }

    fn wanted(&self, here: Option<Head>, there: Option<Head>, record: Option<Record>) -> Option<Wanted> {
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let Some(mut here) = here else {
            if there.is_some() {
                add(&self.counters.gone);
            }
            return None;
        };
        if !self.options.filter.wants_size(&here.entry) {
            return None;
        }
        add(&self.counters.listed);
        if there.as_ref().is_some_and(|there| is_alike(&here, there)) {
            add(&self.counters.kept);
            return None;
        }
        let mut there = there.map(|there| there.entry);
        if let Some(record) = &record {
            here.entry.modified = precise(here.entry.modified, record.source.modified);
            if let Some(there) = &mut there {
                there.modified = precise(there.modified, record.destination.modified);
            }
        }
        let is_known = record.is_some();
        let known = record.map_or(Known::Nothing, Known::Recorded);
        let wanted = match (decide(Some(here.entry), there.as_ref(), known), there) {
            (Step::Copy { entry, condition, why, .. }, _) => Wanted { entry, condition, why },
            // The same content, and something else beside it.
            (Step::Keep(record), Some(there)) if !is_known => Wanted {
                entry: Entry {
                    key: record.key,
                    size: record.source.size,
                    etag: record.source.etag,
                    modified: record.source.modified,
                    version: None,
                },
                condition: Condition::Is(there.etag),
                why: Why::Changed,
            },
            _ => {
                add(&self.counters.kept);
                return None;
            }
        };
        Some(wanted)
    }

    async fn copy(&self, wanted: Wanted) -> Option<Record> {
        let Wanted { entry, condition, why } = wanted;
        let (key, modified) = (entry.key.clone(), entry.modified);
        let permit = self.copier.gate.enter().await;
        let result = self.copier.copy(entry, condition).await;
        permit.leave(false);
        let record = match result {
            Ok(Copied::Whole { mut record, bytes, .. }) => {
                self.counters.copied(bytes, record.proof);
                // It has changed since it was looked at, and when is not known: the next whole run looks closer.
                if record.source.modified == 0 {
                    record.source.modified = NEVER;
                }
                Some(record)
            }
            Ok(Copied::Gone) => None,
            Ok(Copied::LeftOut) => {
                self.counters.left_out.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(error) => {
                self.counters.failed(&key, modified, error.to_string());
                None
            }
        };
        self.counters.ended(modified, why);
        record
    }
}

/// The same content, and the same beside it.
fn is_alike(here: &Head, there: &Head) -> bool {
    let of = |head: &Head| (head.entry.size, head.entry.etag.clone(), head.about.tags);
    !here.entry.etag.is_empty() && of(here) == of(there) && here.about.pairs().eq(there.about.pairs())
}

/// What a side has under a key, and what its store's clock shows.
async fn head(side: &Side, key: &str) -> Result<(Option<Head>, Option<i64>), StoreError> {
    let at = side.key(key);
    let head = side.wire.persist(|| side.wire.head(&side.bucket, &at, Part::default())).await?;
    let Some((headers, about)) = head else { return Ok((None, None)) };
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let entry = Entry {
        key: key.to_owned(),
        size: text("content-length").parse().unwrap_or(0),
        etag: ETag::new(text("etag")),
        modified: crate::wire::moment(text("last-modified")).unwrap_or(0),
        version: None,
    };
    Ok((Some(Head { entry, about }), crate::wire::moment(text("date"))))
}

/// What is on record of these keys, which are in order.
async fn records(manifest: &Manifest, keys: &[String]) -> Result<HashMap<String, Record>, StoreError> {
    let (reader, mut found) = (manifest.reader(), HashMap::new());
    for segment in manifest.segments() {
        let from = keys.partition_point(|key| *key < segment.first);
        let until = keys.partition_point(|key| *key <= segment.last);
        if from >= until {
            continue;
        }
        let mine = &keys[from..until];
        for record in reader.records(segment).await? {
            let record = record?;
            if mine.binary_search_by(|key| key.as_str().cmp(&record.key)).is_ok() {
                // Where segments overlap, the first is the younger one.
                found.entry(record.key.clone()).or_insert(record);
            }
        }
    }
    Ok(found)
}
