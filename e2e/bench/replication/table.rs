//! The figures, side by side.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::measure::Cost;
use crate::work::Work;

/// As text.
pub fn of(work: Work, costs: &[(&'static str, Result<Cost, String>)]) -> String {
    let mut text = format!("{}\n  {:12} {:>9} {:>9} {:>9}\n", work.title(), "", "wall s", "CPU s", "RSS MiB");
    for (name, cost) in costs {
        // Writing to a String does not fail.
        let _ = match cost {
            Ok(cost) => writeln!(text, "  {name:12} {:>9.2} {:>9.2} {:>9.1}", cost.wall, cost.cpu, cost.rss),
            Err(why) => writeln!(text, "  {name:12} failed: {why}"),
        };
    }
    if let Some((ratio, fastest)) = ahead(costs) {
        let _ = writeln!(text, "  {ratio:.2} times as fast as {fastest}, the fastest of the others");
    }
    if let (Some(ours), Some(bare)) = (wall(costs, "tripod"), wall(costs, "bare loop")) {
        let _ = writeln!(text, "  {:.0} % of the bare loop's speed", bare / ours * 100.0);
    }
    text
}

/// As JSON.
pub fn json(work: Work, costs: &[(&'static str, Result<Cost, String>)]) -> Value {
    let rows = costs.iter().map(|(name, cost)| match cost {
        Ok(cost) => json!({"client": name, "cost": cost}),
        Err(why) => json!({"client": name, "failed": why}),
    });
    json!({"work": work.title(), "clients": rows.collect::<Vec<_>>(), "ahead": ahead(costs).map(|(ratio, _)| ratio)})
}

fn wall(costs: &[(&'static str, Result<Cost, String>)], wanted: &str) -> Option<f64> {
    let of = |(name, cost): &(&'static str, Result<Cost, String>)| {
        (*name == wanted).then(|| cost.as_ref().ok().map(|c| c.wall)).flatten()
    };
    costs.iter().find_map(of)
}

fn ahead(costs: &[(&'static str, Result<Cost, String>)]) -> Option<(f64, &'static str)> {
    let ours = wall(costs, "tripod")?;
    let others = costs.iter().filter(|(name, _)| !matches!(*name, "tripod" | "bare loop"));
    let measured = others.filter_map(|(name, cost)| Some((cost.as_ref().ok()?.wall, *name)));
    let (fastest, name) = measured.min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some((fastest / ours, name))
}
