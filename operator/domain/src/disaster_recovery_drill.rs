//! The course of a simulated drill: persisted phase plus observation gives the next step, one a pass. Killed
//! anywhere, the next pass goes on from what it finds; deleted anywhere, it cleans up and lets go.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tripod_crds::disaster_recovery_drill::{
    CheckResult, DrillPhase, ReportRef, Rto, TimelineEntry, Verdict as DrillVerdict,
};
use tripod_crds::{DisasterRecoveryDrill, DisasterRecoveryDrillStatus, RecoveryPoint};

use crate::backup_policy::is_verified_at;
use crate::conditions::{self, Verdict};
use crate::duration;

/// Held while anything of the drill may exist outside its own object.
pub const FINALIZER: &str = "tripod.cloud/drill";

/// How something that was started stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Absent,
    Running(String),
    Failed(String),
    Done(String),
}

/// Whose task a drill is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// This operator's: it serves the centre that the drill names.
    Here,
    /// That of another centre's operator, in its own cluster.
    Elsewhere(String),
    /// No Centre has that name; these exist.
    Nobody(Vec<String>),
}

/// What was read before deciding. Fields that the phase does not need are left at their default.
#[derive(Clone, Debug)]
pub struct Observed {
    pub drill: DisasterRecoveryDrill,
    pub server: Server,
    /// Recovery points of the policy in the drill's namespace of this cluster.
    pub points: Vec<RecoveryPoint>,
    pub namespace_exists: bool,
    pub scratch_bucket_exists: bool,
    /// Restored objects that configure (true once applied).
    pub configuration_applied: bool,
    /// Volumes by claim, from the movers that fill them; `Done` carries the proven digest.
    pub volumes: BTreeMap<String, Progress>,
    /// Buckets by name, from comparing the scratch bucket with the point; `Done` carries the proven digest.
    pub buckets: BTreeMap<String, Progress>,
    /// Workloads as `Kind/name`; `None` while they have not been applied.
    pub workloads: Option<BTreeMap<String, Progress>>,
    /// The department's checks by name.
    pub checks: BTreeMap<String, Progress>,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing is to be done, now or later.
    Ignore,
    /// Not a task of this operator; the text says whose it is.
    Leave(Verdict),
    /// Note the finalizer before anything else exists.
    Hold,
    /// Nothing to do yet; the text says what is awaited.
    Wait(String),
    /// The point is chosen: enter Preparing.
    Choose { point: String },
    /// Create the isolated namespace with its walls.
    Prepare,
    /// Apply configuration, start movers, fill scratch buckets; done side by side, idempotent.
    Restore { configuration: bool, volumes: Vec<String>, buckets: Vec<String> },
    /// Apply the workloads.
    Start,
    /// Start these checks.
    Check(Vec<String>),
    /// Enter the next phase; nothing to write but status.
    Enter(DrillPhase),
    /// The verdict stands: enter `CleaningUp` with it.
    Conclude { verdict: DrillVerdict, message: String },
    /// Remove the namespace and the scratch buckets.
    CleanUp,
    /// All is gone: write the report and finish.
    Report,
    /// All is gone and the drill is being deleted: let go.
    Release,
}

/// Pure, total.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Plan {
    let drill = &seen.drill;
    let held = drill.metadata.finalizers.as_ref().is_some_and(|f| f.iter().any(|f| f == FINALIZER));
    let nothing_left = !seen.namespace_exists && !seen.scratch_bucket_exists;
    if drill.metadata.deletion_timestamp.is_some() {
        return match (held, nothing_left) {
            (false, _) => Plan::Ignore,
            (true, true) => Plan::Release,
            (true, false) => Plan::CleanUp,
        };
    }
    if let Some(verdict) = leave(seen) {
        return Plan::Leave(verdict);
    }
    let phase = phase_of(drill);
    if matches!(phase, DrillPhase::Succeeded | DrillPhase::Failed) {
        return if held && nothing_left { Plan::Release } else { Plan::Ignore };
    }
    if !held {
        return Plan::Hold;
    }
    if phase < DrillPhase::CleaningUp && overdue(drill, now) {
        let message = format!(
            "spec.deadlineSeconds: not through after {} s; it was {phase:?}",
            drill.spec.deadline_seconds
        );
        return Plan::Conclude { verdict: DrillVerdict::Failed, message };
    }
    match phase {
        DrillPhase::Pending => choose(seen),
        DrillPhase::Preparing if seen.namespace_exists => Plan::Enter(DrillPhase::Restoring),
        DrillPhase::Preparing => Plan::Prepare,
        DrillPhase::Restoring => restore(seen),
        DrillPhase::Starting => start(seen),
        DrillPhase::Checking => check(seen),
        DrillPhase::CleaningUp if nothing_left => Plan::Report,
        DrillPhase::CleaningUp => Plan::CleanUp,
        DrillPhase::Succeeded | DrillPhase::Failed => Plan::Ignore,
    }
}

/// When a drill ended, and whether it passed.
#[must_use]
pub fn concluded(drill: &DisasterRecoveryDrill) -> Option<(Timestamp, bool)> {
    let phase = phase_of(drill);
    let timeline = &drill.status.as_ref()?.timeline;
    let ended = timeline.iter().find(|entry| entry.phase == phase)?.at.0;
    matches!(phase, DrillPhase::Succeeded | DrillPhase::Failed)
        .then_some((ended, phase == DrillPhase::Succeeded))
}

fn leave(seen: &Observed) -> Option<Verdict> {
    let centre = &seen.drill.spec.centre;
    match &seen.server {
        Server::Here => None,
        Server::Elsewhere(server) => Some(Verdict::no(
            "ServedElsewhere",
            format!(
                "centre {centre} is served by the operator of {server}: apply the drill in the cluster of {server}"
            ),
        )),
        Server::Nobody(known) => Some(Verdict::no(
            "UnknownCentre",
            format!("spec.centre: no Centre is named {centre:?}; there are: {}", known.join(", ")),
        )),
    }
}

/// The persisted phase; a new drill is Pending.
#[must_use]
pub fn phase_of(drill: &DisasterRecoveryDrill) -> DrillPhase {
    drill.status.as_ref().and_then(|s| s.phase).unwrap_or(DrillPhase::Pending)
}

fn overdue(drill: &DisasterRecoveryDrill, now: Timestamp) -> bool {
    let deadline = SignedDuration::from_secs(i64::from(drill.spec.deadline_seconds));
    drill.metadata.creation_timestamp.as_ref().is_some_and(|t| now.duration_since(t.0) > deadline)
}

fn choose(seen: &Observed) -> Plan {
    let (wanted, centre) = (seen.drill.spec.recovery_point.as_ref(), &seen.drill.spec.centre);
    let verified = |p: &&RecoveryPoint| {
        is_verified_at(p, centre) && wanted.is_none_or(|name| p.metadata.name.as_ref() == Some(name))
    };
    let newest = seen.points.iter().filter(verified).max_by_key(|p| p.spec.taken_at.0);
    match newest.and_then(|p| p.metadata.name.clone()) {
        Some(point) => Plan::Choose { point },
        None => Plan::Wait(match wanted {
            Some(name) => format!("spec.recoveryPoint: {name} is not Verified at {centre}"),
            None => {
                format!(
                    "spec.policy: no recovery point of {} is Verified at {centre}",
                    seen.drill.spec.policy
                )
            }
        }),
    }
}

fn restore(seen: &Observed) -> Plan {
    let failed = seen.volumes.iter().chain(&seen.buckets).find_map(|(name, p)| match p {
        Progress::Failed(words) => Some(format!("restore of {name}: {words}")),
        _ => None,
    });
    if let Some(message) = failed {
        return Plan::Conclude { verdict: DrillVerdict::Failed, message };
    }
    let absent = |map: &BTreeMap<String, Progress>| -> Vec<String> {
        map.iter().filter(|(_, p)| **p == Progress::Absent).map(|(name, _)| name.clone()).collect()
    };
    let (volumes, buckets) = (absent(&seen.volumes), absent(&seen.buckets));
    if !seen.configuration_applied || !volumes.is_empty() || !buckets.is_empty() {
        return Plan::Restore { configuration: !seen.configuration_applied, volumes, buckets };
    }
    wait_for(seen.volumes.iter().chain(&seen.buckets)).unwrap_or(Plan::Enter(DrillPhase::Starting))
}

fn start(seen: &Observed) -> Plan {
    let Some(workloads) = &seen.workloads else { return Plan::Start };
    wait_for(workloads.iter()).unwrap_or(Plan::Enter(DrillPhase::Checking))
}

fn check(seen: &Observed) -> Plan {
    let absent: Vec<String> =
        seen.checks.iter().filter(|(_, p)| **p == Progress::Absent).map(|(name, _)| name.clone()).collect();
    if !absent.is_empty() {
        return Plan::Check(absent);
    }
    let running = seen.checks.iter().filter(|(_, p)| matches!(p, Progress::Running(_)));
    if let Some(wait) = wait_for(running) {
        return wait;
    }
    let failed: Vec<&String> =
        seen.checks.iter().filter(|(_, p)| matches!(p, Progress::Failed(_))).map(|(name, _)| name).collect();
    if failed.is_empty() {
        Plan::Conclude { verdict: DrillVerdict::Passed, message: "every check passed".into() }
    } else {
        Plan::Conclude { verdict: DrillVerdict::Failed, message: format!("checks failed: {failed:?}") }
    }
}

fn wait_for<'a>(of: impl Iterator<Item = (&'a String, &'a Progress)>) -> Option<Plan> {
    let open: Vec<String> = of
        .filter_map(|(name, progress)| match progress {
            Progress::Done(_) => None,
            Progress::Absent => Some(format!("{name} (not there yet)")),
            Progress::Running(words) | Progress::Failed(words) => Some(format!("{name} ({words})")),
        })
        .collect();
    (!open.is_empty()).then(|| Plan::Wait(format!("waiting for {}", open.join(", "))))
}

/// What came of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What went wrong; it will be tried again until the deadline.
    pub error: Option<String>,
    /// The name of the isolated namespace, where the plan was to prepare it.
    pub namespace: Option<String>,
    /// Where the report went, where the plan was to write it.
    pub report: Option<ReportRef>,
}

/// The status that follows.
#[must_use]
pub fn status(
    seen: &Observed,
    plan: &Plan,
    outcome: &Outcome,
    now: Timestamp,
) -> DisasterRecoveryDrillStatus {
    let mut status = seen.drill.status.clone().unwrap_or_default();
    if let Plan::Leave(verdict) = plan {
        status.observed_generation = seen.drill.metadata.generation;
        conditions::set(&mut status.conditions, "Ready", verdict, seen.drill.metadata.generation, now);
        return status;
    }
    let before = phase_of(&seen.drill);
    let next = if outcome.error.is_some() { before } else { next_phase(seen, plan, before) };
    status.observed_generation = seen.drill.metadata.generation;
    status.phase = Some(next);
    if let Some(namespace) = &outcome.namespace {
        status.namespace = Some(namespace.clone());
    }
    if outcome.error.is_none() {
        note(&mut status, seen, plan, outcome, now);
    }
    if status.timeline.last().is_none_or(|entry| entry.phase != next) {
        status.timeline.push(TimelineEntry { phase: next, at: whole_second(now) });
    }
    let generation = seen.drill.metadata.generation;
    let mut conditions = std::mem::take(&mut status.conditions);
    for (kind, verdict) in conditions_of(next, plan, outcome, &conditions) {
        conditions::set(&mut conditions, kind, &verdict, generation, now);
    }
    status.conditions = conditions;
    status
}

fn next_phase(seen: &Observed, plan: &Plan, before: DrillPhase) -> DrillPhase {
    match plan {
        Plan::Choose { .. } => DrillPhase::Preparing,
        Plan::Enter(phase) => *phase,
        Plan::Conclude { .. } => DrillPhase::CleaningUp,
        Plan::Report => match seen.drill.status.as_ref().and_then(|s| s.verdict) {
            Some(DrillVerdict::Passed) => DrillPhase::Succeeded,
            _ => DrillPhase::Failed,
        },
        _ => before,
    }
}

/// Writes down what this pass measured.
fn note(
    status: &mut DisasterRecoveryDrillStatus,
    seen: &Observed,
    plan: &Plan,
    outcome: &Outcome,
    now: Timestamp,
) {
    match plan {
        Plan::Choose { point } => {
            status.recovery_point = Some(point.clone());
            let taken = seen
                .points
                .iter()
                .find(|p| p.metadata.name.as_ref() == Some(point))
                .map(|p| p.spec.taken_at.0);
            // The decision is the moment the drill was asked for: data newer than the point would be lost.
            status.rpo = taken.map(|taken| duration::between(taken, decision(seen, now)));
        }
        Plan::Enter(DrillPhase::Starting) => {
            let restored = seen.volumes.iter().map(|(n, p)| ("volume", n, p));
            let copied = seen.buckets.iter().map(|(n, p)| ("bucket", n, p));
            status.checks = restored
                .chain(copied)
                .map(|(kind, name, progress)| CheckResult {
                    name: format!("digest of {kind} {name}"),
                    passed: matches!(progress, Progress::Done(_)),
                    message: words(progress),
                })
                .collect();
        }
        Plan::Conclude { verdict, .. } => {
            status.verdict = Some(*verdict);
            status.checks.extend(seen.checks.iter().map(|(name, progress)| CheckResult {
                name: name.clone(),
                passed: matches!(progress, Progress::Done(_)),
                message: words(progress),
            }));
            status.rto = Some(rto(status, seen, now));
        }
        Plan::Report => {
            status.report.clone_from(&outcome.report);
            status.namespace = None;
        }
        _ => {}
    }
}

fn words(progress: &Progress) -> String {
    match progress {
        Progress::Absent => "not run".into(),
        Progress::Running(words) | Progress::Failed(words) | Progress::Done(words) => words.clone(),
    }
}

fn decision(seen: &Observed, now: Timestamp) -> Timestamp {
    seen.drill.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0)
}

/// From the decision to now, split where the phases changed.
fn rto(status: &DisasterRecoveryDrillStatus, seen: &Observed, now: Timestamp) -> Rto {
    let entered = |phase| status.timeline.iter().find(|e| e.phase == phase).map_or(now, |e| e.at.0);
    let (decided, started) = (entered(DrillPhase::Preparing), entered(DrillPhase::Checking));
    Rto {
        total: duration::between(decision(seen, now), now),
        decide: duration::between(decision(seen, now), decided),
        execute: duration::between(decided, started),
        verify: duration::between(started, now),
    }
}

fn whole_second(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// `Ready` tells of the run; `Succeeded` and `Failed` can be waited for; `Concluded` keeps the verdict's words.
fn conditions_of(
    phase: DrillPhase,
    plan: &Plan,
    outcome: &Outcome,
    before: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
) -> Vec<(&'static str, Verdict)> {
    let mut list = Vec::new();
    if let (Plan::Conclude { verdict, message }, None) = (plan, &outcome.error) {
        let reason = format!("{verdict:?}");
        list.push(("Concluded", Verdict::yes(reason, message.clone())));
    }
    let concluded = || conditions::find(before, "Concluded").map_or_else(String::new, |c| c.message.clone());
    match phase {
        DrillPhase::Succeeded => {
            list.push(("Succeeded", Verdict::yes("EveryCheckPassed", concluded())));
            list.push(("Ready", Verdict::yes("Succeeded", "restored, checked and cleaned up")));
        }
        DrillPhase::Failed => {
            list.push(("Failed", Verdict::yes("DrillFailed", concluded())));
            list.push(("Succeeded", Verdict::no("DrillFailed", concluded())));
            list.push(("Ready", Verdict::no("Failed", concluded())));
        }
        _ => {
            let message = match (&outcome.error, plan) {
                (Some(error), _) => format!("will be tried again: {error}"),
                (None, Plan::Wait(what)) => what.clone(),
                _ => format!("in phase {phase:?}"),
            };
            list.push(("Ready", Verdict::no(format!("{phase:?}"), message)));
        }
    }
    list
}

#[cfg(test)]
#[path = "disaster_recovery_drill_tests.rs"]
mod tests;
