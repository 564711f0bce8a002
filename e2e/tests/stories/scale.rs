//! Many departments, in short: the benchmark runs, and finds that what should not grow with their number does not. The
//! long one is `make bench-tenancy`.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::fixture::{given, lab_name};
use crate::one_cluster::neighbour;

#[test]
fn at_rest_nothing_is_written_and_a_change_is_of_one_department() -> Result<()> {
    let lab = neighbour(&lab_name())?;
    let figures = std::env::temp_dir().join(format!("{lab}-tenancy.json"));
    let status = Command::new(env!("CARGO_BIN_EXE_bench-tenancy"))
        .args(["--departments", "20", "--systems", "5", "--quiet-seconds", "20", "--lab", &lab, "--image"])
        .arg(given("TRIPOD_IMAGE"))
        .arg("--output")
        .arg(&figures)
        .status()?;
    ensure!(status.success(), "the benchmark: {status}");
    let text = std::fs::read(&figures).with_context(|| figures.display().to_string())?;
    std::fs::remove_file(&figures)?;
    let seen: Value = serde_json::from_slice(&text)?;
    for rest in seen["rests"].as_array().context("no rests")? {
        // The book of readings is written once an interval: that is a minute here, and it has 32 pages at most.
        let written = rest["during"]["written"].as_object().context("no writes")?;
        let others: Vec<&String> = written.keys().filter(|kind| *kind != "configmaps").collect();
        let pages = written.get("configmaps").and_then(Value::as_u64).unwrap_or(0);
        ensure!(others.is_empty() && pages <= 2 * 32, "written at rest: {}", rest["during"]["written"]);
    }
    for change in seen["changes"].as_array().context("no changes")? {
        // The department's status, and room for what comes in between.
        let (reads, writes) = (change["reads"].as_f64(), change["writes"].as_f64());
        ensure!(
            reads.is_some_and(|n| n <= 3.0) && writes.is_some_and(|n| n <= 3.0),
            "one change cost {change}"
        );
    }
    Ok(())
}
