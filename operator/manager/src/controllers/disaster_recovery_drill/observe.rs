//! Reads what the phase of the drill needs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::disaster_recovery_drill::DrillPhase;
use tripod_crds::{Centre, DisasterRecoveryDrill, RecoveryPoint};
use tripod_domain::disaster_recovery_drill::{Observed, Progress, Server, phase_of};
use tripod_domain::manifest::PointManifest;

use super::{names, restore};
use crate::context::{Ctx, Error};
use crate::controllers::{mover_job, workloads};
use crate::vault::layout;

pub(super) async fn observe(ctx: &Ctx, object: &DisasterRecoveryDrill) -> Result<Observed, Error> {
    let system = object.namespace().unwrap_or_default();
    let namespace = names::namespace(object);
    let points = ctx.api::<RecoveryPoint>(&system).list(&ListParams::default()).await?;
    let mut seen = Observed {
        drill: object.clone(),
        server: server(ctx, &object.spec.centre).await?,
        points: points.into_iter().filter(|p| p.spec.policy == object.spec.policy).collect(),
        namespace_exists: Api::<Namespace>::all(ctx.client.clone()).get_opt(&namespace).await?.is_some(),
        scratch_bucket_exists: false,
        configuration_applied: false,
        volumes: BTreeMap::new(),
        buckets: BTreeMap::new(),
        workloads: None,
        checks: BTreeMap::new(),
    };
    if seen.server != Server::Here {
        return Ok(seen);
    }
    let Some(point) = object.status.as_ref().and_then(|s| s.recovery_point.clone()) else { return Ok(seen) };
    let (_, vault) = ctx.stores.vault_at(&object.spec.centre, &system).await?;
    let phase = phase_of(object);
    let manifest: Option<PointManifest> = vault.read_json(&layout::manifest(&system, &point)).await?;
    let buckets: Vec<String> = match &manifest {
        Some(manifest) => manifest.buckets.keys().cloned().collect(),
        // The point is gone; what the drill made for it still has to go.
        None => seen
            .points
            .iter()
            .find(|p| p.name_any() == point)
            .map(|p| p.spec.buckets.clone())
            .unwrap_or_default(),
    };
    for bucket in &buckets {
        seen.scratch_bucket_exists |= vault.store.has_bucket(&names::scratch_bucket(object, bucket)).await?;
    }
    match (phase, &manifest) {
        (DrillPhase::Restoring, Some(manifest)) => {
            seen.configuration_applied = restore::is_marked(ctx, &namespace, restore::CONFIGURED).await?;
            for claim in manifest.volumes.keys() {
                let progress = mover_job::progress(ctx, &namespace, &names::restore_job(claim)).await?;
                seen.volumes.insert(claim.clone(), progress);
            }
            for (bucket, part) in &manifest.buckets {
                let marker = restore::filled_marker(bucket);
                let filled = restore::is_marked(ctx, &namespace, &marker).await?;
                let done = || Progress::Done(format!("{} objects, {} read back", part.objects, part.digest));
                seen.buckets.insert(bucket.clone(), if filled { done() } else { Progress::Absent });
            }
        }
        (DrillPhase::Starting, Some(_)) if restore::is_marked(ctx, &namespace, restore::STARTED).await? => {
            let client = ctx.acting_as(&namespace, restore::RESTORER)?;
            seen.workloads = Some(workloads::progress(&client, &namespace, None).await?);
        }
        (DrillPhase::Checking, Some(_)) => {
            for check in &object.spec.checks {
                let progress = mover_job::progress(ctx, &namespace, &names::check_job(&check.name)).await?;
                seen.checks.insert(check.name.clone(), progress);
            }
        }
        _ => {}
    }
    Ok(seen)
}

/// Who serves the centre that a drill names.
async fn server(ctx: &Ctx, name: &str) -> Result<Server, Error> {
    let centres = Api::<Centre>::all(ctx.client.clone()).list(&ListParams::default()).await?;
    let Some(centre) = centres.iter().find(|c| c.name_any() == name) else {
        return Ok(Server::Nobody(centres.iter().map(ResourceExt::name_any).collect()));
    };
    if centre.is_served_by(&ctx.centre) {
        return Ok(Server::Here);
    }
    Ok(Server::Elsewhere(centre.spec.served_by.clone().unwrap_or_else(|| centre.name_any())))
}
