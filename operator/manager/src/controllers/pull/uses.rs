//! Who uses recovery points at a centre: drills, restores, and runs that make a new one.

use std::collections::BTreeMap;

use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::disaster_recovery_drill::DrillPhase;
use tripod_crds::recovery_point::PointPhase;
use tripod_crds::{Centre, DisasterRecoveryDrill, RecoveryPoint, Restore};
use tripod_domain::pull::PointKey;
use tripod_domain::restore::is_under_way;

use crate::context::{Ctx, Error};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pub points: Vec<RecoveryPoint>,
    pub in_use: BTreeMap<PointKey, String>,
    /// Systems whose data at the centre is read or written.
    pub busy: BTreeMap<String, String>,
}

/// What is in this cluster. Who reads the vault from another cluster is not seen: the prune delay is for them.
pub(super) async fn read(ctx: &Ctx, centre: &Centre) -> Result<Uses, Error> {
    let points = Api::<RecoveryPoint>::all(ctx.client.clone()).list(&ListParams::default()).await?.items;
    let mut uses = Uses { points, ..Uses::default() };
    for point in &uses.points {
        let phase = point.status.as_ref().and_then(|s| s.phase);
        let runs =
            point.spec.origin == centre.name_any() && matches!(phase, None | Some(PointPhase::Running));
        if let (true, Some(system)) = (runs, point.namespace()) {
            uses.busy.insert(system, format!("run {}", point.name_any()));
        }
    }
    drills(ctx, centre, &mut uses).await?;
    restores(ctx, centre, &mut uses).await?;
    Ok(uses)
}

async fn drills(ctx: &Ctx, centre: &Centre, uses: &mut Uses) -> Result<(), Error> {
    let drills = Api::<DisasterRecoveryDrill>::all(ctx.client.clone()).list(&ListParams::default()).await?;
    for drill in drills {
        let status = drill.status.clone().unwrap_or_default();
        let over = matches!(status.phase, Some(DrillPhase::Succeeded | DrillPhase::Failed));
        let Some(system) = drill.namespace().filter(|_| !over && drill.spec.centre == centre.name_any())
        else {
            continue;
        };
        let who = format!("drill {}", drill.name_any());
        // One that waits for a point reads nothing yet.
        if status.recovery_point.is_some() {
            uses.busy.insert(system.clone(), who.clone());
        }
        if let Some(point) = status.recovery_point.or_else(|| drill.spec.recovery_point.clone()) {
            uses.in_use.insert(PointKey { system, point }, who);
        }
    }
    Ok(())
}

async fn restores(ctx: &Ctx, centre: &Centre, uses: &mut Uses) -> Result<(), Error> {
    let restores = Api::<Restore>::all(ctx.client.clone()).list(&ListParams::default()).await?;
    for restore in restores.iter().filter(|restore| is_under_way(restore)) {
        if restore.spec.centre.as_ref().unwrap_or(&ctx.centre) != &centre.name_any() {
            continue;
        }
        let who = format!("restore {}", restore.name_any());
        let system = restore.spec.system.clone().or_else(|| restore.namespace());
        if let (Some(system), Some(point)) = (system, restore.spec.recovery_point.clone()) {
            uses.busy.insert(system.clone(), who.clone());
            uses.in_use.insert(PointKey { system, point }, who);
        }
    }
    Ok(())
}
