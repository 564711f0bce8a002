//! Creates the recovery point that was planned.

use kube::api::{ObjectMeta, PostParams};
use tripod_crds::RecoveryPoint;
use tripod_domain::backup_policy::{Action, Plan};
use tripod_domain::namespace::{backup_objects, hook_binding};

use crate::context::Ctx;

pub(super) async fn act(ctx: &Ctx, namespace: &str, plan: &Plan) -> Result<(), String> {
    let Action::Create { name, spec, .. } = &plan.action else { return Ok(()) };
    // The accounts that the run needs, in place before it starts.
    let department = ctx.tenancy.read().department_of(namespace).map(ToOwned::to_owned).unwrap_or_default();
    for object in backup_objects(&department, namespace, &ctx.namespace) {
        ctx.apply(&ctx.client, &object).await?;
    }
    if !spec.hooks.is_empty() {
        ctx.apply(&ctx.client, &hook_binding(&department, namespace)).await?;
    }
    let point = RecoveryPoint {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some([("tripod.cloud/policy".to_owned(), spec.policy.clone())].into()),
            ..ObjectMeta::default()
        },
        spec: spec.clone(),
        status: None,
    };
    match ctx.api::<RecoveryPoint>(namespace).create(&PostParams::default(), &point).await {
        // It was made by a pass whose answer was lost, or by another replica: the same point.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        result => result.map(drop).map_err(|e| format!("RecoveryPoint {name}: {e}")),
    }
}
