//! Walks a volume in path order: each directory before what is in it, names sorted by their bytes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::FileType;

use super::disk;
use crate::vault::wire::Meta;

/// Who is shown a volume.
pub(super) trait Visitor {
    /// A directory; the root first.
    fn directory(&mut self, meta: &Meta) -> io::Result<()>;
    /// A symbolic link.
    fn link(&mut self, meta: &Meta, target: &[u8]) -> io::Result<()>;
    /// A file. `content` may have more or fewer bytes than `meta.size` when someone writes to it.
    fn file(&mut self, meta: &Meta, content: File) -> io::Result<()>;
    /// A socket, a pipe or a device.
    fn special(&mut self, path: &[u8]);
    /// Something that was there when its directory was read and is gone now.
    fn vanished(&mut self, path: &[u8]);
}

/// Shows everything below `root`. What disappears on the way is told; what can't be read is an error.
pub(super) fn walk(root: OwnedFd, visitor: &mut dyn Visitor) -> io::Result<()> {
    let stat = rustix::fs::fstat(&root)?;
    visitor.directory(&disk::meta(Vec::new(), &stat))?;
    let mut names = disk::names(&root)?;
    names.retain(|name| name != disk::LOST_AND_FOUND);
    // The directories that the walk is in, each with what is left to see there, last first.
    let mut open = vec![level(root, names, Vec::new())];
    while let Some(here) = open.last_mut() {
        let Some(name) = here.left.pop() else {
            open.pop();
            continue;
        };
        let path = joined(&here.path, &name);
        match visit(&here.directory, &name, &path, visitor) {
            Ok(Some(directory)) => {
                let names = disk::names(&directory)?;
                open.push(level(directory, names, path));
            }
            Ok(None) => {}
            Err(Trouble::Gone) => visitor.vanished(&path),
            Err(Trouble::Here(error)) => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", path.escape_ascii())));
            }
            Err(Trouble::There(error)) => return Err(error),
        }
    }
    Ok(())
}

struct Level {
    directory: OwnedFd,
    left: Vec<Vec<u8>>,
    path: Vec<u8>,
}

fn level(directory: OwnedFd, mut names: Vec<Vec<u8>>, path: Vec<u8>) -> Level {
    names.reverse();
    Level { directory, left: names, path }
}

fn joined(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

enum Trouble {
    /// It was removed, or became something else, between the look and the opening.
    Gone,
    /// The disk refused.
    Here(io::Error),
    /// The visitor refused.
    There(io::Error),
}

fn on_disk(error: io::Error) -> Trouble {
    use rustix::io::Errno;
    let gone = [Errno::NOENT, Errno::LOOP, Errno::NOTDIR, Errno::NXIO];
    let errno = error.raw_os_error();
    if gone.iter().any(|gone| Some(gone.raw_os_error()) == errno) {
        Trouble::Gone
    } else {
        Trouble::Here(error)
    }
}

/// Shows one entry; a directory comes back open.
fn visit(
    parent: &impl AsFd,
    name: &[u8],
    path: &[u8],
    visitor: &mut dyn Visitor,
) -> Result<Option<OwnedFd>, Trouble> {
    let stat = disk::stat(parent, name).map_err(on_disk)?;
    match disk::kind(&stat) {
        FileType::Directory => {
            let directory = disk::open_directory(parent, name).map_err(on_disk)?;
            visitor.directory(&disk::meta(path.to_vec(), &stat)).map_err(Trouble::There)?;
            Ok(Some(directory))
        }
        FileType::RegularFile => {
            let file = disk::open_file(parent, name).map_err(on_disk)?;
            let now = rustix::fs::fstat(&file).map_err(|error| Trouble::Here(error.into()))?;
            if disk::kind(&now) != FileType::RegularFile {
                return Err(Trouble::Gone);
            }
            visitor.file(&disk::meta(path.to_vec(), &now), file).map_err(Trouble::There)?;
            Ok(None)
        }
        FileType::Symlink => {
            let target = disk::read_link(parent, name).map_err(on_disk)?;
            visitor.link(&disk::meta(path.to_vec(), &stat), &target).map_err(Trouble::There)?;
            Ok(None)
        }
        _ => {
            visitor.special(path);
            Ok(None)
        }
    }
}
