//! One system's part of one centre's vault: what the controllers and the gateway call.
//!
//! Promises: a repository is created once, however many operators try; a recovery point's part is only returned when
//! its snapshot holds every file that was sent; nothing here writes outside `systems/<namespace>/restic`.
//!
//! A system has a repository for each master key. Who makes a point uses that of the current key; who reads one, that of the
//! key it was made with ([`SystemVault::made_with`]).

use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use rustic_core::repofile::{FileType, MasterKey as RepositoryKey, SnapshotFile};
use rustic_core::{
    BackupOptions, ConfigOptions, Credentials, KeyOptions, OpenStatus, ReadBackend, Repository,
    RepositoryBackends, RepositoryOptions, RusticError, SnapshotOptions,
};
use tokio::runtime::Handle;
use tripod_domain::manifest::{Part, PointManifest};
use tripod_replication::{Store, StoreError};

use super::ahead::Ahead;
use super::backend::StoreBackend;
use super::digest::Totals;
use super::documents::DocumentStream;
use super::key::{KeyId, Keyring};
use super::seal::Seal;
use super::stream::StreamSource;
use super::{layout, read};

/// One system's repository in one centre's vault.
#[derive(Clone)]
pub struct SystemVault {
    /// The centre's store.
    pub store: Store,
    /// The vault.
    pub bucket: String,
    /// The system's namespace.
    pub system: String,
    keys: Arc<Keyring>,
    opened_with: KeyId,
    password: String,
    key: String,
    turn: Turn,
}

/// Who adds to a system's part of a vault shares it with others who add; who takes away has it alone.
pub type Turn = Arc<tokio::sync::RwLock<()>>;

/// A small file that is kept whole in memory: a Kubernetes object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Relative, with `/` between names.
    pub path: String,
    /// Its content.
    pub body: Vec<u8>,
}

/// Why the vault could not do it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// The repository is damaged, or the store failed under it.
    #[error("the repository failed: {}", .0.display_log())]
    Repository(Box<RusticError>),
    /// What was to be archived did not arrive whole; nothing was kept.
    #[error("nothing was archived: {0}")]
    Incomplete(String),
    /// It is not in the vault.
    #[error("the vault does not hold {0}")]
    NotFound(String),
    /// A document of the vault is not what this code writes.
    #[error("{key}: {detail}")]
    Malformed {
        /// Where it lies.
        key: String,
        /// What is wrong.
        detail: String,
    },
    /// A part was made with a master key that is not given.
    #[error(
        "the repository {0} was made with a master key that this operator is not given; put that key back into the Secret of \
         master keys, under any name but `key`"
    )]
    UnknownKey(String),
    /// A document's path is none.
    #[error("`{0}` is no path of a document")]
    Document(String),
    /// The other end of a stream is gone.
    #[error("the stream broke: {0}")]
    Stream(#[from] std::io::Error),
    /// The work was cancelled or panicked.
    #[error("the work ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl VaultError {
    /// Whether it may go away by itself: the store failed, here or below the repository.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Repository(error) => {
                let mut cause = std::error::Error::source(error.as_ref());
                while let Some(source) = cause {
                    if let Some(store) = source.downcast_ref::<StoreError>() {
                        return store.is_transient();
                    }
                    cause = source.source();
                }
                false
            }
            _ => false,
        }
    }
}

impl From<Box<RusticError>> for VaultError {
    fn from(error: Box<RusticError>) -> Self {
        Self::Repository(error)
    }
}

impl fmt::Debug for SystemVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemVault")
            .field("bucket", &self.bucket)
            .field("system", &self.system)
            .field("key", &self.opened_with)
            .finish_non_exhaustive()
    }
}

impl SystemVault {
    /// The part of the system in namespace `system`. Does not touch the store.
    #[must_use]
    pub fn new(store: Store, bucket: String, system: String, keys: impl Into<Keyring>) -> Self {
        let keys = Arc::new(keys.into());
        let master = keys.current();
        let (password, key) = (master.repository_password(&system), master.repository_key(&system));
        let opened_with = master.id();
        Self { store, bucket, system, keys, opened_with, password, key, turn: Turn::default() }
    }

    /// The same with the repository of this key, as a part or a manifest names it.
    ///
    /// # Errors
    /// When the key is not given to this operator.
    pub fn made_with(&self, key: &str) -> Result<Self, VaultError> {
        let unknown = || VaultError::UnknownKey(format!("{}{key}", layout::repositories(&self.system)));
        let master = self.keys.find(key).ok_or_else(unknown)?;
        Ok(Self {
            opened_with: master.id(),
            password: master.repository_password(&self.system),
            key: master.repository_key(&self.system),
            ..self.clone()
        })
    }

    /// The same with the repository that a point's parts lie in; a point of buckets alone has none.
    ///
    /// # Errors
    /// As [`Self::made_with`].
    pub fn of_point(&self, manifest: &PointManifest) -> Result<Self, VaultError> {
        manifest.key().map_or_else(|| Ok(self.clone()), |key| self.made_with(key))
    }

    /// The key that its repository is opened with.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        &self.opened_with
    }

    /// Whether new points are made with that key.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.keys.current().id() == self.opened_with
    }

    /// Where the repository lies in the bucket; without a slash at its end.
    #[must_use]
    pub fn repository_path(&self) -> String {
        layout::repository(&self.system, &self.opened_with)
    }

    /// The keys of all repositories that the system has here, known or not.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn repositories(&self) -> Result<Vec<String>, VaultError> {
        Ok(self.store.list_directories(&self.bucket, &layout::repositories(&self.system)).await?)
    }

    /// The repository with all that belongs to it goes. Only for one in which no snapshot is left.
    ///
    /// # Errors
    /// Those of the store. What was deleted until then is.
    pub async fn delete_repository(&self) -> Result<(), VaultError> {
        let (system, key) = (&self.system, &self.opened_with);
        for at in [layout::escrow_note(system, key), layout::escrow(system, key)] {
            self.store.delete(&self.bucket, &at).await?;
        }
        self.store.delete_prefix(&self.bucket, &format!("{}/", self.repository_path())).await?;
        Ok(())
    }

    /// The same, taking turns with all that have this turn.
    #[must_use]
    pub fn sharing(self, turn: Turn) -> Self {
        Self { turn, ..self }
    }

    /// While it lives, nothing that is there is taken away. [`archive_stream`](Self::archive_stream) and its like have one of
    /// their own: who holds one must not call them.
    pub async fn adding(&self) -> impl Drop + Send + use<> {
        Arc::clone(&self.turn).read_owned().await
    }

    /// While it lives, nothing is added.
    pub async fn sweeping(&self) -> impl Drop + Send + use<> {
        Arc::clone(&self.turn).write_owned().await
    }

    /// The password under which `restic` opens the repository. It stays in this module.
    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// Creates the repository when it is not there. Safe to call at any time, from any number of operators: the
    /// `config` is created by a conditional write, and whoever loses opens the winner's, because both derive one key.
    pub async fn ensure_repository(&self) -> Result<(), VaultError> {
        self.blocking(|vault, runtime| {
            let backend = vault.backend(&runtime, None);
            if backend.list_with_size(FileType::Config)?.is_empty() {
                let created = vault.repository(&runtime, None)?.init(
                    &vault.credentials()?,
                    &KeyOptions::default(),
                    &packs_of_one_size(),
                );
                if let Err(error) = created
                    && backend.list_with_size(FileType::Config)?.is_empty()
                {
                    return Err(error.into());
                }
            }
            // A key file lets `restic` open the repository by its password. It comes after the `config`, so a run
            // that was cut short between the two is made good here by the next one.
            if backend.list_with_size(FileType::Key)?.is_empty() {
                let host = KeyOptions::default().hostname("tripod".to_owned()).username("tripod".to_owned());
                vault.open(&runtime, None)?.add_key(&vault.password, &host)?;
            }
            Ok(())
        })
        .await
    }

    /// Archives Kubernetes objects as files below `/objects`, as they come. They have to come in path order, none twice.
    pub async fn archive_documents(
        &self,
        point: &str,
        documents: DocumentStream,
    ) -> Result<Part, VaultError> {
        self.archive(point, "objects", "/objects".into(), documents).await
    }

    /// Archives a volume that arrives as a stream (see [`wire`](super::wire)). When the stream is cut off or breaks a
    /// rule, there is an error and no snapshot.
    pub async fn archive_stream(
        &self,
        point: &str,
        claim: &str,
        tar: impl Read + Send + 'static,
    ) -> Result<Part, VaultError> {
        self.archive(point, "volume", format!("/volumes/{claim}").into(), tar).await
    }

    /// Reads back all that [`archive_documents`](Self::archive_documents) took.
    #[cfg(test)]
    pub async fn read_documents(&self, snapshot: &str) -> Result<Vec<Document>, VaultError> {
        let snapshot = snapshot.to_owned();
        self.blocking(move |vault, runtime| {
            let mut read = Vec::new();
            let repository = vault.open(&runtime, None)?.to_indexed()?;
            read::each_document(
                &repository,
                &snapshot,
                |_| Some(()),
                |(), document| {
                    read.push(document);
                    ControlFlow::Continue(())
                },
            )?;
            Ok(read)
        })
        .await
    }

    /// Reads documents one after the other, in the order that `place` gives to their paths; those it gives none are left
    /// out. It stops when `each` says so.
    pub async fn each_document<K: Ord + Copy + Send + 'static>(
        &self,
        snapshot: &str,
        place: impl Fn(&str) -> Option<K> + Send + 'static,
        each: impl FnMut(K, Document) -> ControlFlow<()> + Send + 'static,
    ) -> Result<(), VaultError> {
        let snapshot = snapshot.to_owned();
        self.blocking(move |vault, runtime| {
            read::each_document(&vault.open(&runtime, None)?.to_indexed()?, &snapshot, place, each)
        })
        .await
    }

    /// Writes a volume as a stream. After an error the stream has no end marker.
    pub async fn write_tar(
        &self,
        snapshot: &str,
        sink: impl Write + Send + 'static,
    ) -> Result<(), VaultError> {
        let snapshot = snapshot.to_owned();
        self.blocking(move |vault, runtime| {
            read::volume(&vault.open(&runtime, None)?.to_indexed()?, &snapshot, sink)
        })
        .await
    }

    /// The ids of all packs, of trees and of data, that these snapshots need.
    pub async fn packs_of(&self, snapshots: &[String]) -> Result<BTreeSet<String>, VaultError> {
        let snapshots = snapshots.to_vec();
        self.blocking(move |vault, runtime| {
            read::packs(&vault.open(&runtime, None)?.to_indexed()?, &snapshots)
        })
        .await
    }

    async fn archive(
        &self,
        point: &str,
        kind: &'static str,
        root: PathBuf,
        stream: impl Read + Send + 'static,
    ) -> Result<Part, VaultError> {
        let point = point.to_owned();
        let _adding = self.adding().await;
        self.blocking(move |vault, runtime| {
            let snapshot = SnapshotOptions::default()
                .host(vault.system.clone())
                .command("tripod".to_owned())
                .add_tags(&format!("point={point}"))?
                .add_tags(&format!("kind={kind}"))?
                .to_snapshot()?;
            let seal = Arc::new(Seal::default());
            let repository = vault.open(&runtime, Some(Arc::clone(&seal)))?.to_indexed_ids()?;
            let source = StreamSource::start(stream, root.clone(), Arc::clone(&seal))?;
            let mut options = BackupOptions::default().no_scan(true);
            // No parent: the digest needs every byte anyway, and what is there already is not stored again.
            options.parent_opts.force = true;
            let saved = repository.archive(&options, &source, snapshot, &[root]);
            let totals = seal.check().map_err(VaultError::Incomplete)?;
            let saved = saved?;
            if let Err(missing) = compare(&saved, &totals) {
                repository.delete_snapshots(&[saved.id])?;
                return Err(VaultError::Incomplete(missing));
            }
            let Totals { files, bytes, digest, .. } = totals;
            let added = saved.summary.as_ref().map(|kept| kept.data_added_files);
            let key = vault.opened_with.to_string();
            Ok(Part { snapshot: saved.id.to_hex().to_string(), key, files, bytes, digest, added })
        })
        .await
    }

    /// Runs work that blocks on a thread that may.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self, Handle) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let (vault, runtime) = (self.clone(), Handle::current());
        tokio::task::spawn_blocking(move || work(vault, runtime)).await?
    }

    fn backend(&self, runtime: &Handle, seal: Option<Arc<Seal>>) -> StoreBackend {
        StoreBackend {
            store: self.store.clone(),
            bucket: self.bucket.clone(),
            prefix: self.repository_path(),
            runtime: runtime.clone(),
            seal,
            ahead: Ahead::default(),
        }
    }

    fn repository(&self, runtime: &Handle, seal: Option<Arc<Seal>>) -> Result<Repository<()>, VaultError> {
        // A cache would be a second copy on a disk that nobody guards.
        let mut options = RepositoryOptions::default();
        options.no_cache = true;
        let backends = RepositoryBackends::new(Arc::new(self.backend(runtime, seal)), None);
        Ok(Repository::new(&options, &backends)?)
    }

    pub(super) fn open(
        &self,
        runtime: &Handle,
        seal: Option<Arc<Seal>>,
    ) -> Result<Repository<OpenStatus>, VaultError> {
        Ok(self.repository(runtime, seal)?.open(&self.credentials()?)?)
    }

    fn credentials(&self) -> Result<Credentials, VaultError> {
        let key: RepositoryKey =
            serde_json::from_str(&self.key).map_err(|error| VaultError::Stream(error.into()))?;
        Ok(Credentials::Masterkey(key))
    }
}

/// Packs keep their first size (32 MiB of data, 4 MiB of trees) however large a repository becomes: whoever copies or
/// proves them holds a few in memory.
fn packs_of_one_size() -> ConfigOptions {
    ConfigOptions::default().set_datapack_growfactor(0).set_treepack_growfactor(0)
}

/// The archiver counts what it kept; this is what it was given.
fn compare(saved: &SnapshotFile, totals: &Totals) -> Result<(), String> {
    let kept = saved.summary.as_ref().map(|kept| (kept.total_files_processed, kept.total_bytes_processed));
    let given = (totals.files + totals.links, totals.bytes);
    if kept == Some(given) {
        Ok(())
    } else {
        Err(format!("of {given:?} files and bytes, {kept:?} were kept"))
    }
}
