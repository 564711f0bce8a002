//! A department's bucket is kept in step at two other centres: what is written, overwritten and deleted at production
//! arrives, what was changed at a copy is put right, and what nobody may copy is refused with its reason.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Tag, Tagging};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, condition, described};
use tripod_e2e::lab::command::wait_for;
use tripod_e2e::lab::store::Store;
use tripod_e2e::system::System;

use crate::fixture::{CENTRES, PATIENCE, metrics, system};

const OBJECTS: usize = 300;
const ODD: [&str; 7] = [
    "目录/文件.txt",
    "with a space/and another .txt",
    "100%/of%20it",
    "plus+and=equals",
    "quotes'\"",
    "a&b<c>?d#e",
    "~tilde/(brackets)[1]",
];

#[test]
fn a_bucket_is_kept_in_step() -> Result<()> {
    let system = system("archive")?;
    let pair = Pair::anew(&system)?;
    seed(&pair.source)?;
    let spec = json!({"source": {"centre": "production", "bucket": pair.bucket}, "pollInterval": "10s", "rpo": "5m",
        "targets": [{"centre": "same-city"}, {"centre": "remote"}], "deletes": {"policy": "Mirror", "most": 20}});
    pair.apply("files", &spec)?;
    for centre in ["same-city", "remote"] {
        let seen = pair.until(centre, "files", is_in_sync)?;
        let target = &seen["status"]["targets"][0];
        ensure!(target["centre"] == centre && target["lagSeconds"] == 0, "{target}");
        ensure!(target["lastRun"]["copied"] == OBJECTS + ODD.len() + 1, "{target}");
        pair.is_alike(centre)?;
    }
    pair.until("production", "files", |seen| reason(seen, "Ready", "ServedElsewhere"))?;
    nothing_is_written_at_rest(&pair)?;
    changes_arrive(&pair)?;
    tampering_is_put_right(&pair)?;
    an_emptied_source_empties_nothing(&pair, &spec)?;
    a_ring_is_refused(&pair)?;
    an_object_is_deleted_and_its_data_is_not(&pair, &spec)
}

#[test]
fn what_nobody_may_copy_is_refused() -> Result<()> {
    let system = system("archive")?;
    let pair = Pair::anew(&system)?;
    put(&pair.source, "a", b"1", &[])?;
    let at = system.store("same-city")?;
    let (untagged, full) = (format!("{}-untagged", pair.bucket), format!("{}-full", pair.bucket));
    let spec = |bucket: &str, target: &str| json!({"source": {"centre": "production", "bucket": bucket}, "targets": [{"centre": "same-city", "bucket": target}]});
    let production = system.store("production")?;
    readable(&production, &untagged)?;
    make(&at, &untagged)?;
    make(&at, &full)?;
    tag(&at, &full, &system.namespace())?;
    put(&Place { store: at, bucket: full.clone() }, "already/here", b"2", &[])?;
    for (name, spec, expected, words) in [
        (
            "untagged",
            spec(&untagged, "archive-nowhere"),
            "SourceNotOwned",
            ["tripod.cloud/system=archive-registration", &untagged],
        ),
        (
            "not-ours",
            spec(&pair.bucket, &untagged),
            "TargetNotOwned",
            ["tripod.cloud/system=archive-registration", &untagged],
        ),
        ("full", spec(&pair.bucket, &full), "TargetNotEmpty", ["already/here", &full]),
        (
            "vault",
            spec(&pair.bucket, "tripod-vault"),
            "BucketReserved",
            ["spec.targets[0].bucket", "tripod-vault"],
        ),
    ] {
        pair.apply(name, &spec)?;
        pair.until("same-city", name, |seen| {
            reason(seen, "Ready", expected)?;
            let said = described(seen, "Ready");
            ensure!(words.iter().all(|word| said.contains(word)), "{said}");
            ensure!(condition(seen, "InSync").is_some_and(|c| c["status"] == "Unknown"), "{said}");
            ensure!(seen["status"]["targets"][0]["lagSeconds"].is_null(), "a lag without a reading");
            Ok(())
        })?;
        if name != "full" {
            pair.delete(name)?;
        }
    }
    // Who means it says so, and what only the target has stays.
    let mut spec = spec(&pair.bucket, &full);
    spec["adopt"] = json!(true);
    pair.apply("full", &spec)?;
    pair.until("same-city", "full", |seen| {
        is_in_sync(seen)?;
        ensure!(seen["status"]["targets"][0]["lastRun"]["foreign"] == 1, "{}", seen["status"]);
        Ok(())
    })?;
    pair.delete("full")
}

/// A tagged bucket at production with a name of its own, and its system in all clusters.
pub(crate) struct Pair<'a> {
    pub(crate) system: &'a System<'a>,
    pub(crate) bucket: String,
    pub(crate) source: Place,
}

pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) bucket: String,
}

impl<'a> Pair<'a> {
    pub(crate) fn anew(system: &'a System<'a>) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let bucket = format!("archive-{now}");
        let store = system.store("production")?;
        readable(&store, &bucket)?;
        tag(&store, &bucket, &system.namespace())?;
        let pair = Self { system, source: Place { store, bucket: bucket.clone() }, bucket };
        // What an earlier run has left.
        ["files", "back", "untagged", "not-ours", "full", "vault", "events"]
            .iter()
            .try_for_each(|name| pair.delete(name))?;
        Ok(pair)
    }

    pub fn at(&self, centre: &str) -> Result<Place> {
        Ok(Place { store: self.system.store(centre)?, bucket: self.bucket.clone() })
    }

    pub(crate) fn kubectl(&self, centre: &str) -> Result<Kubectl> {
        self.system.at.kubectl(self.system.at.server_of(centre))
    }

    pub(crate) fn apply(&self, name: &str, spec: &Value) -> Result<()> {
        let object = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "BucketReplication",
            "metadata": {"name": name, "namespace": self.system.namespace()}, "spec": spec});
        CENTRES.iter().try_for_each(|centre| self.kubectl(centre)?.apply(&object.to_string()).map(drop))
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        let words =
            ["-n", &self.system.namespace(), "delete", "br", name, "--ignore-not-found", "--timeout=30s"];
        CENTRES.iter().try_for_each(|centre| self.kubectl(centre)?.run(&words).map(drop))
    }

    pub(crate) fn until(
        &self,
        centre: &str,
        name: &str,
        wanted: impl Fn(&Value) -> Result<()>,
    ) -> Result<Value> {
        let words = ["-n", &self.system.namespace(), &format!("br/{name}")];
        self.kubectl(centre)?.until(&format!("replication {name}"), PATIENCE, &words, |seen| {
            wanted(seen).map(|()| seen.clone()).with_context(|| seen["status"].to_string())
        })
    }

    /// Asks for a run of everything at a centre.
    pub(crate) fn run_now(&self, centre: &str, name: &str) -> Result<()> {
        let token = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let (object, token) = (format!("br/{name}"), format!("tripod.cloud/run={token}"));
        let words = ["-n", &self.system.namespace(), "annotate", "--overwrite", &object, &token];
        self.kubectl(centre)?.run(&words).map(drop)
    }

    /// Keys, contents and everything that is said of them are the same.
    pub(crate) fn is_alike(&self, centre: &str) -> Result<()> {
        let (source, target) = (contents(&self.source)?, contents(&self.at(centre)?)?);
        let differs = |key: &&String| source.get(*key) != target.get(*key);
        let wrong: Vec<_> = source.keys().chain(target.keys()).filter(differs).take(5).collect();
        ensure!(wrong.is_empty(), "at {centre} {wrong:?} are not as at production");
        Ok(())
    }

    fn becomes_alike(&self) -> Result<()> {
        ["same-city", "remote"].iter().try_for_each(|centre| {
            wait_for(&format!("{centre} to be like production"), PATIENCE, || self.is_alike(centre))
        })
    }
}

pub(crate) fn is_in_sync(seen: &Value) -> Result<()> {
    ensure!(
        condition(seen, "InSync").is_some_and(|c| c["status"] == "True"),
        "{}",
        described(seen, "InSync")
    );
    ensure!(condition(seen, "Ready").is_some_and(|c| c["status"] == "True"), "{}", described(seen, "Ready"));
    Ok(())
}

fn reason(seen: &Value, kind: &str, expected: &str) -> Result<()> {
    ensure!(condition(seen, kind).is_some_and(|c| c["reason"] == expected), "{}", described(seen, kind));
    Ok(())
}

/// Invariant 9, over more than two looks at the source.
fn nothing_is_written_at_rest(pair: &Pair<'_>) -> Result<()> {
    let words = ["-n", &pair.system.namespace(), "br/files"];
    let version = || -> Result<Value> {
        Ok(pair.kubectl("same-city")?.get(&words)?["metadata"]["resourceVersion"].clone())
    };
    let before = version()?;
    std::thread::sleep(std::time::Duration::from_secs(25));
    ensure!(version()? == before, "written at rest");
    Ok(())
}

fn changes_arrive(pair: &Pair<'_>) -> Result<()> {
    // Of the same size: neither length nor name tells.
    put(&pair.source, "scans/1/1.txt", "scan 9 扫描\n".repeat(2).as_bytes(), &[("owner", "li")])?;
    put(&pair.source, "new/目录", b"new", &[])?;
    remove(&pair.source, &["scans/2/2.txt", ODD[0], "large.bin"])?;
    pair.becomes_alike()?;
    ensure!(!contents(&pair.at("same-city")?)?.contains_key("large.bin"), "what was deleted is there");
    Ok(())
}

fn tampering_is_put_right(pair: &Pair<'_>) -> Result<()> {
    let replica = pair.at("same-city")?;
    put(&replica, "scans/3/3.txt", "scan X 扫描\n".repeat(4).as_bytes(), &[])?;
    pair.until("same-city", "files", |seen| {
        ensure!(seen["status"]["targets"][0]["lastRun"]["drifted"] == 1, "not noticed");
        Ok(())
    })?;
    pair.is_alike("same-city")?;
    let metrics = metrics(&pair.kubectl("same-city")?)?;
    let labels = format!(
        "{{namespace=\"{}\",name=\"files\",source=\"production\",target=\"same-city\"}}",
        pair.system.namespace()
    );
    for series in ["drifted_objects_total", "lag_seconds", "pending_objects", "pending_bytes"] {
        let expected =
            format!("tripod_replication_{series}{labels} {}", i32::from(series.starts_with("drifted")));
        ensure!(metrics.lines().any(|line| line == expected), "no {expected}");
    }
    Ok(())
}

/// More deletions than are allowed are held back, and made when somebody says so.
fn an_emptied_source_empties_nothing(pair: &Pair<'_>, spec: &Value) -> Result<()> {
    let before = contents(&pair.at("same-city")?)?.len();
    let keys: Vec<String> = (100..130).map(|n| format!("scans/{}/{n}.txt", n % 7)).collect();
    remove(&pair.source, &keys.iter().map(String::as_str).collect::<Vec<_>>())?;
    pair.until("same-city", "files", |seen| reason(seen, "Ready", "DeletesHeldBack"))?;
    ensure!(contents(&pair.at("same-city")?)?.len() == before, "deleted all the same");
    let mut spec = spec.clone();
    spec["deletes"]["most"] = json!(100);
    pair.apply("files", &spec)?;
    pair.becomes_alike()?;
    pair.until("same-city", "files", is_in_sync).map(drop)
}

/// What is a replica of a bucket is no source for it.
fn a_ring_is_refused(pair: &Pair<'_>) -> Result<()> {
    readable(&pair.system.store("same-city")?, &pair.bucket)?;
    let back = json!({"source": {"centre": "same-city", "bucket": pair.bucket}, "targets": [{"centre": "production"}]});
    pair.apply("back", &back)?;
    pair.until("production", "back", |seen| reason(seen, "Ready", "Loop"))?;
    pair.delete("back")
}

/// Invariant 10; and the same object made again goes on, without being told to adopt anything.
fn an_object_is_deleted_and_its_data_is_not(pair: &Pair<'_>, spec: &Value) -> Result<()> {
    pair.delete("files")?;
    put(&pair.source, "after", b"the end", &[])?;
    std::thread::sleep(std::time::Duration::from_secs(15));
    let there = contents(&pair.at("remote")?)?;
    ensure!(there.len() > OBJECTS / 2 && !there.contains_key("after"), "{} objects", there.len());
    pair.apply("files", spec)?;
    pair.becomes_alike()?;
    pair.until("remote", "files", is_in_sync)?;
    pair.delete("files")
}

fn seed(source: &Place) -> Result<()> {
    for n in 0..OBJECTS {
        let body = format!("scan {n} 扫描\n").repeat(n + 1);
        put(source, &format!("scans/{}/{n}.txt", n % 7), body.as_bytes(), &[("owner", "zhang")])?;
    }
    for key in ODD {
        put(source, key, key.as_bytes(), &[("of", "odd")])?;
    }
    in_parts(source, "large.bin")
}

pub fn put(at: &Place, key: &str, body: &[u8], metadata: &[(&str, &str)]) -> Result<()> {
    at.store.block_on(async |s3| {
        let mut request =
            s3.put_object().bucket(&at.bucket).key(key).content_type("text/plain; charset=utf-8");
        for (name, value) in metadata {
            request = request.metadata(*name, *value);
        }
        request.body(ByteStream::from(body.to_vec())).send().await.with_context(|| key.to_owned())?;
        Ok(())
    })
}

fn in_parts(at: &Place, key: &str) -> Result<()> {
    at.store.block_on(async |s3| {
        let of = || (at.bucket.clone(), key.to_owned());
        let (bucket, name) = of();
        let begun = s3.create_multipart_upload().bucket(bucket).key(name).metadata("parts", "two");
        let begun = begun.content_type("application/x-large").send().await?;
        let upload = begun.upload_id().context("no upload")?;
        let mut parts = CompletedMultipartUpload::builder();
        for (number, bytes) in [(1, vec![7; 6 << 20]), (2, vec![8; 1 << 20])] {
            let (bucket, name) = of();
            let part = s3.upload_part().bucket(bucket).key(name).upload_id(upload).part_number(number);
            let sent = part.body(bytes.into()).send().await?;
            parts = parts.parts(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
        }
        let (bucket, name) = of();
        let whole = s3.complete_multipart_upload().bucket(bucket).key(name).upload_id(upload);
        whole.multipart_upload(parts.build()).send().await?;
        Ok(())
    })
}

pub fn remove(at: &Place, keys: &[&str]) -> Result<()> {
    at.store.block_on(async |s3| {
        for key in keys {
            s3.delete_object()
                .bucket(&at.bucket)
                .key(*key)
                .send()
                .await
                .with_context(|| (*key).to_owned())?;
        }
        Ok(())
    })
}

/// Makes a bucket that the operators of other centres may read, with what is said of it.
fn readable(store: &Store, bucket: &str) -> Result<()> {
    make(store, bucket)?;
    let resources = [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")];
    let reads = [
        "s3:GetObject",
        "s3:GetObjectTagging",
        "s3:ListBucket",
        "s3:GetBucketTagging",
        "s3:GetBucketLocation",
    ];
    let allow = |who: &str, actions: &[&str]| json!({"Effect": "Allow", "Principal": {"AWS": [who]}, "Action": actions, "Resource": resources});
    let policy = json!({"Version": "2012-10-17", "Statement":
        [allow(&store.operator.access_key_id, &["s3:*"]), allow(&store.reader.access_key_id, &reads)]});
    store.block_on(async |s3| {
        s3.put_bucket_policy().bucket(bucket).policy(policy.to_string()).send().await?;
        Ok(())
    })
}

fn make(store: &Store, bucket: &str) -> Result<()> {
    store.block_on(async |s3| {
        if s3.head_bucket().bucket(bucket).send().await.is_err() {
            s3.create_bucket().bucket(bucket).send().await?;
        }
        Ok(())
    })
}

fn tag(store: &Store, bucket: &str, system: &str) -> Result<()> {
    let tag = Tag::builder().key("tripod.cloud/system").value(system).build()?;
    let tags = Tagging::builder().tag_set(tag).build()?;
    store.block_on(async |s3| {
        s3.put_bucket_tagging().bucket(bucket).tagging(tags).send().await?;
        Ok(())
    })
}

/// What is in a bucket: by key, the bytes and what is said of them.
pub type Contents = BTreeMap<String, (Vec<u8>, Option<String>, BTreeMap<String, String>)>;

pub fn contents(at: &Place) -> Result<Contents> {
    at.store.block_on(async |s3| {
        let mut all = Contents::new();
        for key in keys(&s3, &at.bucket).await? {
            let got =
                s3.get_object().bucket(&at.bucket).key(&key).send().await.with_context(|| key.clone())?;
            let metadata = got.metadata.unwrap_or_default().into_iter().collect();
            let bytes = got.body.collect().await?.into_bytes().to_vec();
            all.insert(key, (bytes, got.content_type, metadata));
        }
        Ok(all)
    })
}

pub async fn keys(s3: &Client, bucket: &str) -> Result<Vec<String>> {
    let mut pages = s3.list_objects_v2().bucket(bucket).into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        keys.extend(page?.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
    }
    Ok(keys)
}
