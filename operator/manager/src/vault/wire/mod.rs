//! How a volume travels between a mover and the gateway: a tar with rules, the same in both directions.
//!
//! - The first entry is the directory `data`, the volume's root; every other is `data/…`, in path order
//!   ([`path_order`](super::digest::path_order)), directories before what is in them. Only directories, regular files
//!   and symbolic links.
//! - Names, link targets and times stand in a PAX header before every entry: bytes of any kind, any length a file
//!   system takes, nanoseconds.
//! - The last entry is `.tripod-end`: counts and digest as the sender computed them. A stream without it was cut off.
//!
//! The receiver believes none of this: whatever breaks a rule ends the stream with an error, and no announced length
//! makes it hold more than a few KiB.

mod pax;
mod receive;
mod send;

pub use receive::{Receiver, receive};
pub use send::Sender;

/// The longest path, in bytes, and the longest name in it: Linux takes no longer ones.
pub const LONGEST_PATH: usize = 4096;
const LONGEST_NAME: usize = 255;
/// The deepest path, in names. The receiver keeps one directory open for each.
const DEEPEST: usize = 256;

const ROOT: &[u8] = b"data";
const END: &[u8] = b".tripod-end";
const BLOCK: u64 = 512;

/// A moment, as a file system keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since 1970; negative before.
    pub seconds: i64,
    /// Below 1 000 000 000.
    pub nanos: u32,
}

/// What an entry is called and how it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Relative to the root, with `/` between names; empty for the root itself.
    pub path: Vec<u8>,
    /// Permission bits, setuid and the like included; no type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was last modified.
    pub modified: Moment,
    /// Bytes of a regular file; 0 for others.
    pub size: u64,
}

/// Why a stream is no volume.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection broke, or the file system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It ended before its end marker.
    #[error("the stream was cut off: {0}")]
    Truncated(&'static str),
    /// It breaks a rule.
    #[error("the stream is refused: {reason} (at {})", .path.escape_ascii())]
    Refused {
        /// Which.
        reason: &'static str,
        /// Where.
        path: Vec<u8>,
    },
    /// It ended well, but sender and receiver do not agree on what was sent.
    #[error("sender and receiver disagree: sent {sent}, received {received}")]
    Mismatch {
        /// Digest and counts as the sender has them.
        sent: String,
        /// Digest and counts as they were received.
        received: String,
    },
}

/// Whether a path is one that a walk below the root can yield.
fn check_path(path: &[u8]) -> Result<(), &'static str> {
    if path.len() > LONGEST_PATH {
        return Err("a path longer than 4096 bytes");
    }
    if path.starts_with(b"/") {
        return Err("an absolute path");
    }
    let mut depth = 0;
    for name in path.split(|byte| *byte == b'/') {
        depth += 1;
        match name {
            b"" => return Err("an empty name in a path"),
            b"." | b".." => return Err("`.` or `..` in a path"),
            _ if name.contains(&0) => return Err("a NUL in a path"),
            _ if name.len() > LONGEST_NAME => return Err("a name longer than 255 bytes"),
            _ if depth > DEEPEST => return Err("a path deeper than 256 directories"),
            _ => {}
        }
    }
    Ok(())
}

fn padding(size: u64) -> usize {
    // Below 512, so it fits wherever this runs.
    usize::try_from((BLOCK - size % BLOCK) % BLOCK).unwrap_or_default()
}

#[cfg(test)]
mod tests;
