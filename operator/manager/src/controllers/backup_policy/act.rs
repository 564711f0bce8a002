//! Creates the recovery point that was planned, and restore tests; removes tests that nobody needs any more.

use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Resource};
use tripod_crds::restore_tests::RESTORE_TEST;
use tripod_crds::{
    BackupPolicy, DisasterRecoveryDrill, DisasterRecoveryDrillSpec, RecoveryPoint, RecoveryPointSpec,
};
use tripod_domain::backup_policy::{Action, Plan};
use tripod_domain::namespace::{backup_objects, hook_binding, snapshot_binding};
use tripod_domain::proof::Step;

use crate::context::Ctx;

pub(super) async fn act(ctx: &Ctx, policy: &BackupPolicy, plan: &Plan) -> Result<(), String> {
    let namespace = policy.metadata.namespace.clone().unwrap_or_default();
    if let Action::Create { name, spec, .. } = &plan.action {
        create_point(ctx, &namespace, name, spec).await?;
    }
    Ok(())
}

async fn create_point(
    ctx: &Ctx,
    namespace: &str,
    name: &str,
    spec: &RecoveryPointSpec,
) -> Result<(), String> {
    // The accounts that the run needs, in place before it starts.
    let department = ctx.tenancy.read().department_of(namespace).map(ToOwned::to_owned).unwrap_or_default();
    for object in backup_objects(&department, namespace, &ctx.namespace) {
        ctx.apply(&ctx.client, &object).await?;
    }
    if !spec.hooks.is_empty() {
        ctx.apply(&ctx.client, &hook_binding(&department, namespace)).await?;
    }
    if !spec.snapshots.is_empty() {
        ctx.apply(&ctx.client, &snapshot_binding(&department, namespace)).await?;
    }
    let point = RecoveryPoint {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
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

/// Restore tests of the plan, each by itself: one that can't be started keeps no other from it.
pub(super) async fn tests(ctx: &Ctx, policy: &BackupPolicy, steps: &[Step]) -> Result<(), String> {
    let api = ctx.api::<DisasterRecoveryDrill>(policy.metadata.namespace.as_deref().unwrap_or_default());
    let mut errors = Vec::new();
    for step in steps {
        let (name, done) = match step {
            Step::Start { name, spec } => (name, start(ctx, &api, policy, name, spec).await),
            Step::Remove { name, uid, version } => {
                let as_seen =
                    Preconditions { uid: Some(uid.clone()), resource_version: Some(version.clone()) };
                let parameters = DeleteParams::default().preconditions(as_seen);
                (name, api.delete(name, &parameters).await.map(drop))
            }
        };
        match done {
            // Already there, already gone, or changed since: the next pass sees.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => errors.push(format!("DisasterRecoveryDrill {name}: {error}")),
            Ok(()) => {}
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}

async fn start(
    ctx: &Ctx,
    api: &Api<DisasterRecoveryDrill>,
    policy: &BackupPolicy,
    name: &str,
    spec: &DisasterRecoveryDrillSpec,
) -> Result<(), kube::Error> {
    let drill = DisasterRecoveryDrill {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: policy.metadata.namespace.clone(),
            labels: Some([(RESTORE_TEST.to_owned(), spec.policy.clone())].into()),
            owner_references: policy.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: spec.clone(),
        status: None,
    };
    api.create(&PostParams::default(), &drill).await?;
    let point = spec.recovery_point.as_deref().unwrap_or_default();
    let message = format!("{name}: {point} is restored in isolation at {} and checked", spec.centre);
    ctx.tell(&policy.object_ref(&()), false, "RestoreTestStarted", &message).await;
    Ok(())
}
