//! A restic repository's files as objects in a store.
//!
//! The layout is restic's own for S3: `config`, `keys/<id>`, `snapshots/<id>`, `index/<id>`, `data/<xx>/<id>`.
//! Two promises beyond storage: a `config` is never written over another, and a sealed backend writes no snapshot
//! before its seal allows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustic_core::{
    BytesList, ErrorKind, FileType, HexId, Id, ReadBackend, RusticError, RusticResult, WriteBackend,
};
use tokio::runtime::Handle;
use tripod_replication::{Created, Store, StoreError};

use super::ahead::{Ahead, Place};
use super::seal::Seal;

/// One repository. Its methods block: they are called from the archiver's threads, never from the runtime's.
pub(super) struct StoreBackend {
    pub(super) store: Store,
    pub(super) bucket: String,
    /// Without a slash at the end.
    pub(super) prefix: String,
    pub(super) runtime: Handle,
    pub(super) seal: Option<Arc<Seal>>,
    pub(super) ahead: Ahead,
}

impl StoreBackend {
    fn key(&self, kind: FileType, id: &Id) -> String {
        let prefix = &self.prefix;
        let id: HexId = id.to_hex();
        let id: &str = &id;
        match kind {
            FileType::Config => format!("{prefix}/config"),
            FileType::Pack => format!("{prefix}/data/{}/{id}", &id[..2]),
            kind => format!("{prefix}/{}/{id}", kind.dirname()),
        }
    }
}

fn failed(key: &str, error: StoreError) -> Box<RusticError> {
    RusticError::with_source(ErrorKind::Backend, "the store failed at `{key}`", error)
        .attach_context("key", key)
}

fn too_large(key: &str) -> Box<RusticError> {
    RusticError::new(ErrorKind::Backend, "`{key}` is larger than a repository's files are")
        .attach_context("key", key)
}

impl ReadBackend for StoreBackend {
    fn location(&self) -> String {
        format!("s3:{}/{}", self.bucket, self.prefix)
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        if kind == FileType::Config {
            let key = self.key(kind, &Id::default());
            let found = self
                .runtime
                .block_on(self.store.head(&self.bucket, &key))
                .map_err(|error| failed(&key, error))?;
            return found
                .map(|meta| Ok((Id::default(), u32::try_from(meta.size).map_err(|_| too_large(&key))?)))
                .into_iter()
                .collect();
        }
        let prefix = format!("{}/{}/", self.prefix, kind.dirname());
        let listed = self
            .runtime
            .block_on(self.store.list(&self.bucket, &prefix))
            .map_err(|error| failed(&prefix, error))?;
        let sizes: RusticResult<BTreeMap<Id, u32>> = listed
            .into_iter()
            .filter_map(|object| {
                // What is not named by an id is not the repository's.
                let id: Id = object.key.rsplit('/').next()?.parse().ok()?;
                Some(u32::try_from(object.size).map(|size| (id, size)).map_err(|_| too_large(&object.key)))
            })
            .collect();
        // Each once, also where a store lists one twice: an index that is repaired twice loses all that it has.
        Ok(sizes?.into_iter().collect())
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        let key = self.key(kind, id);
        self.runtime.block_on(self.store.get(&self.bucket, &key)).map_err(|error| failed(&key, error))
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let key = self.key(kind, id);
        let get = |offset: u32, length: u32| {
            let (store, bucket, key) = (self.store.clone(), self.bucket.clone(), key.clone());
            async move { store.get_range(&bucket, &key, offset.into(), length.into()).await }
        };
        let read = match kind {
            FileType::Pack => self.ahead.read(&self.runtime, Place { pack: *id, offset, length }, get),
            _ => self.runtime.block_on(get(offset, length)),
        };
        read.map_err(|error| failed(&key, error))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.key(kind, id)
    }
}

impl WriteBackend for StoreBackend {
    fn write_bytes(&self, kind: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let key = self.key(kind, id);
        if let (FileType::Snapshot, Some(seal)) = (kind, &self.seal) {
            seal.check().map_err(|reason| {
                RusticError::new(ErrorKind::InputOutput, "no snapshot is written: {reason}")
                    .attach_context("reason", reason)
            })?;
        }
        let body = joined(content);
        if kind == FileType::Config {
            let created = self
                .runtime
                .block_on(self.store.put_new(&self.bucket, &key, body))
                .map_err(|error| failed(&key, error))?;
            return match created {
                Created::Yes => Ok(()),
                Created::AlreadyThere => {
                    Err(RusticError::new(ErrorKind::Configuration, "`{key}` is there already")
                        .attach_context("key", key))
                }
            };
        }
        self.runtime
            .block_on(self.store.put(&self.bucket, &key, body))
            .map_err(|error| failed(&key, error))?;
        Ok(())
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let key = self.key(kind, id);
        self.runtime.block_on(self.store.delete(&self.bucket, &key)).map_err(|error| failed(&key, error))?;
        Ok(())
    }
}

/// A store takes one body; a pack comes in pieces.
fn joined(content: BytesList) -> Bytes {
    let size = content.size();
    let mut parts = content.into_vec();
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut body = BytesMut::with_capacity(size);
    for part in parts {
        body.extend_from_slice(&part);
    }
    body.freeze()
}
