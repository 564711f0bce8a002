//! Gathers a namespace's objects, by discovery, with the rights of the namespace's own backup account: what
//! that account may not list is not in the point, and that is said.

use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::{Discovery, Scope, verbs};
use serde_json::{Value, json};
use tripod_domain::selection;

use crate::context::Ctx;
use crate::vault::Document;

/// The namespace's own account that reads what is backed up.
const ACCOUNT: &str = "tripod-backup";
/// Objects asked for in one page.
const PAGE: u32 = 500;

/// The documents, and the kinds that may not be listed.
pub(super) async fn objects(ctx: &Ctx, namespace: &str) -> Result<(Vec<Document>, Vec<String>), String> {
    let client = ctx.acting_as(namespace, ACCOUNT).map_err(|e| e.to_string())?;
    let discovery = Discovery::new(ctx.client.clone()).run().await.map_err(|e| format!("discovery: {e}"))?;
    let (mut documents, mut refused) = (Vec::new(), Vec::new());
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let wanted = capabilities.scope == Scope::Namespaced
                && capabilities.supports_operation(verbs::LIST)
                && capabilities.supports_operation(verbs::CREATE)
                && !selection::is_derived(&resource.api_version, &resource.kind);
            if !wanted {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            match list(&api, &resource.api_version, &resource.kind).await {
                Ok(objects) => documents
                    .extend(objects.into_iter().map(|o| document(&resource.plural, &resource.group, &o))),
                Err(kube::Error::Api(status)) if status.code == 403 => refused.push(resource.kind.clone()),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => {}
                Err(error) => return Err(format!("listing {}: {error}", resource.kind)),
            }
        }
    }
    Ok((documents, refused))
}

async fn list(api: &Api<DynamicObject>, version: &str, kind: &str) -> Result<Vec<Value>, kube::Error> {
    let mut objects = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = api.list(&page).await?;
        for object in &listed.items {
            let mut value = serde_json::to_value(object).map_err(kube::Error::SerdeError)?;
            value["apiVersion"] = json!(version);
            value["kind"] = json!(kind);
            if !selection::is_left_out(&value) {
                objects.push(selection::strip(value));
            }
        }
        match listed.metadata.continue_ {
            Some(token) if !token.is_empty() => page = page.continue_token(&token),
            _ => return Ok(objects),
        }
    }
}

/// `<plural>.<group>/<name>.json`: readable for those who restore with restic alone.
fn document(plural: &str, group: &str, object: &Value) -> Document {
    let folder = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let name = object["metadata"]["name"].as_str().unwrap_or_default().replace(':', "_");
    let body = serde_json::to_vec_pretty(object).unwrap_or_default();
    Document { path: format!("{folder}/{name}.json"), body }
}
