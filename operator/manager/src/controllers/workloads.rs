//! How far the workloads of a namespace are.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tripod_domain::disaster_recovery_drill::Progress;

/// By `Kind/name`: those with the label, or all.
///
/// # Errors
/// Those of the API server.
pub async fn progress(
    client: &Client,
    namespace: &str,
    label: Option<&str>,
) -> Result<BTreeMap<String, Progress>, kube::Error> {
    let which = label.map_or_else(ListParams::default, |label| ListParams::default().labels(label));
    let mut found = BTreeMap::new();
    let mut add = |kind: &str, name: String, wanted: i32, ready: i32, current: bool| {
        let words = format!("{ready} of {wanted} ready");
        let done = current && ready >= wanted;
        found.insert(
            format!("{kind}/{name}"),
            if done { Progress::Done(words) } else { Progress::Running(words) },
        );
    };
    for d in Api::<Deployment>::namespaced(client.clone(), namespace).list(&which).await? {
        let status = d.status.clone().unwrap_or_default();
        let current = status.observed_generation == d.metadata.generation;
        let wanted = d.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
        add("Deployment", d.name_any(), wanted, status.available_replicas.unwrap_or(0), current);
    }
    for s in Api::<StatefulSet>::namespaced(client.clone(), namespace).list(&which).await? {
        let status = s.status.clone().unwrap_or_default();
        let current = status.observed_generation == s.metadata.generation;
        let wanted = s.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
        add("StatefulSet", s.name_any(), wanted, status.ready_replicas.unwrap_or(0), current);
    }
    for d in Api::<DaemonSet>::namespaced(client.clone(), namespace).list(&which).await? {
        let status = d.status.clone().unwrap_or_default();
        let current = status.observed_generation == d.metadata.generation;
        add("DaemonSet", d.name_any(), status.desired_number_scheduled, status.number_ready, current);
    }
    Ok(found)
}
