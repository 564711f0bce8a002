//! A master key is replaced by another one. Points of both are proved and restored while both are given; one that is taken out
//! too early is missed, and said; and the repository of the old one goes with its last point.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::described;
use tripod_e2e::lab::command::wait_for;
use tripod_e2e::system::System;

use crate::fixture::{
    AtOnce, CENTRES, PATIENCE, await_points, derived, fill_volume, in_vault, nothing_left, protect,
    restic_with, system,
};
use crate::tenancy::{Person, refused};

#[test]
fn a_master_key_is_replaced() -> Result<()> {
    let system = system("keys")?;
    let keys = Keys::new(&system)?;
    fill_volume(&system, 8, 50_000)?;
    protect(&system, &json!({}))?;
    let first = new_point(&system)?;

    // Every centre learns of the new key before any makes points with it.
    for centre in CENTRES {
        keys.give(centre, &[("key", &keys.old), ("next", &keys.new)])?;
    }
    for centre in CENTRES {
        keys.give(centre, &[("key", &keys.new), ("before", &keys.old)])?;
    }
    let second = new_point(&system)?;
    for centre in CENTRES {
        for key in [&keys.old, &keys.new] {
            restic_with(&system, centre, key, &["check", "--read-data"])?;
        }
    }
    both_can_be_read(&system, &first, &second)?;
    missed_when_taken_out(&system, &keys, &first)?;

    let _delay = AtOnce::prune(&system, "production")?;
    protect(&system, &json!({"retention": {"keepLast": 1}}))?;
    await_points(&system, "production", &BTreeSet::from([second]))?;
    let repositories = format!("systems/{}/restic/", system.namespace());
    wait_for("the old repository to go", PATIENCE, || {
        let there = in_vault(&system, "production", &repositories)?;
        let left: BTreeSet<&str> =
            there.keys().filter_map(|key| key.strip_prefix(&repositories)?.split('/').next()).collect();
        ensure!(left.len() == 1 && left.contains(keys.id(&keys.new)?.as_str()), "{left:?}");
        Ok(())
    })
}

fn new_point(system: &System<'_>) -> Result<String> {
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;
    Ok(point)
}

/// By a drill of the old one, which passes the mover's gateway too; and by looking into each. They can't be compared.
fn both_can_be_read(system: &System<'_>, first: &str, second: &str) -> Result<()> {
    let kubectl = system.start_drill("of-the-old-key", "remote", Some(first), &json!([]))?;
    system.await_drill(&kubectl, "of-the-old-key", PATIENCE)?;
    nothing_left(system, &kubectl, "remote")?;
    let admin = Person::admin_of("keys")?;
    let namespace = system.namespace();
    for point in [first, second] {
        let listed = admin.tripod(&["browse", point, "volumes/bulk", "-n", &namespace])?;
        ensure!(listed.contains("volumes/bulk/"), "{listed}");
    }
    let compared = admin.tripod(&["diff", first, second, "-n", &namespace]);
    refused(compared, "a comparison of two repositories", "can't be compared")
}

/// The remote centre has pulled both points, and loses the key of the first.
fn missed_when_taken_out(system: &System<'_>, keys: &Keys<'_>, first: &str) -> Result<()> {
    let remote = system.at.kubectl("remote")?;
    let old = keys.id(&keys.old)?;
    keys.put("remote", &[("key", &keys.new)])?;
    remote.until("the key to be missed", PATIENCE, &["centre/remote"], |centre| {
        let told = described(centre, "KeysGiven");
        ensure!(told.starts_with("KeysGiven=False") && told.contains(&old), "{told}");
        Ok(())
    })?;
    let namespace = system.namespace();
    let question = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Inspection",
        "metadata": {"name": "without-key", "namespace": namespace}, "spec": {"recoveryPoint": first, "path": "volumes/bulk"}});
    remote.apply(&question.to_string())?;
    remote.until(
        "the look to be refused",
        PATIENCE,
        &["-n", &namespace, "inspection/without-key"],
        |seen| {
            let told = described(seen, "Ready");
            ensure!(told.contains("master key that this operator is not given"), "{told}");
            Ok(())
        },
    )?;
    remote.run(&["-n", &namespace, "delete", "inspection/without-key"])?;
    keys.give("remote", &[("key", &keys.new), ("before", &keys.old)])
}

/// The lab's master key and another one. In the end all is as before, and the other one is given still: a system that was
/// backed up meanwhile needs it.
struct Keys<'s> {
    system: &'s System<'s>,
    old: PathBuf,
    new: PathBuf,
}

impl<'s> Keys<'s> {
    fn new(system: &'s System<'s>) -> Result<Self> {
        let new = system.at.lab.data().join("tripod-vault.next.key");
        // The same in every run on this lab.
        std::fs::write(&new, "another master key, of this lab only, and long enough")?;
        Ok(Self { system, old: system.at.vault_key()?, new })
    }

    fn id(&self, key: &Path) -> Result<String> {
        let repository = derived(self.system, key, "vault-repository")?;
        Ok(repository.rsplit('/').next().context("no name")?.to_owned())
    }

    fn put(&self, centre: &str, entries: &[(&str, &PathBuf)]) -> Result<()> {
        let mut data = json!({});
        for (entry, key) in entries {
            data[*entry] = json!(std::fs::read_to_string(key)?);
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": data,
            "metadata": {"name": "tripod-vault-key", "namespace": "tripod-system"}});
        let kubectl = self.system.at.kubectl(centre)?;
        kubectl.with_input(&["replace", "-f", "-"], &secret.to_string()).map(drop)
    }

    /// And waits until its Centre tells of them, none missing.
    fn give(&self, centre: &str, entries: &[(&str, &PathBuf)]) -> Result<()> {
        self.put(centre, entries)?;
        let current = self.id(entries[0].1)?;
        let object = format!("centre/{centre}");
        self.system.at.kubectl(centre)?.until("the keys to be known", PATIENCE, &[&object], |seen| {
            let keys = seen["status"]["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
            let given: Vec<&Value> = keys.iter().filter(|key| key["given"] == true).collect();
            let is_current = given.iter().any(|key| key["current"] == true && key["id"] == current.as_str());
            let told = described(seen, "KeysGiven");
            ensure!(
                is_current && given.len() == entries.len() && told.starts_with("KeysGiven=True"),
                "{told}"
            );
            Ok(())
        })
    }
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        for centre in CENTRES {
            if let Err(error) = self.put(centre, &[("key", &self.old), ("other", &self.new)]) {
                eprintln!("the master key could not be set back at {centre}: {error:#}");
            }
        }
    }
}
