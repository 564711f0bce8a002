//! Where records are kept between runs: a folder of this machine, or a prefix of a bucket. Segments are never changed; one
//! index names those that count, and is replaced as a whole.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::record::{Decoder, Described, Segment, decode};
use crate::StoreError;
use crate::wire::{About, Condition, Found, Outgoing, Part, Wire};

const INDEX: &str = "index.json";
const INTENTS: &str = "uploads/";

/// Where it is kept.
#[derive(Clone, Debug)]
pub enum Place {
    /// Nowhere: every run compares what both sides list, and a deletion at the source is not recognised.
    Nowhere,
    /// A folder of this machine; one run at a time uses it.
    Folder(PathBuf),
    /// Under a prefix that ends in `/`.
    Bucket { wire: Wire, bucket: String, prefix: String },
}

/// The segments that count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Of this format.
    pub version: u32,
    /// What is replicated where: a manifest is of no use for anything else.
    pub of: String,
    /// In the order of their keys.
    pub segments: Vec<Described>,
}

/// An opened manifest.
pub struct Manifest {
    place: Place,
    index: Index,
    /// What the store calls the index that was read: whoever replaces another one is too late.
    etag: Condition,
    /// Held for as long as the run takes.
    _lock: Option<File>,
    /// Segments that do not count yet.
    written: BTreeSet<String>,
    /// Something was committed since it was opened.
    has_changed: bool,
}

const VERSION: u32 = 1;
/// Of a segment that counts.
const GONE: &str = "is gone; delete this manifest and adopt the target: what is equal there stays";
/// Ends the name of what is still being written.
const NEW: &str = ".new";

impl Manifest {
    /// Opens it, or begins one.
    ///
    /// # Errors
    /// When it can't be read, is another's, or is used by another run.
    pub async fn open(place: Place, of: &str) -> Result<Self, StoreError> {
        let lock = match &place {
            Place::Folder(folder) => Some(locked(folder)?),
            _ => None,
        };
        let mut manifest = Self {
            place,
            index: Index { version: VERSION, of: of.to_owned(), segments: Vec::new() },
            etag: Condition::Absent,
            _lock: lock,
            written: BTreeSet::new(),
            has_changed: false,
        };
        if let Some(bytes) = manifest.read_index().await? {
            let index: Index = serde_json::from_slice(&bytes).map_err(|e| wrong(INDEX, &e.to_string()))?;
            if index.version != VERSION {
                return Err(wrong(INDEX, &format!("is of format {}, and this is {VERSION}", index.version)));
            }
            if index.of != of {
                return Err(wrong(INDEX, &format!("is of {}, not of {of}; name another place", index.of)));
            }
            manifest.index = index;
        }
        Ok(manifest)
    }

    /// The segments, as they were at the last commit.
    #[must_use]
    pub fn segments(&self) -> &[Described] {
        &self.index.segments
    }

    /// Whether there is nothing on record.
    #[must_use]
    pub fn is_new(&self) -> bool {
        matches!(self.etag, Condition::Absent) && self.index.segments.is_empty()
    }

    pub(super) fn reader(&self) -> Reader {
        Reader { place: self.place.clone() }
    }

    /// Keeps a segment, unless it is kept already.
    pub(super) async fn keep(&mut self, segment: Segment) -> Result<Described, StoreError> {
        if let Some(kept) = self.kept(&segment.described) {
            return Ok(kept);
        }
        let name = &segment.described.name;
        if !self.written.contains(name) {
            self.reader().write(&segment_name(name), segment.bytes.into()).await?;
            self.written.insert(name.clone());
        }
        Ok(segment.described)
    }

    /// The same segment, if it counts already.
    fn kept(&self, described: &Described) -> Option<Described> {
        let counting = &self.index.segments;
        let from = counting.partition_point(|s| s.first < described.first);
        counting[from..].iter().take_while(|s| s.first == described.first).find(|s| *s == described).cloned()
    }

    /// These segments count from now on.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] where another run has committed since this one began.
    pub(super) async fn commit(&mut self, segments: Vec<Described>) -> Result<(), StoreError> {
        if segments == self.index.segments && !matches!(self.etag, Condition::Absent) {
            return Ok(());
        }
        let next = Index { version: VERSION, of: self.index.of.clone(), segments };
        let bytes = serde_json::to_vec(&next).map_err(|e| wrong(INDEX, &e.to_string()))?;
        self.write_index(bytes.into()).await?;
        let counts: BTreeSet<&str> = next.segments.iter().map(|s| s.name.as_str()).collect();
        let before = std::mem::take(&mut self.index.segments);
        // Only what counted before: a segment that was written since is about to count, though nobody has said so yet.
        for name in before.iter().map(|s| s.name.as_str()).filter(|name| !counts.contains(name)) {
            // Best effort: one that stays costs a little room, and is removed where it is written again.
            let _ = self.reader().remove(&segment_name(name)).await;
        }
        self.written.retain(|name| !counts.contains(name.as_str()));
        (self.index, self.has_changed) = (next, true);
        Ok(())
    }

    /// At the end of a run that has changed something: removes what those wrote who were killed before it counted.
    ///
    /// # Errors
    /// When it can't be listed or removed.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        if self.has_changed { self.reader().sweep(&self.index.segments).await } else { Ok(()) }
    }

    async fn read_index(&mut self) -> Result<Option<Bytes>, StoreError> {
        match &self.place {
            Place::Nowhere => Ok(None),
            Place::Folder(folder) => {
                let read = read(&folder.join(INDEX))?;
                if read.is_some() {
                    self.etag = Condition::None;
                }
                Ok(read)
            }
            Place::Bucket { wire, bucket, prefix } => {
                let key = format!("{prefix}{INDEX}");
                match wire.get(bucket, &key, Part::default()).await {
                    Ok(found) => {
                        self.etag = Condition::Is(found.etag.clone());
                        wire.rest(bucket, &key, found).await.map(Some)
                    }
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn write_index(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        match &self.place {
            Place::Nowhere => {}
            Place::Folder(folder) => {
                replace(folder, INDEX, &bytes)?;
                self.etag = Condition::None;
            }
            Place::Bucket { wire, bucket, prefix } => {
                let key = format!("{prefix}{INDEX}");
                let put = async |condition: &Condition| {
                    let body = Outgoing::Whole(Some(bytes.clone()));
                    wire.put(bucket, &key, &About::default(), condition, body, None).await
                };
                let written = match put(&self.etag).await {
                    // A store without conditions: two runs at once are then kept apart by their caller alone.
                    Err(StoreError::Unsupported { .. }) => put(&Condition::None).await,
                    written => written,
                };
                self.etag = match written {
                    Ok(written) => Condition::Is(written.etag),
                    Err(StoreError::Mismatch { .. }) => {
                        return Err(wrong(INDEX, "was written by another run since this one began"));
                    }
                    Err(error) => return Err(error),
                };
            }
        }
        Ok(())
    }
}

/// Reads and writes what an index names. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    place: Place,
}

impl Reader {
    /// # Errors
    /// When a segment that counts can't be read, or is damaged.
    pub(super) async fn records(&self, described: &Described) -> Result<Decoder, StoreError> {
        let bytes = self.read(&segment_name(&described.name)).await?;
        decode(described, bytes.ok_or_else(|| wrong(&described.name, GONE))?)
    }

    /// Removes segments that are not among those that count: what was written by those who were killed.
    pub(super) async fn sweep(&self, counting: &[Described]) -> Result<(), StoreError> {
        let counts: BTreeSet<String> = counting.iter().map(|segment| segment_name(&segment.name)).collect();
        for name in self.names(&segment_name("")).await? {
            if !counts.contains(&name) {
                self.remove(&name).await?;
            }
        }
        Ok(())
    }

    /// Remembers that an upload in parts is about to begin: what is left of it is found even when this process is killed.
    pub(super) async fn intend(&self, key: &str) -> Result<Intent, StoreError> {
        let name = format!("{INTENTS}{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(key)));
        self.write(&name, Bytes::copy_from_slice(key.as_bytes())).await?;
        Ok(Intent { name })
    }

    pub(super) async fn fulfilled(&self, intent: &Intent) {
        let _ = self.remove(&intent.name).await;
    }

    /// Keys of uploads that were begun and not known to have ended.
    pub(super) async fn intents(&self) -> Result<Vec<(Intent, String)>, StoreError> {
        let names = self.names(INTENTS).await?;
        let mut found = Vec::new();
        for name in names {
            let key = self.read(&name).await?.and_then(|bytes| String::from_utf8(bytes.into()).ok());
            found.extend(key.map(|key| (Intent { name }, key)));
        }
        Ok(found)
    }

    /// Names below a folder that ends in `/`.
    pub(super) async fn names(&self, below: &str) -> Result<Vec<String>, StoreError> {
        match &self.place {
            Place::Nowhere => Ok(Vec::new()),
            Place::Folder(folder) => match fs::read_dir(folder.join(below)) {
                Ok(entries) => Ok(entries
                    .filter_map(|entry| Some(format!("{below}{}", entry.ok()?.file_name().to_str()?)))
                    .filter(|name| !name.ends_with(NEW))
                    .collect()),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(io(&folder.join(below), &error)),
            },
            Place::Bucket { wire, bucket, prefix } => {
                let (at, mut names) = (format!("{prefix}{below}"), Vec::new());
                let (mut after, mut token) = (None::<String>, None::<String>);
                loop {
                    let list = || wire.list(bucket, &at, after.as_deref(), token.as_deref());
                    let page = wire.persist(list).await?;
                    let relative =
                        |entry: &crate::wire::Entry| entry.key.strip_prefix(prefix).map(str::to_owned);
                    names.extend(page.entries.iter().filter_map(relative));
                    after = page.entries.last().map(|entry| entry.key.clone());
                    if !page.truncated || after.is_none() {
                        return Ok(names);
                    }
                    // Where there is no order, only the store knows where it stopped.
                    token = page.token;
                }
            }
        }
    }

    pub(super) async fn read(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        match &self.place {
            Place::Nowhere => Ok(None),
            Place::Folder(folder) => read(&folder.join(name)),
            Place::Bucket { wire, bucket, prefix } => {
                let key = format!("{prefix}{name}");
                let read = async || -> Result<Bytes, StoreError> {
                    let found: Found = wire.get(bucket, &key, Part::default()).await?;
                    wire.rest(bucket, &key, found).await
                };
                match wire.persist(read).await {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    pub(super) async fn write(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        match &self.place {
            Place::Nowhere => Ok(()),
            Place::Folder(folder) => replace(folder, name, &bytes),
            Place::Bucket { wire, bucket, prefix } => {
                let key = format!("{prefix}{name}");
                let put = async || {
                    let body = Outgoing::Whole(Some(bytes.clone()));
                    wire.put(bucket, &key, &About::default(), &Condition::None, body, None).await
                };
                wire.persist(put).await.map(drop)
            }
        }
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), StoreError> {
        match &self.place {
            Place::Nowhere => Ok(()),
            Place::Folder(folder) => match fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(io(&folder.join(name), &error)),
                _ => Ok(()),
            },
            Place::Bucket { wire, bucket, prefix } => wire.delete(bucket, &format!("{prefix}{name}")).await,
        }
    }
}

/// An upload that was begun.
#[derive(Debug)]
pub(super) struct Intent {
    name: String,
}

fn segment_name(name: &str) -> String {
    format!("segments/{name}")
}

fn locked(folder: &Path) -> Result<File, StoreError> {
    fs::create_dir_all(folder.join("segments"))
        .and_then(|()| fs::create_dir_all(folder.join(INTENTS)))
        .and_then(|()| fs::create_dir_all(folder.join("journal")))
        .and_then(|()| fs::create_dir_all(folder.join("touched")))
        .map_err(|e| io(folder, &e))?;
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|e| io(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(wrong(&path.display().to_string(), "is held by another run")),
        Err(TryLockError::Error(error)) => Err(io(&path, &error)),
    }
}

fn read(path: &Path) -> Result<Option<Bytes>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(path, &error)),
    }
}

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Either the old content or the new is there, whatever happens. Never both.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let path = folder.join(name);
    // Unlike any other that is being written: what was killed may not have ended yet.
    let beside = path.with_extension(format!("{}{NEW}", COUNT.fetch_add(1, Ordering::Relaxed)));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    });
    written.and_then(|()| fs::rename(&beside, &path)).map_err(|e| io(&path, &e))
}

fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Other { what: path.display().to_string(), detail: error.to_string() }
}

fn wrong(what: &str, detail: &str) -> StoreError {
    StoreError::Other { what: format!("manifest, {what}"), detail: detail.to_owned() }
}

/// Shared by those who only read it.
pub(super) type Shared = Arc<tokio::sync::Mutex<Manifest>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::{Encoder, Proof, Record, Seen};
    use crate::wire::ETag;

    fn segment(key: &str) -> Segment {
        let seen = Seen { size: 1, etag: ETag::new("e"), modified: 0 };
        let mut encoder = Encoder::default();
        let record = Record {
            key: key.into(),
            source: seen.clone(),
            destination: seen,
            proof: Proof::ETag,
            newest: None,
        };
        encoder.add(&record).unwrap();
        encoder.finish().unwrap()
    }

    /// Segments are written, and said to count a moment later; others commit in between.
    #[tokio::test]
    async fn what_was_written_and_does_not_count_yet_outlives_a_commit_and_what_counts_no_more_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(Place::Folder(folder.path().into()), "a to b").await.unwrap();
        let first = manifest.keep(segment("a")).await.unwrap();
        manifest.commit(vec![first.clone()]).await.unwrap();
        let second = manifest.keep(segment("b")).await.unwrap();
        manifest.commit(Vec::new()).await.unwrap();
        manifest.commit(vec![second.clone()]).await.unwrap();
        let reader = manifest.reader();
        assert_eq!(reader.records(&second).await.unwrap().count(), 1);
        assert!(reader.records(&first).await.is_err());
        let again = manifest.keep(segment("a")).await.unwrap();
        assert_eq!(reader.records(&again).await.unwrap().count(), 1);
        // Killed here. Who comes next and changes nothing asks for nothing; who changes something clears up.
        drop(manifest);
        let mut manifest = Manifest::open(Place::Folder(folder.path().into()), "a to b").await.unwrap();
        manifest.commit(vec![second.clone()]).await.unwrap();
        manifest.sweep().await.unwrap();
        assert!(reader.records(&again).await.is_ok());
        let third = manifest.keep(segment("c")).await.unwrap();
        manifest.commit(vec![second.clone(), third.clone()]).await.unwrap();
        manifest.sweep().await.unwrap();
        assert!(reader.records(&again).await.is_err());
        assert!(reader.records(&second).await.is_ok() && reader.records(&third).await.is_ok());
    }
}
