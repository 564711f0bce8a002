//! The receiving side of a stream: checks every rule, computes the digest, and hands the entries on.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use super::super::digest::{Totals, TreeDigest, path_order};
use super::{END, LONGEST_PATH, Meta, Moment, ROOT, WireError, check_path, pax};

/// More than this no honest header takes: a path and a target, each of the longest, and a time.
const LONGEST_RECORDS: u64 = 16 * 1024;

/// What becomes of the entries of a stream.
pub trait Receiver {
    /// Takes a directory; the root comes first, with an empty path.
    fn directory(&mut self, meta: &Meta) -> io::Result<()>;
    /// Takes a symbolic link.
    fn link(&mut self, meta: &Meta, target: &[u8]) -> io::Result<()>;
    /// Takes a file. Reads `content` to its end: `meta.size` bytes, or the connection broke.
    fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> io::Result<()>;
}

/// Receives a whole stream. An error means that what `into` was given is not a volume, however much of it there was.
pub fn receive<R: Read>(stream: R, into: &mut dyn Receiver) -> Result<Totals, WireError> {
    let mut archive = Archive::new(stream);
    let mut state = State::default();
    let mut sent = None;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        if sent.is_some() {
            return Err(state.refuse("an entry after the end marker"));
        }
        if entry.header().entry_type() == EntryType::XHeader {
            state.announce(&mut entry)?;
        } else if state.records.is_none() && &*entry.path_bytes() == END {
            sent = Some(end_marker(&mut entry)?);
        } else {
            state.entry(&mut entry, into)?;
        }
    }
    let sent = sent.ok_or(WireError::Truncated("it has no end marker"))?;
    // Whatever the sender left to send: a connection is only read whole when it was read to its end.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    let received = state.digest.finish();
    if sent != received {
        return Err(WireError::Mismatch { sent: describe(&sent), received: describe(&received) });
    }
    Ok(received)
}

fn describe(totals: &Totals) -> String {
    format!("{} files, {} bytes, {} links, {}", totals.files, totals.bytes, totals.links, totals.digest)
}

fn end_marker<R: Read>(entry: &mut Entry<'_, R>) -> Result<Totals, WireError> {
    let mut body = Vec::new();
    entry.take(4096).read_to_end(&mut body)?;
    serde_json::from_slice(&body).map_err(|_| WireError::Truncated("its end marker is not whole"))
}

#[derive(Default)]
struct State {
    records: Option<pax::Records>,
    /// The path of the entry before, once the root was there.
    last: Option<Vec<u8>>,
    /// The directories that the next entry may lie in, from the root down.
    open: Vec<Vec<u8>>,
    digest: TreeDigest,
}

impl State {
    fn refuse(&self, reason: &'static str) -> WireError {
        WireError::Refused { reason, path: self.last.clone().unwrap_or_default() }
    }

    fn announce<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), WireError> {
        let size = entry.size();
        if size > LONGEST_RECORDS || self.records.is_some() {
            return Err(self.refuse("a header that no entry needs"));
        }
        let mut body = Vec::new();
        entry.read_to_end(&mut body)?;
        if body.len() as u64 != size {
            return Err(WireError::Truncated("in a header"));
        }
        self.records = Some(pax::read(&body).ok_or_else(|| self.refuse("a malformed header"))?);
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, into: &mut dyn Receiver) -> Result<(), WireError> {
        let records = self.records.take().ok_or_else(|| self.refuse("an entry without its header"))?;
        let header = entry.header();
        let kind = header.entry_type();
        let number = |value: io::Result<u64>| value.ok().and_then(|value| u32::try_from(value).ok());
        let (Some(mode), Some(uid), Some(gid)) =
            (header.mode().ok(), number(header.uid()), number(header.gid()))
        else {
            return Err(self.refuse("a mode or an owner that is none"));
        };
        let meta = Meta {
            path: self.place(records.path.as_deref().unwrap_or_default())?,
            mode: mode & 0o7777,
            uid,
            gid,
            modified: records.modified.unwrap_or(Moment::default()),
            size: entry.size(),
        };
        match kind {
            EntryType::Directory if meta.size == 0 => {
                into.directory(&meta)?;
                if !meta.path.is_empty() {
                    self.digest.directory(&meta.path);
                }
                self.open.push(meta.path.clone());
            }
            _ if meta.path.is_empty() => return Err(self.refuse("a root that is no directory")),
            EntryType::Symlink if meta.size == 0 => {
                let target = records.target.unwrap_or_default();
                if target.is_empty() || target.len() > LONGEST_PATH || target.contains(&0) {
                    return Err(WireError::Refused { reason: "a link to no path", path: meta.path });
                }
                into.link(&meta, &target)?;
                self.digest.link(&meta.path, &target);
            }
            EntryType::Regular => self.file(&meta, entry, into)?,
            _ => {
                let reason = "an entry that is no directory, file or symbolic link";
                return Err(WireError::Refused { reason, path: meta.path });
            }
        }
        self.last = Some(meta.path);
        Ok(())
    }

    fn file(
        &mut self,
        meta: &Meta,
        content: &mut dyn Read,
        into: &mut dyn Receiver,
    ) -> Result<(), WireError> {
        let mut measured = Measured { content, hasher: Sha256::new(), left: meta.size };
        into.file(meta, &mut measured)?;
        if measured.left > 0 {
            return Err(WireError::Truncated("in a file"));
        }
        self.digest.file(&meta.path, meta.size, &measured.hasher.finalize());
        Ok(())
    }

    /// The path below the root, if an entry may come there now.
    fn place(&mut self, name: &[u8]) -> Result<Vec<u8>, WireError> {
        let refuse = |reason| WireError::Refused { reason, path: name.to_vec() };
        check_path(name).map_err(refuse)?;
        let Some(last) = &self.last else {
            return if name == ROOT { Ok(Vec::new()) } else { Err(refuse("an entry before the root")) };
        };
        let path = name
            .strip_prefix(ROOT)
            .and_then(|rest| rest.strip_prefix(b"/"))
            .ok_or_else(|| refuse("an entry outside the root"))?;
        if !path_order(last, path).is_lt() {
            return Err(refuse("an entry twice, or out of order"));
        }
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
        while self.open.last().is_some_and(|directory| directory != parent) {
            self.open.pop();
        }
        if self.open.is_empty() {
            return Err(refuse("an entry whose directory was not sent"));
        }
        Ok(path.to_vec())
    }
}

/// A file's content, hashed and counted on its way.
struct Measured<'a> {
    content: &'a mut dyn Read,
    hasher: Sha256,
    left: u64,
}

impl Read for Measured<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream was cut off in a file"));
        }
        self.hasher.update(&buffer[..read]);
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}
