//! What the stories of departments and requests share: departments, requests, people, and what their conditions say.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, condition, described};
use tripod_e2e::lab::command::output;

use crate::fixture::{PATIENCE, given, installation};

/// Somebody who is neither the platform nor the operator.
pub struct Person {
    name: String,
    kubeconfig: PathBuf,
}

impl Person {
    /// A user with groups, at production. The API server takes them for that one: it is an administrator who says so.
    pub fn new(name: &str, groups: &[&str]) -> Result<Self> {
        let at = installation()?;
        let kubectl = at.kubectl("production")?;
        let mut config: Value =
            serde_json::from_str(&kubectl.run(&["config", "view", "--raw", "-o", "json"])?)?;
        let user = &mut config["users"][0]["user"];
        user["as"] = json!(name);
        user["as-groups"] = json!([&["system:authenticated"], groups].concat());
        let file: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let kubeconfig = at.lab.data().join(format!("{file}.kubeconfig"));
        std::fs::write(&kubeconfig, config.to_string())?;
        Ok(Self { name: name.to_owned(), kubeconfig })
    }

    /// An administrator of the department.
    pub fn admin_of(department: &str) -> Result<Self> {
        Self::new(&format!("zhang@{department}"), &[&format!("{department}-admins")])
    }

    /// The cloud chief of the department.
    pub fn chief_of(department: &str) -> Result<Self> {
        Self::new(&format!("chief@{department}"), &[])
    }

    /// `kubectl` as this person would type it.
    pub fn kubectl(&self, words: &[&str]) -> Result<String> {
        let program = installation()?.lab.program("kubectl");
        output(Command::new(program).env("KUBECONFIG", &self.kubeconfig).args(words))
    }

    /// The same, with a manifest.
    pub fn apply(&self, manifest: &Value) -> Result<String> {
        let file = self.kubeconfig.with_extension("json");
        std::fs::write(&file, manifest.to_string())?;
        self.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()])
    }

    /// Makes an object, as one makes what is never changed.
    pub fn create(&self, manifest: &Value) -> Result<String> {
        let file = self.kubeconfig.with_extension("json");
        std::fs::write(&file, manifest.to_string())?;
        self.kubectl(&["create", "-f", &file.display().to_string()])
    }

    /// That the API server refuses to make an object, in these words.
    pub fn may_not_create(&self, manifest: &Value, words: &str) -> Result<()> {
        refused(self.create(manifest), &format!("{}: {}", self.name, manifest), words)
    }

    /// `kubectl tripod`.
    pub fn tripod(&self, words: &[&str]) -> Result<String> {
        output(
            Command::new(given("TRIPOD_BINARY"))
                .env("KUBECONFIG", &self.kubeconfig)
                .env("LANG", "C")
                .args(words),
        )
    }

    /// Helm.
    pub fn helm(&self, words: &[&str]) -> Result<String> {
        let program = installation()?.lab.program("helm");
        output(Command::new(program).env("KUBECONFIG", &self.kubeconfig).args(words))
    }

    /// That the API server refuses a manifest, in these words.
    pub fn is_refused(&self, manifest: &Value, words: &str) -> Result<()> {
        refused(self.apply(manifest), &format!("{}: {}", self.name, manifest), words)
    }
}

/// That something was refused, in these words.
pub fn refused(result: Result<String>, what: &str, words: &str) -> Result<()> {
    match result {
        Ok(done) => anyhow::bail!("{what} was not refused: {done}"),
        Err(error) => {
            let error = format!("{error:#}");
            ensure!(error.contains(words), "{what} was refused, but not with {words:?}: {error}");
            Ok(())
        }
    }
}

/// Whether production has the workload's image.
static WORKLOAD: OnceLock<Result<(), String>> = OnceLock::new();

/// A department with a budget; `more` overrides its spec.
pub fn department(name: &str, budget: &Value, more: &Value) -> Result<Kubectl> {
    let at = installation()?;
    let loaded = WORKLOAD.get_or_init(|| {
        at.lab.load_image("production", &given("TRIPOD_WORKLOAD")).map_err(|e| format!("{e:#}"))
    });
    loaded.clone().map_err(anyhow::Error::msg)?;
    let kubectl = at.kubectl("production")?;
    let mut spec = json!({"displayName": name, "cloudChief": {"name": "王主任", "user": format!("chief@{name}")},
        "members": [{"kind": "Group", "name": format!("{name}-admins"), "role": "Admin"}], "budget": budget});
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    let manifest = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Department", "metadata": {"name": name}, "spec": spec});
    kubectl.apply(&manifest.to_string())?;
    kubectl.wait(&format!("department/{name}"), None, "Ready", PATIENCE)?;
    Ok(kubectl)
}

/// A class that needs nobody's approval, for requests with `cpu` at the most. Its name keeps stories apart.
pub fn automatic(kubectl: &Kubectl, cpu: &str) -> Result<()> {
    let class = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "RequestClass", "metadata": {"name": "story"},
        "spec": {"approvals": 0, "upTo": {"requests.cpu": cpu}, "securityLevel": 2}});
    kubectl.apply(&class.to_string()).map(drop)
}

/// What `zhang@<department>` asks for.
pub fn request(department: &str, name: &str, resources: &Value) -> Value {
    json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "ResourceRequest",
        "metadata": {"name": name, "namespace": format!("dept-{department}")},
        "spec": {"requester": format!("zhang@{department}"), "term": "365d", "recoveryLevel": 1,
            "system": {"displayName": format!("{department} {name}"), "securityLevel": 2, "filingNumber": "11010-2026-1",
                "buildMode": "New", "owner": format!("zhang@{department}")},
            "basis": {"letter": "卫信函〔2026〕12号", "purpose": "全区预约挂号统一平台"}, "resources": resources}})
}

/// The same request for a system of 等保 level 3, with all that this needs. No class without approvals takes it.
pub fn of_level_3(mut request: Value) -> Value {
    let spec = &mut request["spec"];
    spec["system"]["securityLevel"] = json!(3);
    spec["basis"]["technicalPlan"] = json!("档案室 2026-12-03");
    spec["recoveryLevel"] = json!(3);
    spec["protection"] = json!({"schedule": "0 3 * * *", "objectives": [{"centre": "remote", "rpo": "48h"}]});
    request
}

/// Waits until a condition has a reason and its message these words; returns the object.
pub fn says(kubectl: &Kubectl, object: &[&str], kind: &str, reason: &str, words: &[&str]) -> Result<Value> {
    kubectl.until(&format!("{object:?} to say {kind} {reason}"), PATIENCE, object, |seen| {
        let said = described(seen, kind);
        let generation = seen["metadata"]["generation"] == seen["status"]["observedGeneration"];
        ensure!(generation && condition(seen, kind).is_some_and(|c| c["reason"] == reason), "{said}");
        ensure!(words.iter().all(|word| said.contains(word)), "{said}");
        Ok(seen.clone())
    })
}

/// An amount of the one quota of a namespace: `hard` or `used`, of the status.
pub fn quota(kubectl: &Kubectl, namespace: &str, part: &str, resource: &str) -> Result<String> {
    let quota = kubectl.get(&["-n", namespace, "resourcequota/tripod-budget"])?;
    quota["status"][part][resource].as_str().map(ToOwned::to_owned).context("not in the quota's status")
}

/// Waits until a quota enforces an amount.
pub fn enforces(kubectl: &Kubectl, namespace: &str, resource: &str, amount: &str) -> Result<()> {
    tripod_e2e::lab::command::wait_for(
        &format!("{namespace} to enforce {resource} {amount}"),
        PATIENCE,
        || {
            let hard = quota(kubectl, namespace, "hard", resource)?;
            ensure!(hard == amount, "it enforces {hard}");
            Ok(())
        },
    )
}

/// A deployment of the workload's image that only sleeps.
pub fn sleeper(namespace: &str, name: &str, cpu: &str, replicas: u32) -> Value {
    let pod = pod_spec(cpu);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod}}})
}

/// A bare pod that only sleeps.
pub fn pod(namespace: &str, name: &str, cpu: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": pod_spec(cpu)})
}

fn pod_spec(cpu: &str) -> Value {
    json!({"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "containers": [{"name": "sleep",
        "image": "docker.io/library/tripod-demo:dev", "command": ["/bin/sleep", "100000"],
        "resources": {"requests": {"cpu": cpu, "memory": "16Mi"}, "limits": {"cpu": cpu, "memory": "64Mi"}}}]})
}
