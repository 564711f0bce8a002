//! What all pods of departments really use, read from metrics.k8s.io for the whole cluster at once, so that its cost does
//! not grow with the number of departments. A namespace with a running pod that has no reading is unknown.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};
use tripod_domain::department::Usage;
use tripod_domain::quantity;

use crate::tenancy::Tenancy;

/// Between two readings; metrics-server itself reads four times a minute.
const EVERY: Duration = Duration::from_secs(20);
/// Objects a page.
const PAGE: u32 = 500;

type Readings = HashMap<String, Result<Usage, String>>;

/// The last reading.
#[derive(Clone)]
pub struct UsageReader(Arc<RwLock<Result<Readings, String>>>);

impl Default for UsageReader {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Err("nothing was read yet".to_owned()))))
    }
}

impl UsageReader {
    /// Reads again and again, for as long as it is polled, and wakes the departments whose use is another than before:
    /// where nothing changes, nobody has to look.
    pub async fn run(self, client: Client, tenancy: Arc<Tenancy>) {
        loop {
            let readings = read(&client).await;
            let before = {
                let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
                std::mem::replace(&mut *known, readings.clone())
            };
            match (before, readings) {
                (Ok(before), Ok(now)) => {
                    let all = before.keys().chain(now.keys());
                    tenancy.wake_departments_of(all.filter(|name| before.get(*name) != now.get(*name)));
                }
                (Err(before), Err(now)) if before == now => {}
                _ => tenancy.wake_all(),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What the pods of these namespaces use; one without pods uses nothing.
    ///
    /// # Errors
    /// Why nothing could be read.
    pub fn of<'a>(
        &self,
        namespaces: impl Iterator<Item = &'a String>,
    ) -> Result<BTreeMap<String, Result<Usage, String>>, String> {
        let readings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let readings = readings.as_ref().map_err(Clone::clone)?;
        let of = |name: &String| readings.get(name).cloned().unwrap_or(Ok(Usage::default()));
        Ok(namespaces.map(|name| (name.clone(), of(name))).collect())
    }
}

async fn read(client: &Client) -> Result<Readings, String> {
    let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
    let metrics: Api<DynamicObject> =
        Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "pods"));
    let unanswered = |error: kube::Error| format!("metrics.k8s.io does not answer: {error}");
    let mut read: HashMap<(String, String), Usage> = HashMap::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = metrics.list(&page).await.map_err(unanswered)?;
        let readings = list.items.iter().filter_map(|r| Some((key(r), sum(&r.data["containers"])?)));
        read.extend(readings);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    let mut total: Readings = HashMap::new();
    for pod in running(client).await? {
        let so_far = total.entry(pod.0.clone()).or_insert(Ok(Usage::default()));
        *so_far = match (so_far.clone(), read.get(&pod)) {
            (Ok(sum), Some(one)) => Ok(Usage { cpu: sum.cpu + one.cpu, memory: sum.memory + one.memory }),
            (Ok(_), None) => Err(format!("pod {} runs and has no reading yet", pod.1)),
            (unknown, _) => unknown,
        };
    }
    Ok(total)
}

/// Namespace and name of every running pod.
async fn running(client: &Client) -> Result<HashSet<(String, String)>, String> {
    let pods: Api<Pod> = Api::all(client.clone());
    let mut found = HashSet::new();
    let mut page = ListParams::default().fields("status.phase=Running").limit(PAGE);
    loop {
        let list = pods.list_metadata(&page).await.map_err(|e| format!("pods can't be listed: {e}"))?;
        found.extend(list.items.iter().map(key));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

fn key(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn sum(containers: &serde_json::Value) -> Option<Usage> {
    let mut total = Usage::default();
    for container in containers.as_array()? {
        let read =
            |what: &str| quantity::parse(&Quantity(container["usage"][what].as_str()?.to_owned())).ok();
        total.cpu += read("cpu")?;
        total.memory += read("memory")?;
    }
    Some(total)
}
