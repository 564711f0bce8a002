//! Bodies: kept in the pieces in which they came, never copied, unless they are small.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// Below this a body is copied once: a piece keeps the whole buffer alive that it was read into.
const SMALL: usize = 64 << 10;

/// Bytes in pieces. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Content {
    pieces: Arc<[Bytes]>,
    size: usize,
}

impl Content {
    pub fn new(pieces: Vec<Bytes>) -> Self {
        let size = pieces.iter().map(Bytes::len).sum();
        if size == 0 {
            return Self { pieces: Arc::new([]), size };
        }
        if size >= SMALL {
            return Self { pieces: pieces.into(), size };
        }
        let mut whole = Vec::with_capacity(size);
        for piece in pieces {
            whole.extend_from_slice(&piece);
        }
        Self { pieces: Arc::new([Bytes::from(whole)]), size }
    }

    /// One after the other, sharing their memory.
    pub fn joined<'a>(contents: impl IntoIterator<Item = &'a Content>) -> Self {
        let pieces: Vec<Bytes> = contents.into_iter().flat_map(|c| c.pieces.iter().cloned()).collect();
        let size = pieces.iter().map(Bytes::len).sum();
        Self { pieces: pieces.into(), size }
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// So many bytes from an offset; fewer, if there are fewer.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        let end = offset.saturating_add(length).min(self.size);
        let (mut at, mut pieces) = (0, Vec::new());
        for piece in self.pieces.iter() {
            if at >= end {
                break;
            }
            let (from, to) = (offset.max(at), end.min(at + piece.len()));
            if from < to {
                pieces.push(piece.slice(from - at..to - at));
            }
            at += piece.len();
        }
        Self { size: end.saturating_sub(offset), pieces: pieces.into() }
    }

    /// With one byte changed; as it is, where there is no such byte.
    pub fn flipped(&self, flip: Flip) -> Self {
        let (mut at, mut pieces) = (0, self.pieces.to_vec());
        for piece in &mut pieces {
            if let Some(flip) = flip.within(at, piece.len()) {
                *piece = flip.of(piece);
                break;
            }
            at += piece.len();
        }
        Self { size: self.size, pieces: pieces.into() }
    }

    /// In one piece; copies, if it is not.
    pub fn to_bytes(&self) -> Bytes {
        if let [one] = &*self.pieces {
            return one.clone();
        }
        let mut whole = BytesMut::with_capacity(self.size);
        for piece in self.pieces.iter() {
            whole.extend_from_slice(piece);
        }
        whole.freeze()
    }
}

impl<T: Into<Bytes>> From<T> for Content {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        let size = bytes.len();
        if size == 0 { Self::new(Vec::new()) } else { Self { size, pieces: Arc::new([bytes]) } }
    }
}

/// By what is in it, however it is cut.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size
            && (Arc::ptr_eq(&self.pieces, &other.pieces) || self.to_bytes() == other.to_bytes())
    }
}

impl Eq for Content {}

/// One byte that becomes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The byte at this offset.
    pub at: usize,
    /// The bits that change.
    pub bits: u8,
}

impl Flip {
    /// All bits of the byte at this offset.
    pub fn at(at: usize) -> Self {
        Self { at, bits: u8::MAX }
    }

    /// The same, as a piece from `start` on sees it that has so many bytes.
    pub(super) fn within(self, start: usize, length: usize) -> Option<Self> {
        let at = self.at.checked_sub(start).filter(|at| *at < length)?;
        Some(Self { at, ..self })
    }

    /// A copy with that byte changed.
    pub(super) fn of(self, bytes: &Bytes) -> Bytes {
        let mut changed = BytesMut::from(&bytes[..]);
        if let Some(byte) = changed.get_mut(self.at) {
            *byte ^= self.bits;
        }
        changed.freeze()
    }
}
