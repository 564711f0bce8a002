//! Objects are written, read and conditioned as in S3, whole and in parts.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, MetadataDirective,
    StorageClass, Tag, Tagging,
};
use bytes::Bytes;

use super::memory_store::{BucketOptions, Conditions, ETags, Fault, Flip, NewObject, Operation, Options};
use super::{HELLO_MD5, body, plain, refused, start};

#[tokio::test]
async fn an_object_comes_back_with_all_that_was_sent() {
    let (store, client) = plain().await;
    let put = client.put_object().bucket("b").key("a b/+ü&").body(ByteStream::from_static(b"hello"));
    let put = put.content_type("text/x").cache_control("no-store").content_disposition("inline");
    let put = put.content_encoding("gzip").content_language("de").metadata("one", "1");
    let put = put.storage_class(StorageClass::StandardIa).tagging("k=v%20w&x=");
    assert_eq!(put.send().await.unwrap().e_tag(), Some(HELLO_MD5));
    let got = client.get_object().bucket("b").key("a b/+ü&").send().await.unwrap();
    assert_eq!(got.e_tag(), Some(HELLO_MD5));
    assert_eq!(got.content_type(), Some("text/x"));
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.content_disposition(), Some("inline"));
    assert_eq!(got.content_encoding(), Some("gzip"));
    assert_eq!(got.content_language(), Some("de"));
    assert_eq!(got.metadata().unwrap()["one"], "1");
    assert_eq!(got.storage_class(), Some(&StorageClass::StandardIa));
    assert_eq!(got.tag_count(), Some(2));
    assert_eq!(body(got.body).await, "hello");
    let head = client.head_object().bucket("b").key("a b/+ü&").send().await.unwrap();
    assert_eq!((head.content_length(), head.e_tag()), (Some(5), Some(HELLO_MD5)));
    assert_eq!(head.version_id(), None);
    let there = store.get("b", "a b/+ü&").unwrap();
    assert_eq!(there.tags, [("k".into(), "v w".into()), ("x".into(), String::new())]);
    assert_eq!(there.content, Some("hello".into()));
    assert_eq!(refused(client.head_object().bucket("b").key("no").send().await).0, Some(404));
    let missing = refused(client.get_object().bucket("b").key("no").send().await);
    assert_eq!(missing, (Some(404), "NoSuchKey".into()));
    let missing = refused(client.get_object().bucket("no").key("no").send().await);
    assert_eq!(missing, (Some(404), "NoSuchBucket".into()));
}

#[tokio::test]
async fn ranges_parts_and_conditions_of_a_read() {
    let (store, client) = plain().await;
    let parts = ["0123", "45678", "9"].map(|part| Bytes::from_static(part.as_bytes()));
    let version = store.put_object("b", "k", NewObject::in_parts(parts));
    assert!(version.etag.ends_with("-3"));
    let get = || client.get_object().bucket("b").key("k");
    for (range, content, told) in [
        ("bytes=2-5", "2345", "bytes 2-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
    ] {
        let got = get().range(range).send().await.unwrap();
        assert_eq!(got.content_range(), Some(told));
        assert_eq!(body(got.body).await, content);
    }
    assert_eq!(refused(get().range("bytes=10-").send().await), (Some(416), "InvalidRange".into()));
    let got = get().part_number(2).send().await.unwrap();
    assert_eq!((got.parts_count(), got.content_range()), (Some(3), Some("bytes 4-8/10")));
    assert_eq!(body(got.body).await, "45678");
    let head = client.head_object().bucket("b").key("k").part_number(3).send().await.unwrap();
    assert_eq!((head.content_length(), head.parts_count()), (Some(1), Some(3)));
    assert_eq!(refused(get().part_number(4).send().await), (Some(416), "InvalidPartNumber".into()));
    let quoted = format!("\"{}\"", version.etag);
    assert!(get().if_match(&quoted).send().await.is_ok());
    assert_eq!(refused(get().if_match("\"other\"").send().await).0, Some(412));
    assert_eq!(refused(get().if_none_match(&quoted).send().await).0, Some(304));

    let options = Options { no_part_number: true, ..Options::default() };
    let (store, client) = start(options, BucketOptions::default()).await;
    store.put_object("b", "k", NewObject::in_parts(["a", "b"]));
    let got = client.get_object().bucket("b").key("k").part_number(2).send().await.unwrap();
    assert_eq!((got.parts_count(), body(got.body).await), (None, "ab".into()));
}

#[tokio::test]
async fn conditions_of_a_write() {
    let (store, client) = plain().await;
    let put = |text: &'static str| {
        client.put_object().bucket("b").key("k").body(ByteStream::from_static(text.as_bytes()))
    };
    assert_eq!(refused(put("x").if_match("\"e\"").send().await), (Some(404), "NoSuchKey".into()));
    assert!(put("hello").if_none_match("*").send().await.is_ok());
    assert_eq!(refused(put("x").if_none_match("*").send().await), (Some(412), "PreconditionFailed".into()));
    assert_eq!(refused(put("x").if_match("\"e\"").send().await), (Some(412), "PreconditionFailed".into()));
    assert_eq!(store.get("b", "k").unwrap().content, Some("hello".into()));
    assert!(put("new").if_match(HELLO_MD5).send().await.is_ok());
    let delete = client.delete_object().bucket("b").key("k");
    assert_eq!(refused(delete.clone().if_match(HELLO_MD5).send().await).0, Some(412));
    assert!(delete.send().await.is_ok());
    assert!(store.current("b").is_empty());

    for (conditions, absent, matches) in [
        (Conditions::OnlyAbsent, Some(412), None),
        (Conditions::Ignored, None, None),
        (Conditions::Refused, Some(501), Some(501)),
    ] {
        let options = Options { conditions, ..Options::default() };
        let (store, client) = start(options, BucketOptions::default()).await;
        store.put("b", "k", "hello");
        let put = || client.put_object().bucket("b").key("k");
        let status = |sent: Result<_, _>| if sent.is_ok() { None } else { refused(sent).0 };
        assert_eq!(status(put().if_none_match("*").send().await), absent);
        assert_eq!(status(put().if_match("\"other\"").send().await), matches);
    }
}

#[tokio::test]
async fn checksums_are_verified_and_returned() {
    let (store, client) = plain().await;
    for algorithm in [
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Sha256,
    ] {
        let put = client.put_object().bucket("b").key("k").body(ByteStream::from_static(b"hello"));
        put.checksum_algorithm(algorithm).send().await.unwrap();
    }
    let got =
        client.get_object().bucket("b").key("k").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert!(got.checksum_crc64_nvme().is_some());
    assert_eq!(got.checksum_sha256(), Some("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="));
    assert_eq!(body(got.body).await, "hello");
    let put = || client.put_object().bucket("b").key("bad").body(ByteStream::from_static(b"hello"));
    let wrong = put().checksum_crc64_nvme("AAAAAAAAAAA=").send().await;
    assert_eq!(refused(wrong), (Some(400), "BadDigest".into()));
    let wrong = put().content_md5("XUFAKrxLKna5cZ2REBfFkg==").send().await;
    assert!(wrong.is_ok());
    let wrong = put().content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await;
    assert_eq!(refused(wrong), (Some(400), "BadDigest".into()));
    store.faults().nth_of(Operation::PutObject, 1, Fault::FlippedUpload(Flip::at(1)));
    let spoilt = put().send().await;
    assert_eq!(refused(spoilt), (Some(400), "BadDigest".into()));
}

#[tokio::test]
async fn a_body_in_signed_chunks_with_a_trailer_is_taken_apart() {
    let (store, client) = plain().await;
    let file = std::env::temp_dir().join(format!("memory-store-{}", std::process::id()));
    let content = vec![7; 300_000];
    std::fs::write(&file, &content).unwrap();
    // The SDK sends what it reads from a file as aws-chunked, and a CRC after it.
    let stream = ByteStream::from_path(&file).await.unwrap();
    client.put_object().bucket("b").key("k").body(stream).send().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    let there = store.get("b", "k").unwrap();
    assert_eq!(there.content, Some(content.into()));
    assert_eq!(there.header("content-encoding"), None);
    assert!(there.checksums.iter().any(|(name, _)| *name == "x-amz-checksum-crc32"));
}

#[tokio::test]
async fn an_object_is_sent_in_parts() {
    let (store, client) =
        start(Options { min_part_size: 2, ..Options::default() }, BucketOptions::versioned()).await;
    let create = client.create_multipart_upload().bucket("b").key("k").metadata("m", "1").content_type("t/x");
    let id = create.tagging("a=b").send().await.unwrap().upload_id().unwrap().to_owned();
    let mut parts = Vec::new();
    for (number, text) in [(1, "hello"), (2, "world"), (3, "!")] {
        let part = client.upload_part().bucket("b").key("k").upload_id(&id).part_number(number);
        let sent = part.body(ByteStream::from_static(text.as_bytes())).send().await.unwrap();
        parts.push(CompletedPart::builder().part_number(number).e_tag(sent.e_tag().unwrap()).build());
    }
    assert_eq!(store.unfinished_uploads("b"), [("k".to_owned(), id.clone())]);
    let begun = client.list_multipart_uploads().bucket("b").send().await.unwrap();
    assert_eq!(begun.uploads()[0].upload_id(), Some(id.as_str()));
    let listed = client.list_parts().bucket("b").key("k").upload_id(&id).send().await.unwrap();
    assert_eq!(listed.parts().iter().map(|p| p.size().unwrap()).collect::<Vec<_>>(), [5, 5, 1]);
    let complete = |parts: Vec<CompletedPart>| {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        client.complete_multipart_upload().bucket("b").key("k").upload_id(&id).multipart_upload(parts)
    };
    let turned = parts.iter().rev().cloned().collect();
    assert_eq!(refused(complete(turned).send().await).1, "InvalidPartOrder");
    let wrong = vec![CompletedPart::builder().part_number(1).e_tag("\"x\"").build()];
    assert_eq!(refused(complete(wrong).send().await).1, "InvalidPart");
    assert_eq!(refused(complete(parts.clone()).if_match("\"x\"").send().await).0, Some(404));
    store.put("b", "k", "in between");
    assert_eq!(refused(complete(parts.clone()).if_none_match("*").send().await).0, Some(412));
    let done = complete(parts.clone()).send().await.unwrap();
    // md5(md5("hello") + md5("world") + md5("!"))
    assert_eq!(done.e_tag(), Some("\"0fe6b306db3706d84493a6b930bb5ea8-3\""));
    assert!(done.version_id().is_some());
    assert!(store.unfinished_uploads("b").is_empty());
    let there = store.get("b", "k").unwrap();
    assert_eq!((&there.content, &there.parts[..]), (&Some("helloworld!".into()), &[5, 5, 1][..]));
    assert_eq!((there.header("x-amz-meta-m"), there.header("content-type")), (Some("1"), Some("t/x")));
    assert_eq!(there.checksums, store.put("b", "same", "helloworld!").checksums);
    assert_eq!(refused(complete(parts).send().await), (Some(404), "NoSuchUpload".into()));
    let id = client.create_multipart_upload().bucket("b").key("k").send().await.unwrap();
    let abort = client.abort_multipart_upload().bucket("b").key("k").upload_id(id.upload_id().unwrap());
    abort.send().await.unwrap();
    assert!(store.unfinished_uploads("b").is_empty());
}

#[tokio::test]
async fn a_small_part_is_refused_where_it_is_not_the_last() {
    let (_store, client) = plain().await;
    let created = client.create_multipart_upload().bucket("b").key("k").send().await.unwrap();
    let id = created.upload_id().unwrap();
    let mut parts = CompletedMultipartUpload::builder();
    for number in 1..=2 {
        let part = client.upload_part().bucket("b").key("k").upload_id(id).part_number(number);
        let sent = part.body(ByteStream::from_static(b"small")).send().await.unwrap();
        parts =
            parts.parts(CompletedPart::builder().part_number(number).e_tag(sent.e_tag().unwrap()).build());
    }
    let complete = client.complete_multipart_upload().bucket("b").key("k").upload_id(id);
    assert_eq!(refused(complete.multipart_upload(parts.build()).send().await).1, "EntityTooSmall");
}

#[tokio::test]
async fn tags_and_copies() {
    let (store, client) = plain().await;
    store.put_object(
        "b",
        "a b",
        NewObject::in_parts(["hel", "lo"]).header("x-amz-meta-m", "1").tag("t", "u"),
    );
    let tags = client.get_object_tagging().bucket("b").key("a b").send().await.unwrap();
    assert_eq!((tags.tag_set()[0].key(), tags.tag_set()[0].value()), ("t", "u"));
    let tag = Tag::builder().key("x<").value("y & z").build().unwrap();
    let tagging = Tagging::builder().tag_set(tag).build().unwrap();
    client.put_object_tagging().bucket("b").key("a b").tagging(tagging).send().await.unwrap();
    assert_eq!(store.get("b", "a b").unwrap().tags, [("x<".into(), "y & z".into())]);
    let copy = || client.copy_object().bucket("b").copy_source("b/a%20b");
    let copied = copy().key("c").send().await.unwrap();
    // A copy is one part.
    assert_eq!(copied.copy_object_result().unwrap().e_tag(), Some(HELLO_MD5));
    let there = store.get("b", "c").unwrap();
    assert_eq!((there.header("x-amz-meta-m"), there.tags.len()), (Some("1"), 1));
    let replaced = copy().key("d").metadata_directive(MetadataDirective::Replace).metadata("n", "2");
    replaced.send().await.unwrap();
    assert_eq!(store.get("b", "d").unwrap().header("x-amz-meta-m"), None);
    assert_eq!(refused(copy().key("a b").send().await).1, "InvalidRequest");
    client.delete_object_tagging().bucket("b").key("a b").send().await.unwrap();
    assert!(store.get("b", "a b").unwrap().tags.is_empty());
}

#[tokio::test]
async fn opaque_etags_differ_for_the_same_content() {
    let (store, _client) =
        start(Options { etags: ETags::Opaque, ..Options::default() }, BucketOptions::default()).await;
    assert_ne!(store.put("b", "k", "x").etag, store.put("b", "k", "x").etag);
    let (store, _client) =
        start(Options { etags: ETags::Crc, ..Options::default() }, BucketOptions::default()).await;
    assert_eq!(store.put("b", "k", "x").etag, store.put("b", "k", "x").etag);
    assert_ne!(store.put("b", "k", "x").etag, store.put("b", "k", "y").etag);
}
