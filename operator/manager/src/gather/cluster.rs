//! Reads what is needed of the whole cluster: by name, never by list.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{Api, DynamicObject};
use kube::discovery::ApiResource;
use kube::{Client, core::GroupVersionKind};
use serde_json::{Value, json};
use tripod_domain::selection::needs::{ClusterKind, Need};

use super::{Sink, document};

/// What reading one of them came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Recorded,
    /// There is none: a class that nobody defined, a kind that another API server serves.
    Absent,
    /// Who asks may not read it.
    Forbidden,
}

/// Reads one, or says why not.
///
/// # Errors
/// Those that may go away by themselves.
async fn read(client: &Client, need: &Need) -> Result<Result<Value, Reading>, String> {
    let resource = resource(need.kind);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    match api.get_opt(&need.name).await {
        Ok(Some(object)) => {
            let mut value = serde_json::to_value(&object).map_err(|e| format!("{}: {e}", need.title()))?;
            (value["apiVersion"], value["kind"]) = (json!(resource.api_version), json!(resource.kind));
            Ok(Ok(value))
        }
        Ok(None) => Ok(Err(Reading::Absent)),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Err(Reading::Forbidden)),
        Err(error) => Err(format!("{}: {error}", need.title())),
    }
}

/// Sends all that are there, in path order.
pub(super) async fn record(
    client: &Client,
    needs: &BTreeSet<Need>,
    readings: &mut BTreeMap<Need, Reading>,
    sink: &mut impl Sink,
) -> Result<(), String> {
    let by_path: BTreeMap<String, &Need> = needs.iter().map(|need| (need.path(), need)).collect();
    for (path, need) in by_path {
        let reading = match read(client, need).await? {
            Ok(object) => {
                sink.take(document(path, object)?).await?;
                Reading::Recorded
            }
            Err(reading) => reading,
        };
        readings.insert(need.clone(), reading);
    }
    Ok(())
}

fn resource(kind: ClusterKind) -> ApiResource {
    let (group, version, plural, kind) = kind.names();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
