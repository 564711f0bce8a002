//! Nodes that are objects only: kwok keeps them Ready and says of their pods that they run. Thousands of pods then cost
//! the API server and the controllers what they always cost, and the machine nothing else.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::build::Binaries;
use super::command::{run, tail, wait_for};
use super::layout::CentreLayout;
use super::process;

/// Label of every fake node. A pod that is to run on one selects it.
pub const LABEL: (&str, &str) = ("type", "kwok");
/// Taint of every fake node. A pod that is to run on one tolerates it.
pub const TAINT: (&str, &str) = ("kwok.x-k8s.io/node", "fake");
/// What kwok runs as, beside the components of a cluster.
pub const COMPONENT: &str = "kwok";

/// What happens to nodes and pods, and when.
const STAGES: &str = include_str!("../../lab/kwok.yaml");
const READY: Duration = Duration::from_mins(1);

/// Nodes of one size, `fake-0`, `fake-1`, …
#[derive(Clone, Debug)]
pub struct FakeNodes<'a> {
    pub count: usize,
    /// Value of the label `tripod.cloud/node-pool`.
    pub pool: Option<&'a str>,
    pub cpu: &'a str,
    pub memory: &'a str,
    pub pods: u32,
}

impl Default for FakeNodes<'_> {
    fn default() -> Self {
        Self { count: 1, pool: None, cpu: "1000", memory: "4Ti", pods: 10_000 }
    }
}

/// Starts kwok at a centre, makes the nodes, and waits until they are Ready. Again, it changes only what differs.
///
/// # Errors
/// With what the nodes said last, and the end of kwok's log.
pub fn ensure(binaries: &Binaries, centre: &CentreLayout, nodes: &FakeNodes<'_>) -> Result<()> {
    let config = centre.data().join("kwok.yaml");
    fs::write(&config, STAGES).with_context(|| config.display().to_string())?;
    let words = [
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", centre.data().join("addons.kubeconfig").display()),
        format!("--manage-nodes-with-label-selector={}", selector()),
    ];
    let path = binaries.folder().display().to_string();
    process::start(centre, COMPONENT, &binaries.path("kwok"), &words, &path)?;
    let manifest = centre.data().join("kwok-nodes.json");
    fs::write(&manifest, nodes.manifest().to_string())?;
    kubectl(
        binaries,
        centre,
        &["apply", "--server-side", "--force-conflicts", "-f", &manifest.display().to_string()],
    )?;
    wait_for(&format!("{} fake nodes of {}", nodes.count, centre.name), READY, || {
        let status = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}";
        let seen = kubectl(binaries, centre, &["get", "nodes", "-l", &selector(), "-o", status])?;
        let ready = seen.split_whitespace().filter(|status| *status == "True").count();
        ensure!(ready >= nodes.count, "{ready} of them are Ready");
        Ok(())
    })
    .with_context(|| {
        let log = process::log_path(centre, COMPONENT);
        format!("{} ends with:\n{}", log.display(), tail(&fs::read_to_string(&log).unwrap_or_default(), 8))
    })
}

/// Deletes the nodes and stops kwok; the cluster itself collects the pods of a node that is gone. Again, it does nothing.
///
/// # Errors
/// When the API server does not answer.
pub fn remove(binaries: &Binaries, centre: &CentreLayout) -> Result<()> {
    if process::running(centre, COMPONENT).is_some() {
        kubectl(binaries, centre, &["delete", "nodes", "-l", &selector(), "--timeout=60s"])?;
        process::stop(centre, COMPONENT, Duration::from_secs(3));
    }
    Ok(())
}

fn selector() -> String {
    format!("{}={}", LABEL.0, LABEL.1)
}

fn kubectl(binaries: &Binaries, centre: &CentreLayout, words: &[&str]) -> Result<String> {
    let kubeconfig = format!("--kubeconfig={}", centre.kubeconfig().display());
    run(binaries.path("kubectl"), &[&[kubeconfig.as_str()], words].concat())
}

impl FakeNodes<'_> {
    fn manifest(&self) -> Value {
        let nodes: Vec<Value> = (0..self.count).map(|index| self.node(index)).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": nodes})
    }

    fn node(&self, index: usize) -> Value {
        let name = format!("fake-{index}");
        let capacity = json!({"cpu": self.cpu, "memory": self.memory, "pods": self.pods.to_string()});
        let mut node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
            "spec": {"taints": [{"key": TAINT.0, "value": TAINT.1, "effect": "NoSchedule"}]},
            "status": {"capacity": capacity, "allocatable": capacity},
        });
        node["metadata"]["labels"][LABEL.0] = json!(LABEL.1);
        if let Some(pool) = self.pool {
            node["metadata"]["labels"]["tripod.cloud/node-pool"] = json!(pool);
        }
        node
    }
}
