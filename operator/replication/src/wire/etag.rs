//! What a store calls a content.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An `ETag`, without quotes. Of a million of them nearly all are digests: those take no memory of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ETag {
    /// What most stores give to what was written in one piece: the MD5 of the content.
    Md5([u8; 16]),
    /// What most stores give to what was written in parts: the MD5 of the MD5s of the parts, and their number.
    Parts([u8; 16], u32),
    /// Anything else.
    Other(Box<str>),
}

impl ETag {
    /// From a store's words, with or without quotes.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.trim_matches('"');
        let parsed = match text.split_once('-') {
            None => digest(text).map(Self::Md5),
            // Only what is written back as it was read.
            Some((hex, parts)) if !parts.starts_with(['0', '+']) => {
                digest(hex).zip(parts.parse().ok()).map(|(digest, parts)| Self::Parts(digest, parts))
            }
            Some(_) => None,
        };
        parsed.unwrap_or_else(|| Self::Other(text.into()))
    }

    /// Whether the store has said nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Other(text) if text.is_empty())
    }
}

fn digest(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Md5(digest) => f.write_str(&hex::encode(digest)),
            Self::Parts(digest, parts) => write!(f, "{}-{parts}", hex::encode(digest)),
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ETag;

    #[test]
    fn it_is_written_as_it_was_read() {
        let digest = "0123456789abcdef0123456789abcdef";
        assert!(matches!(ETag::new(&format!("\"{digest}\"")), ETag::Md5(_)));
        assert!(matches!(ETag::new(&format!("{digest}-17")), ETag::Parts(_, 17)));
        for text in [
            digest,
            &format!("{digest}-1"),
            &format!("{digest}-01"),
            &format!("{digest}-+1"),
            "ABCDEF",
            "",
            "x-1",
        ] {
            assert_eq!(ETag::new(text).to_string(), text);
            assert_eq!(ETag::new(&text.to_uppercase()).to_string(), text.to_uppercase());
        }
        assert!(ETag::new("").is_empty());
    }
}
