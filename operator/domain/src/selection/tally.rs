//! What was taken and what was not, counted by kind and reason. It does not grow with the number of objects.

use std::collections::BTreeMap;

use super::{Fate, Reason};

/// Names that are shown for a reason.
const SHOWN: usize = 5;

/// By name of the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub kinds: BTreeMap<String, OfKind>,
    /// Kinds that who asked may not list.
    pub not_listed: Vec<String>,
}

/// One kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfKind {
    pub taken: u64,
    /// Why the whole kind is left out; its objects were not counted.
    pub whole: Option<Reason>,
    /// By [`Reason::code`].
    pub left_out: BTreeMap<&'static str, LeftOut>,
}

/// Objects that are left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub count: u64,
    /// The first, with their own reasons: owners differ.
    pub first: Vec<(String, Reason)>,
}

impl Tally {
    /// Notes a kind that was not listed, since none of it is wanted.
    pub fn kind(&mut self, kind: &str, reason: Reason) {
        self.kinds.entry(kind.to_owned()).or_default().whole = Some(reason);
    }

    /// Notes one object.
    pub fn object(&mut self, kind: &str, name: &str, fate: &Fate) {
        let of = self.kinds.entry(kind.to_owned()).or_default();
        match fate {
            Fate::Taken => of.taken += 1,
            Fate::LeftOut(reason) => {
                let left = of
                    .left_out
                    .entry(reason.code())
                    .or_insert_with(|| LeftOut { count: 0, first: Vec::new() });
                left.count += 1;
                if left.first.len() < SHOWN {
                    left.first.push((name.to_owned(), reason.clone()));
                }
            }
        }
    }

    /// Objects that were taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.kinds.values().map(|of| of.taken).sum()
    }
}
