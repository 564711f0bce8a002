//! What to do about one key: pure. Three things are compared: what the source lists, what the destination lists, and what is
//! on record of the last time. No clock of one store is compared with that of another.

use super::record::{Proof, Record, Seen};
use crate::wire::{Condition, Entry};

/// What to do about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing; this is on record from now on.
    Keep(Record),
    /// The destination is to hold what the source holds.
    Copy { entry: Entry, condition: Condition, why: Why, record: Option<Record> },
    /// The source has it no more, and this is there. It was replicated under this key once, whatever lies there now.
    Gone { record: Record, there: Seen },
    /// The destination has something that was never replicated, and the source has not: it is left alone.
    Foreign,
    /// There is nothing, and nothing needs to be on record.
    Forget,
}

/// Why an object is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    New,
    /// The source has another than at the last time.
    Changed,
    /// It was replicated, and the destination has another now, or none: somebody else wrote there.
    Drifted,
}

impl Why {
    /// As a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Drifted => "drifted",
        }
    }
}

/// What is known of a key from before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    Nothing,
    /// A run was about to copy it, and did not live to say whether it has: what is there may be ours, and may be an older one.
    Begun,
    Recorded(Record),
}

/// Decides about one key; at least one of the three knows it.
#[must_use]
pub fn decide(source: Option<Entry>, destination: Option<&Entry>, known: Known) -> Step {
    let Some(entry) = source else {
        return match (destination, known) {
            (Some(there), Known::Recorded(record)) => Step::Gone { record, there: Seen::of(there) },
            (Some(there), Known::Begun) => Step::Gone { record: unrecorded(there), there: Seen::of(there) },
            (Some(_), Known::Nothing) => Step::Foreign,
            (None, _) => Step::Forget,
        };
    };
    let Some(there) = destination else {
        let (why, record) = match known {
            Known::Recorded(record) => (Why::Drifted, Some(record)),
            _ => (Why::New, None),
        };
        return Step::Copy { entry, condition: Condition::Absent, why, record };
    };
    let condition = Condition::Is(there.etag.clone());
    match known {
        Known::Recorded(mut record)
            if record.source.is_still(&entry) && record.destination.is_still(there) =>
        {
            // Moments that were not known when it was copied.
            record.source.modified = entry.modified;
            record.destination.modified = there.modified;
            Step::Keep(record)
        }
        Known::Recorded(record) => {
            let why = if record.source.is_still(&entry) { Why::Drifted } else { Why::Changed };
            Step::Copy { entry, condition, why, record: Some(record) }
        }
        // The content alone tells nothing of what is kept beside it.
        Known::Begun => Step::Copy { entry, condition, why: Why::New, record: None },
        Known::Nothing if there.etag == entry.etag && there.size == entry.size && !entry.etag.is_empty() => {
            let (source, destination) = (Seen::of(&entry), Seen::of(there));
            Step::Keep(Record { key: entry.key, source, destination, proof: Proof::ETag, newest: None })
        }
        Known::Nothing => Step::Copy { entry, condition, why: Why::Changed, record: None },
    }
}

/// A copy of which only the destination tells.
fn unrecorded(there: &Entry) -> Record {
    let destination = Seen::of(there);
    let source = Seen { modified: 0, ..destination.clone() };
    Record { key: there.key.clone(), source, destination, proof: Proof::ETag, newest: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ETag;

    fn entry(etag: &str, modified: i64) -> Entry {
        Entry { key: "k".into(), size: 1, etag: ETag::new(etag), modified, version: None }
    }

    fn record(source: &str, destination: &str) -> Record {
        let seen = |etag: &str, modified| Seen { size: 1, etag: ETag::new(etag), modified };
        Record {
            key: "k".into(),
            source: seen(source, 5),
            destination: seen(destination, 9),
            proof: Proof::ETag,
            newest: None,
        }
    }

    fn why(step: &Step) -> Option<Why> {
        if let Step::Copy { why, .. } = step { Some(*why) } else { None }
    }

    #[test]
    fn only_what_is_as_it_was_on_both_sides_is_kept() {
        let decided =
            |s: &Entry, d: &Entry| decide(Some(s.clone()), Some(d), Known::Recorded(record("a", "x")));
        assert!(matches!(decided(&entry("a", 5), &entry("x", 9)), Step::Keep(_)));
        assert_eq!(why(&decided(&entry("b", 6), &entry("x", 9))), Some(Why::Changed));
        // The same content was written again: what S3 keeps beside it may be another.
        assert_eq!(why(&decided(&entry("a", 6), &entry("x", 9))), Some(Why::Changed));
        assert_eq!(why(&decided(&entry("a", 5), &entry("y", 9))), Some(Why::Drifted));
        assert_eq!(why(&decided(&entry("a", 5), &entry("x", 10))), Some(Why::Drifted));
        assert_eq!(
            why(&decide(Some(entry("a", 5)), None, Known::Recorded(record("a", "x")))),
            Some(Why::Drifted)
        );
    }

    #[test]
    fn an_overwrite_of_the_same_size_is_never_mistaken_for_a_copy() {
        // Overwritten at the source after its listing: what was copied is on record, by what the source called it.
        let step = decide(
            Some(entry("new", 6)),
            Some(&entry("old", 1_000_000)),
            Known::Recorded(record("old", "old")),
        );
        assert_eq!(why(&step), Some(Why::Changed));
    }

    #[test]
    fn without_a_record_contents_are_compared_and_nothing_foreign_is_taken_away() {
        assert!(matches!(decide(Some(entry("a", 5)), Some(&entry("a", 9)), Known::Nothing), Step::Keep(_)));
        assert_eq!(
            why(&decide(Some(entry("a", 5)), Some(&entry("b", 9)), Known::Nothing)),
            Some(Why::Changed)
        );
        assert_eq!(why(&decide(Some(entry("", 5)), Some(&entry("", 9)), Known::Nothing)), Some(Why::Changed));
        assert_eq!(why(&decide(Some(entry("a", 5)), None, Known::Nothing)), Some(Why::New));
        assert_eq!(decide(None, Some(&entry("a", 9)), Known::Nothing), Step::Foreign);
        assert!(matches!(
            decide(None, Some(&entry("x", 9)), Known::Recorded(record("a", "x"))),
            Step::Gone { .. }
        ));
        assert_eq!(decide(None, None, Known::Recorded(record("a", "x"))), Step::Forget);
    }

    #[test]
    fn a_moment_that_was_not_known_is_learnt() {
        let mut unknown = record("a", "x");
        unknown.destination.modified = 0;
        assert_eq!(
            decide(Some(entry("a", 5)), Some(&entry("x", 9)), Known::Recorded(unknown)),
            Step::Keep(record("a", "x"))
        );
    }
}
