//! `points`: the recovery points of a namespace, or of all, with where each is and since when that is proved.

use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use tripod_crds::RecoveryPoint;
use tripod_domain::explain::backup;

use super::{Connection, Output, Speech, print, print_json, table};

/// Which points are listed, and how.
#[derive(clap::Args)]
pub struct Arguments {
    /// Namespace to list. Without it that of the context.
    #[arg(short, long, conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// List all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only points of this BackupPolicy.
    #[arg(long)]
    policy: Option<String>,
    /// `json`: the objects themselves, as `kubectl get -o json` writes them.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    #[command(flatten)]
    speech: Speech,
    #[command(flatten)]
    connection: Connection,
}

/// Lists.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.connection.client().await?;
    let namespace = arguments.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let api = if arguments.all_namespaces {
        Api::<RecoveryPoint>::all(client)
    } else {
        Api::namespaced(client, &namespace)
    };
    let mut points = api.list(&ListParams::default()).await?.items;
    points.retain(|point| arguments.policy.as_ref().is_none_or(|policy| *policy == point.spec.policy));
    if arguments.output == Some(Output::Json) {
        return print_json(&json!({"apiVersion": "v1", "kind": "List", "items": points}));
    }
    if points.is_empty() {
        eprintln!("No resources found");
        return Ok(());
    }
    let section = backup::points(&points, Timestamp::now());
    print(&table::sections(&[section], arguments.speech.language(), str::to_owned))
}
