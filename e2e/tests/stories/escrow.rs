//! Every operator and every cluster is gone. What is left is one centre's store, and the key that somebody kept in a safe:
//! with these, `age` and `restic`, the system's files and objects come back.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::lab::command::output;
use tripod_e2e::system::System;

use crate::fixture::{CENTRES, PATIENCE, fill_volume, in_vault, protect, system};

#[test]
fn a_system_is_restored_without_any_operator() -> Result<()> {
    let system = system("escrow")?;
    fill_volume(&system, 30, 30_000)?;
    let note = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "desk", "namespace": system.namespace()}, "data": {"HOURS": "9-17"}});
    system.production()?.apply(&note.to_string())?;
    protect(&system, &json!({}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("escrow");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let key = folder.join("safe.txt");
    output(Command::new("age-keygen").arg("-o").arg(&key))?;
    let recipient = output(Command::new("age-keygen").arg("-y").arg(&key))?.trim().to_owned();
    let remote = system.at.kubectl("remote")?;
    let _wanted = Wanted::of(&remote, &recipient)?;
    remote.until("the keys to be wrapped", PATIENCE, &["centre/remote"], |centre| {
        let escrowed = described(centre, "Escrowed");
        ensure!(escrowed.starts_with("Escrowed=True"), "{escrowed}");
        Ok(())
    })?;
    restore_by_hand(&system, &folder, &key)?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// With nothing but the store of the remote centre, as one who may only read it, and the key.
fn restore_by_hand(system: &System<'_>, folder: &Path, key: &Path) -> Result<()> {
    let (store, namespace) = (system.store("remote")?, system.namespace());
    let reader = store.client(&store.reader)?;
    let within = format!("systems/{namespace}/escrow/");
    let there = in_vault(system, "remote", &within)?;
    let name = there.keys().find_map(|key| key.strip_prefix(&within)?.strip_suffix(".age"));
    let name = name.context("nothing is wrapped")?;
    let at = format!("{within}{name}.age");
    let wrapped = store.block_on(async |_| {
        let object = reader.get_object().bucket(&store.bucket).key(&at).send().await?;
        Ok(object.body.collect().await?.into_bytes())
    })?;
    let file = folder.join("escrow.age");
    std::fs::write(&file, &wrapped)?;
    let repository = format!("s3:{}/{}/systems/{namespace}/restic/{name}", store.endpoint, store.bucket);
    let unwrap = format!("age -d -i {} {}", key.display(), file.display());
    let target = folder.join("restored");
    // Each restore names its path: a point has a snapshot for its objects and one for each volume.
    for path in ["/volumes/bulk", "/objects"] {
        output(
            Command::new("restic")
                .env("AWS_ACCESS_KEY_ID", &store.reader.access_key_id)
                .env("AWS_SECRET_ACCESS_KEY", &store.reader.secret_access_key)
                .env("RESTIC_PASSWORD_COMMAND", &unwrap)
                .args([
                    "-r",
                    &repository,
                    "--no-lock",
                    "--no-cache",
                    "-q",
                    "restore",
                    "latest",
                    "--path",
                    path,
                ])
                .arg("--target")
                .arg(&target),
        )?;
    }
    output(Command::new("diff").arg("-r").arg(original(system)?).arg(target.join("volumes/bulk")))?;
    let desk = std::fs::read_to_string(target.join("objects/configmaps/desk.json"))?;
    ensure!(desk.contains("9-17"), "{desk}");
    // Another key opens nothing.
    let other = folder.join("other.txt");
    output(Command::new("age-keygen").arg("-o").arg(&other))?;
    let refused = Command::new("age").arg("-d").arg("-i").arg(&other).arg(&file).output()?;
    ensure!(!refused.status.success(), "a key that is not a recipient's opened it");
    Ok(())
}

fn original(system: &System<'_>) -> Result<PathBuf> {
    let claim = system.production()?.get(&["-n", &system.namespace(), "pvc/bulk"])?;
    let volume = claim["spec"]["volumeName"].as_str().context("the claim has no volume")?;
    Ok(system.at.lab.data().join("production/volumes").join(volume))
}

/// While it lives, the remote centre wraps keys for the recipient.
struct Wanted<'a>(&'a Kubectl);

impl<'a> Wanted<'a> {
    fn of(kubectl: &'a Kubectl, recipient: &str) -> Result<Self> {
        set(kubectl, &[recipient])?;
        Ok(Self(kubectl))
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        if let Err(error) = set(self.0, &[]) {
            eprintln!("the recipients could not be taken back: {error:#}");
        }
    }
}

fn set(kubectl: &Kubectl, recipients: &[&str]) -> Result<()> {
    let patch = json!({"spec": {"escrowRecipients": recipients}}).to_string();
    kubectl.run(&["patch", "centre/remote", "--type=merge", "-p", &patch]).map(drop)
}
