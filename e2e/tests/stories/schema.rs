//! What the definitions accept and refuse, on a real API server.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::installation::repository;
use tripod_e2e::kubectl::Kubectl;

use crate::fixture::{installation, system};

#[test]
fn the_examples_are_accepted() -> Result<()> {
    system("health")?;
    let kubectl = installation()?.kubectl("production")?;
    for file in std::fs::read_dir(repository().join("docs/examples"))? {
        let file = file?.path();
        let text = std::fs::read_to_string(&file)?;
        // Who asks and who approves is who they say they are, so the examples speak for themselves only.
        let who: &[&str] = match file.file_name().and_then(|name| name.to_str()) {
            Some("resource-request.yaml") => &["--as=zhang@health", "--as-group=health-admins"],
            Some("approval.yaml") => &["--as=chief@health"],
            _ => &[],
        };
        let words = [&["apply", "--dry-run=server", "--validate=strict", "-f", "-"], who].concat();
        kubectl.with_input(&words, &text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "dept-health"}, "spec": spec})
}

#[test]
fn a_centre_or_department_that_is_wrong_in_itself_is_refused_with_its_field() -> Result<()> {
    system("health")?;
    let store = json!({"endpoint": "https://s3.example", "region": "r", "bucket": "vault", "credentialsSecretRef": {"name": "s"}});
    let centre = |change: fn(&mut Value)| {
        let mut spec = json!({"role": "Remote", "city": "west", "store": store});
        change(&mut spec);
        object("Centre", "x", &spec)
    };
    let department = |spec: Value| object("Department", "x", &spec);
    let long = "n".repeat(41);
    let cases = [
        (centre(|s| s["role"] = json!("Capital")), "spec.role"),
        (centre(|s| s["city"] = json!("")), "spec.city"),
        (centre(|s| s["store"]["endpoint"] = json!("http://s3.example")), "use https://"),
        (centre(|s| s["store"]["endpoint"] = json!("s3.example")), "spec.store.endpoint"),
        (centre(|s| s["store"]["bucket"] = json!("Vault")), "spec.store.bucket"),
        (
            centre(|s| s["store"]["credentialsSecretRef"] = json!({"name": "s", "namespace": "other"})),
            "namespace",
        ),
        (centre(|s| s["pullIntervalSeconds"] = json!(0)), "spec.pullIntervalSeconds"),
        (centre(|s| s["retention"] = json!({"keepLast": 0})), "spec.retention.keepLast"),
        (centre(|s| s["retention"] = json!({"minimumAge": "30d"})), "spec.retention.minimumAge"),
        (centre(|s| s["pruneDelaySeconds"] = json!(-1)), "spec.pruneDelaySeconds"),
        (centre(|s| s["objectLockDays"] = json!(0)), "spec.objectLockDays"),
        // Its proofs are a day apart.
        (centre(|s| s["objectLockDays"] = json!(1)), "at least twice spec.verifyIntervalSeconds"),
        (centre(|s| s["links"] = json!([{"from": "x"}])), "a link comes from another centre"),
        (centre(|s| s["links"] = json!([{"from": "a"}, {"from": "a"}])), "Duplicate value"),
        (centre(|s| s["links"] = json!([{"from": "a", "bandwidth": "fast"}])), "no amount of bytes"),
        (centre(|s| s["links"] = json!([{"from": "a", "requestsPerSecond": 0}])), "requestsPerSecond"),
        (centre(|s| s["links"] = link(&json!({"from": "8:00"}))), "hours[0].from"),
        (centre(|s| s["links"] = link(&json!({"until": "24:00"}))), "hours[0].until"),
        (centre(|s| s["links"] = link(&json!({"until": "08:00"}))), "from and until are the same"),
        (centre(|s| s["links"] = link(&json!({"days": ["Monday"]}))), "days"),
        (centre(|s| s["links"] = link(&json!({"days": ["Mon", "Mon"]}))), "Duplicate value"),
        (centre(|s| s["links"] = link(&json!({"timeZone": "A B"}))), "timeZone"),
        (
            centre(|s| s["links"] = link(&json!({"bandwidth": null}))),
            "set bandwidth, requestsPerSecond or both",
        ),
        (department(json!({"displayName": "税务局", "budget": {}})), "spec.budget"),
        (department(json!({"displayName": "", "budget": {"requests.cpu": "1"}})), "spec.displayName"),
        (
            department(json!({"displayName": "税务局", "budget": {"requests.cpu": "1"},
            "members": [{"kind": "Group", "name": "system:masters", "role": "Admin"}]})),
            "belong to Kubernetes",
        ),
        (
            department(json!({"displayName": "税务局", "budget": {"requests.cpu": "1"},
            "members": [{"kind": "Group", "name": "g", "role": "Owner"}]})),
            "role",
        ),
        (
            object("Department", &long, &json!({"displayName": "税务局", "budget": {"requests.cpu": "1"}})),
            "at most 40 characters",
        ),
    ];
    refused(&installation()?.kubectl("production")?, &cases)
}

#[test]
fn a_policy_that_is_wrong_in_itself_is_refused_with_its_field() -> Result<()> {
    system("health")?;
    let policy = |spec: Value| object("BackupPolicy", "x", &spec);
    let tests = |more: &Value| {
        let mut spec = json!({"restoreTests": {"schedule": "0 3 * * *"}});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec["restoreTests"][field] = value.clone();
        }
        policy(spec)
    };
    let long = "n".repeat(41);
    let cases = [
        (policy(json!({"retention": {}})), "set at least one of keepLast"),
        (policy(json!({"retention": {"minimumAge": "24h"}})), "set at least one of keepLast"),
        (
            policy(json!({"retention": {"daily": 7, "centres": [{"centre": "remote"}]}})),
            "retention.centres: set at least one",
        ),
        (
            policy(
                json!({"retention": {"daily": 7, "centres": [{"centre": "a", "daily": 1}, {"centre": "a", "daily": 2}]}}),
            ),
            "Duplicate value",
        ),
        (policy(json!({"retention": {"yearly": 101}})), "spec.retention.yearly"),
        (policy(json!({"schedule": ""})), "spec.schedule"),
        (policy(json!({"restoreTests": {}})), "spec.restoreTests.schedule"),
        (tests(&json!({"keep": 0})), "spec.restoreTests.keep"),
        (tests(&json!({"among": 0})), "spec.restoreTests.among"),
        (tests(&json!({"maxAge": "soon"})), "spec.restoreTests.maxAge"),
        (tests(&json!({"deadlineSeconds": 1})), "spec.restoreTests.deadlineSeconds"),
        (tests(&json!({"centres": ["remote", "remote"]})), "Duplicate value"),
        (
            tests(&json!({"checks": [{"name": "Rows", "job": {"image": "i"}}]})),
            "spec.restoreTests.checks[0].name",
        ),
        (policy(json!({"include": {"buckets": ["../other"]}})), "spec.include.buckets"),
        (policy(json!({"objectives": [{"centre": "a", "rpo": "soon"}]})), "rpo"),
        (
            policy(json!({"objectives": [{"centre": "a", "rpo": "1h"}, {"centre": "a", "rpo": "2h"}]})),
            "Duplicate value",
        ),
        (policy(json!({"storeUrl": "http://attacker"})), "storeUrl"),
        (policy(json!({"include": {"kinds": ["Deployments"]}})), "spec.include.kinds"),
        (policy(json!({"exclude": {"kinds": ["apps/v1"]}})), "spec.exclude.kinds"),
        (
            policy(json!({"include": {"kinds": ["secrets"]}, "exclude": {"kinds": ["secrets"]}})),
            "a kind is in spec.include.kinds as well",
        ),
        (policy(json!({"include": {"objects": false, "kinds": ["secrets"]}})), "objects is false"),
        (policy(json!({"include": {"objects": false, "secrets": "None"}})), "objects is false"),
        (policy(json!({"include": {"secrets": "Some"}})), "spec.include.secrets"),
        (policy(json!({"include": {"volumes": false, "volumeSelector": {}}})), "volumes is false"),
        (
            policy(
                json!({"include": {"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}}),
            ),
            "spec.include.labelSelector.matchExpressions[0].operator",
        ),
        (
            policy(
                json!({"include": {"volumeSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}),
            ),
            "In and NotIn need some",
        ),
        (policy(json!({"exclude": {"labelSelector": {}}})), "an empty selector matches everything"),
        (policy(json!({"exclude": {"volumes": ["../data"]}})), "spec.exclude.volumes"),
        (object("BackupPolicy", &long, &json!({})), "at most 36 characters"),
    ];
    refused(&installation()?.kubectl("production")?, &cases)
}

#[test]
fn hooks_that_are_wrong_in_themselves_are_refused_with_their_field() -> Result<()> {
    system("health")?;
    let policy = |spec: Value| object("BackupPolicy", "x", &spec);
    let cases = [
        (policy(json!({"hooks": [{"name": "a"}]})), "set before, after or both"),
        (policy(json!({"hooks": [{"name": "A", "before": {"job": {"image": "i"}}}]})), "spec.hooks[0].name"),
        (policy(json!({"hooks": [{"name": "a", "before": {}}]})), "set exec or job"),
        (
            policy(json!({"hooks": [{"name": "a", "before": {"job": {"image": "i"},
                "exec": {"selector": {"matchLabels": {"a": "b"}}, "command": ["c"]}}}]})),
            "set exec or job",
        ),
        (
            policy(json!({"hooks": [{"name": "a", "after": {"exec": {"selector": {}, "command": ["c"]}}}]})),
            "an empty selector matches everything",
        ),
        (
            policy(
                json!({"hooks": [{"name": "a", "after": {"exec": {"selector": {"matchLabels": {"a": "b"}}, "command": []}}}]}),
            ),
            "spec.hooks[0].after.exec.command",
        ),
        (
            policy(json!({"hooks": [{"name": "a", "before": {"job": {"image": "i", "timeout": "soon"}}}]})),
            "spec.hooks[0].before.job.timeout",
        ),
        (
            policy(json!({"hooks": [{"name": "a", "before": {"job": {"image": "i", "onError": "Ignore"}}}]})),
            "spec.hooks[0].before.job.onError",
        ),
        (
            policy(
                json!({"hooks": [{"name": "a", "before": {"job": {"image": "i"}}}, {"name": "a", "after": {"job": {"image": "i"}}}]}),
            ),
            "Duplicate value",
        ),
    ];
    refused(&installation()?.kubectl("production")?, &cases)
}

#[test]
fn a_drill_that_is_wrong_in_itself_is_refused_with_its_field() -> Result<()> {
    system("health")?;
    let drill = |spec: Value| object("DisasterRecoveryDrill", "x", &spec);
    let cases = [
        (drill(json!({"centre": "remote", "policy": "p", "mode": "Real"})), "spec.mode"),
        (drill(json!({"centre": "remote", "policy": "p", "deadlineSeconds": 1})), "spec.deadlineSeconds"),
        (
            drill(
                json!({"centre": "remote", "policy": "p", "checks": [{"name": "A b", "job": {"image": "i"}}]}),
            ),
            "name",
        ),
        (drill(json!({"centre": "remote"})), "spec.policy"),
    ];
    refused(&installation()?.kubectl("production")?, &cases)
}

/// One link, by day; what is null is left out.
fn link(change: &Value) -> Value {
    let mut hours =
        json!({"from": "08:00", "until": "18:00", "timeZone": "Asia/Shanghai", "bandwidth": "20Mi"});
    for (field, value) in change.as_object().into_iter().flatten() {
        hours[field] = value.clone();
    }
    if let Some(hours) = hours.as_object_mut() {
        hours.retain(|_, value| !value.is_null());
    }
    json!([{"from": "production", "hours": [hours]}])
}

#[test]
fn limits_of_links_are_accepted() -> Result<()> {
    system("health")?;
    let store = json!({"endpoint": "https://s3.example", "region": "r", "bucket": "vault", "credentialsSecretRef": {"name": "s"}});
    let night = json!({"days": ["Fri", "Sat"], "from": "22:00", "until": "06:00", "bandwidth": 1_000_000, "requestsPerSecond": 50});
    for links in [
        link(&json!({})),
        link(&night),
        json!([{"from": "production", "bandwidth": "1Gi", "requestsPerSecond": 500}]),
    ] {
        let centre =
            object("Centre", "x", &json!({"role": "Remote", "city": "west", "store": store, "links": links}));
        let words = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        installation()?.kubectl("production")?.with_input(&words, &centre.to_string())?;
    }
    Ok(())
}

#[test]
fn a_replication_that_is_wrong_in_itself_is_refused() -> Result<()> {
    system("health")?;
    let replication = |change: fn(&mut Value)| {
        let mut spec =
            json!({"source": {"centre": "production", "bucket": "files"}, "targets": [{"centre": "remote"}]});
        change(&mut spec);
        object("BucketReplication", "x", &spec)
    };
    let cases = [
        (replication(|s| s["source"]["bucket"] = json!("../Files")), "spec.source.bucket"),
        (replication(|s| s["source"]["endpoint"] = json!("http://attacker")), "endpoint"),
        (replication(|s| s["targets"] = json!([])), "spec.targets"),
        (replication(|s| s["targets"] = json!([{"centre": "a"}, {"centre": "a"}])), "Duplicate value"),
        (replication(|s| s["targets"] = json!([{"centre": "production"}])), "a target is the source"),
        (
            replication(|s| s["targets"] = json!([{"centre": "production", "bucket": "files"}])),
            "a target is the source",
        ),
        (replication(|s| s["mode"] = json!("Sometimes")), "spec.mode"),
        (replication(|s| s["mode"] = json!("Scheduled")), "spec.schedule"),
        (replication(|s| s["schedule"] = json!("0 2 * * *")), "spec.schedule"),
        (replication(|s| s["pollInterval"] = json!("5s")), "at least 10s"),
        (replication(|s| s["minPollInterval"] = json!("1s")), "at least 2s"),
        (replication(|s| s["minPollInterval"] = json!("2m")), "it is longer than spec.pollInterval"),
        (replication(|s| s["rpo"] = json!("soon")), "spec.rpo"),
        (replication(|s| s["deletes"] = json!({"policy": "All"})), "spec.deletes.policy"),
        (replication(|s| s["bandwidth"] = json!("-1")), "no amount of bytes"),
        (replication(|s| s["filter"] = json!({"maxSize": "much"})), "no amount of bytes"),
    ];
    refused(&installation()?.kubectl("production")?, &cases)?;
    let numbers = replication(|s| {
        s["filter"] = json!({"minSize": 1, "maxSize": "5Gi"});
        (s["minPollInterval"], s["pollInterval"]) = (json!("2s"), json!("1h"));
    });
    let words = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    installation()?.kubectl("production")?.with_input(&words, &numbers.to_string()).map(drop)
}

/// None is accepted, and each is told what is wrong.
fn refused(kubectl: &Kubectl, cases: &[(Value, &str)]) -> Result<()> {
    for (manifest, words) in cases {
        let what = format!("{manifest}");
        match kubectl.with_input(&["create", "--dry-run=server", "--validate=strict", "-f", "-"], &what) {
            Ok(_) => anyhow::bail!("accepted: {what}"),
            Err(error) => {
                ensure!(format!("{error:#}").contains(words), "{what}: {words:?} is not in: {error:#}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_restore_that_is_wrong_in_itself_is_refused() -> Result<()> {
    system("health")?;
    let restore = |change: fn(&mut Value)| {
        let mut spec = json!({"recoveryPoint": "p"});
        change(&mut spec);
        object("Restore", "x", &spec)
    };
    let patch = |operation: Value| {
        let spec =
            json!({"recoveryPoint": "p", "patches": [{"kind": "configmaps", "operations": [operation]}]});
        object("Restore", "x", &spec)
    };
    let cases = [
        (restore(|s| s["recoveryPoint"] = json!("")), "spec.recoveryPoint"),
        (restore(|s| s["existing"] = json!("Overwrite")), "spec.existing"),
        (object("Restore", "x", &json!({"dryRun": true})), "name a recoveryPoint, or a backup of velero"),
        (
            restore(|s| s["velero"] = json!({"bucket": "old", "backup": "b"})),
            "name a recoveryPoint, or a backup of velero",
        ),
        (
            object("Restore", "x", &json!({"velero": {"bucket": "old", "backup": "../b"}})),
            "spec.velero.backup",
        ),
        (
            object("Restore", "x", &json!({"velero": {"bucket": "old", "backup": "b"}, "centre": "remote"})),
            "read in the store of this cluster's centre",
        ),
        (restore(|s| s["system"] = json!("a/b")), "spec.system"),
        (restore(|s| s["storeUrl"] = json!("http://attacker")), "storeUrl"),
        (restore(|s| s["include"] = json!({"kinds": ["Deployment"]})), "spec.include.kinds"),
        (restore(|s| s["include"] = json!({"buckets": ["../other"]})), "spec.include.buckets"),
        (restore(|s| s["deadlineSeconds"] = json!(1)), "spec.deadlineSeconds"),
        (
            restore(|s| s["storageClasses"] = json!([{"from": "a", "to": "b"}, {"from": "a", "to": "c"}])),
            "Duplicate value",
        ),
        (restore(|s| s["patches"] = json!([{"kind": "configmaps", "operations": []}])), "operations"),
        (patch(json!({"op": "increment", "path": "/a", "value": 1})), "op"),
        (patch(json!({"op": "add", "path": "a", "value": 1})), "path"),
        (patch(json!({"op": "add", "path": "/a", "from": "/b"})), "from: for"),
        (patch(json!({"op": "move", "path": "/a"})), "from: for"),
        (object("Restore", &"n".repeat(41), &json!({"recoveryPoint": "p"})), "at most 40 characters"),
    ];
    refused(&installation()?.kubectl("production")?, &cases)?;
    let whole = patch(json!({"op": "add", "path": "/data", "value": {"a": ["b", 1, true, null]}}));
    let words = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    installation()?.kubectl("production")?.with_input(&words, &whole.to_string()).map(drop)
}

#[test]
fn an_inspection_that_is_wrong_in_itself_is_refused() -> Result<()> {
    system("health")?;
    let inspection = |change: fn(&mut Value)| {
        let mut spec = json!({"recoveryPoint": "p"});
        change(&mut spec);
        object("Inspection", "x", &spec)
    };
    let cases = [
        (inspection(|s| s["recoveryPoint"] = json!("")), "spec.recoveryPoint"),
        (inspection(|s| s["since"] = json!("p")), "another point than recoveryPoint"),
        (inspection(|s| s["system"] = json!("a/b")), "spec.system"),
        (inspection(|s| s["limit"] = json!(0)), "spec.limit"),
        (inspection(|s| s["limit"] = json!(1001)), "spec.limit"),
        (inspection(|s| s["path"] = json!("")), "spec.path"),
    ];
    refused(&installation()?.kubectl("production")?, &cases)
}

#[test]
fn what_was_decided_is_never_changed() -> Result<()> {
    let system = system("health")?;
    let kubectl = system.production()?;
    let drill = object("DisasterRecoveryDrill", "fixed", &json!({"centre": "remote", "policy": "p"}));
    kubectl.apply(&drill.to_string())?;
    let changed = kubectl.run(&[
        "-n",
        "dept-health",
        "patch",
        "drill/fixed",
        "--type=merge",
        "-p",
        r#"{"spec":{"policy":"q"}}"#,
    ]);
    kubectl.run(&["-n", "dept-health", "delete", "drill/fixed", "--timeout=30s"])?;
    let refusal = format!("{:#}", changed.err().context("a drill was changed")?);
    ensure!(refusal.contains("a drill is never changed"), "{refusal}");
    Ok(())
}
