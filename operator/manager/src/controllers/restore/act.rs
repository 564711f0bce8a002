//! Carries out one step of a restore.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;
use tripod_crds::Restore;
use tripod_crds::restore::ExistingPolicy;
use tripod_domain::manifest::PointManifest;
use tripod_domain::namespace::backup_objects;
use tripod_domain::restore::{Observed, Outcome, Plan, Source};

use super::objects::{Counting, Mode, Part};
use super::{buckets, names, objects, volumes};
use crate::context::{Ctx, Error};

/// How often, and after what pause, it is asked whether a binding counts.
const RIGHTS_TRIES: u32 = 50;
const RIGHTS_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn act(ctx: &Ctx, seen: &Observed, plan: &Plan, counting: &Counting) -> Outcome {
    let mut outcome = Outcome::default();
    let done = match plan {
        Plan::Ignore | Plan::Wait { .. } | Plan::Enter(_) | Plan::Conclude { .. } => Ok(()),
        Plan::Begin { .. } => prepare(ctx, &seen.restore).await,
        Plan::Compare => compare(ctx, seen, counting, &mut outcome).await,
        Plan::Configure => {
            let run = objects::run(ctx, seen, Part::BeforeFilling, Mode::Write, counting).await;
            run.map(|()| outcome.objects = Some(counting.so_far()))
        }
        Plan::Start => {
            let run = objects::run(ctx, seen, Part::AfterFilling, Mode::Write, counting).await;
            run.map(|()| outcome.objects = Some(counting.so_far()))
        }
        Plan::Fill(filling) => {
            let moved = volumes::act(ctx, &seen.restore, filling).await;
            if let (Some(bucket), Some(manifest)) = (&filling.bucket, manifest(seen)) {
                outcome.bucket = Some(buckets::fill(ctx, seen, manifest, bucket).await);
            }
            moved
        }
    };
    outcome.error = done.err();
    outcome
}

fn manifest(seen: &Observed) -> Option<&PointManifest> {
    match &seen.source {
        Source::Ready(manifest) => Some(manifest),
        _ => None,
    }
}

/// What the restore needs in the namespace: the accounts and the way of movers, and the restorer's rights while it is
/// under way.
async fn prepare(ctx: &Ctx, restore: &Restore) -> Result<(), String> {
    let namespace = restore.namespace().unwrap_or_default();
    let department = ctx.tenancy.read().department_of(&namespace).map(ToOwned::to_owned).unwrap_or_default();
    for object in backup_objects(&department, &namespace, &ctx.namespace) {
        ctx.apply(&ctx.client, &object).await?;
    }
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": names::binding(restore), "namespace": namespace, "ownerReferences": names::owner(restore),
            "labels": {"app.kubernetes.io/managed-by": "tripod"}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": names::RESTORER},
        "subjects": [{"kind": "ServiceAccount", "name": names::RESTORER, "namespace": namespace}]});
    ctx.apply(&ctx.client, &binding).await?;
    await_rights(ctx, &namespace).await
}

/// A binding counts once the API server has heard of it: what is refused before would be taken for refused for good.
async fn await_rights(ctx: &Ctx, namespace: &str) -> Result<(), String> {
    let client = ctx.acting_as(namespace, names::RESTORER).map_err(|e| e.to_string())?;
    let api = Api::<ConfigMap>::namespaced(client, namespace);
    for _ in 0..RIGHTS_TRIES {
        match api.get_opt("tripod-no-such").await {
            Err(kube::Error::Api(status)) if status.code == 403 => tokio::time::sleep(RIGHTS_PAUSE).await,
            result => return result.map(drop).map_err(|e| e.to_string()),
        }
    }
    Err(format!(
        "{} has no rights in {namespace} yet; ClusterRole {} is bound there",
        names::RESTORER,
        names::RESTORER
    ))
}

/// A restore that is over needs no rights any more.
pub(super) async fn let_go(ctx: &Ctx, restore: &Restore) -> Result<(), Error> {
    let api = ctx.api::<RoleBinding>(&restore.namespace().unwrap_or_default());
    let name = names::binding(restore);
    let Some(binding) = api.get_opt(&name).await? else { return Ok(()) };
    let ours = binding.owner_references().iter().any(|o| Some(&o.uid) == restore.uid().as_ref());
    if !ours {
        return Ok(());
    }
    let only_this = Preconditions { uid: binding.uid(), resource_version: binding.resource_version() };
    match api.delete(&name, &DeleteParams::default().preconditions(only_this)).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

/// Compares objects, and the volumes by their claims; buckets are compared object by object when they are filled.
async fn compare(
    ctx: &Ctx,
    seen: &Observed,
    counting: &Counting,
    outcome: &mut Outcome,
) -> Result<(), String> {
    objects::run(ctx, seen, Part::All, Mode::Compare, counting).await?;
    outcome.conflicts = counting.conflicts();
    if seen.restore.spec.existing == ExistingPolicy::Fail {
        outcome.conflicts += volumes::there_already(ctx, &seen.restore).await?;
    }
    outcome.objects = Some(counting.so_far());
    Ok(())
}
