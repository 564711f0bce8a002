//! Writes a stream into an empty folder.

use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::{Entry, Kind, Trailer, TreeDigest, read_line, read_listing};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    pub files: u64,
    /// Bytes of contents.
    pub bytes: u64,
    pub digest: String,
    /// Entries whose owner could not be set.
    pub foreign: u64,
}

/// Unpacks a stream. The folder must be empty: nothing that is there is ever overwritten.
///
/// # Errors
/// When the folder is not empty, the stream is hostile, breaks off or does not match its own digest, or a file
/// can't be written.
pub fn unpack(input: &mut impl BufRead, root: &Path) -> io::Result<Unpacked> {
    let occupied = fs::read_dir(root)?.filter_map(Result::ok).any(|item| item.file_name() != "lost+found");
    if occupied {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is not empty", root.display())));
    }
    let entries = read_listing(input)?;
    let mut digest = TreeDigest::default();
    let mut done = Unpacked { files: 0, bytes: 0, digest: String::new(), foreign: 0 };
    for entry in &entries {
        let path = root.join(&entry.path);
        match &entry.kind {
            Kind::Folder => {
                fs::create_dir(&path)?;
                digest.add(entry, None);
            }
            Kind::Link { target } => {
                symlink(target, &path)?;
                digest.add(entry, None);
            }
            Kind::File { size } => {
                digest.add(entry, Some(&write_file(input, &path, *size)?));
                done.files += 1;
                done.bytes += size;
            }
        }
    }
    // Times, modes and owners last and from the inside out: writing into a folder changes its time, and a
    // folder without a write bit takes nothing more.
    for entry in entries.iter().rev() {
        done.foreign += u64::from(!describe(entry, &root.join(&entry.path))?);
    }
    let trailer: Trailer = read_line(input)?;
    done.digest = digest.finish();
    if trailer.digest != done.digest {
        let message = format!("the stream says {}, its content has {}", trailer.digest, done.digest);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(done)
}

fn write_file(input: &mut impl BufRead, path: &Path, size: u64) -> io::Result<Vec<u8>> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    let mut hash = Sha256::new();
    let mut left = size;
    let mut buffer = vec![0u8; 64 << 10];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let got = input.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream broke off"));
        }
        hash.update(&buffer[..got]);
        file.write_all(&buffer[..got])?;
        left -= got as u64;
    }
    file.sync_all()?;
    Ok(hash.finalize().to_vec())
}

/// Sets mode, owner and time; returns whether the owner could be set.
fn describe(entry: &Entry, path: &Path) -> io::Result<bool> {
    let owned = std::os::unix::fs::lchown(path, Some(entry.uid), Some(entry.gid)).is_ok();
    if !matches!(entry.kind, Kind::Link { .. }) {
        // After the owner: a change of owner takes set-id bits away.
        fs::set_permissions(path, fs::Permissions::from_mode(entry.mode))?;
        let nanoseconds = Duration::from_nanos(entry.mtime.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let time = if entry.mtime < 0 { epoch.checked_sub(nanoseconds) } else { epoch.checked_add(nanoseconds) };
        // A file without a read bit can't be opened by everyone; its time is not worth failing for.
        if let (Some(time), Ok(file)) = (time, File::open(path)) {
            file.set_modified(time)?;
        }
    }
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use super::super::walk;
    use super::*;

    fn sample(root: &Path) {
        fs::create_dir_all(root.join("a/deep")).unwrap();
        fs::write(root.join("a/deep/one"), b"one").unwrap();
        fs::write(root.join("empty"), b"").unwrap();
        fs::write(root.join("big"), vec![7u8; 300_000]).unwrap();
        symlink("a/deep/one", root.join("link")).unwrap();
        fs::set_permissions(root.join("big"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn stream_of(root: &Path) -> Vec<u8> {
        let mut findings = walk::Findings::default();
        let entries = walk::list(root, &mut findings).unwrap();
        let mut stream = Vec::new();
        walk::send(root, &entries, &mut stream, &mut findings).unwrap();
        stream
    }

    #[test]
    fn what_was_sent_is_what_is_unpacked() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sample(from.path());
        let done = unpack(&mut stream_of(from.path()).as_slice(), to.path()).unwrap();
        assert_eq!((done.files, done.bytes), (3, 300_003));
        assert_eq!(done.digest, walk::digest(from.path()).unwrap());
        assert_eq!(done.digest, walk::digest(to.path()).unwrap());
        let mode = fs::metadata(to.path().join("big")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_stream_that_breaks_off_or_lies_is_refused() {
        let from = tempfile::tempdir().unwrap();
        sample(from.path());
        let stream = stream_of(from.path());
        for cut in [10, stream.len() / 2, stream.len() - 1] {
            let to = tempfile::tempdir().unwrap();
            assert!(unpack(&mut &stream[..cut], to.path()).is_err(), "cut at {cut}");
        }
        let to = tempfile::tempdir().unwrap();
        let mut changed = stream.clone();
        let at = stream.len() - 200;
        changed[at] ^= 1;
        assert!(unpack(&mut changed.as_slice(), to.path()).is_err());
    }

    #[test]
    fn nothing_is_overwritten() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sample(from.path());
        fs::write(to.path().join("mine"), b"keep").unwrap();
        assert!(unpack(&mut stream_of(from.path()).as_slice(), to.path()).is_err());
    }
}
