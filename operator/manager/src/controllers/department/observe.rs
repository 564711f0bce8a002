//! Reads what the index knows; asks the API server only for what the index can't know.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};
use tripod_crds::Department;
use tripod_domain::department::{Observed, Unlabelled};
use tripod_domain::tenancy::{DEPARTMENT, home};

use crate::context::{Ctx, Error};
use crate::tenancy::namespace_of;

pub(super) async fn observe(ctx: &Ctx, object: &Department) -> Result<Observed, Error> {
    let department = object.name_any();
    let mut namespaces = ctx.tenancy.read().of_department(&department);
    let adopted = object.spec.adopt.iter().map(|a| a.namespace.clone());
    let reserved = object.status.iter().flat_map(|s| s.ledger.keys().cloned());
    let missing: BTreeSet<String> = adopted.chain(reserved).chain([home(&department)]).collect();
    let (mut unlabelled, mut gone) = (BTreeMap::new(), BTreeSet::new());
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    for name in missing.into_iter().filter(|name| !namespaces.contains_key(name)).collect::<Vec<_>>() {
        match api.get_metadata_opt(&name).await? {
            None => {
                gone.insert(name);
            }
            Some(found) if found.labels().get(DEPARTMENT) == Some(&department) => {
                ctx.tenancy.change(|index| index.put_namespace(&name, namespace_of(&found)));
                namespaces.extend(ctx.tenancy.read().namespace(&name).map(|namespace| (name, namespace)));
            }
            Some(found) => {
                let version = found.resource_version().unwrap_or_default();
                let department = found.labels().get(DEPARTMENT).cloned();
                unlabelled.insert(name, Unlabelled { version, department });
            }
        }
    }
    let usage = ctx.utilisation.of(namespaces.keys());
    let forecast = ctx.tenancy.read().forecasts(&department);
    Ok(Observed {
        department: object.clone(),
        operator_namespace: ctx.namespace.clone(),
        namespaces,
        unlabelled,
        gone,
        usage,
        forecast,
        clouds: ctx.clouds.state(),
    })
}
