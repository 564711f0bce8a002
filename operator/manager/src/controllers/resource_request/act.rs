//! Writes what was planned, step by step; a step that comes too late ends the pass.

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tripod_crds::ResourceRequest;
use tripod_domain::resource_request::{FINALIZER, Observed, Plan, Step};

use crate::context::Ctx;
use crate::controllers::department::{create_namespace, patch_namespace};

/// How a pass went.
pub(super) enum Outcome {
    Done,
    /// Something had changed since it was read.
    Raced,
    Failed(String),
}

pub(super) async fn act(ctx: &Ctx, seen: &Observed, plan: &Plan) -> Outcome {
    for step in &plan.steps {
        match take(ctx, &seen.request, step).await {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => return Outcome::Raced,
            // Deleted in the meantime, with its last finalizer gone.
            Err(kube::Error::Api(status)) if status.code == 404 && *step == Step::RemoveFinalizer => {}
            Err(error) => return Outcome::Failed(error.to_string()),
        }
    }
    Outcome::Done
}

async fn take(ctx: &Ctx, request: &ResourceRequest, step: &Step) -> Result<(), kube::Error> {
    match step {
        Step::AddFinalizer => finalizers(ctx, request, true).await,
        Step::RemoveFinalizer => finalizers(ctx, request, false).await,
        Step::CreateNamespace(manifest) => create_namespace(ctx, manifest).await,
        Step::PatchNamespace { name, patch } => patch_namespace(ctx, name, patch).await,
        Step::Apply(object) => ctx.try_apply(&ctx.client, object).await.map(drop),
    }
}

/// Of exactly the request that was read.
async fn finalizers(ctx: &Ctx, request: &ResourceRequest, with: bool) -> Result<(), kube::Error> {
    let others = request.finalizers().iter().filter(|f| *f != FINALIZER).cloned();
    let all: Vec<String> = others.chain(with.then(|| FINALIZER.to_owned())).collect();
    let patch = json!({"metadata": {"finalizers": all, "uid": request.uid(), "resourceVersion": request.resource_version()}});
    let api: Api<ResourceRequest> = ctx.api(&request.namespace().unwrap_or_default());
    api.patch_metadata(&request.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}
