//! The digest of what is on a disk. Files are read side by side, since a disk and a kernel have more than one hand, and told in
//! path order.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::Scope;

use sha2::{Digest as _, Sha256};

use super::disk;
use super::walk::{Visitor, walk};
use crate::vault::digest::{Totals, TreeDigest};
use crate::vault::wire::Meta;

/// Who read at once.
const READERS: usize = 4;
/// Entries that are read ahead: as many files are open.
const AHEAD: usize = 64;

/// Size, and SHA-256.
type Hashed = (u64, [u8; 32]);

/// The digest of everything below a folder.
pub(super) fn digest(path: &Path) -> io::Result<Totals> {
    let root = disk::open_root(path)?;
    std::thread::scope(|scope| {
        let mut reading = Reading {
            readers: (0..READERS).map(|_| Reader::start(scope)).collect(),
            turn: 0,
            ahead: VecDeque::new(),
            digest: TreeDigest::default(),
        };
        walk(root, &mut reading)?;
        reading.finish()
    })
}

/// A thread that reads files, one after the other.
struct Reader {
    to: SyncSender<File>,
    from: Receiver<io::Result<Hashed>>,
}

impl Reader {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>) -> Self {
        let (to, files) = sync_channel::<File>(AHEAD);
        let (done, from) = channel();
        scope.spawn(move || {
            for file in files {
                if done.send(hash(file)).is_err() {
                    return;
                }
            }
        });
        Self { to, from }
    }
}

fn hash(mut file: File) -> io::Result<Hashed> {
    let mut hasher = Sha256::new();
    let size = io::copy(&mut file, &mut hasher)?;
    Ok((size, hasher.finalize().into()))
}

/// An entry whose turn in the digest is to come.
enum Entry {
    Directory(Vec<u8>),
    Link(Vec<u8>, Vec<u8>),
    /// Its content is next from this reader.
    File(Vec<u8>, usize),
}

struct Reading {
    readers: Vec<Reader>,
    /// Whose the next file is.
    turn: usize,
    ahead: VecDeque<Entry>,
    digest: TreeDigest,
}

impl Reading {
    fn take(&mut self, entry: Entry) -> io::Result<()> {
        self.ahead.push_back(entry);
        if self.ahead.len() > AHEAD { self.tell() } else { Ok(()) }
    }

    /// Takes the first entry into the digest.
    fn tell(&mut self) -> io::Result<()> {
        match self.ahead.pop_front() {
            None => {}
            Some(Entry::Directory(path)) => self.digest.directory(&path),
            Some(Entry::Link(path, target)) => self.digest.link(&path, &target),
            Some(Entry::File(path, reader)) => {
                let read = self.readers[reader].from.recv().map_err(io::Error::other)?;
                let named = |error: io::Error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.escape_ascii()))
                };
                let (size, content) = read.map_err(named)?;
                self.digest.file(&path, size, &content);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Totals> {
        while !self.ahead.is_empty() {
            self.tell()?;
        }
        Ok(self.digest.finish())
    }
}

impl Visitor for Reading {
    fn directory(&mut self, meta: &Meta) -> io::Result<()> {
        if meta.path.is_empty() { Ok(()) } else { self.take(Entry::Directory(meta.path.clone())) }
    }

    fn link(&mut self, meta: &Meta, target: &[u8]) -> io::Result<()> {
        self.take(Entry::Link(meta.path.clone(), target.to_vec()))
    }

    fn file(&mut self, meta: &Meta, content: File) -> io::Result<()> {
        let reader = self.turn;
        self.turn = (reader + 1) % self.readers.len();
        self.readers[reader].to.send(content).map_err(io::Error::other)?;
        self.take(Entry::File(meta.path.clone(), reader))
    }

    // Neither was in the stream; that they are there now shows in no digest, as they hold no data.
    fn special(&mut self, _path: &[u8]) {}
    fn vanished(&mut self, _path: &[u8]) {}
}
