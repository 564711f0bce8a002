//! A tree of files as a stream: a listing first, then the contents in its order, then a digest over both.
//!
//! The listing comes first so that the receiver knows what it will get before it stores a byte, and can refuse
//! what is hostile. Each side computes the digest for itself; a stream that breaks off has no right end.

pub mod unpack;
pub mod walk;

use std::collections::HashSet;
use std::io::{self, BufRead, Read, Write};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const FORMAT: &str = "files/1";
/// A listing line may not be longer: paths end at 4096 bytes.
const LONGEST_LINE: u64 = 16 << 10;
/// More entries than this in one volume are refused: the listing is held in memory.
const MOST_ENTRIES: u64 = 10_000_000;

/// One file, folder or link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative, `/` between parts.
    pub path: String,
    #[serde(flatten)]
    pub kind: Kind,
    /// Permission bits, as in `chmod`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    Folder,
    /// With its size in bytes.
    File {
        size: u64,
    },
    Link {
        target: String,
    },
}

impl Entry {
    /// Bytes of content that follow in the stream.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size } => size,
            Kind::Folder | Kind::Link { .. } => 0,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    entries: u64,
}

/// The end of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    pub digest: String,
}

/// Writes the listing.
///
/// # Errors
/// Those of the writer.
pub fn write_listing(out: &mut impl Write, entries: &[Entry]) -> io::Result<()> {
    write_line(out, &Header { format: FORMAT.into(), entries: entries.len() as u64 })?;
    entries.iter().try_for_each(|entry| write_line(out, entry))
}

/// Writes one line of JSON.
///
/// # Errors
/// Those of the writer.
pub fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Reads and checks a listing: every path relative and plain, in order, each below a folder that came before it.
/// Whoever unpacks it can therefore not be led through a link to anywhere else.
///
/// # Errors
/// Names the path that is wrong, and those of the reader.
pub fn read_listing(input: &mut impl BufRead) -> io::Result<Vec<Entry>> {
    let header: Header = read_line(input)?;
    if header.format != FORMAT {
        return Err(invalid(format!("format {:?} is not {FORMAT}", header.format)));
    }
    if header.entries > MOST_ENTRIES {
        return Err(invalid(format!("{} entries are more than {MOST_ENTRIES}", header.entries)));
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut folders: HashSet<String> = HashSet::from([String::new()]);
    for _ in 0..header.entries {
        let entry: Entry = read_line(input)?;
        let path = Path::new(&entry.path);
        let plain = !entry.path.is_empty()
            && !entry.path.contains("//")
            && !entry.path.ends_with('/')
            && !entry.path.contains('\0')
            && path.components().all(|part| matches!(part, Component::Normal(_)))
            && !entry.path.split('/').any(|part| part == ".");
        if !plain {
            return Err(invalid(format!("path {:?} is not a plain relative path", entry.path)));
        }
        if entries.last().is_some_and(|before| Path::new(&before.path) >= path) {
            return Err(invalid(format!("path {:?} is out of order", entry.path)));
        }
        let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !folders.contains(parent) {
            return Err(invalid(format!("path {:?} is not below a listed folder", entry.path)));
        }
        if entry.kind == Kind::Folder {
            folders.insert(entry.path.clone());
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Reads one line of JSON.
///
/// # Errors
/// When it is too long, breaks off, or is not what is expected.
pub fn read_line<T: for<'a> Deserialize<'a>>(input: &mut impl BufRead) -> io::Result<T> {
    let mut line = Vec::new();
    input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream broke off, or has an over-long line"));
    }
    serde_json::from_slice(&line).map_err(|e| invalid(format!("not a line of the format: {e}")))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Digest over kinds, names and contents, in order. Modes, owners and times are left out: not every place that
/// a volume is restored to may set them.
#[derive(Debug, Default)]
pub struct TreeDigest(Sha256);

impl TreeDigest {
    /// Adds an entry; `content` is the SHA-256 of a file's bytes.
    pub fn add(&mut self, entry: &Entry, content: Option<&[u8]>) {
        let (kind, what) = match &entry.kind {
            Kind::Folder => ("folder", String::new()),
            Kind::File { .. } => ("file", content.map(hex::encode).unwrap_or_default()),
            Kind::Link { target } => ("link", target.clone()),
        };
        self.0.update(format!("{kind}\0{}\0{what}\n", entry.path));
    }

    /// `sha256:…`
    #[must_use]
    pub fn finish(self) -> String {
        format!("sha256:{}", hex::encode(self.0.finalize()))
    }
}

/// The SHA-256 of nothing: the content of every empty file.
#[must_use]
pub fn empty_content() -> Vec<u8> {
    Sha256::digest([]).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o644, uid: 1, gid: 2, mtime: 3 }
    }

    fn read(entries: &[Entry]) -> io::Result<Vec<Entry>> {
        let mut stream = Vec::new();
        write_listing(&mut stream, entries)?;
        read_listing(&mut stream.as_slice())
    }

    #[test]
    fn a_listing_is_read_as_it_was_written() {
        let entries = [
            entry("a", Kind::Folder),
            entry("a/b c", Kind::File { size: 7 }),
            entry("a/链接", Kind::Link { target: "/etc/passwd".into() }),
            entry("a.txt", Kind::File { size: 0 }),
        ];
        assert_eq!(read(&entries).unwrap(), entries);
    }

    #[test]
    fn hostile_listings_are_refused() {
        let file = |path| entry(path, Kind::File { size: 1 });
        for path in ["/etc/passwd", "../x", "a/../../x", "", ".", "./a", "a//b", "a/", "a\0b"] {
            assert!(read(&[entry("a", Kind::Folder), file(path)]).is_err(), "{path:?}");
        }
        // Through a link, below a file, twice, and out of order.
        assert!(read(&[entry("a", Kind::Link { target: "/etc".into() }), file("a/passwd")]).is_err());
        assert!(read(&[file("a"), file("a/b")]).is_err());
        assert!(read(&[file("a"), file("a")]).is_err());
        assert!(read(&[file("b"), file("a")]).is_err());
    }

    #[test]
    fn a_broken_stream_is_an_error() {
        let mut stream = Vec::new();
        write_listing(&mut stream, &[entry("a", Kind::Folder)]).unwrap();
        for length in 0..stream.len() {
            assert!(read_listing(&mut &stream[..length]).is_err(), "{length}");
        }
    }
}
