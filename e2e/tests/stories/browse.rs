//! What a recovery point holds is seen without restoring it, and what became otherwise in a later one; by those who may, of
//! their own department only.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::described;

use crate::fixture::{CENTRES, PATIENCE, fill_volume, protect, system};
use crate::tenancy::{Person, refused};

#[test]
fn what_a_point_holds_is_seen_and_what_changed() -> Result<()> {
    let system = system("browse")?;
    let (kubectl, namespace) = (system.production()?, system.namespace());
    fill_volume(&system, 12, 3_000)?;
    system.fill_bucket(&[("scans/1".into(), vec![1; 100]), ("scans/2".into(), vec![2; 200])])?;
    let settings = |hours: &str| {
        json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "desk", "namespace": namespace}, "data": {"HOURS": hours}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "desk", "namespace": namespace}, "stringData": {"TOKEN": hours}}]})
        .to_string()
    };
    kubectl.apply(&settings("9-17"))?;
    protect(&system, &json!({"include": {"buckets": [system.bucket()]}}))?;
    let earlier = system.back_up()?;
    system.await_verified(&earlier, &["production"], PATIENCE)?;
    kubectl.apply(&settings("8-16"))?;
    fill_volume(&system, 13, 3_000)?;
    system.fill_bucket(&[("scans/3".into(), vec![3; 300])])?;
    let later = system.back_up()?;
    system.await_verified(&later, &CENTRES, PATIENCE)?;

    let zhang = Person::admin_of("browse")?;
    let ask = |words: &[&str]| zhang.tripod(&[words, &["-n", &namespace]].concat());
    let top = ask(&["browse", &earlier])?;
    for part in ["objects", "volumes/bulk", &format!("buckets/{}", system.bucket())] {
        ensure!(top.contains(part), "{top}");
    }
    // The same at each centre that has it.
    let maps = ask(&["browse", &later, "objects/configmaps", "--centre", "remote"])?;
    ensure!(maps.contains("objects/configmaps/desk.json"), "{maps}");
    let scans = format!("buckets/{}/scans/", system.bucket());
    let listed: Value = serde_json::from_str(&ask(&["browse", &later, &scans, "-o", "json"])?)?;
    ensure!(listed["found"] == 3 && listed["entries"][2]["size"] == 300, "{listed}");
    let files: Value =
        serde_json::from_str(&ask(&["browse", &later, "volumes/bulk", "--limit", "2", "-o", "json"])?)?;
    let shown = files["entries"].as_array().context("no entries")?.len();
    ensure!(shown as u64 == files["found"].as_u64().unwrap_or_default().min(2), "{files}");

    let said = ask(&["diff", &earlier, &later])?;
    for line in [
        "~ objects/configmaps/desk.json\n    data.HOURS: \"9-17\" → \"8-16\"\n",
        "~ objects/secrets/desk.json\n    data.TOKEN: changed (not shown)\n",
        &format!("+ {scans}3\n"),
    ] {
        ensure!(said.contains(line), "{said}");
    }
    ensure!(said.contains("volumes/bulk/"), "{said}");
    let part = ask(&["diff", &earlier, &later, &scans])?;
    ensure!(part.ends_with("1 added, 0 removed, 0 changed\n"), "{part}");

    refused(ask(&["browse", &later, "volumes/none"]), "a path that is not there", "spec.path: there is no")?;
    refused(
        ask(&["browse", "none"]),
        "a point that is not there",
        "spec.recoveryPoint: the vault of production has no point",
    )?;
    refused(
        ask(&["diff", "none", &later]),
        "to compare with no point",
        "spec.since: the vault of production has no point",
    )?;
    refused(
        ask(&["browse", &later, "--centre", "moon"]),
        "a centre that is not there",
        "no Centre is named",
    )?;
    refused(
        ask(&["browse", &later, "--system", "health-registration"]),
        "another department's system",
        "spec.system: ",
    )?;
    // Nothing stays of what the commands asked.
    let left = kubectl.run(&["-n", &namespace, "get", "inspections", "-o", "name"])?;
    ensure!(left.trim().is_empty(), "{left}");

    let question = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Inspection",
        "metadata": {"name": "mine", "namespace": namespace}, "spec": {"recoveryPoint": later, "path": "objects"}});
    kubectl.apply(&question.to_string())?;
    let answered =
        kubectl.until("an answer", PATIENCE, &["-n", &namespace, "inspection/mine"], |object| {
            ensure!(object["status"]["answeredAt"].is_string(), "{}", described(object, "Ready"));
            Ok(object.clone())
        })?;
    ensure!(described(&answered, "Ready").contains("Answered"), "{}", answered["status"]);
    Ok(())
}
