//! `tripod replicate` as people run it, from one make of store to the next and back to the first: what comes round is what
//! went off.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tripod_e2e::lab::layout::Layout;
use tripod_e2e::lab::progress::Progress;
use tripod_e2e::lab::stores::{Make, Server, Stores};

use crate::fixture::given;
use crate::stores::{OwnLab, aws_config};

/// What all makes keep: what they do not is told by the probe.
const KEYS: [&str; 6] = ["a b/c+d", "percent%20%", "目录/文件", "e\u{301}", "<&>'\"", "A"];
const MIB: usize = 1 << 20;

/// A bucket of one of the stores.
struct Place<'a> {
    server: &'a Server,
    bucket: &'static str,
}

impl Place<'_> {
    fn client(&self) -> Client {
        Client::from_conf(aws_config(self.server))
    }

    fn url(&self) -> String {
        format!("s3://{}", self.bucket)
    }
}

/// One object, as far as all makes keep it.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    content: Vec<u8>,
    content_type: Option<String>,
    cache_control: Option<String>,
    metadata: BTreeMap<String, String>,
}

#[test]
fn what_goes_round_comes_back_the_same() -> Result<()> {
    let lab = OwnLab::anew()?;
    let stores = Stores::ensure(&lab.0, &Progress::new(false))?;
    let servers = Make::ALL.map(|make| stores.start(make));
    let [versitygw, garage, ceph] = servers;
    let (versitygw, garage, ceph) = (versitygw?, garage?, ceph?);
    let places = [
        Place { server: &versitygw, bucket: "first" },
        Place { server: &garage, bucket: "second" },
        Place { server: &ceph, bucket: "third" },
        Place { server: &versitygw, bucket: "last" },
    ];
    let state = Layout::new(&lab.0)?.data().join("replicate");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for place in &places {
        runtime.block_on(place.client().create_bucket().bucket(place.bucket).send())?;
    }
    let (first, last) = (&places[0], &places[3]);
    runtime.block_on(fill(first))?;
    round(&places, &state, &[])?;
    alike(&runtime, first, last)?;

    // Overwritten, deleted, and tampered with on the way.
    runtime.block_on(put(first, KEYS[0], vec![7; 100]))?;
    runtime.block_on(first.client().delete_object().bucket(first.bucket).key(KEYS[1]).send())?;
    runtime.block_on(put(&places[2], KEYS[2], vec![6; 66]))?;
    let said = round(&places, &state, &["--delete"])?;
    ensure!(said.contains("had been changed or deleted at the target"), "{said}");
    alike(&runtime, first, last)?;
    ensure!(runtime.block_on(kept(last))?.len() == KEYS.len() + 60, "objects are missing");
    Ok(())
}

/// Each bucket to the next.
fn round(places: &[Place<'_>], state: &Path, more: &[&str]) -> Result<String> {
    let mut said = String::new();
    for (n, pair) in places.windows(2).enumerate() {
        let manifest = state.join(n.to_string());
        let answer = tripod("replicate", pair, &manifest, more)?;
        println!("{} to {}: {}", pair[0].server.endpoint, pair[1].server.endpoint, answer.trim());
        said.push_str(&answer);
        tripod("verify", pair, &manifest, &["--read"])?;
    }
    Ok(said)
}

fn tripod(verb: &str, pair: &[Place<'_>], manifest: &Path, more: &[&str]) -> Result<String> {
    let (from, to) = (&pair[0], &pair[1]);
    let mut command = Command::new(given("TRIPOD_BINARY"));
    for (side, place) in [("SOURCE", from), ("TARGET", to)] {
        command.env(format!("TRIPOD_{side}_ACCESS_KEY_ID"), &place.server.account.access_key_id);
        command.env(format!("TRIPOD_{side}_SECRET_ACCESS_KEY"), &place.server.account.secret_access_key);
    }
    command.args([verb, &from.url(), &to.url(), "--source-endpoint", &from.server.endpoint]);
    command.args(["--target-endpoint", &to.server.endpoint, "--source-region", &from.server.region]);
    command.args(["--target-region", &to.server.region, "--manifest"]).arg(manifest).args(more);
    let output = command.output()?;
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{verb}: {}: {said} {wrong}", output.status);
    Ok(said.into_owned())
}

async fn fill(place: &Place<'_>) -> Result<()> {
    for (n, key) in KEYS.iter().enumerate() {
        put(place, key, vec![u8::try_from(n)?; 5000 * n]).await?;
    }
    for n in 0..60_u8 {
        put(place, &format!("many/{n:03}"), vec![n; 4096]).await?;
    }
    // In parts that are not even.
    let (client, bucket) = (place.client(), place.bucket);
    let upload =
        client.create_multipart_upload().bucket(bucket).key("parts").content_type("x/parts").send().await?;
    let upload = upload.upload_id().context("no upload")?.to_owned();
    let mut parts = Vec::new();
    for (number, size) in (1..).zip([6 * MIB, 5 * MIB, 17]) {
        let body = ByteStream::from(vec![u8::try_from(number)?; size]);
        let part = client.upload_part().bucket(bucket).key("parts").upload_id(&upload).part_number(number);
        let etag = part.body(body).send().await?.e_tag().map(str::to_owned);
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(etag).build());
    }
    let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(bucket).key("parts").upload_id(&upload);
    complete.multipart_upload(whole).send().await?;
    Ok(())
}

async fn put(place: &Place<'_>, key: &str, content: Vec<u8>) -> Result<()> {
    let put = place.client().put_object().bucket(place.bucket).key(key).content_type("x/story");
    let put =
        put.cache_control("max-age=7").metadata("who", "me").metadata("number", content.len().to_string());
    put.body(content.into()).send().await.with_context(|| key.to_owned())?;
    Ok(())
}

fn alike(runtime: &tokio::runtime::Runtime, first: &Place<'_>, last: &Place<'_>) -> Result<()> {
    let (went, came) = (runtime.block_on(kept(first))?, runtime.block_on(kept(last))?);
    ensure!(went.keys().eq(came.keys()), "{:?} went off, {:?} came back", went.keys(), came.keys());
    for (key, wanted) in &went {
        ensure!(came[key] == *wanted, "{key:?} came back as another");
    }
    Ok(())
}

async fn kept(place: &Place<'_>) -> Result<BTreeMap<String, Kept>> {
    let (client, mut all) = (place.client(), BTreeMap::new());
    let listed = client.list_objects_v2().bucket(place.bucket).send().await?;
    for key in listed.contents().iter().filter_map(|object| object.key()) {
        let found = client.get_object().bucket(place.bucket).key(key).send().await?;
        let metadata = found.metadata().into_iter().flatten().map(|(n, v)| (n.clone(), v.clone())).collect();
        let content_type = found.content_type().map(str::to_owned);
        let cache_control = found.cache_control().map(str::to_owned);
        let content = found.body.collect().await?.to_vec();
        all.insert(key.to_owned(), Kept { content, content_type, cache_control, metadata });
    }
    Ok(all)
}
