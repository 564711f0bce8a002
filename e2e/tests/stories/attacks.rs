//! What others' tenants got away with, tried here: all of it is refused, and the neighbours notice nothing. Where roles
//! alone would refuse, the attacker is given the role that platforms hand out by mistake.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::Kubectl;

use crate::fixture::{PATIENCE, installation};
use crate::tenancy::{Person, automatic, department, of_level_3, pod, quota, refused, request, says};

const BUDGET: &str = r#"{"requests.cpu": "4", "requests.memory": "8Gi"}"#;

/// Two neighbours with a system each, and somebody who may do far too much: all with namespaces, pods and quotas.
fn neighbours() -> Result<(Kubectl, Person)> {
    let budget: Value = serde_json::from_str(BUDGET)?;
    let kubectl = department("attack", &budget, &json!({}))?;
    department("victim", &budget, &json!({}))?;
    automatic(&kubectl, "30")?;
    for name in ["attack", "victim"] {
        let resources = json!({"requests.cpu": "1", "requests.memory": "1Gi"});
        Person::admin_of(name)?.apply(&request(name, "one", &resources))?;
        kubectl.wait("resourcerequest/one", Some(&format!("dept-{name}")), "Ready", PATIENCE)?;
    }
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "attack-too-much"},
        "rules": [{"apiGroups": [""], "verbs": ["get", "list", "create", "update", "patch", "delete"],
            "resources": ["namespaces", "namespaces/status", "namespaces/finalize", "resourcequotas", "resourcequotas/status",
                "limitranges", "pods", "pods/resize", "pods/ephemeralcontainers", "serviceaccounts", "services"]},
            {"apiGroups": ["networking.k8s.io"], "verbs": ["get", "patch", "delete"], "resources": ["networkpolicies"]},
            {"apiGroups": ["tripod.cloud"], "verbs": ["get", "list", "create", "update", "patch", "delete"],
                "resources": ["approvals", "resourcerequests", "resourcerequests/status", "departments", "centres"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "attack-too-much"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "attack-too-much"},
        "subjects": [{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}]});
    kubectl.apply(&role.to_string())?;
    kubectl.apply(&binding.to_string())?;
    Ok((kubectl, Person::new("mallory", &["attack-admins"])?))
}

fn patch(who: &Person, words: &[&str], patch: &Value) -> Result<String> {
    let patch = patch.to_string();
    who.kubectl(&[&["patch"], words, &["--type=merge", "-p", &patch]].concat())
}

/// All that makes the victim what it is.
fn state(kubectl: &Kubectl) -> Result<Value> {
    let namespace = kubectl.get(&["namespace/victim-one"])?;
    let mine = |value: &Value| {
        json!([
            value["metadata"]["labels"],
            value["metadata"]["annotations"],
            value["metadata"]["uid"],
            value["spec"]
        ])
    };
    let inside =
        kubectl.get(&["-n", "victim-one", "resourcequotas,limitranges,networkpolicies,rolebindings,pods"])?;
    let inside: Vec<Value> = inside["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|o| json!([o["metadata"]["uid"], o["spec"], o["subjects"], o["roleRef"]]))
        .collect();
    Ok(json!([mine(&namespace), inside]))
}

#[test]
fn namespaces_are_not_taken_over() -> Result<()> {
    let (kubectl, mallory) = neighbours()?;
    let before = state(&kubectl)?;
    let policy = "ValidatingAdmissionPolicy 'tripod-";
    kubectl.apply(
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "unowned"}}).to_string(),
    )?;
    let mine = json!({"metadata": {"labels": {"tripod.cloud/department": "attack"}}});
    for namespace in ["victim-one", "unowned", "kube-system", "default", "tripod-system"] {
        refused(patch(&mallory, &["namespace", namespace], &mine), namespace, policy)?;
    }
    let owner = json!({"metadata": {"ownerReferences": [{"apiVersion": "tripod.cloud/v1alpha1", "kind": "Department", "name": "attack", "uid": "x"}]}});
    for (what, change) in [
        ("owner", owner),
        ("no label", json!({"metadata": {"labels": {"tripod.cloud/department": null}}})),
        ("another request", json!({"metadata": {"labels": {"tripod.cloud/request": "two"}}})),
        ("more time", json!({"metadata": {"annotations": {"tripod.cloud/grant": "{}"}}})),
        ("privileged", json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}})),
    ] {
        for namespace in ["victim-one", "attack-one"] {
            refused(patch(&mallory, &["namespace", namespace], &change), what, policy)?;
        }
    }
    let status = json!({"metadata": {"labels": {"tripod.cloud/department": "attack"}}});
    refused(
        patch(&mallory, &["namespace", "victim-one", "--subresource=status"], &status),
        "status",
        policy,
    )?;
    let mut finalize = kubectl.get(&["namespace/victim-one"])?;
    finalize["spec"]["finalizers"] = json!([]);
    let file = installation()?.lab.data().join("finalize.json");
    std::fs::write(&file, finalize.to_string())?;
    let raw =
        ["replace", "--raw", "/api/v1/namespaces/victim-one/finalize", "-f", &file.display().to_string()];
    refused(mallory.kubectl(&raw), "finalize", policy)?;
    refused(mallory.kubectl(&["delete", "namespace", "victim-one", "--wait=false"]), "delete", policy)?;
    ensure!(state(&kubectl)? == before, "the victim is not as it was");
    Ok(())
}

#[test]
fn quotas_are_not_escaped() -> Result<()> {
    let (kubectl, mallory) = neighbours()?;
    let before = state(&kubectl)?;
    let policy = "ValidatingAdmissionPolicy 'tripod-";
    let more = json!({"spec": {"hard": {"requests.cpu": "1000"}}});
    refused(patch(&mallory, &["-n", "attack-one", "resourcequota", "tripod-budget"], &more), "spec", policy)?;
    let status = json!({"status": {"hard": {"requests.cpu": "1000"}, "used": {"requests.cpu": "0"}}});
    refused(
        patch(
            &mallory,
            &["-n", "attack-one", "resourcequota", "tripod-budget", "--subresource=status"],
            &status,
        ),
        "status",
        policy,
    )?;
    refused(
        mallory.kubectl(&["-n", "attack-one", "delete", "resourcequota", "tripod-budget"]),
        "delete",
        policy,
    )?;
    refused(
        mallory.kubectl(&["-n", "attack-one", "delete", "networkpolicy", "tripod-walls"]),
        "walls",
        policy,
    )?;

    let zhang = Person::admin_of("attack")?;
    zhang.apply(&pod("attack-one", "small", "100m"))?;
    kubectl.wait("pod/small", Some("attack-one"), "Ready", PATIENCE)?;
    let resize = json!({"spec": {"containers": [{"name": "sleep", "resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": "1500m"}}}]}});
    let resized = |who: &Person| {
        let patch = resize.to_string();
        who.kubectl(&[
            "-n",
            "attack-one",
            "patch",
            "pod",
            "small",
            "--subresource=resize",
            "--type=strategic",
            "-p",
            &patch,
        ])
    };
    refused(resized(&zhang), "a member resizes", "forbidden")?;
    refused(resized(&mallory), "resize beyond the quota", "exceeded quota")?;
    ensure!(quota(&kubectl, "attack-one", "used", "requests.cpu")? == "100m", "it was resized");
    let debug = [
        "-n",
        "attack-one",
        "debug",
        "small",
        "--image=evil.example/shell",
        "--profile=general",
        "--attach=false",
    ];
    refused(zhang.kubectl(&debug), "an ephemeral container", "forbidden")?;
    kubectl.run(&["-n", "attack-one", "delete", "pod", "small", "--wait"])?;
    ensure!(state(&kubectl)? == before, "the victim is not as it was");
    Ok(())
}

#[test]
fn nobody_makes_himself_more_than_he_is() -> Result<()> {
    let (kubectl, mallory) = neighbours()?;
    let zhang = Person::admin_of("attack")?;
    let before = state(&kubectl)?;
    let join = json!({"spec": {"members": [{"kind": "User", "name": "mallory", "role": "Admin"}]}});
    refused(patch(&zhang, &["department", "victim"], &join), "a member adds himself", "forbidden")?;
    refused(
        patch(&mallory, &["department", "victim"], &join),
        "the same with the right",
        "tripod-platform-kinds",
    )?;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "mine", "namespace": "victim-one"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tripod-department-admin"},
        "subjects": [{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}]});
    zhang.is_refused(&binding, "forbidden")?;
    // A user is not the group of the same name.
    let namesake = Person::new("victim-admins", &[])?;
    refused(namesake.kubectl(&["-n", "victim-one", "get", "pods"]), "a namesake", "forbidden")?;
    for (field, value, words) in [
        ("name", json!("victim\u{200b}-admins"), "spec.members[0].name"),
        ("name", json!("system:masters"), "belong to Kubernetes"),
    ] {
        let mut member = json!({"kind": "Group", "name": "x", "role": "Admin"});
        member[field] = value;
        let words_of_mine = json!({"spec": {"members": [member]}}).to_string();
        refused(
            kubectl.run(&["patch", "department", "victim", "--type=merge", "-p", &words_of_mine]),
            field,
            words,
        )?;
    }
    let status = json!({"status": {"phase": "Provisioned", "granted": {"specHash": "x", "resources": {}, "at": "2026-01-01T00:00:00Z"}}});
    refused(
        patch(&mallory, &["-n", "dept-attack", "resourcerequest", "one", "--subresource=status"], &status),
        "status",
        "tripod-",
    )?;
    let mut foreign = request("attack", "two", &json!({"requests.cpu": "1"}));
    foreign["spec"]["requester"] = json!("zhang@attack");
    mallory.is_refused(&foreign, "tripod-resource-requests")?;
    ensure!(state(&kubectl)? == before, "the victim is not as it was");
    Ok(())
}

#[test]
fn approvals_are_not_forged() -> Result<()> {
    let (kubectl, mallory) = neighbours()?;
    let zhang = Person::admin_of("attack")?;
    let resources = json!({"requests.cpu": "2", "requests.memory": "1Gi"});
    zhang.apply(&of_level_3(request("attack", "forged", &resources)))?;
    let object = ["-n", "dept-attack", "resourcerequest/forged"];
    let seen = says(&kubectl, &object, "Approved", "AwaitingApproval", &["0 of 1"])?;
    let approval = |name: &str, approver: &str, namespace: &str| {
        json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Approval", "metadata": {"name": name, "namespace": namespace},
            "spec": {"verdict": "Approved", "approver": approver, "subject": {"kind": "ResourceRequest", "namespace": "dept-attack",
                "name": "forged", "uid": seen["metadata"]["uid"], "specHash": seen["status"]["specHash"], "requester": "zhang@attack"}}})
    };
    let (chief, other) = (Person::chief_of("attack")?, Person::chief_of("victim")?);
    mallory.may_not_create(&approval("forged", "chief@attack", "tripod-system"), "tripod-approvals")?;
    mallory.may_not_create(&approval("forged", "mallory", "tripod-system"), "tripod-approvals")?;
    other.may_not_create(&approval("forged", "chief@victim", "tripod-system"), "tripod-approvals")?;
    chief.may_not_create(&approval("forged", "chief@attack", "dept-attack"), "forbidden")?;
    let mut own = approval("forged", "chief@attack", "tripod-system");
    own["spec"]["subject"]["requester"] = json!("chief@attack");
    chief.may_not_create(&own, "tripod-approvals")?;
    // Accepted, and of no effect: another spec, another object, too late. The condition says why.
    for (name, pointer, value, why) in [
        ("a-hash", "/spec/subject/specHash", json!(format!("sha256:{}", "0".repeat(64))), "another spec"),
        ("a-uid", "/spec/subject/uid", json!("another"), "another uid"),
        ("a-late", "/spec/expiresAt", json!("2026-01-01T00:00:00Z"), "expired"),
    ] {
        let mut wrong = approval(name, "chief@attack", "tripod-system");
        match wrong.pointer_mut(pointer) {
            Some(field) => *field = value,
            None => wrong["spec"]["expiresAt"] = value,
        }
        chief.create(&wrong)?;
        says(&kubectl, &object, "Approved", "AwaitingApproval", &["0 of 1", why])?;
        kubectl.run(&["-n", "tripod-system", "delete", "approval", name])?;
    }
    let changed = json!({"spec": {"verdict": "Rejected"}});
    chief.create(&approval("a-good", "chief@attack", "tripod-system"))?;
    kubectl.wait("resourcerequest/forged", Some("dept-attack"), "Ready", PATIENCE)?;
    let patch = changed.to_string();
    refused(
        kubectl.run(&["-n", "tripod-system", "patch", "approval", "a-good", "--type=merge", "-p", &patch]),
        "a verdict is changed",
        "a verdict is never changed",
    )
}

#[test]
fn names_do_not_collide() -> Result<()> {
    let budget: Value = serde_json::from_str(BUDGET)?;
    let kubectl = department("col", &budget, &json!({}))?;
    department("col-lide", &budget, &json!({}))?;
    automatic(&kubectl, "30")?;
    let resources = json!({"requests.cpu": "1", "requests.memory": "1Gi"});
    let (first, second) = (Person::admin_of("col")?, Person::admin_of("col-lide")?);
    first.apply(&request("col", "lide-x", &resources))?;
    kubectl.wait("resourcerequest/lide-x", Some("dept-col"), "Ready", PATIENCE)?;
    second.apply(&request("col-lide", "x", &resources))?;
    let object = ["-n", "dept-col-lide", "resourcerequest/x"];
    says(
        &kubectl,
        &object,
        "Assessed",
        "NamespaceFree",
        &["col-lide-x is department col's, for its request lide-x"],
    )?;
    refused(second.kubectl(&["-n", "col-lide-x", "get", "pods"]), "the second looks in", "forbidden")?;

    // 40 and 40 characters are too many; 40 and 22 are just right.
    let long = "d".repeat(40);
    department(&long, &budget, &json!({}))?;
    let person = Person::admin_of(&long)?;
    for (length, reason) in [(23, "NamespaceFree"), (22, "AllChecksPassed")] {
        let name = "r".repeat(length);
        person.apply(&request(&long, &name, &resources))?;
        let object = ["-n", &format!("dept-{long}"), &format!("resourcerequest/{name}")];
        says(&kubectl, &object, "Assessed", reason, &[])?;
    }
    // A system that reads like another is a duplicate, whatever its letters are.
    let mut alike = request("col", "alike", &resources);
    alike["spec"]["system"]["displayName"] = json!("с\u{43e}l lide-x");
    first.apply(&alike)?;
    says(
        &kubectl,
        &["-n", "dept-col", "resourcerequest/alike"],
        "Assessed",
        "NoDuplicateSystem",
        &["dept-col/lide-x"],
    )?;
    Ok(())
}
