//! The course of an inspection: it is answered once, kept for an hour, and removed. An answer is a page: bounded in entries
//! and in bytes, whatever the point holds.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tripod_crds::Inspection;
use tripod_crds::inspection::{Change, Entry, InspectionSpec, InspectionStatus};

use crate::bilingual::both;
use crate::conditions::{self, Verdict};

/// So long an answer is kept, and a question that finds none.
pub const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Bytes of text in an answer, about: the API server takes 1.5 MiB.
const BYTES: usize = 400 << 10;
/// Characters of one difference that are told.
const SHOWN: usize = 200;

/// What the path of an inspection names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All parts of the point.
    Top,
    /// All volumes.
    Volumes,
    /// All buckets.
    Buckets,
    /// Below the Kubernetes objects: the names on the way.
    Objects(Vec<String>),
    /// Below a volume.
    Volume(String, Vec<String>),
    /// In a bucket, where keys begin like this.
    Bucket(String, String),
}

impl Place {
    /// Reads a path.
    ///
    /// # Errors
    /// When it begins with no part of a point.
    pub fn parse(path: &str) -> Result<Self, String> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (part, rest) = path.split_once('/').unwrap_or((path, ""));
        let names = |text: &str| text.split('/').filter(|n| !n.is_empty()).map(str::to_owned).collect();
        let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
        match (part, name) {
            ("", _) if rest.is_empty() => Ok(Self::Top),
            ("objects", _) => Ok(Self::Objects(names(rest))),
            ("volumes", "") => Ok(Self::Volumes),
            ("volumes", claim) => Ok(Self::Volume(claim.to_owned(), names(below))),
            ("buckets", "") => Ok(Self::Buckets),
            ("buckets", bucket) => Ok(Self::Bucket(bucket.to_owned(), below.to_owned())),
            _ => {
                let start: String = path.chars().take(80).collect();
                let english = format!("spec.path: {start:?} begins with none of objects, volumes, buckets");
                Err(both(english, "spec.path：须以 objects、volumes 或 buckets 开头"))
            }
        }
    }
}

/// An answer while it is made.
#[derive(Clone, Debug)]
pub struct Page {
    after: Option<String>,
    limit: usize,
    room: usize,
    full: bool,
    answer: Answer,
}

/// What an inspection found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub found: u64,
    pub changes: BTreeMap<Change, u64>,
    pub entries: Vec<Entry>,
    pub next: Option<String>,
}

impl Page {
    /// The page that is asked for.
    #[must_use]
    pub fn new(spec: &InspectionSpec) -> Self {
        Self {
            after: spec.after.clone(),
            limit: spec.limit as usize,
            room: BYTES,
            full: false,
            answer: Answer::default(),
        }
    }

    /// Counts what is at this path, and has it told where it is on the page.
    ///
    /// # Errors
    /// Those of `tell`.
    pub fn take<E>(
        &mut self,
        path: &str,
        change: Option<Change>,
        tell: impl FnOnce() -> Result<Entry, E>,
    ) -> Result<(), E> {
        self.answer.found += 1;
        if let Some(change) = change {
            *self.answer.changes.entry(change).or_default() += 1;
        }
        if let Some(after) = &self.after {
            // Points don't change: what was the last of a page is met again at the same place.
            if after == path {
                self.after = None;
            }
            return Ok(());
        }
        if self.full || self.answer.entries.len() >= self.limit || self.room == 0 {
            self.full = true;
            return Ok(());
        }
        let mut entry = tell()?;
        entry.change = change;
        entry.differences.iter_mut().for_each(shorten);
        let texts = entry.differences.iter().chain(&entry.target).map(String::len).sum::<usize>();
        self.room = self.room.saturating_sub(entry.path.len() + texts + 200);
        self.answer.entries.push(entry);
        Ok(())
    }

    /// What was found.
    ///
    /// # Errors
    /// When the path it was to go on behind was not met.
    pub fn answer(mut self) -> Result<Answer, String> {
        if let Some(after) = self.after {
            let start: String = after.chars().take(80).collect();
            let english =
                format!("spec.after: there is no {start:?} here; it is status.next of the answer before");
            return Err(both(english, "spec.after：须为上一次答复的 status.next"));
        }
        if self.full {
            self.answer.next = self.answer.entries.last().map(|entry| entry.path.clone());
        }
        Ok(self.answer)
    }
}

fn shorten(line: &mut String) {
    if let Some((end, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(end);
        line.push('…');
    }
}

/// What is to be done with an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Find the answer.
    Look,
    /// It is answered; look again after this.
    Keep(SignedDuration),
    /// Its time is over.
    Remove,
}

/// Pure, total.
#[must_use]
pub fn decide(inspection: &Inspection, now: Timestamp) -> Plan {
    let answered = inspection.status.as_ref().and_then(|status| status.answered_at.as_ref());
    let since = answered.or(inspection.metadata.creation_timestamp.as_ref());
    let age = since.map_or(SignedDuration::ZERO, |since| now.duration_since(since.0));
    if inspection.metadata.deletion_timestamp.is_some() {
        Plan::Keep(KEPT)
    } else if age >= KEPT {
        Plan::Remove
    } else if answered.is_some() {
        Plan::Keep(KEPT - age)
    } else {
        Plan::Look
    }
}

/// What came of a look.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Answered(Answer),
    /// It has no answer, and a second look would find none.
    Refused {
        reason: &'static str,
        message: String,
    },
    /// It will be tried again.
    Failed(String),
}

/// The status that follows.
#[must_use]
pub fn status(inspection: &Inspection, centre: &str, outcome: &Outcome, now: Timestamp) -> InspectionStatus {
    let generation = inspection.metadata.generation;
    let mut status = InspectionStatus {
        observed_generation: generation,
        conditions: inspection.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default(),
        centre: Some(centre.to_owned()),
        ..InspectionStatus::default()
    };
    let verdict = match outcome {
        Outcome::Answered(answer) => {
            status.found = Some(answer.found);
            status.changes.clone_from(&answer.changes);
            status.entries.clone_from(&answer.entries);
            status.next.clone_from(&answer.next);
            let shown = answer.entries.len();
            Verdict::yes("Answered", format!("{shown} of {} in this answer", answer.found))
        }
        Outcome::Refused { reason, message } => Verdict::no(*reason, message.clone()),
        Outcome::Failed(message) => Verdict::no("Retrying", format!("will be tried again: {message}")),
    };
    if !matches!(outcome, Outcome::Failed(_)) {
        status.answered_at = Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
    }
    conditions::set(&mut status.conditions, "Ready", &verdict, generation, now);
    status
}

#[cfg(test)]
#[path = "inspection_tests.rs"]
mod tests;
