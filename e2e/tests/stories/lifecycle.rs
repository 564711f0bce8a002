//! What happens to a department's namespaces over the years: stopped and started, adopted, run out of term, and still
//! there after the definitions of Tripod were deleted.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::Kubectl;

use crate::fixture::{PATIENCE, installation, system};
use crate::tenancy::{Person, automatic, department, enforces, quota, refused, request, says, sleeper};

fn patch_department(kubectl: &Kubectl, name: &str, spec: &Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    kubectl.run(&["patch", "department", name, "--type=merge", "-p", &patch]).map(drop)
}

/// Generation by generation of what a namespace runs: replicas and suspensions.
fn running(kubectl: &Kubectl, namespace: &str) -> Result<Vec<String>> {
    let all = kubectl.get(&["-n", namespace, "deployments,statefulsets,daemonsets,cronjobs"])?;
    let items = all["items"].as_array().context("no list")?;
    Ok(items
        .iter()
        .map(|o| {
            let spec = &o["spec"];
            format!(
                "{} {} {} {} {}",
                o["kind"],
                o["metadata"]["name"],
                spec["replicas"],
                spec["suspend"],
                spec["template"]["spec"]["nodeSelector"]
            )
        })
        .collect())
}

#[test]
fn a_department_is_stopped_and_started_as_it_was() -> Result<()> {
    let budget = json!({"requests.cpu": "4", "requests.memory": "8Gi"});
    let kubectl = department("stopped", &budget, &json!({}))?;
    automatic(&kubectl, "30")?;
    let zhang = Person::admin_of("stopped")?;
    zhang.apply(&request("stopped", "one", &json!({"requests.cpu": "2", "requests.memory": "4Gi"})))?;
    kubectl.wait("resourcerequest/one", Some("dept-stopped"), "Ready", PATIENCE)?;
    zhang.apply(&sleeper("stopped-one", "two", "100m", 2))?;
    zhang.apply(&sleeper("stopped-one", "none", "100m", 0))?;
    let mut nightly = sleeper("stopped-one", "nightly", "100m", 1);
    let pod = nightly["spec"]["template"].take();
    let mut pod = pod["spec"].clone();
    pod["restartPolicy"] = json!("Never");
    let nightly = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "namespace": "stopped-one"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}}});
    zhang.apply(&nightly)?;
    kubectl.wait("deployment/two", Some("stopped-one"), "Available", PATIENCE)?;
    let before = running(&kubectl, "stopped-one")?;

    // Cordoned: what runs goes on, also when a pod dies; nothing new comes in.
    patch_department(&kubectl, "stopped", &json!({"suspension": "Cordoned"}))?;
    says(&kubectl, &["department/stopped"], "Ready", "Cordoned", &[])?;
    refused(zhang.apply(&sleeper("stopped-one", "new", "100m", 1)), "a new deployment", "tripod-suspension")?;
    refused(
        zhang.kubectl(&["-n", "stopped-one", "scale", "deployment/two", "--replicas=3"]),
        "more replicas",
        "tripod-suspension",
    )?;
    refused(zhang.apply(&request("stopped", "late", &json!({"requests.cpu": "1"}))), "a request", "tripod-")?;
    kubectl.run(&["-n", "stopped-one", "delete", "pods", "-l", "app=two", "--wait"])?;
    kubectl.wait("deployment/two", Some("stopped-one"), "Available", PATIENCE)?;
    ensure!(running(&kubectl, "stopped-one")? == before, "cordoning changed something");

    patch_department(&kubectl, "stopped", &json!({"suspension": "ScaledToZero"}))?;
    says(&kubectl, &["department/stopped"], "Ready", "ScaledToZero", &[])?;
    kubectl.until("no pod to be left", PATIENCE, &["-n", "stopped-one", "pods"], |pods| {
        let left = pods["items"].as_array().map_or(0, Vec::len);
        ensure!(left == 0, "{left} pods are left");
        Ok(())
    })?;
    refused(
        zhang.kubectl(&["-n", "stopped-one", "scale", "deployment/two", "--replicas=1"]),
        "starting it anyway",
        "tripod-suspension",
    )?;

    patch_department(&kubectl, "stopped", &json!({"suspension": "None"}))?;
    says(&kubectl, &["department/stopped"], "Ready", "Provisioned", &[])?;
    kubectl.wait("deployment/two", Some("stopped-one"), "Available", PATIENCE)?;
    let after = running(&kubectl, "stopped-one")?;
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}

#[test]
fn a_namespace_is_adopted_without_a_restart_and_by_one_department_only() -> Result<()> {
    let kubectl = installation()?.kubectl("production")?;
    system("power")?;
    let (budget, none) = (json!({"requests.cpu": "4", "requests.memory": "8Gi"}), json!({}));
    kubectl.apply(
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "legacy"}}).to_string(),
    )?;
    kubectl.apply(&sleeper("legacy", "old", "300m", 1).to_string())?;
    kubectl.wait("deployment/old", Some("legacy"), "Available", PATIENCE)?;
    let pod = || {
        kubectl.run(&[
            "-n",
            "legacy",
            "get",
            "pods",
            "-o",
            "jsonpath={.items[*].metadata.uid}{.items[*].status.containerStatuses[*].restartCount}",
        ])
    };
    let before = pod()?;
    let adopt = json!({"adopt": [{"namespace": "legacy", "resources": {"requests.cpu": "1", "requests.memory": "1Gi"}}]});
    department("adopter", &budget, &adopt)?;
    enforces(&kubectl, "legacy", "requests.cpu", "1")?;
    ensure!(pod()? == before, "the pod is another, or was restarted");
    ensure!(quota(&kubectl, "legacy", "used", "requests.cpu")? == "300m", "its use is counted");

    department("envious", &budget, &none)?;
    patch_department(
        &kubectl,
        "envious",
        &json!({"adopt": [{"namespace": "legacy", "resources": {}}, {"namespace": "kube-system", "resources": {}}]}),
    )?;
    says(
        &kubectl,
        &["department/envious"],
        "Ready",
        "NamespaceTaken",
        &["spec.adopt[0].namespace", "adopter's"],
    )?;
    enforces(&kubectl, "legacy", "requests.cpu", "1")?;
    let labels = kubectl.get(&["namespace/kube-system"])?["metadata"]["labels"].to_string();
    ensure!(!labels.contains("tripod.cloud"), "{labels}");
    Ok(())
}

#[test]
fn a_term_warns_ends_and_is_renewed() -> Result<()> {
    let kubectl = department("aged", &json!({"requests.cpu": "4", "requests.memory": "8Gi"}), &json!({}))?;
    automatic(&kubectl, "30")?;
    let zhang = Person::admin_of("aged")?;
    let mut asked = request("aged", "one", &json!({"requests.cpu": "2", "requests.memory": "1Gi"}));
    zhang.apply(&asked)?;
    kubectl.wait("resourcerequest/one", Some("dept-aged"), "Ready", PATIENCE)?;
    zhang.apply(&sleeper("aged-one", "web", "100m", 1))?;
    let object = ["-n", "dept-aged", "resourcerequest/one"];
    // The platform moves the start of the term into the past: days of it in a second.
    let since = |days: i64| -> Result<()> {
        let grant = kubectl.run(&[
            "get",
            "namespace/aged-one",
            "-o",
            "jsonpath={.metadata.annotations.tripod\\.cloud/grant}",
        ])?;
        let mut grant: Value = serde_json::from_str(&grant)?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let start = i64::try_from(now)? - days * 86_400;
        let moment = tripod_e2e::lab::command::run(
            "date",
            &["-u", "-d", &format!("@{start}"), "+%Y-%m-%dT%H:%M:%SZ"],
        )?;
        grant["since"] = json!(moment.trim());
        let text = format!("tripod.cloud/grant={grant}");
        kubectl.run(&["annotate", "--overwrite", "namespace/aged-one", &text]).map(drop)
    };
    for (days, reason) in [(340, "EndsWithin30Days"), (360, "EndsWithin7Days"), (365, "TermOver")] {
        since(days)?;
        let seen = says(&kubectl, &object, "TermEnding", reason, &[])?;
        let phase = if reason == "TermOver" { "Ended" } else { "Expiring" };
        ensure!(seen["status"]["phase"] == phase, "{reason}: {}", seen["status"]["phase"]);
    }
    let uid = seen_uid(&kubectl)?;
    let about = format!("regarding.uid={uid}");
    kubectl.until(
        "the events",
        PATIENCE,
        &["-A", "events.events.k8s.io", "--field-selector", &about],
        |events| {
            let events = events.to_string();
            ensure!(
                ["EndsWithin30Days", "EndsWithin7Days", "TermOver"].iter().all(|r| events.contains(r)),
                "{events}"
            );
            Ok(())
        },
    )?;
    kubectl.until("the workload to be stopped", PATIENCE, &["-n", "aged-one", "deployment/web"], |seen| {
        ensure!(seen["spec"]["replicas"] == 0, "{}", seen["spec"]["replicas"]);
        Ok(())
    })?;
    asked["spec"]["term"] = json!("730d");
    zhang.apply(&asked)?;
    kubectl.wait("resourcerequest/one", Some("dept-aged"), "Ready", PATIENCE)?;
    kubectl.wait("deployment/web", Some("aged-one"), "Available", PATIENCE)
}

fn seen_uid(kubectl: &Kubectl) -> Result<String> {
    kubectl.run(&["-n", "dept-aged", "get", "resourcerequest/one", "-o", "jsonpath={.metadata.uid}"])
}

/// At a centre where nothing else of this story is going on.
#[test]
fn definitions_deleted_and_made_again_take_nothing() -> Result<()> {
    let system = system("lasting")?;
    let kubectl = system.at.kubectl("remote")?;
    let namespace = system.namespace();
    let uid =
        || kubectl.run(&["get", "namespace", &namespace, "-o", "jsonpath={.metadata.uid}{.status.phase}"]);
    let hard = || quota(&kubectl, &namespace, "hard", "requests.cpu");
    let before = (uid()?, hard()?);
    let names = ["resourcerequests.tripod.cloud", "departments.tripod.cloud"];
    let mut definitions = Vec::new();
    for name in names {
        let mut definition = kubectl.get(&["crd", name])?;
        for field in ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"] {
            definition["metadata"].as_object_mut().context("metadata")?.remove(field);
        }
        definition.as_object_mut().context("definition")?.remove("status");
        definitions.push(definition);
    }
    kubectl.run(&["delete", "crd", names[0], names[1], "--timeout=60s"])?;
    ensure!((uid()?, hard()?) == before, "deleting the definitions took something");
    for definition in &definitions {
        kubectl.with_input(&["create", "-f", "-"], &definition.to_string())?;
    }
    for name in names {
        kubectl.wait(&format!("crd/{name}"), None, "Established", PATIENCE)?;
    }
    let again = crate::fixture::system("lasting")?;
    ensure!(again.namespace() == namespace && (uid()?, hard()?) == before, "it is not the same any more");
    let bindings = kubectl.run(&["-n", &namespace, "get", "rolebindings", "-o", "name"])?;
    ensure!(bindings.contains("tripod-department-admin"), "{bindings}");
    Ok(())
}
