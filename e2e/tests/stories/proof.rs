//! Restores are tested by schedule, at the centre whose copies they are: the policy says when that last went well, and that it
//! went wrong, and nothing is left of any test but its report.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, condition, described};
use tripod_e2e::lab::command::wait_for;

use crate::fixture::{PATIENCE, fill_volume, metrics, nothing_left, protect, system};

const NAMESPACE: &str = "proof-registration";

#[test]
fn what_is_kept_is_proven_to_be_restorable() -> Result<()> {
    let system = system("proof")?;
    let remote = system.at.kubectl("remote")?;
    // Older than the first minute that is due: the test need not wait for the next one.
    system.apply_policy("remote", &json!({}))?;
    fill_volume(&system, 3, 10_000)?;
    system.fill_bucket(&[("one".into(), b"1".to_vec())])?;
    protect(&system, &json!({"include": {"buckets": [system.bucket()]}}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &["remote"], PATIENCE)?;

    system.apply_policy("remote", &tests("test -s /volumes/bulk/file-2"))?;
    let policy = await_proven(&remote, "RestoreTestPassed")?;
    let proof = policy["status"]["proofs"][0].clone();
    ensure!(proof["centre"] == "remote" && proof["recoveryPoint"] == point.as_str(), "{proof}");
    await_metric(&remote, "tripod_restore_test_success", "1")?;

    // A check that says no is no proof, and takes nothing away from what was proven before.
    system.apply_policy("remote", &tests("test -e /volumes/bulk/file-9"))?;
    let policy = await_proven(&remote, "RestoreTestFailed")?;
    let now = &policy["status"]["proofs"][0];
    ensure!(now["provenAt"].as_str() >= proof["provenAt"].as_str() && now["failure"].is_string(), "{now}");
    ensure!(described(&policy, "Proven").contains("of-the-volume"), "{}", described(&policy, "Proven"));
    await_metric(&remote, "tripod_restore_test_success", "0")?;
    one_test_is_kept(&remote)?;

    // Without tests nothing is claimed; what was made for them goes with the policy.
    system.apply_policy("remote", &json!({}))?;
    let words = ["-n", NAMESPACE, "backuppolicy/registration"];
    remote.until("nothing to be claimed", PATIENCE, &words, |policy| {
        ensure!(condition(policy, "Proven").is_none(), "{}", described(policy, "Proven"));
        Ok(())
    })?;
    remote.run(&["-n", NAMESPACE, "delete", "backuppolicy", "registration"])?;
    wait_for("the tests to go", PATIENCE, || {
        let left = remote.run(&["-n", NAMESPACE, "get", "drill", "-o", "name"])?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })?;
    nothing_left(&system, &remote, "remote")
}

/// A test each minute, with a check of the restored volume.
fn tests(check: &str) -> Value {
    let job = json!({"image": "docker.io/library/tripod-demo:dev", "command": ["/bin/sh", "-c", check]});
    json!({"restoreTests": {"schedule": "* * * * *", "keep": 1, "maxAge": "1h", "deadlineSeconds": 300,
        "checks": [{"name": "of-the-volume", "job": job}]}})
}

fn await_proven(kubectl: &Kubectl, reason: &str) -> Result<Value> {
    let words = ["-n", NAMESPACE, "backuppolicy/registration"];
    kubectl.until(&format!("Proven to say {reason}"), PATIENCE, &words, |policy| {
        match condition(policy, "Proven") {
            Some(proven) if proven["reason"] == reason => Ok(policy.clone()),
            _ => bail!("{}; {}", described(policy, "Proven"), described(policy, "Ready")),
        }
    })
}

fn await_metric(kubectl: &Kubectl, name: &str, value: &str) -> Result<()> {
    let line =
        format!("{name}{{namespace=\"{NAMESPACE}\",policy=\"registration\",centre=\"remote\"}} {value}\n");
    wait_for(name, PATIENCE, || {
        let metrics = metrics(kubectl)?;
        let about: Vec<&str> = metrics.lines().filter(|line| line.starts_with("tripod_restore")).collect();
        ensure!(metrics.contains(&line), "{line} is not among {about:#?}");
        Ok(())
    })
}

/// Of those that have ended.
fn one_test_is_kept(kubectl: &Kubectl) -> Result<()> {
    wait_for("older tests to go", PATIENCE, || {
        let drills =
            kubectl.get(&["-n", NAMESPACE, "drill", "-l", "tripod.cloud/restore-test=registration"])?;
        let phases: Vec<&str> = drills["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|drill| drill["status"]["phase"].as_str())
            .collect();
        let ended = phases.iter().filter(|phase| matches!(**phase, "Succeeded" | "Failed")).count();
        ensure!(ended == 1, "{phases:?}");
        Ok(())
    })
}
