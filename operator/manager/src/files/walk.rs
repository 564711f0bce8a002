//! Reads a folder into the stream.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Entry, Kind, Trailer, TreeDigest, write_line, write_listing};

/// What a walk found beside the entries.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Sockets, pipes and devices: not content, left out.
    pub special: Vec<String>,
    /// Names that are not UTF-8: left out, and said.
    pub unreadable_names: u64,
    /// Files that changed while they were read: sent with the size that was announced.
    pub changed: Vec<String>,
}

/// Everything below a folder, in the order of the stream. `lost+found` belongs to the file system.
///
/// # Errors
/// Names what can't be read.
pub fn list(root: &Path, findings: &mut Findings) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    visit(root, "", &mut entries, findings)?;
    entries.sort_by(|a, b| Path::new(&a.path).cmp(Path::new(&b.path)));
    Ok(entries)
}

fn visit(folder: &Path, prefix: &str, entries: &mut Vec<Entry>, findings: &mut Findings) -> io::Result<()> {
    for item in fs::read_dir(folder).map_err(|e| named(folder, &e))? {
        let item = item?;
        let Ok(name) = item.file_name().into_string() else {
            findings.unreadable_names += 1;
            continue;
        };
        if prefix.is_empty() && name == "lost+found" {
            continue;
        }
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let meta = match item.metadata() {
            // It went away while we looked: then it is not part of this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            meta => meta.map_err(|e| named(&item.path(), &e))?,
        };
        let kind = if meta.is_dir() {
            Kind::Folder
        } else if meta.is_file() {
            Kind::File { size: meta.len() }
        } else if meta.is_symlink() {
            let Ok(target) = fs::read_link(item.path())?.into_os_string().into_string() else {
                findings.unreadable_names += 1;
                continue;
            };
            Kind::Link { target }
        } else {
            findings.special.push(path);
            continue;
        };
        let is_folder = kind == Kind::Folder;
        let mtime = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        let mode = meta.mode() & 0o7777;
        entries.push(Entry { path: path.clone(), kind, mode, uid: meta.uid(), gid: meta.gid(), mtime });
        if is_folder {
            visit(&item.path(), &path, entries, findings)?;
        }
    }
    Ok(())
}

/// Writes the whole stream of a folder.
///
/// # Errors
/// Names the file that can't be read, or those of the writer.
pub fn send(root: &Path, entries: &[Entry], out: &mut impl Write, findings: &mut Findings) -> io::Result<Trailer> {
    write_listing(out, entries)?;
    let mut digest = TreeDigest::default();
    for entry in entries {
        if let Kind::File { size } = entry.kind {
            let content = send_file(&root.join(&entry.path), size, out, &entry.path, findings)?;
            digest.add(entry, Some(&content));
        } else {
            digest.add(entry, None);
        }
    }
    let trailer = Trailer { digest: digest.finish() };
    write_line(out, &trailer)?;
    out.flush()?;
    Ok(trailer)
}

/// Sends exactly `size` bytes, whatever happens to the file meanwhile: the listing has promised them.
fn send_file(path: &Path, size: u64, out: &mut impl Write, name: &str, findings: &mut Findings) -> io::Result<Vec<u8>> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 64 << 10];
    let mut left = size;
    let mut file = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(named(path, &error)),
    };
    let mut changed = file.is_none();
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let mut got = match &mut file {
            Some(file) => file.read(&mut buffer[..want]).map_err(|e| named(path, &e))?,
            None => 0,
        };
        if got == 0 {
            changed = true;
            buffer[..want].fill(0);
            got = want;
            file = None;
        }
        hash.update(&buffer[..got]);
        out.write_all(&buffer[..got])?;
        left -= got as u64;
    }
    if let Some(file) = &mut file {
        changed |= file.read(&mut buffer[..1]).map_err(|e| named(path, &e))? > 0;
    }
    if changed {
        findings.changed.push(name.to_owned());
    }
    Ok(hash.finalize().to_vec())
}

/// The digest of what lies in a folder now.
///
/// # Errors
/// Names what can't be read.
pub fn digest(root: &Path) -> io::Result<String> {
    let mut findings = Findings::default();
    let entries = list(root, &mut findings)?;
    Ok(send(root, &entries, &mut io::sink(), &mut findings)?.digest)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
