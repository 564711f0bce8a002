//! Hooks: what is written down while a point is made shows what ran before and what ran after; a hook that fails fails the
//! point with its words, and what was begun is undone, also when the operator is killed in between.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::system::System;

use crate::fixture::{PATIENCE, kill_operator, protect, restic, system};
use crate::tenancy::Person;

const NAMESPACE: &str = "hooks-registration";
const IMAGE: &str = "docker.io/library/tripod-demo:dev";

/// A pod that waits, with a volume on which hooks write down that they ran.
fn start(kubectl: &Kubectl) -> Result<()> {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "log", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let container = json!({"name": "web", "image": IMAGE, "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
        "volumeMounts": [{"name": "log", "mountPath": "/data"}]});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1, "securityContext": {"runAsUser": 999, "fsGroup": 999},
                "containers": [container], "volumes": [{"name": "log", "persistentVolumeClaim": {"claimName": "log"}}]}}}});
    kubectl.apply(&claim.to_string())?;
    kubectl.apply(&deployment.to_string())?;
    kubectl.wait("deployment/web", Some(NAMESPACE), "Available", PATIENCE)
}

/// A command in the pod.
fn exec(script: &str) -> Value {
    json!({"exec": {"selector": {"matchLabels": {"app": "web"}}, "command": ["/bin/sh", "-c", script], "timeout": "2m"}})
}

fn job(script: &str) -> Value {
    json!({"job": {"image": IMAGE, "command": ["/bin/sh", "-c", script], "timeout": "2m"}})
}

/// What is on the volume now; it is emptied.
fn written(kubectl: &Kubectl) -> Result<String> {
    let script = "cat /data/order 2>/dev/null; : > /data/order";
    kubectl.run(&["-n", NAMESPACE, "exec", "deployment/web", "--", "/bin/sh", "-c", script])
}

fn ended(kubectl: &Kubectl, point: &str, phase: &str) -> Result<Value> {
    let object = format!("recoverypoint/{point}");
    kubectl.until(&format!("{point} to be {phase}"), PATIENCE, &["-n", NAMESPACE, &object], |seen| {
        ensure!(
            seen["status"]["phase"] == phase,
            "{}; {}",
            described(seen, "Ready"),
            seen["status"]["hooks"]
        );
        Ok(seen.clone())
    })
}

fn steps(point: &Value) -> Vec<String> {
    let steps = point["status"]["hooks"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    steps.map(|s| format!("{} {} {}", text(&s["phase"]), text(&s["name"]), text(&s["state"]))).collect()
}

fn ready() -> Result<(System<'static>, Kubectl)> {
    let system = system("hooks")?;
    let kubectl = system.production()?;
    start(&kubectl)?;
    written(&kubectl)?;
    Ok((system, kubectl))
}

#[test]
fn what_is_taken_lies_between_before_and_after() -> Result<()> {
    let (system, kubectl) = ready()?;
    let hooks = json!([
        {"name": "queue", "before": job("echo the queue is drained > /dev/termination-log")},
        {"name": "database", "before": exec("echo before >> /data/order; echo quiet"), "after": exec("echo after >> /data/order")},
        {"name": "late", "before": {"exec": {"selector": {"matchLabels": {"app": "web"}}, "command": ["sleep", "30"],
            "timeout": "2s", "onError": "Continue"}}, "after": job("true")}]);
    protect(&system, &json!({"hooks": hooks}))?;
    let point = system.back_up()?;
    let verified = system.await_verified(&point, &["production"], PATIENCE)?;
    let expected = [
        "Before queue Succeeded",
        "Before database Succeeded",
        "Before late Failed",
        "After late Succeeded",
        "After database Succeeded",
    ];
    ensure!(steps(&verified) == expected, "{}", verified["status"]["hooks"]);
    let words = verified["status"]["hooks"].to_string();
    ensure!(
        ["the queue is drained", "quiet", "not through after 2 s"].iter().all(|w| words.contains(w)),
        "{words}"
    );
    // The point has what was before, and not what came after.
    let held =
        restic(&system, "production", &["dump", "--path", "/volumes/log", "latest", "/volumes/log/order"])?;
    ensure!(held == "before\n", "the point holds {held:?}");
    let live = written(&kubectl)?;
    ensure!(live == "before\nafter\n", "on the volume is {live:?}");
    // Jobs of hooks are neither kept nor taken.
    kubectl.until(
        "the Jobs of hooks to be gone",
        PATIENCE,
        &["-n", NAMESPACE, "jobs", "-l", "tripod.cloud/hook"],
        |jobs| {
            ensure!(jobs["items"].as_array().is_some_and(Vec::is_empty), "{}", jobs["items"]);
            Ok(())
        },
    )?;
    let listed = restic(&system, "production", &["ls", "latest", "--path", "/objects"])?;
    ensure!(!listed.contains("/objects/jobs.batch/hook-"), "{listed}");
    only_who_may_run_commands_writes_hooks(&hooks)
}

/// A policy with a hook runs a command in a pod: who writes it has to be allowed that.
fn only_who_may_run_commands_writes_hooks(hooks: &Value) -> Result<()> {
    let policy = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "BackupPolicy",
        "metadata": {"name": "other", "namespace": NAMESPACE}, "spec": {"hooks": hooks}});
    let zhang = Person::admin_of("hooks")?;
    zhang.apply(&policy).context("an admin of the department may")?;
    zhang.kubectl(&["-n", NAMESPACE, "delete", "backuppolicy", "other"]).map(drop)
}

#[test]
fn a_hook_that_fails_fails_the_point_with_its_words() -> Result<()> {
    let (system, kubectl) = ready()?;
    let hooks = json!([
        {"name": "one", "before": exec("echo one >> /data/order"), "after": exec("echo undo one >> /data/order")},
        {"name": "two", "before": exec("echo 'no space left for a checkpoint' >&2; exit 3"), "after": job("true")},
        {"name": "three", "before": exec("echo three >> /data/order"), "after": exec("echo undo three >> /data/order")}]);
    protect(&system, &json!({"hooks": hooks}))?;
    let point = system.back_up()?;
    let failed = ended(&kubectl, &point, "Failed")?;
    let words = described(&failed, "Ready");
    ensure!(words.contains("spec.hooks[1].before (two)") && words.contains("no space left"), "{words}");
    let expected =
        ["Before one Succeeded", "Before two Failed", "After two Succeeded", "After one Succeeded"];
    ensure!(steps(&failed) == expected, "{}", failed["status"]["hooks"]);
    let live = written(&kubectl)?;
    ensure!(live == "one\nundo one\n", "on the volume is {live:?}");
    kubectl.until("an event", PATIENCE, &["-n", NAMESPACE, "events.events.k8s.io"], |events| {
        let all = events["items"].as_array().context("no list")?;
        let told = |e: &Value| e["reason"] == "HookFailed" && e["note"].to_string().contains("no space left");
        ensure!(all.iter().any(told), "{} events", all.len());
        Ok(())
    })?;
    // With a selector that no pod has, and a Job that can't be: the point says so at once.
    for (step, words) in [
        (
            json!({"exec": {"selector": {"matchLabels": {"app": "none"}}, "command": ["true"]}}),
            "no running pod",
        ),
        (job("echo it is locked > /dev/termination-log; exit 1"), "it is locked"),
    ] {
        protect(&system, &json!({"hooks": [{"name": "odd", "before": step}]}))?;
        let failed = ended(&kubectl, &system.back_up()?, "Failed")?;
        ensure!(described(&failed, "Ready").contains(words), "{}", described(&failed, "Ready"));
    }
    Ok(())
}

#[test]
fn an_operator_that_is_killed_in_between_leaves_nothing_asleep() -> Result<()> {
    let (system, kubectl) = ready()?;
    let hooks = json!([{"name": "database", "before": exec("echo before >> /data/order; sleep 60"),
        "after": exec("echo after >> /data/order")}]);
    protect(&system, &json!({"hooks": hooks}))?;
    let point = system.back_up()?;
    let object = format!("recoverypoint/{point}");
    kubectl.until("the command to run", PATIENCE, &["-n", NAMESPACE, &object], |seen| {
        let script = ["-n", NAMESPACE, "exec", "deployment/web", "--", "cat", "/data/order"];
        let live = kubectl.run(&script)?;
        if live == "before\n" { Ok(()) } else { bail!("{live:?}; {}", seen["status"]["hooks"]) }
    })?;
    kill_operator(&kubectl)?;
    let failed = ended(&kubectl, &point, "Failed")?;
    ensure!(described(&failed, "Ready").contains("it broke off"), "{}", described(&failed, "Ready"));
    ensure!(steps(&failed) == ["Before database Failed", "After database Succeeded"], "{:?}", steps(&failed));
    let live = written(&kubectl)?;
    ensure!(live == "before\nafter\n", "on the volume is {live:?}");
    // The next one is whole again.
    protect(&system, &json!({"hooks": [{"name": "database", "before": exec("true")}]}))?;
    system.await_verified(&system.back_up()?, &["production"], PATIENCE).map(drop)
}
