//! Writes what was planned, in order. The ledger goes before the quotas, and a quota that has changed since it was read
//! is left for the next pass.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tripod_crds::Department;
use tripod_domain::department::{Observed, Plan};
use tripod_domain::ledger::{self, Ledger, QuotaWrite};
use tripod_domain::namespace;
use tripod_domain::tenancy::{DEPARTMENT, PROMISE, QUOTA};

use super::scale;
use crate::context::Ctx;
use crate::tenancy::{WRITTEN, child_of, namespace_of, quota_of};

/// The one field manager of the ledger: nothing else writes it.
const LEDGER_MANAGER: &str = "tripod-ledger";

/// How a pass went.
pub(super) enum Outcome {
    Done,
    /// Something had changed since it was read; nothing was lost.
    Raced,
    Failed(String),
}

/// Why a write was not made.
enum Stop {
    Raced,
    Failed(String),
}

impl Stop {
    fn of(what: &str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 409 => Self::Raced,
            error => Self::Failed(format!("{what}: {error}")),
        }
    }
}

pub(super) async fn act(ctx: &Ctx, seen: &Observed, plan: &Plan, now: Timestamp) -> Outcome {
    if plan.invalid.is_some() {
        return Outcome::Done;
    }
    match all(ctx, seen, plan, now).await {
        Ok(()) => Outcome::Done,
        Err(Stop::Raced) => Outcome::Raced,
        Err(Stop::Failed(error)) => Outcome::Failed(error),
    }
}

async fn all(ctx: &Ctx, seen: &Observed, plan: &Plan, now: Timestamp) -> Result<(), Stop> {
    for manifest in &plan.create {
        create_namespace(ctx, manifest).await.map_err(|e| Stop::of("Namespace", e))?;
    }
    for (name, version, patch) in &plan.patch {
        let patched = patch_namespace(ctx, name, patch).await;
        // An adoption that comes too late is seen as such in the next pass.
        patched.map_err(|e| {
            if version.is_some() { Stop::of(name, e) } else { Stop::Failed(format!("Namespace {name}: {e}")) }
        })?;
    }
    if let Some(ledger) = &plan.ledger.ledger {
        write_ledger(ctx, &seen.department, ledger).await.map_err(|e| Stop::of("status.ledger", e))?;
    }
    let department = seen.department.name_any();
    let mut raced = false;
    for quota in &plan.ledger.quotas {
        match write_quota(ctx, &department, quota, now).await {
            Err(kube::Error::Api(status)) if status.code == 409 => raced = true,
            // The namespace is on its way out.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 403 => raced = true,
            result => result.map_err(|e| Stop::of(&format!("ResourceQuota {}", quota.namespace), e))?,
        }
    }
    for object in &plan.apply {
        apply(ctx, object).await?;
    }
    for (name, to_zero) in &plan.scale {
        scale::scale(ctx, name, *to_zero).await.map_err(Stop::Failed)?;
    }
    for (namespace, name, uid) in &plan.revoke {
        let only_this = Preconditions { uid: Some(uid.clone()), resource_version: None };
        let parameters = DeleteParams::default().preconditions(only_this);
        match ctx.api::<RoleBinding>(namespace).delete(name, &parameters).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => drop(result.map_err(|e| Stop::of(&format!("RoleBinding {name}"), e))?),
        }
    }
    for (name, uid, version) in &plan.delete {
        let only_this = Preconditions { uid: Some(uid.clone()), resource_version: Some(version.clone()) };
        let parameters = DeleteParams::default().preconditions(only_this);
        let deleted = Api::<Namespace>::all(ctx.client.clone()).delete(name, &parameters).await;
        deleted.map_err(|e| Stop::of(&format!("Namespace {name}"), e))?;
    }
    if raced { Err(Stop::Raced) } else { Ok(()) }
}

/// Makes a namespace, and remembers it.
pub(in crate::controllers) async fn create_namespace(ctx: &Ctx, manifest: &Value) -> Result<(), kube::Error> {
    let object: Namespace = serde_json::from_value(manifest.clone()).map_err(kube::Error::SerdeError)?;
    let parameters =
        PostParams { field_manager: Some(crate::context::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let made = Api::<Namespace>::all(ctx.client.clone()).create(&parameters, &object).await?;
    ctx.tenancy.change(|index| index.put_namespace(&made.name_any(), namespace_of(&made)));
    Ok(())
}

/// Changes a namespace's metadata, and remembers it.
pub(in crate::controllers) async fn patch_namespace(
    ctx: &Ctx,
    name: &str,
    patch: &Value,
) -> Result<(), kube::Error> {
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let patched = api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    ctx.tenancy.change(|index| index.put_namespace(name, namespace_of(&patched)));
    Ok(())
}

/// Compare-and-swap: only if the department, and so its budget, is what was read. A merge patch against exactly that:
/// server-side apply leaves `null` where the last entry of a map goes, which the schema refuses.
async fn write_ledger(ctx: &Ctx, department: &Department, ledger: &Ledger) -> Result<(), kube::Error> {
    let mut entries = serde_json::Map::new();
    for (name, before) in department.status.iter().flat_map(|s| &s.ledger) {
        let gone = before.reserved.keys().map(|resource| (resource.clone(), Value::Null));
        let kept = ledger.contains_key(name);
        let entry =
            if kept { json!({"reserved": gone.collect::<serde_json::Map<_, _>>()}) } else { Value::Null };
        entries.insert(name.clone(), entry);
    }
    for (name, entry) in ledger {
        let target = entries.entry(name.clone()).or_insert_with(|| json!({"reserved": {}}));
        target["promise"] = json!(entry.promise);
        for (resource, amount) in ledger::write(&entry.reserved) {
            target["reserved"][resource] = json!(amount);
        }
    }
    let name = department.name_any();
    let patch = json!({"metadata": {"uid": department.metadata.uid, "resourceVersion": department.metadata.resource_version},
        "status": {"ledger": entries}});
    let parameters = PatchParams { field_manager: Some(LEDGER_MANAGER.to_owned()), ..PatchParams::default() };
    let api: Api<Department> = Api::all(ctx.client.clone());
    api.patch_status(&name, &parameters, &Patch::Merge(patch)).await.map(drop)
}

/// Only if the quota is as it was read, or is not there if it was not.
async fn write_quota(
    ctx: &Ctx,
    department: &str,
    write: &QuotaWrite,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let object = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": QUOTA, "namespace": write.namespace, "resourceVersion": write.at,
            "labels": {DEPARTMENT: department, "app.kubernetes.io/managed-by": "tripod"},
            "annotations": {PROMISE: write.promise, WRITTEN: Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()}},
        "spec": {"hard": ledger::write(&write.hard)}});
    let object: ResourceQuota = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    let api = ctx.api::<ResourceQuota>(&write.namespace);
    let parameters = PostParams { field_manager: Some(LEDGER_MANAGER.to_owned()), ..PostParams::default() };
    let written = match &write.at {
        Some(_) => api.replace(QUOTA, &parameters, &object).await?,
        None => api.create(&parameters, &object).await?,
    };
    let (quota, at) = quota_of(&written);
    ctx.tenancy.change(|index| index.put_quota(&write.namespace, quota, at));
    Ok(())
}

/// Applies a child, and remembers it.
async fn apply(ctx: &Ctx, object: &Value) -> Result<(), Stop> {
    let applied = ctx.apply(&ctx.client, object).await.map_err(Stop::Failed)?;
    let (key, hash) = namespace::identity(object);
    let (namespace, _, mut child) = child_of::<RoleBinding>(&applied, &ctx.namespace);
    child.applied = hash;
    let version = applied.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0);
    ctx.tenancy.wrote(|index| index.put_child(&namespace, key, child, version, true));
    Ok(())
}
