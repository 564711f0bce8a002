//! The Jobs that move or check the volumes of a namespace, and how far they are.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tripod_domain::disaster_recovery_drill::Progress;

use crate::context::Ctx;
use crate::gateway::AUDIENCE;
use crate::gateway::gatekeeper::ACCOUNT;

/// A mover for one volume.
pub struct Mover<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub claim: &'a str,
    /// The claim that is mounted: that one, or one made from a snapshot of it.
    pub reads: &'a str,
    /// The words after `tripod mover`, without what every mover is told.
    pub words: Vec<String>,
    /// Restoring writes and sets owners; archiving only reads.
    pub restores: bool,
    pub labels: Value,
}

/// Folder at which a mover has its volume.
const VOLUME: &str = "/volume";
/// Where its projected token lies.
const TOKEN: &str = "/var/run/secrets/tripod/token";

impl Mover<'_> {
    /// The Job, as it is applied. It runs as root without any capability but those that reading (or restoring)
    /// other users' files takes; without FSETID the bit for a group's files would be lost with every foreign group.
    #[must_use]
    pub fn job(&self, ctx: &Ctx) -> Value {
        let capabilities = if self.restores {
            json!(["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"])
        } else {
            json!(["DAC_OVERRIDE"])
        };
        let mut arguments = vec!["mover".to_owned()];
        arguments.extend(self.words.iter().cloned());
        arguments.extend(
            ["--gateway", &ctx.gateway_url, "--claim", self.claim, "--path", VOLUME, "--token-file", TOKEN]
                .map(str::to_owned),
        );
        let container = json!({
            "name": "mover", "image": ctx.image, "command": ["/tripod"], "args": arguments,
            "env": [{"name": "TRIPOD_GATEWAY_CA", "value": ctx.gateway_ca}],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
            "securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"], "add": capabilities}},
            "volumeMounts": [{"name": "volume", "mountPath": VOLUME, "readOnly": !self.restores},
                {"name": "token", "mountPath": "/var/run/secrets/tripod", "readOnly": true}],
        });
        let token = json!({"serviceAccountToken": {"path": "token", "audience": AUDIENCE, "expirationSeconds": 3600}});
        job(
            self.namespace,
            self.name,
            &self.labels,
            &json!({
                "serviceAccountName": ACCOUNT, "automountServiceAccountToken": false,
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [container],
                "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": self.reads, "readOnly": !self.restores}},
                    {"name": "token", "projected": {"sources": [token]}}],
            }),
        )
    }
}

/// A Job that tries a few times and is kept until its owner is done with it.
#[must_use]
pub fn job(namespace: &str, name: &str, labels: &Value, pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod["restartPolicy"] = json!("Never");
    let mut pod_labels = labels.clone();
    pod_labels["tripod.cloud/mover"] = json!("true");
    pod_labels["app.kubernetes.io/managed-by"] = json!("tripod");
    let mut job_labels = labels.clone();
    job_labels["app.kubernetes.io/managed-by"] = json!("tripod");
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace, "labels": job_labels},
        "spec": {"backoffLimit": 4, "ttlSecondsAfterFinished": 3600,
            "template": {"metadata": {"labels": pod_labels}, "spec": pod}}})
}

/// How far a Job is, with the last words of its newest pod.
///
/// # Errors
/// Those of the API server.
pub async fn progress(ctx: &Ctx, namespace: &str, name: &str) -> Result<Progress, kube::Error> {
    let Some(job) = ctx.api::<Job>(namespace).get_opt(name).await? else { return Ok(Progress::Absent) };
    let conditions = job.status.and_then(|s| s.conditions).unwrap_or_default();
    let holds = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
    let (complete, failed) = (holds("Complete"), holds("Failed"));
    let words = last_words(ctx, namespace, name).await?;
    Ok(if complete {
        Progress::Done(words.unwrap_or_default())
    } else if failed {
        Progress::Failed(words.unwrap_or_else(|| "its Job failed; see its pods' logs".into()))
    } else {
        Progress::Running(words.unwrap_or_else(|| "running".into()))
    })
}

/// Removes a Job with its pods, as it was seen. That it is gone or another one meanwhile is success.
///
/// # Errors
/// Those of the API server.
pub async fn remove(jobs: &Api<Job>, name: &str) -> Result<(), kube::Error> {
    let Some(job) = jobs.get_opt(name).await? else { return Ok(()) };
    let only_this = Preconditions { uid: job.uid(), resource_version: job.resource_version() };
    let parameters = DeleteParams::background().preconditions(only_this);
    match jobs.delete(name, &parameters).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => result.map(drop),
    }
}

/// What the newest pod that said something said; else why it does not run.
///
/// # Errors
/// Those of the API server.
pub async fn last_words(ctx: &Ctx, namespace: &str, job: &str) -> Result<Option<String>, kube::Error> {
    let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    let mut pods = ctx.api::<Pod>(namespace).list(&of_job).await?.items;
    pods.sort_by_key(|p| p.creation_timestamp().map(|t| t.0));
    Ok(pods.iter().rev().find_map(words_of))
}

fn words_of(pod: &Pod) -> Option<String> {
    let state = pod.status.as_ref()?.container_statuses.as_ref()?.first()?.state.clone()?;
    if let Some(ended) = state.terminated {
        let text = ended.message.unwrap_or_default();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let plain = || match (ended.exit_code, text.trim()) {
            (0, words) if !words.is_empty() => words.to_owned(),
            (code, words) => format!("exit code {code} {words}").trim().to_owned(),
        };
        return Some(
            match (report["error"].as_str(), report["digest"].as_str(), report["expected"].as_str()) {
                (Some(error), ..) => error.to_owned(),
                (None, Some(digest), Some(expected)) if digest != expected => {
                    format!("read back {digest}, the recovery point has {expected}")
                }
                (None, Some(digest), Some(_)) => {
                    format!("{} files, {digest} read back from the disk", report["files"])
                }
                _ => plain(),
            },
        );
    }
    state.waiting.and_then(|w| w.reason).filter(|reason| reason != "ContainerCreating")
}
