//! Applies what was planned, in order.

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, Preconditions};
use tripod_domain::department::{Observed, Plan, home};

use crate::context::Ctx;

pub(super) async fn act(ctx: &Ctx, seen: &Observed, plan: &Plan) -> Result<(), String> {
    let Plan::Apply { objects, revoke } = plan else { return Ok(()) };
    for object in objects {
        ctx.apply(&ctx.client, object).await?;
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
