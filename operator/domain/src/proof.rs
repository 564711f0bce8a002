//! Restore tests: when one is due, which recovery point it takes, and what drills have proved of the copies at a centre.
//!
//! A point is chosen at random, by a digest of policy, centre and time: two passes that decide the same test choose the same
//! point, and nobody can arrange for a certain one to be tried.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest, Sha256};
use tripod_crds::disaster_recovery_drill::DrillMode;
use tripod_crds::restore_tests::{CentreProof, RESTORE_TEST, RestoreTests};
use tripod_crds::{BackupPolicy, DisasterRecoveryDrill, DisasterRecoveryDrillSpec, RecoveryPoint};

use crate::backup_policy::is_verified_at;
use crate::conditions::{self, Verdict};
use crate::disaster_recovery_drill::concluded;
use crate::duration;
use crate::schedule::Schedule;

/// What was read before deciding.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub policy: &'a BackupPolicy,
    /// Recovery points of this policy.
    pub points: &'a [RecoveryPoint],
    /// Drills of this policy.
    pub drills: &'a [DisasterRecoveryDrill],
    /// The centres with copies that this operator serves.
    pub serves: &'a BTreeSet<String>,
}

/// What to do about tests.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Start a test of this name, unless there is one.
    Start { name: String, spec: Box<DisasterRecoveryDrillSpec> },
    /// Remove a test that has ended, as it was seen.
    Remove { name: String, uid: String, version: String },
}

/// Refuses tests that can't be done.
///
/// # Errors
/// A reason, and a message that names the field.
pub fn validate(tests: &RestoreTests, centres: &BTreeSet<String>) -> Result<(), Verdict> {
    if let Err(error) = Schedule::parse(&tests.schedule) {
        return Err(Verdict::no("InvalidSchedule", format!("spec.restoreTests.schedule: {error}")));
    }
    if let Some(Err(error)) = tests.max_age.as_deref().map(duration::parse) {
        return Err(Verdict::no("InvalidObjective", format!("spec.restoreTests.maxAge: {error}")));
    }
    let unknown = tests.centres.iter().enumerate().find(|(_, name)| !centres.contains(*name));
    match unknown {
        None => Ok(()),
        Some((at, name)) => {
            let known = centres.iter().cloned().collect::<Vec<_>>().join(", ");
            let message =
                format!("spec.restoreTests.centres[{at}]: no Centre is named {name:?}; there are: {known}");
            Err(Verdict::no("UnknownCentre", message))
        }
    }
}

/// Pure, total. One test of a centre at a time.
#[must_use]
pub fn decide(seen: Seen, now: Timestamp) -> Vec<Step> {
    let Some(tests) = &seen.policy.spec.restore_tests else { return Vec::new() };
    let Ok(schedule) = Schedule::parse(&tests.schedule) else { return Vec::new() };
    let mut steps = Vec::new();
    for centre in tested(tests, seen.serves) {
        let mut own: Vec<&DisasterRecoveryDrill> =
            seen.drills.iter().filter(|d| d.spec.centre == *centre && is_test(d, seen.policy)).collect();
        own.sort_by_key(|drill| std::cmp::Reverse(begun(drill)));
        let since = own.first().and_then(|newest| begun(newest)).max(created(seen.policy)).unwrap_or(now);
        let runs = own.iter().any(|drill| concluded(drill).is_none());
        if let Some(slot) = schedule.due(since, now).filter(|_| !runs)
            && let Some(step) = start(seen, tests, centre, slot)
        {
            steps.push(step);
        }
        let ended = own.iter().skip(tests.keep.into()).filter(|drill| concluded(drill).is_some());
        steps.extend(ended.filter_map(|drill| removal(drill)));
    }
    steps
}

/// The next time that the schedule says, where this operator tests any centre.
#[must_use]
pub fn next(seen: Seen, now: Timestamp) -> Option<Timestamp> {
    let tests = seen.policy.spec.restore_tests.as_ref()?;
    tested(tests, seen.serves).next()?;
    Schedule::parse(&tests.schedule).ok()?.next(now)
}

/// Which centres this operator tests.
fn tested<'a>(tests: &'a RestoreTests, serves: &'a BTreeSet<String>) -> impl Iterator<Item = &'a String> {
    serves.iter().filter(|centre| tests.covers(centre))
}

fn is_test(drill: &DisasterRecoveryDrill, policy: &BackupPolicy) -> bool {
    drill.metadata.labels.as_ref().and_then(|labels| labels.get(RESTORE_TEST))
        == policy.metadata.name.as_ref()
}

fn begun(drill: &DisasterRecoveryDrill) -> Option<Timestamp> {
    drill.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn created(policy: &BackupPolicy) -> Option<Timestamp> {
    policy.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// Nothing, while no point is Verified there: the test stays due.
fn start(seen: Seen, tests: &RestoreTests, centre: &str, slot: Timestamp) -> Option<Step> {
    let mut points: Vec<&RecoveryPoint> = seen.points.iter().filter(|p| is_verified_at(p, centre)).collect();
    points.sort_by_key(|point| std::cmp::Reverse((point.spec.taken_at.0, &point.metadata.name)));
    points.truncate(tests.among.into());
    let digest = digest(seen.policy, centre, slot);
    let point = points.get(pick(&digest, points.len())?)?;
    let spec = DisasterRecoveryDrillSpec {
        mode: DrillMode::Simulated,
        centre: centre.to_owned(),
        policy: seen.policy.metadata.name.clone()?,
        recovery_point: point.metadata.name.clone(),
        checks: tests.checks.clone(),
        deadline_seconds: tests.deadline_seconds,
    };
    Some(Step::Start { name: test_name(&spec.policy, &digest, slot), spec: Box::new(spec) })
}

fn digest(policy: &BackupPolicy, centre: &str, slot: Timestamp) -> [u8; 32] {
    let uid = policy.metadata.uid.as_deref().unwrap_or_default();
    Sha256::digest(format!("{uid}\0{centre}\0{}", slot.as_second())).into()
}

/// One of `count`, each as likely as any other. `None` of none.
fn pick(digest: &[u8; 32], count: usize) -> Option<usize> {
    let (first, _) = digest.split_first_chunk::<8>()?;
    let at = u64::from_be_bytes(*first).checked_rem(count as u64)?;
    usize::try_from(at).ok()
}

/// At most 40 characters, as a drill's name has to be; the minute in it is the one that the schedule said.
fn test_name(policy: &str, digest: &[u8; 32], slot: Timestamp) -> String {
    let stem: String = policy.chars().take(12).map(|c| if c == '.' { '-' } else { c }).collect();
    let mark = hex::encode(&digest[29..]);
    format!("{}-test-{mark}-{}", stem.trim_end_matches('-'), slot.strftime("%y%m%dt%H%M"))
}

fn removal(drill: &DisasterRecoveryDrill) -> Option<Step> {
    let meta = &drill.metadata;
    if meta.deletion_timestamp.is_some() {
        return None;
    }
    let (name, uid) = (meta.name.clone()?, meta.uid.clone()?);
    Some(Step::Remove { name, uid, version: meta.resource_version.clone()? })
}

/// What is known of each centre that this operator serves. What ended tests have proved stays known when they are gone.
#[must_use]
pub fn proofs(seen: Seen) -> Vec<CentreProof> {
    let before = seen.policy.status.as_ref().map(|status| status.proofs.as_slice()).unwrap_or_default();
    let of =
        |centre: &String| proof(centre, seen.drills, before.iter().find(|proof| proof.centre == *centre));
    seen.serves.iter().filter_map(of).collect()
}

fn proof(
    centre: &str,
    drills: &[DisasterRecoveryDrill],
    before: Option<&CentreProof>,
) -> Option<CentreProof> {
    let mut proof = before
        .cloned()
        .unwrap_or_else(|| CentreProof { centre: centre.to_owned(), ..CentreProof::default() });
    let here = drills.iter().filter(|drill| drill.spec.centre == centre);
    let mut ended: Vec<_> =
        here.filter_map(|drill| concluded(drill).map(|(at, passed)| (at, passed, drill))).collect();
    ended.sort_by_key(|(at, ..)| *at);
    let not_after = |known: &Option<Time>, at: Timestamp| known.as_ref().is_none_or(|known| known.0 <= at);
    for (at, passed, drill) in ended {
        if not_after(&proof.tested_at, at) {
            proof.tested_at = Some(Time(at));
            proof.failure = (!passed).then(|| failure(drill));
        }
        if passed && not_after(&proof.proven_at, at) {
            proof.proven_at = Some(Time(at));
            proof.recovery_point = drill.status.as_ref().and_then(|status| status.recovery_point.clone());
        }
    }
    proof.tested_at.is_some().then_some(proof)
}

fn failure(drill: &DisasterRecoveryDrill) -> String {
    let status = drill.status.as_ref();
    let words = status.and_then(|status| conditions::find(&status.conditions, "Concluded"));
    let name = drill.metadata.name.as_deref().unwrap_or_default();
    let point = status.and_then(|status| status.recovery_point.as_deref()).unwrap_or_default();
    format!("drill {name} of {point}: {}", words.map_or("failed", |condition| condition.message.as_str()))
}

/// Whether what lies at the centres that this operator serves is proven to be restorable. Nothing, where it tests none.
#[must_use]
pub fn verdict(seen: Seen, proofs: &[CentreProof], now: Timestamp) -> Option<Verdict> {
    let tests = seen.policy.spec.restore_tests.as_ref()?;
    let most = tests.max_age.as_deref().and_then(|text| duration::parse(text).ok());
    let (mut bad, mut good) = (Vec::new(), Vec::new());
    for centre in tested(tests, seen.serves) {
        let known = proofs.iter().find(|proof| proof.centre == *centre);
        let proven =
            known.and_then(|proof| Some((proof.proven_at.as_ref()?.0, proof.recovery_point.as_deref()?)));
        if let Some(failure) = known.and_then(|proof| proof.failure.as_ref()) {
            bad.push(("RestoreTestFailed", format!("at {centre} the last restore test failed: {failure}")));
            continue;
        }
        match proven {
            None => bad.push(("NeverProven", format!("at {centre} no restore test has passed yet"))),
            Some((at, point)) if most.is_some_and(|most| now.duration_since(at) > most) => {
                let message = format!(
                    "at {centre} {point} was restored and checked last, at {at}: longer ago than spec.restoreTests.maxAge"
                );
                bad.push(("ProofTooOld", message));
            }
            Some((at, point)) => good.push(format!("at {centre} {point} was restored and checked at {at}")),
        }
    }
    match bad.first() {
        Some((reason, _)) => {
            let all: Vec<&str> = bad.iter().map(|(_, message)| message.as_str()).collect();
            Some(Verdict::no(*reason, all.join("; ")))
        }
        None => (!good.is_empty()).then(|| Verdict::yes("RestoreTestPassed", good.join("; "))),
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
