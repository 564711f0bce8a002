//! Every change to a department, its quotas and its pods, as the API server's watches tell them: no sampling, so nothing
//! happens between two looks.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinSet;

use super::amount::{Amounts, amounts};
use super::replay::{Event, Quota, What};

const QUOTA: &str = "tripod-budget";

/// Records from its start until it is dropped.
pub struct Recorder {
    events: Arc<Mutex<Vec<Event>>>,
    watches: JoinSet<Result<()>>,
}

/// How a kind's objects become changes; `true`: it is gone. `None`: not the department's.
type Read<K> = Box<dyn Fn(&K, bool) -> Result<Option<What>> + Send + Sync>;

impl Recorder {
    /// Follows the department of this name; returns when all that is there was seen.
    ///
    /// # Errors
    /// With the API server's own words.
    pub async fn start(client: &Client, department: &str) -> Result<Self> {
        let mut recorder = Self { events: Arc::default(), watches: JoinSet::new() };
        let departments: ApiResource = ApiResource::from_gvk(&kube::api::GroupVersionKind::gvk(
            "tripod.cloud",
            "v1alpha1",
            "Department",
        ));
        let name = department.to_owned();
        recorder
            .follow::<DynamicObject>(
                Api::all_with(client.clone(), &departments),
                Box::new(move |object, _| {
                    if object.name_any() == name { read_department(&object.data).map(Some) } else { Ok(None) }
                }),
            )
            .await?;
        let (home, systems) = (format!("dept-{department}"), format!("{department}-"));
        let is_ours = move |namespace: &str| namespace == home || namespace.starts_with(&systems);
        let ours = is_ours.clone();
        recorder
            .follow::<ResourceQuota>(
                Api::all(client.clone()),
                Box::new(move |object, gone| {
                    let namespace = object.namespace().unwrap_or_default();
                    if object.name_any() != QUOTA || !ours(&namespace) {
                        return Ok(None);
                    }
                    let quota = if gone { None } else { Some(read_quota(&serde_json::to_value(object)?)?) };
                    Ok(Some(What::Quota { namespace, quota }))
                }),
            )
            .await?;
        recorder
            .follow::<Pod>(
                Api::all(client.clone()),
                Box::new(move |object, gone| {
                    let namespace = object.namespace().unwrap_or_default();
                    if !is_ours(&namespace) {
                        return Ok(None);
                    }
                    let asks = if gone { Amounts::new() } else { asks(&serde_json::to_value(object)?)? };
                    Ok(Some(What::Pod { key: format!("{namespace}/{}", object.name_any()), asks }))
                }),
            )
            .await?;
        Ok(recorder)
    }

    /// What was recorded until now.
    ///
    /// # Errors
    /// When a watch has ended: then something may be missing.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        if let Some(ended) = self.watches.try_join_next() {
            ended?.context("a watch broke")?;
            bail!("a watch ended");
        }
        let events = self.events.lock().map_err(|_| anyhow::anyhow!("a watch has panicked"))?;
        Ok(events.clone())
    }

    async fn follow<K>(&mut self, api: Api<K>, read: Read<K>) -> Result<()>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let list = api.list(&ListParams::default()).await?;
        for object in &list.items {
            note(&self.events, object, &read, false)?;
        }
        let mut version = list.metadata.resource_version.context("a list without a version")?;
        let events = self.events.clone();
        self.watches.spawn(async move {
            loop {
                version = watch(&api, &read, &events, version).await?;
            }
        });
        Ok(())
    }
}

/// Follows one watch to its end, and returns from where the next one goes on without a gap.
async fn watch<K>(
    api: &Api<K>,
    read: &Read<K>,
    events: &Mutex<Vec<Event>>,
    mut version: String,
) -> Result<String>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let stream = api.watch(&WatchParams::default().timeout(280), &version).await?;
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.try_next().await? {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                note(events, &object, read, false)?;
                version = object.resource_version().context("an object without a version")?;
            }
            WatchEvent::Deleted(object) => {
                note(events, &object, read, true)?;
                version = object.resource_version().context("an object without a version")?;
            }
            WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
            WatchEvent::Error(error) => bail!("{error:?}"),
        }
    }
    Ok(version)
}

fn note<K: ResourceExt>(events: &Mutex<Vec<Event>>, object: &K, read: &Read<K>, gone: bool) -> Result<()> {
    let Some(what) = read(object, gone).with_context(|| object.name_any())? else { return Ok(()) };
    let version = object.resource_version().context("an object without a version")?.parse()?;
    events.lock().map_err(|_| anyhow::anyhow!("a watch has panicked"))?.push(Event { version, what });
    Ok(())
}

fn read_department(object: &Value) -> Result<What> {
    let ledger = object["status"]["ledger"].as_object().into_iter().flatten();
    let reserved = ledger.map(|(namespace, entry)| Ok((namespace.clone(), amounts(&entry["reserved"])?)));
    Ok(What::Department {
        budget: amounts(&object["spec"]["budget"])?,
        reserved: reserved.collect::<Result<BTreeMap<_, _>>>()?,
    })
}

fn read_quota(object: &Value) -> Result<Quota> {
    Ok(Quota {
        spec: amounts(&object["spec"]["hard"])?,
        enforced: amounts(&object["status"]["hard"])?,
        used: amounts(&object["status"]["used"])?,
    })
}

/// What the containers ask for; nothing when the pod has ended, or is being deleted and has had its time: Kubernetes counts
/// it no more.
fn asks(pod: &Value) -> Result<Amounts> {
    let mut sum = Amounts::new();
    let ended = ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default());
    if ended || pod["metadata"]["deletionGracePeriodSeconds"] == 0 {
        return Ok(sum);
    }
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        for (resource, amount) in amounts(&container["resources"]["requests"])? {
            *sum.entry(format!("requests.{resource}")).or_default() += amount;
        }
    }
    Ok(sum)
}
