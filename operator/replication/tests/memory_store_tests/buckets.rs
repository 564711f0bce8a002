//! Listings, versions, and what is asked of buckets and of the store itself.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, Delete, ObjectIdentifier, ObjectLockMode, VersioningConfiguration,
};
use jiff::{SignedDuration, Timestamp};

use super::memory_store::{Became, BucketOptions, ObjectLock, Operation, Options, Synthetic, Versioning};
use super::{HELLO_MD5, body, plain, refused, start};

#[tokio::test]
async fn objects_are_listed_in_order_in_pages_and_folders() {
    let (store, client) =
        start(Options { page_size: 3, ..Options::default() }, BucketOptions::default()).await;
    let keys = ["a", "a b", "a/1", "a/2", "a/2/3", "b+<&>\u{1}", "c/1", "ü", "\u{fffd}", "\u{10000}"];
    for key in keys {
        store.put("b", key, "hello");
    }
    let mut listed = Vec::new();
    let mut pages = client.list_objects_v2().bucket("b").into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.contents().len() <= 3);
        for object in page.contents() {
            assert_eq!((object.size(), object.e_tag()), (Some(5), Some(HELLO_MD5)));
            assert!(object.last_modified().is_some());
            listed.push(object.key().unwrap().to_owned());
        }
    }
    assert_eq!(listed, keys);
    let list = || client.list_objects_v2().bucket("b");
    let found = |page: aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output| {
        page.contents().iter().map(|object| object.key().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(list().prefix("a/").send().await.unwrap()), ["a/1", "a/2", "a/2/3"]);
    let after = list().start_after("a/2").max_keys(2).send().await.unwrap();
    assert_eq!(after.is_truncated(), Some(true));
    assert_eq!(found(after), ["a/2/3", "b+<&>\u{1}"]);
    let mut folders = Vec::new();
    let mut objects = Vec::new();
    let mut pages = list().delimiter("/").max_keys(2).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        folders.extend(page.common_prefixes().iter().map(|p| p.prefix().unwrap().to_owned()));
        objects.extend(found(page));
    }
    assert_eq!(folders, ["a/", "c/"]);
    assert_eq!(objects, ["a", "a b", "b+<&>\u{1}", "ü", "\u{fffd}", "\u{10000}"]);
    let encoded =
        list().encoding_type(aws_sdk_s3::types::EncodingType::Url).prefix("a b").send().await.unwrap();
    assert_eq!(found(encoded), ["a+b"]);
}

#[tokio::test]
async fn a_synthetic_bucket_is_listed_without_being_held() {
    let (store, client) = plain().await;
    store.create_synthetic_bucket("s", Synthetic { objects: 10_000_000, size: 3 });
    let list = || client.list_objects_v2().bucket("s");
    let page = list().start_after("k0009998499").send().await.unwrap();
    assert_eq!(page.contents().len(), 1000);
    let first = &page.contents()[0];
    assert_eq!(first.key(), Some(super::memory_store::synthetic::key(9_998_500).as_str()));
    assert_eq!(
        first.e_tag(),
        Some(format!("\"{}\"", super::memory_store::synthetic::etag(9_998_500)).as_str())
    );
    let token = page.next_continuation_token().unwrap();
    let page = list().continuation_token(token).send().await.unwrap();
    assert_eq!((page.contents().len(), page.is_truncated()), (500, Some(false)));
    assert_eq!(page.contents()[499].key(), Some("k0009999999"));
    let page = list().prefix("k00012345").send().await.unwrap();
    assert_eq!((page.contents().len(), page.is_truncated()), (100, Some(false)));
    let got = client.get_object().bucket("s").key("k0000000007").send().await.unwrap();
    assert_eq!(body(got.body).await, vec![0; 3]);
    assert_eq!(refused(client.head_object().bucket("s").key("k0010000000").send().await).0, Some(404));
    assert_eq!(refused(client.put_object().bucket("s").key("k").send().await).0, Some(501));
}

#[tokio::test]
async fn versions_are_kept_listed_and_deleted() {
    let (store, client) = start(Options::default(), BucketOptions::versioned()).await;
    let put = |key: &'static str, text: &'static str| {
        client.put_object().bucket("b").key(key).body(ByteStream::from_static(text.as_bytes())).send()
    };
    let first = put("k", "hello").await.unwrap().version_id().unwrap().to_owned();
    let second = put("k", "other").await.unwrap().version_id().unwrap().to_owned();
    put("l", "x").await.unwrap();
    let marker = client.delete_object().bucket("b").key("k").send().await.unwrap();
    assert_eq!(marker.delete_marker(), Some(true));
    let marker = marker.version_id().unwrap().to_owned();
    let get = || client.get_object().bucket("b").key("k");
    assert_eq!(refused(get().send().await), (Some(404), "NoSuchKey".into()));
    assert_eq!(refused(get().version_id(&marker).send().await).0, Some(405));
    assert_eq!(refused(get().version_id("none").send().await), (Some(404), "NoSuchVersion".into()));
    assert_eq!(body(get().version_id(&first).send().await.unwrap().body).await, "hello");

    let (mut ids, mut key, mut id) = (Vec::new(), None, None);
    loop {
        let list = client.list_object_versions().bucket("b").max_keys(1);
        let page = list.set_key_marker(key).set_version_id_marker(id).send().await.unwrap();
        ids.extend(page.versions().iter().map(|v| (v.version_id().unwrap().to_owned(), v.is_latest())));
        ids.extend(page.delete_markers().iter().map(|m| (m.version_id().unwrap().to_owned(), m.is_latest())));
        if page.is_truncated() != Some(true) {
            break;
        }
        (key, id) = (page.next_key_marker().map(Into::into), page.next_version_id_marker().map(Into::into));
    }
    let no = Some(false);
    assert_eq!(ids[..3], [(marker.clone(), Some(true)), (second.clone(), no), (first, no)]);
    assert_eq!(ids.len(), 4);
    client.delete_object().bucket("b").key("k").version_id(&marker).send().await.unwrap();
    assert_eq!(body(get().send().await.unwrap().body).await, "other");
    assert_eq!(store.snapshot("b")["k"].len(), 2);
    assert_eq!(store.get("b", "k").unwrap().id, second);

    let objects = ["k", "none"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(objects.to_vec())).build().unwrap();
    let deleted = client.delete_objects().bucket("b").delete(delete).send().await.unwrap();
    assert_eq!((deleted.deleted().len(), deleted.errors().len()), (2, 0));
    assert_eq!(store.current("b").keys().collect::<Vec<_>>(), ["l"]);
}

#[tokio::test]
async fn without_versioning_nothing_is_kept_and_suspended_it_keeps_one() {
    let (store, client) = plain().await;
    store.put("b", "k", "1");
    store.put("b", "k", "2");
    assert_eq!(store.snapshot("b")["k"].len(), 1);
    let versions = client.list_object_versions().bucket("b").send().await.unwrap();
    assert_eq!(versions.versions()[0].version_id(), Some("null"));
    let set = |status: BucketVersioningStatus| {
        let to = VersioningConfiguration::builder().status(status).build();
        client.put_bucket_versioning().bucket("b").versioning_configuration(to).send()
    };
    set(BucketVersioningStatus::Enabled).await.unwrap();
    store.put("b", "k", "3");
    set(BucketVersioningStatus::Suspended).await.unwrap();
    store.put("b", "k", "4");
    let ids: Vec<_> = store.snapshot("b")["k"].iter().map(|v| (v.id == "null", v.size())).collect();
    assert_eq!(ids, [(false, 1), (true, 1)]);
    store.delete("b", "k");
    let snapshot = store.snapshot("b");
    assert!(snapshot["k"].len() == 2 && snapshot["k"][1].is_delete_marker());
}

#[tokio::test]
async fn buckets_are_made_listed_and_removed() {
    let (store, client) = plain().await;
    client.create_bucket().bucket("new").send().await.unwrap();
    let again = refused(client.create_bucket().bucket("new").send().await);
    assert_eq!(again, (Some(409), "BucketAlreadyOwnedByYou".into()));
    let buckets = client.list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets().iter().filter_map(|b| b.name()).collect::<Vec<_>>(), ["b", "new"]);
    store.put("new", "k", "x");
    assert_eq!(refused(client.delete_bucket().bucket("new").send().await).1, "BucketNotEmpty");
    store.delete("new", "k");
    client.delete_bucket().bucket("new").send().await.unwrap();
    assert_eq!(refused(client.head_bucket().bucket("new").send().await).0, Some(404));
    assert_eq!(refused(client.get_bucket_tagging().bucket("b").send().await).1, "NoSuchTagSet");
    let versioning = client.get_bucket_versioning().bucket("b").send().await.unwrap();
    assert_eq!(versioning.status(), None);
    let lock = refused(client.get_object_lock_configuration().bucket("b").send().await);
    assert_eq!(lock, (Some(404), "ObjectLockConfigurationNotFoundError".into()));
    assert_eq!(refused(client.get_bucket_acl().bucket("b").send().await).0, Some(501));
}

#[tokio::test]
async fn locked_versions_stay() {
    let object_lock = Some(ObjectLock { default: Some(("COMPLIANCE".into(), 1)) });
    let bucket = BucketOptions { versioning: Versioning::Enabled, object_lock };
    let (store, client) = start(Options::default(), bucket).await;
    let lock = client.get_object_lock_configuration().bucket("b").send().await.unwrap();
    let rule = lock.object_lock_configuration().unwrap().rule().unwrap().default_retention().unwrap().days();
    assert_eq!(rule, Some(1));
    let version = store.put("b", "k", "x");
    let head = client.head_object().bucket("b").key("k").send().await.unwrap();
    assert_eq!(head.object_lock_mode(), Some(&ObjectLockMode::Compliance));
    assert!(head.object_lock_retain_until_date().is_some());
    let delete = || client.delete_object().bucket("b").key("k").version_id(&version.id).send();
    assert_eq!(refused(delete().await), (Some(403), "AccessDenied".into()));
    store.set_clock_offset(SignedDuration::from_hours(25));
    delete().await.unwrap();
}

#[tokio::test]
async fn only_one_access_key_is_admitted_and_expires() {
    let options = Options { access_key_id: Some("id".into()), expire_after: Some(2), ..Options::default() };
    let (store, client) = start(options, BucketOptions::default()).await;
    let head = || client.get_bucket_versioning().bucket("b").send();
    assert!(head().await.is_ok() && head().await.is_ok());
    assert_eq!(refused(head().await), (Some(400), "ExpiredToken".into()));
    store.admit_only(Some("other"), None);
    assert_eq!(refused(head().await), (Some(403), "InvalidAccessKeyId".into()));
    store.admit_only(None, None);
    assert!(head().await.is_ok());
}

#[tokio::test]
async fn the_clock_is_off_by_what_it_is_set_to() {
    let options = Options { clock_offset: SignedDuration::from_hours(-48), ..Options::default() };
    let (store, client) = start(options, BucketOptions::default()).await;
    client.put_object().bucket("b").key("k").send().await.unwrap();
    let modified =
        client.head_object().bucket("b").key("k").send().await.unwrap().last_modified().unwrap().secs();
    assert!((Timestamp::now().as_second() - 48 * 3600 - modified).abs() < 5);
    assert!((store.get("b", "k").unwrap().modified.as_second() - modified).abs() <= 1);
}

#[tokio::test]
async fn history_is_kept_and_requests_are_counted() {
    let (store, client) =
        start(Options { history: true, ..Options::default() }, BucketOptions::versioned()).await;
    client.put_object().bucket("b").key("k").body(ByteStream::from_static(b"hello")).send().await.unwrap();
    let version = store.put("b", "l", "x");
    store.delete("b", "k");
    store.delete_version("b", "l", &version.id);
    let became = |key: &str, etag: Option<&str>| Became {
        bucket: "b".into(),
        key: key.into(),
        etag: etag.map(|etag| etag.trim_matches('"').into()),
    };
    let expected = [
        became("k", Some(HELLO_MD5)),
        became("l", Some(&version.etag)),
        became("k", None),
        became("l", None),
    ];
    assert_eq!(store.history(), expected);
    assert_eq!((store.requests(Operation::PutObject), store.all_requests()), (1, 1));
    store.reset_requests();
    assert_eq!(store.all_requests(), 0);
}

#[tokio::test]
async fn locks_are_demanded_with_a_digest_and_set_afterwards() {
    let locked =
        BucketOptions { versioning: Versioning::Enabled, object_lock: Some(ObjectLock { default: None }) };
    let (store, client) = start(Options::default(), locked).await;
    let until = aws_sdk_s3::primitives::DateTime::from_secs(4_000_000_000);
    let put = || client.put_object().bucket("b").key("k").object_lock_mode(ObjectLockMode::Governance);
    put().object_lock_retain_until_date(until).send().await.unwrap();
    assert!(store.get("b", "k").unwrap().header("x-amz-object-lock-mode").is_some());
    let past = aws_sdk_s3::primitives::DateTime::from_secs(4);
    assert_eq!(refused(put().object_lock_retain_until_date(past).send().await).1, "InvalidArgument");
    assert_eq!(refused(put().send().await).1, "InvalidArgument");

    let id = client.put_object().bucket("b").key("l").send().await.unwrap().version_id().unwrap().to_owned();
    let retention = aws_sdk_s3::types::ObjectLockRetention::builder()
        .mode(aws_sdk_s3::types::ObjectLockRetentionMode::Compliance)
        .retain_until_date(until)
        .build();
    let lock = client.put_object_retention().bucket("b").key("l").version_id(&id).retention(retention);
    lock.send().await.unwrap();
    assert_eq!(store.get("b", "l").unwrap().header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
    let delete = client.delete_object().bucket("b").key("l").version_id(&id);
    assert_eq!(refused(delete.send().await), (Some(403), "AccessDenied".into()));

    store.create_bucket("plain", BucketOptions::versioned());
    let put = client.put_object().bucket("plain").key("k").object_lock_mode(ObjectLockMode::Governance);
    assert_eq!(refused(put.object_lock_retain_until_date(until).send().await).1, "InvalidRequest");
}
