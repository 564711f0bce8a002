//! Reads the policy's points and drills, the namespace's claims, and whether its buckets can be read.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::backup_policy::VolumeSnapshots;
use tripod_crds::centre::CentreRole;
use tripod_crds::{BackupPolicy, Centre, DisasterRecoveryDrill, RecoveryPoint};
use tripod_domain::backup_policy::Observed;

use super::storage;
use crate::context::{Ctx, Error};
use crate::gather;
use crate::stores::{StoreAccess, Stores};

pub(super) async fn observe(ctx: &Ctx, object: &BackupPolicy) -> Result<Observed, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let centres = Api::<Centre>::all(ctx.client.clone()).list(&ListParams::default()).await?;
    let own = centres.iter().find(|c| c.name_any() == ctx.centre);
    let points = ctx.api::<RecoveryPoint>(&namespace).list(&ListParams::default()).await?;
    let drills = ctx.api::<DisasterRecoveryDrill>(&namespace).list(&ListParams::default()).await?;
    let claims = ctx.api::<PersistentVolumeClaim>(&namespace).list(&ListParams::default()).await?;
    // Until the right to be active is held in a register, production is where systems are active.
    let active_here = own.is_some_and(|c| c.spec.role == CentreRole::Production);
    let wanted = active_here && object.spec.include.volume_snapshots != VolumeSnapshots::Never;
    let snapshot_classes = if wanted { storage::classes(ctx).await? } else { Vec::new() };
    let (bucket_errors, store_error) = match own {
        Some(centre) if active_here => buckets(ctx, centre, object).await,
        Some(_) => (Vec::new(), None),
        None => (Vec::new(), Some(format!("there is no Centre {}; apply it", ctx.centre))),
    };
    Ok(Observed {
        policy: object.clone(),
        centre: ctx.centre.clone(),
        active_here,
        centres: centres.iter().map(ResourceExt::name_any).collect::<BTreeSet<_>>(),
        // A witness keeps no copies.
        serves: centres
            .iter()
            .filter(|c| c.is_served_by(&ctx.centre) && c.spec.role != CentreRole::Witness)
            .map(ResourceExt::name_any)
            .collect(),
        drills: drills.into_iter().filter(|d| d.spec.policy == object.name_any()).collect(),
        points: points.into_iter().filter(|p| p.spec.policy == object.name_any()).collect(),
        storage: if snapshot_classes.is_empty() {
            BTreeMap::new()
        } else {
            storage::storage(ctx, &claims.items).await?
        },
        snapshot_classes,
        claims: claims.iter().map(gather::claim).collect(),
        bucket_errors,
        store_error,
    })
}

/// Each bucket must be there, readable, and the system's own.
async fn buckets(
    ctx: &Ctx,
    centre: &Centre,
    policy: &BackupPolicy,
) -> (Vec<(usize, String)>, Option<String>) {
    let store = match ctx.stores.open(centre).await {
        Ok(store) => store,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let mut errors = Vec::new();
    for (at, bucket) in policy.spec.include.buckets.iter().enumerate() {
        let owned = match store.list(bucket, "tripod-readable/").await {
            Ok(_) => Stores::owned_bucket(&store, bucket, &policy.namespace().unwrap_or_default()).await,
            Err(error) => Err(error.into()),
        };
        match owned {
            Ok(()) => {}
            Err(StoreAccess::Store(error)) if error.is_transient() => {
                return (Vec::new(), Some(error.to_string()));
            }
            Err(error) => errors.push((at, error.to_string())),
        }
    }
    (errors, None)
}
