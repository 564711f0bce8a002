//! `scorecard`: a department's month on a page, for people and for machines.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::ValueEnum;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::{Department, DisasterRecoveryDrill, ResourceRequest, SupervisionPolicy, UtilisationReport};
use tripod_domain::scorecard::gather::{Sources, gather};
use tripod_domain::scorecard::{self, Month};
use tripod_domain::tenancy;
use tripod_domain::utilisation::{report, slot, verdict};

use super::{Connection, Language, Speech, print};

/// What is shown.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the Department.
    name: String,
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
    let department = Api::<Department>::all(client.clone()).get(&arguments.name).await?;
    let policies = Api::<SupervisionPolicy>::all(client.clone()).list(&ListParams::default()).await?.items;
    let all = policies.iter().map(|p| (p.metadata.name.as_deref().unwrap_or_default(), &p.spec));
    let policy = verdict::policy_for(&arguments.name, now, all).map(|(_, spec)| spec);
    let first = match &arguments.month {
        Some(month) => read_month(month)?,
        None => last_month(now, policy.map_or("+08:00", |p| p.utc_offset.as_str())),
    };
    let home = tenancy::home(&arguments.name);
    let reports = Api::<UtilisationReport>::namespaced(client.clone(), &home);
    let month_report = reports.get_opt(&report::month_name(first)).await?;
    let requests =
        Api::<ResourceRequest>::namespaced(client.clone(), &home).list(&ListParams::default()).await?.items;
    let mut drills = BTreeMap::new();
    for request in &requests {
        let namespace = tenancy::system(&arguments.name, &request.name_any());
        let api = Api::<DisasterRecoveryDrill>::namespaced(client.clone(), &namespace);
        // What may not be read is unknown, and shown as such.
        if let Ok(found) = api.list(&ListParams::default()).await {
            drills.insert(namespace, found.items);
        }
    }
    let report = month_report.as_ref();
    let sources = Sources { department: &department, report, requests: &requests, drills, policy };
    let card = gather(&sources, Month { year: first.year(), month: first.month() }, now);
    let language = match arguments.speech.language() {
        Language::En => scorecard::Language::English,
        Language::Zh => scorecard::Language::Chinese,
    };
    let page = card.document();
    print(&match arguments.output {
        Format::Markdown => scorecard::markdown(&page, language),
        Format::Html => scorecard::html(&page, language),
        Format::Json => format!("{:#}\n", scorecard::json(&page)),
    })
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
