//! `points`: the recovery points of a namespace, or of all, with where each is and since when that is proved, and what was
//! last restored to prove it.

use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tripod_crds::{BackupPolicy, RecoveryPoint};
use tripod_domain::explain::points as shown;

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
    let (points, policies): (Api<RecoveryPoint>, Api<BackupPolicy>) = if arguments.all_namespaces {
        (Api::all(client.clone()), Api::all(client))
    } else {
        (Api::namespaced(client.clone(), &namespace), Api::namespaced(client, &namespace))
    };
    let mut points = points.list(&ListParams::default()).await?.items;
    points.retain(|point| arguments.policy.as_ref().is_none_or(|policy| *policy == point.spec.policy));
    if arguments.output == Some(Output::Json) {
        return print_json(&json!({"apiVersion": "v1", "kind": "List", "items": points}));
    }
    if points.is_empty() {
        eprintln!("No resources found");
        return Ok(());
    }
    let mut policies = policies.list(&ListParams::default()).await?.items;
    policies.retain(|policy| arguments.policy.as_ref().is_none_or(|name| *name == policy.name_any()));
    let now = Timestamp::now();
    let mut sections = vec![shown::points(&points, now)];
    sections.extend(shown::proofs(&policies, now));
    print(&table::sections(&sections, arguments.speech.language(), str::to_owned))
}
