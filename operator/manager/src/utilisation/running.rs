//! Which pods run, and since when we have seen them run: what should be read.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tripod_domain::utilisation::pods::{Pod, YOUNG};

/// Objects a page.
const PAGE: u32 = 500;

/// Seen to run since.
#[derive(Default)]
pub struct Running(Option<HashMap<(String, String), Timestamp>>);

impl Running {
    /// All pods that run, by namespace. Those that run when this is asked for the first time are not young: nobody
    /// knows since when they do.
    ///
    /// # Errors
    /// When they can't be listed.
    pub async fn list(
        &mut self,
        client: &Client,
        now: Timestamp,
    ) -> Result<HashMap<String, Vec<Pod>>, String> {
        let pods: Api<KubePod> = Api::all(client.clone());
        let mut since = HashMap::new();
        let mut found: HashMap<String, Vec<Pod>> = HashMap::new();
        let mut page = ListParams::default().fields("status.phase=Running").limit(PAGE);
        loop {
            let list = pods.list_metadata(&page).await.map_err(|e| format!("pods can't be listed: {e}"))?;
            for pod in &list.items {
                let key = (pod.namespace().unwrap_or_default(), pod.name_any());
                let first = match &self.0 {
                    Some(before) => before.get(&key).copied().unwrap_or(now),
                    None => Timestamp::UNIX_EPOCH,
                };
                let young = now.duration_since(first).as_secs() < YOUNG;
                found.entry(key.0.clone()).or_default().push(Pod { name: key.1.clone(), young });
                since.insert(key, first);
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        self.0 = Some(since);
        Ok(found)
    }
}
