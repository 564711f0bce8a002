//! Conditions as Kubernetes wants them: one a type, and a transition time that moves only when the status flips.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// `CamelCase`, stable, for machines.
    pub reason: String,
    /// For people: names the field and what to do where something is wrong.
    pub message: String,
}

impl Verdict {
    /// It holds.
    pub fn yes(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { holds: true, reason: reason.into(), message: message.into() }
    }

    /// It does not hold.
    pub fn no(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { holds: false, reason: reason.into(), message: message.into() }
    }
}

/// Puts the condition into the list. The same verdict again changes nothing.
pub fn set(
    list: &mut Vec<Condition>,
    kind: &str,
    verdict: &Verdict,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = if verdict.holds { "True" } else { "False" };
    set_as(list, kind, status, (&verdict.reason, &verdict.message), generation, now);
}

/// As [`set`], where it may also be `Unknown`: the reason and the message of a status.
pub fn set_as(
    list: &mut Vec<Condition>,
    kind: &str,
    status: &str,
    (reason, message): (&str, &str),
    generation: Option<i64>,
    now: Timestamp,
) {
    let since = list.iter().find(|c| c.type_ == kind && c.status == status).map_or_else(
        || Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
        |c| c.last_transition_time.clone(),
    );
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match list.iter_mut().find(|c| c.type_ == kind) {
        Some(existing) => *existing = condition,
        None => list.push(condition),
    }
}

/// The condition of this type, if it was ever set.
#[must_use]
pub fn find<'a>(list: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    list.iter().find(|c| c.type_ == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_moves_only_when_the_status_flips() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let mut list = Vec::new();
        set(&mut list, "Ready", &Verdict::no("A", "a"), Some(1), at(10));
        set(&mut list, "Ready", &Verdict::no("B", "b"), Some(2), at(20));
        assert_eq!((list.len(), list[0].last_transition_time.0, list[0].reason.as_str()), (1, at(10), "B"));
        set(&mut list, "Ready", &Verdict::yes("C", "c"), Some(2), at(30));
        assert_eq!(list[0].last_transition_time.0, at(30));
    }
}
