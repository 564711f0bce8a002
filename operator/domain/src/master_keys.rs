//! The master keys of vaults: which are given, which are needed, and when one that was replaced can be let go of. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tripod_crds::CentreStatus;
use tripod_crds::centre::KeyUse;

use crate::conditions::{self, Verdict};

/// The condition about master keys.
const GIVEN: &str = "KeysGiven";

/// What a look through a vault came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Not looked at in this pass.
    NotLooked,
    Seen(Vec<KeyUse>),
    /// The Secret can't be used; with its name.
    Failed(String),
}

/// `given`: the names of those in the Secret, the current one first; `needed`: how many systems have a repository of each.
#[must_use]
pub fn of(given: &[String], needed: &BTreeMap<String, u32>) -> Keys {
    let missing = needed.keys().filter(|id| !given.contains(id));
    let mut uses: Vec<KeyUse> = Vec::new();
    for id in given.iter().chain(missing) {
        if uses.iter().all(|known| known.id != *id) {
            uses.push(KeyUse {
                id: id.clone(),
                current: given.first() == Some(id),
                given: given.contains(id),
                systems: needed.get(id).copied().unwrap_or(0),
            });
        }
    }
    Keys::Seen(uses)
}

/// Whether the status is of these keys: else it is looked at anew.
#[must_use]
pub fn is_known(status: Option<&CentreStatus>, given: &[String]) -> bool {
    let Some(status) = status else { return false };
    let of_status = status.keys.iter().filter(|key| key.given).map(|key| &key.id);
    let is_told = conditions::find(&status.conditions, GIVEN).is_some_and(|told| told.reason != UNREADABLE);
    let mut given: Vec<&String> = given.iter().collect();
    given.dedup();
    is_told && of_status.eq(given)
}

/// Whether a key is in use, given or missing beside the current one: then it is looked at from time to time.
#[must_use]
pub fn are_several(status: Option<&CentreStatus>) -> bool {
    status.is_some_and(|status| status.keys.len() > 1)
}

const UNREADABLE: &str = "Unreadable";

/// Tells of them in a condition of its own.
pub fn note(status: &mut CentreStatus, keys: Keys, generation: Option<i64>, now: Timestamp) {
    let verdict = match keys {
        Keys::NotLooked => return,
        Keys::Failed(message) => Verdict::no(UNREADABLE, message),
        Keys::Seen(uses) => {
            let verdict = judge(&uses);
            status.keys = uses;
            verdict
        }
    };
    conditions::set(&mut status.conditions, GIVEN, &verdict, generation, now);
}

/// What is to be told of a key that is not there, where that is new.
#[must_use]
pub fn newly_missing<'s>(before: Option<&CentreStatus>, status: &'s CentreStatus) -> Option<&'s str> {
    let lacks = |status: &'_ CentreStatus| {
        conditions::find(&status.conditions, GIVEN).is_some_and(|told| told.status == "False")
    };
    let told = conditions::find(&status.conditions, GIVEN).filter(|_| lacks(status))?;
    (!before.is_some_and(lacks)).then_some(told.message.as_str())
}

fn judge(uses: &[KeyUse]) -> Verdict {
    let list = |is_meant: &dyn Fn(&KeyUse) -> bool| {
        let meant = uses.iter().filter(|key| is_meant(key));
        meant.map(|key| format!("{} ({} systems)", key.id, key.systems)).collect::<Vec<_>>().join(", ")
    };
    let current = uses.iter().find(|key| key.current).map_or("", |key| key.id.as_str());
    let missing = list(&|key| !key.given);
    if !missing.is_empty() {
        return Verdict::no(
            "KeyMissing",
            format!(
                "repositories here were made with master keys that the Secret has not: {missing}; their points can't be proved \
                 or restored until these keys are put back, under any name but `key`"
            ),
        );
    }
    let old = list(&|key| !key.current && key.systems > 0);
    if !old.is_empty() {
        return Verdict::yes(
            "Replacing",
            format!(
                "new points are made with master key {current}; still needed until their last point is gone: {old}"
            ),
        );
    }
    let spare: Vec<&str> = uses.iter().filter(|key| !key.current).map(|key| key.id.as_str()).collect();
    if !spare.is_empty() {
        return Verdict::yes(
            "Spare",
            format!(
                "all here is of master key {current}; nothing here needs {}: one that was replaced can be taken out of the \
                 Secret when no centre needs it",
                spare.join(", ")
            ),
        );
    }
    Verdict::yes("Current", format!("all here is of master key {current}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(given: &[&str], needed: &[(&str, u32)]) -> (CentreStatus, String) {
        let given: Vec<String> = given.iter().map(|id| (*id).to_owned()).collect();
        let needed = needed.iter().map(|(id, systems)| ((*id).to_owned(), *systems)).collect();
        let mut status = CentreStatus::default();
        note(&mut status, of(&given, &needed), Some(1), Timestamp::UNIX_EPOCH);
        assert!(is_known(Some(&status), &given));
        let told = conditions::find(&status.conditions, GIVEN).unwrap();
        let words = format!("{}={} {}", told.reason, told.status, told.message);
        (status, words)
    }

    #[test]
    fn a_key_is_followed_from_its_first_day_to_its_last() {
        let (status, words) = after(&["a"], &[]);
        assert!(words.starts_with("Current=True"), "{words}");
        assert_eq!(status.keys, [KeyUse { id: "a".into(), current: true, given: true, systems: 0 }]);
        for (given, needed, expected) in [
            (&["a", "b"][..], &[("a", 3)][..], "Spare=True"),
            (&["b", "a"], &[("a", 3)], "Replacing=True new points are made with master key b"),
            (&["b", "a"], &[("a", 1), ("b", 3)], "Replacing=True"),
            (&["b", "a"], &[("b", 3)], "Spare=True all here is of master key b; nothing here needs a"),
            (&["b"], &[("b", 3)], "Current=True"),
            // Taken out too early, or never put in here.
            (&["b"], &[("a", 2), ("b", 3)], "KeyMissing=False"),
        ] {
            let (_, words) = after(given, needed);
            assert!(words.starts_with(expected), "{words}");
        }
        let (_, words) = after(&["b"], &[("a", 2)]);
        assert!(words.contains("a (2 systems)"), "{words}");
    }

    #[test]
    fn other_keys_in_the_secret_are_looked_at_anew() {
        let (mut status, _) = after(&["a", "b"], &[("z", 1)]);
        let is = |status: &CentreStatus, given: &[&str]| {
            is_known(Some(status), &given.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
        };
        assert!(is(&status, &["a", "b"]));
        assert!(!is(&status, &["b", "a"]) && !is(&status, &["a"]) && !is(&status, &["a", "b", "c"]));
        note(&mut status, Keys::Failed("gone".into()), Some(1), Timestamp::UNIX_EPOCH);
        assert!(!is(&status, &["a", "b"]), "the Secret is mended");
        assert!(!is_known(None, &["a".to_owned()]));
        assert!(
            are_several(Some(&status))
                && !are_several(None)
                && !are_several(Some(&after(&["a"], &[("a", 9)]).0))
        );
    }
}
