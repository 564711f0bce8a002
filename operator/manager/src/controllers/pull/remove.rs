//! Lets go of one point that no rule keeps: first as an object of this cluster, on proof that it is as it was judged; then a
//! tombstone is written, and its record, manifest and parts go. Its data stays until the sweep.

use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::centre::CentreRole;
use tripod_crds::recovery_point::HOLD;
use tripod_crds::{Centre, RecoveryPoint};
use tripod_domain::manifest::Tombstone;
use tripod_domain::pull::PointKey;

use super::uses;
use super::words::{manifest_of, now};
use crate::context::{Ctx, Error};
use crate::vault::layout;

/// Whenever this is cut off, the next pass goes on: a point with a tombstone counts as removed whatever is left of it.
pub(super) async fn remove(ctx: &Ctx, centre: &Centre, key: &PointKey) -> Result<(), Error> {
    let vault = ctx.stores.vault(centre, &key.system).await?;
    // Without a manifest that can be read, nobody could say what the tombstone stands for.
    let manifest = manifest_of(&vault, key).await?;
    let api = ctx.api::<RecoveryPoint>(&key.system);
    let object = api.get_opt(&key.point).await?;
    let users = uses::read(ctx, centre).await?;
    let held = object.as_ref().is_some_and(|o| o.annotations().contains_key(HOLD));
    if held || users.in_use.contains_key(key) {
        // Since it was judged: the next pass judges it again.
        return Ok(());
    }
    let name = centre.name_any();
    if let Some(object) = &object {
        if !is_elsewhere(ctx, centre, key).await? {
            let proof = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
            match api.delete(&key.point, &DeleteParams::default().preconditions(proof)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                result => drop(result?),
            }
        }
        let delay = centre.spec.prune_delay_seconds;
        let message = format!("no rule keeps it at {name}; its data goes after {delay} s");
        ctx.tell(&object.object_ref(&()), false, "Removed", &message).await;
    }
    let tombstone = Tombstone { manifest, removed_at: now(), marked_at: None };
    vault.write_json(&layout::tombstone(&key.system, &key.point), &tombstone).await?;
    vault.store.delete(&vault.bucket, &layout::record(&key.system, &key.point)).await?;
    vault.store.delete(&vault.bucket, &layout::manifest(&key.system, &key.point)).await?;
    vault.store.delete_prefix(&vault.bucket, &layout::point(&key.system, &key.point)).await?;
    ctx.metrics.removed(&name);
    tracing::info!(centre = name, system = key.system, point = key.point, "removed");
    Ok(())
}

/// Whether a vault without a cluster of its own, which this operator serves too, still has the point: the object is then its
/// as well.
async fn is_elsewhere(ctx: &Ctx, centre: &Centre, key: &PointKey) -> Result<bool, Error> {
    let centres = Api::<Centre>::all(ctx.client.clone()).list(&ListParams::default()).await?;
    for other in &centres {
        let another = other.is_served_by(&ctx.centre) && other.name_any() != centre.name_any();
        if !another || other.spec.role == CentreRole::Witness {
            continue;
        }
        let store = ctx.stores.open(other).await?;
        if store.head(&other.spec.store.bucket, &layout::record(&key.system, &key.point)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
