//! The operator is killed at a write to the system's namespace, before it is done or after: at each of a backup and of a restore,
//! one after the other. Whoever comes next finishes what was begun. In CI at some of them; `TRIPOD_FAULTS=all` is at each.
//!
//! The operator is the product's own, as a process beside the cluster, with the rights of its account there; what stands between
//! it and the API server only passes on, and counts.

mod proxy;

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::lab::command::wait_for;
use tripod_e2e::system::{System, state_at};

use self::proxy::{Moment, Proxy};
use crate::fixture::{PATIENCE, given, protect, restic, system};

/// No work makes so many writes.
const MOST: usize = 200;

#[test]
fn whoever_comes_next_finishes_what_was_begun() -> Result<()> {
    let system = system("writes")?;
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "desk", "namespace": system.namespace()},
        "data": {"HOURS": "9-17"}});
    system.production()?.apply(&settings.to_string())?;
    system.fill_bucket(&[("scans/1".into(), vec![1; 100])])?;
    protect(&system, &json!({"include": {"volumes": false, "buckets": [system.bucket()]}}))?;
    let beside = Beside::take_over(&system)?;
    let backups = at_each_write(&beside, &Backup { system: &system })?;
    let restores =
        at_each_write(&beside, &Restore { system: &system, point: newest(&system)?.context("no point")? })?;
    println!("killed at {} writes of backups:\n{}", backups.len(), backups.join("\n"));
    println!("killed at {} writes of restores:\n{}", restores.len(), restores.join("\n"));
    drop(beside);
    restic(&system, "production", &["check", "--read-data"]).map(drop)
}

/// Something that an operator does when it is wished for.
trait Work {
    fn wish(&self, round: usize) -> Result<()>;
    fn has_ended(&self, round: usize) -> Result<()>;
}

/// Until a whole work went by without the write at which it was to be killed. Returns at what it was killed.
fn at_each_write(beside: &Beside<'_>, work: &impl Work) -> Result<Vec<String>> {
    let step = if std::env::var("TRIPOD_FAULTS").is_ok_and(|wish| wish == "all") { 1 } else { 5 };
    let mut killed = Vec::new();
    for (round, number) in (1..MOST).step_by(step).enumerate() {
        let moment = if (number / step).is_multiple_of(2) { Moment::Before } else { Moment::After };
        beside.proxy.kill_at(number, moment);
        let mut operator = beside.start()?;
        work.wish(round)?;
        wait_for("the work to end, or its operator", PATIENCE, || {
            if beside.proxy.has_killed().is_some() { Ok(()) } else { work.has_ended(round) }
        })?;
        let title = beside.proxy.has_killed();
        operator.stop();
        let Some(title) = title else { return Ok(killed) };
        beside.proxy.let_live();
        let mut next = beside.start()?;
        wait_for(&format!("what was broken off at {title} to end"), PATIENCE, || work.has_ended(round))?;
        next.stop();
        killed.push(format!("  {number} {moment:?} {title}"));
    }
    anyhow::bail!("there is always one more write: {killed:?}")
}

/// Of a wish: another one in each run on the same lab.
fn name_of(round: usize) -> String {
    format!("write-{}-{round}", std::process::id())
}

struct Backup<'s> {
    system: &'s System<'s>,
}

impl Work for Backup<'_> {
    fn wish(&self, round: usize) -> Result<()> {
        let token = format!("tripod.cloud/run={}", name_of(round));
        let words =
            ["-n", &self.system.namespace(), "annotate", "--overwrite", "backuppolicy/registration", &token];
        self.system.production()?.run(&words).map(drop)
    }

    fn has_ended(&self, round: usize) -> Result<()> {
        let (kubectl, namespace) = (self.system.production()?, self.system.namespace());
        let policy = kubectl.get(&["-n", &namespace, "backuppolicy/registration"])?;
        let acted_on = &policy["status"]["lastRunToken"];
        ensure!(*acted_on == name_of(round).as_str(), "{acted_on}; {}", described(&policy, "Ready"));
        let point = newest(self.system)?.context("no point")?;
        let seen = kubectl.get(&["-n", &namespace, &format!("recoverypoint/{point}")])?;
        let state = state_at(&seen, "production");
        ensure!(
            state == "Verified" && seen["status"]["phase"] == "Complete",
            "{state}; {}",
            described(&seen, "Ready")
        );
        Ok(())
    }
}

fn newest(system: &System<'_>) -> Result<Option<String>> {
    let points = system.production()?.get(&["-n", &system.namespace(), "recoverypoints"])?;
    let names = points["items"].as_array().into_iter().flatten();
    Ok(names.filter_map(|p| p["metadata"]["name"].as_str()).max().map(str::to_owned))
}

struct Restore<'s> {
    system: &'s System<'s>,
    point: String,
}

impl Work for Restore<'_> {
    fn wish(&self, round: usize) -> Result<()> {
        let (kubectl, namespace) = (self.system.production()?, self.system.namespace());
        kubectl.run(&["-n", &namespace, "delete", "configmap/desk", "--ignore-not-found"])?;
        let restore = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore",
            "metadata": {"name": name_of(round), "namespace": namespace},
            "spec": {"recoveryPoint": self.point, "include": {"kinds": ["configmaps"]}}});
        kubectl.apply(&restore.to_string()).map(drop)
    }

    fn has_ended(&self, round: usize) -> Result<()> {
        let (kubectl, namespace) = (self.system.production()?, self.system.namespace());
        let restore = kubectl.get(&["-n", &namespace, &format!("restore/{}", name_of(round))])?;
        let phase = &restore["status"]["phase"];
        ensure!(phase == "Succeeded", "{phase}; {}", described(&restore, "Ready"));
        let settings = kubectl.get(&["-n", &namespace, "configmap/desk"])?;
        ensure!(settings["data"]["HOURS"] == "9-17", "{settings}");
        Ok(())
    }
}

/// A way to run the operator of production beside its cluster; while it lives, none runs in it.
struct Beside<'s> {
    kubectl: Kubectl,
    system: &'s System<'s>,
    proxy: Proxy,
    kubeconfig: PathBuf,
    image: String,
}

impl<'s> Beside<'s> {
    fn take_over(system: &'s System<'s>) -> Result<Self> {
        let kubectl = system.production()?;
        let deployment = kubectl.get(&["-n", "tripod-system", "deployment/tripod"])?;
        let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
        let image = image.context("the operator has no image")?.to_owned();
        scale(&kubectl, 0)?;
        kubectl.until(
            "the operator to be gone",
            PATIENCE,
            &["-n", "tripod-system", "pods", "-l", "app.kubernetes.io/name=tripod"],
            |pods| {
                ensure!(pods["items"].as_array().is_some_and(Vec::is_empty), "it runs still");
                Ok(())
            },
        )?;
        let token = kubectl.run(&["-n", "tripod-system", "create", "token", "tripod", "--duration=2h"])?;
        let proxy = Proxy::start(&system.at.lab.centre("production")?.kubeconfig, &system.namespace())?;
        let kubeconfig = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("beside.kubeconfig");
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", proxy.address)}}],
            "users": [{"name": "u", "user": {"token": token.trim()}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        std::fs::write(&kubeconfig, config.to_string())?;
        Ok(Self { kubectl, system, proxy, kubeconfig, image })
    }

    fn start(&self) -> Result<Operator> {
        let log = self.system.at.lab.data().join("operator-beside.log");
        let log = File::options().create(true).append(true).open(log)?;
        let child = Command::new(given("TRIPOD_BINARY"))
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["operator", "--centre", "production", "--no-leader-election", "--image", &self.image])
            .args(["--metrics-address", "127.0.0.1:0", "--gateway-address", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.proxy.is_of(child.id());
        Ok(Operator(child))
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        let back = scale(&self.kubectl, 1).and_then(|()| {
            self.kubectl.wait("deployment/tripod", Some("tripod-system"), "Available", Duration::from_mins(2))
        });
        if let Err(error) = back {
            eprintln!("the operator did not come back: {error:#}");
        }
    }
}

fn scale(kubectl: &Kubectl, replicas: u32) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    kubectl.run(&["-n", "tripod-system", "scale", "deployment/tripod", &replicas]).map(drop)
}

/// An operator that runs beside the cluster, and ends with this.
struct Operator(Child);

impl Operator {
    fn stop(&mut self) {
        // It may have been killed already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.stop();
    }
}
