//! From a Helm release to a namespace that can't overspend, and out again.

use anyhow::{Result, ensure};
use serde_json::json;
use tripod_e2e::installation::chart;

use crate::fixture::PATIENCE;
use crate::tenancy::{Person, department, enforces, pod, refused, says, sleeper};

const HOME: &str = "dept-gate";
const SYSTEM: &str = "gate-registration";
const REQUEST: [&str; 3] = ["-n", HOME, "resourcerequest/registration"];

/// The words of `helm upgrade --install` for a system with so many cores.
fn release(cpu: &str) -> Vec<String> {
    let set = |text: &str| ["--set-string".to_owned(), text.to_owned()];
    let mut words: Vec<String> =
        ["upgrade", "--install", "registration", &chart("department-request"), "-n", HOME]
            .map(ToOwned::to_owned)
            .to_vec();
    for text in [
        "requester=zhang@gate",
        "system.displayName=预约挂号（门诊）",
        "system.filingNumber=11010-2026-1",
        "system.owner=zhang@gate",
        "system.buildMode=New",
        "basis.letter=卫信函〔2026〕12号",
        "basis.purpose=全区预约挂号统一平台",
        "term=365d",
        "resources.requests\\.memory=2Gi",
    ] {
        words.extend(set(text));
    }
    words.extend(set(&format!("resources.requests\\.cpu={cpu}")));
    words.extend(["--set", "system.securityLevel=2", "--set", "recoveryLevel=1"].map(ToOwned::to_owned));
    words
}

fn install(person: &Person, cpu: &str) -> Result<String> {
    let words = release(cpu);
    person.helm(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_release_becomes_a_namespace_and_ends() -> Result<()> {
    let kubectl = department("gate", &json!({"requests.cpu": "60", "requests.memory": "8Gi"}), &json!({}))?;
    let (zhang, chief) = (Person::admin_of("gate")?, Person::chief_of("gate")?);
    let second = Person::new("second@platform", &["gate-platform"])?;
    approver(&kubectl)?;

    let notes = install(&zhang, "2")?;
    ensure!(notes.contains("kubectl tripod explain"), "NOTES say how to go on: {notes}");
    says(&kubectl, &REQUEST, "Approved", "AwaitingApproval", &["0 of 1", "other than zhang@gate", "审批"])?;
    refused(zhang.tripod(&["approve", "registration", "-n", HOME]), "approving one's own", "zhang@gate")?;
    let explained = zhang.tripod(&["explain", "registration", "-n", HOME])?;
    ensure!(
        explained.contains("BudgetHeadroom") && explained.contains("kubectl tripod approve"),
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
    kubectl.wait("deployment/web", Some(SYSTEM), "Available", PATIENCE)
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
