//! What an operator does next for the copies at one centre: copy a point that the source has, or prove one
//! again. One step a pass, newest first, since the newest proven copy is what a loss would fall back on.

use jiff::{SignedDuration, Timestamp};
use tripod_crds::recovery_point::CopyState;

use crate::manifest::CopyRecord;

/// A point by system and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PointKey {
    pub system: String,
    pub point: String,
}

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Whole points in the source's vault; `Err` when it can't be read. A centre that pulls
    /// from none is offered the points of its own vault, and its copying is empty.
    pub offered: Result<Vec<PointKey>, String>,
    /// Records of this centre's own vault.
    pub records: Vec<CopyRecord>,
    /// How old a proof may get.
    pub verify_interval: SignedDuration,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Copy what is missing of the point, then note it as Copied.
    Copy(PointKey),
    /// Read every byte the point needs and note the finding.
    Verify(PointKey),
    /// All is copied and proved.
    Rest,
}

/// Pure, total. A source that can't be read never stops the verification of what is here.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Step {
    if let Some(missing) = newest_missing(seen) {
        return Step::Copy(missing);
    }
    let key = |r: &CopyRecord| PointKey { system: r.system.clone(), point: r.point.clone() };
    let unproven = seen.records.iter().filter(|r| r.state == CopyState::Copied).max_by_key(|r| r.taken_at);
    if let Some(record) = unproven {
        return Step::Verify(key(record));
    }
    let due = |r: &&CopyRecord| r.verified_at.is_none_or(|at| now.duration_since(at) >= seen.verify_interval);
    let proven_or_damaged = |r: &&CopyRecord| matches!(r.state, CopyState::Verified | CopyState::Damaged);
    let oldest_proof =
        seen.records.iter().filter(proven_or_damaged).filter(due).min_by_key(|r| r.verified_at);
    oldest_proof.map_or(Step::Rest, |record| Step::Verify(key(record)))
}

/// Names carry the time at which the run began, so the greatest name of a policy is its newest.
fn newest_missing(seen: &Observed) -> Option<PointKey> {
    let here = |key: &PointKey| {
        seen.records.iter().any(|r| {
            r.system == key.system
                && r.point == key.point
                && !matches!(r.state, CopyState::Unknown | CopyState::Pending)
        })
    };
    let offered = seen.offered.as_ref().ok()?;
    offered.iter().filter(|key| !here(key)).max_by(|a, b| a.point.cmp(&b.point)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(point: &str, state: CopyState, verified: Option<i64>) -> CopyRecord {
        CopyRecord {
            centre: "remote".into(),
            system: "s".into(),
            point: point.into(),
            root_digest: String::new(),
            taken_at: Timestamp::from_second(point.len().try_into().unwrap()).unwrap(),
            state,
            copied_at: None,
            verified_at: verified.map(|s| Timestamp::from_second(s).unwrap()),
            message: None,
        }
    }

    fn key(point: &str) -> PointKey {
        PointKey { system: "s".into(), point: point.into() }
    }

    fn seen(offered: &[&str], records: Vec<CopyRecord>) -> Observed {
        Observed {
            offered: Ok(offered.iter().map(|p| key(p)).collect()),
            records,
            verify_interval: SignedDuration::from_secs(100),
        }
    }

    #[test]
    fn newest_first_then_proofs_then_rest() {
        let now = Timestamp::from_second(1000).unwrap();
        assert_eq!(decide(&seen(&["p1", "p2"], vec![]), now), Step::Copy(key("p2")));
        let copied =
            vec![record("p2", CopyState::Copied, None), record("p1", CopyState::Verified, Some(990))];
        assert_eq!(decide(&seen(&["p1", "p2"], copied), now), Step::Verify(key("p2")));
        let proven =
            vec![record("p2", CopyState::Verified, Some(950)), record("p1", CopyState::Verified, Some(990))];
        assert_eq!(decide(&seen(&["p1", "p2"], proven.clone()), now), Step::Rest);
        let later = Timestamp::from_second(1060).unwrap();
        assert_eq!(decide(&seen(&["p1", "p2"], proven), later), Step::Verify(key("p2")));
    }

    #[test]
    fn a_dead_source_does_not_stop_proofs() {
        let mut seen = seen(&[], vec![record("p1", CopyState::Copied, None)]);
        seen.offered = Err("unreachable".into());
        assert_eq!(decide(&seen, Timestamp::from_second(1000).unwrap()), Step::Verify(key("p1")));
    }

    #[test]
    fn damage_is_looked_at_again() {
        let seen = seen(&["p1"], vec![record("p1", CopyState::Damaged, Some(1))]);
        assert_eq!(decide(&seen, Timestamp::from_second(1000).unwrap()), Step::Verify(key("p1")));
    }
}
