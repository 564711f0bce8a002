//! `browse` and `diff`: ask for an Inspection, show its answer page by page, and take it away.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tripod_crds::inspection::{Change, Entry};
use tripod_crds::{Inspection, InspectionSpec, InspectionStatus};
use tripod_domain::explain::inspection as shown;

use super::backup::patience;
use super::{Connection, Output, Speech, print, print_json, table};

/// How often it is looked at whether there is an answer.
const PAUSE: Duration = Duration::from_millis(200);
/// Entries that are asked for at once.
const PAGE: u32 = 1000;

/// Where one looks, and how the answer is written.
#[derive(clap::Args)]
pub struct Place {
    /// Namespace in which it is asked. Without it that of the context.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Centre whose vault is read. Default: that of the cluster.
    #[arg(long)]
    centre: Option<String>,
    /// Namespace of the system whose point it is, of the same department. Default: the one in which it is asked.
    #[arg(long)]
    system: Option<String>,
    /// Show so many entries at most; 0 for all.
    #[arg(long, default_value_t = 500)]
    limit: u32,
    /// How long an answer is waited for.
    #[arg(long, default_value = "2m", value_parser = patience, value_name = "DURATION")]
    timeout: Duration,
    /// `json`: all that is known of each.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    #[command(flatten)]
    speech: Speech,
    #[command(flatten)]
    connection: Connection,
}

/// What is looked into.
#[derive(clap::Args)]
pub struct Browse {
    /// Name of the RecoveryPoint; `kubectl tripod points` lists them.
    point: String,
    /// objects/KIND, volumes/CLAIM/path or buckets/BUCKET/prefix. Without it what parts the point has.
    path: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// What is compared.
#[derive(clap::Args)]
pub struct Diff {
    /// Name of the earlier RecoveryPoint.
    earlier: String,
    /// Name of the later one.
    later: String,
    /// Compare only what is below objects/KIND, volumes/CLAIM/path or buckets/BUCKET/prefix.
    path: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Lists.
pub async fn browse(arguments: Browse) -> anyhow::Result<()> {
    ask(arguments.place, arguments.point, None, arguments.path).await
}

/// Compares.
pub async fn diff(arguments: Diff) -> anyhow::Result<()> {
    ask(arguments.place, arguments.later, Some(arguments.earlier), arguments.path).await
}

async fn ask(
    place: Place,
    recovery_point: String,
    since: Option<String>,
    path: Option<String>,
) -> anyhow::Result<()> {
    let client = place.connection.client().await?;
    let namespace = place.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let api = Api::<Inspection>::namespaced(client, &namespace);
    let mut spec = InspectionSpec {
        recovery_point,
        since,
        centre: place.centre.clone(),
        system: place.system.clone(),
        path: path.filter(|path| !path.is_empty()),
        after: None,
        limit: PAGE,
    };
    let most = if place.limit == 0 { usize::MAX } else { place.limit as usize };
    let mut entries: Vec<Entry> = Vec::new();
    let last = loop {
        spec.limit = u32::try_from(most - entries.len()).unwrap_or(PAGE).min(PAGE);
        let mut page = answer(&api, &spec, place.timeout).await?;
        entries.append(&mut page.entries);
        spec.after = page.next.take();
        if spec.after.is_none() || entries.len() >= most {
            break page;
        }
    };
    let found = last.found.unwrap_or_default();
    let hidden = found.saturating_sub(entries.len() as u64);
    if place.output == Some(Output::Json) {
        return print_json(
            &json!({"centre": last.centre, "found": found, "changes": last.changes, "entries": entries}),
        );
    }
    let language = place.speech.language();
    let mut text = String::new();
    if spec.since.is_some() {
        text.push_str(&changes(&entries));
        text.push_str(language.of(&shown::sum(&last.changes)));
        text.push('\n');
    } else {
        text.push_str(&table::sections(&[shown::entries(&entries)], language, str::to_owned));
    }
    if hidden > 0 {
        text.push_str(language.of(&shown::hidden(hidden)));
        text.push('\n');
    }
    print(&text)
}

/// One answer. What was asked for it goes again, also when there was none.
async fn answer(
    api: &Api<Inspection>,
    spec: &InspectionSpec,
    timeout: Duration,
) -> anyhow::Result<InspectionStatus> {
    let mut wanted = Inspection::new("", spec.clone());
    wanted.metadata.name = None;
    wanted.metadata.generate_name = Some("ask-".to_owned());
    let made = api.create(&PostParams::default(), &wanted).await.context("the Inspection was not made")?;
    let found = wait(api, &made.name_any(), timeout).await;
    // It would go by itself, later.
    let _ = api.delete(&made.name_any(), &DeleteParams::default()).await;
    found
}

async fn wait(api: &Api<Inspection>, name: &str, timeout: Duration) -> anyhow::Result<InspectionStatus> {
    let end = Instant::now() + timeout;
    loop {
        let status = api.get(name).await?.status.unwrap_or_default();
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready").cloned();
        match ready {
            Some(ready) if ready.status == "True" => return Ok(status),
            Some(ready) if status.answered_at.is_some() => bail!("{}", ready.message),
            ready if Instant::now() >= end => {
                let words = ready.map_or("the operator has not looked at it".to_owned(), |r| r.message);
                bail!("no answer in {} s: {words}", timeout.as_secs())
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// A line for each, with what became otherwise below it.
fn changes(entries: &[Entry]) -> String {
    let mut lines = Vec::new();
    for entry in entries {
        let sign = match entry.change {
            Some(Change::Added) => '+',
            Some(Change::Removed) => '-',
            _ => '~',
        };
        lines.push(format!("{sign} {}", table::clean(&entry.path)));
        lines.extend(entry.differences.iter().map(|line| format!("    {}", table::clean(line))));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}
