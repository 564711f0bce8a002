//! What an operator does next for the copies at one centre: copy a point that the source has, prove one, mend one, let go
//! of one that no rule keeps, or of data that no point needs. One step a pass, newest first, since the newest proven copy is
//! what a loss would fall back on.
//!
//! Whatever is not known keeps everything: while the source, the policies, the holds or the users of points can't be read,
//! nothing is removed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use tripod_crds::recovery_point::CopyState;

use crate::manifest::{CopyRecord, Tombstone};
use crate::retention::{self, Point, Rules, Verdict};

/// A point by system and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PointKey {
    pub system: String,
    pub point: String,
}

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Whole points in the source's vault; `Err` when it can't be read. A centre that pulls
    /// from none is offered the points of its own vault, and its copying is empty.
    pub offered: Result<Vec<PointKey>, String>,
    /// Records of this centre's own vault.
    pub records: Vec<CopyRecord>,
    /// How old a proof may get.
    pub verify_interval: SignedDuration,
    /// Points that were removed here, and whose data may still be there.
    pub tombstones: Vec<Tombstone>,
    /// Points that were removed here with their data, and are not to be copied again.
    pub gone: BTreeSet<PointKey>,
    /// How long data stays after its point was removed.
    pub prune_delay: SignedDuration,
    /// Points of this cluster that are not here any more, though a lock protects what was deleted of them.
    pub lost: Vec<PointKey>,
    /// What decides about removal; `Err` says why that is not known.
    pub keeping: Result<Keeping, String>,
    /// Steps that failed in this pass: they stop no other.
    pub set_aside: Vec<Step>,
}

/// What keeps points at this centre.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    /// By system and name, the rules of the policies in this cluster; `Err` where they can't be understood. A policy that is
    /// here and keeps everything is not in it, nor in `otherwise`.
    pub policies: BTreeMap<(String, String), Policy>,
    /// For policies that this cluster does not have. `None` keeps everything.
    pub otherwise: Option<Rules>,
    pub holds: Holds,
    /// Points that a restore or a drill uses which has not ended.
    pub in_use: BTreeMap<PointKey, String>,
    /// Systems whose data is being read or written here, and by what: none of it goes meanwhile.
    pub busy: BTreeMap<String, String>,
}

/// What a policy of this cluster says of this centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    Rules(Rules),
    /// It says nothing: what the Centre says holds.
    Silent,
    /// It can't be understood: everything is kept.
    Unclear(String),
}

/// Who holds which points.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    /// The RecoveryPoints of this cluster, with their annotation where they have one.
    pub objects: BTreeMap<PointKey, Option<String>>,
    /// What this centre's own vault says.
    pub here: BTreeMap<PointKey, String>,
    /// What the vault says that is pulled from.
    pub source: BTreeMap<PointKey, String>,
}

impl Holds {
    fn of(&self, key: &PointKey) -> Option<&String> {
        let annotated = self.objects.get(key).and_then(Option::as_ref);
        annotated.or_else(|| self.here.get(key)).or_else(|| self.source.get(key))
    }
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Note in the vault that the point is held; and on its RecoveryPoint, where only the source says so.
    Hold { key: PointKey, reason: String, annotate: bool },
    /// The hold was taken off: forget it.
    Release(PointKey),
    /// Copy what is missing of the point, then note it as Copied.
    Copy(PointKey),
    /// Bring back from under its lock what was deleted of the point.
    Recall(PointKey),
    /// Read every byte the point needs and note the finding.
    Verify(PointKey),
    /// Fetch again from any other centre what is damaged here.
    Mend(PointKey),
    /// Note which rule keeps each of these points.
    Label(Vec<(PointKey, Option<String>)>),
    /// No rule keeps it: its record and manifest go. Its data stays for the prune delay.
    Remove(PointKey),
    /// Delete what no point of the system needs any more.
    Sweep(String),
    /// All is copied and proved, and nothing is left over.
    Rest,
}

/// Pure, total. A source that can't be read never stops the verification of what is here.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Step {
    let records = present(seen);
    let next = |step: Option<Step>| step.filter(|step| !seen.set_aside.contains(step));
    next(hold(seen, &records))
        .or_else(|| newest_missing(seen, &records).map(Step::Copy))
        .or_else(|| seen.lost.iter().map(|key| Step::Recall(key.clone())).find_map(|step| next(Some(step))))
        .or_else(|| next(unproven(&records).map(Step::Verify)))
        .or_else(|| next(damaged(&records).map(Step::Mend)))
        .or_else(|| next(let_go(seen, &records, now)))
        .or_else(|| next(sweep(seen, now)))
        // Last: in a large vault there is always a proof that is due.
        .or_else(|| next(oldest_proof(seen, &records, now).map(Step::Verify)))
        .unwrap_or(Step::Rest)
}

fn key(record: &CopyRecord) -> PointKey {
    PointKey { system: record.system.clone(), point: record.point.clone() }
}

fn buried(seen: &Observed) -> impl Iterator<Item = PointKey> {
    let of = |t: &Tombstone| PointKey { system: t.manifest.system.clone(), point: t.manifest.point.clone() };
    seen.tombstones.iter().map(of)
}

/// The records of points that were not removed: a removal that was cut off may have left some.
fn present(seen: &Observed) -> Vec<&CopyRecord> {
    let removed: BTreeSet<PointKey> = buried(seen).chain(seen.gone.iter().cloned()).collect();
    seen.records.iter().filter(|record| !removed.contains(&key(record))).collect()
}

/// A hold spreads to the centres that pull. It ends where it was taken off the RecoveryPoint, once the source has ended it.
fn hold(seen: &Observed, records: &[&CopyRecord]) -> Option<Step> {
    let holds = &seen.keeping.as_ref().ok()?.holds;
    records.iter().find_map(|record| {
        let key = key(record);
        let (object, here) = (holds.objects.get(&key), holds.here.get(&key));
        match (object, here, holds.source.get(&key)) {
            (Some(Some(reason)), here, _) if here != Some(reason) => {
                Some(Step::Hold { key, reason: reason.clone(), annotate: false })
            }
            (Some(None), None, Some(reason)) => {
                Some(Step::Hold { key, reason: reason.clone(), annotate: true })
            }
            (None, None, Some(reason)) => Some(Step::Hold { key, reason: reason.clone(), annotate: false }),
            (Some(None), Some(_), None) if seen.offered.is_ok() => Some(Step::Release(key)),
            _ => None,
        }
    })
}

/// Names carry the time at which the run began, so the greatest name of a policy is its newest.
fn newest_missing(seen: &Observed, records: &[&CopyRecord]) -> Option<PointKey> {
    let removed: BTreeSet<PointKey> = buried(seen).chain(seen.gone.iter().cloned()).collect();
    let there = |r: &&&CopyRecord| !matches!(r.state, CopyState::Unknown | CopyState::Pending);
    let here: BTreeSet<PointKey> = records.iter().filter(there).map(|r| key(r)).collect();
    let offered = seen.offered.as_ref().ok()?;
    let failed = |key: &PointKey| seen.set_aside.contains(&Step::Copy(key.clone()));
    let missing = offered.iter().filter(|key| !here.contains(key) && !removed.contains(key) && !failed(key));
    missing.max_by(|a, b| a.point.cmp(&b.point)).cloned()
}

fn unproven(records: &[&CopyRecord]) -> Option<PointKey> {
    records.iter().filter(|r| r.state == CopyState::Copied).max_by_key(|r| r.taken_at).map(|r| key(r))
}

/// Others are asked once for every proof that failed.
fn damaged(records: &[&CopyRecord]) -> Option<PointKey> {
    let asked = |r: &CopyRecord| r.mending_at.is_some() && r.mending_at >= r.verified_at;
    let unasked = records.iter().filter(|r| r.state == CopyState::Damaged && !asked(r));
    unasked.max_by_key(|r| r.taken_at).map(|r| key(r))
}

fn oldest_proof(seen: &Observed, records: &[&CopyRecord], now: Timestamp) -> Option<PointKey> {
    let due =
        |r: &&&CopyRecord| r.verified_at.is_none_or(|at| now.duration_since(at) >= seen.verify_interval);
    let proven_or_damaged = |r: &&&CopyRecord| matches!(r.state, CopyState::Verified | CopyState::Damaged);
    let oldest = records.iter().filter(proven_or_damaged).filter(due).min_by_key(|r| r.verified_at);
    oldest.map(|r| key(r))
}

/// Until when what is proved now is locked: for at least so many days, to the end of a day in UTC, so that a lock is made
/// longer once a day at most.
#[must_use]
pub fn lock_until(days: u32, now: Timestamp) -> Timestamp {
    const DAY: i64 = 86_400;
    let at_least = now.as_second().saturating_add(i64::from(days) * DAY);
    Timestamp::from_second(at_least.div_euclid(DAY).saturating_add(1) * DAY).unwrap_or(Timestamp::MAX)
}

/// Whether what this point needs is locked, or a lock on it made longer, once it is proved: one that no rule keeps then is not
/// locked, or its lock let run out.
#[must_use]
pub fn is_kept(seen: &Observed, proved: &PointKey, now: Timestamp) -> bool {
    let as_proved = |record: &CopyRecord| {
        let state = if key(record) == *proved { CopyState::Verified } else { record.state };
        CopyRecord { state, ..record.clone() }
    };
    let records: Vec<CopyRecord> = present(seen).into_iter().map(as_proved).collect();
    let verdicts = verdicts(seen, &records.iter().collect::<Vec<_>>(), now);
    verdicts.is_none_or(|verdicts| verdicts.get(proved) != Some(&Verdict::Expired))
}

/// Labels before removals: people see why a point is kept before another goes.
fn let_go(seen: &Observed, records: &[&CopyRecord], now: Timestamp) -> Option<Step> {
    let verdicts = verdicts(seen, records, now)?;
    let lock = |record: &CopyRecord| record.locked_until.filter(|until| *until > now);
    let mut labels = Vec::new();
    for record in records {
        let label = match (verdicts.get(&key(record)), lock(record)) {
            (Some(Verdict::Kept(reasons)), _) => Some(reasons.join(", ")),
            (Some(Verdict::Expired), Some(until)) => Some(format!("locked until {until}")),
            (Some(Verdict::Expired), None) => continue,
            (None, _) => None,
        };
        if record.kept_by != label {
            labels.push((key(record), label));
        }
    }
    if !labels.is_empty() {
        return Some(Step::Label(labels));
    }
    // A source that can't be read may be lost, and this the last copy; or it holds what is not known here.
    seen.offered.as_ref().ok()?;
    let expired =
        records.iter().filter(|r| verdicts.get(&key(r)) == Some(&Verdict::Expired) && lock(r).is_none());
    expired.min_by_key(|r| r.taken_at).map(|r| Step::Remove(key(r)))
}

/// What becomes of every point about which there are rules here.
#[must_use]
pub fn verdicts(
    seen: &Observed,
    records: &[&CopyRecord],
    now: Timestamp,
) -> Option<BTreeMap<PointKey, Verdict>> {
    let keeping = seen.keeping.as_ref().ok()?;
    let mut groups: BTreeMap<(&str, &str), Vec<Point>> = BTreeMap::new();
    for record in records {
        // Of an earlier operator: the next proof notes its policy.
        let Some(policy) = &record.policy else { continue };
        let key = key(record);
        groups.entry((&record.system, policy)).or_default().push(Point {
            name: record.point.clone(),
            taken_at: record.taken_at,
            arrived_at: record.copied_at,
            state: record.state,
            held: keeping.holds.of(&key).cloned(),
            in_use: keeping.in_use.get(&key).cloned(),
            unusual: !record.unusual.is_empty(),
        });
    }
    let mut all = BTreeMap::new();
    for ((system, policy), points) in groups {
        let rules = match keeping.policies.get(&(system.to_owned(), policy.to_owned())) {
            Some(Policy::Rules(rules)) => Some(rules),
            Some(Policy::Unclear(_)) => None,
            Some(Policy::Silent) | None => keeping.otherwise.as_ref(),
        };
        let Some(rules) = rules else { continue };
        let judged = retention::judge(&points, rules, now).into_iter();
        all.extend(judged.map(|(point, verdict)| (PointKey { system: system.to_owned(), point }, verdict)));
    }
    Some(all)
}

fn sweep(seen: &Observed, now: Timestamp) -> Option<Step> {
    let keeping = seen.keeping.as_ref().ok()?;
    let due = seen.tombstones.iter().filter(|t| is_due(t, seen.prune_delay, now));
    let mut systems = due.map(|t| &t.manifest.system).filter(|system| !keeping.busy.contains_key(*system));
    systems.next().map(|system| Step::Sweep(system.clone()))
}

/// Whether the data of a removed point has stayed for long enough: since its removal, and since it was marked.
#[must_use]
pub fn is_due(tombstone: &Tombstone, prune_delay: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(tombstone.marked_at.unwrap_or(tombstone.removed_at)) >= prune_delay
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
