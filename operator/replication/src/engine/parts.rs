//! Objects that were written in parts are copied in the same parts: so that both stores make the same digest.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};

use super::copy::{Copier, Wanted};
use crate::StoreError;
use crate::wire::{About, ETag, Found, Part, Written};

/// Parts of one object that are under way at once.
const AT_ONCE: usize = 4;
/// Part sizes that are usual, in MiB: where a store does not give parts by number, the one that fits the number of parts.
const USUAL: [u64; 10] = [8, 5, 16, 10, 32, 64, 100, 128, 256, 512];

/// S3 takes no more in one piece, in bytes; nor more parts than these.
const ONE_PIECE: u64 = 5 << 30;
const MOST: u64 = 10_000;
/// Parts of those of which nobody knows how they were cut, in bytes.
const LARGE: u64 = 64 << 20;

pub(super) enum Failed {
    AtSource(StoreError),
    AtDestination(StoreError),
}

/// Where an object is cut.
enum Cut {
    /// The store knows.
    ByNumber,
    /// Bytes of all parts but the last.
    Even(u64),
}

/// Copies in so many parts; `None` where nobody knows how it was cut and one piece will do.
pub(super) async fn copy(copier: &Copier, wanted: &Wanted, count: u32) -> Result<Option<Written>, Failed> {
    let from = &copier.source;
    let key = from.key(&wanted.key);
    let version = wanted.version.as_deref();
    let (about, found) = begin(copier, wanted, &key).await.map_err(Failed::AtSource)?;
    let size = wanted.seen.size;
    let parts = found.as_ref().and_then(|found| found.parts);
    let Some((cut, count)) = cut(copier, parts, size, count) else { return Ok(None) };
    let about = copier.described((&key, version), &about).await.map_err(Failed::AtSource)?;
    let (about, lock) = copier.protected(about, None);
    let to = &copier.destination;
    let at = to.key(&wanted.key);
    let intent = copier.manifest.intend(&at).await.map_err(Failed::AtDestination)?;
    if copier.doubts.has(&at) {
        clear(copier, &at).await.map_err(Failed::AtDestination)?;
        copier.doubts.settle(&at);
    }
    // From here on something may be left there, until it is known that nothing is.
    copier.doubts.raise(&at);
    let upload = to.wire.create_upload(&to.bucket, &at, &about).await.map_err(Failed::AtDestination)?;
    let all = async {
        // The first is under way already, where it is a part at all.
        let mut begun = found.filter(|_| matches!(cut, Cut::ByNumber));
        let numbers = (1..=count).map(|number| (number, if number == 1 { begun.take() } else { None }));
        let parts: Vec<_> = numbers.collect();
        let etags: Vec<ETag> = stream::iter(parts)
            .map(|(number, begun)| part(copier, wanted, &cut, (number, size), begun, (&at, &upload)))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let condition = copier.condition(wanted);
        let done = to.wire.complete_upload((&to.bucket, &at), &upload, &etags, &condition).await;
        done.map_err(Failed::AtDestination)
    };
    let result = all.await;
    if result.is_ok() || to.wire.abort_upload(&to.bucket, &at, &upload).await.is_ok() {
        copier.doubts.settle(&at);
        copier.manifest.fulfilled(&intent).await;
    }
    // Else the next attempt, or the next run, finds it by its intent.
    let written = result?;
    copier.lock(&at, written.version.as_deref(), lock).await.map_err(Failed::AtDestination)?;
    Ok(Some(written))
}

/// What belongs to the object, with its first part, where the source is not known to give none: it would send all of it.
async fn begin(copier: &Copier, wanted: &Wanted, key: &str) -> Result<(About, Option<Found>), StoreError> {
    let from = &copier.source;
    let version = wanted.version.as_deref();
    let whole = Part { is: Some(&wanted.seen.etag), version, ..Part::default() };
    if copier.knows.parts.load(Ordering::Relaxed) {
        let found = from.wire.get(&from.bucket, key, Part { number: Some(1), ..whole }).await?;
        return Ok((found.about.clone(), Some(found)));
    }
    let head = from.wire.head(&from.bucket, key, whole).await?;
    let gone = || StoreError::NotFound { bucket: from.bucket.clone(), key: key.to_owned() };
    head.map(|(_, about)| (about, None)).ok_or_else(gone)
}

/// Throws away what was begun for a key.
pub(super) async fn clear(copier: &Copier, key: &str) -> Result<(), StoreError> {
    let to = &copier.destination;
    for upload in to.wire.uploads(&to.bucket, key).await? {
        to.wire.abort_upload(&to.bucket, key, &upload).await?;
    }
    Ok(())
}

/// Keys for which an upload was begun of which it is not known how it ended.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<BTreeSet<String>>);

impl Doubts {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, key: &str) -> bool {
        self.keys().contains(key)
    }

    fn raise(&self, key: &str) {
        self.keys().insert(key.to_owned());
    }

    fn settle(&self, key: &str) {
        self.keys().remove(key);
    }
}

/// Where, and into how many.
fn cut(copier: &Copier, parts: Option<u32>, size: u64, count: u32) -> Option<(Cut, u32)> {
    if parts == Some(count) && copier.knows.parts.load(Ordering::Relaxed) {
        return Some((Cut::ByNumber, count));
    }
    copier.knows.parts.store(false, Ordering::Relaxed);
    if let Some(bytes) = even(size, count) {
        return Some((Cut::Even(bytes), count));
    }
    let bytes = size.div_ceil(MOST).max(LARGE);
    (size > ONE_PIECE).then(|| (Cut::Even(bytes), u32::try_from(size.div_ceil(bytes)).unwrap_or(u32::MAX)))
}

/// The usual part size that makes so many parts of so many bytes.
fn even(size: u64, count: u32) -> Option<u64> {
    if count == 1 {
        return Some(size.max(1));
    }
    USUAL.iter().map(|mib| mib << 20).find(|part| size.div_ceil(*part) == u64::from(count))
}

async fn part(
    copier: &Copier,
    wanted: &Wanted,
    cut: &Cut,
    (number, size): (u32, u64),
    begun: Option<Found>,
    (at, upload): (&str, &str),
) -> Result<ETag, Failed> {
    let (from, to) = (&copier.source, &copier.destination);
    let found = if let Some(found) = begun {
        found
    } else {
        copier.request().await;
        let (is, version) = (Some(&wanted.seen.etag), wanted.version.as_deref());
        let part = match cut {
            Cut::ByNumber => Part { is, number: Some(number), range: None, version },
            Cut::Even(bytes) => {
                let first = bytes * u64::from(number - 1);
                Part { is, number: None, range: Some((first, (first + bytes).min(size) - 1)), version }
            }
        };
        let key = from.key(&wanted.key);
        from.wire.get(&from.bucket, &key, part).await.map_err(Failed::AtSource)?
    };
    let (body, passed) = from.wire.pass(found, false, copier.pace.clone());
    to.wire.upload_part((&to.bucket, at), (upload, number), body, passed).await.map_err(Failed::AtDestination)
}

#[cfg(test)]
mod tests {
    use super::even;

    #[test]
    fn the_usual_size_that_fits_is_taken() {
        assert_eq!(even(20 << 20, 3), Some(8 << 20));
        assert_eq!(even(20 << 20, 4), Some(5 << 20));
        assert_eq!(even(3, 1), Some(3));
        assert_eq!(even(100, 7), None);
    }
}
