//! When a policy makes a recovery point, and how its centres stand against their objectives.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tripod_crds::backup_policy::{BackupPolicySpec, CentreStanding, Include, Objective, ObjectiveState};
use tripod_crds::recovery_point::{CopyState, PointPhase, Selection, SnapshotOf};
use tripod_crds::{
    BackupPolicy, BackupPolicyStatus, DisasterRecoveryDrill, RecoveryPoint, RecoveryPointSpec,
};

use crate::conditions::{self, Verdict};
use crate::duration;
use crate::hooks;
use crate::proof;
use crate::retention::GUARD;
use crate::schedule::Schedule;
use crate::selection::Rules;
use crate::selection::claims::{Claim, ClaimRules};
use crate::volume_snapshots::{self, Class, Storage};

/// The annotation that asks for a run now; a new token for each run.
pub const RUN_ANNOTATION: &str = "tripod.cloud/run";

/// The condition that says whether what lies here is proven to be restorable, where restore tests are asked for.
pub const PROVEN: &str = "Proven";

/// The condition that is there while a point of the last week brought a change that is unusual for the system.
pub const UNUSUAL: &str = "UnusualChange";

/// For so long it is shown.
const SHOWN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    pub policy: BackupPolicy,
    /// The centre of this operator.
    pub centre: String,
    /// Whether the system is active at this centre: elsewhere a policy only watches.
    pub active_here: bool,
    /// Names of all Centres of this cluster.
    pub centres: BTreeSet<String>,
    /// The centres with copies that this operator serves.
    pub serves: BTreeSet<String>,
    /// Recovery points of this policy in the namespace.
    pub points: Vec<RecoveryPoint>,
    /// Drills of this policy in the namespace.
    pub drills: Vec<DisasterRecoveryDrill>,
    /// Volume claims of the namespace.
    pub claims: Vec<Claim>,
    /// What each claim is made of.
    pub storage: BTreeMap<String, Storage>,
    /// Classes of volume snapshots of the cluster.
    pub snapshot_classes: Vec<Class>,
    /// Buckets of the policy with what the store said against them, by position in the spec.
    pub bucket_errors: Vec<(usize, String)>,
    /// The store itself could not be asked.
    pub store_error: Option<String>,
}

impl Observed {
    /// What restore tests are decided by.
    #[must_use]
    pub fn tests(&self) -> proof::Seen<'_> {
        proof::Seen { policy: &self.policy, points: &self.points, drills: &self.drills, serves: &self.serves }
    }
}

/// What to do, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub action: Action,
    /// Restore tests to start and to remove.
    pub tests: Vec<proof::Step>,
    pub ready: Verdict,
    pub next_run: Option<Timestamp>,
    /// Look again after this long, if nothing changes before.
    pub recheck: SignedDuration,
}

/// At most one new point a pass.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there is one a pass")]
pub enum Action {
    Nothing,
    /// Make a recovery point of this name, unless there is one.
    Create {
        name: String,
        spec: RecoveryPointSpec,
        token: Option<String>,
    },
}

/// Pure, total.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Plan {
    let spec = &seen.policy.spec;
    let idle = |ready: Verdict| Plan {
        action: Action::Nothing,
        // Tests of what was taken go on, whatever keeps new points from being made.
        tests: proof::decide(seen.tests(), now),
        ready,
        next_run: None,
        recheck: until(proof::next(seen.tests(), now), now),
    };
    let schedule = match validate(seen) {
        Ok(schedule) => schedule,
        Err(refusal) => return idle(refusal),
    };
    if !seen.active_here {
        return idle(Verdict::yes(
            "Standby",
            format!("the system is not active at {}; its recovery points are made where it is", seen.centre),
        ));
    }
    let next_run = if spec.suspend { None } else { schedule.as_ref().and_then(|s| s.next(now)) };
    let next_test = proof::next(seen.tests(), now);
    Plan {
        action: next_action(seen, schedule.as_ref(), now),
        tests: proof::decide(seen.tests(), now),
        ready: if spec.suspend {
            Verdict::yes("Suspended", "spec.suspend is true: no new recovery points are made")
        } else {
            Verdict::yes(
                "Accepted",
                format!("the policy is valid and its buckets can be read{}", as_read(seen)),
            )
        },
        next_run,
        recheck: until(next_run.into_iter().chain(next_test).min(), now),
    }
}

/// Until something is due, and a minute at most: standings age without an event.
fn until(due: Option<Timestamp>, now: Timestamp) -> SignedDuration {
    let minute = SignedDuration::from_mins(1);
    due.map_or(minute, |at| at.duration_since(now)).clamp(SignedDuration::from_secs(1), minute)
}

fn validate(seen: &Observed) -> Result<Option<Schedule>, Verdict> {
    let spec = &seen.policy.spec;
    let schedule = spec
        .schedule
        .as_deref()
        .map(Schedule::parse)
        .transpose()
        .map_err(|e| Verdict::no("InvalidSchedule", format!("spec.schedule: {e}")))?;
    check_objectives(spec, &seen.centres)?;
    if let Some(tests) = &spec.restore_tests {
        proof::validate(tests, &seen.centres)?;
    }
    Rules::new(&selection(spec)).map_err(|error| Verdict::no("InvalidSelector", error))?;
    ClaimRules::new(&spec.include, &spec.exclude).map_err(|error| Verdict::no("InvalidSelector", error))?;
    hooks::validate(&spec.hooks).map_err(|error| Verdict::no("InvalidHook", error))?;
    if seen.active_here {
        snapshots(seen).map_err(|error| Verdict::no("NoVolumeSnapshots", error))?;
    }
    if let Some(error) = &seen.store_error {
        return Err(Verdict::no("StoreUnavailable", format!("centre {}: {error}", seen.centre)));
    }
    if let Some((at, error)) = seen.bucket_errors.first() {
        return Err(Verdict::no("BucketUnreadable", format!("spec.include.buckets[{at}]: {error}")));
    }
    Ok(schedule)
}

fn check_objectives(spec: &BackupPolicySpec, centres: &BTreeSet<String>) -> Result<(), Verdict> {
    for (at, objective) in spec.objectives.iter().enumerate() {
        if !centres.contains(&objective.centre) {
            let known = centres.iter().cloned().collect::<Vec<_>>().join(", ");
            return Err(Verdict::no(
                "UnknownCentre",
                format!(
                    "spec.objectives[{at}].centre: no Centre is named {:?}; there are: {known}",
                    objective.centre
                ),
            ));
        }
        for (field, value) in [("rpo", Some(&objective.rpo)), ("rto", objective.rto.as_ref())] {
            if let Some(Err(error)) = value.map(|text| duration::parse(text)) {
                return Err(Verdict::no(
                    "InvalidObjective",
                    format!("spec.objectives[{at}].{field}: {error}"),
                ));
            }
        }
    }
    Ok(())
}

/// On demand first, then by schedule. One run at a time: a second would read the same volumes.
fn next_action(seen: &Observed, schedule: Option<&Schedule>, now: Timestamp) -> Action {
    if seen.points.iter().any(|point| phase(point).is_none_or(|p| p == PointPhase::Running)) {
        return Action::Nothing;
    }
    let policy = &seen.policy;
    let token = policy.metadata.annotations.as_ref().and_then(|a| a.get(RUN_ANNOTATION));
    let acted_on = policy.status.as_ref().and_then(|s| s.last_run_token.as_ref());
    if let Some(token) = token.filter(|t| Some(*t) != acted_on) {
        return create(seen, now, Some(token.clone()));
    }
    if policy.spec.suspend {
        return Action::Nothing;
    }
    let made_until = seen.points.iter().map(|point| point.spec.taken_at.0).max();
    let since = made_until.or(policy.metadata.creation_timestamp.as_ref().map(|t| t.0)).unwrap_or(now);
    match schedule.and_then(|s| s.due(since, now)) {
        Some(_) => create(seen, now, None),
        None => Action::Nothing,
    }
}

fn phase(point: &RecoveryPoint) -> Option<PointPhase> {
    point.status.as_ref().and_then(|status| status.phase)
}

/// The name carries the second at which the run began, so that names sort as time does and two operators that
/// both decide in one second make one point.
fn create(seen: &Observed, now: Timestamp, token: Option<String>) -> Action {
    let spec = &seen.policy.spec;
    let include = &spec.include;
    let policy = seen.policy.metadata.name.clone().unwrap_or_default();
    // Statuses and names carry whole seconds; so does the time that is promised.
    let taken_at = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Action::Create {
        name: format!("{policy}-{}", taken_at.strftime("%Y%m%dt%H%M%S")),
        spec: RecoveryPointSpec {
            policy,
            origin: seen.centre.clone(),
            taken_at: Time(taken_at),
            objects: include.objects,
            volumes: chosen_claims(spec, &seen.claims),
            snapshots: snapshots(seen).unwrap_or_default(),
            buckets: include.buckets.clone(),
            selection: Some(selection(spec)).filter(|chosen| *chosen != Selection::default()),
            hooks: spec.hooks.clone(),
        },
        token,
    }
}

/// What the policy says of objects, without what it says of the rest.
#[must_use]
pub fn selection(spec: &BackupPolicySpec) -> Selection {
    let (mut include, mut exclude) = (spec.include.clone(), spec.exclude.clone());
    let Include { volumes, volume_selector, volume_snapshots, buckets, .. } = Include::default();
    (include.volumes, include.volume_selector, include.buckets) = (volumes, volume_selector, buckets);
    include.volume_snapshots = volume_snapshots;
    exclude.volumes = Vec::new();
    Selection { include, exclude }
}

/// The names of the claims whose files are taken. Rules that can't be read were refused before.
fn chosen_claims(spec: &BackupPolicySpec, claims: &[Claim]) -> Vec<String> {
    let Ok(rules) = ClaimRules::new(&spec.include, &spec.exclude) else { return Vec::new() };
    claims.iter().filter(|claim| rules.claim(claim).is_taken()).map(|claim| claim.name.clone()).collect()
}

/// The claims that are read from snapshots.
fn snapshots(seen: &Observed) -> Result<Vec<SnapshotOf>, String> {
    let spec = &seen.policy.spec;
    let claims = chosen_claims(spec, &seen.claims);
    volume_snapshots::choose(spec.include.volume_snapshots, &claims, &seen.storage, &seen.snapshot_classes)
}

/// How volumes are read, where some are.
fn as_read(seen: &Observed) -> String {
    let snapshots = snapshots(seen).unwrap_or_default();
    let of_snapshot = |claim: &&String| snapshots.iter().any(|of| of.claim == **claim);
    let claims = chosen_claims(&seen.policy.spec, &seen.claims);
    let (frozen, live): (Vec<&String>, Vec<&String>) = claims.iter().partition(of_snapshot);
    let said = [("from snapshots", frozen), ("while they are written to", live)];
    let said = said.iter().filter(|(_, claims)| !claims.is_empty());
    said.map(|(how, claims)| {
        let names = claims.iter().map(|claim| claim.as_str()).collect::<Vec<_>>().join(", ");
        format!("; volumes read {how}: {names}")
    })
    .collect::<Vec<_>>()
    .concat()
}

/// What came of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of its action.
    pub created: Result<(), String>,
    /// Of its restore tests.
    pub tested: Result<(), String>,
}

/// The status that follows.
#[must_use]
pub fn status(seen: &Observed, plan: &Plan, outcome: &Outcome, now: Timestamp) -> BackupPolicyStatus {
    let previous = seen.policy.status.clone().unwrap_or_default();
    let generation = seen.policy.metadata.generation;
    let mut conditions = previous.conditions.clone();
    let ready = match &outcome.created {
        Err(error) => Verdict::no("RecoveryPointNotCreated", error.clone()),
        Ok(()) => plan.ready.clone(),
    };
    conditions::set(&mut conditions, "Ready", &ready, generation, now);
    let proofs = proof::proofs(seen.tests());
    let proven = match &outcome.tested {
        Err(error) => Some(Verdict::no("RestoreTestNotStarted", error.clone())),
        Ok(()) => proof::verdict(seen.tests(), &proofs, now),
    };
    match proven {
        Some(proven) => conditions::set(&mut conditions, PROVEN, &proven, generation, now),
        None => conditions.retain(|condition| condition.type_ != PROVEN),
    }
    match unusual(&seen.points).filter(|(at, _)| now.duration_since(*at) < SHOWN) {
        Some((_, verdict)) => conditions::set(&mut conditions, UNUSUAL, &verdict, generation, now),
        None => conditions.retain(|condition| condition.type_ != UNUSUAL),
    }
    let last_run_token = match (&plan.action, &outcome.created) {
        (Action::Create { token: Some(token), .. }, Ok(())) => Some(token.clone()),
        _ => previous.last_run_token,
    };
    let complete = seen.points.iter().filter(|p| phase(p) == Some(PointPhase::Complete));
    BackupPolicyStatus {
        observed_generation: generation,
        conditions,
        last_recovery_point: complete.max_by_key(|p| p.spec.taken_at.0).and_then(|p| p.metadata.name.clone()),
        next_run: plan.next_run.map(Time),
        last_run_token,
        centres: seen.policy.spec.objectives.iter().map(|o| standing(o, &seen.points, now)).collect(),
        proofs,
    }
}

/// The newest point that brought an unusual change: when it was taken, and what to say of it.
#[must_use]
pub fn unusual(points: &[RecoveryPoint]) -> Option<(Timestamp, Verdict)> {
    let changes = |point: &RecoveryPoint| {
        point.status.as_ref().map(|status| status.unusual.clone()).unwrap_or_default()
    };
    let point = points.iter().filter(|p| !changes(p).is_empty()).max_by_key(|p| p.spec.taken_at.0)?;
    let name = point.metadata.name.as_deref().unwrap_or_default();
    let message = format!(
        "{name}: {}; if nobody meant this, restore a point from before it, which stays for {} days whatever the rules say",
        changes(point).join("; "),
        GUARD.as_hours() / 24
    );
    Some((point.spec.taken_at.0, Verdict::yes("MassChange", message)))
}

fn standing(objective: &Objective, points: &[RecoveryPoint], now: Timestamp) -> CentreStanding {
    let newest =
        points.iter().filter(|p| is_verified_at(p, &objective.centre)).max_by_key(|p| p.spec.taken_at.0);
    let state = match (newest, duration::parse(&objective.rpo)) {
        (Some(point), Ok(rpo)) if now.duration_since(point.spec.taken_at.0) <= rpo => ObjectiveState::Met,
        (Some(_), Ok(_)) => ObjectiveState::Missed,
        _ => ObjectiveState::Unknown,
    };
    CentreStanding {
        centre: objective.centre.clone(),
        newest_verified: newest.and_then(|p| p.metadata.name.clone()),
        newest_verified_at: newest.map(|p| p.spec.taken_at.clone()),
        objective: state,
    }
}

/// Whether every byte of the point was proved to be at `centre`.
#[must_use]
pub fn is_verified_at(point: &RecoveryPoint, centre: &str) -> bool {
    point.status.as_ref().is_some_and(|status| {
        status.centres.iter().any(|copy| copy.centre == centre && copy.state == CopyState::Verified)
    })
}

#[cfg(test)]
#[path = "backup_policy_tests.rs"]
mod tests;
