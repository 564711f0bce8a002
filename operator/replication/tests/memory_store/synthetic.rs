//! A bucket with any number of objects that takes no memory: keys and `ETag`s follow from an index.
//!
//! It can be listed and read, not written. Contents are zeros; the `ETag`s are not their MD5.

use bytes::Bytes;
use jiff::Timestamp;

use super::answer::Failure;
use super::content::Content;
use super::digest::{Digests, ETags, mixed};
use super::state::Version;

/// How many objects, of how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synthetic {
    pub objects: u64,
    pub size: usize,
}

/// The key of an index.
pub fn key(index: u64) -> String {
    format!("k{index:010}")
}

/// The `ETag` of an index.
pub fn etag(index: u64) -> String {
    format!("{:016x}{:016x}", mixed(index), mixed(!index))
}

impl Synthetic {
    /// Indexes of keys with a prefix, that come after a key.
    pub(super) fn range(self, prefix: &str, after: Option<&str>) -> std::ops::Range<u64> {
        let from = self.first(|key| key >= prefix);
        let from = after.map_or(from, |after| from.max(self.first(|key| key > after)));
        let to = self.first(|key| key > prefix && !key.starts_with(prefix));
        from..to.max(from)
    }

    /// The first index whose key is so; all after it must be too.
    fn first(self, so: impl Fn(&str) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.objects);
        while low < high {
            let middle = low + (high - low) / 2;
            if so(&key(middle)) { high = middle } else { low = middle + 1 }
        }
        low
    }
}

/// An object of it, made when it is asked for.
pub(super) fn version(synthetic: &Synthetic, key: &str) -> Result<Version, Failure> {
    let index =
        key.strip_prefix('k').filter(|digits| digits.len() >= 10).and_then(|digits| digits.parse().ok());
    let index = index.filter(|index| *index < synthetic.objects && self::key(*index) == key);
    let index: u64 = index.ok_or_else(Failure::no_such_key)?;
    let content = Content::from(Bytes::from(vec![0; synthetic.size]));
    let digests = Digests::of(ETags::Crc, content.pieces());
    let version = Version::new(content, etag(index), &digests, Timestamp::UNIX_EPOCH);
    Ok(Version { id: "null".to_owned(), ..version })
}

/// Entries of a listing, written by hand: a page has a thousand of them, and the client is what is measured.
pub(super) fn write_entry(index: u64, size: usize, out: &mut String) {
    out.push_str("<Contents><Key>k");
    let mut digits = [b'0'; 20];
    let (mut rest, mut at) = (index, digits.len());
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend(digits[at.min(10)..].iter().map(|digit| char::from(*digit)));
    out.push_str("</Key><LastModified>1970-01-01T00:00:00.000Z</LastModified><ETag>&quot;");
    for word in [mixed(index), mixed(!index)] {
        let hex =
            |shift: u32| char::from(b"0123456789abcdef"[usize::try_from(word >> shift & 15).unwrap_or(0)]);
        out.extend((0..16).rev().map(|nibble| hex(4 * nibble)));
    }
    out.push_str("&quot;</ETag><Size>");
    out.push_str(&size.to_string());
    out.push_str("</Size><StorageClass>STANDARD</StorageClass></Contents>");
}
