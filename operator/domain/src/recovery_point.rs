//! How a recovery point comes to be at its origin, and how what all centres have proved of it becomes one
//! status. The order is: hooks, then objects, volumes and buckets side by side, then hooks again, and last the manifest,
//! which makes it whole. Of a volume that is read from a snapshot, only the snapshot is taken between the hooks; its files are
//! read after them.

mod taking;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tripod_crds::hook::{HookPhase, HookProgress};
use tripod_crds::recovery_point::{CentreCopy, CopyState, Failing, PointPhase};
use tripod_crds::{RecoveryPoint, RecoveryPointStatus};

use crate::change;
use crate::conditions::{self, Verdict};
use crate::hooks::{self, At, Next, Stage};
use crate::manifest::{BucketPart, CopyRecord, Part, PointManifest};
use crate::volume_snapshots;

pub use taking::Missing;
use taking::{Taking, copy_out, take};

/// A run that is not complete after this long has failed: something it needs will not come by itself.
pub const RUN_DEADLINE: SignedDuration = SignedDuration::from_hours(6);

/// How the mover of one volume stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoverState {
    Absent,
    Running,
    /// With the last words of its pod, if there were any.
    Failed(String),
    Succeeded,
}

/// What another centre's vault says of the point.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there is one for each centre")]
pub enum Reading {
    Record(CopyRecord),
    /// Readable, and nothing about this point in it.
    NoRecord,
    /// That centre had it, and let it go.
    Removed,
    Unreadable(String),
}

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    pub point: RecoveryPoint,
    pub centre: String,
    /// Present once everything is written.
    pub manifest: Option<PointManifest>,
    pub objects: Option<Part>,
    pub volumes: BTreeMap<String, Part>,
    pub buckets: BTreeMap<String, BucketPart>,
    pub movers: BTreeMap<String, MoverState>,
    /// Of the claims that are read from snapshots: how far each snapshot is.
    pub snapshots: BTreeMap<String, volume_snapshots::Seen>,
    /// The complete points of the policy before this one, the newest first; read once all parts are there.
    pub before: Vec<PointManifest>,
    /// Steps of hooks that were begun and have no end yet.
    pub hooks: hooks::Seen,
    /// By centre, every Centre that keeps copies.
    pub readings: BTreeMap<String, Reading>,
    /// How often other centres' vaults are looked at, in seconds.
    pub interval: u32,
}

/// What to do in one pass. Everything in it may be done side by side.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Write down that this step of a hook is begun, then run it.
    Begin(At),
    /// A step of a hook runs.
    Await(At),
    /// Gather what is missing; movers that run are left alone.
    Gather(Missing),
    /// All parts are there, or none will be: remove what was made for these claims. Pods of movers would keep the claims from
    /// being deleted.
    Clear(Vec<String>),
    /// All parts are there, and nothing else is: write the manifest.
    Seal(Box<PointManifest>),
    /// The run can't succeed.
    Fail { reason: String, message: String },
    /// Nothing to write: show what the centres have proved.
    Watch,
}

/// Pure, total.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Plan {
    course(seen, now).plan
}

/// What is done, how the hooks stand, and why the run can't succeed, once that is known.
struct Course {
    plan: Plan,
    hooks: Vec<HookProgress>,
    failing: Option<Failing>,
}

fn course(seen: &Observed, now: Timestamp) -> Course {
    let status = seen.point.status.clone().unwrap_or_default();
    let (hooks, spec) = (status.hooks, &seen.point.spec);
    // What was complete is never gathered again: its moment is over, and it may have been removed.
    let over = matches!(status.phase, Some(PointPhase::Failed | PointPhase::Complete));
    if spec.origin != seen.centre || seen.manifest.is_some() || over {
        return Course { plan: Plan::Watch, hooks, failing: status.failing };
    }
    // What failed once stays failed, while hooks undo what they did.
    let mut failing = status.failing;
    let before = hooks::walk(&spec.hooks, &hooks, &seen.hooks, Stage::Taking, now);
    let walk = match before.next {
        Next::Take if failing.is_none() => match take(seen, now) {
            Taking::More(plan) if !before.steps.iter().any(|step| step.phase == HookPhase::After) => {
                return Course { plan, hooks: before.steps, failing };
            }
            // Something that was there is gone, and hooks have woken the system already: it can't be taken any more.
            Taking::More(_) => {
                let message =
                    "a part is gone from the vault, and hooks have run after it was taken".to_owned();
                failing = Some(Failing { reason: "PartLost".into(), message });
                hooks::walk(&spec.hooks, &hooks, &seen.hooks, Stage::Over, now)
            }
            Taking::Failed(why) => {
                failing = Some(why);
                hooks::walk(&spec.hooks, &hooks, &seen.hooks, Stage::Over, now)
            }
            Taking::All => hooks::walk(&spec.hooks, &hooks, &seen.hooks, Stage::Over, now),
        },
        Next::Take => hooks::walk(&spec.hooks, &hooks, &seen.hooks, Stage::Over, now),
        _ => before,
    };
    let plan = match walk.next {
        Next::Begin(at) => Plan::Begin(at),
        Next::Wait(at) => Plan::Await(at),
        Next::Take => Plan::Watch,
        Next::Done(words) => {
            let of_hook = words.map(|message| Failing { reason: "HookFailed".into(), message });
            failing = failing.or(of_hook);
            let taking = if failing.is_none() { copy_out(seen, now) } else { Taking::All };
            match taking {
                Taking::More(plan) => plan,
                Taking::Failed(why) => {
                    failing = Some(why.clone());
                    fail(seen, why)
                }
                Taking::All => match failing.clone() {
                    Some(why) => fail(seen, why),
                    None => clear_or_seal(seen, now),
                },
            }
        }
    };
    Course { plan, hooks: walk.steps, failing }
}

/// Claims of which a snapshot, or what was made from it, is there.
fn frozen(seen: &Observed) -> impl Iterator<Item = String> {
    seen.snapshots.iter().filter(|(_, of)| !of.is_gone()).map(|(claim, _)| claim.clone())
}

/// Snapshots go before a point has failed: afterwards nobody looks for them any more. Movers that read the volumes
/// themselves stay for their logs.
fn fail(seen: &Observed, Failing { reason, message }: Failing) -> Plan {
    let left: Vec<String> = frozen(seen).collect();
    if left.is_empty() { Plan::Fail { reason, message } } else { Plan::Clear(left) }
}

/// Removed before the manifest makes the point whole: afterwards nobody looks for them any more.
fn clear_or_seal(seen: &Observed, now: Timestamp) -> Plan {
    let in_state = |wanted: fn(&MoverState) -> bool| -> Vec<String> {
        seen.movers.iter().filter(|(_, state)| wanted(state)).map(|(claim, _)| claim.clone()).collect()
    };
    let waiting = in_state(|state| *state == MoverState::Running);
    if !waiting.is_empty() {
        return Plan::Gather(Missing { waiting, ..Missing::default() });
    }
    let mut through = in_state(|state| *state != MoverState::Absent);
    through.extend(frozen(seen));
    through.sort();
    through.dedup();
    if through.is_empty() { Plan::Seal(Box::new(seal(seen, now))) } else { Plan::Clear(through) }
}

fn seal(seen: &Observed, now: Timestamp) -> PointManifest {
    let spec = &seen.point.spec;
    let root_digest = PointManifest::compute_root(seen.objects.as_ref(), &seen.volumes, &seen.buckets);
    let mut manifest = PointManifest {
        version: crate::manifest::MANIFEST_VERSION,
        system: seen.point.metadata.namespace.clone().unwrap_or_default(),
        policy: spec.policy.clone(),
        point: seen.point.metadata.name.clone().unwrap_or_default(),
        origin: spec.origin.clone(),
        taken_at: spec.taken_at.0,
        completed_at: now,
        objects: seen.objects.clone(),
        volumes: seen.volumes.clone(),
        buckets: seen.buckets.clone(),
        root_digest,
        unusual: Vec::new(),
    };
    change::forget_first(&mut manifest, &seen.before);
    manifest.unusual = change::judge(&manifest, &seen.before);
    manifest
}

/// What came of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The first thing that went wrong; it will be tried again.
    pub error: Option<String>,
    /// What went wrong and will not go away by itself.
    pub failing: Option<Failing>,
    /// The manifest is in the vault.
    pub sealed: bool,
    /// Kinds that may not be listed, once the objects were gathered.
    pub not_listed: Option<Vec<String>>,
}

/// How long until it is worth looking again when nothing changes here.
#[must_use]
pub fn recheck(seen: &Observed, plan: &Plan) -> SignedDuration {
    match plan {
        // A snapshot is there in a moment, and hooks keep the system quiet until it is.
        Plan::Gather(_) if seen.snapshots.values().any(|of| of.state == volume_snapshots::State::Pending) => {
            SignedDuration::from_secs(1)
        }
        Plan::Gather(_) => SignedDuration::from_secs(5),
        Plan::Clear(_) | Plan::Seal(_) | Plan::Fail { .. } | Plan::Begin(_) | Plan::Await(_) => {
            SignedDuration::from_secs(1)
        }
        Plan::Watch => {
            SignedDuration::from_secs(i64::from(seen.interval) * if is_settled(seen) { 5 } else { 1 })
        }
    }
}

/// Proved everywhere: only damage can change it now.
fn is_settled(seen: &Observed) -> bool {
    let proved = |reading: &Reading| match reading {
        Reading::Record(record) => record.state == CopyState::Verified,
        Reading::Removed => true,
        _ => false,
    };
    !seen.readings.is_empty() && seen.readings.values().all(proved)
}

/// The status that follows.
#[must_use]
pub fn status(seen: &Observed, plan: &Plan, outcome: &Outcome, now: Timestamp) -> RecoveryPointStatus {
    let previous = seen.point.status.clone().unwrap_or_default();
    let course = course(seen, now);
    let manifest = match plan {
        Plan::Seal(manifest) if outcome.sealed => Some(manifest.as_ref()),
        _ => seen.manifest.as_ref(),
    };
    let phase = match plan {
        Plan::Fail { .. } => PointPhase::Failed,
        _ if manifest.is_some() => PointPhase::Complete,
        Plan::Watch => previous.phase.unwrap_or(PointPhase::Running),
        Plan::Begin(_) | Plan::Await(_) | Plan::Gather(_) | Plan::Clear(_) | Plan::Seal(_) => {
            PointPhase::Running
        }
    };
    let centres: Vec<CentreCopy> =
        seen.readings.iter().map(|(centre, reading)| copy_at(centre, reading, &previous.centres)).collect();
    let generation = seen.point.metadata.generation;
    let mut conditions = previous.conditions.clone();
    if phase != PointPhase::Failed || matches!(plan, Plan::Fail { .. }) {
        conditions::set(&mut conditions, "Ready", &ready(seen, phase, plan, outcome), generation, now);
    }
    let here = centres.iter().find(|copy| copy.centre == seen.centre).map(|copy| copy.state);
    conditions::set(&mut conditions, "Verified", &verified(&seen.centre, here), generation, now);
    let summary =
        centres.iter().map(|c| format!("{} {:?}", c.centre, c.state)).collect::<Vec<_>>().join(", ");
    RecoveryPointStatus {
        observed_generation: generation,
        conditions,
        phase: Some(phase),
        here,
        summary: Some(summary),
        root_digest: manifest.map(|m| m.root_digest.clone()).or(previous.root_digest),
        contents: manifest.map(PointManifest::contents).or(previous.contents),
        centres,
        not_listed: outcome.not_listed.clone().unwrap_or(previous.not_listed),
        hooks: course.hooks,
        failing: course.failing.or_else(|| outcome.failing.clone()),
        unusual: manifest.map(|m| m.unusual.clone()).or_else(|| noted(seen)).unwrap_or(previous.unusual),
    }
}

/// What the record of this centre says of unusual changes: elsewhere than at the origin, that is all that is known.
fn noted(seen: &Observed) -> Option<Vec<String>> {
    match seen.readings.get(&seen.centre)? {
        Reading::Record(record) => Some(record.unusual.clone()),
        _ => None,
    }
}

fn ready(seen: &Observed, phase: PointPhase, plan: &Plan, outcome: &Outcome) -> Verdict {
    match (phase, plan, &outcome.error) {
        (PointPhase::Complete, ..) => {
            Verdict::yes("Complete", "everything was written to the vault of its origin")
        }
        (_, Plan::Fail { reason, message }, _) => Verdict::no(reason, message.clone()),
        (_, _, Some(error)) => Verdict::no("Retrying", error.clone()),
        (_, Plan::Begin(at) | Plan::Await(at), _) => {
            let name = seen.point.spec.hooks.get(at.0).map_or("", |hook| hook.name.as_str());
            Verdict::no("RunningHooks", format!("{:?}: hook {name} runs", at.1))
        }
        (_, Plan::Gather(missing), _) => {
            let (volumes, buckets) = (missing.volumes(), &missing.buckets);
            Verdict::no("Gathering", format!("waiting for volumes {volumes:?} and buckets {buckets:?}"))
        }
        _ => Verdict::no("Gathering", "waiting for the vault"),
    }
}

fn verified(centre: &str, here: Option<CopyState>) -> Verdict {
    match here {
        Some(CopyState::Verified) => {
            Verdict::yes("EveryByteProved", format!("every byte it needs was proved to be at {centre}"))
        }
        Some(CopyState::Damaged) => Verdict::no("Damaged", format!("verification at {centre} found damage")),
        _ => Verdict::no("NotYet", format!("not yet proved at {centre}")),
    }
}

/// A vault that can't be read keeps what was last known of it, and says so: a cut link is not a lost copy.
fn copy_at(centre: &str, reading: &Reading, previous: &[CentreCopy]) -> CentreCopy {
    let copy = |state, message: Option<String>| CentreCopy {
        centre: centre.to_owned(),
        state,
        copied_at: None,
        verified_at: None,
        message,
        kept_by: None,
        mended: None,
        locked_until: None,
    };
    let known = previous.iter().find(|c| c.centre == centre);
    match reading {
        Reading::Record(record) => CentreCopy {
            copied_at: record.copied_at.map(Time),
            verified_at: record.verified_at.map(Time),
            kept_by: record.kept_by.clone(),
            mended: record.mended.clone(),
            locked_until: record.locked_until.map(Time),
            ..copy(record.state, record.message.clone())
        },
        Reading::Removed => copy(CopyState::Removed, None),
        // A centre forgets in the end what it has removed.
        Reading::NoRecord if known.is_some_and(|c| c.state == CopyState::Removed) => {
            copy(CopyState::Removed, None)
        }
        Reading::NoRecord => copy(CopyState::Pending, None),
        Reading::Unreadable(error) => {
            let message = Some(format!("last known; the vault can't be read now: {error}"));
            CentreCopy { message, ..known.cloned().unwrap_or_else(|| copy(CopyState::Unknown, None)) }
        }
    }
}

#[cfg(test)]
#[path = "recovery_point_tests.rs"]
mod tests;
