//! A drill is deleted half-way: it cleans up, and only then is gone.

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tripod_e2e::kubectl::described;

use crate::fixture::{CENTRES, PATIENCE, fill_volume, nothing_left, protect, system};

#[test]
fn a_deleted_drill_leaves_nothing() -> Result<()> {
    let system = system("deleted")?;
    fill_volume(&system, 10, 10_000)?;
    system.fill_bucket(&[("one".into(), b"1".to_vec()), ("two".into(), b"2".to_vec())])?;
    protect(&system, &json!({"include": {"buckets": [system.bucket()]}}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;
    let for_ever = json!([{"name": "for-ever", "job": {"image": "docker.io/library/tripod-demo:dev",
        "command": ["/bin/sh", "-c", "while :; do read line < /dev/zero || :; done"]}}]);
    let kubectl = system.start_drill("half-way", "remote", None, &for_ever)?;
    let namespace = system.namespace();
    kubectl.until(
        "the drill to check",
        PATIENCE,
        &["-n", &namespace, "drill/half-way"],
        |drill| match drill["status"]["phase"].as_str() {
            Some("Checking") => Ok(()),
            _ => bail!("{}", described(drill, "Ready")),
        },
    )?;
    ensure!(
        nothing_left_now(&kubectl)?.contains("drill-half-way"),
        "the isolated namespace is not marked as the drill's"
    );
    kubectl.run(&["-n", &namespace, "delete", "drill/half-way", "--timeout=120s"])?;
    ensure!(nothing_left_now(&kubectl)?.is_empty(), "the drill was gone before its namespace");
    nothing_left(&system, &kubectl, "remote")
}

fn nothing_left_now(kubectl: &tripod_e2e::kubectl::Kubectl) -> Result<String> {
    Ok(kubectl.run(&["get", "namespaces", "-l", "tripod.cloud/drill", "-o", "name"])?.trim().to_owned())
}
