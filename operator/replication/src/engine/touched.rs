//! What was copied key by key since the last whole run, kept beside the segments until a whole run has taken it in.
//!
//! A note only spares work: without it, a key is as the manifest has it, or was begun by the journal, and is copied again.

use std::collections::HashMap;

use bytes::Bytes;

use super::manifest::Reader;
use super::record::{Description, Encoder, Record, decode};
use crate::StoreError;
use crate::wire::Entry;

const FOLDER: &str = "touched/";
/// Headers tell moments in seconds, listings often in milliseconds.
const SECOND: i64 = 1000;

/// Keeps records, which come in the order of their keys, under a name that is younger than all before.
pub(super) async fn keep(place: &Reader, run: &str, records: &[Record]) -> Result<(), StoreError> {
    let mut encoder = Encoder::default();
    for record in records {
        encoder.add(record)?;
    }
    let Some(segment) = encoder.finish() else { return Ok(()) };
    place.write(&format!("{FOLDER}{run}-{}", segment.described.name), segment.bytes.into()).await
}

/// All notes of a manifest.
#[derive(Debug, Default)]
pub(super) struct Touched {
    names: Vec<String>,
    /// By key, the youngest of each.
    records: HashMap<String, Record>,
}

impl Touched {
    pub(super) async fn find(place: &Reader) -> Result<Self, StoreError> {
        let mut names = place.names(FOLDER).await?;
        names.sort();
        let mut records = HashMap::new();
        for name in &names {
            let Some(bytes) = place.read(name).await? else { continue };
            match read(name, &bytes) {
                Ok(noted) => records.extend(noted.into_iter().map(|record| (record.key.clone(), record))),
                Err(error) => tracing::warn!(%error, "a note is left aside"),
            }
        }
        Ok(Self { names, records })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Record> {
        self.records.get(key)
    }

    /// Those that were kept before a run began are in the manifest now: names of runs are in the order of their beginnings.
    pub(super) async fn forget_before(&self, place: &Reader, run: &str) -> Result<(), StoreError> {
        let is_older = |name: &&String| name.strip_prefix(FOLDER).is_some_and(|name| name < run);
        for name in self.names.iter().filter(is_older) {
            place.remove(name).await?;
        }
        Ok(())
    }

    /// They are in the manifest now.
    pub(super) async fn forget(&self, place: &Reader) -> Result<(), StoreError> {
        for name in &self.names {
            place.remove(name).await?;
        }
        Ok(())
    }
}

fn read(name: &str, bytes: &Bytes) -> Result<Vec<Record>, StoreError> {
    let name = name.rsplit_once('-').map_or(name, |(_, digest)| digest).to_owned();
    let described = Description { name, first: String::new(), last: String::new(), count: 0 };
    decode(&described.into(), bytes.clone())?.collect()
}

/// What is on record of a key: the note, where the source still has what it is about; else what the manifest says.
pub(super) fn known(record: Option<Record>, note: Option<&Record>, entry: Option<&Entry>) -> Option<Record> {
    let Some(note) = note else { return record };
    let Some(entry) = entry else { return record.or_else(|| Some(note.clone())) };
    let mut note = note.clone();
    note.source.modified = precise(note.source.modified, entry.modified);
    if note.source.is_still(entry) { Some(note) } else { record.or(Some(note)) }
}

/// A moment as another source tells it, where it is the same one.
pub(super) fn precise(moment: i64, other: i64) -> i64 {
    if (moment - other).abs() < SECOND { other } else { moment }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manifest::{Manifest, Place};
    use crate::engine::record::{Proof, Seen};
    use crate::wire::ETag;

    fn record(key: &str, etag: &str, modified: i64) -> Record {
        let seen = |modified| Seen { size: 1, etag: ETag::new(etag), modified };
        Record {
            key: key.into(),
            source: seen(modified),
            destination: seen(0),
            proof: Proof::ETag,
            newest: None,
        }
    }

    fn entry(etag: &str, modified: i64) -> Entry {
        Entry { key: "k".into(), size: 1, etag: ETag::new(etag), modified, version: None }
    }

    #[test]
    fn a_note_counts_while_the_source_has_what_it_is_about() {
        let (old, note) = (record("k", "a", 1_100), record("k", "b", 5_000));
        let of = |entry: &Entry| known(Some(old.clone()), Some(&note), Some(entry)).unwrap().source;
        // The listing is more precise than the header was.
        assert_eq!((of(&entry("b", 5_700)).etag, of(&entry("b", 5_700)).modified), (ETag::new("b"), 5_700));
        // The same content was written again later.
        assert_eq!(of(&entry("b", 6_500)).etag, ETag::new("a"));
        // The note is of before the manifest: whoever wrote it was late.
        assert_eq!(of(&entry("a", 1_100)).etag, ETag::new("a"));
        assert_eq!(known(None, Some(&note), Some(&entry("c", 9_000))), Some(note.clone()));
        assert_eq!(known(None, Some(&note), None), Some(note.clone()));
        assert_eq!(known(Some(old.clone()), None, None), Some(old));
    }

    #[tokio::test]
    async fn the_youngest_note_counts_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::open(Place::Folder(folder.path().to_owned()), "a to b").await.unwrap();
        let place = manifest.reader();
        keep(&place, "2", &[record("a", "new", 2), record("b", "b", 2)]).await.unwrap();
        keep(&place, "1", &[record("a", "old", 1)]).await.unwrap();
        place.write("touched/3-00", Bytes::from_static(b"\x07damaged")).await.unwrap();
        keep(&place, "4", &[]).await.unwrap();
        let touched = Touched::find(&place).await.unwrap();
        assert_eq!((touched.names.len(), touched.records.len()), (3, 2));
        assert_eq!(touched.get("a").unwrap().source.etag, ETag::new("new"));
        touched.forget_before(&place, "2").await.unwrap();
        assert_eq!(Touched::find(&place).await.unwrap().names.len(), 2);
        touched.forget(&place).await.unwrap();
        assert!(Touched::find(&place).await.unwrap().names.is_empty());
    }
}
