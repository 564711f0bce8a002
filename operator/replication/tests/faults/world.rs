//! Two stores in memory, a manifest between them, and what was ever written at the source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use jiff::SignedDuration;
use tripod_replication::StoreError;
use tripod_replication::engine::{self, Counters, Options, Place, Report};

use crate::campaign::{HASTY, is_free, side};
use crate::memory_store::{BucketOptions, Conditions, ETags, MemoryStore, Options as Kind, Order};

pub const BUCKET: &str = "b";
pub const KEY: &str = "key";
/// Keys that are written to again and again, some of them odd.
pub const KEYS: [&str; 12] = [
    "a",
    "a/b",
    "a//b",
    "a/../b",
    "a b+c%20d",
    "dir/",
    "目录/文件",
    "z\u{1}\nz",
    "\u{e9}",
    "e\u{301}",
    "-",
    "~",
];

/// Both stores, and what was ever written at the source.
pub struct World {
    pub source: Arc<MemoryStore>,
    pub target: Arc<MemoryStore>,
    pub folder: tempfile::TempDir,
    /// By key and `ETag`: how manieth content of its key it is.
    pub order: Arc<Mutex<BTreeMap<(String, String), u64>>>,
    /// Keys that somebody else has written at the target, and the source never had.
    pub foreign: BTreeSet<String>,
    /// Whether the target's history tells contents apart.
    pub tells: bool,
}

impl World {
    pub async fn new(random: &mut Rng) -> Self {
        let etags = |random: &mut Rng| if random.u8(..6) == 0 { ETags::Opaque } else { ETags::Md5 };
        let kind = |random: &mut Rng| Kind {
            etags: etags(random),
            no_part_number: random.u8(..4) == 0,
            page_size: random.usize(2..9),
            min_part_size: 1,
            order: if random.u8(..10) == 0 { Order::Backwards } else { Order::Keys },
            clock_offset: SignedDuration::from_secs(random.i64(-3600..3600)),
            history: true,
            ..Kind::default()
        };
        let source = MemoryStore::start(kind(random)).await.unwrap();
        let mut options = kind(random);
        if random.u8(..8) == 0 {
            options.conditions = Conditions::Refused;
        }
        let tells = options.etags == ETags::Md5 && options.conditions == Conditions::Honoured;
        let target = MemoryStore::start(options).await.unwrap();
        for store in [&source, &target] {
            let versioned = if random.bool() { BucketOptions::versioned() } else { BucketOptions::default() };
            store.create_bucket(BUCKET, versioned);
        }
        Self {
            source: Arc::new(source),
            target: Arc::new(target),
            folder: tempfile::tempdir().unwrap(),
            order: Arc::default(),
            foreign: BTreeSet::new(),
            tells,
        }
    }

    pub fn place(&self) -> Place {
        Place::Folder(self.folder.path().join("manifest"))
    }

    pub async fn run(&self, options: &Options) -> Result<Report, StoreError> {
        self.run_with(options, HASTY).await
    }

    pub async fn run_with(&self, options: &Options, silence: Duration) -> Result<Report, StoreError> {
        let (from, to) = (side(&self.source, BUCKET, silence), side(&self.target, BUCKET, silence));
        engine::replicate(&from, &to, self.place(), options, &Arc::<Counters>::default()).await
    }

    /// As for events of some keys, of which some never were.
    pub async fn touch(&self, options: &Options, random: &mut Rng) {
        let mut keys = KEYS.map(str::to_owned).to_vec();
        random.shuffle(&mut keys);
        keys.truncate(random.usize(1..KEYS.len()));
        keys.push("never there".to_owned());
        let counters = Arc::new(Counters::default());
        let (source, target) = (side(&self.source, BUCKET, HASTY), side(&self.target, BUCKET, HASTY));
        let keys = keys.into_iter().collect();
        // That no whole run has begun yet is one of its answers.
        let _ = engine::touch(&source, &target, self.place(), options, &keys, &counters).await;
    }

    /// Nobody holds the manifest.
    pub async fn is_free(&self) {
        is_free(&self.folder.path().join("manifest")).await;
    }
}
