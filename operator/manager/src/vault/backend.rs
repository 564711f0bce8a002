//! A repository's files in S3, for the library that reads and writes the restic format. The library is blocking
//! and brings its own threads; it must be called from a blocking thread of the runtime.

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use tokio::runtime::Handle;
use tripod_replication::{Store, StoreError};

/// One repository.
#[derive(Clone, Debug)]
pub struct Backend {
    store: Store,
    bucket: String,
    /// Ends in `/`.
    prefix: String,
    runtime: Handle,
}

impl Backend {
    /// Must be called within the runtime.
    #[must_use]
    pub fn new(store: Store, bucket: String, prefix: String) -> Self {
        Self { store, bucket, prefix, runtime: Handle::current() }
    }

    /// restic's own layout: packs spread over folders by the first two digits of their id.
    fn key(&self, kind: FileType, id: &Id) -> String {
        let id = id.to_hex();
        let name = match kind {
            FileType::Config => return format!("{}config", self.prefix),
            FileType::Pack => format!("{}/{}", &id.as_str()[..2], id.as_str()),
            _ => id.as_str().to_owned(),
        };
        format!("{}{}/{name}", self.prefix, kind.dirname())
    }

    fn wait<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> RusticResult<T> {
        self.runtime.block_on(call).map_err(|error| RusticError::with_source(ErrorKind::Backend, "the store failed", error))
    }
}

impl ReadBackend for Backend {
    fn location(&self) -> String {
        format!("s3:{}/{}/{}", self.store.endpoint(), self.bucket, self.prefix)
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        if kind == FileType::Config {
            let meta = self.wait(self.store.head(&self.bucket, &format!("{}config", self.prefix)))?;
            return Ok(meta.map(|m| (Id::default(), u32::try_from(m.size).unwrap_or(u32::MAX))).into_iter().collect());
        }
        let listed = self.wait(self.store.list(&self.bucket, &format!("{}{}/", self.prefix, kind.dirname())))?;
        let parse = |key: &str| key.rsplit('/').next()?.parse::<Id>().ok();
        Ok(listed
            .into_iter()
            .filter_map(|l| Some((parse(&l.key)?, u32::try_from(l.size).unwrap_or(u32::MAX))))
            .collect())
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        self.wait(self.store.get(&self.bucket, &self.key(kind, id)))
    }

    fn read_partial(&self, kind: FileType, id: &Id, _cacheable: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        self.wait(self.store.get_range(&self.bucket, &self.key(kind, id), offset.into(), length.into()))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.key(kind, id)
    }
}

impl WriteBackend for Backend {
    fn write_bytes(&self, kind: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let parts = content.into_vec();
        let body = match <[Bytes; 1]>::try_from(parts) {
            Ok([one]) => one,
            Err(parts) => Bytes::from(parts.concat()),
        };
        self.wait(self.store.put(&self.bucket, &self.key(kind, id), body))
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        self.wait(self.store.delete(&self.bucket, &self.key(kind, id)))
    }
}
