//! Real S3 servers of three makes, each tried out by the operator's own probe. What it finds is what is known of each, so
//! that a probe that is fooled, or a server that has changed, is noticed here and not by a department.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tripod_e2e::lab::Lab;
use tripod_e2e::lab::layout::Layout;
use tripod_e2e::lab::progress::Progress;
use tripod_e2e::lab::stores::{Make, Server, Stores};
use tripod_replication::probe::{Ability, Probe, probe};
use tripod_replication::{Reach, Store, StoreConfig};

use crate::fixture::lab_name;

/// On a machine that builds at the same time; alone it is a quarter of that.
const LONG: Duration = Duration::from_secs(8);

/// What differs between the makes, in this order: versitygw, Garage, Ceph, Ceph with versions. `+` is proven, `!` refuted,
/// `-` absent. What is not here is proven by all.
const KNOWN: [(&str, &str); 17] = [
    // Garage ignores conditions. Ceph 16 lets several creators win where versions are kept, and refuses an `ETag` in the
    // quotes that belong to it.
    ("conditionalWrites", "+!+!"),
    ("conditionalOverwrites", "+!!!"),
    ("checksums", "++--"),
    ("crc64nvme", "++--"),
    // Ceph 16 answers with the whole object.
    ("partReads", "++!!"),
    ("smallParts", "-+--"),
    ("versioning", "---+"),
    ("objectLock", "----"),
    ("tags", "+-++"),
    // What XML can't say, said in XML; and a path that is tidied up before it is looked at.
    ("key control", "!+++"),
    ("key dotSegments", "!+++"),
    ("key doubleSlash", "!+++"),
    ("key leadingSlash", "!!++"),
    // Files and folders.
    ("key folder", "-+++"),
    ("key longName", "-+++"),
    ("key nested", "-+++"),
    // Its database takes keys of 511 bytes.
    ("key longest", "+!++"),
];

/// A lab of its own, without clusters. Gone with the story, however it ends.
pub struct OwnLab(pub String);

impl OwnLab {
    /// A run that was killed may have left one, whose stores in memory have forgotten everything.
    pub fn anew() -> Result<Self> {
        let name = format!("{}-stores", lab_name());
        Lab::down(&name)?;
        Ok(Self(name))
    }
}

impl Drop for OwnLab {
    fn drop(&mut self) {
        if let Err(error) = Lab::down(&self.0) {
            eprintln!("{}: {error:#}", self.0);
        }
    }
}

#[test]
fn every_make_of_store_is_known_for_what_it_does() -> Result<()> {
    let lab = OwnLab::anew()?;
    let stores = Stores::ensure(&lab.0, &Progress::new(false))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut columns = Vec::new();
    for make in Make::ALL {
        let server = stores.start(make)?;
        let versions: &[bool] = if make == Make::Ceph { &[false, true] } else { &[false] };
        for versioned in versions {
            let column = runtime.block_on(try_out(&server, *versioned));
            columns.push(column.with_context(|| make.name())?);
        }
    }
    print_table(&columns);
    check(&columns)?;

    let folder = Layout::new(&lab.0)?.data();
    drop(lab);
    ensure!(!folder.exists(), "{} is left", folder.display());
    ensure!(running_in(&folder).is_empty(), "still there: {:?}", running_in(&folder));
    Ok(())
}

/// One probe as words, and nothing left of it.
async fn try_out(server: &Server, versioned: bool) -> Result<BTreeMap<String, Ability>> {
    let store = Store::connect(&StoreConfig {
        endpoint: server.endpoint.clone(),
        region: server.region.clone(),
        ca_pem: None,
        access_key_id: server.account.access_key_id.clone(),
        secret_access_key: server.account.secret_access_key.clone(),
        session_token: None,
        reach: Reach::default(),
    })?;
    let bucket = if versioned { "versions" } else { "plain" };
    store.ensure_bucket(bucket, versioned).await?;
    let started = Instant::now();
    let found = probe(&store, bucket, "probes/", "story").await?;
    println!("{} tried out in {} ms", server.endpoint, started.elapsed().as_millis());
    ensure!(started.elapsed() < LONG, "the probe took {} s", started.elapsed().as_secs());

    let left = store.list(bucket, "").await?;
    ensure!(left.is_empty(), "objects are left: {left:?}");
    // A bucket with versions, delete markers or open uploads in it can't be deleted: this does not clear it first.
    let s3 = aws_sdk_s3::Client::from_conf(aws_config(server));
    let uploads = s3.list_multipart_uploads().bucket(bucket).send().await?;
    ensure!(uploads.uploads().is_empty(), "uploads are left: {uploads:?}");
    s3.delete_bucket().bucket(bucket).send().await.context("something is left in the bucket")?;
    Ok(words(&found))
}

pub fn aws_config(server: &Server) -> aws_sdk_s3::Config {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    let account = &server.account;
    let keys = Credentials::new(&account.access_key_id, &account.secret_access_key, None, None, "story");
    aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&server.endpoint)
        .region(Region::new(server.region.clone()))
        .credentials_provider(keys)
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

/// As `status` of a Centre names them.
fn words(found: &Probe) -> BTreeMap<String, Ability> {
    let single = [
        ("conditionalWrites", found.conditional_writes),
        ("conditionalOverwrites", found.conditional_overwrites),
        ("checksums", found.checksums),
        ("crc64nvme", found.crc64nvme),
        ("md5Etags", found.md5_etags),
        ("partEtags", found.part_etags),
        ("partReads", found.part_reads),
        ("unevenParts", found.uneven_parts),
        ("smallParts", found.small_parts),
        ("versioning", found.versioning),
        ("objectLock", found.object_lock),
        ("listOrder", found.list_order),
        ("startAfter", found.start_after),
        ("unicodeMetadata", found.unicode_metadata),
        ("headers", found.headers),
        ("tags", found.tags),
    ];
    let keys = found.odd_keys.iter().map(|(kind, kept)| (format!("key {}", kind.name()), *kept));
    single.into_iter().map(|(name, ability)| (name.to_owned(), ability)).chain(keys).collect()
}

fn sign(ability: Ability) -> char {
    match ability {
        Ability::Proven => '+',
        Ability::Refuted => '!',
        Ability::Absent => '-',
        Ability::Unknown => '?',
    }
}

fn print_table(columns: &[BTreeMap<String, Ability>]) {
    println!("{:22} versitygw  garage  radosgw  radosgw with versions", "");
    for name in columns[0].keys() {
        let signs: Vec<_> = columns.iter().map(|column| format!("{:9}", sign(column[name]))).collect();
        println!("{name:22} {}", signs.concat());
    }
}

fn check(columns: &[BTreeMap<String, Ability>]) -> Result<()> {
    let known = BTreeMap::from(KNOWN);
    for name in columns[0].keys() {
        let found: String = columns.iter().map(|column| sign(column[name])).collect();
        let expected = known.get(name.as_str()).copied().unwrap_or("++++");
        ensure!(found == expected, "{name} is {found} and was known as {expected}");
    }
    Ok(())
}

/// Ids of processes whose command line names a folder.
fn running_in(folder: &Path) -> Vec<String> {
    let name = folder.display().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&name)
    });
    ids.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}
