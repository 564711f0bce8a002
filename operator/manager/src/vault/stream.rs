//! Feeds an arriving stream to the archiver, without a copy on disk and without a large file in memory.
//!
//! One pump thread walks the stream in order. The archiver looks one entry ahead: it hands a file to a worker only
//! once it has seen what follows. A stream can't show what follows a file before the file was read, so:
//! - a file of up to 512 KiB is read whole and travels with its entry; the archiver holds a few dozen of them at most;
//! - a larger one is followed at once by a *stopper*, an entry that cannot be opened. It gives the archiver something
//!   to look ahead at, is passed over when its turn comes (the archiver passes over what it cannot open), and by then
//!   the file's content is already flowing to its worker through a bounded channel.
//!
//! So at any time the pump waits for the worker of the one file it is in, and that worker waits for nobody.

use std::ffi::OsStr;
use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustic_core::{ErrorKind, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult};

use super::mode::{self, Of};
use super::seal::Seal;
use super::wire::{self, Meta, Moment};

const SMALL: u64 = 512 * 1024;
const CHUNK: usize = 256 * 1024;
/// Chunks of one large file on their way to its worker.
const CHUNKS: usize = 8;

type Item = RusticResult<ReadSourceEntry<Opening>>;

/// A stream as the archiver reads it.
pub(super) struct StreamSource(Mutex<Option<Receiver<Item>>>);

/// What there is of a file when the archiver comes to open it.
pub(super) enum Opening {
    /// All of it.
    Whole(FileContent<Cursor<Vec<u8>>>),
    /// It is arriving.
    Arriving(FileContent<Chunks>),
    /// It is no file.
    Stopper,
}

/// The content of one file. Breaks the seal when it is dropped before it was read.
pub(super) struct FileContent<R> {
    content: R,
    left: u64,
    name: PathBuf,
    seal: Arc<Seal>,
}

/// The pieces of a file that the pump sends. When the pump stops in the file, so do they: with an error.
pub(super) struct Chunks {
    from: Receiver<Vec<u8>>,
    at: Cursor<Vec<u8>>,
}

impl StreamSource {
    /// Starts the pump. `root` is the absolute path under which the volume is archived.
    pub(super) fn start(
        stream: impl Read + Send + 'static,
        root: PathBuf,
        seal: Arc<Seal>,
    ) -> io::Result<Self> {
        let (to, from) = sync_channel(4);
        std::thread::Builder::new().name("vault-pump".to_owned()).spawn(move || {
            let mut pump = Pump { to, root, seal: Arc::clone(&seal) };
            // The verdict is in before the channel closes, and so before the archiver can come to its end.
            match wire::receive(stream, &mut pump) {
                Ok(totals) => seal.complete(totals),
                Err(error) => seal.fail(error.to_string()),
            }
        })?;
        Ok(Self(Mutex::new(Some(from))))
    }
}

impl ReadSource for StreamSource {
    type Open = Opening;
    type Iter = std::iter::Flatten<std::option::IntoIter<Receiver<Item>>>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Self::Iter {
        // A stream is read once. A second call finds it empty, and the seal keeps that from becoming a snapshot.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().into_iter().flatten()
    }
}

impl ReadSourceOpen for Opening {
    type Reader = Box<dyn Read + Send>;

    fn open(self) -> RusticResult<Self::Reader> {
        match self {
            Self::Whole(content) => Ok(Box::new(content)),
            Self::Arriving(content) => Ok(Box::new(content)),
            Self::Stopper => Err(RusticError::new(
                ErrorKind::Unsupported,
                "this stands behind a large file and is not archived; nothing is missing",
            )),
        }
    }
}

impl<R: Read> Read for FileContent<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

impl<R> Drop for FileContent<R> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.seal.fail(format!("{} was not read to its end", self.name.display()));
        }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.at.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.from.recv() {
                Ok(chunk) => self.at = Cursor::new(chunk),
                // The end of the file, or of the stream: who counts the bytes knows which.
                Err(_) => return Ok(0),
            }
        }
    }
}

struct Pump {
    to: SyncSender<Item>,
    root: PathBuf,
    seal: Arc<Seal>,
}

impl Pump {
    fn path(&self, meta: &Meta) -> PathBuf {
        if meta.path.is_empty() { self.root.clone() } else { self.root.join(OsStr::from_bytes(&meta.path)) }
    }

    fn send(&self, meta: &Meta, kind: NodeType, open: Option<Opening>) -> io::Result<()> {
        let path = self.path(meta);
        let of = match kind {
            NodeType::Dir => Of::Directory,
            NodeType::Symlink { .. } => Of::Link,
            _ => Of::File,
        };
        let node = Node::new_node(name_of(&path), kind, metadata(of, meta));
        self.to.send(Ok(ReadSourceEntry { path, node, open })).map_err(|_| stopped())
    }

    fn content<R>(&self, meta: &Meta, content: R) -> FileContent<R> {
        FileContent { content, left: meta.size, name: self.path(meta), seal: Arc::clone(&self.seal) }
    }
}

impl wire::Receiver for Pump {
    fn directory(&mut self, meta: &Meta) -> io::Result<()> {
        if meta.path.is_empty() {
            for ancestor in ancestors(&self.root) {
                let mode = Some(mode::to_restic(Of::Directory, 0o755));
                let meta = Metadata { mode, mtime: Some(Timestamp::UNIX_EPOCH), ..Metadata::default() };
                let node = Node::new_node(name_of(&ancestor), NodeType::Dir, meta);
                let entry = ReadSourceEntry { path: ancestor, node, open: None };
                self.to.send(Ok(entry)).map_err(|_| stopped())?;
            }
        }
        self.send(meta, NodeType::Dir, None)
    }

    fn link(&mut self, meta: &Meta, target: &[u8]) -> io::Result<()> {
        self.send(meta, NodeType::from_link(Path::new(OsStr::from_bytes(target))), None)
    }

    fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> io::Result<()> {
        if meta.size <= SMALL {
            let mut body = Vec::new();
            content.read_to_end(&mut body)?;
            let whole = self.content(meta, Cursor::new(body));
            return self.send(meta, NodeType::File, Some(Opening::Whole(whole)));
        }
        let (to, from) = sync_channel(CHUNKS);
        let arriving = self.content(meta, Chunks { from, at: Cursor::default() });
        self.send(meta, NodeType::File, Some(Opening::Arriving(arriving)))?;
        self.send(meta, NodeType::File, Some(Opening::Stopper))?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            if content.take(CHUNK as u64).read_to_end(&mut chunk)? == 0 {
                return Ok(());
            }
            to.send(chunk).map_err(|_| stopped())?;
        }
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the archiver stopped reading")
}

/// `/volumes` of `/volumes/data`: named in full, so that a restore gives them a time and a mode.
fn ancestors(root: &Path) -> Vec<PathBuf> {
    let mut above: Vec<_> =
        root.ancestors().skip(1).filter(|path| path.file_name().is_some()).map(Path::to_owned).collect();
    above.reverse();
    above
}

fn name_of(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn metadata(of: Of, meta: &Meta) -> Metadata {
    Metadata {
        mode: Some(mode::to_restic(of, meta.mode)),
        mtime: timestamp(meta.modified),
        uid: Some(meta.uid),
        gid: Some(meta.gid),
        size: meta.size,
        links: 1,
        ..Metadata::default()
    }
}

/// `None` beyond the years that a repository can say.
fn timestamp(moment: Moment) -> Option<Timestamp> {
    let whole = Timestamp::from_second(moment.seconds).ok()?;
    whole.checked_add(std::time::Duration::from_nanos(moment.nanos.into())).ok()
}
