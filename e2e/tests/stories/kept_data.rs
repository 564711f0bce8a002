//! Objects are deleted; the data that nobody asked to delete stays.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::fixture::{CENTRES, PATIENCE, fill_volume, in_vault, protect, repository, restic, system};
use crate::tenancy::refused;

#[test]
fn deleting_objects_deletes_no_data() -> Result<()> {
    let system = system("leaving")?;
    fill_volume(&system, 5, 20_000)?;
    protect(&system, &json!({}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;
    let (kubectl, namespace) = (system.production()?, system.namespace());
    let volume = kubectl.get(&["-n", &namespace, "pvc/bulk"])?["spec"]["volumeName"].clone();
    let packs = format!("{}/data/", repository(&system)?);
    let packs_at = |centre: &str| anyhow::Ok(in_vault(&system, centre, &packs)?.len());
    let before = CENTRES.iter().map(|centre| packs_at(centre)).collect::<Result<Vec<usize>>>()?;

    kubectl.run(&["-n", &namespace, "delete", "backuppolicy/registration", "--timeout=60s"])?;
    for centre in CENTRES {
        let there = system.at.kubectl(centre)?;
        there.run(&["-n", &namespace, "delete", &format!("recoverypoint/{point}"), "--timeout=60s"])?;
        let delete = ["delete", "department/leaving", "--timeout=60s"];
        refused(there.run(&delete), "a department with a system", "tripod.cloud/on-delete")?;
        there.run(&["annotate", "department/leaving", "tripod.cloud/on-delete=Keep"])?;
        there.run(&delete)?;
    }
    // Made known again by the next look at the vaults, if at all; never taken from them.
    for (centre, packs_before) in CENTRES.iter().zip(before) {
        ensure!(packs_before > 0 && packs_at(centre)? == packs_before, "packs are gone at {centre}");
        let manifest = format!("systems/{namespace}/points/{point}/manifest.json");
        ensure!(!in_vault(&system, centre, &manifest)?.is_empty(), "the point is gone at {centre}");
        restic(&system, centre, &["check", "--read-data"])?;
        ensure!(
            system.at.kubectl(centre)?.exists(&[&format!("namespace/{namespace}")])?,
            "the namespace is gone at {centre}"
        );
    }
    let folder = system.at.lab.data().join("production/volumes").join(volume.as_str().unwrap_or_default());
    ensure!(std::fs::read_dir(&folder)?.count() >= 5, "files of the volume are gone");
    Ok(())
}
