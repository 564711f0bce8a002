//! Versions of a replica made into a bucket of their own, for a drill or a takeover to work on.

use std::fmt::Write as _;

use futures::{StreamExt, TryStreamExt, stream};

use crate::replica::{Replica, Version, copy_one};
use crate::store::persist;
use crate::{Progress, Store, StoreError};

/// Objects in flight at once.
const AT_ONCE: usize = 8;
/// The most that S3 copies by itself in one call, in bytes.
const COPY_LIMIT: u64 = 5 << 30;

/// Copies versions of a replica into another bucket of the same store, which has to exist: within the store where it
/// can do that, by GET and PUT where it can't.
///
/// # Errors
/// The first object that can't be copied: half a bucket is no use to anyone.
pub async fn materialise(
    replica: &Replica,
    versions: &[Version],
    bucket: &str,
    progress: &Progress,
) -> Result<(), StoreError> {
    let into = Replica { store: replica.store.clone(), bucket: bucket.to_owned(), prefix: String::new() };
    let into = &into;
    let copies = stream::iter(versions.iter().cloned())
        .map(|version| async move { copy(replica, &version, into, progress).await });
    copies.buffer_unordered(AT_ONCE).try_collect().await
}

async fn copy(
    from: &Replica,
    version: &Version,
    into: &Replica,
    progress: &Progress,
) -> Result<(), StoreError> {
    let within = match &version.version_id {
        Some(id) if version.size <= COPY_LIMIT => copy_within(from, version, id, into).await?,
        // Without a version id only reading proves that this is the content on record.
        _ => false,
    };
    if !within {
        persist(|| copy_one(from, version, into)).await?;
    }
    progress.add(version.size);
    Ok(())
}

/// False where the store can't.
async fn copy_within(
    from: &Replica,
    version: &Version,
    id: &str,
    into: &Replica,
) -> Result<bool, StoreError> {
    let key = format!("{}{}", from.prefix, version.key);
    let source = format!("{}/{}?versionId={}", from.bucket, encoded(&key), encoded(id));
    let request =
        into.store.client().copy_object().bucket(&into.bucket).key(&version.key).copy_source(source);
    let sent = request.customize().config_override(Store::for_body(usize::MAX)).send().await;
    // Errors are about the source: with a bucket just made, the destination is rarely at fault.
    match sent.map_err(|e| from.store.target(&from.bucket, &key).sort(&e)) {
        Ok(_) => Ok(true),
        Err(StoreError::Unsupported { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// As in a URL, slashes kept: the SDK sends the name of the source as it is given.
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn the_name_of_a_source_survives_a_header() {
        assert_eq!(encoded("a b/c+d?e%/目"), "a%20b/c%2Bd%3Fe%25/%E7%9B%AE");
    }
}
