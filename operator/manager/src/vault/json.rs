//! The words of a vault: small JSON documents beside the repositories.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tripod_replication::StoreError;

use super::{SystemVault, VaultError};

impl SystemVault {
    /// Reads a JSON document of the vault, or `None` where there is none.
    pub async fn read_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, VaultError> {
        match self.store.get(&self.bucket, key).await {
            Ok(body) => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| VaultError::Malformed { key: key.to_owned(), detail: error.to_string() }),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a JSON document of the vault.
    pub async fn write_json(&self, key: &str, value: &(impl Serialize + Sync)) -> Result<(), StoreError> {
        let body = serde_json::to_vec_pretty(value)
            .map_err(|error| StoreError::Other { what: key.to_owned(), detail: error.to_string() })?;
        self.store.put(&self.bucket, key, body.into()).await
    }
}
