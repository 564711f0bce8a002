//! What the stories share: the lab with Tripod in it, plain `restic` on a vault, and a look at a store's disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tripod_e2e::installation::Installation;
use tripod_e2e::kubectl::Kubectl;
use tripod_e2e::lab::LabSpec;
use tripod_e2e::lab::command::{output, wait_for};
use tripod_e2e::lab::progress::Progress;
use tripod_e2e::system::System;

pub const CENTRES: [&str; 3] = ["production", "same-city", "remote"];
/// Long enough for anything that a story waits for on a busy machine of two cores.
pub const PATIENCE: Duration = Duration::from_mins(4);

/// A path that `make stories` hands in.
pub fn given(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("{variable} is not set: run the stories with `make stories`"),
    }
}

/// The lab's name; others may live beside it.
pub fn lab_name() -> String {
    std::env::var("TRIPOD_LAB").unwrap_or_else(|_| "tripod-test".to_owned())
}

/// Three clusters with their operators: brought up by the first story that asks. With `TRIPOD_LAB_QUICK` one cluster, for
/// those who work on a story that needs no more.
pub fn installation() -> Result<&'static Installation> {
    static SHARED: OnceLock<Result<Installation, String>> = OnceLock::new();
    let made = SHARED.get_or_init(|| {
        let quick = std::env::var_os("TRIPOD_LAB_QUICK").is_some();
        let spec = if quick { LabSpec::quick(&lab_name()) } else { LabSpec::whole(&lab_name()) };
        Installation::ensure(&spec, &given("TRIPOD_IMAGE"), &Progress::new(false))
            .map_err(|e| format!("{e:#}"))
    });
    made.as_ref().map_err(|error| anyhow::anyhow!(error.clone()))
}

/// A department for one story.
pub fn system(department: &'static str) -> Result<System<'static>> {
    let system = System::ensure(installation()?, department)?;
    for cluster in &system.at.lab.spec.clusters {
        system.at.lab.load_image(cluster, &given("TRIPOD_WORKLOAD"))?;
    }
    Ok(system)
}

/// Makes a volume `bulk` at production with so many files of random bytes of that size; again, it is filled anew.
pub fn fill_volume(system: &System<'_>, files: u32, bytes: u32) -> Result<()> {
    let (kubectl, namespace) = (system.production()?, system.namespace());
    let script = format!(
        "i=0; while [ $i -lt {files} ]; do head -c {bytes} /dev/urandom > /data/file-$i; i=$((i+1)); done"
    );
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "bulk", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "fill", "namespace": namespace},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "automountServiceAccountToken": false,
            "securityContext": {"runAsUser": 999, "fsGroup": 999},
            "containers": [{"name": "fill", "image": "docker.io/library/tripod-demo:dev", "command": ["/bin/sh", "-euc", script],
                "volumeMounts": [{"name": "bulk", "mountPath": "/data"}]}],
            "volumes": [{"name": "bulk", "persistentVolumeClaim": {"claimName": "bulk"}}]}}}});
    kubectl.run(&["-n", &namespace, "delete", "job", "fill", "--ignore-not-found", "--wait"])?;
    kubectl.apply(&claim.to_string())?;
    kubectl.apply(&job.to_string())?;
    kubectl.wait("job/fill", Some(&namespace), "Complete", PATIENCE)?;
    // Its pod is no part of the system, and would be in the way of the claim's next user on another node.
    kubectl.run(&["-n", &namespace, "delete", "job", "fill", "--wait"]).map(drop)
}

/// Protects a system, with recovery points on demand only: one by schedule would come at any time.
pub fn protect(system: &System<'_>, spec: &Value) -> Result<()> {
    system.protect(spec)
}

/// Kills the operator of a centre as a lost node would: at once, without a goodbye.
pub fn kill_operator(kubectl: &Kubectl) -> Result<()> {
    let label = "app.kubernetes.io/name=tripod";
    kubectl
        .run(&["-n", "tripod-system", "delete", "pod", "-l", label, "--force", "--grace-period=0"])
        .map(drop)
}

/// What `tripod` says of a system by a master key alone: `vault-password`, `vault-repository`.
pub fn derived(system: &System<'_>, key: &Path, what: &str) -> Result<String> {
    let mut command = Command::new(given("TRIPOD_BINARY"));
    command.arg(what).arg("--key-file").arg(key).args(["--system", &system.namespace()]);
    Ok(output(&mut command)?.trim().to_owned())
}

/// Where the system's repository lies in every vault; with the name of the lab's master key at its end.
pub fn repository(system: &System<'_>) -> Result<String> {
    derived(system, &system.at.vault_key()?, "vault-repository")
}

/// Debian's `restic` on the repository of a system at a centre, with read-only credentials and the derived password.
pub fn restic(system: &System<'_>, centre: &str, words: &[&str]) -> Result<String> {
    restic_with(system, centre, &system.at.vault_key()?, words)
}

/// The same on the repository of another master key.
pub fn restic_with(system: &System<'_>, centre: &str, key: &Path, words: &[&str]) -> Result<String> {
    let store = system.store(centre)?;
    let password = derived(system, key, "vault-password")?;
    let at = derived(system, key, "vault-repository")?;
    let repository = format!("s3:{}/{}/{at}", store.endpoint, store.bucket);
    output(
        Command::new("restic")
            .env("AWS_ACCESS_KEY_ID", &store.reader.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &store.reader.secret_access_key)
            .env("RESTIC_PASSWORD", password)
            .args(["-r", &repository, "--no-lock", "--no-cache", "-q"])
            .args(words),
    )
    .with_context(|| format!("restic at {centre}"))
}

/// The folder in which a centre's store keeps a bucket.
pub fn on_disk(system: &System<'_>, centre: &str, bucket: &str) -> PathBuf {
    system.at.lab.data().join(centre).join("s3").join(bucket)
}

/// What a centre's vault has under a prefix, with sizes: as its store tells, since what was deleted there stays on its disk as
/// an older version.
pub fn in_vault(system: &System<'_>, centre: &str, prefix: &str) -> Result<BTreeMap<String, u64>> {
    system.store(centre)?.block_on(async |s3| {
        let list = s3.list_objects_v2().bucket("tripod-vault").prefix(prefix);
        let mut pages = list.into_paginator().send();
        let mut found = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = page?;
            let size = |bytes: Option<i64>| bytes.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            let objects = page.contents().iter();
            found.extend(objects.filter_map(|object| Some((object.key()?.to_owned(), size(object.size())))));
        }
        Ok(found)
    })
}

/// The packs of the system's repository at a centre, as files of its store.
pub fn packs(system: &System<'_>, centre: &str) -> Vec<PathBuf> {
    let bucket = on_disk(system, centre, "tripod-vault");
    let all = files(&bucket.join("systems").join(system.namespace()).join("restic"));
    all.into_iter().filter(|file| file.iter().any(|name| name == "data")).collect()
}

/// While it lives, a centre's vault is pruned without delay.
pub struct AtOnce(Kubectl, &'static str);

impl AtOnce {
    pub fn prune(system: &System<'_>, centre: &'static str) -> Result<Self> {
        let kubectl = system.at.kubectl(centre)?;
        delay(&kubectl, centre, 0)?;
        Ok(Self(kubectl, centre))
    }
}

impl Drop for AtOnce {
    fn drop(&mut self) {
        if let Err(error) = delay(&self.0, self.1, 86_400) {
            eprintln!("the delay could not be set back: {error:#}");
        }
    }
}

fn delay(kubectl: &Kubectl, centre: &str, seconds: u32) -> Result<()> {
    let patch = json!({"spec": {"pruneDelaySeconds": seconds}}).to_string();
    kubectl.run(&["patch", &format!("centre/{centre}"), "--type=merge", "-p", &patch]).map(drop)
}

/// All files below a folder; none where there is no folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(_) => found.push(entry.path()),
            Err(_) => {}
        }
    }
    found
}

/// Waits for something that only the disk shows, looking often: what follows must happen in the middle of it.
pub fn await_disk(what: &str, mut there: impl FnMut() -> bool) -> Result<()> {
    let start = std::time::Instant::now();
    while !there() {
        ensure!(start.elapsed() < PATIENCE, "waited {} s for {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Waits until a centre has exactly these recovery points of a system, in its cluster and in its vault.
pub fn await_points(system: &System<'_>, centre: &str, expected: &BTreeSet<String>) -> Result<()> {
    let kubectl = system.at.kubectl(centre)?;
    let namespace = system.namespace();
    wait_for(&format!("the points of {centre}"), PATIENCE, || {
        let objects = kubectl.get(&["-n", &namespace, "recoverypoints"])?;
        let items = objects["items"].as_array().into_iter().flatten();
        let seen: BTreeSet<String> =
            items.filter_map(|p| p["metadata"]["name"].as_str().map(str::to_owned)).collect();
        ensure!(seen == *expected, "in the cluster {seen:?}, not {expected:?}");
        let points = format!("systems/{namespace}/points/");
        let vault = in_vault(system, centre, &points)?;
        let there: BTreeSet<String> = vault
            .keys()
            .filter_map(|key| key.strip_prefix(&points)?.strip_suffix("/manifest.json").map(str::to_owned))
            .collect();
        ensure!(there == *expected, "in the vault {there:?}, not {expected:?}");
        Ok(())
    })
}

/// What the operator of a cluster tells of itself, as it is scraped.
pub fn metrics(kubectl: &Kubectl) -> Result<String> {
    let path = "/api/v1/namespaces/tripod-system/services/tripod-metrics:8080/proxy/metrics";
    kubectl.run(&["get", "--raw", path])
}

/// Nothing of any drill of the system is left at a centre: no namespace, no bucket.
pub fn nothing_left(system: &System<'_>, kubectl: &Kubectl, centre: &str) -> Result<()> {
    let store = system.store(centre)?;
    wait_for("drills to leave nothing", Duration::from_mins(1), || {
        let namespaces = kubectl.run(&["get", "namespaces", "-l", "tripod.cloud/drill", "-o", "name"])?;
        ensure!(namespaces.trim().is_empty(), "namespaces are left: {namespaces}");
        let buckets = store.block_on(async |s3| Ok(s3.list_buckets().send().await?))?;
        match buckets.buckets().iter().filter_map(|b| b.name()).find(|name| name.starts_with("tripod-drill-"))
        {
            Some(bucket) => bail!("bucket {bucket} is left"),
            None => Ok(()),
        }
    })
}
