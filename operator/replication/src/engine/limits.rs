//! What can't be kept between two buckets, found before anything is done: so that it is said before, and not only counted
//! after. And what can't be done exactly is refused.

use serde::Serialize;

use super::{History, Options, Side};
use crate::StoreError;
use crate::wire::{Versioning, Wire};

/// A key that nobody has: a store is asked for its tags.
const NO_KEY: &str = ".tripod-has-no-such-object";

/// What both buckets keep. `None`: this may not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub source_versions: Option<Versioning>,
    pub destination_versions: Option<Versioning>,
    /// Whether versions can be locked against deletion.
    pub source_locks: Option<bool>,
    pub destination_locks: Option<bool>,
    /// Whether the destination keeps tags of objects.
    pub destination_tags: bool,
    /// The source's clock, in milliseconds since 1970.
    now: Option<i64>,
}

/// Something that will not be as it is at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Note {
    NoVersions,
    SuspendedSource,
    NoLocks,
    LocksUnknown,
    NoTags,
}

impl Note {
    /// In words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NoVersions => {
                "the source keeps versions and the target does not: what a run replaces or deletes there can't be had back"
            }
            Self::SuspendedSource => {
                "the source keeps versions no longer (its versioning is suspended): what is overwritten between two runs is \
                 not seen"
            }
            Self::NoLocks => {
                "the source's bucket has object lock and the target's has not: copies are not protected from deletion"
            }
            Self::LocksUnknown => {
                "whether the target's bucket has object lock may not be asked (s3:GetBucketObjectLockConfiguration): copies \
                 are not locked"
            }
            Self::NoTags => "the target keeps no tags: those of objects are lost",
        }
    }
}

impl Limits {
    /// What is to be said before a run.
    #[must_use]
    pub fn notes(&self, history: History) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut note = |holds: bool, note: Note| notes.extend(holds.then_some(note));
        let keeps = |versions: Option<Versioning>| versions == Some(Versioning::Enabled);
        let lacks = matches!(self.destination_versions, Some(Versioning::Never | Versioning::Suspended));
        note(keeps(self.source_versions) && lacks, Note::NoVersions);
        let suspended = self.source_versions == Some(Versioning::Suspended);
        note(suspended && history == History::All, Note::SuspendedSource);
        note(self.source_locks == Some(true) && self.destination_locks == Some(false), Note::NoLocks);
        note(self.source_locks == Some(true) && self.destination_locks.is_none(), Note::LocksUnknown);
        note(!self.destination_tags, Note::NoTags);
        notes
    }

    /// Why a run would not be what was asked for: what is wrong, and with which side.
    fn refusal(&self, options: &Options) -> Option<(Which, String)> {
        match options.history {
            History::Latest => None,
            History::At(_) | History::All if !options.filter.tags.is_empty() => {
                let detail = "has versions of different tags under one key: of histories, tags are no filter";
                Some((Which::Source, detail.to_owned()))
            }
            History::At(moment) => self.no_moment(moment).map(|detail| (Which::Source, detail)),
            History::All if options.filter.smallest.or(options.filter.largest).is_some() => {
                let detail =
                    "has versions of different sizes under one key: with all versions, sizes are no filter";
                Some((Which::Source, detail.to_owned()))
            }
            History::All => self.no_history(),
        }
    }

    fn no_moment(&self, moment: i64) -> Option<String> {
        if self.source_versions != Some(Versioning::Enabled) {
            return Some(format!(
                "keeps no versions ({}): how it was at an earlier moment can't be known exactly; enable versioning there \
                 for the future, or replicate what is current",
                state(self.source_versions)
            ));
        }
        let is_ahead = self.now.is_some_and(|now| moment > now);
        is_ahead.then(|| "has not reached this moment, by its own clock: name one that is over".to_owned())
    }

    fn no_history(&self) -> Option<(Which, String)> {
        if !matches!(self.source_versions, Some(Versioning::Enabled | Versioning::Suspended)) {
            let state = state(self.source_versions);
            let detail = format!("keeps no versions ({state}): there is no history to replicate");
            return Some((Which::Source, detail));
        }
        (self.destination_versions != Some(Versioning::Enabled)).then(|| {
            let state = state(self.destination_versions);
            let detail = "enable versioning there, or replicate only what is current";
            (Which::Destination, format!("keeps no versions ({state}): {detail}"))
        })
    }
}

fn state(versions: Option<Versioning>) -> &'static str {
    match versions {
        Some(Versioning::Suspended) => "its versioning is suspended",
        _ => "its versioning was never enabled",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Source,
    Destination,
}

/// Finds out what both buckets keep. A few requests, whatever the buckets hold.
///
/// # Errors
/// When a side can't be asked, or what `options` want can't be had of it: the message names the side.
pub async fn limits(source: &Side, destination: &Side, options: &Options) -> Result<Limits, StoreError> {
    let (from, to) = (source, destination);
    let needed = options.history != History::Latest;
    let asked = tokio::try_join!(
        from.wire.persist(async || asked(from.wire.versioning(&from.bucket).await, needed)),
        to.wire
            .persist(async || asked(to.wire.versioning(&to.bucket).await, options.history == History::All)),
        from.wire.persist(async || asked(from.wire.has_object_lock(&from.bucket).await, false)),
        to.wire.persist(async || asked(to.wire.has_object_lock(&to.bucket).await, false)),
        keeps_tags(&to.wire, to),
    );
    let (source_versions, destination_versions, source_locks, destination_locks, destination_tags) = asked?;
    let limits = Limits {
        source_versions: source_versions.map(|(versions, _)| versions),
        destination_versions: destination_versions.map(|(versions, _)| versions),
        source_locks,
        destination_locks,
        destination_tags,
        now: source_versions.and_then(|(_, now)| now),
    };
    match limits.refusal(options) {
        None => Ok(limits),
        Some((which, detail)) => {
            let (name, side) = if which == Which::Source { ("source", from) } else { ("target", to) };
            Err(StoreError::Other { what: format!("the {name}, {side}"), detail })
        }
    }
}

/// What may not be asked, and need not be known, is not known.
fn asked<T>(answer: Result<T, StoreError>, needed: bool) -> Result<Option<T>, StoreError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(StoreError::NoSuchBucket { endpoint, bucket }) => {
            Err(StoreError::NoSuchBucket { endpoint, bucket })
        }
        Err(error) if needed || error.is_transient() => Err(error),
        Err(_) => Ok(None),
    }
}

async fn keeps_tags(wire: &Wire, side: &Side) -> Result<bool, StoreError> {
    let key = side.key(NO_KEY);
    match wire.persist(|| wire.tags(&side.bucket, &key, None)).await {
        Err(StoreError::Unsupported { .. }) => Ok(false),
        Err(error) if error.is_transient() => Err(error),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Filter;

    fn both() -> Limits {
        Limits {
            source_versions: Some(Versioning::Enabled),
            destination_versions: Some(Versioning::Enabled),
            source_locks: Some(true),
            destination_locks: Some(true),
            destination_tags: true,
            now: Some(1000),
        }
    }

    #[test]
    fn what_is_lost_is_noted() {
        assert_eq!(both().notes(History::All), []);
        let poor = Limits {
            destination_versions: Some(Versioning::Never),
            destination_locks: Some(false),
            destination_tags: false,
            ..both()
        };
        assert_eq!(poor.notes(History::Latest), [Note::NoVersions, Note::NoLocks, Note::NoTags]);
        let unknown = Limits { destination_versions: None, destination_locks: None, ..both() };
        assert_eq!(unknown.notes(History::Latest), [Note::LocksUnknown]);
        let suspended = Limits { source_versions: Some(Versioning::Suspended), ..both() };
        assert_eq!(suspended.notes(History::All), [Note::SuspendedSource]);
    }

    #[test]
    fn what_would_not_be_exact_is_refused_with_the_side() {
        let refused = |limits: &Limits, history| {
            limits.refusal(&Options { history, ..Options::default() }).map(|(which, _)| which)
        };
        for history in [History::Latest, History::At(1000), History::All] {
            assert_eq!(refused(&both(), history), None);
        }
        assert_eq!(refused(&both(), History::At(1001)), Some(Which::Source));
        for state in [Versioning::Never, Versioning::Suspended] {
            let source = Limits { source_versions: Some(state), ..both() };
            assert_eq!(refused(&source, History::At(1)), Some(Which::Source));
            assert_eq!(refused(&source, History::Latest), None);
            let destination = Limits { destination_versions: Some(state), ..both() };
            assert_eq!(refused(&destination, History::All), Some(Which::Destination));
            assert_eq!(refused(&destination, History::At(1)), None);
        }
        let source = Limits { source_versions: Some(Versioning::Never), ..both() };
        assert_eq!(refused(&source, History::All), Some(Which::Source));
        let filter = Filter { smallest: Some(1), ..Filter::default() };
        let options = Options { history: History::All, filter, ..Options::default() };
        assert!(both().refusal(&options).is_some_and(|(_, detail)| detail.contains("size")));
        for history in [History::At(1000), History::All] {
            let filter = Filter { tags: [("a".into(), "b".into())].into(), ..Filter::default() };
            let options = Options { filter, history, ..Options::default() };
            assert!(both().refusal(&options).is_some_and(|(_, detail)| detail.contains("tags")));
        }
    }
}
