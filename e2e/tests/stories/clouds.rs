//! Another cloud is described as the example tells, and its part is added up; it can't be reached, and nothing is made of
//! that; its kubeconfig would do more than it must, or its user may do less than it has to. The other cloud is the cluster
//! of the same-city centre: a lab has no walls between centres but those that a story puts up.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tripod_e2e::installation::{NAMESPACE, repository};
use tripod_e2e::kubectl::{Kubectl, condition};
use tripod_e2e::lab::command::wait_for;

use crate::cut_link::Cut;
use crate::fixture::{PATIENCE, given, installation};
use crate::tenancy::{Person, department, pod, says};

const DEPARTMENT: [&str; 1] = ["department/clouds"];
const CLOUD: [&str; 1] = ["cloud/second"];
const HOME: &str = "dept-clouds";
const CPU: &str = "requests.cpu";

#[test]
fn what_is_on_another_cloud_is_added_up_or_unknown() -> Result<()> {
    let lab = &installation()?.lab;
    let kubectl = here()?;
    let there = there()?;
    let account = reader(&there)?;
    describe(&kubectl, &account.kubeconfig())?;
    is_added_up(&kubectl)?;
    let shown = Person::new("engineer", &["system:masters"])?.tripod(&["department", "clouds"])?;
    println!("{shown}");
    ensure!(["On all clouds", "second", "all together"].iter().all(|word| shown.contains(word)), "{shown}");

    let read_at = kubectl.get(&CLOUD)?["status"]["readAt"].clone();
    let cut = Cut(lab);
    lab.cut("production", "same-city")?;
    becomes_unknown(&kubectl, "Unreachable")?;
    let lost =
        says(&kubectl, &CLOUD, "Ready", "Unreachable", &["spec.kubeconfigSecretRef: ", &account.address])?;
    ensure!(lost["status"]["departments"]["clouds"][CPU]["granted"] == "2", "the last figures are kept");
    ensure!(lost["status"]["readAt"].as_str() >= read_at.as_str(), "{}", lost["status"]["readAt"]);
    drop(cut);
    is_added_up(&kubectl)?;

    let mut program = account.kubeconfig();
    program["users"][0]["user"] = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/tripod", "interactiveMode": "Never"}});
    describe(&kubectl, &program)?;
    says(&kubectl, &CLOUD, "Ready", "KubeconfigInvalid", &["users[0].user.exec", "run a program"])?;
    becomes_unknown(&kubectl, "KubeconfigInvalid")?;
    rights_are_named(&kubectl, &there, &account)?;

    describe(&kubectl, &account.kubeconfig())?;
    is_added_up(&kubectl)?;
    kubectl.run(&["delete", CLOUD[0], "--timeout=30s"])?;
    kubectl.until("the cloud to be forgotten", PATIENCE, &DEPARTMENT, |seen| {
        let status = &seen["status"];
        ensure!(
            status["clouds"].is_null() && status["total"].is_null(),
            "{} {}",
            status["clouds"],
            status["total"]
        );
        Ok(())
    })
}

/// The department at production: six cores, one of them promised to its home.
fn here() -> Result<Kubectl> {
    let home = json!({"home": {CPU: "1", "requests.memory": "1Gi"}});
    department("clouds", &json!({CPU: "6", "requests.memory": "8Gi"}), &home)
}

/// The same department on the other cloud: four cores, two in its home, half a one asked for by a pod.
fn there() -> Result<Kubectl> {
    let at = installation()?;
    at.lab.load_image("same-city", &given("TRIPOD_WORKLOAD"))?;
    let there = at.kubectl("same-city")?;
    let spec = json!({"displayName": "clouds", "budget": {CPU: "4", "requests.memory": "4Gi"},
        "home": {CPU: "2", "requests.memory": "1Gi"}});
    let manifest = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Department", "metadata": {"name": "clouds"}, "spec": spec});
    there.apply(&manifest.to_string())?;
    crate::tenancy::enforces(&there, HOME, CPU, "2")?;
    there.apply(&pod(HOME, "there", "500m").to_string())?;
    there.wait("pod/there", Some(HOME), "Ready", PATIENCE)?;
    Ok(there)
}

/// Who reads there.
struct Account {
    address: String,
    /// As it is in the Secret of a token: base64.
    authority: String,
    token: String,
}

impl Account {
    fn kubeconfig(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "second",
            "clusters": [{"name": "second", "cluster": {"server": format!("https://{}:6443", self.address),
                "certificate-authority-data": self.authority}}],
            "users": [{"name": "reader", "user": {"token": self.token}}],
            "contexts": [{"name": "second", "context": {"cluster": "second", "user": "reader"}}]})
    }
}

/// The example's account with exactly the example's rights.
fn reader(there: &Kubectl) -> Result<Account> {
    for object in example()? {
        if object["kind"] != "Cloud" && object["metadata"]["namespace"] != NAMESPACE {
            there.apply(&object.to_string())?;
        }
    }
    let address = installation()?.lab.centre("same-city")?.address;
    let words = ["-n", "kube-system", "secret/tripod-reader"];
    there.until("the reader's token", PATIENCE, &words, |secret| {
        let data = |key: &str| secret["data"][key].as_str().map(ToOwned::to_owned).context("not there yet");
        let token = String::from_utf8(STANDARD.decode(data("token")?)?)?;
        Ok(Account { address: address.clone(), authority: data("ca.crt")?, token })
    })
}

fn example() -> Result<Vec<Value>> {
    use serde::Deserialize as _;
    let text = std::fs::read_to_string(repository().join("docs/examples/cloud.yaml"))?;
    serde_yaml_ng::Deserializer::from_str(&text).map(|one| Ok(Value::deserialize(one)?)).collect()
}

/// The cloud with this kubeconfig.
fn describe(kubectl: &Kubectl, kubeconfig: &Value) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cloud-second", "namespace": NAMESPACE},
        "stringData": {"kubeconfig": kubeconfig.to_string()}});
    kubectl.apply(&secret.to_string())?;
    let cloud = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Cloud", "metadata": {"name": "second"},
        "spec": {"displayName": "市政务云二期", "intervalSeconds": 10, "kubeconfigSecretRef": {"name": "cloud-second"}}});
    kubectl.apply(&cloud.to_string()).map(drop)
}

/// Its part and the sums: 6 and 4 budgeted, 1 and 2 granted, nothing and a half asked for, and what is used is known.
fn is_added_up(kubectl: &Kubectl) -> Result<()> {
    kubectl.wait(CLOUD[0], None, "Ready", PATIENCE)?;
    kubectl.until("both clouds to be added up", PATIENCE, &DEPARTMENT, |seen| {
        let (share, total) = (&seen["status"]["clouds"]["second"], &seen["status"]["total"][CPU]);
        let line = &share["resources"][CPU];
        ensure!(line["budget"] == "4" && line["granted"] == "2" && line["requested"] == "500m", "{share}");
        ensure!(
            total["budget"] == "10" && total["granted"] == "3" && total["requested"] == "500m",
            "{total}"
        );
        ensure!(line["used"].is_string() && total["used"].is_string(), "{line} {total}");
        Ok(())
    })
}

/// Its part becomes unknown for this reason, and every sum with it; at no time is there a sum without its part.
fn becomes_unknown(kubectl: &Kubectl, reason: &str) -> Result<()> {
    let mut wrong = Vec::new();
    kubectl.until("the sums to be unknown", PATIENCE, &DEPARTMENT, |seen| {
        let (share, total) = (&seen["status"]["clouds"]["second"], &seen["status"]["total"][CPU]);
        for (column, whole) in [("budget", "10"), ("granted", "3"), ("requested", "500m")] {
            if !total[column].is_null() && total[column] != whole {
                wrong.push(format!("{column} was {} with {share}", total[column]));
            }
        }
        let why = share["unknown"].as_str().unwrap_or_default();
        ensure!(why.starts_with(reason) && share["resources"].is_null(), "{share}");
        ensure!(total.as_object().is_some_and(serde_json::Map::is_empty), "{total}");
        Ok(())
    })?;
    ensure!(wrong.is_empty(), "{wrong:?}");
    Ok(())
}

/// A user without rights, and one with some of them.
fn rights_are_named(kubectl: &Kubectl, there: &Kubectl, account: &Account) -> Result<()> {
    let meta = json!({"name": "tripod-nobody", "namespace": "kube-system"});
    there.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}).to_string())?;
    there.run(&["delete", "clusterrolebinding/tripod-nobody", "--ignore-not-found"])?;
    let token = there.run(&["-n", "kube-system", "create", "token", "tripod-nobody"])?;
    let nobody = Account {
        token: token.trim().to_owned(),
        address: account.address.clone(),
        authority: account.authority.clone(),
    };
    describe(kubectl, &nobody.kubeconfig())?;
    let missing = [
        "may not list namespaces",
        "list resourcequotas",
        "list pods.metrics.k8s.io",
        "docs/examples/cloud.yaml",
    ];
    says(kubectl, &CLOUD, "Ready", "Unauthorised", &missing)?;
    becomes_unknown(kubectl, "Unauthorised")?;

    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "tripod-nobody"},
        "rules": [{"apiGroups": [""], "resources": ["namespaces", "resourcequotas", "pods"], "verbs": ["list"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "tripod-nobody"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tripod-nobody"},
        "subjects": [{"kind": "ServiceAccount", "name": "tripod-nobody", "namespace": "kube-system"}]});
    there.apply(&role.to_string())?;
    there.apply(&binding.to_string())?;
    wait_for("a reading of what may be read", PATIENCE, || {
        let seen = kubectl.get(&CLOUD)?;
        let ready = condition(&seen, "Ready").context("no condition")?;
        ensure!(ready["status"] == "True" && ready["reason"] == "PartlyRead", "{ready}");
        let words = ready["message"].as_str().unwrap_or_default();
        ensure!(words.contains("list pods.metrics.k8s.io") && !words.contains("list namespaces"), "{words}");
        Ok(())
    })?;
    kubectl.until("what is known to be added up", PATIENCE, &DEPARTMENT, |seen| {
        let total = &seen["status"]["total"][CPU];
        ensure!(total["granted"] == "3" && total["used"].is_null() && total["budget"].is_null(), "{total}");
        Ok(())
    })
}
