//! What of a point is missing: what has to be taken at its moment, and what is read of snapshots afterwards.

use jiff::Timestamp;
use tripod_crds::recovery_point::Failing;

use super::{MoverState, Observed, Plan, RUN_DEADLINE};
use crate::volume_snapshots::State;

/// What is missing of a point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    pub objects: bool,
    /// Claims of which a snapshot is to be asked for.
    pub freeze: Vec<String>,
    /// Claims whose mover is to be started.
    pub launch: Vec<String>,
    pub buckets: Vec<String>,
    /// Claims whose snapshot or mover is on its way.
    pub waiting: Vec<String>,
}

/// How far the taking of data is.
pub(super) enum Taking {
    More(Plan),
    Failed(Failing),
    All,
}

/// What has to be taken at the moment of the point.
pub(super) fn take(seen: &Observed, now: Timestamp) -> Taking {
    let spec = &seen.point.spec;
    let (frozen, live): (Vec<&String>, Vec<&String>) =
        missing_volumes(seen).partition(|claim| spec.snapshots.iter().any(|of| of.claim == **claim));
    let mut missing = match files(seen, live) {
        Ok(missing) => missing,
        Err(why) => return Taking::Failed(why),
    };
    for claim in frozen {
        match seen.snapshots.get(claim).map(|seen| &seen.state) {
            Some(State::Ready) => {}
            Some(State::Pending) => missing.waiting.push(claim.clone()),
            Some(State::Failed(words)) => {
                let message = format!("spec.snapshots: claim {claim}: {words}");
                return Taking::Failed(Failing { reason: "SnapshotFailed".into(), message });
            }
            Some(State::Absent) | None => missing.freeze.push(claim.clone()),
        }
    }
    missing.objects = spec.objects && seen.objects.is_none();
    missing.buckets = spec.buckets.iter().filter(|b| !seen.buckets.contains_key(*b)).cloned().collect();
    gather(seen, missing, now)
}

/// What is read of snapshots when hooks have let the system go on.
pub(super) fn copy_out(seen: &Observed, now: Timestamp) -> Taking {
    match files(seen, missing_volumes(seen).collect()) {
        Ok(missing) => gather(seen, missing, now),
        Err(why) => Taking::Failed(why),
    }
}

fn missing_volumes(seen: &Observed) -> impl Iterator<Item = &String> {
    seen.point.spec.volumes.iter().filter(|claim| !seen.volumes.contains_key(*claim))
}

/// The movers of these claims. One that says it succeeded without a part in the vault was lied to, or its part was removed:
/// again.
fn files(seen: &Observed, claims: Vec<&String>) -> Result<Missing, Failing> {
    let mut missing = Missing::default();
    for claim in claims {
        match seen.movers.get(claim) {
            Some(MoverState::Failed(words)) => {
                let message = format!("spec.volumes: the files of claim {claim} could not be read: {words}");
                return Err(Failing { reason: "MoverFailed".into(), message });
            }
            Some(MoverState::Running) => missing.waiting.push(claim.clone()),
            _ => missing.launch.push(claim.clone()),
        }
    }
    Ok(missing)
}

fn gather(seen: &Observed, missing: Missing, now: Timestamp) -> Taking {
    if missing == Missing::default() {
        return Taking::All;
    }
    if now.duration_since(seen.point.spec.taken_at.0) > RUN_DEADLINE {
        let message = format!(
            "not complete {} h after it began; still missing: volumes {:?}, buckets {:?}",
            RUN_DEADLINE.as_hours(),
            missing.volumes(),
            missing.buckets
        );
        return Taking::Failed(Failing { reason: "DeadlineExceeded".into(), message });
    }
    Taking::More(Plan::Gather(missing))
}

impl Missing {
    /// Claims whose files are not there, whatever is done about them.
    pub(super) fn volumes(&self) -> Vec<&String> {
        self.freeze.iter().chain(&self.launch).chain(&self.waiting).collect()
    }
}
