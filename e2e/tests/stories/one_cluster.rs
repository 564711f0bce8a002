//! The smaller installation: one cluster and three stores, in a second lab beside the first. And that a lab which
//! died leaves nothing on the machine.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;
use tripod_e2e::installation::Installation;
use tripod_e2e::lab::command::output;
use tripod_e2e::lab::layout::Layout;
use tripod_e2e::lab::progress::Progress;
use tripod_e2e::lab::{Lab, LabSpec};
use tripod_e2e::system::System;

use crate::fixture::{CENTRES, PATIENCE, fill_volume, given, lab_name, nothing_left, protect};

/// Takes the lab down when the story ends, however it ends.
struct Lease(String);

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(error) = Lab::down(&self.0) {
            eprintln!("lab {}: {error:#}", self.0);
        }
    }
}

#[test]
fn one_cluster_with_three_stores_is_whole() -> Result<()> {
    let name = neighbour(&lab_name())?;
    let lease = Lease(name.clone());
    let spec = LabSpec { store_tls: true, ..LabSpec::quick(&name) };
    let at = Installation::ensure(&spec, &given("TRIPOD_IMAGE"), &Progress::new(false))?;
    let kubectl = at.kubectl("production")?;
    let system = System::ensure(&at, "small")?;
    at.lab.load_image("production", &given("TRIPOD_WORKLOAD"))?;
    fill_volume(&system, 20, 50_000)?;
    system.fill_bucket(&[("a".into(), b"1".to_vec()), ("b/c".into(), b"2".to_vec())])?;
    protect(&system, &json!({"include": {"buckets": [system.bucket()]}}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;
    for (centre, protection) in [("production", "Pull"), ("same-city", "Push"), ("remote", "Push")] {
        let seen = kubectl.get(&[&format!("centre/{centre}")])?;
        ensure!(seen["status"]["protection"] == protection, "{centre}: {}", seen["status"]);
    }
    // The copy at the remote store is good for a rehearsal, in the one cluster that there is.
    system.start_drill("far", "remote", None, &json!([]))?;
    let drill = system.await_drill(&kubectl, "far", PATIENCE)?;
    ensure!(drill["status"]["report"]["key"].is_string(), "{}", drill["status"]);
    nothing_left(&system, &kubectl, "remote")?;
    ensure!(
        CENTRES.iter().all(|c| system.store(c).is_ok_and(|s| s.endpoint.starts_with("https://"))),
        "not over TLS"
    );

    die(&name)?;
    drop(lease);
    nothing_on_the_machine(&name)
}

/// A name for a lab beside another: one whose addresses, which follow from the name, are not the other's.
pub fn neighbour(name: &str) -> Result<String> {
    let taken = Layout::new(name)?.host_address();
    for suffix in 1..10 {
        let other = format!("{name}-{suffix}");
        if Layout::new(&other)?.host_address() != taken {
            return Ok(other);
        }
    }
    anyhow::bail!("no name beside {name} has other addresses")
}

/// Kills what holds the rest together, as an out-of-memory killer might.
fn die(name: &str) -> Result<()> {
    for component in ["kube-apiserver", "containerd", "kubelet"] {
        let record = format!("/run/tripod-lab/{name}/production/{component}.pid");
        let process: serde_json::Value = serde_json::from_slice(&fs::read(record)?)?;
        output(Command::new("kill").args(["-9", &process["pid"].to_string()]))?;
    }
    Ok(())
}

fn nothing_on_the_machine(name: &str) -> Result<()> {
    let mark = format!("lab-{name}");
    let netns = output(Command::new("ip").args(["netns", "list"]))?;
    ensure!(!netns.contains(&mark), "network namespaces are left: {netns}");
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let folders = [format!("/var/lib/tripod-lab/{name}/"), format!("/run/tripod-lab/{name}/")];
    ensure!(!folders.iter().any(|folder| mounts.contains(folder)), "mounts are left:\n{mounts}");
    for process in fs::read_dir("/proc")?.flatten() {
        let line = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        ensure!(!folders.iter().any(|folder| line.contains(folder)), "a process is left: {line}");
    }
    ensure!(!folders.iter().any(|folder| std::path::Path::new(folder).exists()), "folders are left");
    let groups = output(Command::new("find").args([
        "/sys/fs/cgroup",
        "-maxdepth",
        "2",
        "-name",
        &format!("{mark}-*"),
    ]))?;
    ensure!(groups.is_empty(), "cgroups are left: {groups}");
    Ok(())
}
