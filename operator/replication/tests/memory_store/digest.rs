//! Checksums of what is received, made as it comes, and the `ETag`s that follow from them.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, checksum_combine};
use http::HeaderMap;
use md5::{Digest as _, Md5};
use sha2::{Digest as _, Sha256};

use super::answer::Failure;

/// What the store calls a content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ETags {
    /// MD5, as S3 does; of an object in parts the MD5 of their MD5s, with `-N`.
    #[default]
    Md5,
    /// Random, as stores with encryption do: the same content gets another one each time.
    Opaque,
    /// From the CRC64NVME: the same for the same content, and of no cost, for benchmarks with large bodies.
    Crc,
}

/// Checksums that S3 knows and this store verifies; with SHA-1 and the others it believes what it is told.
const VERIFIED: [&str; 4] = [CRC64, "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-sha256"];
const CRC64: &str = "x-amz-checksum-crc64nvme";

/// What was found out about a body.
#[derive(Clone, Debug, Default)]
pub(super) struct Digests {
    md5: Option<[u8; 16]>,
    pub(super) crc64: u64,
    pub(super) size: usize,
    /// That the sender named, by header, in Base64.
    pub(super) named: Vec<(&'static str, String)>,
}

enum Hasher {
    /// With its width in bytes.
    Crc(Box<crc_fast::Digest>, usize),
    Sha256(Sha256),
}

/// Makes the checksums of one body.
pub(super) struct Digester {
    md5: Option<Md5>,
    crc64: crc_fast::Digest,
    size: usize,
    others: Vec<(&'static str, Hasher)>,
}

impl Digester {
    /// For a body with such headers: what they name, and what the `ETag` needs.
    pub(super) fn new(etags: ETags, headers: &HeaderMap) -> Self {
        let trailers = headers.get("x-amz-trailer").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let named =
            |name: &&str| headers.contains_key(*name) || trailers.split(',').any(|t| t.trim() == *name);
        let crc = |algorithm, width| Hasher::Crc(Box::new(crc_fast::Digest::new(algorithm)), width);
        let hasher = |name| match name {
            "x-amz-checksum-crc32" => crc(CrcAlgorithm::Crc32IsoHdlc, 4),
            "x-amz-checksum-crc32c" => crc(CrcAlgorithm::Crc32Iscsi, 4),
            "x-amz-checksum-sha256" => Hasher::Sha256(Sha256::new()),
            _ => crc(CrcAlgorithm::Crc64Nvme, 8),
        };
        let md5 = etags == ETags::Md5 || headers.contains_key("content-md5");
        Self {
            md5: md5.then(Md5::new),
            crc64: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme),
            size: 0,
            others: VERIFIED.into_iter().filter(named).map(|name| (name, hasher(name))).collect(),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len();
        self.crc64.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        for (_, hasher) in &mut self.others {
            match hasher {
                Hasher::Crc(crc, _) => crc.update(bytes),
                Hasher::Sha256(sha) => sha.update(bytes),
            }
        }
    }

    pub(super) fn finish(self) -> Digests {
        let value = |hasher| match hasher {
            Hasher::Crc(crc, width) => BASE64.encode(&crc.finalize().to_be_bytes()[8 - width..]),
            Hasher::Sha256(sha) => BASE64.encode(sha.finalize()),
        };
        Digests {
            md5: self.md5.map(|md5| md5.finalize().into()),
            crc64: self.crc64.finalize(),
            size: self.size,
            named: self.others.into_iter().map(|(name, hasher)| (name, value(hasher))).collect(),
        }
    }
}

impl Digests {
    /// Of a body that is here already.
    pub(super) fn of<'a>(etags: ETags, pieces: impl IntoIterator<Item = &'a bytes::Bytes>) -> Self {
        let mut digester = Digester::new(etags, &HeaderMap::new());
        pieces.into_iter().for_each(|piece| digester.update(piece));
        digester.finish()
    }

    /// Whether the body is what its headers, or what came after it, say.
    pub(super) fn verify(&self, headers: &HeaderMap, trailers: &[(String, String)]) -> Result<(), Failure> {
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        if let (Some(said), Some(md5)) = (header("content-md5"), self.md5)
            && said != BASE64.encode(md5)
        {
            return Err(Failure::new(400, "BadDigest", "The Content-MD5 is not that of what was received."));
        }
        for (name, value) in &self.named {
            let trailer = trailers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
            if header(name).or(trailer).is_some_and(|said| said != value) {
                return Err(Failure::new(400, "BadDigest", "The checksum is not that of what was received."));
            }
        }
        Ok(())
    }

    /// What is returned to those who ask for checksums.
    pub(super) fn checksums(&self) -> Vec<(&'static str, String)> {
        let own = (CRC64, BASE64.encode(self.crc64.to_be_bytes()));
        let others = self.named.iter().filter(|(name, _)| *name != CRC64).cloned();
        std::iter::once(own).chain(others).collect()
    }

    /// Of the parts one after the other.
    pub(super) fn combined<'a>(parts: impl IntoIterator<Item = &'a Digests>) -> Self {
        parts.into_iter().fold(Self::default(), |all, part| Self {
            crc64: checksum_combine(CrcAlgorithm::Crc64Nvme, all.crc64, part.crc64, part.size as u64),
            size: all.size + part.size,
            ..Self::default()
        })
    }
}

/// Names contents.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) etags: ETags,
    drawn: AtomicU64,
}

impl Naming {
    pub(super) fn new(etags: ETags) -> Self {
        use std::hash::{BuildHasher as _, Hasher as _};
        // Seeded by the system: two stores never draw the same.
        let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
        Self { etags, drawn: AtomicU64::new(seed) }
    }

    /// Of a content that was sent whole, or of one part.
    pub(super) fn single(&self, digests: &Digests) -> String {
        match (self.etags, digests.md5) {
            (ETags::Md5, Some(md5)) => hex::encode(md5),
            (ETags::Opaque, _) => self.draw(),
            _ => format!("{:016x}{:016x}", digests.crc64, mixed(digests.crc64 ^ digests.size as u64)),
        }
    }

    /// Of a content that was sent in parts.
    pub(super) fn parts(&self, parts: &[&Digests]) -> String {
        let name = match self.etags {
            ETags::Md5 => {
                let mut md5 = Md5::new();
                parts.iter().filter_map(|part| part.md5).for_each(|one| md5.update(one));
                hex::encode(md5.finalize())
            }
            ETags::Opaque => self.draw(),
            ETags::Crc => {
                let all = parts.iter().fold(0, |all, part| mixed(all ^ part.crc64));
                format!("{all:016x}{:016x}", mixed(all))
            }
        };
        format!("{name}-{}", parts.len())
    }

    fn draw(&self) -> String {
        let n = self.drawn.fetch_add(2, Ordering::Relaxed);
        format!("{:016x}{:016x}", mixed(n), mixed(n.wrapping_add(1)))
    }
}

/// A bijection of 64 bits after which neighbours have nothing in common (splitmix64).
pub(super) fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
