//! Who may do what: the operator no more than it needs, a department nothing outside its own.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tripod_e2e::kubectl::Kubectl;

use crate::fixture::{PATIENCE, fill_volume, installation, metrics, protect, system};

/// Whether an identity may do something, as the API server itself says.
fn may(kubectl: &Kubectl, who: &[&str], what: &[&str]) -> Result<bool> {
    let words: Vec<&str> = [&["auth", "can-i", "-q"], what, who].concat();
    // It warns of every kind without a namespace; the answer is in its exit code.
    Ok(kubectl.command(&words).output()?.status.success())
}

#[test]
fn the_operator_has_the_least_power() -> Result<()> {
    let system = system("power")?;
    let (kubectl, namespace) = (system.production()?, system.namespace());
    let operator = ["--as=system:serviceaccount:tripod-system:tripod"];
    for (what, expected) in [
        (vec!["*", "*"], false),
        (vec!["get", "secrets", "-n", &namespace], false),
        (vec!["list", "secrets", "-A"], false),
        (vec!["get", "secrets", "-n", "kube-system"], false),
        (vec!["impersonate", "users"], false),
        (vec!["impersonate", "groups"], false),
        (vec!["impersonate", "serviceaccounts/default", "-n", &namespace], false),
        (vec!["impersonate", "serviceaccounts/tripod-backup", "-n", &namespace], true),
        (vec!["impersonate", "serviceaccounts/tripod-restorer-live", "-n", &namespace], true),
        (vec!["bind", "clusterroles/tripod-restorer-live"], true),
        (vec!["create", "restores.tripod.cloud", "-n", &namespace], false),
        (vec!["impersonate", "serviceaccounts/tripod-hooks", "-n", &namespace], true),
        (vec!["impersonate", "serviceaccounts/tripod-snapshots", "-n", &namespace], true),
        (vec!["delete", "persistentvolumeclaims", "-n", &namespace], false),
        (vec!["create", "pods/exec", "-n", &namespace], false),
        (vec!["get", "customresourcedefinitions"], true),
        (vec!["list", "customresourcedefinitions"], false),
        (vec!["get", "storageclasses"], true),
        (vec!["list", "storageclasses"], false),
        (vec!["get", "priorityclasses"], true),
        (vec!["get", "ingressclasses"], true),
        (vec!["get", "runtimeclasses"], true),
        (vec!["create", "storageclasses"], false),
        (vec!["patch", "customresourcedefinitions"], false),
        (vec!["create", "clusterrolebindings"], false),
        (vec!["create", "clusterroles"], false),
        (vec!["bind", "clusterroles/cluster-admin"], false),
        (vec!["bind", "clusterroles/tripod-backup"], true),
        (vec!["bind", "clusterroles/tripod-hooks"], true),
        (vec!["bind", "clusterroles/tripod-snapshots"], true),
        (vec!["escalate", "clusterroles"], false),
        (vec!["delete", "nodes"], false),
        (vec!["delete", "persistentvolumes"], false),
        (vec!["get", "secrets", "-n", "tripod-system"], true),
        (vec!["create", "jobs", "-n", "tripod-system"], true),
        (vec!["delete", "jobs", "-n", "tripod-system"], true),
        (vec!["create", "pods", "-n", "tripod-system"], false),
        (vec!["impersonate", "serviceaccounts/tripod-replicator", "-n", "tripod-system"], false),
    ] {
        ensure!(may(&kubectl, &operator, &what)? == expected, "the operator: {what:?} is not {expected}");
    }
    let mover = [format!("--as=system:serviceaccount:{namespace}:tripod-mover")];
    let mover: Vec<&str> = mover.iter().map(String::as_str).collect();
    for what in [
        vec!["get", "secrets", "-n", &namespace],
        vec!["list", "pods", "-n", &namespace],
        vec!["get", "recoverypoints", "-n", &namespace],
    ] {
        ensure!(!may(&kubectl, &mover, &what)?, "the mover may {what:?}");
    }
    // Between restores the restorer has nothing.
    let restorer = [format!("--as=system:serviceaccount:{namespace}:tripod-restorer-live")];
    let restorer: Vec<&str> = restorer.iter().map(String::as_str).collect();
    for what in [vec!["create", "configmaps", "-n", &namespace], vec!["get", "secrets", "-n", &namespace]] {
        ensure!(!may(&kubectl, &restorer, &what)?, "the restorer may {what:?}");
    }
    // Those who make large replications have the two stores, and nothing of the cluster.
    let replicator = ["--as=system:serviceaccount:tripod-system:tripod-replicator"];
    for what in [
        vec!["get", "secrets", "-n", "tripod-system"],
        vec!["list", "pods", "-n", "tripod-system"],
        vec!["get", "jobs", "-n", "tripod-system"],
        vec!["get", "bucketreplications.tripod.cloud", "-n", &namespace],
        vec!["list", "namespaces"],
    ] {
        ensure!(!may(&kubectl, &replicator, &what)?, "the replicator may {what:?}");
    }
    Ok(())
}

/// What a restore may write is what admission asks its requester about, kind by kind: neither is longer than the other.
#[test]
fn a_restore_writes_what_its_requester_is_asked_about() -> Result<()> {
    let kubectl = installation()?.kubectl("production")?;
    let role = kubectl.get(&["clusterrole/tripod-restorer-live"])?;
    let policy = kubectl.get(&["validatingadmissionpolicy/tripod-restores"])?;
    let mut may_write = Vec::new();
    for rule in role["rules"].as_array().context("no rules")? {
        let texts = |field: &str| {
            let list = rule[field].as_array().cloned().unwrap_or_default();
            list.into_iter().filter_map(|v| v.as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        let verbs = texts("verbs");
        ensure!(
            verbs.iter().all(|verb| ["get", "list", "create", "update"].contains(&verb.as_str())),
            "the restorer may {verbs:?}"
        );
        for group in texts("apiGroups") {
            may_write.extend(texts("resources").into_iter().map(|kind| {
                format!("authorizer.group('{group}').resource('{kind}').namespace(request.namespace).check(variables.verb).allowed()")
            }));
        }
    }
    // What a BackupPolicy that comes back has done by others: hooks run commands, restore tests are drills.
    let brought_back = [
        "authorizer.group('').resource('pods').subresource('exec')",
        "authorizer.group('tripod.cloud').resource('disasterrecoverydrills')",
    ];
    may_write.extend(
        brought_back.map(|what| format!("{what}.namespace(request.namespace).check('create').allowed()")),
    );
    let mut asked: Vec<String> = policy["spec"]["validations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v["expression"].as_str().map(str::to_owned))
        .collect();
    asked.sort();
    may_write.sort();
    ensure!(!asked.is_empty() && asked == may_write, "asked about {asked:#?}\nmay write {may_write:#?}");
    Ok(())
}

#[test]
fn members_have_their_department_and_no_other() -> Result<()> {
    let (one, other) = (system("power")?, system("neighbour")?);
    let kubectl = one.production()?;
    let (home, next) = (one.namespace(), other.namespace());
    let admin = ["--as=someone", "--as-group=power-admins"];
    let viewer = ["--as=someone", "--as-group=power-audit"];
    for (who, what, expected) in [
        (&admin, vec!["create", "deployments", "-n", &home], true),
        (&admin, vec!["create", "backuppolicies.tripod.cloud", "-n", &home], true),
        (&admin, vec!["create", "disasterrecoverydrills.tripod.cloud", "-n", &home], true),
        (&admin, vec!["create", "bucketreplications.tripod.cloud", "-n", &home], true),
        (&admin, vec!["create", "restores.tripod.cloud", "-n", &home], true),
        (&admin, vec!["patch", "restores.tripod.cloud", "--subresource=status", "-n", &home], false),
        (&admin, vec!["create", "restores.tripod.cloud", "-n", &next], false),
        (&viewer, vec!["create", "restores.tripod.cloud", "-n", &home], false),
        (&viewer, vec!["get", "restores.tripod.cloud", "-n", &home], true),
        (&admin, vec!["create", "inspections.tripod.cloud", "-n", &home], true),
        (&admin, vec!["create", "inspections.tripod.cloud", "-n", &next], false),
        (&admin, vec!["patch", "inspections.tripod.cloud", "--subresource=status", "-n", &home], false),
        (&viewer, vec!["create", "inspections.tripod.cloud", "-n", &home], false),
        (&viewer, vec!["get", "inspections.tripod.cloud", "-n", &home], false),
        (
            &admin,
            vec!["patch", "bucketreplications.tripod.cloud", "--subresource=status", "-n", &home],
            false,
        ),
        (&admin, vec!["create", "bucketreplications.tripod.cloud", "-n", &next], false),
        (&admin, vec!["create", "recoverypoints.tripod.cloud", "-n", &home], false),
        (&admin, vec!["patch", "recoverypoints.tripod.cloud", "--subresource=status", "-n", &home], false),
        (&admin, vec!["patch", "resourcequotas", "-n", &home], false),
        (&admin, vec!["create", "rolebindings", "-n", &home], false),
        (&admin, vec!["delete", "networkpolicies", "-n", &home], false),
        (&admin, vec!["patch", "departments.tripod.cloud/power"], false),
        (&admin, vec!["patch", &format!("namespaces/{home}")], false),
        (&admin, vec!["impersonate", "serviceaccounts", "-n", &home], false),
        (&admin, vec!["get", "secrets", "-n", &next], false),
        (&admin, vec!["get", "pods", "-n", &next], false),
        (&admin, vec!["get", "secrets", "-n", "tripod-system"], false),
        (&viewer, vec!["get", "pods", "-n", &home], true),
        (&viewer, vec!["get", "secrets", "-n", &home], false),
        (&viewer, vec!["create", "pods/exec", "-n", &home], false),
        (&viewer, vec!["create", "backuppolicies.tripod.cloud", "-n", &home], false),
        (&viewer, vec!["get", "bucketreplications.tripod.cloud", "-n", &home], true),
        (&viewer, vec!["create", "bucketreplications.tripod.cloud", "-n", &home], false),
    ] {
        ensure!(may(&kubectl, who, &what)? == expected, "{who:?}: {what:?} is not {expected}");
    }
    Ok(())
}

/// Invariant 8, looked at while a mover works: nothing in the namespace holds a key of the vault or of a store.
#[test]
fn no_key_is_readable_in_a_department() -> Result<()> {
    let system = system("power")?;
    let (kubectl, namespace) = (system.production()?, system.namespace());
    fill_volume(&system, 20, 4 << 20)?;
    protect(&system, &json!({}))?;
    let key = fs::read_to_string(system.at.vault_key()?)?;
    let store = system.store("production")?;
    let secrets = [&key, &store.operator.secret_access_key, &store.reader.secret_access_key];
    let point = system.back_up()?;
    let everything = kubectl.run(&["api-resources", "--namespaced", "--verbs=list", "-o", "name"])?;
    let kinds = everything.lines().collect::<Vec<_>>().join(",");
    let seen = kubectl.until("a mover to run", PATIENCE, &["-n", &namespace, &kinds], |all| {
        let text = all.to_string();
        if text.contains("\"mover\"") { Ok(text) } else { bail!("no mover yet") }
    })?;
    for secret in secrets {
        ensure!(!seen.contains(secret.trim()), "a key lies in {namespace}");
        ensure!(!seen.contains(&base64(secret.trim())), "a key lies in {namespace}, in base64");
    }
    system.await_verified(&point, &["production"], PATIENCE).map(drop)
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Invariant 9: what is in place is left alone, also by an operator that has just started.
#[test]
fn the_same_again_writes_nothing() -> Result<()> {
    let system = system("quiet")?;
    let (kubectl, namespace) = (system.production()?, system.namespace());
    protect(&system, &json!({}))?;
    let kinds = "resourcequotas,limitranges,networkpolicies,rolebindings,serviceaccounts,backuppolicies";
    let versions = || -> Result<Vec<(String, String)>> {
        let objects = kubectl.get(&["-n", &namespace, kinds])?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let all = objects["items"].as_array().context("no list")?.iter();
        Ok(all
            .map(|o| {
                (format!("{}/{}", o["kind"], o["metadata"]["name"]), text(&o["metadata"]["resourceVersion"]))
            })
            .collect())
    };
    let before = versions()?;
    ensure!(before.len() > 6, "only {} objects", before.len());
    let passes = || -> Result<u64> { reconciles(&installation()?.kubectl("production")?) };
    kubectl.run(&["-n", "tripod-system", "rollout", "restart", "deployment/tripod"])?;
    kubectl.run(&["-n", "tripod-system", "rollout", "status", "deployment/tripod", "--timeout=120s"])?;
    // The new one has looked at every department and policy when it has made so many passes.
    tripod_e2e::lab::command::wait_for("the new operator to have looked at everything", PATIENCE, || {
        let made = passes()?;
        ensure!(made >= 40, "{made} passes so far");
        Ok(())
    })?;
    ensure!(versions()? == before, "written again: {:?} became {:?}", before, versions()?);
    Ok(())
}

fn reconciles(kubectl: &Kubectl) -> Result<u64> {
    let metrics = metrics(kubectl)?;
    let lines = metrics.lines().filter(|l| l.starts_with("tripod_reconciles_total") && l.contains("success"));
    Ok(lines.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}
