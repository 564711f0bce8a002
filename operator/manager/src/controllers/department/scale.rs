//! Scales what runs in a namespace to zero and back, exactly: each workload carries what it had. Done with the rights of
//! that namespace's `tripod-scaler`, and safe to be done again from any point.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tripod_domain::namespace::SCALED;
use tripod_domain::scaling::{self, KINDS};

use super::act::patch_namespace;
use crate::context::Ctx;

/// Every workload of the namespace; then the namespace says that it was done.
pub(super) async fn scale(ctx: &Ctx, namespace: &str, to_zero: bool) -> Result<(), String> {
    let client = ctx.acting_as(namespace, "tripod-scaler").map_err(|e| e.to_string())?;
    for (group, kind) in KINDS {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let all =
            api.list(&ListParams::default()).await.map_err(|e| format!("{kind}s of {namespace}: {e}"))?;
        for workload in all {
            if let Some(patch) =
                scaling::patch(kind, &serde_json::to_value(&workload).unwrap_or_default(), to_zero)
            {
                change(&api, kind, &workload, patch).await?;
            }
        }
    }
    drop::<Client>(client);
    let mark: Value = if to_zero { json!("true") } else { Value::Null };
    let patch = json!({"metadata": {"annotations": {SCALED: mark}}});
    patch_namespace(ctx, namespace, &patch).await.map_err(|e| format!("Namespace {namespace}: {e}"))
}

/// Only the workload that was read: its replicas may just be changed by its owner.
async fn change(
    api: &Api<DynamicObject>,
    kind: &str,
    workload: &DynamicObject,
    mut patch: Value,
) -> Result<(), String> {
    let name = workload.name_any();
    patch["metadata"]["resourceVersion"] = json!(workload.resource_version());
    patch["metadata"]["uid"] = json!(workload.uid());
    match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop).map_err(|e| format!("{kind} {name}: {e}")),
    }
}
