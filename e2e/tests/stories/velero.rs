//! People have years of backups that Velero made. One that Velero 1.18.3 made of a namespace (13 ConfigMaps, 7 Secrets, 2
//! ServiceAccounts, a Service, a Deployment, and what a cluster adds to them) comes back through a Restore.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::described;

use crate::fixture::{PATIENCE, system};

const TARBALL: &[u8] = include_bytes!("velero/velero-1.18.3.tar.gz");
const NAMESPACE: &str = "adopted-registration";

#[test]
fn what_velero_has_backed_up_comes_back() -> Result<()> {
    let system = system("adopted")?;
    let kubectl = system.production()?;
    system.fill_bucket(&[("backups/old/old.tar.gz".into(), TARBALL.to_vec())])?;
    let restore = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore",
        "metadata": {"name": "of-velero", "namespace": NAMESPACE},
        "spec": {"velero": {"bucket": system.bucket(), "backup": "old", "namespace": "bench-registration"},
            "waitForWorkloads": false}});
    kubectl.apply(&restore.to_string())?;
    let words = ["-n", NAMESPACE, "restore/of-velero"];
    let ended = kubectl.until("the restore to succeed", PATIENCE, &words, |restore| {
        let status = &restore["status"];
        ensure!(status["phase"] == "Succeeded", "{}; {}", described(restore, "Ready"), status["problems"]);
        Ok(restore.clone())
    })?;
    println!("of a tarball of Velero: {}", ended["status"]["objects"]);
    for (kind, expected) in
        [("configmaps", 13), ("secrets", 7), ("serviceaccounts", 2), ("services", 1), ("deployments", 1)]
    {
        let list = kubectl.get(&["-n", NAMESPACE, kind])?;
        let items: &Vec<Value> = list["items"].as_array().context("no items")?;
        let ours = items
            .iter()
            .filter(|item| item["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("bench-")));
        ensure!(ours.count() == expected, "{kind}: {}", list["items"]);
    }
    // What a cluster gives of itself, the walls of the old namespace and its policies stay where they were.
    let foreign =
        kubectl.run(&["-n", NAMESPACE, "get", "endpoints,recoverypoints,limitranges", "-o", "name"])?;
    ensure!(!foreign.contains("recoverypoint"), "{foreign}");
    Ok(())
}
