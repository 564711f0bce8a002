//! A budget is kept: what does not fit is said, nothing is evicted, and nothing is granted until it fits.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::Kubectl;

use crate::fixture::PATIENCE;
use crate::tenancy::{Person, automatic, department, enforces, quota, request, says, sleeper};

fn patch(kubectl: &Kubectl, words: &[&str], patch: &Value) -> Result<()> {
    let patch = patch.to_string();
    kubectl.run(&[&["patch"], words, &["--type=merge", "-p", &patch]].concat()).map(drop)
}

#[test]
fn a_lowered_budget_evicts_nothing_and_grants_nothing() -> Result<()> {
    let budget = |cpu: &str| json!({"requests.cpu": cpu, "requests.memory": "8Gi"});
    let kubectl = department("budget", &budget("4"), &json!({}))?;
    automatic(&kubectl, "30")?;
    let zhang = Person::admin_of("budget")?;
    zhang.apply(&request("budget", "one", &json!({"requests.cpu": "2", "requests.memory": "1Gi"})))?;
    kubectl.wait("resourcerequest/one", Some("dept-budget"), "Ready", PATIENCE)?;
    zhang.apply(&sleeper("budget-one", "web", "1500m", 1))?;
    kubectl.wait("deployment/web", Some("budget-one"), "Available", PATIENCE)?;

    patch(&kubectl, &["department/budget"], &json!({"spec": {"budget": budget("1")}}))?;
    says(
        &kubectl,
        &["department/budget"],
        "WithinBudget",
        "OverCommitted",
        &["requests.cpu by 1", "Nothing is evicted"],
    )?;
    ensure!(quota(&kubectl, "budget-one", "used", "requests.cpu")? == "1500m", "something was evicted");
    zhang.apply(&request("budget", "two", &json!({"requests.cpu": "100m"})))?;
    says(
        &kubectl,
        &["-n", "dept-budget", "resourcerequest/two"],
        "Assessed",
        "BudgetHeadroom",
        &["100m is asked for and 0 is free", "可用 0"],
    )?;

    // It fits again, and goes on by itself.
    patch(&kubectl, &["department/budget"], &json!({"spec": {"budget": budget("4")}}))?;
    kubectl.wait("resourcerequest/two", Some("dept-budget"), "Ready", PATIENCE)?;
    says(&kubectl, &["department/budget"], "WithinBudget", "Fits", &[])?;

    // A shrink below what is used frees only what is not used; more becomes free when the pod goes.
    let object = ["-n", "dept-budget", "resourcerequest/one"];
    zhang.apply(&request("budget", "one", &json!({"requests.cpu": "500m", "requests.memory": "1Gi"})))?;
    enforces(&kubectl, "budget-one", "requests.cpu", "500m")?;
    let committed = |amount: &str| {
        kubectl.until("the commitment", PATIENCE, &["department/budget"], |seen| {
            let line = &seen["status"]["budget"]["requests.cpu"];
            ensure!(line["committed"] == amount, "{line}");
            Ok(())
        })
    };
    committed("1600m")?;
    zhang.kubectl(&["-n", "budget-one", "scale", "deployment/web", "--replicas=0"])?;
    committed("600m")?;
    says(&kubectl, &object, "Ready", "Provisioned", &[]).map(drop)
}

#[test]
fn what_is_absurd_is_refused_by_name() -> Result<()> {
    let kubectl = department("absurd", &json!({"requests.cpu": "4"}), &json!({}))?;
    let zhang = Person::admin_of("absurd")?;
    for (amount, words) in [
        (json!({"requests.cpu": "-1"}), "negative or larger than 1Ei"),
        (json!({"requests.cpu": "2Ei"}), "negative or larger than 1Ei"),
        (json!({"requests.cpu": "12x"}), "no quantity"),
        (json!({"cpus.of.mine": "1"}), "none that a quota knows"),
        (json!({}), "spec.resources"),
    ] {
        zhang.is_refused(&request("absurd", "wrong", &amount), words)?;
    }
    zhang.apply(&request("absurd", "unbudgeted", &json!({"requests.nvidia.com/gpu": "1"})))?;
    let object = ["-n", "dept-absurd", "resourcerequest/unbudgeted"];
    says(
        &kubectl,
        &object,
        "Assessed",
        "BudgetHeadroom",
        &["requests.nvidia.com/gpu", "no budget for it", "requests.cpu"],
    )?;
    zhang.apply(&request("absurd", "huge", &json!({"requests.cpu": "100"})))?;
    let object = ["-n", "dept-absurd", "resourcerequest/huge"];
    says(&kubectl, &object, "Ready", "BudgetHeadroom", &["100 is asked for and 4 is free"])?;
    let namespaces =
        kubectl.run(&["get", "namespaces", "-l", "tripod.cloud/department=absurd", "-o", "name"])?;
    ensure!(namespaces.trim() == "namespace/dept-absurd", "{namespaces}");
    Ok(())
}
