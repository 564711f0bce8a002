//! The master key of an installation, and the repository passwords that are derived from it. Derived, not
//! stored: a centre that has the master key opens every copy, and there is nothing else to keep in step.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;

/// The shortest master key that is taken, in bytes.
pub const SHORTEST: usize = 32;

/// The key from which every repository password comes. The same at all centres of an installation.
#[derive(Clone)]
pub struct MasterKey(Vec<u8>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    /// # Errors
    /// When it is shorter than [`SHORTEST`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() < SHORTEST {
            return Err(format!("a master key needs {SHORTEST} bytes or more; this has {}", bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// The password of a system's repository: HKDF-SHA256 (RFC 5869) without salt, in hex.
    #[must_use]
    pub fn repository_password(&self, system: &str) -> String {
        let mut password = [0u8; 32];
        let info = format!("tripod/repository/v1/{system}");
        // 32 bytes are far below the limit of 255 blocks; expanding can't fail.
        let expanded = Hkdf::<Sha256>::new(None, &self.0).expand(info.as_bytes(), &mut password);
        debug_assert!(expanded.is_ok());
        hex::encode(password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_what_they_are() {
        let key = MasterKey::new(vec![7; 32]).unwrap();
        // Computed with `openssl kdf -kdfopt digest:SHA256 … HKDF`: a change here loses every backup.
        assert_eq!(
            key.repository_password("dept-health"),
            "aa388793490539426d5f3bd08fee0b3bdc6b22dc294a941cfe5fe04f5df4ad69"
        );
        assert_ne!(key.repository_password("dept-health"), key.repository_password("dept-water"));
        assert!(MasterKey::new(vec![7; 31]).is_err());
        assert_eq!(format!("{key:?}"), "MasterKey");
    }
}
