//! Whoever has got hold of production's credentials covers or deletes all that its vault has. What was proved is locked there: it
//! is not gone, and comes back by itself.

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::system::System;

use crate::fixture::{PATIENCE, fill_volume, protect, restic, system};

const VAULT: &str = "tripod-vault";
const REPLICA: &str = "tripod-vault-replica";

#[test]
fn what_is_locked_outlives_whoever_has_the_credentials() -> Result<()> {
    let system = system("locked")?;
    fill_volume(&system, 4, 100_000)?;
    system.fill_bucket(&[("register".into(), b"of births".to_vec()), ("map/1".into(), vec![7; 10_000])])?;
    protect(&system, &json!({"include": {"buckets": [system.bucket()]}}))?;
    let kubectl = system.production()?;
    let _locks = Locks::on(&kubectl)?;
    kubectl.wait("centre/production", None, "ObjectLock", PATIENCE)?;
    let point = system.back_up()?;
    let namespace = system.namespace();
    let object = format!("recoverypoint/{point}");
    let words = ["-n", &namespace, &object];
    let until = kubectl.until("the point to be locked", PATIENCE, &words, |seen| {
        let copy = at_production(seen).context("nothing is said of production")?;
        let until = copy["lockedUntil"].as_str().with_context(|| copy.to_string())?;
        Ok(until.to_owned())
    })?;
    ensure!(until.ends_with("T00:00:00Z"), "{until}");

    attack(&system)?;
    kubectl.until("the point to be brought back", PATIENCE, &words, |seen| {
        let copy = at_production(seen).context("nothing is said of production")?;
        let mended = copy["mended"].as_str().unwrap_or_default();
        ensure!(
            seen["status"]["here"] == "Verified" && mended.contains("its own locked versions"),
            "{}; {copy}",
            described(seen, "Verified")
        );
        Ok(())
    })?;
    restic(&system, "production", &["check", "--read-data"])?;
    let events = kubectl.run(&["-n", &namespace, "get", "events", "-o", "jsonpath={.items[*].reason}"])?;
    ensure!(events.contains("Recalled"), "nobody was told: {events}");
    Ok(())
}

/// With all rights that the operator itself has at its store.
fn attack(system: &System<'_>) -> Result<()> {
    let store = system.store("production")?;
    let namespace = system.namespace();
    let below = [format!("systems/{namespace}/"), format!("copies/{namespace}/")];
    store.block_on(async |s3| {
        let mut refused = 0;
        for prefix in &below {
            refused += destroy(&s3, VAULT, prefix).await?;
            for key in keys(&s3, VAULT, prefix).await? {
                if key.contains("/restic/") && key.contains("/data/") {
                    s3.put_object().bucket(VAULT).key(key).body(b"pay".to_vec().into()).send().await?;
                } else {
                    s3.delete_object().bucket(VAULT).key(key).send().await?;
                }
            }
        }
        // Config, key, two snapshots, packs of each, manifest, parts, inventory.
        ensure!(refused >= 10, "only {refused} versions could not be deleted");
        let refused = destroy(&s3, REPLICA, &format!("{namespace}/")).await?;
        ensure!(refused == 2, "of the bucket's objects {refused} could not be deleted");
        Ok(())
    })
}

/// Deletes every version for good that the store lets go of; how many it does not.
async fn destroy(s3: &Client, bucket: &str, prefix: &str) -> Result<usize> {
    let listed = s3.list_object_versions().bucket(bucket).prefix(prefix).send().await?;
    let mut refused = 0;
    for version in listed.versions() {
        let request = s3.delete_object().bucket(bucket).set_key(version.key().map(str::to_owned));
        let sent = request.set_version_id(version.version_id().map(str::to_owned)).send().await;
        refused += usize::from(sent.is_err());
    }
    Ok(refused)
}

async fn keys(s3: &Client, bucket: &str, prefix: &str) -> Result<Vec<String>> {
    let listed = s3.list_objects_v2().bucket(bucket).prefix(prefix).send().await?;
    Ok(listed.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect())
}

fn at_production(point: &Value) -> Option<&Value> {
    point["status"]["centres"].as_array()?.iter().find(|copy| copy["centre"] == "production")
}

/// While it lives, what is proved at production is locked, and proved again every ten seconds.
struct Locks<'a>(&'a Kubectl);

impl<'a> Locks<'a> {
    fn on(kubectl: &'a Kubectl) -> Result<Self> {
        patch(kubectl, &json!({"objectLockDays": 1, "verifyIntervalSeconds": 10}))?;
        Ok(Self(kubectl))
    }
}

impl Drop for Locks<'_> {
    fn drop(&mut self) {
        if let Err(error) = patch(self.0, &json!({"objectLockDays": null, "verifyIntervalSeconds": 600})) {
            eprintln!("the centre could not be set back: {error:#}");
        }
    }
}

fn patch(kubectl: &Kubectl, spec: &Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    kubectl.run(&["patch", "centre/production", "--type=merge", "-p", &patch]).map(drop)
}
