//! Velero 1.18 with its plugin for S3, as a process beside the cluster, on the store of the same centre.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use tripod_e2e::installation::Installation;
use tripod_e2e::kubectl::Kubectl;
use tripod_e2e::lab::command::output;
use tripod_e2e::lab::process::Process;

use crate::Row;
use crate::process::Watched;

const PATIENCE: Duration = Duration::from_mins(30);
const BUCKET: &str = "velero";
const BACKUP: &str = "bench";

pub struct Velero {
    server: Child,
    process: Process,
    kubectl: Kubectl,
    queries: Option<u32>,
}

impl Drop for Velero {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Velero {
    /// Starts a server of its own, with so many queries a second to the API server, or as many as it has by default.
    pub fn start(at: &Installation, folder: &Path, queries: Option<u32>) -> Result<Self> {
        let (kubectl, centre) = (at.kubectl("production")?, at.lab.centre("production")?);
        let program = folder.join("velero");
        let crds =
            output(Command::new(&program).args(["install", "--crds-only", "--dry-run", "-o", "yaml"]))?;
        kubectl.with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &crds)?;
        centre.store.ensure_bucket(BUCKET, false)?;
        let keys = &centre.store.operator;
        let credentials = at.lab.data().join("velero-credentials");
        let text = format!(
            "[default]\naws_access_key_id={}\naws_secret_access_key={}\n",
            keys.access_key_id, keys.secret_access_key
        );
        fs::write(&credentials, text)?;
        for object in installed(&centre.store.endpoint, centre.store.ca_pem.as_deref()) {
            kubectl.apply(&object.to_string())?;
        }
        let log = fs::File::create(at.lab.data().join("velero.log"))?;
        let mut command = Command::new(&program);
        command.args(["server", "--plugin-dir", &folder.join("plugins").display().to_string()]);
        command.args(["--metrics-address", "127.0.0.1:18085", "--profiler-address", "127.0.0.1:18086"]);
        if let Some(queries) = queries {
            let queries = queries.to_string();
            command.args(["--client-qps", &queries, "--client-burst", &queries]);
        }
        let server = command
            .env("KUBECONFIG", &kubectl.kubeconfig)
            .env("VELERO_NAMESPACE", "velero")
            .env("AWS_SHARED_CREDENTIALS_FILE", &credentials)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let process = Process::of(i32::try_from(server.id())?).context("velero has ended at once")?;
        let velero = Self { server, process, kubectl, queries };
        let location = ["-n", "velero", "backupstoragelocation/default"];
        velero.kubectl.until(
            "velero's location to be available",
            Duration::from_mins(2),
            &location,
            |seen| {
                ensure!(velero.process.is_alive(), "velero has ended; see velero.log in the lab's data");
                ensure!(seen["status"]["phase"] == "Available", "{}", seen["status"]);
                Ok(())
            },
        )?;
        Ok(velero)
    }

    fn named(&self) -> String {
        self.queries.map_or_else(|| "velero".to_owned(), |queries| format!("velero --client-qps {queries}"))
    }

    pub fn target(&self) -> String {
        self.queries.map_or_else(|| "velero-copy".to_owned(), |queries| format!("velero-copy-{queries}"))
    }

    pub fn back_up(&self, namespace: &str, objects: usize) -> Result<Row> {
        let watched = Watched::begin(self.process)?;
        let spec = json!({"includedNamespaces": [namespace], "storageLocation": "default", "snapshotVolumes": false});
        self.done("Backup", BACKUP, &spec)?;
        watched.end(self.named(), "backup", objects)
    }

    pub fn restore(&self, namespace: &str, objects: usize) -> Result<Row> {
        let target = self.target();
        // As Tripod's system has it before: a namespace that is there.
        self.kubectl.apply(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": target}}).to_string(),
        )?;
        let watched = Watched::begin(self.process)?;
        let spec = json!({"backupName": BACKUP, "includedNamespaces": [namespace], "namespaceMapping": {namespace: target}});
        self.done("Restore", &target, &spec)?;
        watched.end(self.named(), "restore", objects)
    }

    fn done(&self, kind: &str, name: &str, spec: &Value) -> Result<()> {
        let object = json!({"apiVersion": "velero.io/v1", "kind": kind, "metadata": {"name": name, "namespace": "velero"}, "spec": spec});
        self.kubectl.apply(&object.to_string())?;
        let words = ["-n", "velero", &format!("{}.velero.io/{name}", kind.to_lowercase())];
        self.kubectl.until(&format!("velero's {kind}"), PATIENCE, &words, |seen| {
            ensure!(self.process.is_alive(), "velero has ended; see velero.log in the lab's data");
            match seen["status"]["phase"].as_str() {
                Some("Completed") => Ok(()),
                other => bail!("{other:?}: {}", seen["status"]),
            }
        })
    }
}

/// The namespace, the Deployment that the server looks for, and where backups go.
fn installed(endpoint: &str, ca: Option<&str>) -> [Value; 3] {
    let mut location = json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
        "metadata": {"name": "default", "namespace": "velero"},
        "spec": {"provider": "aws", "default": true, "objectStorage": {"bucket": BUCKET},
            "config": {"region": "us-east-1", "s3ForcePathStyle": "true", "s3Url": endpoint}}});
    if let Some(ca) = ca {
        let ca = base64::engine::general_purpose::STANDARD.encode(ca);
        location["spec"]["objectStorage"]["caCert"] = json!(ca);
    }
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "velero", "namespace": "velero"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "velero"}}, "template": {"metadata": {"labels": {"app": "velero"}},
            "spec": {"containers": [{"name": "velero", "image": "velero/velero:v1.18.3"}]}}}});
    [json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero"}}), deployment, location]
}
