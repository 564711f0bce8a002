//! `explain`: why a request stands where it stands, and what is to be done.

use jiff::Timestamp;
use kube::Api;
use tripod_crds::{Department, ResourceRequest};
use tripod_domain::explain::{self, Asked};
use tripod_domain::{spec_hash, tenancy};

use super::{Connection, Speech, is_plugin, print, table};

/// What is explained.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the ResourceRequest.
    #[arg(value_name = "REQUEST")]
    name: String,
    /// Its namespace. Without it that of the context.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The operator's namespace, in which approvals are given.
    #[arg(long, default_value = "tripod-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    #[command(flatten)]
    speech: Speech,
    #[command(flatten)]
    connection: Connection,
}

/// Reads the request and says all there is to say.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.connection.client().await?;
    let namespace = arguments.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let request = Api::<ResourceRequest>::namespaced(client.clone(), &namespace).get(&arguments.name).await?;
    // Only for the chief's name: who may not read departments is told the rest.
    let department = match tenancy::department_of_home(&namespace) {
        Some(name) => Api::<Department>::all(client).get_opt(name).await.unwrap_or_default(),
        None => None,
    };
    let hash = spec_hash::of(&request.spec)?;
    let asked = Asked {
        request: &request,
        department: department.as_ref(),
        hash: &hash,
        operator_namespace: &arguments.operator_namespace,
    };
    let sections = explain::request(&asked, Timestamp::now());
    let (suffix, plugin) = (arguments.connection.suffix(), is_plugin());
    let operator = match arguments.operator_namespace.as_str() {
        "tripod-system" => String::new(),
        other => format!(" --operator-namespace {other}"),
    };
    let command = |line: &str| copyable(line, plugin, &operator, &suffix);
    print(&table::sections(&sections, arguments.speech.language(), command))
}

/// A command as it works here: under the name by which this program was called, for this cluster and operator.
pub(super) fn copyable(line: &str, plugin: bool, operator: &str, suffix: &str) -> String {
    let gives_verdict =
        ["kubectl tripod approve ", "kubectl tripod reject "].iter().any(|c| line.starts_with(c));
    let name = if plugin {
        line
    } else {
        line.strip_prefix("kubectl ").filter(|c| c.starts_with("tripod ")).unwrap_or(line)
    };
    let operator = if gives_verdict { operator } else { "" };
    format!("{name}{operator}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_works_where_it_is_read() {
        for (line, plugin, expected) in [
            (
                "kubectl tripod approve a -n b",
                true,
                "kubectl tripod approve a -n b --operator-namespace o --context c",
            ),
            (
                "kubectl tripod approve a -n b",
                false,
                "tripod approve a -n b --operator-namespace o --context c",
            ),
            ("kubectl tripod department a", false, "tripod department a --context c"),
            ("kubectl edit department a", false, "kubectl edit department a --context c"),
        ] {
            assert_eq!(copyable(line, plugin, " --operator-namespace o", " --context c"), expected);
        }
    }
}
