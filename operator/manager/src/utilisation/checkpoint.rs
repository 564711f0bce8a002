//! The book, kept in ConfigMaps beside the operator.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;
use tripod_domain::utilisation::book::SHARDS;

use crate::context::Ctx;

/// Label of the ConfigMaps; it tells people what they are.
const PART_OF: &str = "tripod.cloud/part-of";
const BOOK: &str = "utilisation-book";
const KEY: &str = "book.json";

fn name(shard: u32) -> String {
    format!("tripod-{BOOK}-{shard}")
}

/// All shards that were kept.
///
/// # Errors
/// Those of the API server.
pub(super) async fn load(ctx: &Ctx) -> Result<Vec<(String, String)>, kube::Error> {
    let parameters = ListParams::default().labels(&format!("{PART_OF}={BOOK}"));
    let maps = ctx.api::<ConfigMap>(&ctx.namespace).list(&parameters).await?;
    let known: Vec<String> = (0..SHARDS).map(name).collect();
    let text = |map: ConfigMap| {
        let name = map.name_any();
        Some((name.clone(), map.data?.remove(KEY)?)).filter(|_| known.contains(&name))
    };
    Ok(maps.items.into_iter().filter_map(text).collect())
}

/// Keeps shards; returns those that could not be kept.
pub(super) async fn keep(ctx: &Ctx, shards: Vec<(u32, String)>) -> Vec<u32> {
    let mut failed = Vec::new();
    for (shard, text) in shards {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name(shard), "namespace": ctx.namespace,
                "labels": {PART_OF: BOOK, "app.kubernetes.io/managed-by": "tripod"}},
            "data": {KEY: text}});
        if let Err(error) = ctx.apply(&ctx.client, &map).await {
            tracing::warn!(error, "readings could not be kept; they are tried again with the next");
            failed.push(shard);
        }
    }
    failed
}
