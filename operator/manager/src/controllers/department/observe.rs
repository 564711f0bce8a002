//! Reads the home namespace, what was given in it, and what is used in it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota};
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, ResourceExt};
use tripod_crds::Department;
use tripod_domain::department::{DEPARTMENT_LABEL, Observed, Usage, home};
use tripod_domain::quantity;

use crate::context::{Ctx, Error};

pub(super) async fn observe(ctx: &Ctx, object: &Department) -> Result<Observed, Error> {
    let namespace = home(&object.name_any());
    let found = Api::<Namespace>::all(ctx.client.clone()).get_opt(&namespace).await?;
    let ours = ListParams::default().labels(&format!("{DEPARTMENT_LABEL}={}", object.name_any()));
    let bindings = ctx.api::<RoleBinding>(&namespace).list(&ours).await?;
    let quota = ctx.api::<ResourceQuota>(&namespace).get_opt("tripod-budget").await?;
    let requested = quota.and_then(|q| q.status).and_then(|s| s.used).unwrap_or_default();
    Ok(Observed {
        department: object.clone(),
        operator_namespace: ctx.namespace.clone(),
        namespace_labels: found.map(|n| n.labels().clone()),
        bindings: bindings.into_iter().map(|b| (b.name_any(), b.uid().unwrap_or_default())).collect(),
        requested,
        usage: usage(ctx, &namespace).await,
    })
}

/// Sums over all running pods. One without a reading makes the sum unknown.
async fn usage(ctx: &Ctx, namespace: &str) -> Result<Usage, String> {
    let pods = ctx.api::<Pod>(namespace).list(&ListParams::default()).await.map_err(|e| e.to_string())?;
    let running: BTreeSet<String> = pods
        .into_iter()
        .filter(|p| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running"))
        .map(|p| p.name_any())
        .collect();
    let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
    let resource = ApiResource::from_gvk_with_plural(&kind, "pods");
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &resource);
    let readings =
        api.list(&ListParams::default()).await.map_err(|e| format!("metrics.k8s.io does not answer: {e}"))?;
    let read: BTreeMap<String, Usage> =
        readings.into_iter().filter_map(|r| Some((r.name_any(), sum(&r.data["containers"])?))).collect();
    let mut total = Usage::default();
    for pod in &running {
        let Some(usage) = read.get(pod) else { return Err(format!("pod {pod} runs and has no reading yet")) };
        total.cpu += usage.cpu;
        total.memory += usage.memory;
    }
    Ok(total)
}

fn sum(containers: &serde_json::Value) -> Option<Usage> {
    let mut total = Usage::default();
    for container in containers.as_array()? {
        let read =
            |what: &str| quantity::parse(&Quantity(container["usage"][what].as_str()?.to_owned())).ok();
        total.cpu += read("cpu")?;
        total.memory += read("memory")?;
    }
    Some(total)
}
