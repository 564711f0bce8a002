//! What is used, seen by the operator and by a real Prometheus, from either source; and what nobody can read.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tripod_e2e::installation::{Installation, repository};
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::lab::command::wait_for;
use tripod_e2e::lab::prometheus::Prometheus;

use crate::fixture::{PATIENCE, installation, kill_operator};
use crate::tenancy::{Person, automatic, department, pod, request};

const SYSTEM: &str = "use-burner";
/// What the burner is limited to, in cores. It always wants more.
const CORES: f64 = 0.2;
const METRICS: &str = "/api/v1/namespaces/tripod-system/services/tripod-metrics:metrics/proxy/metrics";

/// A department with a system that burns a fifth of a core, all the time, and has 20 MiB on a volume. Of a
/// local volume the kubelet tells how full the file system around it is: that is what is compared.
fn burner() -> Result<Kubectl> {
    let budget = json!({"requests.cpu": "10", "requests.memory": "4Gi", "requests.storage": "2Gi", "count/persistentvolumeclaims": "2"});
    let kubectl = department(
        "use",
        &budget,
        &json!({"offCloud": [
        {"displayName": "机要系统", "securityLevel": 5, "reason": "Classified"},
        {"displayName": "旧门户", "securityLevel": 2, "reason": "NotYet"}]}),
    )?;
    automatic(&kubectl, "4")?;
    let resources = json!({"requests.cpu": "1", "requests.memory": "256Mi", "requests.storage": "1Gi", "count/persistentvolumeclaims": "1"});
    Person::admin_of("use")?.apply(&request("use", "burner", &resources))?;
    kubectl.wait("resourcerequest/burner", Some("dept-use"), "Ready", PATIENCE)?;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": SYSTEM},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    kubectl.apply(&claim.to_string())?;
    let mut burner = pod(SYSTEM, "burner", "200m");
    let container = &mut burner["spec"]["containers"][0];
    let script = "head -c 20971520 /dev/zero > /data/file; while :; do :; done";
    container["command"] = json!(["/bin/sh", "-c", script]);
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    burner["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    burner["spec"]["securityContext"] = json!({"runAsUser": 999, "fsGroup": 999});
    if !kubectl.exists(&["-n", SYSTEM, "pod/burner"])? {
        kubectl.apply(&burner.to_string())?;
    }
    kubectl.wait("pod/burner", Some(SYSTEM), "Ready", PATIENCE)?;
    Ok(kubectl)
}

/// The rule files of the chart. Nobody waits for minutes here: an alert fires at once.
fn rules() -> Result<Vec<String>> {
    let folder = repository().join("charts/tripod/files/monitoring");
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).with_context(|| name.to_owned());
    let at_once =
        |line: &str| if line.trim_start().starts_with("for: ") { String::new() } else { format!("{line}\n") };
    let often = text("recording.yaml")?.replace("interval: 30s", "interval: 5s");
    Ok(vec![often, text("alerts.yaml")?.lines().map(at_once).collect()])
}

fn prometheus(at: &Installation, kubectl: &Kubectl) -> Result<Prometheus> {
    let service = kubectl.get(&["-n", "tripod-system", "service/tripod-metrics"])?;
    let address = service["spec"]["clusterIP"].as_str().context("no clusterIP")?;
    at.lab.add_prometheus("production", &[format!("{address}:8080")], &rules()?)
}

fn used(resource: &str, unit: &str) -> String {
    format!("tripod_system_{resource}_used_{unit}{{system=\"{SYSTEM}\"}}")
}

/// Waits until an expression has a value that is wanted.
fn until(prometheus: &Prometheus, expression: &str, wanted: impl Fn(f64) -> bool) -> Result<f64> {
    wait_for(expression, PATIENCE, || {
        let value = prometheus.value(expression)?;
        ensure!(wanted(value), "it is {value}");
        Ok(value)
    })
}

#[test]
fn either_source_says_the_same_and_prometheus_sees_it() -> Result<()> {
    let (at, kubectl) = (installation()?, burner()?);
    let prometheus = prometheus(at, &kubectl)?;
    let result = scenes(at, &kubectl, &prometheus);
    at.configure("production", &[])?;
    at.lab.remove_prometheus("production")?;
    result
}

fn scenes(at: &Installation, kubectl: &Kubectl, prometheus: &Prometheus) -> Result<()> {
    let near = |value: f64| (value - CORES).abs() < 0.1 * CORES;
    let from_api = until(prometheus, &used("cpu", "cores"), near)?;
    let on_disk = until(prometheus, &used("storage", "bytes"), |bytes| bytes >= 20_971_520.0)?;
    println!("metrics.k8s.io: {from_api} cores; kubelet: {on_disk} bytes");
    scraped(at, kubectl, prometheus)?;
    crate::dashboards::show(prometheus, "use", SYSTEM)?;
    a_scorecard_has_the_figures_of_the_metrics(prometheus)?;
    alerts_fire_and_resolve(kubectl, prometheus)?;
    a_restart_goes_on(kubectl)?;

    // The same load, from the other source.
    until(prometheus, &format!("tripod:namespace_cpu_usage_cores{{namespace=\"{SYSTEM}\"}}"), near)?;
    at.configure("production", &[&format!("utilisation.prometheus.url={}", prometheus.url)])?;
    let source = "tripod_sampling_last_success_timestamp_seconds{source=\"prometheus\"} > 0";
    until(prometheus, source, |_| true).with_context(|| match kubectl.get(&["department/use"]) {
        Ok(seen) => described(&seen, "UsageMeasured"),
        Err(error) => error.to_string(),
    })?;
    let from_prometheus = until(prometheus, &used("cpu", "cores"), near)?;
    println!("prometheus: {from_prometheus} cores");
    let difference = (from_api - from_prometheus).abs() / from_api;
    ensure!(difference < 0.1, "{from_api} and {from_prometheus} cores differ by {difference}");
    let again = until(prometheus, &used("storage", "bytes"), |bytes| bytes >= 20_971_520.0)?;
    ensure!((again - on_disk).abs() < 0.1 * on_disk, "{on_disk} and {again} bytes on the volume");
    Ok(())
}

/// The text passes promtool's lint, and has no more series than it promises.
fn scraped(at: &Installation, kubectl: &Kubectl, prometheus: &Prometheus) -> Result<()> {
    let text = kubectl.run(&["get", "--raw", METRICS])?;
    let file = at.lab.data().join("metrics.txt");
    std::fs::write(&file, &text)?;
    let lint = std::process::Command::new(at.lab.program("promtool"))
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&file)?)
        .output()?;
    let said = String::from_utf8_lossy(&lint.stderr);
    ensure!(lint.status.success() && said.trim().is_empty(), "promtool check metrics: {said}");
    let count = |label: &str| text.lines().filter(|line| line.contains(label)).count();
    let (system, department) = (count(&format!("system=\"{SYSTEM}\"")), count("{department=\"use\""));
    println!("series: {system} of the system, {} of the department", department - system);
    ensure!(system <= 30 && department - system <= 40, "{system} and {department} series");
    let is_one = |expression: &str| until(prometheus, expression, |value| (value - 1.0).abs() < 1e-9);
    for placement in ["on_cloud", "off_cloud", "exempt"] {
        is_one(&format!("tripod_department_systems{{department=\"use\",placement=\"{placement}\"}}"))?;
    }
    is_one(&format!("sum(tripod_system_verdict{{system=\"{SYSTEM}\"}})"))?;
    Ok(())
}

/// The month that runs has no report yet: what is known of it is what the metrics say, and the rest is unknown.
fn a_scorecard_has_the_figures_of_the_metrics(prometheus: &Prometheus) -> Result<()> {
    let engineer = Person::new("engineer", &["system:masters"])?;
    let month = std::process::Command::new("date").env("TZ", "CST-8").arg("+%Y-%m").output()?;
    let month = String::from_utf8(month.stdout)?;
    let words = ["scorecard", "use", "--month", month.trim(), "-o"];
    println!("{}", engineer.tripod(&[&words[..], &["markdown"]].concat())?);
    let card: serde_json::Value = serde_json::from_str(&engineer.tripod(&[&words[..], &["json"]].concat())?)?;
    let rows = card["tables"]["resources"]["rows"].as_array().context("no resources")?;
    let row = rows.iter().find(|row| row["resource"] == "cpu").context("no processors")?;
    for column in ["budget", "committed"] {
        let metric =
            prometheus.value(&format!("tripod_department_cpu_{column}_cores{{department=\"use\"}}"))?;
        ensure!(row[column] == format!("{metric}"), "{column}: {} and {metric}", row[column]);
    }
    ensure!(row["usedAverage"].is_null(), "nobody knows the average, and it says {}", row["usedAverage"]);
    let systems = &card["tables"]["systems"]["rows"];
    ensure!(systems.as_array().is_some_and(|rows| rows.len() == 3), "{systems}");
    Ok(())
}

fn alerts_fire_and_resolve(kubectl: &Kubectl, prometheus: &Prometheus) -> Result<()> {
    let budget = |cpu: &str| {
        kubectl.run(&[
            "patch",
            "department/use",
            "--type=merge",
            "-p",
            &json!({"spec": {"budget": {"requests.cpu": cpu}}}).to_string(),
        ])
    };
    let firing = "count(ALERTS{alertname=\"TripodOverCommitted\",alertstate=\"firing\",department=\"use\"}) or vector(0)";
    ensure!(prometheus.value(firing)? < 0.5, "it fires already");
    budget("500m")?;
    until(prometheus, firing, |count| count > 0.5)?;
    budget("10")?;
    until(prometheus, firing, |count| count < 0.5).map(drop)
}

/// The book of the running day outlives the operator.
fn a_restart_goes_on(kubectl: &Kubectl) -> Result<()> {
    let read = || -> Result<u64> {
        let maps = kubectl.get(&[
            "-n",
            "tripod-system",
            "configmaps",
            "-l",
            "tripod.cloud/part-of=utilisation-book",
        ])?;
        let books =
            maps["items"].as_array().into_iter().flatten().filter_map(|m| m["data"]["book.json"].as_str());
        let pages: Vec<serde_json::Value> =
            books.filter_map(|text| serde_json::from_str(text).ok()).collect();
        let page = pages.iter().find_map(|shard| shard.get(SYSTEM)).context("the system is in no book")?;
        page["today"]["lines"]["cpu"]["tally"]["n"].as_u64().context("no readings of cpu")
    };
    let before = wait_for("a kept book", PATIENCE, read)?;
    kill_operator(kubectl)?;
    wait_for("the book to go on", PATIENCE, || {
        let now = read()?;
        ensure!(now > before, "{now} readings, and {before} before");
        Ok(())
    })
}

/// Without an answer nothing is zero, and nobody is idle.
#[test]
fn no_answer_is_no_zero() -> Result<()> {
    let kubectl = burner()?;
    let service = kubectl.get(&["apiservice/v1beta1.metrics.k8s.io"])?;
    let mut kept =
        json!({"apiVersion": service["apiVersion"], "kind": service["kind"], "spec": service["spec"]});
    kept["metadata"] = json!({"name": "v1beta1.metrics.k8s.io"});
    let unknown = |seen: &serde_json::Value| {
        let measured = described(seen, "UsageMeasured");
        ensure!(
            measured.contains("UsageMeasured=False Unknown: metrics.k8s.io does not answer"),
            "{measured}"
        );
        let used = &seen["status"]["budget"]["requests.cpu"]["used"];
        ensure!(used.is_null(), "it says that {used} is used");
        Ok(())
    };
    kubectl.run(&["delete", "apiservice/v1beta1.metrics.k8s.io"])?;
    let result = kubectl.until("use to be unknown", PATIENCE, &["department/use"], unknown);
    let silent = kubectl.run(&["get", "--raw", METRICS]).map(|text| text.contains(&used("cpu", "cores")));
    kubectl.apply(&kept.to_string())?;
    result?;
    ensure!(!silent?, "there is a series of what is unknown");
    kubectl.until("use to be known again", PATIENCE, &["department/use"], |seen| {
        let used = &seen["status"]["budget"]["requests.cpu"]["used"];
        ensure!(used.is_string(), "{}", described(seen, "UsageMeasured"));
        Ok(())
    })?;
    kubectl.run(&["-n", SYSTEM, "delete", "pod/burner", "--wait"]).map(drop)
}
