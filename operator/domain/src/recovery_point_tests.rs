use super::*;
use tripod_crds::RecoveryPointSpec;

use crate::volume_snapshots::State;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn part() -> Part {
    Part {
        snapshot: "ab".into(),
        key: "k".into(),
        files: 1,
        bytes: 1,
        digest: "sha256:1".into(),
        added: None,
    }
}

fn seen() -> Observed {
    let mut point = RecoveryPoint::new(
        "registration-1",
        RecoveryPointSpec {
            policy: "registration".into(),
            origin: "production".into(),
            taken_at: Time(at("2026-11-24T02:00:00Z")),
            objects: true,
            volumes: vec!["data".into()],
            snapshots: Vec::new(),
            buckets: Vec::new(),
            selection: None,
            hooks: Vec::new(),
        },
    );
    point.metadata.namespace = Some("dept-health".into());
    Observed {
        point,
        centre: "production".into(),
        manifest: None,
        objects: None,
        volumes: BTreeMap::new(),
        buckets: BTreeMap::new(),
        movers: BTreeMap::new(),
        snapshots: BTreeMap::new(),
        before: Vec::new(),
        hooks: hooks::Seen::new(),
        readings: BTreeMap::from([("remote".into(), Reading::NoRecord)]),
        interval: 60,
    }
}

const NOW: &str = "2026-11-24T02:00:10Z";

#[test]
fn gathers_then_seals() {
    let mut seen = seen();
    let now = at(NOW);
    let first = Plan::Gather(Missing { objects: true, launch: vec!["data".into()], ..Missing::default() });
    assert_eq!(decide(&seen, now), first);
    seen.objects = Some(part());
    seen.movers.insert("data".into(), MoverState::Running);
    let second = Plan::Gather(Missing { waiting: vec!["data".into()], ..Missing::default() });
    assert_eq!(decide(&seen, now), second);
    seen.volumes.insert("data".into(), part());
    // It is about to end, and is not disturbed.
    assert!(matches!(decide(&seen, now), Plan::Gather(missing) if missing.waiting == ["data"]));
    seen.movers.insert("data".into(), MoverState::Succeeded);
    assert_eq!(decide(&seen, now), Plan::Clear(vec!["data".into()]));
    seen.movers.insert("data".into(), MoverState::Absent);
    let Plan::Seal(manifest) = decide(&seen, now) else { panic!("not sealed") };
    manifest.check().unwrap();
    seen.manifest = Some(*manifest);
    assert_eq!(decide(&seen, now), Plan::Watch);
}

#[test]
fn only_the_origin_gathers() {
    let mut seen = seen();
    seen.centre = "remote".into();
    assert_eq!(decide(&seen, at(NOW)), Plan::Watch);
}

#[test]
fn a_failed_mover_fails_the_point_with_its_words() {
    let mut seen = seen();
    seen.movers.insert("data".into(), MoverState::Failed("permission denied".into()));
    let plan = decide(&seen, at(NOW));
    let status = status(&seen, &plan, &Outcome::default(), at(NOW));
    assert_eq!(status.phase, Some(PointPhase::Failed));
    assert!(status.conditions[0].message.contains("permission denied"));
}

#[test]
fn hooks_stand_around_what_is_taken() {
    let mut seen = seen();
    let step = serde_json::json!({"job": {"image": "i"}});
    let hook = serde_json::json!([{"name": "quiet", "before": step, "after": step}]);
    seen.point.spec.hooks = serde_json::from_value(hook).unwrap();
    let now = at(NOW);
    let key = |phase| ("quiet".to_owned(), phase);
    let pass = |seen: &mut Observed| {
        let plan = decide(seen, now);
        seen.point.status = Some(status(seen, &plan, &Outcome::default(), now));
        plan
    };
    assert_eq!(pass(&mut seen), Plan::Begin((0, HookPhase::Before)));
    seen.hooks.insert(key(HookPhase::Before), hooks::StepState::Running);
    assert_eq!(pass(&mut seen), Plan::Await((0, HookPhase::Before)));
    seen.hooks.insert(key(HookPhase::Before), hooks::StepState::Succeeded("quiet".into()));
    assert!(matches!(pass(&mut seen), Plan::Gather(_)));
    // A volume that can't be read fails the point, and not before the system was woken.
    seen.movers.insert("data".into(), MoverState::Failed("permission denied".into()));
    assert_eq!(pass(&mut seen), Plan::Begin((0, HookPhase::After)));
    // Its Job is forgotten meanwhile: what failed stays failed.
    seen.movers.clear();
    seen.hooks.insert(key(HookPhase::After), hooks::StepState::Running);
    assert_eq!(pass(&mut seen), Plan::Await((0, HookPhase::After)));
    seen.hooks.insert(key(HookPhase::After), hooks::StepState::Succeeded(String::new()));
    let Plan::Fail { message, .. } = pass(&mut seen) else { panic!("not failed") };
    assert!(message.contains("permission denied"), "{message}");
    assert_eq!(seen.point.status.unwrap().phase, Some(PointPhase::Failed));
}

#[test]
fn a_cut_link_keeps_what_was_known_and_says_so() {
    let mut seen = seen();
    let known = CopyRecord {
        centre: "remote".into(),
        system: "dept-health".into(),
        point: "registration-1".into(),
        root_digest: String::new(),
        taken_at: at(NOW),
        state: CopyState::Verified,
        copied_at: Some(at(NOW)),
        verified_at: Some(at(NOW)),
        message: None,
        policy: None,
        kept_by: None,
        mended: None,
        locked_until: None,
        mending_at: None,
        unusual: Vec::new(),
    };
    seen.readings.insert("remote".into(), Reading::Record(known));
    let plan = decide(&seen, at(NOW));
    seen.point.status = Some(status(&seen, &plan, &Outcome::default(), at(NOW)));
    seen.readings.insert("remote".into(), Reading::Unreadable("timed out".into()));
    let after = status(&seen, &plan, &Outcome::default(), at(NOW));
    assert_eq!(after.centres[0].state, CopyState::Verified);
    assert!(after.centres[0].message.as_ref().unwrap().contains("timed out"));
}

#[test]
fn what_is_proved_everywhere_is_looked_at_less_often() {
    let mut seen = seen();
    let wait = |seen: &Observed| recheck(seen, &Plan::Watch).as_secs();
    assert_eq!(wait(&seen), 60);
    let proved = CopyRecord {
        centre: "remote".into(),
        system: "dept-health".into(),
        point: "registration-1".into(),
        root_digest: String::new(),
        taken_at: at(NOW),
        state: CopyState::Verified,
        copied_at: None,
        verified_at: Some(at(NOW)),
        message: None,
        policy: None,
        kept_by: None,
        mended: None,
        locked_until: None,
        mending_at: None,
        unusual: Vec::new(),
    };
    seen.readings.insert("remote".into(), Reading::Record(proved.clone()));
    assert_eq!(wait(&seen), 300);
    let damaged = CopyRecord { state: CopyState::Damaged, ..proved };
    seen.readings.insert("same-city".into(), Reading::Record(damaged));
    assert_eq!(wait(&seen), 60);
}

#[test]
fn the_same_again_changes_nothing() {
    let mut seen = seen();
    let plan = decide(&seen, at(NOW));
    let once = status(&seen, &plan, &Outcome::default(), at(NOW));
    seen.point.status = Some(once.clone());
    assert_eq!(status(&seen, &plan, &Outcome::default(), at("2026-11-24T03:00:00Z")), once);
}

/// One volume that is read from a snapshot, with a hook around it.
fn frozen() -> Observed {
    let mut seen = seen();
    let step = serde_json::json!({"job": {"image": "i"}});
    let hook = serde_json::json!([{"name": "quiet", "before": step, "after": step}]);
    seen.point.spec.hooks = serde_json::from_value(hook).unwrap();
    seen.point.spec.snapshots = vec![tripod_crds::recovery_point::SnapshotOf {
        claim: "data".into(),
        snapshot_class: "fast".into(),
        storage_class: None,
        size: "1Gi".into(),
    }];
    seen.objects = Some(part());
    seen
}

fn pass(seen: &mut Observed) -> Plan {
    let plan = decide(seen, at(NOW));
    seen.point.status = Some(status(seen, &plan, &Outcome::default(), at(NOW)));
    plan
}

fn ends(seen: &mut Observed, phase: HookPhase) {
    assert_eq!(pass(seen), Plan::Begin((0, phase)));
    seen.hooks.insert(("quiet".to_owned(), phase), hooks::StepState::Succeeded(String::new()));
}

#[test]
fn hooks_wait_for_a_snapshot_and_not_for_what_is_read_from_it() {
    let mut seen = frozen();
    ends(&mut seen, HookPhase::Before);
    let data = || vec!["data".to_owned()];
    assert_eq!(pass(&mut seen), Plan::Gather(Missing { freeze: data(), ..Missing::default() }));
    seen.snapshots.insert("data".into(), volume_snapshots::Seen { state: State::Pending, clone: false });
    assert_eq!(pass(&mut seen), Plan::Gather(Missing { waiting: data(), ..Missing::default() }));
    seen.snapshots.insert("data".into(), volume_snapshots::Seen { state: State::Ready, clone: false });
    ends(&mut seen, HookPhase::After);
    assert_eq!(pass(&mut seen), Plan::Gather(Missing { launch: data(), ..Missing::default() }));
    seen.snapshots.insert("data".into(), volume_snapshots::Seen { state: State::Ready, clone: true });
    seen.volumes.insert("data".into(), part());
    seen.movers.insert("data".into(), MoverState::Succeeded);
    assert_eq!(pass(&mut seen), Plan::Clear(data()));
    seen.movers.clear();
    // The claim is on its way out.
    seen.snapshots.insert("data".into(), volume_snapshots::Seen { state: State::Absent, clone: true });
    assert_eq!(pass(&mut seen), Plan::Clear(data()));
    seen.snapshots.clear();
    assert!(matches!(pass(&mut seen), Plan::Seal(_)));
}

#[test]
fn what_fails_wakes_the_system_and_leaves_no_snapshot() {
    for failing in ["snapshot", "mover"] {
        let mut seen = frozen();
        ends(&mut seen, HookPhase::Before);
        let state = if failing == "snapshot" { State::Failed("no space".into()) } else { State::Ready };
        seen.snapshots.insert("data".into(), volume_snapshots::Seen { state, clone: false });
        ends(&mut seen, HookPhase::After);
        if failing == "mover" {
            seen.movers.insert("data".into(), MoverState::Failed("no space".into()));
        }
        assert_eq!(pass(&mut seen), Plan::Clear(vec!["data".into()]), "{failing}");
        seen.movers.clear();
        seen.snapshots.clear();
        let Plan::Fail { message, .. } = pass(&mut seen) else { panic!("{failing}: not failed") };
        assert!(message.contains("no space"), "{message}");
    }
}
