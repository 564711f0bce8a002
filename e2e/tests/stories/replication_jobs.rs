//! A bucket with many objects is replicated by the pods of a Job. One of them is deleted while it works, and the others go on;
//! the status shows how far they are; and when it is over, or not wanted any more, nothing is left of the Job.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tripod_e2e::kubectl::Kubectl;
use tripod_e2e::lab::command::wait_for;

use crate::bucket_replication::{Pair, Place, is_in_sync};
use crate::fixture::{PATIENCE, installation, system};

const OBJECTS: usize = 3000;
/// So that a run takes about half a minute, and is met in the middle.
const REQUESTS: usize = 90;
const OF: &str = "-ltripod.cloud/replication=large";
const AT: &str = "same-city";

#[test]
fn a_large_bucket_is_replicated_by_the_pods_of_a_job() -> Result<()> {
    let system = system("archive")?;
    let pair = Pair::anew(&system)?;
    pair.delete("large")?;
    fill(&pair.source, "first")?;
    let _settings = Settings::change()?;
    let kubectl = pair.kubectl(AT)?;
    let mut spec = json!({"source": {"centre": "production", "bucket": pair.bucket}, "targets": [{"centre": AT}],
        "mode": "Once", "requestsPerSecond": REQUESTS});
    pair.apply("large", &spec)?;

    let job = workers_are_seen(&pair)?;
    its_pods_have_no_power(&kubectl, &job)?;
    one_is_deleted(&kubectl, &job)?;
    let seen = pair.until(AT, "large", is_in_sync)?;
    let target = &seen["status"]["targets"][0];
    // What the pod that was deleted had looked at since its last word is looked at twice.
    let (listed, failed) = (target["lastRun"]["listed"].as_u64(), &target["lastRun"]["failed"]);
    ensure!(listed >= Some(OBJECTS as u64) && *failed == 0, "{target}");
    ensure!(target["workers"].is_null() && target["objectsPending"] == 0, "{target}");
    pair.is_alike(AT)?;
    nothing_is_left(&kubectl)?;

    // Changes go the same way, and a run that is not wanted any more takes its Job along.
    fill(&pair.source, "second")?;
    let token = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let words = ["-n", &system.namespace(), "annotate", "--overwrite", "br/large"];
    kubectl.run(&[&words[..], &[&format!("tripod.cloud/run={token}")]].concat())?;
    workers_are_seen(&pair)?;
    spec["suspend"] = json!(true);
    pair.apply("large", &spec)?;
    nothing_is_left(&kubectl)?;
    spec["suspend"] = json!(false);
    pair.apply("large", &spec)?;
    workers_are_seen(&pair)?;
    wait_for("the target to be like the source", PATIENCE, || pair.is_alike(AT))?;
    pair.until(AT, "large", is_in_sync)?;
    nothing_is_left(&kubectl)?;

    // And so does an object that is deleted.
    fill(&pair.source, "third")?;
    kubectl.run(&[&words[..], &[&format!("tripod.cloud/run={token}-again")]].concat())?;
    workers_are_seen(&pair)?;
    pair.delete("large")?;
    nothing_is_left(&kubectl)
}

/// The name of the Job, once several of its pods work and something is done.
fn workers_are_seen(pair: &Pair<'_>) -> Result<String> {
    let seen = pair.until(AT, "large", |seen| {
        let target = &seen["status"]["targets"][0];
        let number = |field: &str| target["workers"][field].as_u64().unwrap_or(0);
        ensure!(target["phase"] == "Running", "{target}");
        ensure!(number("workers") >= 2 && number("shards") >= 8, "{target}");
        ensure!(target["objectsPending"].as_u64() > Some(0), "{target}");
        Ok(())
    })?;
    let job = seen["status"]["targets"][0]["workers"]["job"].as_str();
    job.map(str::to_owned).context("the Job has no name")
}

fn pods(kubectl: &Kubectl, job: &str) -> Result<Vec<Value>> {
    let label = format!("-lbatch.kubernetes.io/job-name={job}");
    let pods = kubectl.get(&["-n", "tripod-system", "pods", &label])?;
    pods["items"].as_array().cloned().context("no list")
}

fn its_pods_have_no_power(kubectl: &Kubectl, job: &str) -> Result<()> {
    let job = kubectl.get(&["-n", "tripod-system", &format!("job/{job}")])?;
    let pod = &job["spec"]["template"]["spec"];
    ensure!(job["spec"]["completionMode"] == "Indexed" && job["spec"]["completions"] == 3, "{job}");
    ensure!(pod["automountServiceAccountToken"] == false, "{pod}");
    ensure!(pod["serviceAccountName"] == "tripod-replicator", "{pod}");
    for variable in pod["containers"][0]["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        let is_secret = name.ends_with("_ACCESS_KEY") || name.ends_with("_ACCESS_KEY_ID");
        let is_named =
            variable["valueFrom"]["secretKeyRef"]["name"].is_string() && variable["value"].is_null();
        ensure!(!is_secret || is_named, "{name} holds a credential");
    }
    Ok(())
}

fn one_is_deleted(kubectl: &Kubectl, job: &str) -> Result<()> {
    let running = pods(kubectl, job)?.into_iter().find(|pod| pod["status"]["phase"] == "Running");
    let running = running.context("no pod runs")?;
    let name = running["metadata"]["name"].as_str().context("no name")?;
    let kill = ["-n", "tripod-system", "delete", "pod", name, "--force", "--grace-period=0"];
    kubectl.run(&kill)?;
    let index = &running["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"];
    wait_for("another pod in its place", PATIENCE, || {
        let others = pods(kubectl, job)?;
        let again = others.iter().find(|pod| {
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == *index
                && pod["metadata"]["uid"] != running["metadata"]["uid"]
        });
        ensure!(again.is_some(), "{} pods", others.len());
        Ok(())
    })
}

fn nothing_is_left(kubectl: &Kubectl) -> Result<()> {
    wait_for("the Job and its pods to be gone", PATIENCE, || {
        let left = kubectl.run(&["-n", "tripod-system", "get", "jobs,pods", OF, "-o", "name"])?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })
}

fn fill(at: &Place, content: &str) -> Result<()> {
    at.store.block_on(async |s3| {
        let put = |number: usize| {
            let key = format!("scans/{}/{number:05}.txt", number % 7);
            let body = format!("{content} scan {number} 扫描\n").into_bytes();
            let request = s3.put_object().bucket(&at.bucket).key(&key).body(body.into());
            async move { request.send().await.map(drop).with_context(|| key) }
        };
        futures::stream::iter((0..OBJECTS).map(put)).buffer_unordered(16).try_collect::<()>().await
    })
}

/// While it lives, the operator of the target makes a Job of every run of ninety objects, or of 2,880 that are on record.
struct Settings;

impl Settings {
    fn change() -> Result<Self> {
        set(&[
            "replication.jobs.fromObjects=90",
            "replication.jobs.workers=3",
            "replication.jobs.shardsPerWorker=4",
            "replication.jobs.resources.requests.cpu=20m",
        ])?;
        Ok(Self)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        if let Err(error) = set(&[]) {
            eprintln!("the settings could not be set back: {error:#}");
        }
    }
}

fn set(more: &[&str]) -> Result<()> {
    let at = installation()?;
    let server = at.server_of(AT);
    at.configure(server, more)?;
    let words = ["-n", "tripod-system", "rollout", "status", "deployment/tripod", "--timeout=120s"];
    at.kubectl(server)?.run(&words).map(drop)
}
