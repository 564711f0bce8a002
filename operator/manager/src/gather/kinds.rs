//! The kinds that a namespace can have.

use kube::Client;
use kube::discovery::{ApiResource, Discovery, Scope, verbs};
use tripod_domain::selection::Kind;

/// All that live in namespaces and can be listed and created, each in the version that its group prefers, in the order in
/// which a point is written: by the names of their folders.
pub(super) async fn all(client: &Client) -> Result<Vec<(Kind, ApiResource)>, String> {
    let discovery = Discovery::new(client.clone()).run().await.map_err(|e| format!("discovery: {e}"))?;
    let mut kinds = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let wanted = capabilities.scope == Scope::Namespaced
                && capabilities.supports_operation(verbs::LIST)
                && capabilities.supports_operation(verbs::CREATE);
            if wanted {
                let kind = Kind {
                    group: resource.group.clone(),
                    version: resource.version.clone(),
                    plural: resource.plural.clone(),
                    kind: resource.kind.clone(),
                };
                kinds.push((kind, resource));
            }
        }
    }
    kinds.sort_by_key(|(kind, _)| kind.name());
    kinds.dedup_by_key(|(kind, _)| kind.name());
    Ok(kinds)
}
