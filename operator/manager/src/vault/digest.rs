//! The digest of a tree of files: equal exactly when names, types, contents and link targets are.
//!
//! One line an entry, in path order, through SHA-256:
//! `type NUL path NUL size NUL content NEWLINE`, with type `d`, `f` or `l`, and as content nothing for a directory,
//! the hex SHA-256 of a file, the target of a link (whose size is the target's length). No path or target holds a
//! NUL, and every content's length follows from what stands before it, so no two trees have the same lines. Owners,
//! modes and times are not in it: where a mover may not set them, the data is whole all the same.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What went through a digest, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Bytes of regular files.
    pub bytes: u64,
    /// Symbolic links.
    pub links: u64,
    /// `sha256:` and hex.
    pub digest: String,
}

/// Computes a digest entry by entry. The caller brings the entries in path order.
#[derive(Default)]
pub struct TreeDigest {
    hasher: Sha256,
    totals: Totals,
}

impl TreeDigest {
    /// Takes a directory. The root itself is not an entry.
    pub fn directory(&mut self, path: &[u8]) {
        self.line(b"d", path, 0, b"");
    }

    /// Takes a regular file, with the SHA-256 of its content.
    pub fn file(&mut self, path: &[u8], size: u64, content: &[u8]) {
        self.totals.files += 1;
        self.totals.bytes += size;
        self.line(b"f", path, size, hex::encode(content).as_bytes());
    }

    /// Takes a symbolic link.
    pub fn link(&mut self, path: &[u8], target: &[u8]) {
        self.totals.links += 1;
        self.line(b"l", path, target.len() as u64, target);
    }

    /// The digest and the counts.
    #[must_use]
    pub fn finish(self) -> Totals {
        let digest = format!("sha256:{}", hex::encode(self.hasher.finalize()));
        Totals { digest, ..self.totals }
    }

    fn line(&mut self, kind: &[u8], path: &[u8], size: u64, content: &[u8]) {
        for part in [kind, b"\0", path, b"\0", size.to_string().as_bytes(), b"\0", content, b"\n"] {
            self.hasher.update(part);
        }
    }
}

/// The order of paths that all streams and digests follow: by components, as a sorted walk meets them.
#[must_use]
pub fn path_order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(build: impl FnOnce(&mut TreeDigest)) -> String {
        let mut digest = TreeDigest::default();
        build(&mut digest);
        digest.finish().digest
    }

    #[test]
    fn each_part_of_an_entry_counts() {
        let all = [
            of(|_| ()),
            of(|d| d.directory(b"a")),
            of(|d| d.directory(b"b")),
            of(|d| d.file(b"a", 1, &[1; 32])),
            of(|d| d.file(b"a", 2, &[1; 32])),
            of(|d| d.file(b"a", 1, &[2; 32])),
            of(|d| d.link(b"a", b"x")),
            of(|d| d.link(b"a", b"y")),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn the_line_is_what_the_page_says() {
        let expected = Sha256::digest(b"d\0a\x000\0\nl\0a/l\x003\0xyz\n");
        let got = of(|d| {
            d.directory(b"a");
            d.link(b"a/l", b"xyz");
        });
        assert_eq!(got, format!("sha256:{}", hex::encode(expected)));
    }

    #[test]
    fn order_goes_by_components() {
        // As bytes `a-b` sorts before `a/b`, but a walk is through with `a` before it meets `a-b`.
        assert!(path_order(b"a/b", b"a-b").is_lt());
        assert!(path_order(b"a", b"a/b").is_lt());
    }
}
