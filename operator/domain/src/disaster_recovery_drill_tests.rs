//! A simulated world that does what the plan says: the drill must come to its end from any start, and leave
//! nothing behind wherever it is deleted.

use super::*;
use tripod_crds::disaster_recovery_drill::{Check, CheckJob, DrillMode};
use tripod_crds::recovery_point::{CentreCopy, CopyState};
use tripod_crds::{DisasterRecoveryDrillSpec, RecoveryPointSpec, RecoveryPointStatus};

const START: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn seen() -> Observed {
    let job = CheckJob { image: "checks:1".into(), command: vec![], args: vec![] };
    let mut drill = DisasterRecoveryDrill::new(
        "q4",
        DisasterRecoveryDrillSpec {
            mode: DrillMode::Simulated,
            centre: "same-city".into(),
            policy: "registration".into(),
            recovery_point: None,
            checks: vec![Check { name: "rows".into(), job }],
            deadline_seconds: 600,
        },
    );
    drill.metadata.creation_timestamp = Some(Time(at(0)));
    Observed {
        drill,
        server: Server::Here,
        points: vec![
            point("old", -900, CopyState::Verified),
            point("new", -60, CopyState::Verified),
            point("newer", -5, CopyState::Copied),
        ],
        namespace_exists: false,
        scratch_bucket_exists: false,
        configuration_applied: false,
        volumes: BTreeMap::from([("data".into(), Progress::Absent)]),
        buckets: BTreeMap::from([("files".into(), Progress::Absent)]),
        workloads: None,
        checks: BTreeMap::from([("rows".into(), Progress::Absent)]),
    }
}

fn point(name: &str, taken: i64, here: CopyState) -> RecoveryPoint {
    let spec = RecoveryPointSpec {
        policy: "registration".into(),
        origin: "production".into(),
        taken_at: Time(at(taken)),
        objects: true,
        volumes: vec!["data".into()],
        snapshots: Vec::new(),
        buckets: vec!["files".into()],
        selection: None,
        hooks: Vec::new(),
    };
    let mut point = RecoveryPoint::new(name, spec);
    let copy = CentreCopy {
        centre: "same-city".into(),
        state: here,
        copied_at: None,
        verified_at: None,
        message: None,
        kept_by: None,
        mended: None,
        locked_until: None,
    };
    point.status = Some(RecoveryPointStatus { centres: vec![copy], ..RecoveryPointStatus::default() });
    point
}

/// Carries the plan out in the simulated world. Everything that is started is done at the next look.
fn act(world: &mut Observed, plan: &Plan, check: &Progress) {
    let finalizers = &mut world.drill.metadata.finalizers;
    match plan {
        Plan::Hold => *finalizers = Some(vec![FINALIZER.into()]),
        Plan::Release => *finalizers = None,
        Plan::Prepare => world.namespace_exists = true,
        Plan::Restore { .. } => {
            world.configuration_applied = true;
            world.scratch_bucket_exists = true;
            world.volumes.insert("data".into(), Progress::Done("sha256:1".into()));
            world.buckets.insert("files".into(), Progress::Done("sha256:2".into()));
        }
        Plan::Start => {
            world.workloads = Some(BTreeMap::from([("Deployment/web".into(), Progress::Done("1/1".into()))]));
        }
        Plan::Check(_) => {
            world.checks.insert("rows".into(), check.clone());
        }
        Plan::CleanUp => {
            world.namespace_exists = false;
            world.scratch_bucket_exists = false;
        }
        _ => {}
    }
}

/// Passes until nothing more is planned, or `steps` are over.
fn run(world: &mut Observed, from: i64, steps: i64, check: &Progress) -> Vec<Plan> {
    let mut plans = Vec::new();
    for second in from..from + steps {
        let plan = decide(world, at(second));
        if plan == Plan::Ignore {
            break;
        }
        act(world, &plan, check);
        let report = ReportRef { key: "drills/q4".into(), digest: "sha256:3".into() };
        let outcome = Outcome { report: (plan == Plan::Report).then_some(report), ..Outcome::default() };
        world.drill.status = Some(status(world, &plan, &outcome, at(second)));
        plans.push(plan);
    }
    plans
}

#[test]
fn runs_to_success_and_measures() {
    let mut world = seen();
    run(&mut world, 1, 50, &Progress::Done("500 rows".into()));
    let status = world.drill.status.clone().unwrap();
    assert_eq!(status.phase, Some(DrillPhase::Succeeded));
    assert_eq!(status.recovery_point.as_deref(), Some("new"));
    assert_eq!(status.rpo.as_deref(), Some("1m"));
    assert_eq!(status.checks.len(), 3);
    assert!(status.checks.iter().all(|c| c.passed) && status.report.is_some());
    assert!(conditions::find(&status.conditions, "Succeeded").is_some_and(|c| c.status == "True"));
    assert!(!world.namespace_exists && !world.scratch_bucket_exists);
    assert_eq!(world.drill.metadata.finalizers, None);
}

#[test]
fn a_failed_check_fails_the_drill_and_still_cleans_up() {
    let mut world = seen();
    run(&mut world, 1, 50, &Progress::Failed("exit code 1".into()));
    let status = world.drill.status.clone().unwrap();
    assert_eq!(status.phase, Some(DrillPhase::Failed));
    assert!(!world.namespace_exists && !world.scratch_bucket_exists);
}

#[test]
fn deleted_at_any_step_it_leaves_nothing() {
    for steps in 0..20 {
        let mut world = seen();
        run(&mut world, 1, steps, &Progress::Running("pod".into()));
        world.drill.metadata.deletion_timestamp = Some(Time(at(100)));
        run(&mut world, 100, 10, &Progress::Running("pod".into()));
        assert!(!world.namespace_exists && !world.scratch_bucket_exists, "after {steps} steps");
        assert_eq!(world.drill.metadata.finalizers.clone().unwrap_or_default(), Vec::<String>::new());
    }
}

#[test]
fn the_deadline_ends_any_phase() {
    for steps in 1..20 {
        let mut world = seen();
        run(&mut world, 1, steps, &Progress::Running("pod".into()));
        if phase_of(&world.drill) == DrillPhase::Succeeded {
            continue;
        }
        run(&mut world, 700, 20, &Progress::Running("pod".into()));
        assert_eq!(phase_of(&world.drill), DrillPhase::Failed, "after {steps} steps");
    }
}

#[test]
fn waits_for_a_verified_point_and_says_so() {
    let mut world = seen();
    world.points = vec![point("newer", -5, CopyState::Copied)];
    let plans = run(&mut world, 1, 3, &Progress::Absent);
    assert!(
        matches!(plans.last(), Some(Plan::Wait(words)) if words.contains("no recovery point of registration is Verified"))
    );
}

#[test]
fn what_is_not_ours_is_left_and_said() {
    for (server, words) in [
        (Server::Elsewhere("same-city".into()), "apply the drill in the cluster of same-city"),
        (Server::Nobody(vec!["remote".into()]), "spec.centre: no Centre is named"),
    ] {
        let mut world = Observed { server, ..seen() };
        let plan = decide(&world, at(1));
        let said = status(&world, &plan, &Outcome::default(), at(1));
        assert!(said.conditions[0].message.contains(words), "{}", said.conditions[0].message);
        assert_eq!((said.phase, said.timeline.len()), (None, 0));
        world.drill.status = Some(said.clone());
        assert_eq!(status(&world, &decide(&world, at(9)), &Outcome::default(), at(9)), said);
    }
}
