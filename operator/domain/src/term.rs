//! How long a system is granted, when it is warned, and when what it left may go.

use jiff::{SignedDuration, Timestamp};
use tripod_crds::resource_request::AfterTerm;

use crate::tenancy::Grant;

/// Days before the end at which a warning is given.
pub const WARNINGS: [i64; 3] = [30, 7, 1];
const DAY: i64 = 24 * 60 * 60;

/// Reads `365d`.
///
/// # Errors
/// Names what is no term.
pub fn parse(term: &str) -> Result<i64, String> {
    let days = term.strip_suffix('d').and_then(|d| d.parse::<i64>().ok()).filter(|d| (1..=9999).contains(d));
    days.ok_or_else(|| format!("spec.term: {term:?} is no term; write it in days, like 365d"))
}

fn after(start: Timestamp, days: i64) -> Timestamp {
    start.checked_add(SignedDuration::from_secs(days * DAY)).unwrap_or(Timestamp::MAX)
}

/// When a grant ends.
#[must_use]
pub fn end(grant: &Grant) -> Timestamp {
    after(grant.since, grant.term)
}

/// Until when everything is kept, in any case.
#[must_use]
pub fn kept_until(grant: &Grant, ended: Timestamp) -> Timestamp {
    after(ended, grant.grace_days)
}

/// Whether a system that has ended is to go now: only when that was asked for, and after the days of grace.
#[must_use]
pub fn is_to_be_deleted(grant: &Grant, ended: Timestamp, now: Timestamp) -> bool {
    grant.after_term == AfterTerm::Delete && now >= kept_until(grant, ended)
}

/// The smallest warning that is due: 30, 7 or 1 days before the end.
#[must_use]
pub fn warning(grant: &Grant, now: Timestamp) -> Option<i64> {
    WARNINGS.into_iter().rev().find(|days| now >= after(end(grant), -days))
}

/// When the next warning, or the end, is due.
#[must_use]
pub fn next(grant: &Grant, now: Timestamp) -> Timestamp {
    let moments = WARNINGS.iter().map(|days| after(end(grant), -days)).chain([end(grant)]);
    moments.filter(|moment| *moment > now).min().unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_warns_and_ends() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |days: i64| after(start, days);
        let grant = Grant {
            spec_hash: String::new(),
            resources: std::collections::BTreeMap::default(),
            since: start,
            at: start,
            term: 100,
            grace_days: 30,
            after_term: AfterTerm::Delete,
        };
        for (day, due, next_day) in [(0, None, 70), (70, Some(30), 93), (95, Some(7), 99), (99, Some(1), 100)]
        {
            assert_eq!((warning(&grant, at(day)), next(&grant, at(day))), (due, at(next_day)), "day {day}");
        }
        assert!(!is_to_be_deleted(&grant, at(100), at(129)));
        assert!(is_to_be_deleted(&grant, at(100), at(130)));
        let kept = Grant { after_term: AfterTerm::Keep, ..grant };
        assert!(!is_to_be_deleted(&kept, at(100), at(9000)));
    }

    #[test]
    fn what_is_no_term_is_named() {
        assert_eq!(parse("365d"), Ok(365));
        for text in ["", "d", "0d", "12", "1h", "-3d", "99999d"] {
            assert!(parse(text).unwrap_err().contains("spec.term"), "{text}");
        }
    }
}
