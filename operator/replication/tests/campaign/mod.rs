//! What the campaigns of random histories have in common: seeds, faults, patience.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tripod_replication::engine::Side;
use tripod_replication::wire::{Patience, Wire};

use crate::memory_store::{Fault, Flip, MemoryStore, Operation};

/// While things go wrong: so short that no history takes long.
pub const HASTY: Duration = Duration::from_millis(150);
/// When nothing does: so long that a machine with other work to do is not taken for a store that is silent.
pub const PATIENT: Duration = Duration::from_secs(20);

/// A bucket of a store that is waited for so long.
pub fn side(store: &MemoryStore, bucket: &str, silence: Duration) -> Side {
    let patience = Patience { silence, pause: Duration::from_millis(2) };
    let side = Side::new(Wire::with_patience(&store.config(), patience).unwrap(), bucket, "");
    if store.is_unordered() { side.unsorted() } else { side }
}

/// Waits for a manifest: what was killed in this process lets its lock go a moment later.
pub async fn is_free(manifest: &Path) {
    let path = manifest.join("lock");
    for _ in 0..2000 {
        match std::fs::File::open(&path) {
            Ok(file) if file.try_lock().is_err() => tokio::time::sleep(Duration::from_millis(1)).await,
            _ => return,
        }
    }
    panic!("{} is held for ever", path.display());
}

/// One story for each seed: `TRIPOD_SEED` alone, or `TRIPOD_SEEDS` from `TRIPOD_FIRST_SEED` on; so many without that.
pub async fn stories<F: Future<Output = ()>>(count: u64, story: impl Fn(u64) -> F) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("TRIPOD_SEED") {
        return story(seed).await;
    }
    let seeds = number("TRIPOD_SEEDS").unwrap_or(count);
    let first = number("TRIPOD_FIRST_SEED").unwrap_or(1);
    for seed in first..first + seeds {
        story(seed).await;
    }
    println!("{seeds} seeds from {first}");
}

/// Bits that no fault flipped lately. A content that twice arrives damaged in the very same way can't be told from the
/// right one where an `ETag` says nothing of it; chance alone would bring that about once in some hundred histories.
fn next_bits() -> u8 {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    u8::try_from(NUMBER.fetch_add(1, Ordering::Relaxed) % 255 + 1).unwrap_or(u8::MAX)
}

/// What may go wrong with an operation.
pub fn fault(operation: Operation, random: &mut Rng) -> Fault {
    let flip = Flip { at: random.usize(..40), bits: next_bits() };
    let common = [
        Fault::ConnectionCutBefore,
        Fault::ReplyLost,
        Fault::Status(500),
        Fault::Status(503),
        Fault::Slow(Duration::from_millis(5)),
    ];
    let special = match operation {
        Operation::GetObject => vec![Fault::TruncatedBody, Fault::FlippedByte(flip), Fault::WrongETag],
        Operation::PutObject => vec![Fault::FlippedUpload(flip), Fault::Full(507), Fault::WrongETag],
        Operation::UploadPart => vec![Fault::FlippedUpload(flip), Fault::Full(507)],
        Operation::CompleteMultipartUpload => vec![Fault::ErrorInside200, Fault::Full(507)],
        Operation::ListObjectVersions => vec![Fault::ListDuplicate, Fault::TruncatedBody],
        Operation::ListObjectsV2 => vec![Fault::ListDuplicate, Fault::ListOutOfOrder, Fault::TruncatedBody],
        Operation::HeadObject => vec![Fault::WrongETag],
        _ => vec![],
    };
    // A peer that says nothing costs time: rarely.
    if random.u8(..60) == 0 {
        return Fault::HalfOpen;
    }
    if !special.is_empty() && random.bool() {
        return special[random.usize(..special.len())].clone();
    }
    common[random.usize(..common.len())].clone()
}
