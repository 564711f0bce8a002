//! The status that follows from what a restore has seen, planned and done.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tripod_crds::RestoreStatus;
use tripod_crds::restore::{ObjectCounts, PartStanding, PartState, RestorePhase};

use crate::conditions::{self, Verdict};
use crate::duration;
use crate::manifest::PointManifest;
use crate::restore::{Filling, Observed, Outcome, Plan, Source, after_comparison, first_phase, phase_of};
use crate::restoring::tally::Tally;

/// The status that follows. The same again changes nothing.
#[must_use]
pub fn status(seen: &Observed, plan: &Plan, outcome: &Outcome, now: Timestamp) -> RestoreStatus {
    let mut status = seen.restore.status.clone().unwrap_or_default();
    let generation = seen.restore.metadata.generation;
    status.observed_generation = generation;
    status.centre = Some(seen.centre.clone());
    status.system = Some(seen.system.clone());
    let before = phase_of(&seen.restore);
    let (next, verdict) = match &outcome.error {
        Some(error) => (before, Verdict::no("Retrying", format!("will be tried again: {error}"))),
        None => advance(&mut status, seen, plan, outcome),
    };
    status.phase = Some(next);
    let over = matches!(next, RestorePhase::Succeeded | RestorePhase::Failed);
    if over && status.completed_at.is_none() {
        status.completed_at = Some(whole_second(now));
        status.took = status.started_at.as_ref().map(|start| duration::between(start.0, now));
    }
    if status.started_at.is_none() && next > RestorePhase::Pending && !over {
        status.started_at = Some(whole_second(now));
    }
    status.progress = Some(progress(&status));
    let mut list = std::mem::take(&mut status.conditions);
    conditions::set(&mut list, "Ready", &verdict, generation, now);
    if over {
        let succeeded = next == RestorePhase::Succeeded;
        let kinds = if succeeded { ["Succeeded", "Failed"] } else { ["Failed", "Succeeded"] };
        conditions::set(&mut list, kinds[0], &Verdict { holds: true, ..verdict.clone() }, generation, now);
        conditions::set(&mut list, kinds[1], &Verdict { holds: false, ..verdict }, generation, now);
    }
    status.conditions = list;
    status
}

/// What a pass that takes long says on the way.
#[must_use]
pub fn underway(seen: &Observed, tally: &Tally) -> RestoreStatus {
    let mut status = seen.restore.status.clone().unwrap_or_default();
    let before = Tally { counts: status.objects.unwrap_or_default(), ..Tally::default() };
    status.objects = Some(before.plus(tally.clone()).counts);
    status.progress = Some(progress(&status));
    status
}

fn advance(
    status: &mut RestoreStatus,
    seen: &Observed,
    plan: &Plan,
    outcome: &Outcome,
) -> (RestorePhase, Verdict) {
    let before = phase_of(&seen.restore);
    if let Some(tally) = &outcome.objects {
        note_objects(status, plan, tally.clone());
    }
    let compared;
    let plan = match (plan, &outcome.objects) {
        (Plan::Compare, Some(tally)) => {
            compared = after_comparison(&seen.restore, tally, outcome.conflicts);
            &compared
        }
        _ => plan,
    };
    let entered = |phase: RestorePhase| (phase, Verdict::no(format!("{phase:?}"), words_of(phase)));
    match plan {
        Plan::Ignore | Plan::Compare => (before, Verdict::no(format!("{before:?}"), words_of(before))),
        Plan::Wait { reason, message } => (before, Verdict::no(*reason, message.clone())),
        Plan::Begin { volumes, buckets } => {
            if let Source::Ready(manifest) = &seen.source {
                status.root_digest = Some(manifest.root_digest.clone());
                status.volumes = volumes.iter().map(|name| volume(manifest, name)).collect();
                status.buckets = buckets.iter().map(|name| bucket(manifest, name)).collect();
            }
            entered(first_phase(&seen.restore))
        }
        Plan::Configure => entered(RestorePhase::Filling),
        Plan::Fill(filling) => {
            note_parts(status, filling, outcome);
            let message = filling.waiting.join("; ");
            let message =
                if message.is_empty() { words_of(before) } else { format!("waiting for {message}") };
            (before, Verdict::no("Filling", message))
        }
        Plan::Start => entered(RestorePhase::Waiting),
        Plan::Enter(phase) => {
            if before == RestorePhase::Planning {
                status.objects = None;
            }
            entered(*phase)
        }
        Plan::Conclude { succeeded: true, reason, message } => {
            (RestorePhase::Succeeded, Verdict::yes(*reason, message.clone()))
        }
        Plan::Conclude { succeeded: false, reason, message } => {
            (RestorePhase::Failed, Verdict::no(*reason, message.clone()))
        }
    }
}

fn words_of(phase: RestorePhase) -> String {
    match phase {
        RestorePhase::Pending => "looking for the point",
        RestorePhase::Planning => "comparing the point with what is there",
        RestorePhase::Configuring => "creating configuration and claims",
        RestorePhase::Filling => "filling volumes and buckets",
        RestorePhase::Starting => "creating workloads",
        RestorePhase::Waiting => "waiting for workloads",
        RestorePhase::Succeeded | RestorePhase::Failed => "over",
    }
    .to_owned()
}

/// Counts of the stages before are in the status already; each stage is over other objects.
fn note_objects(status: &mut RestoreStatus, plan: &Plan, tally: Tally) {
    let before = match plan {
        Plan::Start => Tally {
            counts: status.objects.unwrap_or_default(),
            problems: std::mem::take(&mut status.problems),
            changes: Vec::new(),
        },
        _ => Tally::default(),
    };
    let all = before.plus(tally);
    status.objects = Some(all.counts);
    status.problems = all.problems;
    if *plan == Plan::Compare {
        status.changes = all.changes;
    }
}

fn note_parts(status: &mut RestoreStatus, filling: &Filling, outcome: &Outcome) {
    for (name, (state, message)) in &filling.settled {
        if let Some(part) = status.volumes.iter_mut().find(|v| v.name == *name) {
            (part.state, part.message) = (*state, message.clone());
        }
    }
    if let Some((name, state, message)) = &outcome.bucket
        && let Some(part) = status.buckets.iter_mut().find(|b| b.name == *name)
    {
        (part.state, part.message) = (*state, message.clone());
    }
}

fn volume(manifest: &PointManifest, name: &str) -> PartStanding {
    let part = manifest.volumes.get(name);
    let (files, bytes) = part.map_or((0, 0), |p| (p.files, p.bytes));
    PartStanding { name: name.to_owned(), state: PartState::Pending, files, bytes, message: None }
}

fn bucket(manifest: &PointManifest, name: &str) -> PartStanding {
    let part = manifest.buckets.get(name);
    let (files, bytes) = part.map_or((0, 0), |p| (p.objects, p.bytes));
    PartStanding { name: name.to_owned(), state: PartState::Pending, files, bytes, message: None }
}

fn progress(status: &RestoreStatus) -> String {
    let mut parts = Vec::new();
    if let Some(counts) = status.objects {
        let ObjectCounts { total, created, updated, unchanged, skipped, failed, .. } = counts;
        parts.push(format!("{} of {total} objects", created + updated + unchanged + skipped + failed));
    }
    for (list, what) in [(&status.volumes, "volumes"), (&status.buckets, "buckets")] {
        if !list.is_empty() {
            let open =
                list.iter().filter(|p| matches!(p.state, PartState::Pending | PartState::Filling)).count();
            parts.push(format!("{} of {} {what}", list.len() - open, list.len()));
        }
    }
    parts.join(", ")
}

fn whole_second(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
