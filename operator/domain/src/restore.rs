//! The course of a restore: what is persisted in its status and what is found give the next step. Killed anywhere, the
//! next pass goes on; what was written before is known again by its mark.
//!
//! The order is: configuration and claims; volumes and buckets, side by side; what runs; then waiting until it does.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tripod_crds::Restore;
use tripod_crds::recovery_point::CopyState;
use tripod_crds::restore::{ExistingPolicy, ObjectCounts, PartState, RestorePhase};

use crate::bilingual::both;
use crate::disaster_recovery_drill::Progress;
use crate::manifest::PointManifest;
use crate::restoring::prepare::Wishes;
use crate::restoring::tally::Tally;

pub use crate::restore_status::{status, underway};

/// Where the point is to be read, and how it stands there.
#[derive(Clone, Debug)]
pub enum Source {
    /// No Centre has the name; these exist.
    UnknownCentre(Vec<String>),
    /// The system is not of this department; the text says what is known of it.
    Foreign(String),
    /// The vault can't be read now.
    Unreadable(String),
    /// The vault has no such point.
    Missing,
    /// It is there and was not proved.
    Unproven(CopyState, Option<String>),
    Ready(Box<PointManifest>),
    /// A backup of Velero, of so many bytes.
    Tarball(u64),
    /// There is no such backup, or it is not for this namespace to read.
    NoBackup(String),
    /// Not looked at: the phase does not need it.
    NotAsked,
}

/// A claim in the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Absent,
    /// This restore has made it.
    Own,
    /// It was there before.
    Foreign,
}

/// What is seen of a volume that is to be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSeen {
    pub claim: Claim,
    /// Pods that have it mounted, our movers left aside.
    pub used_by: Vec<String>,
    pub mover: Progress,
}

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    pub restore: Restore,
    /// The centre that is read, and the system, with defaults filled in.
    pub centre: String,
    pub system: String,
    pub source: Source,
    /// Volumes that are to be restored, in phase Filling.
    pub volumes: BTreeMap<String, VolumeSeen>,
    /// Workloads of this restore as `Kind/name`, in phase Waiting.
    pub workloads: BTreeMap<String, Progress>,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing is to be done, now or later.
    Ignore,
    /// Nothing can be done yet; the reason and what is awaited.
    Wait { reason: &'static str, message: String },
    /// The point is there: note what is to be restored and begin.
    Begin { volumes: Vec<String>, buckets: Vec<String> },
    /// Compare all objects with what is there, and write nothing.
    Compare,
    /// Create what comes before volumes are filled.
    Configure,
    /// Fill volumes and buckets.
    Fill(Filling),
    /// Create what comes after.
    Start,
    /// Enter the next phase; nothing to write but status.
    Enter(RestorePhase),
    /// It is over.
    Conclude { succeeded: bool, reason: &'static str, message: String },
}

/// What is to be done with volumes and buckets in one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// Start movers for these claims.
    pub launch: Vec<String>,
    /// Remove movers that are through, or their pods would hold the claims.
    pub remove: Vec<String>,
    /// What is known now of volumes, where it is another than before.
    pub settled: BTreeMap<String, (PartState, Option<String>)>,
    /// The one bucket that is next.
    pub bucket: Option<String>,
    /// What is awaited.
    pub waiting: Vec<String>,
}

impl Filling {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Pure, total.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Plan {
    let restore = &seen.restore;
    let phase = phase_of(restore);
    if restore.metadata.deletion_timestamp.is_some()
        || matches!(phase, RestorePhase::Succeeded | RestorePhase::Failed)
    {
        return Plan::Ignore;
    }
    if is_overdue(restore, now) {
        let message = format!(
            "spec.deadlineSeconds: not through after {} s; it was {phase:?}: {}",
            restore.spec.deadline_seconds,
            last_words(restore)
        );
        return Plan::Conclude { succeeded: false, reason: "DeadlineExceeded", message };
    }
    match phase {
        RestorePhase::Waiting => return wait_for_workloads(seen),
        RestorePhase::Pending => return begin(seen),
        _ => {}
    }
    // Everything else reads the point: where it can't be had, nothing is done until it can.
    if let Some(wait) = unavailable(seen) {
        return wait;
    }
    match phase {
        RestorePhase::Planning => Plan::Compare,
        RestorePhase::Configuring => Plan::Configure,
        RestorePhase::Filling => fill(seen),
        _ => Plan::Start,
    }
}

/// The persisted phase; a new restore is Pending.
#[must_use]
pub fn phase_of(restore: &Restore) -> RestorePhase {
    restore.status.as_ref().and_then(|s| s.phase).unwrap_or(RestorePhase::Pending)
}

/// Whether the restore may still write or read its point.
#[must_use]
pub fn is_under_way(restore: &Restore) -> bool {
    restore.metadata.deletion_timestamp.is_none()
        && !matches!(phase_of(restore), RestorePhase::Succeeded | RestorePhase::Failed)
}

/// Whether a mover may fill this claim now: the gateway asks.
#[must_use]
pub fn is_filling(restore: &Restore, claim: &str) -> bool {
    let volumes = restore.status.as_ref().map(|s| s.volumes.as_slice()).unwrap_or_default();
    restore.metadata.deletion_timestamp.is_none()
        && phase_of(restore) == RestorePhase::Filling
        && volumes.iter().any(|v| v.name == claim && v.state == PartState::Filling)
}

fn is_overdue(restore: &Restore, now: Timestamp) -> bool {
    let deadline = SignedDuration::from_secs(i64::from(restore.spec.deadline_seconds));
    restore.metadata.creation_timestamp.as_ref().is_some_and(|t| now.duration_since(t.0) > deadline)
}

fn last_words(restore: &Restore) -> String {
    let conditions = restore.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    crate::conditions::find(conditions, "Ready").map(|c| c.message.clone()).unwrap_or_default()
}

/// Why the point can't be read; `None`: it can.
fn unavailable(seen: &Observed) -> Option<Plan> {
    let (centre, point) = (&seen.centre, seen.restore.spec.point());
    let wait = |reason, message| Some(Plan::Wait { reason, message });
    match &seen.source {
        Source::Ready(_) | Source::Tarball(_) => None,
        Source::NoBackup(words) => {
            wait("BackupMissing", both(format!("spec.velero: {words}"), "spec.velero：没有可读取的备份"))
        }
        Source::NotAsked => wait("VaultUnreadable", format!("the vault of {centre} was not read")),
        Source::UnknownCentre(known) => wait(
            "UnknownCentre",
            both(
                format!("spec.centre: no Centre is named {centre:?}; there are: {}", known.join(", ")),
                format!("spec.centre：没有名为 {centre:?} 的中心"),
            ),
        ),
        Source::Foreign(words) => wait(
            "ForeignSystem",
            both(
                format!("spec.system: {words}"),
                "spec.system：该系统不属于本部门，请在其自己的命名空间中恢复",
            ),
        ),
        Source::Unreadable(error) => wait(
            "VaultUnreadable",
            both(
                format!("the vault of {centre}: {error}"),
                format!("暂时无法读取 {centre} 的备份库，将继续重试"),
            ),
        ),
        Source::Missing => wait(
            "PointMissing",
            both(
                format!("spec.recoveryPoint: the vault of {centre} has no point {point} of {}", seen.system),
                format!("spec.recoveryPoint：{centre} 的备份库中没有 {} 的恢复点 {point}", seen.system),
            ),
        ),
        Source::Unproven(CopyState::Damaged, words) => wait(
            "PointDamaged",
            both(
                format!(
                    "spec.recoveryPoint: {point} is damaged at {centre} ({}); name another centre in spec.centre, or wait until it is mended",
                    words.as_deref().unwrap_or("no details")
                ),
                format!(
                    "spec.recoveryPoint：{point} 在 {centre} 已损坏，请用 spec.centre 指定其他中心，或等待修复"
                ),
            ),
        ),
        Source::Unproven(..) => wait(
            "PointNotVerified",
            both(
                format!("spec.recoveryPoint: {point} is not Verified at {centre} yet"),
                format!("spec.recoveryPoint：{point} 在 {centre} 尚未通过校验"),
            ),
        ),
    }
}

fn begin(seen: &Observed) -> Plan {
    if let Some(wait) = unavailable(seen) {
        return wait;
    }
    if let Err(message) = Wishes::new(&seen.restore) {
        return Plan::Conclude { succeeded: false, reason: "InvalidSpec", message };
    }
    let include = &seen.restore.spec.include;
    let chosen =
        |wanted: Option<&Vec<String>>, there: Vec<&String>, field: &str| -> Result<Vec<String>, Plan> {
            let Some(wanted) = wanted else { return Ok(there.into_iter().cloned().collect()) };
            match wanted.iter().find(|name| !there.contains(name)) {
                None => Ok(wanted.clone()),
                Some(name) => {
                    let message = both(
                        format!("spec.include.{field}: the point has no {name:?}; it has: {there:?}"),
                        format!("spec.include.{field}：恢复点中没有 {name:?}"),
                    );
                    Err(Plan::Conclude { succeeded: false, reason: "NotInThePoint", message })
                }
            }
        };
    let (volumes, buckets) = match &seen.source {
        Source::Ready(manifest) => (manifest.volumes.keys().collect(), manifest.buckets.keys().collect()),
        _ => (Vec::new(), Vec::new()),
    };
    let volumes = chosen(include.volumes.as_ref(), volumes, "volumes");
    let buckets = chosen(include.buckets.as_ref(), buckets, "buckets");
    match (volumes, buckets) {
        (Ok(volumes), Ok(buckets)) => Plan::Begin { volumes, buckets },
        (Err(plan), _) | (_, Err(plan)) => plan,
    }
}

/// The phase in which a restore that has begun goes on: a comparison where nothing may be written, or not yet.
#[must_use]
pub fn first_phase(restore: &Restore) -> RestorePhase {
    if restore.spec.dry_run || restore.spec.existing == ExistingPolicy::Fail {
        RestorePhase::Planning
    } else {
        RestorePhase::Configuring
    }
}

/// What follows a comparison.
#[must_use]
pub fn after_comparison(restore: &Restore, tally: &Tally, conflicts: u64) -> Plan {
    if restore.spec.dry_run {
        let counts = tally.counts;
        let ObjectCounts { created, updated, unchanged, skipped, failed, .. } = counts;
        let message = both(
            format!(
                "nothing was written: {created} would be created, {updated} updated, {unchanged} are as in the point, {skipped} stay as they are, {failed} would be refused"
            ),
            format!(
                "未写入任何内容：将新建 {created}，更新 {updated}，一致 {unchanged}，保留 {skipped}，将被拒绝 {failed}"
            ),
        );
        return Plan::Conclude { succeeded: counts.failed == 0 && conflicts == 0, reason: "DryRun", message };
    }
    if conflicts > 0 {
        let message = both(
            format!(
                "spec.existing: {conflicts} objects or volumes are there already and not as in the point; nothing was restored"
            ),
            format!("spec.existing：已有 {conflicts} 个对象或卷与恢复点不同，未恢复任何内容"),
        );
        return Plan::Conclude { succeeded: false, reason: "Conflict", message };
    }
    Plan::Enter(RestorePhase::Configuring)
}

fn fill(seen: &Observed) -> Plan {
    let status = seen.restore.status.clone().unwrap_or_default();
    let mut filling = Filling::default();
    for standing in &status.volumes {
        let Some(volume) = seen.volumes.get(&standing.name) else { continue };
        fill_volume(seen.restore.spec.existing, &standing.name, standing.state, volume, &mut filling);
    }
    filling.bucket = status.buckets.iter().find(|b| is_open(b.state)).map(|b| b.name.clone());
    if filling.is_nothing() {
        return Plan::Enter(RestorePhase::Starting);
    }
    Plan::Fill(filling)
}

fn is_open(state: PartState) -> bool {
    matches!(state, PartState::Pending | PartState::Filling)
}

fn fill_volume(
    policy: ExistingPolicy,
    claim: &str,
    state: PartState,
    seen: &VolumeSeen,
    filling: &mut Filling,
) {
    let mut settle =
        |state, message: Option<String>| drop(filling.settled.insert(claim.to_owned(), (state, message)));
    if !is_open(state) {
        if seen.mover != Progress::Absent {
            filling.remove.push(claim.to_owned());
        }
        return;
    }
    match (&seen.mover, &seen.claim) {
        (Progress::Done(words), _) => settle(PartState::Restored, Some(words.clone())),
        (Progress::Failed(words), _) => settle(PartState::Failed, Some(words.clone())),
        (Progress::Running(words), _) => filling.waiting.push(format!("volume {claim} ({words})")),
        (Progress::Absent, Claim::Absent) => {
            settle(PartState::Failed, Some("the claim could not be made; see status.problems".to_owned()));
        }
        (Progress::Absent, Claim::Foreign)
            if state == PartState::Pending && policy == ExistingPolicy::Skip =>
        {
            settle(
                PartState::Skipped,
                Some("the claim was there; spec.existing: Update replaces its files".to_owned()),
            );
        }
        (Progress::Absent, Claim::Foreign)
            if state == PartState::Pending && policy == ExistingPolicy::Fail =>
        {
            settle(PartState::Failed, Some("the claim was made by somebody else meanwhile".to_owned()));
        }
        (Progress::Absent, _) if !seen.used_by.is_empty() => filling.waiting.push(format!(
            "volume {claim} to be free: it is used by {}; scale that down",
            seen.used_by.join(", ")
        )),
        // The gateway lets a mover in only where the status says so: said first, started in the next pass.
        (Progress::Absent, _) if state == PartState::Pending => settle(PartState::Filling, None),
        (Progress::Absent, _) => filling.launch.push(claim.to_owned()),
    }
}

fn wait_for_workloads(seen: &Observed) -> Plan {
    let status = seen.restore.status.clone().unwrap_or_default();
    let open: Vec<String> = seen
        .workloads
        .iter()
        .filter(|_| seen.restore.spec.wait_for_workloads)
        .filter_map(|(name, progress)| match progress {
            Progress::Done(_) => None,
            Progress::Absent => Some(name.clone()),
            Progress::Running(words) | Progress::Failed(words) => Some(format!("{name} ({words})")),
        })
        .collect();
    let failed = status.objects.unwrap_or_default().failed;
    let parts: Vec<&str> = status
        .volumes
        .iter()
        .chain(&status.buckets)
        .filter(|p| p.state == PartState::Failed)
        .map(|p| p.name.as_str())
        .collect();
    if failed > 0 || !parts.is_empty() {
        let message = both(
            format!(
                "{failed} objects could not be restored (see status.problems), nor the data of {parts:?}"
            ),
            format!("{failed} 个对象（见 status.problems）及 {parts:?} 的数据未能恢复"),
        );
        return Plan::Conclude { succeeded: false, reason: "Incomplete", message };
    }
    if !open.is_empty() {
        return Plan::Wait {
            reason: "WaitingForWorkloads",
            message: both(
                format!("waiting for {}", open.join(", ")),
                format!("等待就绪：{}", open.join("、")),
            ),
        };
    }
    Plan::Conclude {
        succeeded: true,
        reason: "Restored",
        message: both("all that was asked for is as in the point", "所需内容均已恢复为恢复点时的状态"),
    }
}

/// What came of the plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What went wrong; it will be tried again until the deadline.
    pub error: Option<String>,
    /// What became of objects, where the plan was about them.
    pub objects: Option<Tally>,
    /// Conflicts that a comparison found, objects and volumes.
    pub conflicts: u64,
    /// What became of a bucket: its state, and what is to be said.
    pub bucket: Option<(String, PartState, Option<String>)>,
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
