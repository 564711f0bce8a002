//! What became of objects, counted, with the first of those that need a person's eye.

use tripod_crds::restore::{Change, ChangeAction, ObjectCounts, Problem};

/// So many problems are told.
const PROBLEMS: usize = 50;
/// So many changes of a dry run are told.
const CHANGES: usize = 200;

/// What became of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    Created,
    Updated,
    Unchanged,
    Skipped,
    LeftOut,
    Failed(String),
}

/// Counts, problems and changes of one run over objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub counts: ObjectCounts,
    pub problems: Vec<Problem>,
    pub changes: Vec<Change>,
}

impl Tally {
    /// Notes what became of an object.
    pub fn note(&mut self, object: &str, fate: Fate) {
        let counts = &mut self.counts;
        match fate {
            Fate::Created => counts.created += 1,
            Fate::Updated => counts.updated += 1,
            Fate::Unchanged => counts.unchanged += 1,
            Fate::Skipped => counts.skipped += 1,
            Fate::LeftOut => counts.left_out += 1,
            Fate::Failed(message) => {
                counts.failed += 1;
                if self.problems.len() < PROBLEMS {
                    let message = message.chars().take(400).collect();
                    self.problems.push(Problem { object: object.to_owned(), message });
                }
            }
        }
    }

    /// Notes what a dry run found.
    pub fn would(&mut self, object: &str, action: ChangeAction, differences: Vec<String>) {
        if self.changes.len() < CHANGES {
            self.changes.push(Change { object: object.to_owned(), action, differences });
        }
    }

    /// How many objects are through.
    #[must_use]
    pub fn done(&self) -> u64 {
        let ObjectCounts { created, updated, unchanged, skipped, failed, .. } = self.counts;
        created + updated + unchanged + skipped + failed
    }

    /// Adds what another run found: each runs over other objects. Order does not matter to the counts.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        let (mine, theirs) = (&mut self.counts, other.counts);
        mine.total += theirs.total;
        mine.created += theirs.created;
        mine.updated += theirs.updated;
        mine.unchanged += theirs.unchanged;
        mine.skipped += theirs.skipped;
        mine.left_out += theirs.left_out;
        mine.failed += theirs.failed;
        self.problems.extend(other.problems);
        self.problems.truncate(PROBLEMS);
        self.changes.extend(other.changes);
        self.changes.truncate(CHANGES);
        self
    }
}
