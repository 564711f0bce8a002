//! What is written down of a run in shards: a plan, which never changes, and one object a shard, which is its lease, its
//! checkpoint and its result at once. Pure.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::engine::listing::Range;
use crate::engine::record::Described;
use crate::engine::tally::Tally;

/// All runs in shards lie below it.
pub(super) const FOLDER: &str = "shards/";
const VERSION: u32 = 1;

/// What a run was begun with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    /// Of this format.
    pub(super) version: u32,
    /// What is replicated where.
    pub(super) of: String,
    /// What was asked for, in the caller's words: a run is taken up only by those who ask for the same.
    pub(super) terms: String,
    /// In the order of their keys; together they are the whole key space.
    pub(super) shards: Vec<Piece>,
}

/// A part of the key space with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Piece {
    /// Begins with the name of the shard that it was cut off from, and a dot.
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<String>,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    pub(super) version: u32,
    /// Who has it; nobody, if `None`.
    pub(super) worker: Option<String>,
    /// Grows with each who takes it.
    pub(super) epoch: u64,
    /// Grows with each change: no two are alike.
    pub(super) changes: u64,
    pub(super) after: Option<String>,
    /// Smaller once the rest was cut off.
    pub(super) until: Option<String>,
    /// What is on record of it, in the order of the keys; what comes behind the last is still to be done.
    pub(super) segments: Vec<Described>,
    pub(super) whole: bool,
    pub(super) tally: Tally,
    /// Objects with keys that the source has no more.
    pub(super) gone: Vec<String>,
    /// More of those than may be deleted.
    pub(super) gone_beyond: u64,
    /// What was cut off from it. It counts from here on, whether its own object is there yet or not.
    pub(super) cut_off: Vec<Piece>,
}

impl Plan {
    pub(super) fn new(of: String, terms: &str, ranges: Vec<Range>) -> Self {
        let piece = |(number, range): (usize, Range)| Piece {
            name: format!("{number:04}"),
            after: range.after,
            until: range.until,
        };
        let shards = ranges.into_iter().enumerate().map(piece).collect();
        Self { version: VERSION, of, terms: terms.to_owned(), shards }
    }
}

impl State {
    pub(super) fn new(piece: &Piece) -> Self {
        Self {
            version: VERSION,
            worker: None,
            epoch: 0,
            changes: 0,
            after: piece.after.clone(),
            until: piece.until.clone(),
            segments: Vec::new(),
            whole: false,
            tally: Tally::default(),
            gone: Vec::new(),
            gone_beyond: 0,
            cut_off: Vec::new(),
        }
    }

    /// What is left of it.
    pub(super) fn rest(&self) -> Range {
        let last = self.segments.last().map(|segment| segment.last.clone());
        Range { after: last.or_else(|| self.after.clone()), until: self.until.clone() }
    }

    pub(super) fn is_free(&self) -> bool {
        !self.whole && self.worker.is_none()
    }

    pub(super) fn is_running(&self) -> bool {
        !self.whole && self.worker.is_some()
    }

    /// Whether the same holder still has it.
    pub(super) fn is_held_as(&self, held: &Self) -> bool {
        self.is_running() && self.worker == held.worker && self.epoch == held.epoch
    }

    /// Taken by a worker.
    pub(super) fn taken(&self, worker: &str) -> Self {
        let next = self.changed();
        Self { worker: Some(worker.to_owned()), epoch: self.epoch + 1, ..next }
    }

    /// Given back.
    pub(super) fn given_back(&self) -> Self {
        Self { worker: None, ..self.changed() }
    }

    /// As the next that is written.
    pub(super) fn changed(&self) -> Self {
        Self { changes: self.changes + 1, ..self.clone() }
    }

    /// Without what lies behind a key, which is a shard of its own then. The key lies in what is left of it.
    pub(super) fn cut(&self, name: &str, at: &str) -> Option<(Self, Piece)> {
        let rest = self.rest();
        let inside = rest.after.as_deref().is_none_or(|after| at > after)
            && rest.until.as_deref().is_none_or(|until| at < until);
        if !inside || self.whole {
            return None;
        }
        let piece = Piece {
            name: format!("{name}.{}", self.cut_off.len()),
            after: Some(at.to_owned()),
            until: self.until.clone(),
        };
        let mut next = self.changed();
        next.until = Some(at.to_owned());
        next.cut_off.push(piece.clone());
        Some((next, piece))
    }
}

/// Whether what was written under the name of one shard may be of another: of itself, or of one that it was cut off from.
pub(super) fn descends(shard: &str, from: &str) -> bool {
    shard.strip_prefix(from).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

pub(super) fn encoded<T: Serialize>(what: &T) -> Result<Bytes, StoreError> {
    serde_json::to_vec(what).map(Bytes::from).map_err(|e| malformed("an object of a run in shards", &e))
}

pub(super) fn decoded<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, StoreError> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| malformed(name, &e))?;
    if let Some(version) = value.get("version").filter(|version| **version != VERSION) {
        return Err(malformed(name, &format!("is of format {version}, and this is {VERSION}")));
    }
    serde_json::from_value(value).map_err(|e| malformed(name, &e))
}

fn malformed(what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Other { what: format!("manifest, {what}"), detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Description;

    fn piece(after: Option<&str>, until: Option<&str>) -> Piece {
        Piece { name: "0003".into(), after: after.map(str::to_owned), until: until.map(str::to_owned) }
    }

    #[test]
    fn a_lease_goes_from_hand_to_hand_and_no_two_states_are_alike() {
        let free = State::new(&piece(Some("b"), Some("k")));
        let first = free.taken("one");
        let renewed = first.changed();
        let back = renewed.given_back();
        let second = back.taken("two");
        assert!(free.is_free() && first.is_running() && back.is_free());
        assert!(renewed.is_held_as(&first) && !second.is_held_as(&first) && !back.is_held_as(&first));
        assert_eq!((first.epoch, second.epoch), (1, 2));
        // The same worker again is another holder.
        assert!(!back.taken("one").is_held_as(&first));
        let mut seen: Vec<_> = [free, first, renewed, back, second].map(|s| s.changes).into();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn only_what_is_left_can_be_cut_and_both_together_are_what_it_was() {
        let mut state = State::new(&piece(Some("b"), Some("k"))).taken("one");
        let described = Description { name: "s".into(), first: "c".into(), last: "d".into(), count: 2 };
        state.segments.push(described.into());
        for outside in ["a", "b", "c", "d", "k", "x"] {
            assert_eq!(state.cut("0003", outside), None, "{outside}");
        }
        let (left, right) = state.cut("0003", "f").unwrap();
        assert_eq!((left.until.as_deref(), right.name.as_str()), (Some("f"), "0003.0"));
        assert_eq!((right.after.as_deref(), right.until.as_deref()), (Some("f"), Some("k")));
        assert!(left.is_held_as(&state));
        let (left, next) = left.cut("0003", "e").unwrap();
        assert_eq!((next.name.as_str(), next.until.as_deref(), left.cut_off.len()), ("0003.1", Some("f"), 2));
        assert_eq!(State { whole: true, ..state }.cut("0003", "f"), None);
    }

    #[test]
    fn what_others_have_left_is_not_taken_for_ones_own() {
        assert!(descends("0003.1.0", "0003.1") && descends("0003", "0003"));
        assert!(
            !descends("0003.1", "0003.1.0") && !descends("0003.10", "0003.1") && !descends("0004", "0003")
        );
    }

    #[test]
    fn what_was_written_is_read_and_another_format_is_refused() {
        let state = State::new(&piece(None, None)).taken("one");
        let bytes = encoded(&state).unwrap();
        assert_eq!(decoded::<State>("x", &bytes).unwrap(), state);
        let text = String::from_utf8(bytes.to_vec()).unwrap().replace("\"version\":1", "\"version\":2");
        assert!(decoded::<State>("x", text.as_bytes()).unwrap_err().to_string().contains("of format 2"));
    }
}
