//! Whoever holds production destroys all it can reach. The copies at the other centres stay, and are restored.

use anyhow::{Result, bail, ensure};
use serde_json::json;

use crate::fixture::{CENTRES, PATIENCE, fill_volume, nothing_left, protect, system};

#[test]
fn what_is_destroyed_at_production_is_restored_elsewhere() -> Result<()> {
    let system = system("burnt")?;
    fill_volume(&system, 20, 20_000)?;
    system.fill_bucket(&[("register".into(), b"of births".to_vec()), ("map/1".into(), vec![7; 10_000])])?;
    protect(&system, &json!({"include": {"buckets": [system.bucket()]}}))?;
    let point = system.back_up()?;
    system.await_verified(&point, &CENTRES, PATIENCE)?;

    // With all that production has: it writes its own store, and only reads the others.
    let own = system.store("production")?;
    let prefixes = [
        ("tripod-vault", format!("systems/{}/", system.namespace())),
        ("tripod-vault-replica", format!("{}/", system.namespace())),
    ];
    for (bucket, prefix) in &prefixes {
        ensure!(
            destroy(&own, &own.operator, bucket, prefix)? > 0,
            "production could not destroy {bucket}/{prefix}"
        );
    }
    for centre in ["same-city", "remote"] {
        let store = system.store(centre)?;
        for (bucket, prefix) in &prefixes {
            match destroy(&store, &store.reader, bucket, prefix) {
                Err(error) if format!("{error:?}").contains("AccessDenied") => {}
                other => bail!("the credentials for reading {centre} destroyed {bucket}: {other:?}"),
            }
        }
    }

    for centre in ["same-city", "remote"] {
        let kubectl = system.start_drill("after-the-fire", centre, Some(&point), &json!([]))?;
        let drill = system.await_drill(&kubectl, "after-the-fire", PATIENCE)?;
        ensure!(
            drill["status"]["checks"].as_array().is_some_and(|c| c.len() == 2),
            "{}",
            drill["status"]["checks"]
        );
        nothing_left(&system, &kubectl, centre)?;
    }
    Ok(())
}

/// Deletes all versions under a prefix; how many.
fn destroy(
    store: &tripod_e2e::lab::store::Store,
    account: &tripod_e2e::lab::store::Credentials,
    bucket: &str,
    prefix: &str,
) -> Result<usize> {
    let s3 = store.client(account)?;
    store.block_on(async |_| {
        let listed = s3.list_object_versions().bucket(bucket).prefix(prefix).send().await?;
        let plain = s3.list_objects_v2().bucket(bucket).prefix(prefix).send().await?;
        let mut gone = 0;
        for version in listed.versions() {
            let request = s3.delete_object().bucket(bucket).set_key(version.key().map(str::to_owned));
            request.set_version_id(version.version_id().map(str::to_owned)).send().await?;
            gone += 1;
        }
        for object in plain.contents() {
            s3.delete_object().bucket(bucket).set_key(object.key().map(str::to_owned)).send().await?;
            gone += 1;
        }
        Ok(gone)
    })
}
