//! The sending side of a stream.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::super::digest::{Totals, TreeDigest};
use super::{END, Meta, ROOT, padding, pax};

/// Writes a volume as a stream. The caller brings the entries in path order, the root first.
pub struct Sender<W> {
    sink: W,
    digest: TreeDigest,
}

/// The content of one file on its way. Takes exactly as many bytes as the file's entry announced.
pub struct Content<'a, W> {
    sink: &'a mut W,
    hasher: Sha256,
    left: u64,
}

impl<W: Write> Sender<W> {
    /// Starts a stream.
    pub fn new(sink: W) -> Self {
        Self { sink, digest: TreeDigest::default() }
    }

    /// Where the stream is written to, for who takes away what is there.
    pub fn sink(&mut self) -> &mut W {
        &mut self.sink
    }

    /// Sends a directory.
    pub fn directory(&mut self, meta: &Meta) -> io::Result<()> {
        self.header(meta, EntryType::Directory, None)?;
        if !meta.path.is_empty() {
            self.digest.directory(&meta.path);
        }
        Ok(())
    }

    /// Sends a symbolic link.
    pub fn link(&mut self, meta: &Meta, target: &[u8]) -> io::Result<()> {
        self.header(meta, EntryType::Symlink, Some(target))?;
        self.digest.link(&meta.path, target);
        Ok(())
    }

    /// Sends a file: `feed` writes its content, `meta.size` bytes.
    pub fn file<E: From<io::Error>>(
        &mut self,
        meta: &Meta,
        feed: impl FnOnce(&mut Content<'_, W>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.header(meta, EntryType::Regular, None)?;
        let mut content = Content { sink: &mut self.sink, hasher: Sha256::new(), left: meta.size };
        feed(&mut content)?;
        if content.left > 0 {
            return Err(io::Error::other(format!("{} bytes of a file are missing", content.left)).into());
        }
        let hash = content.hasher.finalize();
        self.sink.write_all(&[0; 512][..padding(meta.size)])?;
        self.digest.file(&meta.path, meta.size, &hash);
        Ok(())
    }

    /// Ends the stream, and gives back the sink and what was sent.
    pub fn finish(mut self) -> io::Result<(W, Totals)> {
        let totals = std::mem::take(&mut self.digest).finish();
        let body = serde_json::to_vec(&totals)?;
        self.member(END, EntryType::Regular, &Meta { mode: 0o444, ..Meta::default() }, &body)?;
        // Two empty blocks end a tar.
        self.sink.write_all(&[0; 1024])?;
        self.sink.flush()?;
        Ok((self.sink, totals))
    }

    fn header(&mut self, meta: &Meta, kind: EntryType, target: Option<&[u8]>) -> io::Result<()> {
        let mut name = ROOT.to_vec();
        if !meta.path.is_empty() {
            name.push(b'/');
            name.extend_from_slice(&meta.path);
        }
        let mut records = Vec::new();
        pax::write(&mut records, "path", &name);
        pax::write(&mut records, "mtime", pax::format(meta.modified).as_bytes());
        if let Some(target) = target {
            pax::write(&mut records, "linkpath", target);
        }
        self.member(b"pax", EntryType::XHeader, &Meta { mode: 0o444, ..Meta::default() }, &records)?;
        let header = block(&name, kind, meta, meta.size, target);
        self.sink.write_all(header.as_bytes())
    }

    fn member(&mut self, name: &[u8], kind: EntryType, meta: &Meta, body: &[u8]) -> io::Result<()> {
        let header = block(name, kind, meta, body.len() as u64, None);
        self.sink.write_all(header.as_bytes())?;
        self.sink.write_all(body)?;
        self.sink.write_all(&[0; 512][..padding(body.len() as u64)])
    }
}

impl<W: Write> Write for Content<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() as u64 > self.left {
            return Err(io::Error::other("a file is longer than announced"));
        }
        let written = self.sink.write(data)?;
        self.hasher.update(&data[..written]);
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// One header block. The name in it is for other readers of tar; ours takes it from the PAX record.
fn block(name: &[u8], kind: EntryType, meta: &Meta, size: u64, target: Option<&[u8]>) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(meta.mode & 0o7777);
    header.set_uid(meta.uid.into());
    header.set_gid(meta.gid.into());
    header.set_mtime(u64::try_from(meta.modified.seconds).unwrap_or_default());
    header.set_size(size);
    let old = header.as_old_mut();
    let length = name.len().min(old.name.len());
    old.name[..length].copy_from_slice(&name[..length]);
    if let Some(target) = target {
        let length = target.len().min(old.linkname.len());
        old.linkname[..length].copy_from_slice(&target[..length]);
    }
    header.set_cksum();
    header
}
