//! Recovery points that no rule keeps go, with their data and nothing else: at each centre by what its own cluster says. What
//! is held stays until it is taken off, and what remains can be restored.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::json;
use tripod_e2e::lab::command::wait_for;
use tripod_e2e::system::System;

use crate::fixture::{
    AtOnce, CENTRES, PATIENCE, await_points, fill_volume, in_vault, nothing_left, protect, repository,
    restic, system,
};

/// Those whose clusters have the rules.
const WITH_RULES: [&str; 2] = ["production", "same-city"];
const HOLD: &str = "tripod.cloud/hold";

#[test]
fn what_no_rule_keeps_goes_with_its_data_and_nothing_else() -> Result<()> {
    let system = system("kept")?;
    let include = json!({"buckets": [system.bucket()]});
    system.fill_bucket(&[("statute".into(), b"stays as it is".to_vec())])?;
    protect(&system, &json!({"include": include}))?;
    let mut points = Vec::new();
    for round in 0..4 {
        points.push(new_point(&system, round)?);
    }
    annotate(&system, "production", &points[1], &format!("{HOLD}=case 12"))?;
    let held = points[1].clone();
    await_held(&system, "same-city", &points[1])?;
    let before = WITH_RULES.map(|centre| (size(&system, centre), versions(&system, centre)));

    let _delays = [AtOnce::prune(&system, WITH_RULES[0])?, AtOnce::prune(&system, WITH_RULES[1])?];
    let spec = json!({"include": include, "retention": {"keepLast": 2}});
    protect(&system, &spec)?;
    system.apply_policy("same-city", &spec)?;
    let left = names(points[2..].iter().chain([&held]));
    for centre in WITH_RULES {
        await_points(&system, centre, &left)?;
    }
    // Its cluster has no policy of that name, and its Centre no rules: what production says moves nothing there.
    await_points(&system, "remote", &names(&points))?;
    for (centre, (bytes, objects)) in WITH_RULES.iter().zip(before) {
        let bytes = bytes?;
        wait_for("the data of the removed point to go", PATIENCE, || {
            let (now, left) = (size(&system, centre)?, versions(&system, centre)?);
            // Of four points, one: 3 MB that no other has, and one version of an object.
            ensure!(now + 2_500_000 < bytes, "{centre}: {bytes} bytes became {now}");
            let objects = objects.as_ref().map_err(|e| anyhow::anyhow!("{e:#}"))?;
            ensure!((4..*objects).contains(&left), "{centre}: of {objects} versions {left} are left");
            Ok(())
        })?;
    }
    for centre in CENTRES {
        restic(&system, centre, &["check", "--read-data"])?;
    }

    // What remains is whole, the held one too; and what is gone elsewhere is still at the remote centre.
    drill(&system, "of-the-held", "same-city", &points[1])?;
    drill(&system, "of-the-first", "remote", &points[0])?;

    // A new point is copied into a vault that has less than its source, and pushes another out.
    points.push(new_point(&system, 4)?);
    let left = names(points[3..].iter().chain([&held]));
    for centre in WITH_RULES {
        await_points(&system, centre, &left)?;
    }
    // A hold that came from production stays here when production takes it off.
    annotate(&system, "production", &points[1], &format!("{HOLD}-"))?;
    await_points(&system, "production", &names(&points[3..]))?;
    await_points(&system, "same-city", &left)?;
    annotate(&system, "same-city", &points[1], &format!("{HOLD}-"))?;
    await_points(&system, "same-city", &names(&points[3..]))?;
    for centre in CENTRES {
        restic(&system, centre, &["check", "--read-data"])?;
    }
    Ok(())
}

/// The volume is filled anew, and one object of the bucket overwritten.
fn new_point(system: &System<'_>, round: u32) -> Result<String> {
    fill_volume(system, 3, 1_000_000)?;
    let (store, bucket) = (system.store("production")?, system.bucket());
    store.block_on(async |s3| {
        let body = format!("round {round}").into_bytes();
        s3.put_object().bucket(&bucket).key("ledger").body(body.into()).send().await?;
        Ok(())
    })?;
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;
    Ok(point)
}

fn names<'p>(points: impl IntoIterator<Item = &'p String>) -> BTreeSet<String> {
    points.into_iter().cloned().collect()
}

fn annotate(system: &System<'_>, centre: &str, point: &str, annotation: &str) -> Result<()> {
    let namespace = system.namespace();
    let object = format!("recoverypoint/{point}");
    system.at.kubectl(centre)?.run(&["-n", &namespace, "annotate", &object, annotation]).map(drop)
}

fn await_held(system: &System<'_>, centre: &str, point: &str) -> Result<()> {
    let (namespace, object) = (system.namespace(), format!("recoverypoint/{point}"));
    let words = ["-n", namespace.as_str(), object.as_str()];
    system.at.kubectl(centre)?.until("the hold to come from production", PATIENCE, &words, |seen| {
        let annotations = &seen["metadata"]["annotations"];
        ensure!(annotations[HOLD] == "case 12", "{annotations}");
        Ok(())
    })
}

/// Bytes of all packs.
fn size(system: &System<'_>, centre: &str) -> Result<u64> {
    let packs = format!("{}/data/", repository(system)?);
    Ok(in_vault(system, centre, &packs)?.values().sum())
}

/// Versions that the replica bucket keeps of the system's objects.
fn versions(system: &System<'_>, centre: &str) -> Result<usize> {
    let (store, prefix) = (system.store(centre)?, format!("{}/", system.namespace()));
    store.block_on(async |s3| {
        let listed = s3.list_object_versions().bucket("tripod-vault-replica").prefix(&prefix).send().await?;
        Ok(listed.versions().len())
    })
}

fn drill(system: &System<'_>, name: &str, centre: &str, point: &str) -> Result<()> {
    let kubectl = system.start_drill(name, centre, Some(point), &json!([]))?;
    system.await_drill(&kubectl, name, PATIENCE)?;
    nothing_left(system, &kubectl, centre)
}
