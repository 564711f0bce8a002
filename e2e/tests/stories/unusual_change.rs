//! A volume is overwritten with other bytes, as by an attacker who encrypts it: the next recovery point says so, and the one
//! before it outlives the rules at every centre that knows of it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{condition, described};
use tripod_e2e::lab::command::wait_for;
use tripod_e2e::system::System;

use crate::fixture::{PATIENCE, await_points, fill_volume, protect, system};

const HERE: [&str; 2] = ["production", "same-city"];

#[test]
fn a_mass_of_new_bytes_is_noticed_and_the_point_before_it_stays() -> Result<()> {
    let system = system("unusual")?;
    fill_volume(&system, 4, 1_000_000)?;
    protect(&system, &json!({}))?;
    let mut points = Vec::new();
    for _ in 0..4 {
        points.push(taken(&system)?);
    }
    let quiet = system.production()?.get(&["-n", &system.namespace(), "backuppolicy/registration"])?;
    ensure!(condition(&quiet, "UnusualChange").is_none(), "{}", described(&quiet, "UnusualChange"));
    let calm = points.last().context("no point")?.clone();

    fill_volume(&system, 4, 1_000_000)?;
    let attacked = taken(&system)?;
    let point = object(&system, &attacked)?;
    ensure!(
        point["status"]["unusual"] == json!(["volume bulk: 100 % of its bytes are new, where 0 % are usual"]),
        "{}",
        point["status"]["unusual"]
    );
    let words = ["-n", "unusual-registration", "backuppolicy/registration"];
    system.production()?.until("the policy to say so", PATIENCE, &words, |policy| {
        let said = described(policy, "UnusualChange");
        ensure!(said.contains(&attacked) && said.contains("volume bulk"), "{said}");
        Ok(())
    })?;
    let events = [
        "-n",
        "unusual-registration",
        "get",
        "events",
        "--field-selector",
        "reason=MassChange",
        "-o",
        "name",
    ];
    ensure!(!system.production()?.run(&events)?.trim().is_empty(), "there is no event");

    // Rules that would keep one point keep three: the newest, the one with the change, and the one before it.
    let newest = taken(&system)?;
    let rules = json!({"retention": {"keepLast": 1}});
    for cluster in HERE {
        system.apply_policy(cluster, &rules)?;
    }
    for cluster in HERE {
        await_points(&system, cluster, &[&calm, &attacked, &newest].map(Clone::clone).into())?;
    }
    wait_for("the reason to be shown", PATIENCE, || {
        let copies = object(&system, &calm)?["status"]["centres"].clone();
        let expected = format!("before the unusual change of {attacked}");
        for centre in HERE {
            let copy = copies.as_array().into_iter().flatten().find(|copy| copy["centre"] == centre);
            let why = copy.and_then(|copy| copy["keptBy"].as_str()).unwrap_or_default();
            ensure!(why.contains(&expected), "{centre}: {copies}");
        }
        Ok(())
    })
}

/// A new point, once it is Verified where rules will judge it.
fn taken(system: &System<'_>) -> Result<String> {
    let point = system.back_up()?;
    system.await_verified(&point, &HERE, PATIENCE)?;
    Ok(point)
}

fn object(system: &System<'_>, point: &str) -> Result<Value> {
    system.production()?.get(&["-n", &system.namespace(), &format!("recoverypoint/{point}")])
}
