//! Applies what was planned, in order.

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ApiResource, DeleteParams, GroupVersionKind, Preconditions};
use tripod_domain::department::{Observed, Plan, home};

use crate::context::Ctx;

pub(super) async fn act(ctx: &Ctx, seen: &Observed, plan: &Plan) -> Result<(), String> {
    let Plan::Apply { objects, revoke } = plan else { return Ok(()) };
    for object in objects {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let kind = GroupVersionKind::gvk(group, version, text("kind"));
        let resource = ApiResource::from_gvk(&kind);
        let what = || format!("{} {}", text("kind"), object["metadata"]["name"]);
        ctx.apply_value(&ctx.client, &resource, object).await.map_err(|e| format!("{}: {e}", what()))?;
    }
    let namespace = home(&seen.department.metadata.name.clone().unwrap_or_default());
    for (name, uid) in revoke {
        let only_this = Preconditions { uid: Some(uid.clone()), resource_version: None };
        let parameters = DeleteParams::default().preconditions(only_this);
        let deleted = ctx.api::<RoleBinding>(&namespace).delete(name, &parameters).await;
        deleted.map_err(|e| format!("RoleBinding {name}: {e}"))?;
    }
    Ok(())
}
