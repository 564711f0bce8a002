//! The S3 engine: list, compare, copy, verify. Knows no Kubernetes.
//!
//! Two kinds of things are moved: *addressed* files, whose name is the digest of their content (a backup
//! repository), and *replicas*, versions of a bucket's objects. Both are proved by reading, never by a clock.

pub mod addressed;
mod body;
mod bucket;
pub mod engine;
pub mod error;
pub mod fair;
pub mod inventory;
pub mod materialise;
pub mod probe;
pub mod rate;
pub mod reach;
pub mod replica;
pub mod retain;
pub mod store;
pub mod sweep;
mod transfer;
pub mod wire;

pub use error::StoreError;
pub use reach::Reach;
pub use store::{Created, Listed, ObjectMeta, Store, StoreConfig};

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what was moved or read, for whoever wants to show it. Cheap, shared by reference.
#[derive(Debug, Default)]
pub struct Progress {
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// Adds one object of so many bytes.
    pub fn add(&self, bytes: u64) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Objects and bytes so far.
    #[must_use]
    pub fn so_far(&self) -> (u64, u64) {
        (self.objects.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}
