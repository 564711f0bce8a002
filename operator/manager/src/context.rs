//! What every controller has: a client, who it is, and the few ways in which anything is ever written.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector::Store;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tripod_crds::{Cloud, RequestClass, SupervisionPolicy, UtilisationReport};

use crate::controllers::bucket_replication::{JobArguments, Links, RunsOfAll};
use crate::controllers::recovery_point::RunningHooks;
use crate::stores::Stores;
use crate::telemetry::metrics::Metrics;
use crate::tenancy::Tenancy;
use crate::utilisation::Utilisation;

/// The one field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "tripod";

/// Shared by all controllers.
#[derive(Clone)]
pub struct Ctx {
    pub client: Client,
    /// Name of the Centre that this operator is.
    pub centre: String,
    /// The operator's own namespace.
    pub namespace: String,
    /// Image of the pods that move data.
    pub image: String,
    /// URL of the gateway as pods reach it, and the certificate they trust for it.
    pub gateway_url: String,
    pub gateway_ca: String,
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    pub stores: Stores,
    /// What is known of all departments' namespaces.
    pub tenancy: Arc<Tenancy>,
    pub classes: Store<RequestClass>,
    /// Other clouds, with what departments have there.
    pub clouds: Store<Cloud>,
    /// What departments really use.
    pub utilisation: Utilisation,
    /// The reports over the window, one in each namespace.
    pub windows: Store<UtilisationReport>,
    pub supervision: Store<SupervisionPolicy>,
    /// Runs of replications, under way and ended.
    pub runs: Arc<RunsOfAll>,
    /// When a run is made by the pods of a Job, and by how many.
    pub replication_jobs: JobArguments,
    /// Limits of the links between centres.
    pub links: Arc<Links>,
    /// Commands of hooks that run in pods.
    pub hooks: Arc<RunningHooks>,
}

/// A failed pass. It is shown, counted, and tried again later.
#[derive(thiserror::Error, Debug)]
pub enum Error {
    #[error("{0}")]
    Kube(#[from] kube::Error),
    #[error("{0}")]
    Store(#[from] crate::stores::StoreAccess),
    #[error("{0}")]
    Vault(#[from] crate::vault::VaultError),
    #[error("{0}")]
    S3(#[from] tripod_replication::StoreError),
    #[error("{0}")]
    Other(String),
}

impl Ctx {
    /// Applies an object, given as JSON, server-side and with the rights of `client`: the same again writes nothing.
    ///
    /// # Errors
    /// Names the object, with the API server's words.
    pub async fn apply(&self, client: &Client, object: &Value) -> Result<DynamicObject, String> {
        let named = |error| {
            format!("{} {}: {error}", object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"])
        };
        self.try_apply(client, object).await.map_err(named)
    }

    /// As [`Ctx::apply`], for those who tell errors apart.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn try_apply(&self, client: &Client, object: &Value) -> Result<DynamicObject, kube::Error> {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(name, &parameters, &Patch::Apply(object)).await
    }

    /// Writes the status, if it is another than the object has: the same again writes nothing.
    ///
    /// # Errors
    /// Those of the API server. That the object is gone is success.
    pub async fn write_status<K, S>(
        &self,
        api: &Api<K>,
        object: &K,
        before: Option<&S>,
        status: &S,
    ) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
        S: Serialize + PartialEq + Sync,
    {
        if before == Some(status) {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()),
            "metadata": {"name": object.name_any(), "uid": object.meta().uid}, "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&object.name_any(), &parameters, &Patch::Apply(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            result => result.map(drop),
        }
    }

    /// The object as it is now, for those who persist how far they are: what a watch has shown may be older than what the pass
    /// before wrote, and a pass that goes by that does its step again and writes the phase back. Nothing, where it is gone or
    /// another has its name.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn fresh<K>(&self, object: &K) -> Result<Option<K>, kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let found =
            self.api::<K>(&object.namespace().unwrap_or_default()).get_opt(&object.name_any()).await?;
        Ok(found.filter(|found| found.meta().uid == object.meta().uid))
    }

    /// Tells people about a change. That nobody could be told never fails a pass.
    pub async fn tell(&self, about: &ObjectReference, warning: bool, reason: &str, message: &str) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(message.chars().take(1000).collect()),
            action: reason.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(%error, reason, "an event could not be published");
        }
    }

    /// The objects of a kind in one namespace.
    #[must_use]
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A client that acts as a service account of a namespace, with that account's rights and no others.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn acting_as(&self, namespace: &str, account: &str) -> Result<Client, kube::Error> {
        self.stores.impersonating(namespace, account)
    }
}
