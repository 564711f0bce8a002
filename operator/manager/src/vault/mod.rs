//! The vault: where a centre keeps the recovery points of its systems.
//!
//! One bucket holds a repository in restic's format for every system, the manifests of its points, and what this
//! centre has proven of them. Promises: a stream that did not arrive whole leaves no snapshot; neither the store's
//! credentials nor the repository's key leave the operator; `restic` can read every repository.

mod ahead;
mod backend;
pub mod browse;
pub mod digest;
pub mod documents;
pub mod escrow;
mod inventory;
mod json;
pub mod key;
pub mod layout;
#[cfg(test)]
#[path = "../../../replication/tests/memory_store/mod.rs"]
pub mod memory_store;
mod mode;
pub mod prune;
mod read;
pub mod repository;
mod seal;
mod stream;
pub mod wire;

pub use documents::{DocumentFeed, Unread, documents};
pub use key::{Keyring, MasterKey};
pub use repository::{Document, SystemVault, Turn, VaultError};
pub use tripod_domain::manifest::Part;
