//! What to do about one key: pure. Three things are compared: what the source lists, what the destination lists, and what is
//! on record of the last time. No clock of one store is compared with that of another.

use super::record::{Record, Seen};
use crate::wire::{Condition, Entry};

/// What to do about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing; this is on record from now on.
    Keep(Record),
    /// The destination is to hold what the source holds.
    Copy { entry: Entry, condition: Condition, why: Why, record: Option<Record> },
    /// The source has it no more.
    Gone(Record),
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

/// Decides about one key; at least one of the three knows it.
#[must_use]
pub fn decide(source: Option<Entry>, destination: Option<&Entry>, record: Option<Record>) -> Step {
    let Some(entry) = source else {
        return match (destination, record) {
            (Some(_), Some(record)) => Step::Gone(record),
            (Some(_), None) => Step::Foreign,
            (None, _) => Step::Forget,
        };
    };
    let Some(there) = destination else {
        let why = if record.is_some() { Why::Drifted } else { Why::New };
        return Step::Copy { entry, condition: Condition::Absent, why, record };
    };
    match record {
        Some(mut record) if record.source.is_still(&entry) && record.destination.is_still(there) => {
            // Moments that were not known when it was copied.
            record.source.modified = entry.modified;
            record.destination.modified = there.modified;
            Step::Keep(record)
        }
        Some(record) => {
            let why = if record.source.is_still(&entry) { Why::Drifted } else { Why::Changed };
            Step::Copy { entry, condition: Condition::Is(there.etag.clone()), why, record: Some(record) }
        }
        None if there.etag == entry.etag && there.size == entry.size && !entry.etag.is_empty() => {
            let source = Seen::of(&entry);
            let destination = Seen::of(there);
            Step::Keep(Record { key: entry.key, source, destination, proof: super::record::Proof::ETag })
        }
        None => {
            let condition = Condition::Is(there.etag.clone());
            Step::Copy { entry, condition, why: Why::Changed, record: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Proof;
    use crate::wire::ETag;

    fn entry(etag: &str, modified: i64) -> Entry {
        Entry { key: "k".into(), size: 1, etag: ETag::new(etag), modified }
    }

    fn record(source: &str, destination: &str) -> Record {
        let seen = |etag: &str, modified| Seen { size: 1, etag: ETag::new(etag), modified };
        Record {
            key: "k".into(),
            source: seen(source, 5),
            destination: seen(destination, 9),
            proof: Proof::ETag,
        }
    }

    fn why(step: &Step) -> Option<Why> {
        if let Step::Copy { why, .. } = step { Some(*why) } else { None }
    }

    #[test]
    fn only_what_is_as_it_was_on_both_sides_is_kept() {
        let decided = |s: &Entry, d: &Entry| decide(Some(s.clone()), Some(d), Some(record("a", "x")));
        assert!(matches!(decided(&entry("a", 5), &entry("x", 9)), Step::Keep(_)));
        assert_eq!(why(&decided(&entry("b", 6), &entry("x", 9))), Some(Why::Changed));
        // The same content was written again: what S3 keeps beside it may be another.
        assert_eq!(why(&decided(&entry("a", 6), &entry("x", 9))), Some(Why::Changed));
        assert_eq!(why(&decided(&entry("a", 5), &entry("y", 9))), Some(Why::Drifted));
        assert_eq!(why(&decided(&entry("a", 5), &entry("x", 10))), Some(Why::Drifted));
        assert_eq!(why(&decide(Some(entry("a", 5)), None, Some(record("a", "x")))), Some(Why::Drifted));
    }

    #[test]
    fn an_overwrite_of_the_same_size_is_never_mistaken_for_a_copy() {
        // Overwritten at the source after its listing: what was copied is on record, by what the source called it.
        let step = decide(Some(entry("new", 6)), Some(&entry("old", 1_000_000)), Some(record("old", "old")));
        assert_eq!(why(&step), Some(Why::Changed));
    }

    #[test]
    fn without_a_record_contents_are_compared_and_nothing_foreign_is_taken_away() {
        assert!(matches!(decide(Some(entry("a", 5)), Some(&entry("a", 9)), None), Step::Keep(_)));
        assert_eq!(why(&decide(Some(entry("a", 5)), Some(&entry("b", 9)), None)), Some(Why::Changed));
        assert_eq!(why(&decide(Some(entry("", 5)), Some(&entry("", 9)), None)), Some(Why::Changed));
        assert_eq!(why(&decide(Some(entry("a", 5)), None, None)), Some(Why::New));
        assert_eq!(decide(None, Some(&entry("a", 9)), None), Step::Foreign);
        assert!(matches!(decide(None, Some(&entry("x", 9)), Some(record("a", "x"))), Step::Gone(_)));
        assert_eq!(decide(None, None, Some(record("a", "x"))), Step::Forget);
    }

    #[test]
    fn a_moment_that_was_not_known_is_learnt() {
        let mut unknown = record("a", "x");
        unknown.destination.modified = 0;
        assert_eq!(
            decide(Some(entry("a", 5)), Some(&entry("x", 9)), Some(unknown)),
            Step::Keep(record("a", "x"))
        );
    }
}
