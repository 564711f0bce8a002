use std::collections::BTreeMap;

use serde_json::{Value, json};
use tripod_crds::RestoreStatus;

use super::*;
use crate::manifest::{BucketPart, Part};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn manifest() -> PointManifest {
    let part = Part {
        snapshot: "ab".into(),
        key: "k".into(),
        files: 3,
        bytes: 30,
        digest: "sha256:1".into(),
        added: None,
    };
    PointManifest {
        version: 1,
        system: "health-registration".into(),
        policy: "registration".into(),
        point: "p".into(),
        origin: "production".into(),
        taken_at: at(-100),
        completed_at: at(-90),
        objects: Some(part.clone()),
        volumes: BTreeMap::from([("data".into(), part)]),
        buckets: BTreeMap::from([(
            "files".into(),
            BucketPart { objects: 1, bytes: 1, digest: "sha256:2".into(), added: None },
        )]),
        root_digest: "sha256:r".into(),
        unusual: Vec::new(),
    }
}

fn seen(spec: &Value) -> Observed {
    let mut all = json!({"recoveryPoint": "p"});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    let restore = serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore",
        "metadata": {"name": "back", "namespace": "health-registration", "uid": "u", "creationTimestamp": at(0).to_string()},
        "spec": all}))
    .unwrap();
    Observed {
        restore,
        centre: "production".into(),
        system: "health-registration".into(),
        source: Source::Ready(Box::new(manifest())),
        volumes: BTreeMap::new(),
        workloads: BTreeMap::new(),
    }
}

/// Makes a pass: what was planned is carried out without an error.
fn pass(seen: &mut Observed, outcome: &Outcome) -> Plan {
    let plan = decide(seen, at(1));
    let status = status(seen, &plan, outcome, at(1));
    seen.restore.status = Some(status);
    plan
}

fn tally(created: u64, failed: u64) -> Outcome {
    let mut tally = Tally::default();
    tally.counts.total = created + failed;
    tally.counts.created = created;
    tally.counts.failed = failed;
    Outcome { objects: Some(tally), ..Outcome::default() }
}

fn volume(seen: &mut Observed, claim: Claim, mover: Progress) {
    seen.volumes.insert("data".into(), VolumeSeen { claim, used_by: Vec::new(), mover });
}

fn status_of(seen: &Observed) -> RestoreStatus {
    seen.restore.status.clone().unwrap()
}

#[test]
fn the_whole_way() {
    let mut seen = seen(&json!({}));
    assert!(matches!(pass(&mut seen, &Outcome::default()), Plan::Begin { .. }));
    assert_eq!(pass(&mut seen, &tally(4, 0)), Plan::Configure);
    volume(&mut seen, Claim::Own, Progress::Absent);
    let filled = Outcome { bucket: Some(("files".into(), PartState::Restored, None)), ..Outcome::default() };
    let Plan::Fill(first) = pass(&mut seen, &filled) else { panic!() };
    // Nothing is started before the status says that it may be.
    assert_eq!((first.launch.len(), first.bucket.as_deref()), (0, Some("files")));
    assert!(is_filling(&seen.restore, "data") && !is_filling(&seen.restore, "other"));
    let Plan::Fill(second) = pass(&mut seen, &Outcome::default()) else { panic!() };
    assert_eq!((second.launch, second.bucket), (vec!["data".to_owned()], None));
    volume(&mut seen, Claim::Own, Progress::Running("running".into()));
    pass(&mut seen, &Outcome::default());
    volume(&mut seen, Claim::Own, Progress::Done("3 files".into()));
    pass(&mut seen, &Outcome::default());
    assert_eq!(status_of(&seen).volumes[0].state, PartState::Restored);
    assert!(!is_filling(&seen.restore, "data"));
    // Its pod would hold the claim.
    let Plan::Fill(last) = pass(&mut seen, &Outcome::default()) else { panic!() };
    assert_eq!(last.remove, ["data"]);
    volume(&mut seen, Claim::Own, Progress::Absent);
    assert_eq!(pass(&mut seen, &Outcome::default()), Plan::Enter(RestorePhase::Starting));
    assert_eq!(pass(&mut seen, &tally(2, 0)), Plan::Start);
    seen.workloads.insert("Deployment/web".into(), Progress::Running("0 of 1 ready".into()));
    assert!(matches!(pass(&mut seen, &Outcome::default()), Plan::Wait { .. }));
    seen.workloads.insert("Deployment/web".into(), Progress::Done("1 of 1 ready".into()));
    assert!(matches!(pass(&mut seen, &Outcome::default()), Plan::Conclude { succeeded: true, .. }));
    let status = status_of(&seen);
    assert_eq!(status.phase, Some(RestorePhase::Succeeded));
    assert_eq!(status.progress.as_deref(), Some("6 of 6 objects, 1 of 1 volumes, 1 of 1 buckets"));
    assert_eq!(decide(&seen, at(2)), Plan::Ignore);
}

#[test]
fn nothing_is_restored_from_what_was_not_proved() {
    for (source, reason) in [
        (Source::Missing, "PointMissing"),
        (Source::NoBackup("no".into()), "BackupMissing"),
        (Source::Unproven(CopyState::Copied, None), "PointNotVerified"),
        (Source::Unproven(CopyState::Damaged, Some("pack".into())), "PointDamaged"),
        (Source::Unreadable("timeout".into()), "VaultUnreadable"),
        (Source::Foreign("it is another's".into()), "ForeignSystem"),
        (Source::UnknownCentre(vec!["a".into()]), "UnknownCentre"),
    ] {
        for phase in
            [None, Some(RestorePhase::Configuring), Some(RestorePhase::Filling), Some(RestorePhase::Starting)]
        {
            let mut seen = seen(&json!({}));
            seen.restore.status = Some(RestoreStatus { phase, ..RestoreStatus::default() });
            seen.source = source.clone();
            let Plan::Wait { reason: said, .. } = decide(&seen, at(1)) else {
                panic!("{reason} in {phase:?}")
            };
            assert_eq!(said, reason);
        }
    }
}

#[test]
fn a_backup_of_velero_has_objects_only() {
    let mut whole = seen(&json!({"recoveryPoint": null, "velero": {"bucket": "old", "backup": "nightly"}}));
    whole.source = Source::Tarball(10);
    assert_eq!(decide(&whole, at(1)), Plan::Begin { volumes: vec![], buckets: vec![] });
    let mut volumes = seen(&json!({"include": {"volumes": ["data"]}}));
    volumes.source = Source::Tarball(10);
    assert!(matches!(
        decide(&volumes, at(1)),
        Plan::Conclude { succeeded: false, reason: "NotInThePoint", .. }
    ));
}

#[test]
fn what_the_point_does_not_have_is_said_at_once() {
    let seen = seen(&json!({"include": {"volumes": ["cache"]}}));
    let Plan::Conclude { succeeded: false, message, .. } = decide(&seen, at(1)) else { panic!() };
    assert!(message.contains("spec.include.volumes") && message.contains("cache"), "{message}");
}

#[test]
fn a_wish_that_can_not_be_read_ends_at_once_and_names_its_field() {
    let selector = json!({"matchExpressions": [{"key": "a", "operator": "Near", "values": []}]});
    let seen = seen(&json!({"include": {"labelSelector": selector}}));
    let Plan::Conclude { succeeded: false, reason: "InvalidSpec", message } = decide(&seen, at(1)) else {
        panic!()
    };
    assert!(message.contains("spec.include.labelSelector"), "{message}");
}

#[test]
fn a_claim_that_was_there_is_treated_as_the_policy_says() {
    let at_filling = |policy: &str, used: bool| {
        let mut seen = seen(&json!({"existing": policy, "include": {"buckets": []}}));
        pass(&mut seen, &Outcome::default());
        seen.restore.status.as_mut().unwrap().phase = Some(RestorePhase::Filling);
        let used_by = if used { vec!["web-1".to_owned()] } else { Vec::new() };
        seen.volumes
            .insert("data".into(), VolumeSeen { claim: Claim::Foreign, used_by, mover: Progress::Absent });
        let Plan::Fill(filling) = decide(&seen, at(1)) else { panic!() };
        filling
    };
    assert_eq!(at_filling("Skip", true).settled["data"].0, PartState::Skipped);
    assert_eq!(at_filling("Update", false).settled["data"].0, PartState::Filling);
    let used = at_filling("Update", true);
    assert!(used.settled.is_empty() && used.waiting[0].contains("web-1"), "{used:?}");
}

#[test]
fn a_restore_whose_parts_failed_has_failed_and_says_which() {
    let mut seen = seen(&json!({"include": {"buckets": []}}));
    pass(&mut seen, &Outcome::default());
    pass(&mut seen, &tally(1, 1));
    volume(&mut seen, Claim::Own, Progress::Failed("the disk is full".into()));
    pass(&mut seen, &Outcome::default());
    volume(&mut seen, Claim::Own, Progress::Absent);
    pass(&mut seen, &Outcome::default());
    pass(&mut seen, &tally(1, 0));
    let Plan::Conclude { succeeded: false, message, .. } = pass(&mut seen, &Outcome::default()) else {
        panic!()
    };
    assert!(message.contains("1 objects") && message.contains("data"), "{message}");
    let status = status_of(&seen);
    assert_eq!(status.volumes[0].message.as_deref(), Some("the disk is full"));
    assert!(status.conditions.iter().any(|c| c.type_ == "Failed" && c.status == "True"));
}

#[test]
fn fail_compares_before_it_writes() {
    let mut strict = seen(&json!({"existing": "Fail"}));
    pass(&mut strict, &Outcome::default());
    assert_eq!(status_of(&strict).phase, Some(RestorePhase::Planning));
    let conflict = Outcome { conflicts: 1, ..tally(1, 0) };
    assert_eq!(pass(&mut strict, &conflict), Plan::Compare);
    assert_eq!(status_of(&strict).phase, Some(RestorePhase::Failed));
    let mut free = seen(&json!({"existing": "Fail"}));
    pass(&mut free, &Outcome::default());
    pass(&mut free, &tally(1, 0));
    assert_eq!(status_of(&free).phase, Some(RestorePhase::Configuring));
    // What was only compared is not counted as done.
    assert_eq!(status_of(&free).objects, None);
}

#[test]
fn a_dry_run_ends_with_what_it_found() {
    let mut dry = seen(&json!({"dryRun": true}));
    pass(&mut dry, &Outcome::default());
    pass(&mut dry, &tally(3, 0));
    let status = status_of(&dry);
    assert_eq!(status.phase, Some(RestorePhase::Succeeded));
    let ready = &status.conditions[0];
    assert!(ready.reason == "DryRun" && ready.message.contains("3 would be created"), "{ready:?}");
}

#[test]
fn an_error_keeps_the_phase_and_is_said() {
    let mut seen = seen(&json!({}));
    pass(&mut seen, &Outcome::default());
    pass(&mut seen, &Outcome { error: Some("no way".into()), ..Outcome::default() });
    let status = status_of(&seen);
    assert_eq!(status.phase, Some(RestorePhase::Configuring));
    assert!(status.conditions[0].message.contains("no way"));
}

#[test]
fn it_ends_at_its_deadline() {
    let seen = seen(&json!({"deadlineSeconds": 60}));
    let late = decide(&seen, at(61));
    assert!(matches!(late, Plan::Conclude { succeeded: false, reason: "DeadlineExceeded", .. }), "{late:?}");
}

#[test]
fn the_same_again_changes_nothing() {
    let mut seen = seen(&json!({}));
    seen.source = Source::Missing;
    pass(&mut seen, &Outcome::default());
    let once = status_of(&seen);
    pass(&mut seen, &Outcome::default());
    assert_eq!(status_of(&seen), once);
}
