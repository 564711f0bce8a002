//! The disk as the mover sees it: always by an open directory and one name, never by a path.
//!
//! Programs of the department run beside the mover and may swap a directory for a link at any moment. A name that is
//! opened below an open directory, and not followed when it is a link, can lead nowhere else.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, Stat};

use crate::vault::wire::{Meta, Moment};

/// A file system keeps this for itself at the root of a volume; it is no one's data.
pub(super) const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Opens the root of a volume.
pub(super) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a directory in a directory.
pub(super) fn open_directory(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Opens a file in a directory for reading.
pub(super) fn open_file(parent: impl AsFd, name: &[u8]) -> io::Result<File> {
    // Without NONBLOCK a pipe that took the file's place would hold the mover for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

/// What a name in a directory stands for.
pub(super) fn stat(parent: impl AsFd, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The target of a link.
pub(super) fn read_link(parent: impl AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())
}

/// The names in a directory, sorted, without `.` and `..`.
pub(super) fn names(directory: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The type of what was looked at.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// What a stream says of an entry.
pub(super) fn meta(path: Vec<u8>, stat: &Stat) -> Meta {
    let size =
        if kind(stat) == FileType::RegularFile { u64::try_from(stat.st_size).unwrap_or_default() } else { 0 };
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Meta {
        path,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        modified: Moment { seconds: stat.st_mtime, nanos },
        size,
    }
}

/// Permission bits as the kernel takes them.
pub(super) fn mode(meta: &Meta) -> Mode {
    let bits: RawMode = meta.mode;
    Mode::from_raw_mode(bits)
}

/// Removes everything below a folder but `lost+found`, which belongs to the file system.
pub(super) fn empty(folder: &Path) -> io::Result<()> {
    for item in std::fs::read_dir(folder)? {
        let item = item?;
        if item.file_name() == "lost+found" {
            continue;
        }
        if item.file_type()?.is_dir() {
            std::fs::remove_dir_all(item.path())?;
        } else {
            std::fs::remove_file(item.path())?;
        }
    }
    Ok(())
}
