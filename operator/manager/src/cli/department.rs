//! `department`: its budget, resource by resource, here and on other clouds, and its systems.

use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use tripod_crds::{Department, ResourceRequest};
use tripod_domain::{explain, tenancy};

use super::{Connection, Output, Speech, print, print_json, table};

/// What is shown.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the Department.
    name: String,
    /// `json`: {"department": …, "requests": […]}
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    #[command(flatten)]
    speech: Speech,
    #[command(flatten)]
    connection: Connection,
}

/// Reads the department and its requests, and shows both.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.connection.client().await?;
    let department = Api::<Department>::all(client.clone()).get(&arguments.name).await?;
    let home = tenancy::home(&arguments.name);
    let requests =
        Api::<ResourceRequest>::namespaced(client, &home).list(&ListParams::default()).await?.items;
    if arguments.output == Some(Output::Json) {
        return print_json(&json!({"department": department, "requests": requests}));
    }
    let sections = explain::department(&department, &requests);
    print(&table::sections(&sections, arguments.speech.language(), str::to_owned))
}
