//! The whole way: a tree on a disk, a mover, a real gateway over TLS, a store in memory, Debian's `restic`, and back.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tripod_replication::Store;

use super::*;
use crate::gateway::{Gatekeeper, Refusal, certificate, serve};
use crate::vault::memory_store::{BucketOptions, MemoryStore, Options};
use crate::vault::{Document, MasterKey, Part, SystemVault, layout};

const TOKEN: &str = "a-token";

struct Known(SystemVault);

#[async_trait::async_trait]
impl Gatekeeper for Known {
    async fn may_push(&self, token: &str, point: &str, _claim: &str) -> Result<SystemVault, Refusal> {
        match (token, point) {
            (TOKEN, "p1") => Ok(self.0.clone()),
            (TOKEN, _) => Err(Refusal::Forbidden("no such point".to_owned())),
            _ => Err(Refusal::Unauthenticated("no".to_owned())),
        }
    }

    async fn may_pull(&self, token: &str, claim: &str) -> Result<(SystemVault, Part), Refusal> {
        let vault = self.may_push(token, "p1", claim).await?;
        let key = layout::volume_part(&vault.system, "p1", claim);
        let json = vault.store.get(&vault.bucket, &key).await.unwrap();
        Ok((vault, serde_json::from_slice(&json).unwrap()))
    }

    async fn may_fill(
        &self,
        token: &str,
        _restore: &str,
        claim: &str,
    ) -> Result<(SystemVault, Part), Refusal> {
        self.may_pull(token, claim).await
    }
}

struct Lab {
    memory: MemoryStore,
    vault: SystemVault,
    gateway: String,
    home: tempfile::TempDir,
    ca: String,
}

/// A store of its own, and a gateway in front of it.
async fn lab() -> Lab {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let memory = MemoryStore::start(Options::default()).await.unwrap();
    memory.create_bucket("vault", BucketOptions::default());
    let store = Store::connect(&memory.config()).unwrap();
    let key = MasterKey::new(&[7; 32]).unwrap();
    let vault = SystemVault::new(store, "vault".to_owned(), "tax".to_owned(), key);
    let certificate = certificate::issue(&["localhost".to_owned()], jiff::Timestamp::now()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let ca = certificate.ca_pem.clone();
    let gatekeeper = Arc::new(Known(vault.clone()));
    tokio::spawn(async move {
        serve(listener, &certificate, gatekeeper, std::future::pending()).await.unwrap();
    });
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), TOKEN).unwrap();
    Lab { memory, vault, gateway, home, ca }
}

impl Lab {
    fn common(&self, path: &Path) -> Common {
        Common {
            gateway: self.gateway.clone(),
            claim: "data".to_owned(),
            path: path.to_owned(),
            token_file: self.home.path().join("token"),
            ca_file: None,
            ca_pem: Some(self.ca.clone()),
        }
    }

    fn push(&self, path: &Path) -> PushArgs {
        PushArgs { common: self.common(path), point: "p1".to_owned() }
    }

    fn restic(&self, arguments: &[&str]) -> String {
        let store = self.memory.config();
        let repository =
            format!("s3:{}/{}/{}", store.endpoint, self.vault.bucket, self.vault.repository_path());
        let output = Command::new("restic")
            .args(["--no-cache", "-r", &repository])
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", store.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", store.secret_access_key)
            .env("RESTIC_PASSWORD", MasterKey::new(&[7; 32]).unwrap().repository_password("tax"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    async fn archive(&self, all: Vec<Document>) -> Result<Part, crate::vault::VaultError> {
        let (feed, stream) = crate::vault::documents();
        let sending = async {
            for document in all {
                if feed.send(document).await.is_err() {
                    return;
                }
            }
            let _ = feed.finish().await;
        };
        tokio::join!(self.vault.archive_documents("p1", stream), sending).0
    }

    async fn snapshots(&self) -> usize {
        let prefix = format!("{}/snapshots/", self.vault.repository_path());
        self.vault.store.list(&self.vault.bucket, &prefix).await.unwrap().len()
    }
}

/// Bytes that do not compress or repeat.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(&(seed ^ (seed >> 29)).to_le_bytes());
    }
    out.truncate(length);
    out
}

/// About 500 files, large ones first, last, side by side and deep; names that sort badly; links to nowhere.
fn plant(root: &Path) {
    for directory in 0..20 {
        let directory = root.join(format!("d{directory}/sub dir"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..24_usize {
            fs::write(directory.join(format!("f{file}")), noise(file * 1000, file as u64)).unwrap();
        }
    }
    fs::write(root.join("0-first-large"), noise(3 << 20, 1)).unwrap();
    fs::write(root.join("big"), noise(64 << 20, 2)).unwrap();
    fs::write(root.join("big2"), noise((1 << 20) + 1, 3)).unwrap();
    fs::write(root.join("d1/sub dir/deep-large"), noise(2 << 20, 4)).unwrap();
    fs::write(root.join("zz-last-large"), noise(5 << 20, 5)).unwrap();
    fs::write(root.join("d1-"), b"sorts before d1/ as bytes").unwrap();
    fs::write(root.join("new\nline \"quoted\" \\ ümlaut"), b"x").unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    symlink("/nowhere/at/all", root.join("link")).unwrap();
    symlink("d1", root.join("link-to-dir")).unwrap();
    fs::set_permissions(root.join("d1-"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o700)).unwrap();
}

fn same_metadata(a: &Path, b: &Path) {
    for name in ["big", "d1-", "empty", "d3", "link", "new\nline \"quoted\" \\ ümlaut"] {
        let (a, b) = (a.join(name).symlink_metadata().unwrap(), b.join(name).symlink_metadata().unwrap());
        let facts = |m: &fs::Metadata| (m.mode(), m.mtime(), m.mtime_nsec(), m.uid(), m.gid());
        assert_eq!(facts(&a), facts(&b), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_goes_in_and_comes_out_and_restic_reads_it() {
    let lab = lab().await;
    let (from, to, by_restic) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(from.path());
    let on_disk = digest::digest(from.path()).unwrap();

    let report = push::run(&lab.push(from.path())).await.unwrap();
    assert_eq!(report.part.digest, on_disk.digest);
    assert_eq!(report.part.files, 487);
    assert_eq!(report.oddities.changed_while_read, 0);

    let pulled =
        pull::run(&PullArgs { common: lab.common(to.path()), replace: false, restore: None }).await.unwrap();
    assert!(pulled.matches);
    assert_eq!(pulled.digest, on_disk.digest);
    same_metadata(from.path(), to.path());
    let full = pull::run(&PullArgs { common: lab.common(to.path()), replace: false, restore: None })
        .await
        .unwrap_err();
    assert!(full.to_string().contains("not empty"), "{full}");

    let snapshots = lab.restic(&["snapshots"]);
    for word in ["tax", "point=p1", "kind=volume", "/volumes/data"] {
        assert!(snapshots.contains(word), "{word}: {snapshots}");
    }
    lab.restic(&["check", "--read-data"]);
    lab.restic(&["restore", &report.part.snapshot, "--target", by_restic.path().to_str().unwrap()]);
    let restored = by_restic.path().join("volumes/data");
    assert_eq!(digest::digest(&restored).unwrap().digest, on_disk.digest);
    same_metadata(from.path(), &restored);

    let packs = lab.vault.packs_of(&[report.part.snapshot]).await.unwrap();
    let data = format!("{}/data/", lab.vault.repository_path());
    let stored = lab.vault.store.list(&lab.vault.bucket, &data).await.unwrap();
    let stored: std::collections::BTreeSet<_> =
        stored.iter().filter_map(|object| object.key.rsplit('/').next()).map(str::to_owned).collect();
    assert_eq!(packs, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_come_back_as_they_were() {
    let lab = lab().await;
    // Two operators at once, and a third time for good measure: one repository.
    let (a, b) = tokio::join!(lab.vault.ensure_repository(), lab.vault.ensure_repository());
    a.unwrap();
    b.unwrap();
    lab.vault.ensure_repository().await.unwrap();
    let document = |path: &str, body: &str| Document { path: path.to_owned(), body: body.into() };
    let documents = vec![document("a.yaml", "1"), document("b/a/y.yaml", "2"), document("b/z.yaml", "3")];
    let part = lab.archive(documents.clone()).await.unwrap();
    assert_eq!((part.files, part.bytes), (3, 3));
    let again = lab.archive(documents).await.unwrap();
    assert_eq!(part.digest, again.digest);
    let read = lab.vault.read_documents(&part.snapshot).await.unwrap();
    let paths: Vec<_> = read.iter().map(|document| document.path.as_str()).collect();
    assert_eq!(paths, ["a.yaml", "b/a/y.yaml", "b/z.yaml"]);
    assert_eq!(read[2].body, b"3");
    let twice = vec![document("a", "1"), document("a", "2")];
    assert!(lab.archive(twice).await.is_err());
    assert!(lab.archive(vec![document("b", "1"), document("a", "2")]).await.is_err());
    assert!(lab.archive(vec![document("../a", "1")]).await.is_err());
    assert!(lab.restic(&["check", "--read-data"]).contains("no errors"));
    assert_eq!(lab.snapshots().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_off_leaves_no_snapshot() {
    let lab = lab().await;
    lab.vault.ensure_repository().await.unwrap();
    let mut whole = Vec::new();
    let mut sender = crate::vault::wire::Sender::new(&mut whole);
    let meta = |path: &str, size| crate::vault::wire::Meta {
        path: path.into(),
        mode: 0o755,
        size,
        ..Default::default()
    };
    sender.directory(&meta("", 0)).unwrap();
    for (name, size) in [("a", 100), ("b", 3 << 20), ("c", 100), ("d", 2 << 20)] {
        let body = noise(size, 9);
        sender.file(&meta(name, size as u64), |content| std::io::Write::write_all(content, &body)).unwrap();
    }
    sender.finish().unwrap();
    for end in [0, 512, 1600, 2000, 100_000, 3 << 20, whole.len() - (1 << 20), whole.len() - 3000] {
        let cut = std::io::Cursor::new(whole[..end].to_vec());
        let error = lab.vault.archive_stream("p1", "data", cut).await.unwrap_err();
        assert!(matches!(error, crate::vault::VaultError::Incomplete(_)), "{end}: {error}");
        assert_eq!(lab.snapshots().await, 0, "cut at {end}");
    }
    lab.vault.archive_stream("p1", "data", std::io::Cursor::new(whole)).await.unwrap();
    assert_eq!(lab.snapshots().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_learns_why_and_leaves_nothing() {
    let lab = lab().await;
    let from = tempfile::tempdir().unwrap();
    let mut args = lab.push(from.path());
    args.point = "other".to_owned();
    let error = push::run(&args).await.unwrap_err();
    assert!(matches!(&error, MoverError::Refused(why) if why.contains("no such point")), "{error}");
    fs::write(lab.home.path().join("token"), "another").unwrap();
    let error = push::run(&lab.push(from.path())).await.unwrap_err();
    assert!(matches!(error, MoverError::Refused(_)), "{error}");
    assert!(lab.vault.store.list(&lab.vault.bucket, "").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_dies_and_a_vault_that_fails_are_both_noticed() {
    let lab = lab().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(from.path().join("a"), noise(3 << 20, 1)).unwrap();

    // The first half of a true stream, and then the connection is gone.
    let mut half = Vec::new();
    let mut sender = crate::vault::wire::Sender::new(&mut half);
    sender.directory(&crate::vault::wire::Meta::default()).unwrap();
    let meta = crate::vault::wire::Meta { path: b"a".to_vec(), size: 3 << 20, ..Default::default() };
    let content = noise(3 << 20, 1);
    sender.file(&meta, |sink| std::io::Write::write_all(sink, &content)).unwrap();
    sender.finish().unwrap();
    half.truncate(half.len() / 2);
    let pieces = [Ok(bytes::Bytes::from(half)), Err(std::io::Error::other("killed"))];
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let common = lab.common(from.path());
    let client = connect::client(&common).unwrap();
    let put = client.put(connect::url(&common, "points/p1/volumes/data")).body(body);
    assert!(connect::send(&common, put).await.is_err());
    assert_eq!(lab.snapshots().await, 0);

    push::run(&lab.push(from.path())).await.unwrap();
    let data = format!("{}/data/", lab.vault.repository_path());
    for pack in lab.vault.store.list(&lab.vault.bucket, &data).await.unwrap() {
        if pack.size > 1 << 20 {
            lab.vault.store.delete(&lab.vault.bucket, &pack.key).await.unwrap();
        }
    }
    assert!(
        pull::run(&PullArgs { common: lab.common(to.path()), replace: false, restore: None }).await.is_err()
    );
}

/// Where the volume of the test below is, in the process that has it.
const FULL: &str = "TRIPOD_TEST_FULL_VOLUME";

/// On a volume with too little room: a file system in a mount namespace of another process, which goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_too_small_is_an_error_that_says_so() {
    let Some(to) = std::env::var_os(FULL) else {
        let folder = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=1m none \"$1\" && exec \"$2\" --exact --nocapture \"$3\"";
        let this = "mover::tests::a_volume_that_is_too_small_is_an_error_that_says_so";
        let mut apart = Command::new("unshare");
        apart.args(["--map-root-user", "--mount", "/bin/sh", "-euc", script, "sh"]);
        apart.arg(folder.path()).arg(std::env::current_exe().unwrap()).arg(this).env(FULL, folder.path());
        let ended = apart.output().unwrap();
        let told = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success() && told.contains("1 passed"), "{ended:?}");
        return;
    };
    let lab = lab().await;
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("small"), noise(1000, 1)).unwrap();
    fs::write(from.path().join("z-too-large"), noise(2 << 20, 2)).unwrap();
    push::run(&lab.push(from.path())).await.unwrap();
    let args = PullArgs { common: lab.common(Path::new(&to)), replace: false, restore: None };
    let error = pull::run(&args).await.unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
}

/// Not a proof but a measurement: `TRIPOD_TEST_PUSH_MIB` of noise in one file, and the most memory that mover and
/// gateway, here one process, ever held.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, and slow"]
async fn a_large_file_takes_little_memory() {
    use std::io::Write as _;
    let lab = lab().await;
    let mib: u64 = std::env::var("TRIPOD_TEST_PUSH_MIB").map_or(256, |text| text.parse().unwrap());
    let from = tempfile::tempdir().unwrap();
    let mut file = fs::File::create(from.path().join("large")).unwrap();
    for piece in 0..mib {
        file.write_all(&noise(1 << 20, piece)).unwrap();
    }
    let began = std::time::Instant::now();
    let report = push::run(&lab.push(from.path())).await.unwrap();
    assert_eq!(report.part.bytes, mib << 20);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{mib} MiB in {:?}; {peak}", began.elapsed());
}
