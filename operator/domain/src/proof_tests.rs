use super::*;
use proptest::prelude::*;
use serde_json::json;
use tripod_crds::recovery_point::CopyState;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(tests: &serde_json::Value) -> BackupPolicy {
    serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "BackupPolicy",
        "metadata": {"name": "registration", "namespace": "health", "uid": "u-1", "creationTimestamp": "2026-11-20T00:00:00Z"},
        "spec": {"restoreTests": tests}}))
    .unwrap()
}

fn daily() -> serde_json::Value {
    json!({"schedule": "0 3 * * *", "keep": 2, "maxAge": "48h"})
}

fn point(name: &str, taken: &str, state: CopyState) -> RecoveryPoint {
    serde_json::from_value(
        json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "RecoveryPoint", "metadata": {"name": name},
        "spec": {"policy": "registration", "origin": "production", "takenAt": taken},
        "status": {"centres": [{"centre": "remote", "state": state}]}}),
    )
    .unwrap()
}

/// A test drill at `remote`, by when it began; with an end where it has one.
fn drill(name: &str, began: &str, end: Option<(&str, &str)>) -> DisasterRecoveryDrill {
    let status = end.map(|(ended, phase)| {
        json!({"phase": phase, "recoveryPoint": "p-1", "timeline": [{"phase": phase, "at": ended}],
            "conditions": [{"type": "Concluded", "status": "True", "reason": "X", "message": "checks said no", "lastTransitionTime": ended}]})
    });
    serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "DisasterRecoveryDrill",
        "metadata": {"name": name, "uid": name, "resourceVersion": "7", "creationTimestamp": began, "labels": {RESTORE_TEST: "registration"}},
        "spec": {"centre": "remote", "policy": "registration"}, "status": status}))
    .unwrap()
}

struct World {
    policy: BackupPolicy,
    points: Vec<RecoveryPoint>,
    drills: Vec<DisasterRecoveryDrill>,
    serves: BTreeSet<String>,
}

impl World {
    fn new(tests: &serde_json::Value) -> Self {
        let points = (1..=5)
            .map(|n| point(&format!("p-{n}"), &format!("2026-11-2{n}T00:00:00Z"), CopyState::Verified));
        Self {
            policy: policy(tests),
            points: points.collect(),
            drills: Vec::new(),
            serves: ["remote".to_owned()].into(),
        }
    }

    fn seen(&self) -> Seen<'_> {
        Seen { policy: &self.policy, points: &self.points, drills: &self.drills, serves: &self.serves }
    }

    fn started(&self, now: &str) -> Option<(String, String)> {
        decide(self.seen(), at(now)).into_iter().find_map(|step| match step {
            Step::Start { name, spec } => Some((name, spec.recovery_point?)),
            Step::Remove { .. } => None,
        })
    }

    fn verdict(&self, now: &str) -> Option<(bool, String)> {
        let proofs = proofs(self.seen());
        verdict(self.seen(), &proofs, at(now)).map(|verdict| (verdict.holds, verdict.reason))
    }
}

#[test]
fn a_test_is_due_once_a_slot_and_one_runs_at_a_time() {
    let mut world = World::new(&daily());
    world.policy.metadata.creation_timestamp = Some(Time(at("2026-11-26T03:00:00Z")));
    assert_eq!(world.started("2026-11-27T02:59:59Z"), None);
    assert_eq!(next(world.seen(), at("2026-11-27T02:59:59Z")), Some(at("2026-11-27T03:00:00Z")));
    let (name, _) = world.started("2026-11-27T03:00:05Z").unwrap();
    assert!(name.starts_with("registration-test-") && name.ends_with("-261127t0300"), "{name}");
    // The same pass again, and one that comes later: the same test.
    assert_eq!(world.started("2026-11-27T09:00:00Z"), world.started("2026-11-27T03:00:05Z"));
    world.drills = vec![drill(&name, "2026-11-27T03:00:06Z", None)];
    assert_eq!(world.started("2026-11-27T09:00:00Z"), None);
    assert_eq!(world.started("2026-11-28T09:00:00Z"), None, "the one before still runs");
    world.drills = vec![drill(&name, "2026-11-27T03:00:06Z", Some(("2026-11-27T03:01:00Z", "Failed")))];
    assert_eq!(world.started("2026-11-27T09:00:00Z"), None);
    assert!(world.started("2026-11-28T09:00:00Z").is_some());
}

#[test]
fn only_what_is_verified_at_the_centre_is_tried() {
    let mut world = World::new(&daily());
    for other in &mut world.points {
        *other = point(other.metadata.name.as_deref().unwrap(), "2026-11-21T00:00:00Z", CopyState::Copied);
    }
    assert_eq!(world.started("2026-11-27T03:00:00Z"), None);
    world.points[3] = point("p-4", "2026-11-24T00:00:00Z", CopyState::Verified);
    assert_eq!(world.started("2026-11-27T03:00:00Z").unwrap().1, "p-4");
    world.policy.spec.restore_tests.as_mut().unwrap().centres = vec!["same-city".into()];
    assert_eq!(world.started("2026-11-27T03:00:00Z"), None, "another operator's");
}

#[test]
fn over_time_each_of_the_newest_is_tried_and_no_older_one() {
    let mut tests = daily();
    tests["among"] = json!(3);
    let world = World::new(&tests);
    let days = (1..=28).filter_map(|day| world.started(&format!("2026-12-{day:02}T03:00:00Z")));
    let tried: BTreeSet<String> = days.map(|(_, point)| point).collect();
    assert_eq!(tried, ["p-3", "p-4", "p-5"].map(ToOwned::to_owned).into());
}

#[test]
fn old_tests_go_and_what_they_proved_stays() {
    let mut world = World::new(&daily());
    world.drills = vec![
        drill("t-1", "2026-11-24T03:00:00Z", Some(("2026-11-24T03:01:00Z", "Succeeded"))),
        drill("t-2", "2026-11-25T03:00:00Z", Some(("2026-11-25T03:01:00Z", "Failed"))),
        drill("t-3", "2026-11-26T03:00:00Z", Some(("2026-11-26T03:01:00Z", "Failed"))),
        drill("mine", "2026-11-01T03:00:00Z", Some(("2026-11-01T03:01:00Z", "Failed"))),
    ];
    world.drills[3].metadata.labels = None;
    let removed = Step::Remove { name: "t-1".into(), uid: "t-1".into(), version: "7".into() };
    assert_eq!(decide(world.seen(), at("2026-11-26T04:00:00Z")), [removed]);
    let known = proofs(world.seen());
    assert_eq!(known[0].proven_at, Some(Time(at("2026-11-24T03:01:00Z"))));
    assert!(known[0].failure.as_ref().unwrap().contains("t-3 of p-1: checks said no"));
    let status = tripod_crds::BackupPolicyStatus { proofs: known.clone(), ..Default::default() };
    world.policy.status = Some(status);
    world.drills.clear();
    assert_eq!(proofs(world.seen()), known);
}

#[test]
fn the_verdict_follows_the_evidence() {
    let mut world = World::new(&daily());
    let now = "2026-11-26T04:00:00Z";
    assert_eq!(world.verdict(now), Some((false, "NeverProven".into())));
    world.drills = vec![drill("t-1", "2026-11-26T03:00:00Z", Some(("2026-11-26T03:01:00Z", "Succeeded")))];
    assert_eq!(world.verdict(now), Some((true, "RestoreTestPassed".into())));
    assert_eq!(world.verdict("2026-11-28T03:01:01Z"), Some((false, "ProofTooOld".into())));
    world.drills.push(drill("t-2", "2026-11-26T03:30:00Z", Some(("2026-11-26T03:31:00Z", "Failed"))));
    assert_eq!(world.verdict(now), Some((false, "RestoreTestFailed".into())));
    world.policy.spec.restore_tests = None;
    assert_eq!(world.verdict(now), None);
}

#[test]
fn mistakes_name_their_field() {
    let known = BTreeSet::from(["remote".to_owned()]);
    for (field, tests) in [
        ("spec.restoreTests.schedule: ", json!({"schedule": "every day"})),
        ("spec.restoreTests.maxAge: ", json!({"schedule": "0 3 * * *", "maxAge": "soon"})),
        ("spec.restoreTests.centres[1]: ", json!({"schedule": "0 3 * * *", "centres": ["remote", "moon"]})),
    ] {
        let tests = serde_json::from_value(tests).unwrap();
        let refusal = validate(&tests, &known).unwrap_err();
        assert!(refusal.message.starts_with(field), "{}", refusal.message);
    }
}

proptest! {
    /// A drill's name has at most 40 characters, and its namespace's name none that a label may not have.
    #[test]
    fn names_fit(policy in "[a-z0-9]([a-z0-9.-]{0,34}[a-z0-9])?", digest: [u8; 32], second in 0..4_102_444_800_i64) {
        let name = test_name(&policy, &digest, Timestamp::from_second(second).unwrap());
        prop_assert!(name.len() <= 40 && !name.contains('.') && !name.starts_with('-'), "{}", name);
    }

    #[test]
    fn a_pick_is_one_of_them(digest: [u8; 32], count in 0..2000_usize) {
        prop_assert_eq!(pick(&digest, count).is_some_and(|at| at < count), count > 0);
    }
}
