//! What buckets hold that nobody thinks of: each is copied as it is, or refused with words that say what to do.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod memory_store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use memory_store::{
    BucketOptions, Content, Fault, Memory, MemoryStore, NewObject, Operation, Options as Kind,
};
use tripod_replication::engine::{self, Deletes, Depth, Filter, Options, Place, Report, Side};
use tripod_replication::wire::{Patience, Wire};
use tripod_replication::{StoreConfig, StoreError};

const BUCKET: &str = "b";

/// Keys that S3 takes. In the order of their bytes some stand where nobody expects them.
fn odd_keys() -> Vec<String> {
    let fixed = [
        ".",
        "..",
        "./a",
        "../a",
        "a/./b",
        "a/../b",
        "a//b",
        "//",
        "/",
        "/a",
        "a/",
        "a",
        "%",
        "%2F",
        "%2f",
        "%25",
        "a%2Fb",
        "%zz",
        "+",
        "a+b",
        "a b",
        " ",
        " a ",
        "a&b=c?d#e",
        "<&>\"'",
        "&amp;",
        "]]>",
        "a\\b",
        "*",
        "{x}",
        "~",
        "a;b,c:d@e$f!g(h)",
        "\u{0}",
        "a\u{0}b",
        "\u{1}",
        "\t",
        "a\nb",
        "a\r\nb",
        "\u{7f}",
        "\u{85}",
        "\u{a0}",
        "\u{feff}",
        "\u{202e}evil",
        "\u{ff5e}",
        "\u{ffff}",
        "\u{1f600}",
        "\u{10ffff}",
        "鼎/𠮷",
        "e\u{301}",
        "\u{e9}",
    ];
    let longest = ["x".repeat(1024), format!("{}鼎", "目".repeat(340)), "%".repeat(1024), "a/".repeat(512)];
    fixed.into_iter().map(str::to_owned).chain(longest).collect()
}

struct World {
    source: MemoryStore,
    target: MemoryStore,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(kind: Kind) -> Self {
        let source = MemoryStore::start(kind.clone()).await.unwrap();
        let target = MemoryStore::start(kind).await.unwrap();
        for store in [&source, &target] {
            store.create_bucket(BUCKET, BucketOptions::default());
        }
        Self { source, target, folder: tempfile::tempdir().unwrap() }
    }

    fn place(&self) -> Place {
        Place::Folder(self.folder.path().to_owned())
    }

    fn sides(&self) -> (Side, Side) {
        (side(&self.source, BUCKET, ""), side(&self.target, BUCKET, ""))
    }

    async fn run(&self, sides: &(Side, Side), options: &Options) -> Result<Report, StoreError> {
        engine::replicate(&sides.0, &sides.1, self.place(), options, &Arc::default()).await
    }
}

fn side(store: &MemoryStore, bucket: &str, prefix: &str) -> Side {
    side_at(&store.config(), bucket, prefix)
}

fn side_at(config: &StoreConfig, bucket: &str, prefix: &str) -> Side {
    let patience = Patience { silence: Duration::from_secs(30), pause: Duration::from_millis(2) };
    Side::new(Wire::with_patience(config, patience).unwrap(), bucket, prefix)
}

/// Keys below a prefix with their contents and the sizes of their parts.
fn kept(store: &MemoryStore, prefix: &str) -> BTreeMap<String, (Bytes, Vec<usize>)> {
    let all = store.current(BUCKET).into_iter();
    let below = all.filter_map(|(key, version)| Some((key.strip_prefix(prefix)?.to_owned(), version)));
    below
        .map(|(key, version)| {
            let content = version.content.as_ref().map(Content::to_bytes).unwrap_or_default();
            (key, (content, version.parts.clone()))
        })
        .collect()
}

fn mirror() -> Options {
    Options { deletes: Deletes::Mirror { most: 1000 }, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_that_s3_takes_is_copied_kept_and_deleted() {
    for (from, to) in [("", ""), ("in/../%2F+ /", "鼎//")] {
        let world = World::new(Kind { page_size: 7, min_part_size: 1, ..Kind::default() }).await;
        let sides = (side(&world.source, BUCKET, from), side(&world.target, BUCKET, to));
        let keys: Vec<String> =
            odd_keys().into_iter().filter(|key| from.is_empty() || key.len() < 1000).collect();
        for (n, key) in keys.iter().enumerate() {
            let content = format!("content of {key}").into_bytes();
            let object = if n % 3 == 0 {
                NewObject::in_parts([content, b"and more".to_vec()])
            } else {
                NewObject::new(content)
            };
            world.source.put_object(BUCKET, &format!("{from}{key}"), object);
        }
        // What lies beside the prefix is nobody's business.
        world.source.put(BUCKET, "in", b"beside".to_vec());
        let beside = u64::from(from.is_empty());
        let expected = keys.len() as u64 + beside;
        let report = world.run(&sides, &mirror()).await.unwrap();
        assert_eq!((report.copied, report.failed), (expected, 0), "{:?}", report.troubles);
        assert_eq!(kept(&world.target, to), kept(&world.source, from));
        let again = world.run(&sides, &mirror()).await.unwrap();
        assert_eq!((again.copied, again.kept), (0, expected));
        let mut findings = Vec::new();
        let (filter, read) = (Filter::default(), Arc::<AtomicU64>::default());
        let tell = |finding| findings.push(finding);
        let verified =
            engine::verify(&sides.0, &sides.1, world.place(), &filter, Depth::Content, &read, tell).await;
        assert_eq!((verified.unwrap().good, findings), (expected, vec![]));
        for key in &keys {
            world.source.delete(BUCKET, &format!("{from}{key}"));
        }
        let gone = world.run(&sides, &mirror()).await.unwrap();
        assert_eq!((gone.deleted, gone.failed), (keys.len() as u64, 0), "{:?}", gone.troubles);
        assert_eq!(kept(&world.target, to).len() as u64, beside);
    }
}

#[tokio::test]
async fn folders_and_empty_objects_are_objects() {
    let world = World::new(Kind { min_part_size: 1, ..Kind::default() }).await;
    let empty: Vec<u8> = Vec::new();
    for (key, object) in [
        ("dir/", NewObject::new(empty.clone()).header("content-type", "application/x-directory")),
        ("dir/sub/", NewObject::new(b"a folder with content".to_vec())),
        ("dir/sub/file", NewObject::new(b"file".to_vec())),
        ("dir", NewObject::new(b"a file of the same name".to_vec())),
        ("empty", NewObject::new(empty.clone())),
        ("empty in parts", NewObject::in_parts([empty])),
    ] {
        world.source.put_object(BUCKET, key, object);
    }
    let report = world.run(&world.sides(), &Options::default()).await.unwrap();
    assert_eq!((report.copied, report.failed), (6, 0), "{:?}", report.troubles);
    assert_eq!(kept(&world.target, ""), kept(&world.source, ""));
    assert_eq!(world.run(&world.sides(), &Options::default()).await.unwrap().copied, 0);
    // Replicated as a prefix, the object that is called like it has no name any more: it stays out.
    let below = (side(&world.source, BUCKET, "dir/"), side(&world.target, BUCKET, "copy/"));
    let options = Options { adopt: true, ..Options::default() };
    let report = engine::replicate(&below.0, &below.1, Place::Nowhere, &options, &Arc::default()).await;
    assert_eq!(report.unwrap().copied, 2);
    assert_eq!(kept(&world.target, "copy/").into_keys().collect::<Vec<_>>(), ["sub/", "sub/file"]);
}

#[tokio::test]
async fn a_key_that_is_too_long_below_the_targets_prefix_is_named() {
    let world = World::new(Kind::default()).await;
    world.source.put(BUCKET, &"x".repeat(1020), b"long".to_vec());
    world.source.put(BUCKET, "short", b"short".to_vec());
    let sides = (side(&world.source, BUCKET, ""), side(&world.target, BUCKET, "copies/"));
    let report = world.run(&sides, &Options::default()).await.unwrap();
    assert_eq!((report.copied, report.failed), (1, 1));
    let reason = &report.troubles[0].reason;
    assert!(reason.contains("KeyTooLongError") && reason.contains("shorten"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_parts_stay_ten_thousand() {
    const PARTS: usize = 10_000;
    let world = World::new(Kind { min_part_size: 1, ..Kind::default() }).await;
    let parts = (0..PARTS).map(|n| Content::from(vec![u8::try_from(n % 251).unwrap(); 1 + n % 3]));
    world.source.put_object(BUCKET, "k", NewObject::in_parts(parts));
    let report = world.run(&world.sides(), &Options::default()).await.unwrap();
    assert_eq!((report.copied, report.failed, report.read_back), (1, 0, 0), "{:?}", report.troubles);
    let (there, here) = (world.target.get(BUCKET, "k").unwrap(), world.source.get(BUCKET, "k").unwrap());
    assert_eq!(there.parts.len(), PARTS);
    assert_eq!((&there.etag, &there.parts), (&here.etag, &here.parts));
    assert!(there.etag.ends_with("-10000"), "{}", there.etag);
    assert_eq!(world.target.unfinished_uploads(BUCKET), []);
}

/// The most that S3 takes in one piece. The stores share the memory of what repeats; what it takes is time.
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_object_of_one_piece() {
    const PAGE: usize = 1 << 20;
    const PAGES: usize = 5 << 10;
    let world = World::new(Kind { memory: Memory::Shared, ..Kind::default() }).await;
    let page = Bytes::from(vec![7; PAGE]);
    world.source.put(BUCKET, "k", Content::new(vec![page; PAGES]));
    let begun = std::time::Instant::now();
    let report = world.run(&world.sides(), &Options::default()).await.unwrap();
    let took = begun.elapsed();
    assert_eq!((report.copied, report.failed, report.read_back), (1, 0, 0), "{:?}", report.troubles);
    let (there, here) = (world.target.get(BUCKET, "k").unwrap(), world.source.get(BUCKET, "k").unwrap());
    assert_eq!((there.size(), &there.etag), (PAGE * PAGES, &here.etag));
    println!("5 GiB in {took:?}");
    assert!(took < Duration::from_mins(2), "5 GiB took {took:?}");
}

#[tokio::test]
async fn what_the_account_may_not_do_is_named() {
    for (operation, permission) in [
        (Operation::ListObjectsV2, "s3:ListBucket"),
        (Operation::GetObject, "s3:GetObject"),
        (Operation::GetObjectTagging, "s3:GetObjectTagging"),
    ] {
        let world = World::new(Kind::default()).await;
        world.source.put_object(BUCKET, "k", NewObject::new(b"x".to_vec()).tag("a", "b"));
        world.source.faults().every(operation, Fault::Denied);
        assert_denied(&world, &world.source, permission).await;
    }
    for (operation, permission) in
        [(Operation::ListObjectsV2, "s3:ListBucket"), (Operation::PutObject, "s3:PutObject")]
    {
        let world = World::new(Kind::default()).await;
        world.source.put(BUCKET, "k", b"x".to_vec());
        world.target.faults().every(operation, Fault::Denied);
        assert_denied(&world, &world.target, permission).await;
    }
}

async fn assert_denied(world: &World, by: &MemoryStore, permission: &str) {
    let words = match world.run(&world.sides(), &Options::default()).await {
        Err(error) => error.to_string(),
        Ok(report) => report.troubles[0].reason.clone(),
    };
    let expected = [by.endpoint(), "AccessDenied".to_owned(), format!("this needs {permission}")];
    assert!(expected.iter().all(|part| words.contains(part)), "{permission}: {words}");
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_named() {
    let world = World::new(Kind::default()).await;
    world.source.put(BUCKET, "k", b"x".to_vec());
    let missing = |store: &MemoryStore| side(store, "nowhere", "");
    for (sides, at) in [
        ((missing(&world.source), side(&world.target, BUCKET, "")), &world.source),
        ((side(&world.source, BUCKET, ""), missing(&world.target)), &world.target),
    ] {
        for adopt in [false, true] {
            let options = Options { adopt, ..Options::default() };
            let counters = Arc::default();
            let run = engine::replicate(&sides.0, &sides.1, Place::Nowhere, &options, &counters);
            let error = run.await.unwrap_err();
            let expected = StoreError::NoSuchBucket { endpoint: at.endpoint(), bucket: "nowhere".into() };
            assert_eq!(error, expected);
            assert!(error.to_string().contains("create it or correct the name"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_target_that_is_the_source_or_inside_of_it_is_refused() {
    let world = World::new(Kind::default()).await;
    world.source.put(BUCKET, "a/k", b"x".to_vec());
    let endpoint = world.source.endpoint();
    let at = |endpoint: &str, prefix: &str| {
        let config = StoreConfig { endpoint: endpoint.to_owned(), ..world.source.config() };
        side_at(&config, BUCKET, prefix)
    };
    let written = [endpoint.clone(), format!("{endpoint}/"), endpoint.replace("http:", "HTTP:")];
    for other in &written {
        for (from, to) in [("", ""), ("", "copy/"), ("a/", "a/b/"), ("a/b/", "a/"), ("a", "a/"), ("a/", "")] {
            let sides = (at(&endpoint, from), at(other, to));
            let error = world.run(&sides, &Options { adopt: true, ..Options::default() }).await.unwrap_err();
            let words = error.to_string();
            assert!(words.contains("name another bucket or prefix"), "{other} {from} {to}: {words}");
        }
    }
    let beside = (at(&endpoint, "a/"), at(&written[1], "b/"));
    assert_eq!(world.run(&beside, &Options::default()).await.unwrap().copied, 1);
    assert_eq!(world.source.current(BUCKET).len(), 2);
}
