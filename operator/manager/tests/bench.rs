//! `tripod bench` as people run it, against a store in memory: what it counts, and that nothing stays.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

#[path = "../../replication/tests/memory_store/mod.rs"]
mod memory_store;

use std::process::{Output, Stdio};
use std::time::Duration;

use memory_store::{BucketOptions, Fault, Flip, MemoryStore, Operation, Options as Kind};
use serde_json::Value;
use tokio::process::{Child, Command};

const BUCKET: &str = "b";

async fn store() -> MemoryStore {
    let store = MemoryStore::start(Kind { page_size: 16, ..Kind::default() }).await.unwrap();
    store.create_bucket(BUCKET, BucketOptions::default());
    for key in ["in/somebody's", "in/tripod-bench", "other"] {
        store.put(BUCKET, key, b"not ours".to_vec());
    }
    store
}

fn start(store: &MemoryStore, bucket: &str, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tripod"));
    command.args(["bench", &format!("s3://{bucket}/in/"), "--endpoint", &store.endpoint()]).args(more);
    command.env_clear().env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

async fn bench(store: &MemoryStore, bucket: &str, more: &[&str]) -> Output {
    start(store, bucket, more).wait_with_output().await.unwrap()
}

/// What a call takes at least.
const SLOW: Duration = Duration::from_millis(5);
const FORTY: [&str; 8] = ["--objects", "40", "--size", "1Ki", "--at-once", "4", "--output", "json"];

fn assert_as_before(store: &MemoryStore) {
    let keys: Vec<String> = store.current(BUCKET).into_keys().collect();
    assert_eq!(keys, ["in/somebody's", "in/tripod-bench", "other"]);
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_is_counted_and_nothing_stays() {
    let store = store().await;
    store.faults().all(Fault::Slow(SLOW));
    let output = bench(&store, BUCKET, &FORTY).await;
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let calls = told["calls"].as_array().unwrap();
    let counts: Vec<_> =
        calls.iter().map(|c| (c["call"].as_str().unwrap(), c["count"].as_u64().unwrap())).collect();
    assert_eq!(counts, [("PUT", 40), ("GET", 40), ("HEAD", 40), ("LIST", 48), ("DELETE", 40)]);
    for call in calls {
        let of = |name: &str| call[name].as_f64().unwrap();
        assert!(call["errors"] == 0 && of("objectsPerSecond") > 0.0, "{call}");
        assert!(of("p50Milliseconds") >= SLOW.as_secs_f64() * 1000.0, "{call}");
        assert!(
            of("p50Milliseconds") <= of("p99Milliseconds") && of("p99Milliseconds") <= of("maxMilliseconds")
        );
    }
    assert_eq!(store.requests(Operation::PutObject), 40);
    assert_as_before(&store);
    let text = bench(&store, BUCKET, &FORTY[..6]).await;
    assert!(String::from_utf8_lossy(&text.stdout).contains("DELETE        40       0"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_counted_and_cleared_away() {
    let store = store().await;
    store.faults().nth_of(Operation::PutObject, 3, Fault::Status(503));
    store.faults().nth_of(Operation::GetObject, 5, Fault::FlippedByte(Flip::at(7)));
    store.faults().nth_of(Operation::DeleteObject, 2, Fault::Status(500));
    // One after the other: else the object that is read as the fifth may be the one that is missing.
    let more = ["--objects", "40", "--size", "1Ki", "--at-once", "1", "--output", "json"];
    let output = bench(&store, BUCKET, &more).await;
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let errors: Vec<_> =
        told["calls"].as_array().unwrap().iter().map(|c| c["errors"].as_u64().unwrap()).collect();
    // What was not written can be neither read nor looked at.
    assert_eq!(errors, [1, 2, 1, 0, 1]);
    assert_as_before(&store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_measured_is_explained() {
    let store = store().await;
    let missing = bench(&store, "nowhere", &FORTY).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(words(&missing).contains("create it or correct the name"), "{}", words(&missing));
    store.faults().every(Operation::PutObject, Fault::Denied);
    let denied = bench(&store, BUCKET, &FORTY).await;
    assert_eq!(denied.status.code(), Some(1));
    assert!(words(&denied).contains("this needs s3:PutObject"), "{}", words(&denied));
    let wrong = bench(&store, BUCKET, &["--size", "6Gi"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert_as_before(&store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_interrupts_it_finds_nothing_left() {
    for (operation, objects) in [(Operation::PutObject, "100000"), (Operation::DeleteObject, "400")] {
        let store = store().await;
        let (told, tell) = (std::sync::Arc::new(tokio::sync::Notify::new()), 20);
        store.faults().decide({
            let told = told.clone();
            move |seen| {
                if seen.operation == operation && seen.of_operation == tell {
                    told.notify_one();
                }
                Some(Fault::Slow(Duration::from_millis(1)))
            }
        });
        let child = start(&store, BUCKET, &["--objects", objects, "--at-once", "8"]);
        told.notified().await;
        let id = child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(words(&output).contains("stopped; nothing is left"), "{}", words(&output));
        assert_as_before(&store);
    }
}
