//! Runs the steps of hooks, with the rights of the namespace's account `tripod-hooks`: commands in pods by a task of this
//! process, others by a Job of the namespace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{AttachParams, DeleteParams, ListParams};
use kube::core::Selector;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};
use tripod_crds::RecoveryPoint;
use tripod_crds::hook::{Exec, HookPhase, HookState, JobStep};
use tripod_domain::disaster_recovery_drill::Progress;
use tripod_domain::hooks::{self, At, Seen, StepState};
use tripod_domain::selection::HOOK_LABEL;

use super::POINT_LABEL;
use crate::context::{Ctx, Error};
use crate::controllers::mover_job;

/// The namespace's account that hooks are run as.
const ACCOUNT: &str = "tripod-hooks";
/// Bytes of what a command says that are kept: its end.
const SAID: usize = 2048;

/// By uid of the point, name of the hook, and phase.
type Key = (String, String, HookPhase);

/// Commands that run in this process, and how those ended that did. Steps that could not be started are here as well.
#[derive(Default)]
pub struct Running(Mutex<HashMap<Key, StepState>>);

impl Running {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Key, StepState>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn get(&self, key: &Key) -> Option<StepState> {
        self.with(|all| all.get(key).cloned())
    }

    fn put(&self, key: Key, state: StepState) {
        self.with(|all| all.insert(key, state));
    }
}

fn key(point: &RecoveryPoint, hook: &str, phase: HookPhase) -> Key {
    (point.uid().unwrap_or_default(), hook.to_owned(), phase)
}

/// How those steps stand that were begun and have no end yet. What is known of the others is forgotten.
pub(super) async fn observe(ctx: &Ctx, point: &RecoveryPoint) -> Result<Seen, Error> {
    let steps = point.status.iter().flat_map(|status| &status.hooks);
    let open: Vec<_> = steps.filter(|step| step.state == HookState::Running).collect();
    let uid = point.uid().unwrap_or_default();
    ctx.hooks.with(|all| {
        all.retain(|(of, name, phase), _| {
            *of != uid || open.iter().any(|step| step.name == *name && step.phase == *phase)
        });
    });
    let mut seen = Seen::new();
    for step in open {
        let here = ctx.hooks.get(&key(point, &step.name, step.phase));
        let hook = point.spec.hooks.iter().find(|hook| hook.name == step.name);
        let is_job =
            hook.and_then(|hook| hooks::step(hook, step.phase)).is_some_and(|step| step.job.is_some());
        let state = match here {
            Some(state) => state,
            None if is_job => of_job(ctx, point, &step.name, step.phase).await?,
            None => StepState::Absent,
        };
        seen.insert((step.name.clone(), step.phase), state);
    }
    Ok(seen)
}

async fn of_job(ctx: &Ctx, point: &RecoveryPoint, hook: &str, phase: HookPhase) -> Result<StepState, Error> {
    let namespace = point.namespace().unwrap_or_default();
    let name = job_name(&point.name_any(), hook, phase);
    Ok(match mover_job::progress(ctx, &namespace, &name).await? {
        Progress::Absent => StepState::Absent,
        Progress::Running(_) => StepState::Running,
        Progress::Failed(words) => StepState::Failed(words),
        Progress::Done(words) => StepState::Succeeded(words),
    })
}

/// Starts a step that was written down as begun. That it is started already is success.
pub(super) async fn begin(ctx: &Ctx, point: &RecoveryPoint, (place, phase): At) -> Result<(), String> {
    let namespace = point.namespace().unwrap_or_default();
    let Some(hook) = point.spec.hooks.get(place) else { return Ok(()) };
    let Some(step) = hooks::step(hook, phase) else { return Ok(()) };
    let client = ctx.acting_as(&namespace, ACCOUNT).map_err(|e| e.to_string())?;
    let key = key(point, &hook.name, phase);
    if let Some(exec) = &step.exec {
        let fresh = ctx.hooks.with(|all| match all.get(&key) {
            Some(_) => false,
            None => all.insert(key.clone(), StepState::Running).is_none(),
        });
        if fresh {
            let command = Command { reader: ctx.client.clone(), client, namespace, exec: exec.clone() };
            let (running, patience) = (Arc::clone(&ctx.hooks), hooks::timeout(step).unsigned_abs());
            tokio::spawn(async move {
                let state = match tokio::time::timeout(patience, command.everywhere()).await {
                    Ok(Ok(words)) => StepState::Succeeded(words),
                    Ok(Err(words)) => StepState::Failed(words),
                    Err(_) => StepState::Failed(format!("not through after {} s", patience.as_secs())),
                };
                running.put(key, state);
            });
        }
    } else if let Some(job) = &step.job {
        let restricted = is_restricted(ctx, &namespace).await?;
        let seconds = hooks::timeout(step).as_secs();
        let object = manifest(point, &hook.name, phase, job, seconds, restricted);
        match ctx.try_apply(&client, &object).await {
            Ok(_) => {}
            // The API server has judged it: asked again it says the same.
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                ctx.hooks.put(key, StepState::Failed(status.message));
            }
            Err(error) => return Err(format!("hook {}: {error}", hook.name)),
        }
    }
    Ok(())
}

/// Removes the Jobs of steps that have an end in `after` and had none before.
pub(super) async fn clean(ctx: &Ctx, point: &RecoveryPoint, after: &tripod_crds::RecoveryPointStatus) {
    let before = point.status.iter().flat_map(|status| &status.hooks);
    let open: Vec<_> = before.filter(|step| step.state == HookState::Running).collect();
    let jobs = ctx.api::<Job>(&point.namespace().unwrap_or_default());
    for step in &after.hooks {
        let ended = step.state != HookState::Running
            && open.iter().any(|before| before.name == step.name && before.phase == step.phase);
        let hook = point.spec.hooks.iter().find(|hook| hook.name == step.name);
        let is_job =
            hook.and_then(|hook| hooks::step(hook, step.phase)).is_some_and(|step| step.job.is_some());
        if ended && is_job {
            // One that is left goes by itself an hour later.
            let name = job_name(&point.name_any(), &step.name, step.phase);
            if let Err(error) = jobs.delete(&name, &DeleteParams::background()).await {
                tracing::debug!(job = name, %error, "the Job of a hook was not removed");
            }
        }
    }
}

/// The same for the same point, hook and phase, and never too long.
fn job_name(point: &str, hook: &str, phase: HookPhase) -> String {
    let phase = if phase == HookPhase::Before { "before" } else { "after" };
    let digest = hex::encode(Sha256::digest(format!("{point}/{hook}/{phase}")));
    format!("hook-{hook}-{phase}-{}", &digest[..8])
}

async fn is_restricted(ctx: &Ctx, namespace: &str) -> Result<bool, String> {
    let found = Api::<Namespace>::all(ctx.client.clone()).get(namespace).await.map_err(|e| e.to_string())?;
    Ok(found.labels().get("pod-security.kubernetes.io/enforce").is_some_and(|level| level == "restricted"))
}

/// A Job that is tried once: what a second try would do, nobody knows.
fn manifest(
    point: &RecoveryPoint,
    hook: &str,
    phase: HookPhase,
    job: &JobStep,
    seconds: i64,
    restricted: bool,
) -> Value {
    let labels = json!({POINT_LABEL: point.name_any(), HOOK_LABEL: hook});
    let mut container = json!({
        "name": "hook", "image": job.image, "args": job.args,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    if !job.command.is_empty() {
        container["command"] = json!(job.command);
    }
    let mut context = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    if restricted {
        context["runAsNonRoot"] = json!(true);
    }
    json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": job_name(&point.name_any(), hook, phase), "namespace": point.namespace(), "labels": labels},
        "spec": {"backoffLimit": 0, "activeDeadlineSeconds": seconds, "ttlSecondsAfterFinished": 3600,
            "template": {"metadata": {"labels": labels},
                "spec": {"restartPolicy": "Never", "securityContext": context, "containers": [container]}}}})
}

/// A command, and where it is run.
struct Command {
    /// Finds the pods.
    reader: Client,
    /// Runs it.
    client: Client,
    namespace: String,
    exec: Exec,
}

impl Command {
    /// In one pod after the other. The last words, or the first error.
    async fn everywhere(&self) -> Result<String, String> {
        let selector =
            Selector::try_from(self.exec.selector.clone()).map_err(|e| format!("selector: {e}"))?;
        let wanted = ListParams::default().labels_from(&selector);
        let pods = Api::<Pod>::namespaced(self.reader.clone(), &self.namespace);
        let pods = pods.list(&wanted).await.map_err(|e| format!("listing pods: {e}"))?;
        let runs = |pod: &&Pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running")
        };
        let mut words = None;
        for pod in pods.iter().filter(runs) {
            words = Some(self.inside(&pod.name_any()).await?);
        }
        words.ok_or_else(|| format!("no running pod has the labels {selector}"))
    }

    async fn inside(&self, pod: &str) -> Result<String, String> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let attach = AttachParams {
            container: self.exec.container.clone(),
            stdin: false,
            stdout: true,
            stderr: true,
            tty: false,
            ..AttachParams::default()
        };
        let mut process =
            api.exec(pod, self.exec.command.clone(), &attach).await.map_err(|e| format!("pod {pod}: {e}"))?;
        let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
        let ended = async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        let (stdout, stderr, status) = tokio::join!(end_of(stdout), end_of(stderr), ended);
        match status {
            Some(status) if status.status.as_deref() == Some("Success") => Ok(stdout),
            Some(status) => {
                let said = if stderr.is_empty() { stdout } else { stderr };
                let why = status.message.unwrap_or_default();
                Err(format!("pod {pod}: {said} ({why})"))
            }
            None => Err(format!("pod {pod}: the connection broke off")),
        }
    }
}

/// Reads all, so that the command is never held up, and keeps the end.
async fn end_of(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        let more = kept.len().saturating_sub(SAID);
        kept.drain(..more);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs_fit_and_differ() {
        let long = "h".repeat(40);
        let name = job_name("registration-20261124t021503", &long, HookPhase::Before);
        assert!(name.len() <= 63, "{name}");
        assert_ne!(name, job_name("registration-20261124t021503", &long, HookPhase::After));
        assert_ne!(name, job_name("registration-20261124t021504", &long, HookPhase::Before));
    }

    #[tokio::test]
    async fn the_end_of_what_a_command_says_is_kept() {
        let said = format!("{}the end\n", "x".repeat(10_000));
        let kept = end_of(Some(said.as_bytes())).await;
        assert!(kept.len() <= SAID && kept.ends_with("the end"));
    }
}
