//! A store tells what has changed, and seconds later it is at the other centre, where without events it would be an hour; what
//! was not told is made good by a run of everything, which copies nothing twice.
//!
//! The stores of the lab are up before any operator is, and versitygw does not start where its webhook can't be reached: so this
//! story posts what versitygw posts, to the address that a store would be given.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use serde_json::json;
use tripod_e2e::installation::NAMESPACE;
use tripod_e2e::kubectl::Kubectl;
use tripod_e2e::lab::command::wait_for;

use crate::bucket_replication::{Pair, contents, is_in_sync, put, remove};
use crate::fixture::{PATIENCE, installation, system};

const TARGET: &str = "same-city";
const ODD: &str = "公报/with a space+plus 100%.txt";
/// From an event to the copy, on a busy machine of two cores.
const SECONDS: Duration = Duration::from_secs(30);

#[test]
fn an_event_brings_an_object_within_seconds() -> Result<()> {
    let at = installation()?;
    let centre = at.server_of(TARGET);
    at.configure(centre, &["replication.events.enabled=true", "replication.events.service.type=NodePort"])?;
    let result = scenes(&at.kubectl(centre)?, &at.lab.centre(centre)?.address);
    at.configure(centre, &[])?;
    rolled_out(&at.kubectl(centre)?)?;
    result
}

fn rolled_out(kubectl: &Kubectl) -> Result<()> {
    kubectl.run(&["-n", NAMESPACE, "rollout", "status", "deployment/tripod", "--timeout=120s"]).map(drop)
}

fn scenes(kubectl: &Kubectl, address: &str) -> Result<()> {
    rolled_out(kubectl)?;
    let desk = Desk::find(kubectl, address)?;
    // Whoever leads hears: a store says at its start that it is there.
    wait_for("events to be heard", PATIENCE, || {
        let (status, text) =
            desk.post(&desk.token, r#"{"Service":"S3","Event":"s3:TestEvent","Bucket":"Test-Bucket"}"#)?;
        ensure!(status == 200, "{status} {text}");
        Ok(())
    })?;
    let system = system("bulletin")?;
    let pair = Pair::anew(&system)?;
    put(&pair.source, "first", b"1", &[])?;
    let spec = json!({"source": {"centre": "production", "bucket": pair.bucket}, "pollInterval": "1h", "rpo": "2h",
        "targets": [{"centre": TARGET}], "deletes": {"policy": "Mirror"}});
    pair.apply("events", &spec)?;
    pair.until(TARGET, "events", is_in_sync)?;

    an_object_comes_by_its_event(&pair, &desk)?;
    what_was_not_told_is_made_good(&pair)?;
    nobody_else_is_heard(kubectl, &desk)?;
    what_is_gone_goes(&pair, &desk)?;
    pair.delete("events")
}

fn an_object_comes_by_its_event(pair: &Pair<'_>, desk: &Desk) -> Result<()> {
    for (key, body) in [(ODD, "new"), ("first", "2")] {
        put(&pair.source, key, body.as_bytes(), &[("owner", "li")])?;
        let told = Instant::now();
        let (status, text) = desk.post(&desk.token, &event(&pair.bucket, key, "s3:ObjectCreated:Put"))?;
        ensure!(status == 200 && text.contains("\"taken\":1"), "{status} {text}");
        wait_for(&format!("{key} to arrive"), SECONDS, || {
            let there = contents(&pair.at(TARGET)?)?;
            ensure!(there.get(key) == contents(&pair.source)?.get(key), "it is not there");
            Ok(())
        })?;
        println!("{key:?} was there {:.1} s after its event", told.elapsed().as_secs_f64());
    }
    Ok(())
}

fn what_was_not_told_is_made_good(pair: &Pair<'_>) -> Result<()> {
    put(&pair.source, "untold", b"3", &[])?;
    std::thread::sleep(Duration::from_secs(8));
    ensure!(!contents(&pair.at(TARGET)?)?.contains_key("untold"), "nobody told, and it is there");
    pair.run_now(TARGET, "events")?;
    let seen = pair.until(TARGET, "events", |seen| {
        ensure!(seen["status"]["targets"][0]["lastRun"]["listed"] == 3, "no run yet");
        is_in_sync(seen)
    })?;
    let last = &seen["status"]["targets"][0]["lastRun"];
    ensure!(last["copied"] == 1, "what came by its event was copied again: {last}");
    ensure!(contents(&pair.at(TARGET)?)? == contents(&pair.source)?, "not alike");
    Ok(())
}

fn nobody_else_is_heard(kubectl: &Kubectl, desk: &Desk) -> Result<()> {
    let (status, text) = desk.post("0123456789abcdef", &event("b", "k", "s3:ObjectCreated:Put"))?;
    ensure!(status == 403, "{status} {text}");
    let (status, text) = desk.post(&desk.token, "{\"Records\": 7}")?;
    ensure!(status == 400 && text.contains("no event of S3"), "{status} {text}");
    let path = format!("/api/v1/namespaces/{NAMESPACE}/services/tripod-metrics:8080/proxy/metrics");
    let metrics = kubectl.run(&["get", "--raw", &path])?;
    for (labels, least) in [
        (r#"centre="production",result="taken""#, 2),
        (r#"centre="",result="refused""#, 1),
        (r#"centre="",result="malformed""#, 1),
    ] {
        let series = format!("tripod_replication_events_total{{{labels}}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u32>().ok());
        ensure!(count.is_some_and(|count| count >= least), "{series}{count:?}");
    }
    Ok(())
}

/// Not by its event, but by the run that this asks for.
fn what_is_gone_goes(pair: &Pair<'_>, desk: &Desk) -> Result<()> {
    remove(&pair.source, &["first"])?;
    let (status, text) = desk.post(&desk.token, &event(&pair.bucket, "first", "s3:ObjectRemoved:Delete"))?;
    ensure!(status == 200, "{status} {text}");
    wait_for("what was deleted to be gone", PATIENCE, || {
        ensure!(!contents(&pair.at(TARGET)?)?.contains_key("first"), "it is there");
        Ok(())
    })
}

/// What versitygw 1.8 posts: the key is the path as it was asked for.
fn event(bucket: &str, key: &str, name: &str) -> String {
    let encoded = key.bytes().fold(String::new(), |text, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
            text + &char::from(byte).to_string()
        }
        _ => format!("{text}%{byte:02X}"),
    });
    json!({"Records": [{"eventVersion": "2.2", "eventSource": "aws:s3", "awsRegion": "us-east-1",
        "eventTime": "2026-11-26T04:00:00Z", "eventName": name, "userIdentity": {"PrincipalId": "root"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "", "x-amz-id-2": ""},
        "s3": {"s3SchemaVersion": "1.0", "configurationId": "webhook-global",
            "bucket": {"name": bucket, "ownerIdentity": {"PrincipalId": "root"}, "arn": format!("arn:aws:s3:::/{bucket}/{encoded}")},
            "object": {"key": encoded, "size": 1, "eTag": null, "versionId": null, "sequencer": "18BC0000"}},
        "glacierEventData": {"restoreEventData": {"lifecycleRestorationExpiryTime": "", "lifecycleRestoreStorageClass": ""}}}]})
    .to_string()
}

/// Where a store sends events to.
struct Desk {
    address: String,
    token: String,
}

impl Desk {
    fn find(kubectl: &Kubectl, address: &str) -> Result<Self> {
        let service = kubectl.get(&["-n", NAMESPACE, "service/tripod-events"])?;
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("no port of the node")?;
        let secret = kubectl.get(&["-n", NAMESPACE, "secret/tripod-events"])?;
        let token = secret["data"]["token"].as_str().context("no token")?;
        let token = base64::engine::general_purpose::STANDARD.decode(token)?;
        Ok(Self { address: format!("{address}:{port}"), token: String::from_utf8(token)? })
    }

    /// As a store does: status and body of the answer.
    fn post(&self, token: &str, body: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.address.parse()?, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "POST /events/production/{token} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).context("no answer")?.parse()?;
        Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
    }
}
