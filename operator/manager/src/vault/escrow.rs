//! A system's repository password, wrapped for people who keep a key elsewhere: with it and plain `restic` a system is
//! restored when no operator runs anywhere. The format is age's ([age-encryption.org](https://age-encryption.org/v1)).
//!
//! Promises: what lies in the vault can be opened by the recipients and nobody else; the same again writes nothing.

use std::io::Write;

use age::Encryptor;
use age::x25519::Recipient;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{SystemVault, VaultError, layout};

/// Who can open what is wrapped.
pub struct Recipients {
    texts: Vec<String>,
    keys: Vec<Recipient>,
}

/// What lies beside the wrapped password: for whom it is, and of what.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Note {
    recipients: Vec<String>,
    /// Of the password and the recipients. The password has 256 bits of its own: this tells nothing of it.
    digest: String,
}

impl Recipients {
    /// Reads public keys.
    ///
    /// # Errors
    /// Names the field of the Centre.
    pub fn read(texts: &[String]) -> Result<Self, String> {
        let read = |(at, text): (usize, &String)| {
            text.parse().map_err(|error| format!("spec.escrowRecipients[{at}]: {error}"))
        };
        let keys = texts.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        let mut texts = texts.to_vec();
        texts.sort();
        Ok(Self { texts, keys })
    }

    fn note(&self, password: &str) -> Note {
        let mut hash = Sha256::new();
        for part in self.texts.iter().map(String::as_str).chain([password]) {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Note { recipients: self.texts.clone(), digest: hex::encode(hash.finalize()) }
    }

    fn wrap(&self, password: &str) -> Result<Vec<u8>, String> {
        let keys = self.keys.iter().map(|key| key as &dyn age::Recipient);
        let encryptor = Encryptor::with_recipients(keys).map_err(|error| error.to_string())?;
        let mut wrapped = Vec::new();
        let written = encryptor.wrap_output(&mut wrapped).and_then(|mut writer| {
            writer.write_all(password.as_bytes())?;
            writer.finish()
        });
        written.map_err(|error| error.to_string())?;
        Ok(wrapped)
    }
}

impl SystemVault {
    /// Puts the wrapped password into the vault, unless it lies there for the same recipients.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn keep_escrow(&self, recipients: &Recipients) -> Result<(), VaultError> {
        let (note, at) = (recipients.note(self.password()), layout::escrow_note(&self.system, self.key_id()));
        if self.read_json::<Note>(&at).await?.is_some_and(|there| there == note) {
            return Ok(());
        }
        let wrapped = recipients.wrap(self.password()).map_err(|detail| VaultError::Malformed {
            key: layout::escrow(&self.system, self.key_id()),
            detail,
        })?;
        // The note last: where it is, what it tells of is there.
        self.store.put(&self.bucket, &layout::escrow(&self.system, self.key_id()), wrapped.into()).await?;
        Ok(self.write_json(&at, &note).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recipient_opens_it_and_nobody_else() {
        let [one, two, other] = [(); 3].map(|()| age::x25519::Identity::generate());
        let texts = [one.to_public().to_string(), two.to_public().to_string()];
        let wrapped = Recipients::read(&texts).unwrap().wrap("secret").unwrap();
        assert_eq!(age::decrypt(&one, &wrapped).unwrap(), b"secret");
        assert_eq!(age::decrypt(&two, &wrapped).unwrap(), b"secret");
        assert!(age::decrypt(&other, &wrapped).is_err());
        assert!(!wrapped.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn what_is_wrapped_anew_is_told_by_its_note() {
        let [one, two] = [(); 2].map(|()| age::x25519::Identity::generate().to_public().to_string());
        let note = |texts: &[&String], password: &str| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).clone()).collect();
            Recipients::read(&texts).unwrap().note(password).digest
        };
        assert_eq!(note(&[&one, &two], "p"), note(&[&two, &one], "p"));
        assert_ne!(note(&[&one], "p"), note(&[&one, &two], "p"));
        assert_ne!(note(&[&one], "p"), note(&[&one], "q"));
    }

    #[test]
    fn a_wrong_key_names_its_field() {
        let good = age::x25519::Identity::generate().to_public().to_string();
        let error = Recipients::read(&[good, "age1nonsense".into()]).err().unwrap();
        assert!(error.starts_with("spec.escrowRecipients[1]"), "{error}");
    }
}
