//! Faults do what they say, and nothing else.

use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::memory_store::{BucketOptions, Fault, Flip, Latency, Operation, Options};
use super::{HELLO_MD5, body, client, plain, refused, start};

#[tokio::test]
async fn faults_before_anything_is_done() {
    let (store, client) = plain().await;
    let put = || client.put_object().bucket("b").key("k").body(ByteStream::from_static(b"hello")).send();
    for (fault, status, code) in [
        (Fault::ConnectionCutBefore, None, ""),
        (Fault::Status(503), Some(503), "SlowDown"),
        (Fault::Status(500), Some(500), "InternalError"),
        (Fault::Full(507), Some(507), "QuotaExceeded"),
        (Fault::ExpiredToken, Some(400), "ExpiredToken"),
        (Fault::HalfOpen, None, ""),
    ] {
        store.faults().nth(1, fault.clone());
        assert_eq!(refused(put().await), (status, code.into()), "{fault:?}");
        assert!(store.current("b").is_empty(), "{fault:?}");
        assert_eq!(store.faults().applied().last(), Some(&(Operation::PutObject, fault)));
    }
    assert!(put().await.is_ok());
    store.faults().every(Operation::GetObject, Fault::Full(507));
    assert!(client.get_object().bucket("b").key("k").send().await.is_ok());
}

#[tokio::test]
async fn a_lost_reply_is_of_something_that_was_done() {
    let (store, client) = plain().await;
    store.faults().nth_of(Operation::PutObject, 2, Fault::ReplyLost);
    let put = |key: &'static str| client.put_object().bucket("b").key(key).send();
    assert!(put("first").await.is_ok());
    assert_eq!(refused(put("second").await).0, None);
    assert!(put("third").await.is_ok());
    assert_eq!(store.current("b").keys().collect::<Vec<_>>(), ["first", "second", "third"]);
}

#[tokio::test]
async fn bodies_are_spoilt_on_their_way_back() {
    let (store, client) = plain().await;
    let content = vec![1; 300_000];
    let etag = format!("\"{}\"", store.put("b", "k", content.clone()).etag);
    let get = || client.get_object().bucket("b").key("k").send();
    store.faults().nth(1, Fault::TruncatedBody);
    let got = get().await.unwrap();
    assert_eq!(got.content_length(), Some(300_000));
    let (mut stream, mut read) = (got.body, 0);
    let broken = loop {
        match stream.next().await {
            Some(Ok(bytes)) => read += bytes.len(),
            end => break end,
        }
    };
    assert!(matches!(broken, Some(Err(_))));
    assert_eq!(read, 150_000);
    store.faults().nth(1, Fault::FlippedByte(Flip::at(200_000)));
    let plain = client.get_object().bucket("b").key("k").customize();
    let unverified = aws_sdk_s3::Config::builder()
        .response_checksum_validation(aws_sdk_s3::config::ResponseChecksumValidation::WhenRequired);
    let got = plain.config_override(unverified).send().await.unwrap();
    assert_eq!(got.e_tag(), Some(etag.as_str()));
    let flipped = body(got.body).await;
    assert_eq!(
        flipped.iter().enumerate().filter(|(_, byte)| **byte != 1).map(|(n, _)| n).collect::<Vec<_>>(),
        [200_000]
    );
    store.faults().nth(1, Fault::WrongETag);
    let got = get().await.unwrap();
    assert_ne!(got.e_tag(), Some(etag.as_str()));
    assert_eq!(body(got.body).await, content);
    store.corrupt("b", "k", 5);
    assert_eq!(store.get("b", "k").map(|v| format!("\"{}\"", v.etag)), Some(etag));
    assert_ne!(store.get("b", "k").unwrap().content, Some(content.into()));
}

#[tokio::test]
async fn an_upload_is_spoilt_on_its_way_there() {
    let (store, client) =
        start(Options { no_checksums: true, ..Options::default() }, BucketOptions::default()).await;
    store.faults().nth_of(Operation::PutObject, 1, Fault::FlippedUpload(Flip::at(0)));
    let put = client
        .put_object()
        .bucket("b")
        .key("k")
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .unwrap();
    assert_ne!(put.e_tag(), Some(HELLO_MD5));
    let there = store.get("b", "k").unwrap();
    assert_eq!(there.content, Some(Bytes::from_static(b"\x97ello").into()));
    assert_eq!(put.e_tag(), Some(format!("\"{}\"", there.etag).as_str()));
}

#[tokio::test]
async fn listings_are_spoilt() {
    let (store, client) = plain().await;
    for key in ["a", "b", "c"] {
        store.put("b", key, "x");
    }
    store.faults().nth(1, Fault::ListDuplicate);
    store.faults().nth(2, Fault::ListOutOfOrder);
    for keys in [&["a", "b", "c", "c"][..], &["c", "b", "a"], &["a", "b", "c"]] {
        let page = client.list_objects_v2().bucket("b").send().await.unwrap();
        assert_eq!(page.contents().iter().map(|object| object.key().unwrap()).collect::<Vec<_>>(), keys);
    }
}

#[tokio::test]
async fn a_completion_fails_after_it_was_answered() {
    let (store, client) = plain().await;
    let created = client.create_multipart_upload().bucket("b").key("k").send().await.unwrap();
    let id = created.upload_id().unwrap();
    store.faults().every(Operation::CompleteMultipartUpload, Fault::ErrorInside200);
    let complete = client.complete_multipart_upload().bucket("b").key("k").upload_id(id).send().await;
    assert_eq!(refused(complete).1, "InternalError");
    assert_eq!(store.unfinished_uploads("b").len(), 1);
}

#[tokio::test]
async fn a_closure_decides_by_key_and_number() {
    let (store, client) = plain().await;
    store.faults().decide(|seen| (seen.key == "bad" && seen.of_operation < 3).then_some(Fault::Status(500)));
    let put = |key: &'static str| client.put_object().bucket("b").key(key).send();
    assert!(put("good").await.is_ok());
    assert!(put("bad").await.is_err());
    assert!(put("bad").await.is_ok());
    store.faults().decide(|seen| (seen.number > 4).then_some(Fault::Slow(Duration::from_millis(100))));
    let begin = Instant::now();
    assert!(put("good").await.is_ok());
    assert!(begin.elapsed() < Duration::from_millis(100));
    assert!(put("good").await.is_ok());
    assert!(begin.elapsed() >= Duration::from_millis(100));
    store.faults().clear();
    assert!(store.faults().applied().is_empty());
}

#[tokio::test]
async fn distance_costs_a_round_trip_and_no_throughput() {
    let (store, _near) = plain().await;
    store.put("b", "k", vec![1; 32 << 20]);
    store.put("b", "small", "hello");
    let round_trip = Duration::from_millis(60);
    let far = Latency::start(([127, 0, 0, 1], 0).into(), store.address(), round_trip).await.unwrap();
    let client = client(&far.endpoint());
    let get = |key: &'static str| client.get_object().bucket("b").key(key).send();
    // Timers are exact to a few milliseconds.
    let least = Duration::from_millis(55);
    let begin = Instant::now();
    assert_eq!(body(get("small").await.unwrap().body).await, "hello");
    assert!(begin.elapsed() >= 2 * least);
    let begin = Instant::now();
    assert_eq!(body(get("small").await.unwrap().body).await, "hello");
    assert!(begin.elapsed() >= least);
    let begin = Instant::now();
    assert_eq!(body(get("k").await.unwrap().body).await.len(), 32 << 20);
    // A delay for each of its 256 reads would take fifteen seconds.
    assert!(begin.elapsed() < Duration::from_secs(5));
}
