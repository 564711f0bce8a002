//! The story that Tripod exists for: a department's system is protected, copied, proved, and rehearsed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use serde_json::json;
use tripod_e2e::lab::command::{output, wait_for};
use tripod_e2e::system::System;

use crate::fixture::{CENTRES, PATIENCE, fill_volume, given, metrics, nothing_left, protect, restic, system};

#[test]
fn a_department_is_recovered() -> Result<()> {
    let system = system("recovery")?;
    system.start_registration(&given("TRIPOD_WORKLOAD"))?;
    fill_volume(&system, 200, 10_000)?;
    let objects: Vec<(String, Vec<u8>)> = (0..300)
        .map(|n| (format!("scans/{}/{n}.txt", n % 7), format!("scan {n} 扫描\n").repeat(n + 1).into_bytes()))
        .collect();
    system.fill_bucket(&objects)?;
    let spec = json!({"include": {"buckets": [system.bucket()]}, "objectives": [
        {"centre": "same-city", "rpo": "30m"}, {"centre": "remote", "rpo": "2h"}]});
    protect(&system, &spec)?;
    let point = system.back_up()?;
    let verified = system.await_verified(&point, &CENTRES, PATIENCE)?;
    let contents = &verified["status"]["contents"];
    ensure!(contents["bucketObjects"] == 300, "{contents}");
    ensure!(contents["files"].as_u64() > Some(200), "the files of both volumes: {contents}");

    every_centre_shows_the_same_point(&system, &point, &verified)?;
    objectives_are_met(&system)?;
    restic_reads_every_vault(&system)?;
    let name = "rehearsal";
    let kubectl = system.start_drill(name, "same-city", None, &System::rows_check(500))?;
    system.await_drill(&kubectl, name, PATIENCE)?;
    kubectl.wait(&format!("drill/{name}"), Some(&system.namespace()), "Succeeded", Duration::from_secs(5))?;
    the_drill_measured(&kubectl.get(&["-n", &system.namespace(), &format!("drill/{name}")])?, &verified)?;
    nothing_left(&system, &kubectl, "same-city")?;
    nobody_else_wrote_into_production(&system)?;
    use_is_measured(&system)
}

/// Neither a pull nor a drill: the store of production says itself what came from the other centres.
fn nobody_else_wrote_into_production(system: &System<'_>) -> Result<()> {
    let log = system.at.lab.data().join("production/log/versitygw-access.log");
    let text = std::fs::read_to_string(&log).with_context(|| log.display().to_string())?;
    let others: Vec<String> = ["same-city", "remote"]
        .iter()
        .map(|c| Ok(system.at.lab.centre(c)?.address))
        .collect::<Result<_>>()?;
    let from_others: Vec<&str> = text
        .lines()
        .filter(|line| others.iter().any(|address| line.contains(&format!(" {address} "))))
        .collect();
    ensure!(from_others.len() > 100, "the log shows {} requests from other centres", from_others.len());
    let reads = ["s3_Get", "s3_Head", "s3_List"];
    match from_others.iter().find(|line| !reads.iter().any(|read| line.contains(read))) {
        Some(line) => bail!("another centre wrote: {line}"),
        None => Ok(()),
    }
}

fn every_centre_shows_the_same_point(system: &System<'_>, point: &str, verified: &Value) -> Result<()> {
    for centre in ["same-city", "remote"] {
        let object = format!("recoverypoint/{point}");
        let kubectl = system.at.kubectl(centre)?;
        kubectl.wait(&object, Some(&system.namespace()), "Verified", PATIENCE)?;
        let there = kubectl.get(&["-n", &system.namespace(), &object])?;
        ensure!(there["spec"] == verified["spec"], "{centre}: {}", there["spec"]);
    }
    Ok(())
}

fn objectives_are_met(system: &System<'_>) -> Result<()> {
    let words = ["-n", &system.namespace(), "backuppolicy/registration"];
    system.production()?.until("both objectives to be Met", PATIENCE, &words, |policy| {
        let centres = policy["status"]["centres"].as_array().context("no centres")?;
        ensure!(centres.len() == 2 && centres.iter().all(|c| c["objective"] == "Met"), "{centres:?}");
        Ok(())
    })
}

/// Debian's restic, with nothing of Tripod but the password, checks all data and restores what is on the volume.
fn restic_reads_every_vault(system: &System<'_>) -> Result<()> {
    let claim = system.production()?.get(&["-n", &system.namespace(), "pvc/bulk"])?;
    let volume = claim["spec"]["volumeName"].as_str().context("the claim has no volume")?;
    let original = system.at.lab.data().join("production/volumes").join(volume);
    for centre in CENTRES {
        restic(system, centre, &["check", "--read-data"])?;
        let target = tempdir(&format!("restic-{centre}"))?;
        restic(
            system,
            centre,
            &["restore", "latest", "--path", "/volumes/bulk", "--target", &target.display().to_string()],
        )?;
        let restored = target.join("volumes/bulk");
        ensure!(std::fs::read_dir(&restored)?.count() == 200, "{}", restored.display());
        output(Command::new("diff").arg("-r").args([&original, &restored]))?;
        std::fs::remove_dir_all(target)?;
    }
    Ok(())
}

fn tempdir(name: &str) -> Result<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// RPO and RTO are measured, not copied from the objectives: the times of the objects themselves give the same.
fn the_drill_measured(drill: &Value, point: &Value) -> Result<()> {
    let status = &drill["status"];
    let taken = seconds(&point["spec"]["takenAt"])?;
    let decided = seconds(&drill["metadata"]["creationTimestamp"])?;
    let concluded = status["timeline"].as_array().into_iter().flatten().find(|e| e["phase"] == "CleaningUp");
    let concluded = seconds(&concluded.context("no CleaningUp in the timeline")?["at"])?;
    ensure!(duration(&status["rpo"])? == decided - taken, "RPO {} of {taken} and {decided}", status["rpo"]);
    ensure!((duration(&status["rto"]["total"])? - (concluded - decided)).abs() <= 1, "RTO {}", status["rto"]);
    let names: Vec<&str> =
        status["checks"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    let expected =
        ["digest of volume bulk", "digest of volume data", "digest of bucket recovery-files", "rows"];
    ensure!(expected.iter().all(|e| names.contains(e)), "checks: {names:?}");
    ensure!(
        status["report"]["digest"].as_str().is_some_and(|d| d.starts_with("sha256:")),
        "{}",
        status["report"]
    );
    Ok(())
}

fn seconds(time: &Value) -> Result<i64> {
    let text = time.as_str().context("no time")?;
    Ok(output(Command::new("date").args(["-d", text, "+%s"]))?.trim().parse()?)
}

/// `1h2m3s`
fn duration(text: &Value) -> Result<i64> {
    let (mut total, mut number) = (0, 0);
    for character in text.as_str().context("no duration")?.chars() {
        match character {
            'h' => total += 3600 * std::mem::take(&mut number),
            'm' => total += 60 * std::mem::take(&mut number),
            's' => total += std::mem::take(&mut number),
            digit => number = 10 * number + i64::from(digit.to_digit(10).context("no digit")?),
        }
    }
    Ok(total)
}

/// Used beside requested beside budget, in the status and on `/metrics`.
fn use_is_measured(system: &System<'_>) -> Result<()> {
    let kubectl = system.production()?;
    kubectl.until("use to be measured", PATIENCE, &["department/recovery"], |department| {
        let line = &department["status"]["budget"]["requests.cpu"];
        ensure!(line["used"].is_string() && line["requested"] == "100m", "{line}");
        Ok(())
    })?;
    wait_for("metrics", PATIENCE, || {
        let metrics = metrics(&kubectl)?;
        for wanted in [
            "tripod_department_cpu_budget_cores{department=\"recovery\"} 8",
            "tripod_department_cpu_requested_cores{department=\"recovery\"} 0.1",
            "tripod_department_cpu_used_cores{department=\"recovery\"}",
            "tripod_recovery_point_newest_verified_timestamp_seconds{namespace=\"recovery-registration\",policy=\"registration\",centre=\"remote\"}",
            "tripod_leader 1",
        ] {
            if !metrics.contains(wanted) {
                bail!("{wanted} is not in\n{metrics}");
            }
        }
        Ok(())
    })
}
