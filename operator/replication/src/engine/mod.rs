//! One bucket, or a folder of it, made like another: list, compare, copy, prove, record.
//!
//! Everything streams: memory depends on how much is under way, not on how much there is. What was done is on record every
//! few seconds, so that a run that is killed is taken up by the next. One object that can't be copied stops no other.

mod append;
mod chain;
mod chains;
mod copy;
mod decide;
mod gate;
mod gone;
mod history;
mod inspect;
mod journal;
mod lag;
mod limits;
mod listing;
mod lock;
mod manifest;
mod merge;
mod parts;
mod plan;
mod ranges;
mod record;
mod recorder;
mod report;
mod run;
mod setback;
pub mod shards;
mod tags;
mod tally;
mod touch;
mod touched;
mod unsorted;
mod verify;
mod versions;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::rate::Pace;
use crate::wire::{Entry, Wire};

pub use self::chain::{Newest, Pair};
pub use self::decide::{Step, Why};
pub use self::inspect::verify_versions;
pub use self::limits::{Limits, Note, limits};
pub use self::manifest::Place;
pub use self::plan::plan;
pub use self::record::{Proof, Record, Seen};
pub use self::report::{Counters, Planned, Report, Trouble};
pub use self::run::replicate;
pub use self::touch::touch;
pub use self::verify::{Depth, Finding, Verified, verify};

/// A bucket, or a folder of it.
#[derive(Clone, Debug)]
pub struct Side {
    pub wire: Wire,
    pub bucket: String,
    /// Empty, or where keys begin.
    pub prefix: String,
    unsorted: bool,
    etags: Arc<Meaning>,
    /// Its objects are those of an earlier moment.
    as_of: Option<Arc<versions::AsOf>>,
}

/// What a store's `ETag`s are of.
#[derive(Debug)]
struct Meaning(AtomicBool);

impl Meaning {
    fn are_md5(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn are_something_else(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Side {
    /// Of a bucket.
    #[must_use]
    pub fn new(wire: Wire, bucket: &str, prefix: &str) -> Self {
        let etags = Arc::new(Meaning(AtomicBool::new(true)));
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        Self { wire, bucket, prefix, unsorted: false, etags, as_of: None }
    }

    /// Of a store that lists objects in no order: listings are sorted on this machine's disk before they are compared.
    #[must_use]
    pub fn unsorted(self) -> Self {
        Self { unsorted: true, ..self }
    }

    /// With the objects of the moment that is asked for.
    fn as_of(&self, options: &Options) -> Self {
        let as_of = match options.history {
            History::At(moment) => Some(Arc::new(versions::AsOf::new(moment, options.filter.clone()))),
            History::Latest | History::All => None,
        };
        Self { as_of, ..self.clone() }
    }

    /// Objects of which it is not sure what they were at that moment.
    fn uncertain(&self) -> u64 {
        self.as_of.as_ref().map_or(0, |as_of| as_of.uncertain())
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{} at {}", self.bucket, self.prefix, self.wire.endpoint())
    }
}

/// What becomes of objects that the source has no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletes {
    /// They stay.
    #[default]
    Ignore,
    /// They are deleted; where the destination keeps versions, that is a marker on top. Only what was replicated is, and
    /// nothing at all where more than `most` were: somebody may have emptied the source.
    Mirror { most: u64 },
}

/// How much of what the source has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// What is current.
    #[default]
    Latest,
    /// What was current at a moment, by the source's clock, in milliseconds since 1970. Only of a source that keeps versions.
    At(i64),
    /// All versions in their order, with delete markers. Only between two that keep versions.
    All,
}

/// Which objects.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
    /// Bytes, both inclusive.
    pub smallest: Option<u64>,
    pub largest: Option<u64>,
    /// All of these, by name. They cost a request for each object that would be copied.
    pub tags: BTreeMap<String, String>,
}

impl Filter {
    /// Keys that match one of the first, where there are any, and none of the second. `*` stops at no slash.
    ///
    /// # Errors
    /// Names the pattern that is none.
    pub fn globs(include: &[String], exclude: &[String]) -> Result<Self, String> {
        let set = |patterns: &[String]| -> Result<Option<GlobSet>, String> {
            if patterns.is_empty() {
                return Ok(None);
            }
            let mut builder = GlobSetBuilder::new();
            for pattern in patterns {
                builder.add(Glob::new(pattern).map_err(|e| format!("{pattern:?}: {e}"))?);
            }
            builder.build().map(Some).map_err(|e| e.to_string())
        };
        Ok(Self { include: set(include)?, exclude: set(exclude)?, ..Self::default() })
    }

    /// Whether a key is meant.
    #[must_use]
    pub fn wants_key(&self, key: &str) -> bool {
        self.include.as_ref().is_none_or(|set| set.is_match(key))
            && !self.exclude.as_ref().is_some_and(|set| set.is_match(key))
    }

    fn wants_size(&self, entry: &Entry) -> bool {
        self.smallest.is_none_or(|least| entry.size >= least)
            && self.largest.is_none_or(|most| entry.size <= most)
    }
}

/// What stores are known not to have, so that the way around it is taken from the start and not found anew in each run. What is
/// not known is found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lacking {
    /// The destination refuses every condition of a write.
    pub conditions: bool,
    /// The source does not give parts by number.
    pub parts: bool,
    /// The destination keeps no tags. They are sent all the same, and counted as lost.
    pub tags: bool,
}

/// How it is done.
#[derive(Clone, Debug)]
pub struct Options {
    pub deletes: Deletes,
    pub filter: Filter,
    /// Take a destination over that is not empty: what is equal stays, what differs is replaced, what the source does
    /// not have is left alone. Without it a first run into a destination that is not empty is refused.
    pub adopt: bool,
    /// The most objects that are under way at once.
    pub at_once: usize,
    /// Bytes a second, shared by everything that uses the link.
    pub pace: Option<Pace>,
    /// Requests a second.
    pub requests: Option<Pace>,
    /// How often what was done is put on record, at least a millisecond: a run that is killed loses at most twice as much.
    pub checkpoint: Duration,
    pub lacking: Lacking,
    pub history: History,
    /// What a storage class of the source is called at the destination. Of what is not named, none is asked for.
    pub storage_classes: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deletes: Deletes::default(),
            filter: Filter::default(),
            adopt: false,
            at_once: 512,
            pace: None,
            requests: None,
            checkpoint: Duration::from_secs(4),
            lacking: Lacking::default(),
            history: History::default(),
            storage_classes: BTreeMap::new(),
        }
    }
}

/// What the destination could not keep, counted.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    tags: AtomicU64,
    storage_class: AtomicU64,
    lock: AtomicU64,
}

impl Losses {
    fn tell(&self, report: &mut Report) {
        report.lost_tags = self.tags.load(Ordering::Relaxed);
        report.lost_storage_class = self.storage_class.load(Ordering::Relaxed);
        report.lost_lock = self.lock.load(Ordering::Relaxed);
    }
}

/// Refuses what can't end well.
fn check(source: &Side, destination: &Side) -> Result<(), StoreError> {
    let wrong = |detail: &str| {
        Err(StoreError::Other { what: format!("{source} to {destination}"), detail: detail.to_owned() })
    };
    if source.bucket.is_empty() || destination.bucket.is_empty() {
        return wrong("a bucket has no name");
    }
    let same_bucket = source.wire.is_at(destination.wire.endpoint()) && source.bucket == destination.bucket;
    let (from, to) = (&source.prefix, &destination.prefix);
    if same_bucket && (from.starts_with(to.as_str()) || to.starts_with(from.as_str())) {
        return wrong("the destination is the source, or inside of it; name another bucket or prefix");
    }
    Ok(())
}
