//! Writes reports: of days that are over, of their months, and of the window that verdicts look at. What is written
//! follows from the book and from reports before; a pass that fails is made again.

use std::collections::HashMap;

use futures::StreamExt;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use serde_json::json;
use tripod_crds::utilisation_report::Period;
use tripod_crds::{SupervisionPolicy, UtilisationReport};
use tripod_domain::tenancy;
use tripod_domain::utilisation::report::{self, PERIOD, Span, Standing, WINDOW};
use tripod_domain::utilisation::{outlook, slot, verdict};

use super::Utilisation;
use crate::context::{Ctx, FIELD_MANAGER};

/// Namespaces that are written at once, and the most in one pass: sampling must not wait for long.
const AT_ONCE: usize = 8;
const A_PASS: usize = 400;

/// Remembers what needs no second look.
#[derive(Default)]
pub(super) struct Reports {
    /// By namespace: the policy, in its version, and the day up to which it was judged.
    judged: HashMap<String, (String, Timestamp)>,
}

/// What is to be done in one namespace.
struct Work {
    namespace: String,
    days: Vec<(Date, UtilisationReport)>,
    standing: Standing,
    judge: Option<(SupervisionPolicy, Span)>,
}

impl Reports {
    /// Writes what is due at this time.
    pub(super) async fn write_due(
        &mut self,
        ctx: &Ctx,
        utilisation: &Utilisation,
        policies: &Store<SupervisionPolicy>,
        now: Timestamp,
        zone: &TimeZone,
    ) {
        let work = self.due(ctx, utilisation, policies, now);
        let done: Vec<(Work, Result<(), String>)> = futures::stream::iter(work)
            .map(|work| async move {
                let result = write(ctx, &work, now, zone).await;
                (work, result)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut book = utilisation.book();
        for (work, result) in done {
            match result {
                Ok(()) => {
                    work.days.iter().for_each(|(date, _)| book.reported(&work.namespace, *date));
                    if let Some((policy, span)) = &work.judge {
                        self.judged.insert(work.namespace, (key(policy), span.to));
                    }
                }
                Err(error) => tracing::warn!(namespace = work.namespace, error, "a report is not written"),
            }
        }
    }

    fn due(
        &mut self,
        ctx: &Ctx,
        utilisation: &Utilisation,
        policies: &Store<SupervisionPolicy>,
        now: Timestamp,
    ) -> Vec<Work> {
        let policies = policies.state();
        let mut over: HashMap<String, Vec<tripod_domain::utilisation::book::Day>> = HashMap::new();
        for (namespace, day) in utilisation.book().over() {
            over.entry(namespace.clone()).or_default().push(day.clone());
        }
        let names = ctx.tenancy.read().namespace_names();
        self.judged.retain(|namespace, _| names.contains(namespace));
        let mut work = Vec::new();
        for namespace in names {
            if work.len() >= A_PASS {
                break;
            }
            let Some(department) = ctx.tenancy.read().department_of(&namespace).map(str::to_owned) else {
                continue;
            };
            let all = policies.iter().map(|p| (p.metadata.name.as_deref().unwrap_or_default(), &p.spec));
            let applies = verdict::policy_for(&department, now, all).map(|(name, _)| name.to_owned());
            let policy = applies.and_then(|name| policies.iter().find(|p| p.name_any() == name)).cloned();
            let judge = policy.and_then(|policy| {
                let zone = slot::zone(&policy.spec.utc_offset);
                let span = report::window(now, policy.spec.window_days, &zone);
                let known = self.judged.get(&namespace) == Some(&(key(&policy), span.to));
                (!known).then(|| ((*policy).clone(), span))
            });
            let days = over.remove(&namespace).unwrap_or_default();
            if days.is_empty() && judge.is_none() {
                continue;
            }
            let Some(standing) = ctx.tenancy.standing(&namespace) else { continue };
            let days = days.iter().map(|d| (d.date, report::of_day(&namespace, d, &standing))).collect();
            work.push(Work { namespace, days, standing, judge });
        }
        work
    }
}

/// A policy in its version.
fn key(policy: &SupervisionPolicy) -> String {
    format!("{}/{}", policy.name_any(), policy.metadata.generation.unwrap_or(0))
}

async fn write(ctx: &Ctx, work: &Work, now: Timestamp, zone: &TimeZone) -> Result<(), String> {
    for (_, day) in &work.days {
        put(ctx, day).await?;
    }
    let api = ctx.api::<UtilisationReport>(&work.namespace);
    let only_days = ListParams::default().labels(&format!("{PERIOD}={:?}", Period::Day));
    let known = api.list(&only_days).await.map_err(|e| format!("reports can't be listed: {e}"))?.items;
    let months: std::collections::BTreeSet<Date> =
        work.days.iter().map(|(date, _)| date.first_of_month()).collect();
    for month in months {
        let span = report::month(month, zone);
        let name = report::month_name(month);
        let monthly =
            report::of_days(&work.namespace, &name, (Period::Month, span), &known, &work.standing, now);
        put(ctx, &monthly).await?;
    }
    if let Some((policy, span)) = &work.judge {
        judge(ctx, work, policy, *span, &known, now).await?;
    }
    for old in known.iter().filter(|day| report::is_outdated(day, now)) {
        let only_this = Preconditions {
            uid: old.metadata.uid.clone(),
            resource_version: old.metadata.resource_version.clone(),
        };
        let _ = api.delete(&old.name_any(), &DeleteParams::default().preconditions(only_this)).await;
    }
    Ok(())
}

/// Writes the window with its verdict, if there is a single day in it; a home's days also say how its budget will do.
async fn judge(
    ctx: &Ctx,
    work: &Work,
    policy: &SupervisionPolicy,
    span: Span,
    known: &[UtilisationReport],
    now: Timestamp,
) -> Result<(), String> {
    if tenancy::department_of_home(&work.namespace) == Some(&work.standing.department) {
        ctx.tenancy
            .set_forecast(&work.standing.department, outlook::forecasts(known, &work.standing.budget, now));
    }
    if !known.iter().any(|day| day.spec.to.0 > span.from) {
        return Ok(());
    }
    let mut window =
        report::of_days(&work.namespace, WINDOW, (Period::Window, span), known, &work.standing, now);
    let at = ObjectRef::new(WINDOW).within(&work.namespace);
    let before = ctx.windows.get(&at);
    report::judge(&mut window, (&policy.name_any(), &policy.spec), &work.standing, before.as_deref());
    if before.is_some_and(|before| report::is_same(&before, &window)) {
        return Ok(());
    }
    put(ctx, &window).await
}

/// Writes a report, its status after its spec. The same again writes nothing.
async fn put(ctx: &Ctx, report: &UtilisationReport) -> Result<(), String> {
    let (name, namespace) = (report.name_any(), report.namespace().unwrap_or_default());
    let failed = |error: kube::Error| format!("UtilisationReport {name}: {error}");
    let kind =
        json!({"apiVersion": UtilisationReport::api_version(&()), "kind": UtilisationReport::kind(&())});
    let object = |field: &str, value: serde_json::Value| {
        let mut object = kind.clone();
        object["metadata"] = json!({"name": name, "labels": report.labels()});
        object[field] = value;
        object
    };
    let api = ctx.api::<UtilisationReport>(&namespace);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&name, &parameters, &Patch::Apply(object("spec", json!(report.spec)))).await.map_err(failed)?;
    let status = Patch::Apply(object("status", json!(report.status)));
    api.patch_status(&name, &parameters, &status).await.map(drop).map_err(failed)
}
