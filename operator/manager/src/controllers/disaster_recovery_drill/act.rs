//! Carries out one step of a drill.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tripod_crds::DisasterRecoveryDrill;
use tripod_crds::disaster_recovery_drill::{Check, ReportRef};
use tripod_domain::disaster_recovery_drill::{FINALIZER, Observed, Outcome, Plan};
use tripod_domain::manifest::PointManifest;

use super::{names, restore};
use crate::context::Ctx;
use crate::controllers::mover_job;
use crate::gateway::gatekeeper::{DRILL_LABEL, RESTORE_CENTRE, RESTORE_POINT, RESTORE_SYSTEM};
use crate::vault::layout;

pub(super) async fn act(ctx: &Ctx, seen: &Observed, plan: &Plan) -> Outcome {
    let mut outcome = Outcome::default();
    let done = match plan {
        Plan::Hold => finalizers(ctx, &seen.drill, &[FINALIZER]).await,
        Plan::Release => finalizers(ctx, &seen.drill, &[]).await,
        Plan::Prepare => prepare(ctx, seen).await.map(|namespace| outcome.namespace = Some(namespace)),
        Plan::Restore { configuration, volumes, buckets } => {
            restore::restore(ctx, &seen.drill, *configuration, volumes, buckets).await
        }
        Plan::Start => restore::start(ctx, &seen.drill).await,
        Plan::Check(wanted) => start_checks(ctx, seen, wanted).await,
        Plan::CleanUp => clean_up(ctx, seen).await,
        Plan::Report => report(ctx, seen).await.map(|report| outcome.report = Some(report)),
        Plan::Ignore
        | Plan::Leave(_)
        | Plan::Wait(_)
        | Plan::Choose { .. }
        | Plan::Enter(_)
        | Plan::Conclude { .. } => Ok(()),
    };
    outcome.error = done.err();
    outcome
}

/// Server-side apply owns exactly the finalizers that are named: none means that ours goes.
async fn finalizers(ctx: &Ctx, drill: &DisasterRecoveryDrill, names: &[&str]) -> Result<(), String> {
    let api = ctx.api::<DisasterRecoveryDrill>(&drill.namespace().unwrap_or_default());
    let mut kept: Vec<&str> =
        drill.finalizers().iter().map(String::as_str).filter(|f| *f != FINALIZER).collect();
    kept.extend(names);
    // The version makes it fail rather than bring back an object that is gone meanwhile.
    let patch = json!({"metadata": {"finalizers": kept, "resourceVersion": drill.resource_version(), "uid": drill.uid()}});
    match api.patch(&drill.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop).map_err(|e| format!("finalizer: {e}")),
    }
}

async fn prepare(ctx: &Ctx, seen: &Observed) -> Result<String, String> {
    let drill = &seen.drill;
    let namespace = names::namespace(drill);
    let point = drill.status.as_ref().and_then(|s| s.recovery_point.clone()).unwrap_or_default();
    for object in walls(ctx, drill, &namespace, &point) {
        ctx.apply(&ctx.client, &object).await?;
    }
    Ok(namespace)
}

/// The namespace, marked as the drill's; accounts of movers and restorer; and a wall that lets through only what
/// the parts of the system say to each other, names, and the movers' way to the gateway.
fn walls(ctx: &Ctx, drill: &DisasterRecoveryDrill, namespace: &str, point: &str) -> Vec<Value> {
    let labels = json!({"app.kubernetes.io/managed-by": "tripod", DRILL_LABEL: drill.uid()});
    let meta = |name: &str| json!({"name": name, "namespace": namespace, "labels": labels});
    let policy = |name: &str, spec: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta(name), "spec": spec});
    let gateway =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ctx.namespace}}});
    let account = |name: &str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(name), "automountServiceAccountToken": false});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace,
            "labels": {"app.kubernetes.io/managed-by": "tripod", DRILL_LABEL: drill.uid(),
                "pod-security.kubernetes.io/enforce": "baseline"},
            "annotations": {RESTORE_CENTRE: drill.spec.centre, RESTORE_SYSTEM: drill.namespace(), RESTORE_POINT: point, "tripod.cloud/drill-name": drill.name_any()}}}),
        policy(
            "isolated",
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {}}]}], "egress": [{"to": [{"podSelector": {}}]},
                {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}]}),
        ),
        policy(
            "movers",
            json!({"podSelector": {"matchLabels": {"tripod.cloud/mover": "true"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [gateway], "ports": [{"port": 8443, "protocol": "TCP"}]}]}),
        ),
        account("tripod-mover"),
        account("tripod-restorer"),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta("tripod-restorer"),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tripod-restorer"},
            "subjects": [{"kind": "ServiceAccount", "name": "tripod-restorer", "namespace": namespace}]}),
    ]
}

async fn start_checks(ctx: &Ctx, seen: &Observed, wanted: &[String]) -> Result<(), String> {
    let drill = &seen.drill;
    let point = drill.status.as_ref().and_then(|s| s.recovery_point.clone());
    let volumes = seen.points.iter().find(|p| Some(p.name_any()) == point).map(|p| p.spec.volumes.clone());
    for check in drill.spec.checks.iter().filter(|c| wanted.contains(&c.name)) {
        ctx.apply(&ctx.client, &check_job(drill, check, &volumes.clone().unwrap_or_default())).await?;
    }
    Ok(())
}

/// The department's own check, with the restored volumes read-only under `/volumes/<claim>`.
fn check_job(drill: &DisasterRecoveryDrill, check: &Check, claims: &[String]) -> Value {
    let mut mounts = vec![json!({"name": "scratch", "mountPath": "/tmp"})];
    let mut volumes = vec![json!({"name": "scratch", "emptyDir": {}})];
    for (at, claim) in claims.iter().enumerate() {
        let name = format!("volume-{at}");
        mounts.push(json!({"name": name, "mountPath": format!("/volumes/{claim}"), "readOnly": true}));
        volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}));
    }
    let mut container = json!({"name": "check", "image": check.job.image, "args": check.job.args, "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    if !check.job.command.is_empty() {
        container["command"] = json!(check.job.command);
    }
    let pod = json!({"automountServiceAccountToken": false, "containers": [container], "volumes": volumes,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}});
    let mut job = mover_job::job(&names::namespace(drill), &names::check_job(&check.name), &json!({}), &pod);
    // A check that says no has said no: asking again until it says yes would prove nothing.
    job["spec"]["backoffLimit"] = json!(0);
    // Checks have no business at the gateway.
    if let Some(labels) = job.pointer_mut("/spec/template/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("tripod.cloud/mover");
    }
    job
}

async fn clean_up(ctx: &Ctx, seen: &Observed) -> Result<(), String> {
    let drill = &seen.drill;
    let name = names::namespace(drill);
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    if let Some(namespace) = api.get_opt(&name).await.map_err(|e| e.to_string())? {
        // Only what carries this drill's mark is ever deleted, and only as it was seen.
        if namespace.labels().get(DRILL_LABEL) != drill.uid().as_ref() {
            return Err(format!("namespace {name} is not this drill's; nothing was deleted"));
        }
        if namespace.metadata.deletion_timestamp.is_none() {
            let only_this =
                Preconditions { uid: namespace.uid(), resource_version: namespace.resource_version() };
            let deleted = api.delete(&name, &DeleteParams::default().preconditions(only_this)).await;
            deleted.map_err(|e| format!("namespace {name}: {e}"))?;
        }
    }
    let system = drill.namespace().unwrap_or_default();
    let at = ctx.stores.vault_at(&drill.spec.centre, &system).await;
    let (_, vault) = at.map_err(|e| e.to_string())?;
    let point = drill.status.as_ref().and_then(|s| s.recovery_point.clone()).unwrap_or_default();
    let buckets = seen.points.iter().find(|p| p.name_any() == point).map(|p| p.spec.buckets.clone());
    for bucket in buckets.unwrap_or_default() {
        vault.store.remove_bucket(&names::scratch_bucket(drill, &bucket)).await.map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The report: everything that was measured, and what it was measured against. Its digest goes into the status.
async fn report(ctx: &Ctx, seen: &Observed) -> Result<ReportRef, String> {
    let drill = &seen.drill;
    let system = drill.namespace().unwrap_or_default();
    let at = ctx.stores.vault_at(&drill.spec.centre, &system).await;
    let (_, vault) = at.map_err(|e| e.to_string())?;
    let status = drill.status.clone().unwrap_or_default();
    let point = status.recovery_point.clone().unwrap_or_default();
    let manifest: Option<PointManifest> =
        vault.read_json(&layout::manifest(&system, &point)).await.map_err(|e| e.to_string())?;
    let report = json!({
        "version": 1,
        "drill": {"system": system, "name": drill.name_any(), "uid": drill.uid(), "mode": drill.spec.mode,
            "centre": drill.spec.centre, "decidedAt": drill.creation_timestamp()},
        "recoveryPoint": manifest,
        "measured": {"rpo": status.rpo, "rto": status.rto},
        "timeline": status.timeline,
        "checks": status.checks,
        "verdict": status.verdict,
        "cleanedUp": !seen.namespace_exists && !seen.scratch_bucket_exists,
    });
    let body = serde_json::to_vec_pretty(&report).map_err(|e| e.to_string())?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&body)));
    let key = layout::drill_report(&system, &drill.name_any(), &drill.uid().unwrap_or_default());
    vault.store.put(&vault.bucket, &key, body.into()).await.map_err(|e| e.to_string())?;
    Ok(ReportRef { key, digest })
}
