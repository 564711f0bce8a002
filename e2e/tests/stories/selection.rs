//! A policy chooses, the plan says what, and the point holds exactly that: plain restic lists it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::Kubectl;
use tripod_e2e::system::System;

use crate::fixture::{fill_volume, protect, restic, system};
use crate::tenancy::{Person, refused};

const NAMESPACE: &str = "selection-registration";

/// A kind of the platform's own that departments may use and backups may read.
fn widgets(kubectl: &Kubectl) -> Result<()> {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.selection.example"},
        "spec": {"group": "selection.example", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    kubectl.apply(&definition.to_string())?;
    kubectl.wait("crd/widgets.selection.example", None, "Established", crate::fixture::PATIENCE)?;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "selection-widgets", "labels": {"tripod.cloud/aggregate-to-backup": "true"}},
        "rules": [{"apiGroups": ["selection.example"], "resources": ["widgets"], "verbs": ["get", "list"]}]});
    kubectl.apply(&role.to_string())?;
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "selection-urgent"}, "value": 1000});
    kubectl.apply(&class.to_string()).map(drop)
}

fn object(version: &str, kind: &str, name: &str, rest: &Value) -> Value {
    let mut object =
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}});
    for (field, value) in rest.as_object().into_iter().flatten() {
        if field == "labels" || field == "annotations" || field == "ownerReferences" {
            object["metadata"][field] = value.clone();
        } else {
            object[field] = value.clone();
        }
    }
    object
}

fn fill(kubectl: &Kubectl) -> Result<()> {
    let config = |name: &str| object("v1", "ConfigMap", name, &json!({"data": {"a": "1"}}));
    // More than a page, and names of which one begins with another: a list has them in another order than a point.
    let mut items: Vec<Value> = (0..600).map(|n| config(&format!("n-{n}"))).collect();
    items.extend(["n", "n.json", "n-1.json", "n-10-0", "a", "a-b", "a.b"].map(config));
    items.push(object("v1", "ConfigMap", "cache", &json!({"labels": {"skip": "yes"}})));
    items.push(object("v1", "Secret", "kept", &json!({"labels": {"tripod.cloud/backup": "true"}})));
    items.push(object("v1", "Secret", "elsewhere", &json!({})));
    items.push(object("v1", "ServiceAccount", "web", &json!({})));
    items.push(object("selection.example/v1", "Widget", "w", &json!({"spec": {"size": 1}})));
    let pod = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"priorityClassName": "selection-urgent",
        "containers": [{"name": "web", "image": "docker.io/library/tripod-demo:dev"}]}});
    let deployment = json!({"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": pod});
    items.push(object("apps/v1", "Deployment", "web", &json!({"spec": deployment})));
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    let uid = kubectl.get(&["-n", NAMESPACE, "deployment/web"])?["metadata"]["uid"].clone();
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid, "controller": true}]);
    kubectl
        .apply(&object("v1", "ConfigMap", "made-by-web", &json!({"ownerReferences": owner})).to_string())
        .map(drop)
}

#[test]
fn a_point_holds_exactly_what_the_plan_says() -> Result<()> {
    let system = system("selection")?;
    let kubectl = system.production()?;
    widgets(&kubectl)?;
    fill(&kubectl)?;
    fill_volume(&system, 3, 1000)?;
    let spec = json!({"include": {"secrets": "Labelled"},
        "exclude": {"kinds": ["services"], "labelSelector": {"matchLabels": {"skip": "yes"}}, "volumes": ["bulk"]}});
    protect(&system, &spec)?;

    let zhang = Person::admin_of("selection")?;
    let shown =
        zhang.tripod(&["backup", "now", "registration", "-n", NAMESPACE, "--wait", "--timeout", "4m"])?;
    ensure!(shown.contains("Complete") && shown.contains("production Verified"), "{shown}");
    let points = zhang.tripod(&["points", "-n", NAMESPACE, "--policy", "registration", "-o", "json"])?;
    let points: Value = serde_json::from_str(&points)?;
    let newest =
        points["items"].as_array().into_iter().flatten().max_by_key(|p| p["metadata"]["name"].as_str());
    let point = newest.context("no point")?;
    ensure!(point["spec"]["volumes"].is_null(), "volumes: {}", point["spec"]["volumes"]);
    let listed = zhang.tripod(&["points", "-n", NAMESPACE, "--lang", "zh"])?;
    ensure!(listed.contains("已校验") && listed.contains("registration-"), "{listed}");

    let held = held(&system)?;
    ensure!(held.len() > 600, "{} objects", held.len());
    the_plan_says_so(&held, point)?;
    it_is_the_right_choice(&held)?;
    let definition =
        "/objects/_cluster/customresourcedefinitions.apiextensions.k8s.io/widgets.selection.example.json";
    let definition: Value = serde_json::from_str(&restic(
        &system,
        "production",
        &["dump", "--path", "/objects", "latest", definition],
    )?)?;
    ensure!(
        definition["spec"]["names"]["kind"] == "Widget" && definition["status"].is_null(),
        "{definition}"
    );
    what_is_nonsense_is_refused(&zhang)
}

/// What plain restic lists in the newest snapshot of objects, below its root.
fn held(system: &System<'_>) -> Result<BTreeSet<String>> {
    let listed = restic(system, "production", &["ls", "latest", "--path", "/objects"])?;
    let files = listed
        .lines()
        .filter_map(|line| line.strip_prefix("/objects/"))
        .filter(|path| path.strip_suffix(".json").is_some());
    Ok(files.map(str::to_owned).collect())
}

fn plan(person: &Person) -> Result<Value> {
    let text = person.tripod(&["backup", "plan", "registration", "-n", NAMESPACE, "-o", "json"])?;
    serde_json::from_str(&text).with_context(|| text)
}

fn paths(plan: &Value) -> BTreeSet<String> {
    plan["paths"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn the_plan_says_so(held: &BTreeSet<String>, point: &Value) -> Result<()> {
    let engineer = Person::new("engineer", &["system:masters"])?;
    let plan_of_all = plan(&engineer)?;
    // Who may list more than the account of backups is told of more: of the kinds that the point says were not listed.
    let not_listed: BTreeSet<&str> =
        point["status"]["notListed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let folder = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let expected: BTreeSet<String> =
        paths(&plan_of_all).into_iter().filter(|path| !not_listed.contains(folder(path).as_str())).collect();
    let missing: Vec<_> = expected.difference(held).take(5).collect();
    let more: Vec<_> = held.difference(&expected).take(5).collect();
    ensure!(missing.is_empty() && more.is_empty(), "planned and not held: {missing:?}; held: {more:?}");

    // With the very rights of backups the same, but for what those may not read of the cluster.
    let account = Person::new(
        &format!("system:serviceaccount:{NAMESPACE}:tripod-backup"),
        &["system:serviceaccounts"],
    )?;
    let its_plan = plan(&account)?;
    let without_cluster: BTreeSet<String> =
        held.iter().filter(|path| !path.starts_with("_cluster/")).cloned().collect();
    ensure!(paths(&its_plan) == without_cluster, "{}", its_plan["paths"]);

    let said = engineer.tripod(&["backup", "plan", "registration", "-n", NAMESPACE])?;
    for words in [
        "configmaps/made-by-web",
        "owned by Deployment/web",
        "given by Kubernetes",
        "matches spec.exclude.labelSelector",
        "in spec.exclude.kinds",
        "left out: in spec.exclude.volumes",
        "priorityclasses.scheduling.k8s.io/selection-urgent",
    ] {
        ensure!(said.contains(words), "{words} is not in\n{said}");
    }
    let chinese = engineer.tripod(&["backup", "plan", "registration", "-n", NAMESPACE, "--lang", "zh"])?;
    ensure!(chinese.contains("属于 Deployment/web") && chinese.contains("存储卷"), "{chinese}");
    // A viewer sees what a viewer may, and which kinds are hidden.
    let viewer = Person::new("auditor", &["selection-audit"])?;
    let seen = viewer.tripod(&["backup", "plan", "registration", "-n", NAMESPACE])?;
    ensure!(seen.contains("Kinds that you may not list") && seen.contains("secrets"), "{seen}");
    Ok(())
}

fn it_is_the_right_choice(held: &BTreeSet<String>) -> Result<()> {
    for path in [
        "configmaps/n.json",
        "configmaps/n.json.json",
        "configmaps/n-599.json",
        "configmaps/a.b.json",
        "deployments.apps/web.json",
        "secrets/kept.json",
        "serviceaccounts/web.json",
        "widgets.selection.example/w.json",
        "backuppolicies.tripod.cloud/registration.json",
        "persistentvolumeclaims/bulk.json",
        "_cluster/priorityclasses.scheduling.k8s.io/selection-urgent.json",
    ] {
        ensure!(held.contains(path), "{path} is not in the point");
    }
    ensure!(held.iter().any(|path| path.starts_with("_cluster/storageclasses.storage.k8s.io/")), "{held:?}");
    for path in [
        "configmaps/cache.json",
        "configmaps/made-by-web.json",
        "configmaps/kube-root-ca.crt.json",
        "secrets/elsewhere.json",
        "serviceaccounts/default.json",
        "serviceaccounts/tripod-mover.json",
    ] {
        ensure!(!held.contains(path), "{path} is in the point");
    }
    ensure!(
        !held.iter().any(|path| path.starts_with("pods/") || path.starts_with("replicasets")),
        "{held:?}"
    );
    Ok(())
}

fn what_is_nonsense_is_refused(zhang: &Person) -> Result<()> {
    refused(
        zhang.tripod(&["backup", "now", "none", "-n", NAMESPACE]),
        "a policy that is not there",
        "not found",
    )?;
    refused(
        zhang.tripod(&["backup", "plan", "none", "-n", NAMESPACE]),
        "a policy that is not there",
        "not found",
    )
}
