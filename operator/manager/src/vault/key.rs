//! Keys of repositories, derived from the one secret that a centre's operator is given.
//!
//! Derivation makes two promises. Each system's repository has its own key, so escrow can hand out one without the
//! others. And two operators that create the same repository at once derive the same key, so neither can lock the
//! other out.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use sha2::Sha256;

/// The secret that all keys of a vault are derived from. Never printed.
#[derive(Clone)]
pub struct MasterKey(Vec<u8>);

/// A master key too short to be one.
#[derive(Debug, thiserror::Error)]
#[error("a master key has at least {least} bytes; this one has {got}", least = MasterKey::LEAST)]
pub struct KeyTooShort {
    got: usize,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// Fewer bytes than this are no key.
    pub const LEAST: usize = 32;

    /// Takes the secret as it was mounted.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyTooShort> {
        if bytes.len() < Self::LEAST {
            return Err(KeyTooShort { got: bytes.len() });
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The password under which `restic` opens a system's repository.
    #[must_use]
    pub fn repository_password(&self, system: &str) -> String {
        hex::encode(self.derive::<32>(&format!("tripod/repository/v1/{system}")))
    }

    /// The key that encrypts a system's repository, as restic's key files hold it (JSON).
    pub(super) fn repository_key(&self, system: &str) -> String {
        let bytes = self.derive::<64>(&format!("tripod/repository-key/v1/{system}"));
        let (encrypt, mac) = bytes.split_at(32);
        let (k, r) = mac.split_at(16);
        serde_json::json!({
            "mac": { "k": STANDARD.encode(k), "r": STANDARD.encode(r) },
            "encrypt": STANDARD.encode(encrypt),
        })
        .to_string()
    }

    fn derive<const N: usize>(&self, info: &str) -> [u8; N] {
        let mut out = [0; N];
        // HKDF can only refuse lengths above 255 hashes, which no N here reaches.
        let expanded = Hkdf::<Sha256>::new(None, &self.0).expand(info.as_bytes(), &mut out);
        debug_assert!(expanded.is_ok());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_changes() {
        let key = MasterKey::new(&[7; 32]).unwrap();
        assert_eq!(key.repository_password("tax"), VECTOR);
        assert_ne!(key.repository_password("tax"), key.repository_password("tax2"));
    }

    // Computed apart from this code, with Python's hmac: a change of it would lose every repository.
    const VECTOR: &str = "a14775a403a77e3604269a1128de9902e783223ff2ee85ad931d45c20f8670c5";

    #[test]
    fn a_short_key_is_refused_and_none_is_printed() {
        assert!(MasterKey::new(&[7; 31]).is_err());
        assert_eq!(format!("{:?}", MasterKey::new(&[7; 32]).unwrap()), "MasterKey(…)");
    }
}
