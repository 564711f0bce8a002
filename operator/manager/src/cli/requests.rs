//! `requests`: a table as `kubectl get` shows it, once or for as long as somebody watches.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, ResourceExt};
use serde_json::json;
use tripod_crds::ResourceRequest;
use tripod_domain::explain::{REQUEST_COLUMNS, request_row};

use super::table::{Widths, clean};
use super::{Connection, Output, one_line, print, print_json};

/// Which requests are listed, and how.
#[derive(clap::Args)]
pub struct Arguments {
    /// Namespace to list. Without it that of the context.
    #[arg(short, long, conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// List all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// After the list, show each row that changes.
    #[arg(short, long)]
    watch: bool,
    /// `json`: the objects themselves, as `kubectl get -o json` writes them.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    #[command(flatten)]
    connection: Connection,
}

/// Lists, and watches if asked to.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.connection.client().await?;
    let namespace = arguments.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let api = if arguments.all_namespaces {
        Api::<ResourceRequest>::all(client)
    } else {
        Api::namespaced(client, &namespace)
    };
    let mut list = api.list(&ListParams::default()).await?.items;
    list.sort_by_key(|request| (request.namespace(), request.name_any()));
    let mut shown = Shown { json: arguments.output == Some(Output::Json), ..Shown::default() };
    shown.list(&list, arguments.watch)?;
    if arguments.watch { follow(api, &mut shown).await } else { Ok(()) }
}

/// What is on the screen.
#[derive(Default)]
struct Shown {
    json: bool,
    widths: Widths,
    /// By uid, without the age.
    rows: BTreeMap<String, Vec<String>>,
}

/// A row without its age, which changes by itself.
fn lasting(row: &[String]) -> Vec<String> {
    row[..row.len() - 1].to_vec()
}

fn uid(request: &ResourceRequest) -> String {
    request.uid().unwrap_or_default()
}

impl Shown {
    fn list(&mut self, list: &[ResourceRequest], watch: bool) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let rows: Vec<[String; 10]> = list.iter().map(|request| request_row(request, now)).collect();
        self.rows = list.iter().zip(&rows).map(|(request, row)| (uid(request), lasting(row))).collect();
        if self.json && watch {
            return list.iter().try_for_each(print_json);
        }
        if self.json {
            return print_json(&json!({"apiVersion": "v1", "kind": "List", "items": list}));
        }
        if list.is_empty() && !watch {
            eprintln!("No resources found");
            return Ok(());
        }
        self.widths.fit(&[REQUEST_COLUMNS]);
        self.widths.fit(&rows);
        let mut text = self.widths.line(&REQUEST_COLUMNS) + "\n";
        for row in &rows {
            text.push_str(&self.widths.line(row));
            text.push('\n');
        }
        print(&text)
    }

    /// Shows a request if it changed.
    fn show(&mut self, request: &ResourceRequest) -> anyhow::Result<()> {
        match self.changed(request, Timestamp::now()) {
            Some(_) if self.json => print_json(request),
            Some(row) => print(&format!("{}\n", self.widths.line(&row))),
            None => Ok(()),
        }
    }

    /// The row of a request, if it is another than before.
    fn changed(&mut self, request: &ResourceRequest, now: Timestamp) -> Option<[String; 10]> {
        let row = request_row(request, now);
        let before = self.rows.insert(uid(request), lasting(&row));
        // As kubectl does: rows that are shown already stay as wide as they are.
        self.widths.fit(&[&row]);
        (before.as_deref() != Some(&row[..9])).then_some(row)
    }

    /// Says that a request is gone, by its last row.
    fn gone(&mut self, uid: &str) -> anyhow::Result<()> {
        let Some(mut row) = self.rows.remove(uid).filter(|_| !self.json) else { return Ok(()) };
        "(deleted)".clone_into(&mut row[3]);
        print(&format!("{}\n", self.widths.line(&row)))
    }
}

/// Shows every change until who watches has enough.
async fn follow(api: Api<ResourceRequest>, shown: &mut Shown) -> anyhow::Result<()> {
    let mut events = watch(api, watcher::Config::default()).default_backoff().boxed();
    let mut found = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => found.clear(),
            Ok(Event::InitApply(request)) => {
                found.insert(uid(&request));
                shown.show(&request)?;
            }
            // What was deleted while nobody looked.
            Ok(Event::InitDone) => {
                let gone: Vec<String> =
                    shown.rows.keys().filter(|uid| !found.contains(*uid)).cloned().collect();
                gone.iter().try_for_each(|uid| shown.gone(uid))?;
            }
            Ok(Event::Apply(request)) => shown.show(&request)?,
            Ok(Event::Delete(request)) => shown.gone(&uid(&request))?,
            Err(error) => {
                eprintln!("error: {} (trying again)", clean(&one_line(&anyhow::Error::from(error))));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(phase: &str) -> ResourceRequest {
        serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "ResourceRequest",
            "metadata": {"name": "registration", "namespace": "dept-health", "uid": "u1",
                "creationTimestamp": "2026-11-25T00:00:00Z"},
            "spec": {"requester": "zhang@health",
                "system": {"displayName": "预约挂号", "securityLevel": 1, "buildMode": "New", "owner": "zhang@health"},
                "basis": {"letter": "卫信函〔2026〕12号", "purpose": "全区预约挂号统一平台"},
                "resources": {"requests.cpu": "8"}, "term": "365d", "recoveryLevel": 1},
            "status": {"phase": phase}}))
        .unwrap()
    }

    #[test]
    fn a_row_is_shown_again_only_when_more_than_its_age_changes() {
        let (mut shown, at) = (Shown::default(), |s: i64| Timestamp::from_second(1_800_000_000 + s).unwrap());
        assert_eq!(shown.changed(&request("Assessing"), at(0)).unwrap()[3], "Assessing");
        assert_eq!(shown.changed(&request("Assessing"), at(90)), None);
        assert_eq!(shown.changed(&request("AwaitingApproval"), at(90)).unwrap()[3], "AwaitingApproval");
    }
}
