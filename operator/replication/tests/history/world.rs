//! Two stores in memory that keep versions, a manifest between them, and what was ever written at the source.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use jiff::SignedDuration;
use tripod_replication::StoreError;
use tripod_replication::engine::{self, Counters, Depth, Filter, Finding, Options, Place, Report, Verified};

use crate::campaign::{PATIENT, is_free, side};
use crate::memory_store::{
    BucketOptions, Conditions, ETags, MemoryStore, ObjectLock, Options as Kind, Versioning,
};

pub const BUCKET: &str = "b";
/// Keys that are written to again and again, some of them odd.
pub const KEYS: [&str; 8] = ["a", "a/b", "a b+c%20d", "dir/", "目录/文件", "z\u{1}\nz", "\u{e9}", "-"];
pub const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Both stores, and what was ever written at the source.
pub struct World {
    pub source: Arc<MemoryStore>,
    pub target: Arc<MemoryStore>,
    pub folder: tempfile::TempDir,
    /// By key and `ETag`: how manieth content of its key it is.
    pub order: Arc<Mutex<BTreeMap<(String, String), u64>>>,
    pub locks: bool,
    /// Whether the target's history tells contents apart.
    pub tells: bool,
}

pub async fn store(kind: Kind, bucket: BucketOptions) -> Arc<MemoryStore> {
    let store = MemoryStore::start(kind).await.unwrap();
    store.create_bucket(BUCKET, bucket);
    Arc::new(store)
}

impl World {
    pub async fn new(random: &mut Rng) -> Self {
        let etags = |random: &mut Rng| if random.u8(..5) == 0 { ETags::Opaque } else { ETags::Md5 };
        let kind = |random: &mut Rng| Kind {
            etags: etags(random),
            no_part_number: random.u8(..4) == 0,
            page_size: random.usize(2..9),
            min_part_size: 1,
            history: true,
            ..Kind::default()
        };
        let locks = random.u8(..4) == 0;
        let object_lock = locks.then_some(ObjectLock { default: None });
        let bucket = BucketOptions { versioning: Versioning::Enabled, object_lock };
        let source = store(kind(random), bucket.clone()).await;
        let conditions = if random.u8(..6) == 0 { Conditions::Refused } else { Conditions::Honoured };
        let target_kind = Kind { conditions, ..kind(random) };
        let tells = target_kind.etags == ETags::Md5 && conditions == Conditions::Honoured;
        let target = store(target_kind, bucket).await;
        let folder = tempfile::tempdir().unwrap();
        Self { source, target, folder, order: Arc::default(), locks, tells }
    }

    /// Two that do nothing by chance.
    pub async fn plain() -> Self {
        Self {
            source: store(Kind::default(), BucketOptions::versioned()).await,
            target: store(Kind::default(), BucketOptions::versioned()).await,
            folder: tempfile::tempdir().unwrap(),
            order: Arc::default(),
            locks: false,
            tells: true,
        }
    }

    pub fn place(&self) -> Place {
        Place::Folder(self.folder.path().join("manifest"))
    }

    pub async fn run(&self, options: &Options) -> Result<Report, StoreError> {
        self.run_with(options, PATIENT).await
    }

    pub async fn run_with(&self, options: &Options, silence: Duration) -> Result<Report, StoreError> {
        let (from, to) = (side(&self.source, BUCKET, silence), side(&self.target, BUCKET, silence));
        engine::replicate(&from, &to, self.place(), options, &Arc::<Counters>::default()).await
    }

    pub async fn verify(&self, depth: Depth) -> (Verified, Vec<Finding>) {
        let (source, target, filter) =
            (side(&self.source, BUCKET, PATIENT), side(&self.target, BUCKET, PATIENT), Filter::default());
        let (mut findings, read) = (Vec::new(), Arc::default());
        let tell = |finding| findings.push(finding);
        let verified =
            engine::verify_versions(&source, &target, self.place(), &filter, depth, &read, tell).await;
        (verified.unwrap(), findings)
    }

    /// Nobody holds the manifest.
    pub async fn is_free(&self) {
        is_free(&self.folder.path().join("manifest")).await;
    }
}
