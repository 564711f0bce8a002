//! The dashboards of the chart, as text: every query of every panel, answered by a real Prometheus.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tripod_e2e::installation::repository;
use tripod_e2e::lab::command::wait_for;
use tripod_e2e::lab::prometheus::Prometheus;

use crate::fixture::PATIENCE;

/// What nothing in a lab has: there are no GPUs, and the story has neither buckets nor drills.
const ABSENT: [&str; 3] = ["gpu", "bucket", "drill"];

/// Prints the dashboards of one department and system, and sees that what a lab has is shown.
pub fn show(prometheus: &Prometheus, department: &str, system: &str) -> Result<()> {
    let folder = repository().join("charts/tripod/files/dashboards");
    for name in ["departments", "systems", "operator"] {
        let text =
            std::fs::read_to_string(folder.join(format!("{name}.json"))).with_context(|| name.to_owned())?;
        let board: Value = serde_json::from_str(&text)?;
        println!("── {}", board["title"].as_str().unwrap_or(name));
        for panel in board["panels"].as_array().into_iter().flatten() {
            println!("   {}", panel["title"].as_str().unwrap_or_default());
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().context("a target without a query")?;
                let asked = [("$department", department), ("$system", system), ("$__rate_interval", "1m")]
                    .iter()
                    .fold(expression.to_owned(), |text, (variable, value)| text.replace(variable, value));
                let side_by_side =
                    ["_budget_", "_granted_", "_requested_", "_used_"].iter().any(|c| asked.contains(c));
                let exists = !ABSENT.iter().any(|word| asked.contains(word));
                // A rule is evaluated only after what it is made of was scraped.
                let samples = wait_for(&format!("{name}: {asked}"), PATIENCE, || {
                    let samples = prometheus.query(&asked)?;
                    ensure!(!(side_by_side && exists && samples.is_empty()), "nothing is shown");
                    Ok(samples)
                })?;
                let values: Vec<String> = samples.iter().map(|(_, value)| format!("{value:.3}")).collect();
                let legend = target["legendFormat"].as_str().unwrap_or_default();
                println!("     {legend:24} {}", values.join("  "));
            }
        }
    }
    Ok(())
}
