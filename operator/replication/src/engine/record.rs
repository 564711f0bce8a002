//! What is known of an object that was replicated: what the source called it, what the destination calls it, and how the
//! copy was proved. Kept in segments: sorted, front-coded, named by their digest.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::chain::Newest;
use crate::StoreError;
use crate::wire::{ETag, Entry};

/// An object as its store names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Bytes.
    pub size: u64,
    pub etag: ETag,
    /// By its store's clock, in milliseconds since 1970; 0 where it was not listed yet.
    pub modified: i64,
}

impl Seen {
    /// As it was listed.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        Self { size: entry.size, etag: entry.etag.clone(), modified: entry.modified }
    }

    /// Whether it was not written since; a moment that is not known is no difference.
    #[must_use]
    pub fn is_still(&self, entry: &Entry) -> bool {
        self.size == entry.size
            && self.etag == entry.etag
            && (self.modified == entry.modified || self.modified == 0 || entry.modified == 0)
    }
}

/// How it is known that the copy is the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// Both stores made the same digest of the content.
    ETag,
    /// The copy was read back and is what the source holds.
    Read,
    /// It is no copy: the object lacks the tags that were asked for. `destination` says which those were, and when.
    LeftOut,
}

/// One replicated object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: String,
    pub source: Seen,
    pub destination: Seen,
    pub proof: Proof,
    /// Only where all versions are replicated.
    pub newest: Option<Box<Newest>>,
}

/// A record as it is kept: the key without what it shares with the one before, the destination without what it shares
/// with the source.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    shared: u16,
    rest: &'a str,
    source: Seen,
    size: Option<u64>,
    etag: Option<ETag>,
    modified: i64,
    proof: KeptProof,
}

/// As [`Proof`], with what else is known.
#[derive(Serialize, Deserialize)]
enum KeptProof {
    ETag,
    Read,
    Chain(Proof, Box<Newest>),
    LeftOut,
}

/// Builds one segment.
#[derive(Default)]
pub(super) struct Encoder {
    bytes: Vec<u8>,
    first: String,
    last: String,
    count: u32,
}

/// A segment, encoded.
pub(super) struct Segment {
    pub(super) bytes: Vec<u8>,
    pub(super) described: Described,
}

/// A segment, as an index names it. There is one of each, however many lists it is on: of many objects there are many lists
/// of many segments.
pub type Described = Arc<Description>;

/// What is said of a segment.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// SHA-256 of its bytes, hex.
    pub name: String,
    pub first: String,
    pub last: String,
    pub count: u32,
}

impl Encoder {
    /// Takes the next record. Keys come in order.
    ///
    /// # Errors
    /// Never, for what can be kept.
    pub(super) fn add(&mut self, record: &Record) -> Result<(), StoreError> {
        let shared = if self.count == 0 { 0 } else { shared(&self.last, &record.key) };
        let (source, destination) = (&record.source, &record.destination);
        let kept = Kept {
            shared: u16::try_from(shared).unwrap_or(0),
            rest: &record.key[shared..],
            source: source.clone(),
            size: (destination.size != source.size).then_some(destination.size),
            etag: (destination.etag != source.etag).then(|| destination.etag.clone()),
            modified: destination.modified,
            proof: match (&record.newest, record.proof) {
                (Some(newest), proof) => KeptProof::Chain(proof, newest.clone()),
                (None, Proof::ETag) => KeptProof::ETag,
                (None, Proof::Read) => KeptProof::Read,
                (None, Proof::LeftOut) => KeptProof::LeftOut,
            },
        };
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(&kept, bytes).map_err(|e| malformed(&record.key, &e))?;
        if self.count == 0 {
            self.first.clone_from(&record.key);
        }
        self.last.clone_from(&record.key);
        self.count += 1;
        Ok(())
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The segment, and an encoder for the next.
    pub(super) fn finish(&mut self) -> Option<Segment> {
        let done = std::mem::take(self);
        (done.count > 0).then(|| Segment {
            described: Arc::new(Description {
                name: hex::encode(Sha256::digest(&done.bytes)),
                first: done.first,
                last: done.last,
                count: done.count,
            }),
            bytes: done.bytes,
        })
    }
}

/// The records of a segment, read one after the other: all at once they would take many times the room of its bytes.
pub(super) struct Decoder {
    described: Described,
    left: Bytes,
    /// Of the record before.
    key: String,
}

/// Reads a segment.
///
/// # Errors
/// Where it is not what its name says.
pub(super) fn decode(described: &Described, bytes: Bytes) -> Result<Decoder, StoreError> {
    if hex::encode(Sha256::digest(&bytes)) != described.name {
        return Err(malformed(&described.name, &"its content is not what its name says"));
    }
    Ok(Decoder { described: Arc::clone(described), left: bytes, key: String::new() })
}

impl Iterator for Decoder {
    type Item = Result<Record, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let record = self.read().map_err(|error| malformed(&self.described.name, &error));
        if record.is_err() {
            self.left.clear();
        }
        Some(record)
    }
}

impl Decoder {
    fn read(&mut self) -> postcard::Result<Record> {
        let (kept, rest): (Kept<'_>, _) = postcard::take_from_bytes(&self.left)?;
        let read = self.left.len() - rest.len();
        let shared = self.key.get(..kept.shared.into()).unwrap_or_default();
        let mut key = String::with_capacity(shared.len() + kept.rest.len());
        key.push_str(shared);
        key.push_str(kept.rest);
        let destination = Seen {
            size: kept.size.unwrap_or(kept.source.size),
            etag: kept.etag.unwrap_or_else(|| kept.source.etag.clone()),
            modified: kept.modified,
        };
        let (proof, newest) = match kept.proof {
            KeptProof::ETag => (Proof::ETag, None),
            KeptProof::Read => (Proof::Read, None),
            KeptProof::LeftOut => (Proof::LeftOut, None),
            KeptProof::Chain(proof, newest) => (proof, Some(newest)),
        };
        let record = Record { key, source: kept.source, destination, proof, newest };
        self.key.clone_from(&record.key);
        self.left.advance(read);
        Ok(record)
    }
}

/// Bytes that two keys begin with alike, whole characters only.
fn shared(a: &str, b: &str) -> usize {
    let alike = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count().min(u16::MAX.into());
    (0..=alike).rev().find(|n| b.is_char_boundary(*n)).unwrap_or(0)
}

fn malformed(what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Other { what: format!("manifest, {what}"), detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::chain::Pair;

    fn record(key: &str, etag: &str) -> Record {
        let seen = |etag: &str, modified| Seen { size: 3, etag: ETag::new(etag), modified };
        Record {
            key: key.into(),
            source: seen("0123456789abcdef0123456789abcdef", 7),
            destination: seen(etag, 0),
            proof: Proof::Read,
            newest: None,
        }
    }

    #[test]
    fn a_segment_is_read_as_it_was_written() {
        let mut records: Vec<Record> = ["a", "a/目", "a/目录", "a/盟", "b"]
            .iter()
            .map(|key| record(key, &format!("etag of {key}")))
            .collect();
        let pair = Pair { source: ETag::new("a"), destination: ETag::new("b") };
        let (source, destination) = ("1".into(), "2".into());
        records[1].newest = Some(Newest { source, destination, pairs: vec![pair.clone(), pair] }.into());
        let mut encoder = Encoder::default();
        for record in &records {
            encoder.add(record).unwrap();
        }
        let segment = encoder.finish().unwrap();
        let bytes = Bytes::from(segment.bytes);
        let read: Result<Vec<_>, _> = decode(&segment.described, bytes.clone()).unwrap().collect();
        assert_eq!(read.unwrap(), records);
        assert_eq!((segment.described.first.as_str(), segment.described.last.as_str()), ("a", "b"));
        let mut damaged = bytes.to_vec();
        damaged[3] ^= 1;
        assert!(decode(&segment.described, damaged.into()).is_err());
        assert!(encoder.finish().is_none());
    }

    #[test]
    fn what_breaks_off_is_an_error_and_then_nothing() {
        let mut encoder = Encoder::default();
        for key in ["a", "b"] {
            encoder.add(&record(key, "e")).unwrap();
        }
        let whole = encoder.finish().unwrap();
        let cut = Bytes::from(whole.bytes[..whole.bytes.len() - 1].to_vec());
        let name = hex::encode(Sha256::digest(&cut));
        let described = Description { name, first: "a".into(), last: "b".into(), count: 2 };
        let mut records = decode(&described.into(), cut).unwrap();
        assert_eq!(records.next().unwrap().unwrap(), record("a", "e"));
        assert!(records.next().unwrap().is_err());
        assert!(records.next().is_none());
    }
}
