//! From a Centre and the Secrets of the operator's own namespace to access: to stores, vaults and repositories.
//! Every error names the field it comes from and what to do.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Config, ResourceExt};
use tripod_crds::Centre;
use tripod_crds::centre::SecretRef;
use tripod_replication::replica::Replica;
use tripod_replication::{Reach, Store, StoreConfig, StoreError};

use crate::vault::{Keyring, MasterKey, SystemVault, Turn, layout};

/// Why there is no access.
#[derive(thiserror::Error, Debug, Clone)]
pub enum StoreAccess {
    /// A Secret is missing or incomplete.
    #[error("{0}")]
    Credentials(String),
    /// The centre's description can't be used.
    #[error("{0}")]
    Centre(String),
    /// The bucket is not the system's.
    #[error("{0}")]
    Foreign(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tag of a department's bucket: the namespace of the system that it belongs to.
pub const SYSTEM_TAG: &str = "tripod.cloud/system";

/// What a Secret with credentials of a store has.
pub const ACCESS_KEY_ID: &str = "accessKeyId";
pub const SECRET_ACCESS_KEY: &str = "secretAccessKey";

/// The entry of the Secret of master keys that new points are made with.
const CURRENT_KEY: &str = "key";

/// Gives access.
#[derive(Clone)]
pub struct Stores {
    client: Client,
    config: Config,
    centre: String,
    namespace: String,
    master_key_secret: String,
    reach: Reach,
    /// By centre and system.
    turns: Arc<Mutex<HashMap<(String, String), Turn>>>,
}

impl Stores {
    #[must_use]
    pub fn new(
        client: Client,
        config: Config,
        centre: String,
        namespace: String,
        master_key_secret: String,
        reach: Reach,
    ) -> Self {
        Self { client, config, centre, namespace, master_key_secret, reach, turns: Arc::default() }
    }

    /// Access to a centre's store with the most that this operator has: to write where it serves the centre,
    /// to read elsewhere.
    ///
    /// # Errors
    /// Names the field of the Centre, and the Secret.
    pub async fn open(&self, centre: &Centre) -> Result<Store, StoreAccess> {
        Ok(Store::connect(&self.config(centre).await?)?)
    }

    /// What [`Self::open`] connects with.
    ///
    /// # Errors
    /// Names the field of the Centre, and the Secret.
    pub async fn config(&self, centre: &Centre) -> Result<StoreConfig, StoreAccess> {
        let store = &centre.spec.store;
        let (field, reference) = self.reference(centre)?;
        let (access_key_id, secret_access_key) =
            self.credentials(&centre.name_any(), field, reference).await?;
        Ok(StoreConfig {
            endpoint: store.endpoint.clone(),
            region: store.region.clone(),
            ca_pem: store.ca_bundle.clone(),
            access_key_id,
            secret_access_key,
            session_token: None,
            reach: self.reach.clone(),
        })
    }

    /// The field of a Centre that names the Secret for this operator, and that name: the Secret lies in the operator's own
    /// namespace.
    ///
    /// # Errors
    /// When it is not set.
    pub fn reference<'a>(&self, centre: &'a Centre) -> Result<(&'static str, &'a SecretRef), StoreAccess> {
        let store = &centre.spec.store;
        let (field, reference) = if centre.is_served_by(&self.centre) {
            ("spec.store.credentialsSecretRef", Some(&store.credentials_secret_ref))
        } else {
            ("spec.store.readerCredentialsSecretRef", store.reader_credentials_secret_ref.as_ref())
        };
        let missing = || {
            StoreAccess::Centre(format!(
                "Centre {}: {field} is not set; {} can't read its vault without it",
                centre.name_any(),
                self.centre
            ))
        };
        Ok((field, reference.ok_or_else(missing)?))
    }

    async fn credentials(
        &self,
        centre: &str,
        field: &str,
        at: &SecretRef,
    ) -> Result<(String, String), StoreAccess> {
        let secret = self.secret(&at.name).await.map_err(|e| format!("Centre {centre}: {field}: {e}"));
        let secret = secret.map_err(StoreAccess::Credentials)?;
        let value = |key: &str| {
            let bytes = secret.data.as_ref().and_then(|d| d.get(key)).map(|b| b.0.clone());
            bytes.and_then(|b| String::from_utf8(b).ok()).map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).ok_or_else(
                || {
                    StoreAccess::Credentials(format!(
                        "Centre {centre}: {field}: Secret {}/{} has no key {key}; it needs accessKeyId and secretAccessKey",
                        self.namespace, at.name
                    ))
                },
            )
        };
        Ok((value(ACCESS_KEY_ID)?, value(SECRET_ACCESS_KEY)?))
    }

    async fn secret(&self, name: &str) -> Result<Secret, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        match api.get_opt(name).await {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => Err(format!("Secret {}/{name} does not exist; create it", self.namespace)),
            Err(error) => Err(format!("Secret {}/{name} can't be read: {error}", self.namespace)),
        }
    }

    /// The keys from which repository passwords come: `key` is the one that new points are made with, and every other entry
    /// of the Secret one that earlier points were made with, or that another centre makes them with already.
    ///
    /// # Errors
    /// Names the Secret and what it lacks.
    pub async fn keyring(&self) -> Result<Keyring, StoreAccess> {
        let name = &self.master_key_secret;
        let secret = self
            .secret(name)
            .await
            .map_err(|e| StoreAccess::Credentials(format!("--vault-key-secret: {e}")))?;
        let mut entries = secret.data.unwrap_or_default();
        let read = |entry: &str, bytes: &[u8]| {
            MasterKey::new(bytes).map_err(|e| {
                let namespace = &self.namespace;
                StoreAccess::Credentials(format!(
                    "--vault-key-secret: Secret {namespace}/{name}, key `{entry}`: {e}"
                ))
            })
        };
        let current = read(CURRENT_KEY, &entries.remove(CURRENT_KEY).map(|b| b.0).unwrap_or_default())?;
        let others = entries.iter().map(|(entry, bytes)| read(entry, &bytes.0)).collect::<Result<_, _>>()?;
        Ok(Keyring::new(current, others))
    }

    /// One system's part of a centre's vault.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::keyring`].
    pub async fn vault(&self, centre: &Centre, system: &str) -> Result<SystemVault, StoreAccess> {
        let store = self.open(centre).await?;
        let keys = self.keyring().await?;
        let vault = SystemVault::new(store, centre.spec.store.bucket.clone(), system.to_owned(), keys);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry((centre.name_any(), system.to_owned())).or_default().clone();
        Ok(vault.sharing(turn))
    }

    /// The Centre of this name.
    ///
    /// # Errors
    /// When there is none.
    pub async fn centre(&self, name: &str) -> Result<Centre, StoreAccess> {
        let api: Api<Centre> = Api::all(self.client.clone());
        match api.get_opt(name).await {
            Ok(Some(centre)) => Ok(centre),
            Ok(None) => Err(StoreAccess::Centre(format!("there is no Centre {name}; apply one"))),
            Err(error) => Err(StoreAccess::Centre(format!("Centre {name} can't be read: {error}"))),
        }
    }

    /// The Centre of this name, and one system's part of its vault.
    ///
    /// # Errors
    /// As [`Self::centre`] and [`Self::vault`].
    pub async fn vault_at(&self, centre: &str, system: &str) -> Result<(Centre, SystemVault), StoreAccess> {
        let centre = self.centre(centre).await?;
        let vault = self.vault(&centre, system).await?;
        Ok((centre, vault))
    }

    /// Makes sure that a bucket is the system's: its owner has said so with a tag. Without that, a policy could have
    /// another department's bucket copied with the operator's rights.
    ///
    /// # Errors
    /// When it is not, with what its owner has to do; and those of the store.
    pub async fn owned_bucket(store: &Store, bucket: &str, system: &str) -> Result<(), StoreAccess> {
        Self::owned_by_tags(&store.bucket_tags(bucket).await?, bucket, system)
    }

    /// As [`Self::owned_bucket`], for tags that were read.
    ///
    /// # Errors
    /// When the bucket is not the system's, with what its owner has to do.
    pub fn owned_by_tags(
        tags: &BTreeMap<String, String>,
        bucket: &str,
        system: &str,
    ) -> Result<(), StoreAccess> {
        if tags.get(SYSTEM_TAG).is_some_and(|owner| owner == system) {
            return Ok(());
        }
        Err(StoreAccess::Foreign(format!(
            "bucket {bucket:?} is not said to be {system}'s; its owner says so with the bucket tag {SYSTEM_TAG}={system}"
        )))
    }

    /// See [`crate::context::Ctx::acting_as`].
    ///
    /// # Errors
    /// When no client can be made.
    pub fn impersonating(&self, namespace: &str, account: &str) -> Result<Client, kube::Error> {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:{account}"));
        Client::try_from(config)
    }
}

/// Where the versions of a department's bucket lie at a centre.
#[must_use]
pub fn replica_at(centre: &Centre, store: Store, system: &str, bucket: &str) -> Replica {
    Replica { store, bucket: centre.spec.store.replica_bucket(), prefix: layout::replica(system, bucket) }
}
