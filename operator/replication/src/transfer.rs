//! One object from one store into another, streamed and hashed on its way. Nothing becomes visible at the destination before
//! size and digest were found right, and memory does not depend on how large it is.

use crate::StoreError;
use crate::wire::{About, Condition, ETag, Found, Hash, Outgoing, Part, Wire};

/// Up to this size, in bytes, an object is held in memory between its GET and its PUT.
const SMALL: u64 = 64 << 10;
/// Larger ones, in bytes, are sent in parts: of what breaks off, only the part is sent again.
const ONE_PIECE: u64 = 64 << 20;
/// S3 takes 10,000 parts at most: those of larger objects are larger.
const PARTS: u64 = 10_000;

/// Where an object is, or will be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    pub(crate) wire: &'a Wire,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
}

/// Which content of it is meant, and what it has to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meant<'a> {
    pub(crate) version: Option<&'a str>,
    /// Only if it is this one.
    pub(crate) etag: Option<&'a ETag>,
    /// Bytes.
    pub(crate) size: u64,
    /// In hex, where it is known.
    pub(crate) sha256: Option<&'a str>,
}

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// In hex.
    pub(crate) sha256: String,
    /// What the destination calls the version, where it keeps versions.
    pub(crate) version: Option<String>,
}

/// Copies it. What breaks off is for the caller to try again.
///
/// # Errors
/// [`StoreError::Mismatch`] where the source has something else than is meant; else what a call can fail with.
pub(crate) async fn transfer(from: At<'_>, meant: Meant<'_>, to: At<'_>) -> Result<Arrived, StoreError> {
    if meant.size > ONE_PIECE {
        return in_parts(from, meant, to).await;
    }
    let found = from.wire.get(from.bucket, from.key, part(&meant, None)).await?;
    if found.length != meant.size {
        return Err(wrong(from, &format!("it has {} bytes, and {} were listed", found.length, meant.size)));
    }
    let about = described(from, &meant, &found).await?;
    if found.length <= SMALL {
        let body = from.wire.rest(from.bucket, from.key, found).await?;
        let mut hash = Hash::default();
        hash.update(&body);
        let sha256 = right(from, &meant, &hash)?;
        let body = Outgoing::Whole(Some(body));
        let written = to.wire.put(to.bucket, to.key, &about, &Condition::None, body, None).await?;
        return Ok(Arrived { sha256, version: written.version });
    }
    let (body, passed, turned) = from.wire.pass_hashed(found, Hash::default(), meant.sha256);
    let sent = to.wire.put(to.bucket, to.key, &about, &Condition::None, body, Some(passed.clone())).await;
    // That it was not what it should be is why it broke off.
    let sha256 = turned.out().map(|hash| right(from, &meant, &hash)).transpose()?;
    let sent = sent.map_err(|error| blame(from, passed.is_broken(), error))?;
    let sha256 = sha256.ok_or_else(|| confirmed_early(to))?;
    Ok(Arrived { sha256, version: sent.version })
}

/// The digest of a whole object, with its size; nothing else is kept of it.
///
/// # Errors
/// What a call can fail with.
pub(crate) async fn digest(of: At<'_>, version: Option<&str>) -> Result<(String, u64), StoreError> {
    let found = of.wire.get(of.bucket, of.key, Part { version, ..Part::default() }).await?;
    let size = found.length;
    let hash = of.wire.hash(of.bucket, of.key, found).await?;
    Ok((hash.hex(), size))
}

async fn in_parts(from: At<'_>, meant: Meant<'_>, to: At<'_>) -> Result<Arrived, StoreError> {
    let bytes = meant.size.div_ceil(PARTS).max(ONE_PIECE);
    let first =
        from.wire.persist(|| from.wire.get(from.bucket, from.key, part(&meant, Some((0, bytes - 1)))));
    let first = first.await?;
    let about = described(from, &meant, &first).await?;
    drop(first);
    let upload = to.wire.create_upload(to.bucket, to.key, &about).await?;
    let sent = async {
        let (mut etags, mut hash, mut at) = (Vec::new(), Hash::default(), 0);
        while at < meant.size {
            let range = (at, (at + bytes).min(meant.size) - 1);
            let number = u32::try_from(etags.len() + 1).unwrap_or(u32::MAX);
            let send = || send_part(from, &meant, (range, &hash), to, (&upload, number));
            let (etag, so_far) = to.wire.persist(send).await?;
            etags.push(etag);
            (hash, at) = (so_far, range.1 + 1);
        }
        let sha256 = right(from, &meant, &hash)?;
        let done = to.wire.complete_upload((to.bucket, to.key), &upload, &etags, &Condition::None).await?;
        Ok(Arrived { sha256, version: done.version })
    };
    let sent = sent.await;
    if sent.is_err() {
        // Its parts would be kept, and paid for, for ever.
        let _ = to.wire.abort_upload(to.bucket, to.key, &upload).await;
    }
    sent
}

async fn send_part(
    from: At<'_>,
    meant: &Meant<'_>,
    (range, before): ((u64, u64), &Hash),
    to: At<'_>,
    (upload, number): (&str, u32),
) -> Result<(ETag, Hash), StoreError> {
    let found = from.wire.get(from.bucket, from.key, part(meant, Some(range))).await?;
    if found.length != range.1 - range.0 + 1 {
        return Err(wrong(from, &format!("it has fewer bytes than the {} that were listed", meant.size)));
    }
    let (body, passed, turned) = from.wire.pass_hashed(found, before.clone(), None);
    let sent = to.wire.upload_part((to.bucket, to.key), (upload, number), body, passed.clone()).await;
    let etag = sent.map_err(|error| blame(from, passed.is_broken(), error))?;
    Ok((etag, turned.out().ok_or_else(|| confirmed_early(to))?))
}

fn part<'a>(meant: &Meant<'a>, range: Option<(u64, u64)>) -> Part<'a> {
    Part { is: meant.etag, version: meant.version, range, ..Part::default() }
}

/// What S3 keeps beside the content, tags too where the store knows any.
async fn described(from: At<'_>, meant: &Meant<'_>, found: &Found) -> Result<About, StoreError> {
    let about = found.about.clone();
    if about.tags == 0 {
        return Ok(about);
    }
    match from.wire.tags(from.bucket, from.key, meant.version).await {
        Ok(tags) => Ok(about.with_tags(&tags)),
        Err(StoreError::Unsupported { .. }) => Ok(about),
        Err(error) => Err(error),
    }
}

fn right(from: At<'_>, meant: &Meant<'_>, hash: &Hash) -> Result<String, StoreError> {
    let sha256 = hash.hex();
    match meant.sha256 {
        Some(expected) if expected != sha256 => {
            Err(wrong(from, &format!("its SHA-256 is {sha256}, not {expected}")))
        }
        _ => Ok(sha256),
    }
}

fn wrong(from: At<'_>, detail: &str) -> StoreError {
    StoreError::Mismatch {
        bucket: from.bucket.to_owned(),
        key: from.key.to_owned(),
        detail: detail.to_owned(),
    }
}

/// The destination says that the body broke off; where the source broke it off, it is named.
fn blame(from: At<'_>, source_broke: bool, error: StoreError) -> StoreError {
    match error {
        StoreError::Unreachable { detail, .. } if source_broke => {
            StoreError::Unreachable { endpoint: from.wire.endpoint().to_owned(), detail }
        }
        error => error,
    }
}

fn confirmed_early(to: At<'_>) -> StoreError {
    StoreError::Unreachable {
        endpoint: to.wire.endpoint().to_owned(),
        detail: format!("{}/{} was confirmed before all of it was sent", to.bucket, to.key),
    }
}
