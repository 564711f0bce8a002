use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use tripod_crds::RecoveryPointStatus;
use tripod_crds::backup_policy::{Exclude, Secrets};
use tripod_crds::recovery_point::CentreCopy;

fn done() -> Outcome {
    Outcome { created: Ok(()), tested: Ok(()) }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn claim(name: &str, bound: bool) -> Claim {
    Claim { name: name.into(), bound, ..Claim::default() }
}

fn seen() -> Observed {
    let mut policy = BackupPolicy::new(
        "registration",
        BackupPolicySpec {
            schedule: Some("*/15 * * * *".into()),
            suspend: false,
            include: Include { buckets: vec!["files".into()], ..Include::default() },
            exclude: Exclude::default(),
            hooks: Vec::new(),
            objectives: vec![Objective { centre: "remote".into(), rpo: "30m".into(), rto: None }],
            retention: None,
            restore_tests: None,
        },
    );
    policy.metadata.creation_timestamp = Some(Time(at("2026-11-24T02:00:01Z")));
    Observed {
        policy,
        centre: "production".into(),
        active_here: true,
        centres: BTreeSet::from(["production".into(), "remote".into()]),
        serves: BTreeSet::from(["production".into()]),
        points: Vec::new(),
        drills: Vec::new(),
        claims: vec![claim("data", true)],
        storage: BTreeMap::new(),
        snapshot_classes: Vec::new(),
        bucket_errors: Vec::new(),
        store_error: None,
    }
}

/// A selector that can't be read.
fn like() -> LabelSelector {
    let expression = LabelSelectorRequirement { operator: "Like".into(), ..Default::default() };
    LabelSelector { match_expressions: Some(vec![expression]), ..LabelSelector::default() }
}

fn point(taken: &str, phase: PointPhase, remote: CopyState) -> RecoveryPoint {
    let spec = RecoveryPointSpec {
        policy: "registration".into(),
        origin: "production".into(),
        taken_at: Time(at(taken)),
        objects: true,
        volumes: Vec::new(),
        snapshots: Vec::new(),
        buckets: Vec::new(),
        selection: None,
        hooks: Vec::new(),
    };
    let mut point = RecoveryPoint::new("registration-x", spec);
    let copy = CentreCopy {
        centre: "remote".into(),
        state: remote,
        copied_at: None,
        verified_at: None,
        message: None,
        kept_by: None,
        mended: None,
        locked_until: None,
    };
    point.status = Some(RecoveryPointStatus {
        phase: Some(phase),
        centres: vec![copy],
        ..RecoveryPointStatus::default()
    });
    point
}

fn name(plan: &Plan) -> Option<&str> {
    match &plan.action {
        Action::Create { name, .. } => Some(name),
        Action::Nothing => None,
    }
}

#[test]
fn makes_a_point_when_due_and_not_before() {
    assert_eq!(name(&decide(&seen(), at("2026-11-24T02:14:59Z"))), None);
    let plan = decide(&seen(), at("2026-11-24T02:15:03Z"));
    assert_eq!(name(&plan), Some("registration-20261124t021503"));
}

#[test]
fn a_point_says_what_was_chosen_when_it_began() {
    let spec = |seen: &Observed| match decide(seen, at("2026-11-24T02:15:03Z")).action {
        Action::Create { spec, .. } => spec,
        Action::Nothing => panic!("no point"),
    };
    let mut seen = seen();
    seen.claims = vec![claim("data", true), claim("cache", true), claim("new", false)];
    let all = spec(&seen);
    assert_eq!((all.volumes, all.selection), (vec!["data".to_owned(), "cache".to_owned()], None));
    seen.policy.spec.exclude.volumes = vec!["cache".into()];
    assert_eq!((spec(&seen).volumes, spec(&seen).selection), (vec!["data".to_owned()], None));
    seen.policy.spec.include.secrets = Secrets::None;
    assert_eq!(spec(&seen).selection.map(|s| s.include.secrets), Some(Secrets::None));
}

#[test]
fn one_run_at_a_time() {
    let mut seen = seen();
    seen.points = vec![point("2026-11-24T02:15:00Z", PointPhase::Running, CopyState::Pending)];
    assert_eq!(name(&decide(&seen, at("2026-11-24T02:31:00Z"))), None);
    seen.points = vec![point("2026-11-24T02:15:00Z", PointPhase::Complete, CopyState::Pending)];
    assert!(name(&decide(&seen, at("2026-11-24T02:31:00Z"))).is_some());
}

#[test]
fn a_token_runs_once_even_when_suspended() {
    let mut seen = seen();
    seen.policy.spec.suspend = true;
    seen.policy.metadata.annotations = Some([(RUN_ANNOTATION.to_owned(), "t1".to_owned())].into());
    let now = at("2026-11-24T02:01:00Z");
    let plan = decide(&seen, now);
    assert!(name(&plan).is_some());
    seen.policy.status = Some(status(&seen, &plan, &done(), now));
    assert_eq!(name(&decide(&seen, now)), None);
}

#[test]
fn elsewhere_it_only_watches() {
    let mut seen = seen();
    seen.active_here = false;
    let plan = decide(&seen, at("2026-11-24T02:15:03Z"));
    assert_eq!((name(&plan), plan.ready.reason.as_str()), (None, "Standby"));
}

#[test]
fn each_mistake_names_its_field() {
    let now = at("2026-11-24T02:15:03Z");
    let broken = |change: fn(&mut Observed)| {
        let mut seen = seen();
        change(&mut seen);
        let plan = decide(&seen, now);
        assert_eq!(plan.action, Action::Nothing);
        assert!(!plan.ready.holds);
        plan.ready.message
    };
    assert!(broken(|s| s.policy.spec.schedule = Some("often".into())).starts_with("spec.schedule: "));
    assert!(
        broken(|s| s.policy.spec.objectives[0].centre = "moon".into())
            .starts_with("spec.objectives[0].centre: ")
    );
    assert!(broken(|s| s.policy.spec.objectives[0].rpo = "0".into()).starts_with("spec.objectives[0].rpo: "));
    assert!(
        broken(|s| s.policy.spec.include.volume_selector = Some(like()))
            .starts_with("spec.include.volumeSelector: ")
    );
    assert!(
        broken(|s| s.policy.spec.include.label_selector = Some(like()))
            .starts_with("spec.include.labelSelector: ")
    );
    assert!(broken(|s| s.bucket_errors = vec![(0, "no".into())]).starts_with("spec.include.buckets[0]: "));
}

#[test]
fn a_centre_meets_its_objective_only_with_a_proven_copy() {
    let mut seen = seen();
    let now = at("2026-11-24T02:31:00Z");
    let state = |seen: &Observed| status(seen, &decide(seen, now), &done(), now).centres[0].objective;
    assert_eq!(state(&seen), ObjectiveState::Unknown);
    seen.points = vec![point("2026-11-24T02:15:00Z", PointPhase::Complete, CopyState::Copied)];
    assert_eq!(state(&seen), ObjectiveState::Unknown);
    seen.points = vec![point("2026-11-24T02:15:00Z", PointPhase::Complete, CopyState::Verified)];
    assert_eq!(state(&seen), ObjectiveState::Met);
    seen.points = vec![point("2026-11-24T02:00:59Z", PointPhase::Complete, CopyState::Verified)];
    assert_eq!(state(&seen), ObjectiveState::Missed);
}

#[test]
fn a_test_that_could_not_be_started_is_said() {
    let seen = seen();
    let plan = decide(&seen, at("2026-11-24T02:15:03Z"));
    let outcome = Outcome { tested: Err("DisasterRecoveryDrill t: forbidden".into()), ..done() };
    let status = status(&seen, &plan, &outcome, at("2026-11-24T02:15:03Z"));
    let proven = conditions::find(&status.conditions, PROVEN).unwrap();
    assert_eq!((proven.status.as_str(), proven.reason.as_str()), ("False", "RestoreTestNotStarted"));
    assert!(proven.message.contains("forbidden"));
}

#[test]
fn an_unusual_change_is_shown_for_a_week_with_what_is_kept() {
    let mut seen = seen();
    let mut point = point("2026-11-24T02:00:00Z", PointPhase::Complete, CopyState::Verified);
    point.status.as_mut().unwrap().unusual = vec!["volume data: 98 % of its bytes are new".into()];
    seen.points = vec![point];
    let at_time = |now: &str| {
        let plan = decide(&seen, at(now));
        let status = status(&seen, &plan, &done(), at(now));
        conditions::find(&status.conditions, UNUSUAL).map(|condition| condition.message.clone())
    };
    let message = at_time("2026-11-24T03:00:00Z").unwrap();
    assert!(message.contains("registration-x: volume data") && message.contains("30 days"), "{message}");
    assert_eq!(at_time("2026-12-02T02:00:00Z"), None);
}
