//! Processors and memory from metrics.k8s.io.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ListParams;
use kube::core::Resource;
use kube::{Api, Client};
use serde::Deserialize;
use tripod_domain::quantity;
use tripod_domain::utilisation::Readings;
use tripod_domain::utilisation::pods::{self, Pod, PodReading};

/// Objects a page; metrics-server answers with all of them at once.
const PAGE: u32 = 500;

/// What metrics.k8s.io says of a pod; only what is needed of it.
#[derive(Deserialize, Clone, Debug)]
struct PodMetrics {
    metadata: kube::api::ObjectMeta,
    timestamp: Timestamp,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize, Clone, Debug)]
struct Container {
    usage: Use,
}

#[derive(Deserialize, Clone, Debug)]
struct Use {
    cpu: Quantity,
    memory: Quantity,
}

impl Resource for PodMetrics {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;
    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "PodMetrics".into()
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "metrics.k8s.io".into()
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1beta1".into()
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "pods".into()
    }
    fn meta(&self) -> &kube::api::ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut kube::api::ObjectMeta {
        &mut self.metadata
    }
}

/// Of every wanted namespace.
///
/// # Errors
/// When there is no answer at all.
pub(super) async fn read(
    client: &Client,
    running: &HashMap<String, Vec<Pod>>,
    wanted: &HashSet<String>,
    interval: i64,
) -> Result<HashMap<String, Readings>, String> {
    let read = list(client).await?;
    let now = Timestamp::now();
    let none = Vec::new();
    let one = |namespace: &String| {
        let pods = running.get(namespace).unwrap_or(&none);
        let reading = |name: &str| read.get(&(namespace.clone(), name.to_owned())).copied();
        (namespace.clone(), pods::sum(pods, reading, now, interval))
    };
    Ok(wanted.iter().map(one).collect())
}

async fn list(client: &Client) -> Result<HashMap<(String, String), PodReading>, String> {
    let metrics: Api<PodMetrics> = Api::all(client.clone());
    let mut read = HashMap::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list =
            metrics.list(&page).await.map_err(|error| format!("metrics.k8s.io does not answer: {error}"))?;
        for pod in list.items {
            if let Some(reading) = reading(&pod) {
                let at = (pod.metadata.namespace.unwrap_or_default(), pod.metadata.name.unwrap_or_default());
                read.insert(at, reading);
            }
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(read),
        }
    }
}

/// The sum over containers; nothing where one of them is malformed or there are none.
fn reading(pod: &PodMetrics) -> Option<PodReading> {
    let (mut cpu, mut memory) = (0, 0);
    for container in &pod.containers {
        cpu += quantity::parse(&container.usage.cpu).ok()?;
        memory += quantity::parse(&container.usage.memory).ok()?;
    }
    (!pod.containers.is_empty()).then_some(PodReading { taken: pod.timestamp, cpu, memory })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: &serde_json::Value) -> Option<PodReading> {
        let pod = serde_json::json!({"metadata": {"name": "a", "namespace": "b"},
            "timestamp": "2026-11-25T12:00:00Z", "window": "15s", "containers": containers});
        reading(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn containers_add_up_or_there_is_no_reading() {
        let one = |cpu: &str| serde_json::json!({"name": "c", "usage": {"cpu": cpu, "memory": "1Ki"}});
        let both = pod(&serde_json::json!([one("250m"), one("1")])).unwrap();
        assert_eq!((both.cpu, both.memory), (1_250_000_000, 2_048_000_000_000));
        assert!(pod(&serde_json::json!([one("250m"), one("much")])).is_none());
        assert!(pod(&serde_json::json!([])).is_none());
    }
}
