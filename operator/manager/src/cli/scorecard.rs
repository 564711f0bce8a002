//! `scorecard`: a department's month on a page, for people and for machines.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::ValueEnum;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tripod_crds::supervision_policy::SupervisionPolicySpec;
use tripod_crds::{Department, DisasterRecoveryDrill, ResourceRequest, SupervisionPolicy, UtilisationReport};
use tripod_domain::scorecard::gather::{Sources, gather};
use tripod_domain::scorecard::{self, Month, Scorecard};
use tripod_domain::tenancy;
use tripod_domain::utilisation::{report, slot, verdict};

use super::{Connection, Language, Speech, print};

/// What is shown.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the Department. Without it, all of them side by side.
    name: Option<String>,
    /// The month, like 2026-10. The last whole one by default.
    #[arg(long)]
    month: Option<String>,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t = Format::Markdown)]
    output: Format,
    #[command(flatten)]
    speech: Speech,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Markdown,
    Html,
    Json,
}

/// Reads what there is of the month, and shows it.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.connection.client().await?;
    let now = Timestamp::now();
    let policies = Api::<SupervisionPolicy>::all(client.clone()).list(&ListParams::default()).await?.items;
    let api = Api::<Department>::all(client.clone());
    let departments = match &arguments.name {
        Some(name) => vec![api.get(name).await?],
        None => api.list(&ListParams::default()).await?.items,
    };
    let first = arguments.month.as_deref().map(read_month).transpose()?;
    let mut cards = Vec::new();
    for department in &departments {
        let name = department.name_any();
        let all = policies.iter().map(|p| (p.metadata.name.as_deref().unwrap_or_default(), &p.spec));
        let policy = verdict::policy_for(&name, now, all).map(|(_, spec)| spec);
        let offset = policy.map_or("+08:00", |p| p.utc_offset.as_str());
        cards.push(
            card(&client, department, policy, first.unwrap_or_else(|| last_month(now, offset)), now).await?,
        );
    }
    let language = match arguments.speech.language() {
        Language::En => scorecard::Language::English,
        Language::Zh => scorecard::Language::Chinese,
    };
    let page = match (&arguments.name, cards.first()) {
        (Some(_), Some(card)) => card.document(),
        (_, Some(first)) => scorecard::overview(first.month, now, &cards),
        (_, None) => bail!("there is no Department"),
    };
    print(&match arguments.output {
        Format::Markdown => scorecard::markdown(&page, language),
        Format::Html => scorecard::html(&page, language),
        Format::Json => format!("{:#}\n", scorecard::json(&page)),
    })
}

async fn card(
    client: &Client,
    department: &Department,
    policy: Option<&SupervisionPolicySpec>,
    first: Date,
    now: Timestamp,
) -> anyhow::Result<Scorecard> {
    let name = department.name_any();
    let home = tenancy::home(&name);
    let reports = Api::<UtilisationReport>::namespaced(client.clone(), &home);
    let report = reports.get_opt(&report::month_name(first)).await?;
    let requests =
        Api::<ResourceRequest>::namespaced(client.clone(), &home).list(&ListParams::default()).await?.items;
    let mut drills = BTreeMap::new();
    for request in &requests {
        let namespace = tenancy::system(&name, &request.name_any());
        let api = Api::<DisasterRecoveryDrill>::namespaced(client.clone(), &namespace);
        // What may not be read is unknown, and shown as such.
        if let Ok(found) = api.list(&ListParams::default()).await {
            drills.insert(namespace, found.items);
        }
    }
    let sources = Sources { department, report: report.as_ref(), requests: &requests, drills, policy };
    Ok(gather(&sources, Month { year: first.year(), month: first.month() }, now))
}

fn read_month(month: &str) -> anyhow::Result<Date> {
    let first: Date = format!("{month}-01")
        .parse()
        .ok()
        .filter(|_| month.len() == 7)
        .with_context(|| format!("--month {month}: write it like 2026-10"))?;
    if first.year() < 2000 {
        bail!("--month {month}: there were no reports then");
    }
    Ok(first)
}

/// The first day of the month before.
fn last_month(now: Timestamp, offset: &str) -> Date {
    let today = slot::day(now, &slot::zone(offset));
    today.first_of_month().checked_sub(1.month()).unwrap_or(today)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_read_and_the_last_one_is_the_one_before() {
        assert_eq!(read_month("2026-10").unwrap().to_string(), "2026-10-01");
        for wrong in ["2026-13", "2026-1", "10-2026", "2026-10-01", ""] {
            assert!(read_month(wrong).is_err(), "{wrong}");
        }
        // In China it is January already.
        let now = "2026-12-31T17:00:00Z".parse().unwrap();
        assert_eq!(last_month(now, "+08:00").to_string(), "2026-12-01");
        assert_eq!(last_month(now, "+00:00").to_string(), "2026-11-01");
    }
}
