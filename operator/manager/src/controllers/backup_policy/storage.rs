//! Which claims of a namespace could be read from a snapshot, by what the cluster has.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, ResourceExt};
use tripod_domain::volume_snapshots::{API_VERSION, Class, Storage};

use crate::context::{Ctx, Error};

/// The classes of snapshots; none where the cluster does not know such.
pub(super) async fn classes(ctx: &Ctx) -> Result<Vec<Class>, Error> {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, "VolumeSnapshotClass"));
    let api: Api<DynamicObject> = Api::all_with(ctx.client.clone(), &kind);
    let listed = match api.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut classes = Vec::new();
    for object in listed {
        classes.extend(Class::of(&serde_json::to_value(object).map_err(kube::Error::SerdeError)?));
    }
    Ok(classes)
}

/// What each claim is made of. Only asked for where there are snapshots to be had.
pub(super) async fn storage(
    ctx: &Ctx,
    claims: &[PersistentVolumeClaim],
) -> Result<BTreeMap<String, Storage>, Error> {
    let class_of = |claim: &PersistentVolumeClaim| claim.spec.as_ref()?.storage_class_name.clone();
    let names: BTreeSet<String> = claims.iter().filter_map(class_of).collect();
    let (api, mut drivers) = (Api::<StorageClass>::all(ctx.client.clone()), BTreeMap::new());
    for name in names {
        if let Some(class) = api.get_opt(&name).await? {
            drivers.insert(name, class.provisioner);
        }
    }
    let storage = |claim: &PersistentVolumeClaim| {
        let class = class_of(claim);
        let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
        let size = capacity.and_then(|capacity| capacity.get("storage")).map(|size| size.0.clone());
        let driver = class.as_ref().and_then(|class| drivers.get(class).cloned());
        (claim.name_any(), Storage { class, driver, size: size.unwrap_or_default() })
    };
    Ok(claims.iter().map(storage).collect())
}
