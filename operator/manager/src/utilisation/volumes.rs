//! Bytes on volumes, as the kubelets that mount them know. A volume that nobody mounts is not read, and so what its
//! namespace uses is unknown.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use reqwest::Certificate;
use serde::Deserialize;
use tripod_domain::utilisation::{Measured, Readings};

use super::source::PATIENCE;

const PAGE: u32 = 500;
/// Nodes that are asked at once.
const AT_ONCE: usize = 8;
/// Where every pod finds who it is, and whom to trust.
const IDENTITY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How many claims there are, by namespace.
///
/// # Errors
/// When they can't be listed.
pub(super) async fn claims(client: &Client) -> Result<HashMap<String, usize>, String> {
    let api: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let mut found: HashMap<String, usize> = HashMap::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list_metadata(&page).await.map_err(|e| format!("claims can't be listed: {e}"))?;
        for claim in &list.items {
            *found.entry(claim.namespace().unwrap_or_default()).or_default() += 1;
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// Of a namespace with so many claims, so many of them read.
///
/// # Errors
/// How many are missing.
pub(super) fn sum(claims: usize, read: usize, bytes: Option<i128>) -> Result<i128, String> {
    if claims == 0 {
        return Ok(0);
    }
    match bytes {
        Some(bytes) if read >= claims => Ok(bytes),
        _ => Err(format!(
            "{} of {claims} volumes can't be read; a volume is read while a pod mounts it",
            claims.saturating_sub(read)
        )),
    }
}

/// The kubelets of the cluster.
pub(super) struct Kubelets {
    client: reqwest::Client,
    token: PathBuf,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    pods: Vec<PodStats>,
}

#[derive(Deserialize)]
struct PodStats {
    #[serde(default, rename = "volume")]
    volumes: Vec<VolumeStats>,
}

#[derive(Deserialize)]
struct VolumeStats {
    #[serde(rename = "usedBytes")]
    used: Option<u64>,
    #[serde(rename = "pvcRef")]
    claim: Option<ClaimRef>,
}

#[derive(Deserialize)]
struct ClaimRef {
    namespace: String,
    name: String,
}

impl Kubelets {
    /// # Errors
    /// When the certificates can't be read.
    pub(super) fn new(ca: Option<&Path>) -> anyhow::Result<Self> {
        let file = ca.map_or_else(|| Path::new(IDENTITY).join("ca.crt"), Path::to_path_buf);
        let pem = fs::read(&file).with_context(|| format!("--kubelet-ca-file {}", file.display()))?;
        let trusted = Certificate::from_pem_bundle(&pem)?;
        let client = reqwest::Client::builder().timeout(PATIENCE).tls_certs_only(trusted).build()?;
        Ok(Self { client, token: Path::new(IDENTITY).join("token") })
    }

    /// Of every wanted namespace. A node that does not answer makes unknown what is on it, and nothing else.
    pub(super) async fn read(&self, client: &Client, wanted: &HashSet<String>) -> HashMap<String, Readings> {
        let all_unknown = |why: &str| {
            let unknown = |n: &String| (n.clone(), [(Measured::Storage, Err(why.to_owned()))].into());
            wanted.iter().map(unknown).collect()
        };
        let claims = match claims(client).await {
            Ok(claims) => claims,
            Err(why) => return all_unknown(&why),
        };
        let nodes = match Api::<Node>::all(client.clone()).list(&ListParams::default()).await {
            Ok(nodes) => nodes.items,
            Err(error) => return all_unknown(&format!("nodes can't be listed: {error}")),
        };
        let read = futures::stream::iter(nodes.into_iter().map(|node| async move {
            let name = node.name_any();
            self.node(&node).await.unwrap_or_else(|error| {
                tracing::warn!(node = name, error, "volumes can't be read");
                Vec::new()
            })
        }));
        let volumes: Vec<Vec<((String, String), i128)>> = read.buffer_unordered(AT_ONCE).collect().await;
        // Several pods may mount one.
        let volumes: BTreeMap<(String, String), i128> = volumes.into_iter().flatten().collect();
        let mut totals: HashMap<&String, (usize, i128)> = HashMap::new();
        for ((namespace, _), bytes) in &volumes {
            let total = totals.entry(namespace).or_default();
            *total = (total.0 + 1, total.1 + bytes);
        }
        let one = |namespace: &String| {
            let (read, bytes) = totals.get(namespace).copied().unwrap_or_default();
            let reading = sum(claims.get(namespace).copied().unwrap_or(0), read, Some(bytes));
            (namespace.clone(), [(Measured::Storage, reading)].into())
        };
        wanted.iter().map(one).collect()
    }

    async fn node(&self, node: &Node) -> Result<Vec<((String, String), i128)>, String> {
        let status = node.status.as_ref();
        let addresses = status.and_then(|s| s.addresses.as_ref()).into_iter().flatten();
        let address = addresses.filter(|a| a.type_ == "InternalIP").map(|a| a.address.clone()).next();
        let address = address.ok_or("the node has no InternalIP")?;
        let host = if address.contains(':') { format!("[{address}]") } else { address };
        let port = status
            .and_then(|s| s.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref())
            .map_or(10250, |endpoint| endpoint.port);
        let token = fs::read_to_string(&self.token).map_err(|error| error.to_string())?;
        let url = format!("https://{host}:{port}/stats/summary");
        let response = self.client.get(url).bearer_auth(token.trim()).send().await;
        let response = response.and_then(reqwest::Response::error_for_status).map_err(|e| describe(&e))?;
        let summary: Summary = response.json().await.map_err(|error| describe(&error))?;
        let volume = |volume: VolumeStats| {
            let claim = volume.claim?;
            Some(((claim.namespace, claim.name), i128::from(volume.used?) * 1_000_000_000))
        };
        Ok(summary.pods.into_iter().flat_map(|pod| pod.volumes).filter_map(volume).collect())
    }
}

/// With what is behind it: "error sending request" alone helps nobody.
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_was_not_read_makes_the_sum_unknown() {
        assert_eq!(sum(0, 0, None), Ok(0));
        assert_eq!(sum(2, 2, Some(5)), Ok(5));
        assert!(sum(2, 1, Some(5)).unwrap_err().starts_with("1 of 2"));
        assert!(sum(1, 0, None).is_err());
    }
}
