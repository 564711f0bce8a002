//! Tripod, as a department uses it: a policy, a wish for a recovery point, and a Restore in another system.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::installation::Installation;
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::system::System;

use crate::Row;
use crate::process::{Watched, watch};

const PATIENCE: Duration = Duration::from_mins(20);

pub struct Tripod<'a> {
    system: System<'a>,
    pub kubectl: Kubectl,
    pub source: String,
    pub target: String,
}

impl<'a> Tripod<'a> {
    /// A department with two systems, of which one is protected: its objects, and its volumes where that is said.
    pub fn prepare(at: &'a Installation, volumes: bool) -> Result<Self> {
        let system = System::ensure(at, "bench")?;
        let kubectl = system.production()?;
        let mut copy = system.request(&kubectl.user()?);
        copy["metadata"]["name"] = json!("copy");
        copy["spec"]["system"]["displayName"] = json!("对照系统");
        copy["spec"]["resources"] = json!({"requests.cpu": "1", "requests.memory": "1Gi", "requests.storage": "4Gi", "count/persistentvolumeclaims": "1"});
        kubectl.apply(&copy.to_string())?;
        kubectl.wait("resourcerequest/copy", Some(&system.home()), "Ready", Duration::from_mins(1))?;
        system.protect(&json!({"include": {"volumes": volumes}}))?;
        let source = system.namespace();
        Ok(Self { kubectl, source, target: "bench-copy".to_owned(), system })
    }

    fn watch(&self) -> Result<Watched> {
        let running = self.system.at.lab.contained("production", "tripod")?;
        Watched::begin(*running.first().context("the operator does not run")?)
    }

    /// Until the point is complete in its vault; its name comes along.
    pub fn back_up(&self, objects: usize) -> Result<(Row, String)> {
        let watched = self.watch()?;
        let point = self.system.back_up()?;
        let ended = self.phase(&self.source, &format!("recoverypoint/{point}"), "Complete")?;
        let row = watched.end("tripod".to_owned(), "backup", objects)?;
        let taken = ended["status"]["contents"]["objects"].as_u64();
        ensure!(
            taken >= u64::try_from(objects).ok(),
            "{taken:?} of {objects} objects: {}",
            described(&ended, "Ready")
        );
        self.system.await_verified(&point, &["production"], PATIENCE)?;
        Ok((row, point))
    }

    /// With its movers, until the point is complete.
    pub fn back_up_files(&self, what: &'static str, files: usize) -> Result<(Vec<Row>, String)> {
        let (point, rows) = self.with_movers(what, files, || {
            let point = self.system.back_up()?;
            self.phase(&self.source, &format!("recoverypoint/{point}"), "Complete")?;
            Ok(point)
        })?;
        self.system.await_verified(&point, &["production"], PATIENCE)?;
        Ok((rows, point))
    }

    /// The same, until the Restore has succeeded.
    pub fn restore_files(&self, point: &str, files: usize) -> Result<Vec<Row>> {
        let (row, rows) = self.with_movers("restore", files, || self.restore(point, files))?;
        drop(row);
        Ok(rows)
    }

    fn with_movers<T>(
        &self,
        what: &'static str,
        files: usize,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Vec<Row>)> {
        let lab = &self.system.at.lab;
        let processes = || lab.contained("production", "tripod").unwrap_or_default();
        let operator = processes();
        let name = |process| {
            let is_operator = operator.contains(&process);
            if is_operator { "tripod: operator" } else { "tripod: mover" }.to_owned()
        };
        watch(processes, name, what, files, work)
    }

    /// Until the Restore has succeeded.
    pub fn restore(&self, point: &str, objects: usize) -> Result<Row> {
        let watched = self.watch()?;
        let restore = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore",
            "metadata": {"name": "bench", "namespace": self.target},
            "spec": {"recoveryPoint": point, "system": self.source, "waitForWorkloads": false}});
        self.kubectl.apply(&restore.to_string())?;
        self.phase(&self.target, "restore/bench", "Succeeded")?;
        watched.end("tripod".to_owned(), "restore", objects)
    }

    /// Waits by a watch: to ask again and again would take from the machine what is measured.
    fn phase(&self, namespace: &str, object: &str, phase: &str) -> Result<Value> {
        let (wanted, patience) = (
            format!("--for=jsonpath={{.status.phase}}={phase}"),
            format!("--timeout={}s", PATIENCE.as_secs()),
        );
        let ended = self.kubectl.run(&["-n", namespace, "wait", object, &wanted, &patience]);
        let seen = self.kubectl.get(&["-n", namespace, object])?;
        ended.with_context(|| format!("{object}: {}", described(&seen, "Ready")))?;
        Ok(seen)
    }
}
