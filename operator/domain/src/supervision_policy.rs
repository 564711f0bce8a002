//! Whether a supervision policy can be followed, and since when.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use kube::ResourceExt;
use tripod_crds::supervision_policy::SupervisionPolicySpec;
use tripod_crds::{SupervisionPolicy, SupervisionPolicyStatus};

use crate::conditions::{self, Verdict};
use crate::utilisation::slot;

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    pub policy: SupervisionPolicy,
    /// Names of all departments.
    pub departments: BTreeSet<String>,
}

/// Whether its rules hold on the day that it is there.
#[must_use]
pub fn is_effective(spec: &SupervisionPolicySpec, now: Timestamp) -> bool {
    let today = slot::day(now, &slot::zone(&spec.utc_offset));
    spec.source.effective.parse::<Date>().is_ok_and(|since| since <= today)
}

/// The status that follows; there is nothing to do but to say it.
#[must_use]
pub fn status(seen: &Observed, now: Timestamp) -> SupervisionPolicyStatus {
    let mut status = seen.policy.status.clone().unwrap_or_default();
    let generation = seen.policy.metadata.generation;
    status.observed_generation = generation;
    conditions::set(&mut status.conditions, "Ready", &ready(seen, now), generation, now);
    status
}

fn ready(seen: &Observed, now: Timestamp) -> Verdict {
    let spec = &seen.policy.spec;
    let is_date = |text: &str| text.parse::<Date>().is_ok();
    if !is_date(&spec.source.effective) {
        let wrong = &spec.source.effective;
        return Verdict::no(
            "Invalid",
            format!("spec.source.effective: {wrong} is no day; write it like 2026-01-01"),
        );
    }
    if let Some((i, wrong)) = spec.exemptions.iter().enumerate().find(|(_, e)| !is_date(&e.until)) {
        let until = &wrong.until;
        return Verdict::no("Invalid", format!("spec.exemptions[{i}].until: {until} is no day"));
    }
    if !is_effective(spec, now) {
        let since = &spec.source.effective;
        return Verdict::no(
            "NotYetEffective",
            format!("spec.source.effective: the rules hold from {since} on"),
        );
    }
    match spec.departments.iter().find(|name| !seen.departments.contains(*name)) {
        Some(unknown) => Verdict::no(
            "NoSuchDepartment",
            format!("spec.departments: there is no Department {unknown}; the policy holds for the others"),
        ),
        None => Verdict::yes("InForce", format!("{} judges by it", seen.policy.name_any())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(change: impl Fn(&mut serde_json::Value)) -> String {
        let mut object = serde_json::json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "SupervisionPolicy",
            "metadata": {"name": "default"}, "spec": {"source": {"title": "t", "effective": "2026-11-25"},
            "departments": ["health"],
            "thresholds": {"cpu": {"lowAverage": 30, "lowPeak": 60, "highAverage": 50}}}});
        change(&mut object["spec"]);
        let policy = serde_json::from_value(object).unwrap();
        let seen = Observed { policy, departments: ["health".to_owned()].into() };
        // Half past midnight in China.
        let status = status(&seen, "2026-11-24T16:30:00Z".parse().unwrap());
        status.conditions[0].reason.clone()
    }

    #[test]
    fn a_policy_says_what_is_wrong_with_it() {
        assert_eq!(reason(|_| {}), "InForce");
        assert_eq!(reason(|s| s["source"]["effective"] = "2026-11-26".into()), "NotYetEffective");
        assert_eq!(reason(|s| s["source"]["effective"] = "2026-02-30".into()), "Invalid");
        assert_eq!(reason(|s| s["departments"] = serde_json::json!(["health", "helth"])), "NoSuchDepartment");
        let exemption = serde_json::json!([{"department": "health", "request": "a", "reason": "r", "until": "2026-13-01"}]);
        assert_eq!(reason(|s| s["exemptions"] = exemption.clone()), "Invalid");
    }
}
