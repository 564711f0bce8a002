//! Feeds the archiver, which opens files from several threads in listing order, from a stream that has their
//! contents one behind the other.
//!
//! It can't dead-lock: all entries are known before the first is opened, the archiver hands files out in order
//! and opens each, so that the file whose turn it is always has a thread. A file that is not the next waits.

use std::ffi::OsStr;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustic_core::{ReadSource, ReadSourceEntry, ReadSourceOpen, RusticResult};
use sha2::{Digest, Sha256};

use crate::files::{Entry, Kind, Trailer, TreeDigest, empty_content, read_line};

/// A listing whose contents are still in the stream.
pub struct StreamSource {
    entries: Arc<Vec<Entry>>,
    root: PathBuf,
    turn: Arc<Turn>,
}

/// Whose turn it is to read the stream.
struct Turn {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Position in the listing of the file whose content comes next.
    next: usize,
    /// Taken out by the file that reads.
    stream: Option<Box<dyn BufRead + Send>>,
    /// Digests of contents by position in the listing.
    contents: Vec<(usize, Vec<u8>)>,
    failure: Option<String>,
}

impl Turn {
    /// A poisoned lock means that another file's thread died; the failure it left is what counts.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: String) {
        self.lock().failure.get_or_insert(why);
        self.changed.notify_all();
    }
}

impl StreamSource {
    /// `root` is the path in the snapshot under which the entries appear.
    #[must_use]
    pub fn new(entries: Vec<Entry>, root: PathBuf, stream: Box<dyn BufRead + Send>) -> Self {
        let next = next_with_content(&entries, 0);
        let state = State { next, stream: Some(stream), contents: Vec::new(), failure: None };
        let turn = Turn { state: Mutex::new(state), changed: Condvar::new() };
        Self { entries: Arc::new(entries), root, turn: Arc::new(turn) }
    }

    /// After archiving: reads the end of the stream and returns the digest, if everything came and is right.
    ///
    /// # Errors
    /// When a file failed, was not read to its end, or the sender's digest is another.
    pub fn finish(&self) -> io::Result<String> {
        let mut state = self.turn.lock();
        if let Some(why) = &state.failure {
            return Err(io::Error::other(why.clone()));
        }
        if state.next < self.entries.len() {
            return Err(io::Error::other(format!("{:?} was not read to its end", self.entries[state.next].path)));
        }
        let Some(mut stream) = state.stream.take() else { return Err(io::Error::other("the stream is in use")) };
        let trailer: Trailer = read_line(&mut stream)?;
        let mut contents = state.contents.iter().peekable();
        let mut digest = TreeDigest::default();
        for (position, entry) in self.entries.iter().enumerate() {
            match contents.next_if(|(of, _)| *of == position) {
                Some((_, content)) => digest.add(entry, Some(content)),
                None if matches!(entry.kind, Kind::File { .. }) => digest.add(entry, Some(&empty_content())),
                None => digest.add(entry, None),
            }
        }
        let digest = digest.finish();
        if digest != trailer.digest {
            return Err(io::Error::other(format!("the sender says {}, what came has {digest}", trailer.digest)));
        }
        Ok(digest)
    }
}

fn next_with_content(entries: &[Entry], from: usize) -> usize {
    entries.iter().skip(from).position(|e| e.size() > 0).map_or(entries.len(), |found| from + found)
}

impl ReadSource for StreamSource {
    type Open = FileOpen;
    type Iter = Box<dyn Iterator<Item = RusticResult<ReadSourceEntry<FileOpen>>> + Send>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(Some(self.entries.iter().map(Entry::size).sum()))
    }

    fn entries(&self) -> Self::Iter {
        let (entries, root, turn) = (self.entries.clone(), self.root.clone(), self.turn.clone());
        let top = ReadSourceEntry {
            path: root.clone(),
            node: Node::new_node(name_of(&root), NodeType::Dir, Metadata { mode: Some(0o755), ..Metadata::default() }),
            open: None,
        };
        let rest = (0..self.entries.len()).map(move |position| {
            let entry = &entries[position];
            let open = matches!(entry.kind, Kind::File { .. })
                .then(|| FileOpen { entries: entries.clone(), position, turn: turn.clone() });
            Ok(ReadSourceEntry { path: root.join(&entry.path), node: node_of(entry), open })
        });
        Box::new(std::iter::once(Ok(top)).chain(rest))
    }
}

fn name_of(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn node_of(entry: &Entry) -> Node {
    let (kind, type_bits) = match &entry.kind {
        // The Go mode bits that restic writes beside the permissions.
        Kind::Folder => (NodeType::Dir, 1u32 << 31),
        Kind::File { .. } => (NodeType::File, 0),
        Kind::Link { target } => (NodeType::from_link(Path::new(target)), 1 << 27),
    };
    let mtime = Timestamp::from_nanosecond(entry.mtime.into()).ok();
    let meta = Metadata {
        mode: Some((entry.mode & 0o777) | special_bits(entry.mode) | type_bits),
        mtime,
        atime: mtime,
        ctime: mtime,
        uid: Some(entry.uid),
        gid: Some(entry.gid),
        size: entry.size(),
        links: 1,
        ..Metadata::default()
    };
    Node::new_node(name_of(Path::new(&entry.path)), kind, meta)
}

/// Set-user, set-group and sticky, as Go writes them.
fn special_bits(mode: u32) -> u32 {
    [(0o4000, 23), (0o2000, 22), (0o1000, 20)].iter().filter(|(unix, _)| mode & unix != 0).map(|(_, go)| 1 << go).sum()
}

/// The reverse of what [`node_of`] writes into the mode.
#[must_use]
pub fn unix_mode(go: u32) -> u32 {
    let special = [(0o4000, 23), (0o2000, 22), (0o1000, 20)];
    (go & 0o777) | special.iter().filter(|(_, bit)| go & (1 << bit) != 0).map(|(unix, _)| unix).sum::<u32>()
}

/// A file that can be opened once.
pub struct FileOpen {
    entries: Arc<Vec<Entry>>,
    position: usize,
    turn: Arc<Turn>,
}

impl ReadSourceOpen for FileOpen {
    type Reader = FileReader;

    fn open(self) -> RusticResult<FileReader> {
        let left = self.entries[self.position].size();
        Ok(FileReader { file: self, left, stream: None, hash: Sha256::new() })
    }
}

/// Reads one file's content when its turn has come, then passes the stream on.
pub struct FileReader {
    file: FileOpen,
    left: u64,
    stream: Option<Box<dyn BufRead + Send>>,
    hash: Sha256,
}

impl FileReader {
    fn await_turn(&mut self) -> io::Result<()> {
        let turn = &self.file.turn;
        let mut state = turn.lock();
        loop {
            if let Some(why) = &state.failure {
                return Err(io::Error::other(why.clone()));
            }
            if state.next == self.file.position
                && let Some(stream) = state.stream.take()
            {
                self.stream = Some(stream);
                return Ok(());
            }
            state = turn.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn pass_on(&mut self) {
        let mut state = self.file.turn.lock();
        state.contents.push((self.file.position, std::mem::take(&mut self.hash).finalize().to_vec()));
        state.next = next_with_content(&self.file.entries, self.file.position + 1);
        state.stream = self.stream.take();
        self.file.turn.changed.notify_all();
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        if self.stream.is_none() {
            self.await_turn()?;
        }
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(stream) = &mut self.stream else { return Err(io::Error::other("no stream")) };
        let got = stream.read(&mut buffer[..want]).and_then(|got| match got {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream broke off")),
            got => Ok(got),
        });
        match got {
            Ok(got) => {
                self.hash.update(&buffer[..got]);
                self.left -= got as u64;
                if self.left == 0 {
                    self.pass_on();
                }
                Ok(got)
            }
            Err(error) => {
                self.file.turn.fail(format!("{:?}: {error}", self.file.entries[self.file.position].path));
                Err(error)
            }
        }
    }
}

/// A reader that is given up before its end would leave the others waiting for ever.
impl Drop for FileReader {
    fn drop(&mut self) {
        if self.left > 0 {
            self.file.turn.fail(format!("{:?} was given up", self.file.entries[self.file.position].path));
        }
    }
}
