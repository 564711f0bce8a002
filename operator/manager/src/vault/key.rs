//! Keys of repositories, derived from the master keys that a centre's operator is given.
//!
//! Derivation makes two promises. Each system's repository has its own key, so escrow can hand out one without the
//! others. And two operators that create the same repository at once derive the same key, so neither can lock the
//! other out.
//!
//! A master key is replaced by another one: what was made with the one before stays as it is, in a repository of its own,
//! until no point needs it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use sha2::Sha256;

/// The secret that all keys of a vault are derived from. Never printed.
#[derive(Clone)]
pub struct MasterKey(Vec<u8>);

/// The name of a master key: 16 hexadecimal digits, from which the key can't be had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(String);

impl KeyId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The master keys of an operator: one that new points are made with, and those that earlier ones were made with, or that
/// another centre makes them with already.
#[derive(Clone, Debug)]
pub struct Keyring {
    current: MasterKey,
    others: Vec<MasterKey>,
}

impl Keyring {
    #[must_use]
    pub fn new(current: MasterKey, others: Vec<MasterKey>) -> Self {
        Self { current, others }
    }

    /// The one that new points are made with.
    #[must_use]
    pub fn current(&self) -> &MasterKey {
        &self.current
    }

    /// Their names, the current one first. One that is given twice counts once.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        let mut names = vec![self.current.id()];
        for key in &self.others {
            let id = key.id();
            if !names.contains(&id) {
                names.push(id);
            }
        }
        names.into_iter()
    }

    /// The one of this name, where it was given.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&MasterKey> {
        std::iter::once(&self.current).chain(&self.others).find(|key| key.id().as_str() == id)
    }
}

impl From<MasterKey> for Keyring {
    fn from(current: MasterKey) -> Self {
        Self::new(current, Vec::new())
    }
}

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

    /// What it is called where it is not told: in the names of repositories, in manifests and in the status of a Centre.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(hex::encode(self.derive::<8>("tripod/key-id/v1")))
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
    fn a_name_never_changes_and_finds_its_key() {
        let [current, other, unknown] = [7, 8, 9].map(|byte| MasterKey::new(&[byte; 32]).unwrap());
        assert_eq!(current.id().as_str(), NAME);
        let ring = Keyring::new(current.clone(), vec![other.clone()]);
        for key in [&current, &other] {
            assert_eq!(ring.find(key.id().as_str()).map(MasterKey::id), Some(key.id()));
        }
        assert!(ring.find(unknown.id().as_str()).is_none());
        assert!(ring.find("../../other").is_none());
    }

    // As VECTOR.
    const NAME: &str = "1047f8ef4ce3f2df";

    #[test]
    fn a_short_key_is_refused_and_none_is_printed() {
        assert!(MasterKey::new(&[7; 31]).is_err());
        assert_eq!(format!("{:?}", MasterKey::new(&[7; 32]).unwrap()), "MasterKey(…)");
    }
}
