//! Puts a stream onto an empty volume.
//!
//! Every entry is created by its name in a directory that this run itself created and holds open, and only where
//! nothing was before. So no entry, and no program that runs beside the mover, can lead a write out of the volume.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use super::disk;
use crate::vault::wire::{Meta, Moment, Receiver};

/// A volume that is being filled.
pub(super) struct Unpack {
    /// From the root down to where the stream is; each gets its mode and time when the stream leaves it, because
    /// what is created in it changes the one and needs the other.
    open: Vec<(OwnedFd, Meta)>,
    /// Owners that could not be set, because the mover may not.
    pub(super) owners_kept: u64,
}

impl Unpack {
    /// Starts on an empty volume.
    pub(super) fn into_empty(root: &Path) -> io::Result<Self> {
        let root = disk::open_root(root)?;
        if let Some(name) = disk::names(&root)?.iter().find(|name| *name != disk::LOST_AND_FOUND) {
            let message = format!("the volume is not empty: it holds {}", name.escape_ascii());
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, message));
        }
        Ok(Self { open: vec![(root, Meta::default())], owners_kept: 0 })
    }

    /// Sets what is left to set, down to the root.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        while self.open.len() > 1 {
            self.leave()?;
        }
        if let Some((root, meta)) = self.open.pop() {
            // The root belongs to whoever provided the volume: a refusal there loses no data.
            if let Err(error) = self.keep(&root, &meta) {
                tracing::warn!(%error, "the volume's root keeps its own mode and owner");
            }
        }
        Ok(self.owners_kept)
    }

    /// The open directory that an entry lies in, and its name there.
    fn place<'a>(&mut self, path: &'a [u8]) -> io::Result<&'a [u8]> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        while self.open.last().is_some_and(|(_, meta)| meta.path != parent) {
            self.leave()?;
        }
        Ok(name)
    }

    fn here(&self) -> io::Result<&OwnedFd> {
        self.open
            .last()
            .map(|(directory, _)| directory)
            .ok_or_else(|| io::Error::other("no directory is open"))
    }

    fn leave(&mut self) -> io::Result<()> {
        if let Some((directory, meta)) = self.open.pop() {
            self.keep(&directory, &meta)?;
        }
        Ok(())
    }

    /// Owner, mode and time of a directory or a file, in this order: a new owner clears bits of the mode.
    fn keep(&mut self, file: &OwnedFd, meta: &Meta) -> io::Result<()> {
        let owner = rustix::fs::fchown(file, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
        self.owner_set(owner)?;
        rustix::fs::fchmod(file, disk::mode(meta))?;
        rustix::fs::futimens(file, &times(meta.modified))?;
        Ok(())
    }

    fn owner_set(&mut self, result: Result<(), Errno>) -> io::Result<()> {
        match result {
            Err(Errno::PERM | Errno::INVAL) => self.owners_kept += 1,
            other => other?,
        }
        Ok(())
    }
}

impl Receiver for Unpack {
    fn directory(&mut self, meta: &Meta) -> io::Result<()> {
        if meta.path.is_empty() {
            if let Some((_, root)) = self.open.first_mut() {
                root.clone_from(meta);
            }
            return Ok(());
        }
        let name = self.place(&meta.path)?;
        let parent = self.here()?;
        rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        let directory = disk::open_directory(parent, name)?;
        self.open.push((directory, meta.clone()));
        Ok(())
    }

    fn link(&mut self, meta: &Meta, target: &[u8]) -> io::Result<()> {
        let name = self.place(&meta.path)?;
        let parent = self.here()?;
        rustix::fs::symlinkat(target, parent, name)?;
        rustix::fs::utimensat(parent, name, &times(meta.modified), AtFlags::SYMLINK_NOFOLLOW)?;
        let (uid, gid) = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
        let owner = rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        self.owner_set(owner)
    }

    fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> io::Result<()> {
        let name = self.place(&meta.path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.here()?, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        io::copy(content, &mut file)?;
        self.keep(&file.into(), meta)
    }
}

fn times(moment: Moment) -> Timestamps {
    let time = Timespec { tv_sec: moment.seconds, tv_nsec: moment.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
