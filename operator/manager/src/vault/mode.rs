//! Modes as restic keeps them: permission bits are Unix's, the rest are the bits of Go's `os.FileMode`.

const PERMISSIONS: u32 = 0o777;
/// Unix's bit, and Go's.
const SPECIAL: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;

/// What kind of entry a mode is of.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Directory,
    File,
    Link,
}

/// For a repository.
pub(super) fn to_restic(of: Of, mode: u32) -> u32 {
    let kind = match of {
        Of::Directory => DIRECTORY,
        Of::File => 0,
        Of::Link => SYMLINK,
    };
    SPECIAL
        .iter()
        .filter(|(unix, _)| mode & unix != 0)
        .fold(kind | (mode & PERMISSIONS), |restic, (_, go)| restic | go)
}

/// From a repository.
pub(super) fn from_restic(mode: u32) -> u32 {
    SPECIAL
        .iter()
        .filter(|(_, go)| mode & go != 0)
        .fold(mode & PERMISSIONS, |restored, (unix, _)| restored | unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_comes_back() {
        for mode in 0..=0o7777 {
            for of in [Of::Directory, Of::File, Of::Link] {
                assert_eq!(from_restic(to_restic(of, mode)), mode);
            }
        }
        assert_eq!(to_restic(Of::Directory, 0o1777), 0x8010_01ff);
    }
}
