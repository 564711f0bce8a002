//! From a Helm release to a namespace that can't overspend, and out again.

use anyhow::{Result, ensure};
use serde_json::json;
use tripod_e2e::installation::chart;

use crate::fixture::{PATIENCE, installation};
use crate::tenancy::{Person, department, enforces, of_level_3, pod, refused, request, says, sleeper};

const HOME: &str = "dept-gate";
const SYSTEM: &str = "gate-registration";
const REQUEST: [&str; 3] = ["-n", HOME, "resourcerequest/registration"];

/// `helm upgrade --install` for a system with so many cores.
fn install(person: &Person, cpu: &str) -> Result<String> {
    let resources = json!({"requests.cpu": cpu, "requests.memory": "2Gi"});
    let mut asked = of_level_3(request("gate", "registration", &resources));
    // The chart's values are the spec, and nothing else.
    let file = installation()?.lab.data().join("gate-values.json");
    std::fs::write(&file, asked["spec"].take().to_string())?;
    let chart = chart("department-request");
    person.helm(&[
        "upgrade",
        "--install",
        "registration",
        &chart,
        "-n",
        HOME,
        "-f",
        &file.display().to_string(),
    ])
}

#[test]
fn a_release_becomes_a_namespace_and_ends() -> Result<()> {
    let kubectl = department("gate", &json!({"requests.cpu": "60", "requests.memory": "8Gi"}), &json!({}))?;
    let (zhang, chief) = (Person::admin_of("gate")?, Person::chief_of("gate")?);
    let second = Person::new("second@platform", &["gate-platform"])?;
    approver(&kubectl)?;
    // A lab that was kept has the verdicts of the last time.
    kubectl.run(&["-n", "tripod-system", "delete", "approvals", "--all"])?;

    let notes = install(&zhang, "2")?;
    ensure!(notes.contains("kubectl tripod explain"), "NOTES say how to go on: {notes}");
    says(&kubectl, &REQUEST, "Approved", "AwaitingApproval", &["0 of 1", "other than zhang@gate", "审批"])?;
    refused(zhang.tripod(&["approve", "registration", "-n", HOME]), "approving one's own", "zhang@gate")?;
    let explained = zhang.tripod(&["explain", "registration", "-n", HOME])?;
    ensure!(
        explained.contains("BudgetHeadroom") && explained.contains("tripod approve registration"),
        "{explained}"
    );
    chief.tripod(&["approve", "registration", "-n", HOME, "--comment", "同意"])?;
    kubectl.wait(REQUEST[2], Some(HOME), "Ready", PATIENCE)?;

    zhang.apply(&sleeper(SYSTEM, "web", "500m", 2))?;
    kubectl.wait("deployment/web", Some(SYSTEM), "Available", PATIENCE)?;
    refused(
        zhang.apply(&pod(SYSTEM, "more", "1500m")),
        "a pod beyond the quota",
        "exceeded quota: tripod-budget",
    )?;

    // A change takes effect when it is approved, and not before; a large one needs two.
    install(&zhang, "40")?;
    says(&kubectl, &REQUEST, "Ready", "AwaitingApproval", &["0 of 2", "the grant before it stays in force"])?;
    chief.tripod(&["approve", "registration", "-n", HOME])?;
    says(&kubectl, &REQUEST, "Approved", "AwaitingSecondApprover", &["1 of 2", "chief@gate"])?;
    enforces(&kubectl, SYSTEM, "requests.cpu", "2")?;
    second.tripod(&["approve", "registration", "-n", HOME])?;
    kubectl.wait(REQUEST[2], Some(HOME), "Ready", PATIENCE)?;
    enforces(&kubectl, SYSTEM, "requests.cpu", "40")?;
    zhang.apply(&pod(SYSTEM, "more", "1500m"))?;
    zhang.kubectl(&["-n", SYSTEM, "delete", "pod", "more", "--wait"])?;

    shrinks_and_frees_the_budget(&kubectl, &zhang, &chief)?;
    let shown = Person::new("engineer", &["system:masters"])?.tripod(&["department", "gate"])?;
    println!("{shown}");
    ensure!(["requests.cpu", "60", SYSTEM].iter().all(|word| shown.contains(word)), "{shown}");
    exits_and_keeps_data(&kubectl, &zhang)
}

fn shrinks_and_frees_the_budget(
    kubectl: &tripod_e2e::kubectl::Kubectl,
    zhang: &Person,
    chief: &Person,
) -> Result<()> {
    install(zhang, "1")?;
    says(kubectl, &REQUEST, "Ready", "AwaitingApproval", &["0 of 1"])?;
    chief.tripod(&["approve", "registration", "-n", HOME])?;
    kubectl.wait(REQUEST[2], Some(HOME), "Ready", PATIENCE)?;
    enforces(kubectl, SYSTEM, "requests.cpu", "1")?;
    kubectl.until("the budget to be free again", PATIENCE, &["department/gate"], |seen| {
        let committed = &seen["status"]["budget"]["requests.cpu"]["committed"];
        ensure!(committed == "1", "{committed} is committed");
        Ok(())
    })
}

fn exits_and_keeps_data(kubectl: &tripod_e2e::kubectl::Kubectl, zhang: &Person) -> Result<()> {
    let uid = |seen: &serde_json::Value| seen["metadata"]["uid"].to_string();
    let before = uid(&kubectl.get(&["namespace", SYSTEM])?);
    zhang.helm(&["uninstall", "registration", "-n", HOME, "--wait"])?;
    kubectl.until("workloads to be stopped", PATIENCE, &["-n", SYSTEM, "deployment/web"], |seen| {
        ensure!(seen["spec"]["replicas"] == 0, "{}", seen["spec"]["replicas"]);
        Ok(())
    })?;
    let after = kubectl.get(&["namespace", SYSTEM])?;
    ensure!(uid(&after) == before, "the namespace is another");
    ensure!(after["metadata"]["annotations"]["tripod.cloud/ended-at"].is_string(), "{after}");
    // Asked for again, it is the same system with the same data.
    install(zhang, "1")?;
    Person::chief_of("gate")?.tripod(&["approve", "registration", "-n", HOME])?;
    kubectl.wait(REQUEST[2], Some(HOME), "Ready", PATIENCE)?;
    kubectl.wait("deployment/web", Some(SYSTEM), "Available", PATIENCE)?;
    // Half of the node is for other stories.
    kubectl.run(&["-n", SYSTEM, "scale", "deployment/web", "--replicas=0"]).map(drop)
}

/// An approver of the platform: who holds the cluster role, and may give verdicts beside the operator.
fn approver(kubectl: &tripod_e2e::kubectl::Kubectl) -> Result<()> {
    let subject =
        json!([{"kind": "Group", "name": "gate-platform", "apiGroup": "rbac.authorization.k8s.io"}]);
    let role = |kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "tripod-approver"});
    let everywhere = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "gate-platform"}, "roleRef": role("ClusterRole"), "subjects": subject});
    let beside = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "gate-platform", "namespace": "tripod-system"}, "roleRef": role("Role"), "subjects": subject});
    kubectl.apply(&everywhere.to_string())?;
    kubectl.apply(&beside.to_string()).map(drop)
}
