//! One system's part of one centre's vault: archive documents and streams, read them back, and say which packs
//! a snapshot needs. The format is restic's; the library is blocking, so every call moves to a blocking thread.

use std::collections::BTreeSet;
use std::io::{BufRead, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustic_core::repofile::{Node, NodeType, SnapshotFile};
use rustic_core::{
    BackupOptions, ConfigOptions, Credentials, IndexedFullStatus, KeyOptions, LsOptions, OpenStatus, Repository,
    RepositoryBackends, RepositoryOptions, RusticError, SnapshotOptions,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tripod_domain::manifest::Part;
use tripod_replication::{Created, Store, StoreError};

use super::backend::Backend;
use super::key::MasterKey;
use super::source::{StreamSource, unix_mode};
use super::{VaultError, layout};
use crate::files::{self, Entry, Kind, TreeDigest, read_listing};

/// How much of a file is read from the repository at once, in bytes.
const READ_AT_ONCE: usize = 1 << 20;

/// One system's part of one centre's vault. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SystemVault {
    pub store: Store,
    pub bucket: String,
    /// The system's namespace at its origin.
    pub system: String,
    password: Password,
}

#[derive(Clone)]
struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// One archived document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Relative path, unique within the archive.
    pub path: String,
    pub body: Vec<u8>,
}

impl SystemVault {
    #[must_use]
    pub fn new(store: Store, bucket: String, system: String, key: &MasterKey) -> Self {
        let password = Password(key.repository_password(&system));
        Self { store, bucket, system, password }
    }

    /// Makes the repository unless it is there. Of two that race, one makes it.
    ///
    /// # Errors
    /// When the store or the library fails.
    pub async fn ensure_repository(&self) -> Result<(), VaultError> {
        let marker = format!("{}config", layout::repository(&self.system));
        if self.store.head(&self.bucket, &marker).await?.is_some() {
            return Ok(());
        }
        // A claim by conditional write: two configs would be two keys, and half of each backup lost. Where the
        // store ignores the condition, leader election is what is left.
        let claim = format!("systems/{}/restic-claim", self.system);
        let nonce = Bytes::from(format!("{:?}", std::time::SystemTime::now()));
        if self.store.put_new(&self.bucket, &claim, nonce).await? == Created::AlreadyThere {
            // Left by a run that was killed in between, or held by one that is at work: its config decides.
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            if self.store.head(&self.bucket, &marker).await?.is_some() {
                return Ok(());
            }
        }
        self.blocking(|vault, repository| {
            let credentials = Credentials::password(&vault.password.0);
            repository.init(&credentials, &KeyOptions::default(), &ConfigOptions::default()).map(drop)
        })
        .await?;
        Ok(self.store.delete(&self.bucket, &claim).await?)
    }

    /// Archives a handful of documents as files under `/objects`.
    ///
    /// # Errors
    /// When the store or the library fails.
    pub async fn archive_documents(&self, point: &str, mut documents: Vec<Document>) -> Result<Part, VaultError> {
        documents.sort_by(|a, b| Path::new(&a.path).cmp(Path::new(&b.path)));
        let entries = with_folders(&documents);
        let mut stream = Vec::new();
        let mut digest = TreeDigest::default();
        let mut bodies = documents.into_iter();
        for entry in &entries {
            if matches!(entry.kind, Kind::File { .. }) {
                let body = bodies.next().map(|d| d.body).unwrap_or_default();
                digest.add(entry, Some(&<sha2::Sha256 as sha2::Digest>::digest(&body)));
                stream.extend_from_slice(&body);
            } else {
                digest.add(entry, None);
            }
        }
        let trailer = files::Trailer { digest: digest.finish() };
        files::write_line(&mut stream, &trailer).map_err(|e| self.stream_error("/objects", &e))?;
        self.archive(point, "objects", PathBuf::from("/objects"), entries, Box::new(Cursor::new(stream))).await
    }

    /// Archives the stream of a volume under `/volumes/<claim>`. A stream that breaks off leaves no snapshot.
    ///
    /// # Errors
    /// When the stream is hostile or breaks off, or the store or the library fails.
    pub async fn archive_stream(
        &self,
        point: &str,
        claim: &str,
        stream: impl BufRead + Send + 'static,
    ) -> Result<Part, VaultError> {
        let mut stream: Box<dyn BufRead + Send> = Box::new(stream);
        let listing = tokio::task::spawn_blocking(move || (read_listing(&mut stream), stream));
        let (entries, stream) = listing.await.map_err(|e| self.repository_error(&e.to_string()))?;
        let entries = entries.map_err(|e| self.stream_error(claim, &e))?;
        self.archive(point, "volume", Path::new("/volumes").join(claim), entries, stream).await
    }

    async fn archive(
        &self,
        point: &str,
        kind: &str,
        root: PathBuf,
        entries: Vec<Entry>,
        stream: Box<dyn BufRead + Send>,
    ) -> Result<Part, VaultError> {
        let files = entries.iter().filter(|e| matches!(e.kind, Kind::File { .. })).count() as u64;
        let bytes = entries.iter().map(Entry::size).sum();
        let tags = format!("point={point},kind={kind}");
        let what = root.display().to_string();
        let done = self.blocking(move |vault, repository| {
            let repository = repository.open(&Credentials::password(&vault.password.0))?.to_indexed_ids()?;
            let snapshot = SnapshotOptions::default().add_tags(&tags)?.host(vault.system.clone()).to_snapshot()?;
            let options = BackupOptions::default().no_scan(true).parent_opts(
                // Every stream is read whole, so nothing is gained by comparing with an earlier snapshot.
                rustic_core::ParentOptions::default().force(true),
            );
            let source = StreamSource::new(entries, root.clone(), stream);
            let snapshot = repository.archive(&options, &source, snapshot, &[root])?;
            let finished = source.finish();
            if finished.is_err() {
                // The library notes a file that fails and goes on; we do not keep what is not whole.
                repository.delete_snapshots(&[snapshot.id])?;
            }
            Ok((snapshot.id.to_hex().to_string(), finished))
        });
        let (snapshot, finished) = done.await?;
        let digest = finished.map_err(|e| self.stream_error(&what, &e))?;
        Ok(Part { snapshot, files, bytes, digest })
    }

    /// Reads back what [`Self::archive_documents`] wrote.
    ///
    /// # Errors
    /// When the store or the library fails, or a document is damaged.
    pub async fn read_documents(&self, snapshot: &str) -> Result<Vec<Document>, VaultError> {
        let snapshot = snapshot.to_owned();
        self.blocking(move |vault, repository| {
            let repository = vault.open(repository)?;
            let mut documents = Vec::new();
            for item in tree(&repository, &snapshot)? {
                let (path, node) = item?;
                if node.node_type == NodeType::File {
                    let mut body = Vec::new();
                    copy_file(&repository, &node, &mut body)?;
                    documents.push(Document { path: path.display().to_string(), body });
                }
            }
            Ok(documents)
        })
        .await
    }

    /// Writes a volume's snapshot as a stream. Blocks until the reader has taken everything.
    ///
    /// # Errors
    /// When the store or the library fails, or the reader goes away.
    pub async fn write_stream(&self, snapshot: &str, mut sink: impl Write + Send + 'static) -> Result<(), VaultError> {
        let snapshot = snapshot.to_owned();
        self.blocking(move |vault, repository| {
            let repository = vault.open(repository)?;
            let mut entries = Vec::new();
            let mut nodes = Vec::new();
            for item in tree(&repository, &snapshot)? {
                let (path, node) = item?;
                if let Some(entry) = entry_of(&path, &node) {
                    entries.push(entry);
                    nodes.push(node);
                }
            }
            files::write_listing(&mut sink, &entries).map_err(gone)?;
            let mut digest = TreeDigest::default();
            for (entry, node) in entries.iter().zip(&nodes) {
                if matches!(entry.kind, Kind::File { .. }) {
                    let mut hashed = Hashed { sink: &mut sink, hash: sha2::Digest::new() };
                    copy_file(&repository, node, &mut hashed)?;
                    let content = sha2::Digest::finalize(hashed.hash);
                    digest.add(entry, Some(&content));
                } else {
                    digest.add(entry, None);
                }
            }
            files::write_line(&mut sink, &files::Trailer { digest: digest.finish() }).map_err(gone)?;
            sink.flush().map_err(gone)
        })
        .await
    }

    /// Names of every file below the repository that these snapshots need: packs, and the snapshots themselves.
    ///
    /// # Errors
    /// When a tree can't be read: then the snapshot is damaged, and the error says where.
    pub async fn needed_by(&self, snapshots: &[String]) -> Result<BTreeSet<String>, VaultError> {
        let snapshots = snapshots.to_vec();
        self.blocking(move |vault, repository| {
            let repository = vault.open(repository)?;
            let mut names = BTreeSet::new();
            let mut add = |pack: String| names.insert(format!("data/{}/{pack}", &pack[..2]));
            let mut kept = Vec::new();
            for id in &snapshots {
                kept.push(format!("snapshots/{id}"));
                let root: SnapshotFile = one_snapshot(&repository, id)?;
                add(repository.get_index_entry(&root.tree)?.pack.to_hex().to_string());
                for item in tree(&repository, id)? {
                    let (_, node) = item?;
                    if let Some(subtree) = &node.subtree {
                        add(repository.get_index_entry(subtree)?.pack.to_hex().to_string());
                    }
                    for blob in node.content.iter().flatten() {
                        add(repository.get_index_entry(blob)?.pack.to_hex().to_string());
                    }
                }
            }
            names.extend(kept);
            Ok(names)
        })
        .await
    }

    /// Reads a JSON document of the vault, or `None` where there is none.
    ///
    /// # Errors
    /// When the store fails or the document is not what is expected.
    pub async fn read_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, VaultError> {
        match self.store.get(&self.bucket, key).await {
            Ok(body) => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|e| VaultError::Malformed { key: key.to_owned(), detail: e.to_string() }),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a JSON document of the vault.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn write_json(&self, key: &str, value: &(impl Serialize + Sync)) -> Result<(), StoreError> {
        let body = serde_json::to_vec_pretty(value)
            .map_err(|e| StoreError::Other { what: key.to_owned(), detail: e.to_string() })?;
        self.store.put(&self.bucket, key, body.into()).await
    }

    fn open(&self, repository: Repository<()>) -> Result<Indexed, Box<RusticError>> {
        repository.open(&Credentials::password(&self.password.0)).and_then(Repository::<OpenStatus>::to_indexed)
    }

    /// Runs blocking work on this repository.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self, Repository<()>) -> Result<T, Box<RusticError>> + Send + 'static,
    ) -> Result<T, VaultError> {
        let vault = self.clone();
        let backend = Backend::new(self.store.clone(), self.bucket.clone(), layout::repository(&self.system));
        let done = tokio::task::spawn_blocking(move || {
            let backends = RepositoryBackends::new(Arc::new(backend), None);
            // No cache: the container's file system is read-only, and the store is near.
            let options = RepositoryOptions::default().no_cache(true);
            Repository::new(&options, &backends).and_then(|repository| work(&vault, repository))
        });
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.sort(&error)),
            Err(panic) => Err(self.repository_error(&panic.to_string())),
        }
    }

    /// A failure of the store below the library is a failure of the store.
    fn sort(&self, error: &RusticError) -> VaultError {
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            if let Some(store) = cause.downcast_ref::<StoreError>() {
                return VaultError::Store(store.clone());
            }
            source = cause.source();
        }
        self.repository_error(&error.to_string())
    }

    fn repository_error(&self, detail: &str) -> VaultError {
        let detail = detail.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect();
        VaultError::Repository { system: self.system.clone(), detail }
    }

    fn stream_error(&self, what: &str, error: &std::io::Error) -> VaultError {
        VaultError::Stream { what: format!("{}/{what}", self.system), detail: error.to_string() }
    }
}

type Indexed = Repository<IndexedFullStatus>;

fn one_snapshot(repository: &Indexed, id: &str) -> Result<SnapshotFile, Box<RusticError>> {
    repository.get_snapshot_from_str(id, |_| true)
}

/// Everything below the root of a snapshot; paths relative to it, in the order of the stream.
fn tree<'a>(
    repository: &'a Indexed,
    snapshot: &str,
) -> Result<impl Iterator<Item = Result<(PathBuf, Node), Box<RusticError>>> + 'a, Box<RusticError>> {
    let snapshot = one_snapshot(repository, snapshot)?;
    let root = snapshot.paths.iter().next().cloned().unwrap_or_default();
    let node = repository.node_from_snapshot_and_path(&snapshot, root.trim_start_matches('/'))?;
    repository.ls(&node, &LsOptions::default()).map(|items| items.collect::<Vec<_>>().into_iter())
}

fn copy_file(repository: &Indexed, node: &Node, sink: &mut impl Write) -> Result<(), Box<RusticError>> {
    let file = repository.open_file(node)?;
    let size = usize::try_from(node.meta.size).unwrap_or(usize::MAX);
    let mut at = 0;
    while at < size {
        let bytes = repository.read_file_at(&file, at, READ_AT_ONCE.min(size - at))?;
        if bytes.is_empty() {
            return Err(gone(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "a file is shorter than recorded")));
        }
        sink.write_all(&bytes).map_err(gone)?;
        at += bytes.len();
    }
    Ok(())
}

fn gone(error: std::io::Error) -> Box<RusticError> {
    RusticError::with_source(rustic_core::ErrorKind::InputOutput, "the stream failed", error)
}

fn entry_of(path: &Path, node: &Node) -> Option<Entry> {
    let kind = match &node.node_type {
        NodeType::File => Kind::File { size: node.meta.size },
        NodeType::Dir => Kind::Folder,
        link @ NodeType::Symlink { .. } => Kind::Link { target: link.to_link().display().to_string() },
        _ => return None,
    };
    let meta = &node.meta;
    Some(Entry {
        path: path.display().to_string(),
        kind,
        mode: unix_mode(meta.mode.unwrap_or(0o644)),
        uid: meta.uid.unwrap_or(0),
        gid: meta.gid.unwrap_or(0),
        mtime: meta.mtime.map_or(0, |t| i64::try_from(t.as_nanosecond()).unwrap_or(0)),
    })
}

/// The entries of documents, with the folders they lie in.
fn with_folders(documents: &[Document]) -> Vec<Entry> {
    let entry = |path: &str, kind, mode| Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0, mtime: 0 };
    let mut folders = BTreeSet::new();
    for document in documents {
        for (at, _) in document.path.match_indices('/') {
            folders.insert(&document.path[..at]);
        }
    }
    let files = documents.iter().map(|d| entry(&d.path, Kind::File { size: d.body.len() as u64 }, 0o600));
    let mut entries: Vec<Entry> = folders.into_iter().map(|f| entry(f, Kind::Folder, 0o700)).chain(files).collect();
    entries.sort_by(|a, b| Path::new(&a.path).cmp(Path::new(&b.path)));
    entries
}

/// Passes bytes on and hashes them.
struct Hashed<'a, W> {
    sink: &'a mut W,
    hash: sha2::Sha256,
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.sink.write(buffer)?;
        sha2::Digest::update(&mut self.hash, &buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}
