//! The vault: one bucket of a centre's store that holds, per system, a repository in the restic format and the
//! words about its recovery points. Nothing outside this module knows a key's name.

pub mod backend;
pub mod key;
pub mod layout;
pub mod repository;
pub mod source;

use tripod_replication::StoreError;

/// What can go wrong in a vault.
#[derive(thiserror::Error, Debug)]
pub enum VaultError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The repository itself: a wrong key, damage, or what the library says.
    #[error("repository of {system}: {detail}")]
    Repository { system: String, detail: String },
    /// The stream of a volume was hostile or broke off. Nothing of it counts.
    #[error("stream of {what}: {detail}")]
    Stream { what: String, detail: String },
    /// Something in the vault is not what this code writes.
    #[error("{key}: {detail}")]
    Malformed { key: String, detail: String },
}

impl VaultError {
    /// Whether it may go away by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}
