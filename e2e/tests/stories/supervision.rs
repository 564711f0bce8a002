//! A month of use is judged, the department is told, asks for less, and is not given less than it has used. The month is
//! written down as the operator would have: nobody waits for it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, condition, described};

use crate::fixture::PATIENCE;
use crate::tenancy::{Person, automatic, department, request, says};

const SYSTEM: &str = "judged-web";
const REQUEST: [&str; 3] = ["-n", "dept-judged", "resourcerequest/web"];
const DAY: i64 = 24 * 60 * 60;
/// Midnight in China, in seconds after midnight in UTC.
const MIDNIGHT: i64 = 16 * 60 * 60;

/// The first moment of the present day in China.
fn today() -> Result<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = i64::try_from(now.as_secs())?;
    Ok((now - MIDNIGHT).div_euclid(DAY) * DAY + MIDNIGHT)
}

fn moment(second: i64) -> Result<String> {
    let text = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{second}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()?;
    Ok(String::from_utf8(text.stdout)?.trim().to_owned())
}

/// Reports of 30 whole days before today, with so many thousandths of a core in every reading of an hour. `spike` is the
/// highest reading of the first of them.
fn month(kubectl: &Kubectl, namespace: &str, millicores: u64, spike: u64, days: i64) -> Result<()> {
    let midnight = today()?;
    for day in 1..=days {
        let from = midnight - day * DAY;
        let (peak, sketch) =
            if day == 1 { (spike, one_spike(millicores, spike)) } else { (millicores, steady(millicores)) };
        let sum = if day == 1 { 23 * millicores + spike } else { 24 * millicores };
        let name = format!("day-{}", &moment(from + DAY / 2)?[..10]);
        let meta = json!({"name": name, "namespace": namespace, "labels": {"tripod.cloud/department": "judged", "tripod.cloud/period": "Day"}});
        let (api, kind) = ("tripod.cloud/v1alpha1", "UtilisationReport");
        let report = json!({"apiVersion": api, "kind": kind, "metadata": meta,
            "spec": {"period": "Day", "from": moment(from)?, "to": moment(from + DAY)?, "intervalSeconds": 3600}});
        kubectl.apply(&report.to_string())?;
        let figures = json!({"average": format!("{}m", sum / 24), "peak": format!("{peak}m"), "readings": 24, "of": 24,
            "coverage": "100.00", "granted": "2", "sum": format!("{sum}m"), "sketch": sketch});
        let status = json!({"apiVersion": api, "kind": kind, "metadata": meta,
            "status": {"resources": {"cpu": figures}}});
        kubectl.with_input(
            &["apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-"],
            &status.to_string(),
        )?;
    }
    Ok(())
}

fn steady(millicores: u64) -> String {
    sketch(&[millicores; 24])
}

fn one_spike(millicores: u64, spike: u64) -> String {
    let mut readings = [millicores; 24];
    readings[0] = spike;
    sketch(&readings)
}

/// The distribution in the form that reports carry.
fn sketch(millicores: &[u64]) -> String {
    let mut tally = tripod_domain::utilisation::tally::Tally::default();
    for m in millicores {
        tally.add(i128::from(*m) * 1_000_000);
    }
    tally.sketch_text()
}

fn settled(kubectl: &Kubectl, cpu: &str) -> Result<Value> {
    Person::admin_of("judged")?.apply(&ask(cpu))?;
    kubectl.wait(REQUEST[2], Some(REQUEST[1]), "Ready", PATIENCE)?;
    kubectl.get(&REQUEST)
}

fn ask(cpu: &str) -> Value {
    request("judged", "web", &json!({"requests.cpu": cpu, "requests.memory": "256Mi"}))
}

/// A policy for this department alone; the one that comes with the chart stays for the others. `revision` makes it another
/// one, so that what is judged is judged again.
fn policy(kubectl: &Kubectl, exemptions: &Value, grace_days: i64) -> Result<()> {
    let policy = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "SupervisionPolicy", "metadata": {"name": "judged"},
        "spec": {"source": {"title": "story", "effective": "2026-01-01"}, "departments": ["judged"], "windowDays": 30,
            "graceDays": grace_days, "trialDays": 30, "exemptions": exemptions,
            "thresholds": {"cpu": {"lowAverage": 30, "lowPeak": 60, "highAverage": 50}}}});
    kubectl.apply(&policy.to_string())?;
    kubectl.wait("supervisionpolicy/judged", None, "Ready", PATIENCE)
}

#[test]
fn a_month_is_judged_and_the_grant_shrinks() -> Result<()> {
    let budget = json!({"requests.cpu": "10", "requests.memory": "4Gi"});
    let kubectl = department("judged", &budget, &json!({}))?;
    automatic(&kubectl, "4")?;
    kubectl.run(&["delete", "supervisionpolicy/judged", "--ignore-not-found"])?;
    settled(&kubectl, "2")?;
    // It has had the grant for longer than its trial, and began before the window.
    let namespace = kubectl.get(&["namespace", SYSTEM])?;
    let grant = namespace["metadata"]["annotations"]["tripod.cloud/grant"].as_str().context("no grant")?;
    let mut grant: Value = serde_json::from_str(grant)?;
    let long_ago = moment(today()? - 40 * DAY)?;
    (grant["since"], grant["at"]) = (json!(long_ago), json!(long_ago));
    kubectl.run(&["annotate", "--overwrite", "namespace", SYSTEM, &format!("tripod.cloud/grant={grant}")])?;

    // Twenty days are too few to say anything, however idle they were.
    month(&kubectl, SYSTEM, 50, 50, 20)?;
    policy(&kubectl, &json!([]), 14)?;
    let window = ["-n", SYSTEM, "utilisationreport/window"];
    kubectl.until("the window", PATIENCE, &window, |seen| {
        let said = &seen["status"]["verdict"];
        ensure!(said == "Unknown" && seen["status"]["resources"]["cpu"]["coverage"] == "66.66", "{seen}");
        Ok(())
    })?;
    ensure!(condition(&kubectl.get(&REQUEST)?, "WellUsed").is_none(), "nobody knows, and something is said");

    month(&kubectl, SYSTEM, 100, 600, 30)?;
    policy(&kubectl, &json!([]), 13)?;
    let told = says(&kubectl, &REQUEST, "WellUsed", "Low", &["requests.cpu shrink → 800m", "豁免"])?;
    let used = &told["status"]["utilisation"]["resources"]["cpu"];
    ensure!(used["average"] == "100694u" || used["average"] == "100695u", "{used}");
    ensure!(used["peak"] == "600m" && used["coverage"] == "100.00", "{used}");
    let evaluation = &told["status"]["evaluation"];
    ensure!(evaluation["verdict"] == "Low" && evaluation["policy"] == "judged", "{evaluation}");
    let events = kubectl.run(&["-n", "dept-judged", "get", "events", "-o", "jsonpath={.items[*].reason}"])?;
    ensure!(events.contains("UseLow") && events.contains("Evaluated"), "{events}");

    // Less than was used a week ago is not given; what was recommended is.
    Person::admin_of("judged")?.apply(&ask("500m"))?;
    says(&kubectl, &REQUEST, "Assessed", "RecentUse", &["500m is asked for, and 600m were used", "峰值"])?;
    let seen = settled(&kubectl, "800m")?;
    ensure!(
        seen["status"]["granted"]["resources"]["requests.cpu"] == "800m",
        "{}",
        described(&seen, "Ready")
    );

    let until = &moment(today()? + 10 * DAY)?[..10].to_owned();
    let exemption =
        json!([{"department": "judged", "request": "web", "reason": "flood season", "until": until}]);
    settled(&kubectl, "2")?;
    policy(&kubectl, &exemption, 13)?;
    says(&kubectl, &REQUEST, "WellUsed", "Exempt", &["flood season", "已豁免"])?;
    kubectl.run(&["delete", "supervisionpolicy/judged"]).map(drop)
}
