//! Reports out of days, and longer reports out of shorter ones. A report can be computed again from those it was made of.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tripod_crds::supervision_policy::SupervisionPolicySpec;
use tripod_crds::utilisation_report::{Action, Figures, Period, Recommendation, UseVerdict};
use tripod_crds::{UtilisationReport, UtilisationReportSpec, UtilisationReportStatus};

use super::book::Day;
use super::tally::Tally;
use super::verdict::{self, Evidence};
use super::{Measured, slot};
use crate::conditions::{self, Verdict};
use crate::ledger::Amounts;
use crate::quantity;
use crate::tenancy::DEPARTMENT;

/// Label of a report: its period.
pub const PERIOD: &str = "tripod.cloud/period";
/// The name of the one report over the window.
pub const WINDOW: &str = "window";

/// What stands beside the figures, as of now.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    pub department: String,
    pub granted: Amounts,
    /// As the quota counts it; absent where it does not.
    pub requested: Option<Amounts>,
    pub budget: Amounts,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// The month that a day is in.
#[must_use]
pub fn month(date: Date, zone: &TimeZone) -> Span {
    let next = date.last_of_month().tomorrow().unwrap_or(date);
    Span { from: slot::start(date.first_of_month(), zone), to: slot::start(next, zone) }
}

/// So many whole days before the day that a moment is in.
#[must_use]
pub fn window(now: Timestamp, days: i64, zone: &TimeZone) -> Span {
    let today = slot::day(now, zone);
    let first = today.checked_sub(days.days()).unwrap_or(today);
    Span { from: slot::start(first, zone), to: slot::start(today, zone) }
}

/// The name of a day's report.
#[must_use]
pub fn day_name(date: Date) -> String {
    format!("day-{date}")
}

/// The name of a month's report.
#[must_use]
pub fn month_name(date: Date) -> String {
    format!("month-{}", date.strftime("%Y-%m"))
}

/// Readings of one resource that were added up, and how many there could be.
type Parts = BTreeMap<Measured, (Tally, i64)>;

/// The report of a day that is over.
#[must_use]
pub fn of_day(namespace: &str, day: &Day, standing: &Standing) -> UtilisationReport {
    let parts = day.tallies().map(|(m, tally)| (m, (tally.clone(), i64::from(day.of)))).collect();
    let span = Span { from: day.from, to: day.to };
    let mut report = empty(namespace, &day_name(day.date), Period::Day, span, day.interval, standing);
    let mut status = UtilisationReportStatus {
        resources: figures(&parts, i64::from(day.of), standing, true),
        ..UtilisationReportStatus::default()
    };
    conditions::set(&mut status.conditions, "Complete", &complete(true, day.to), None, day.to);
    report.status = Some(status);
    report
}

/// A longer report, out of the days that lie within the span. What no report covers was not read. A day that can't be
/// read counts as one that was not, too.
#[must_use]
pub fn of_days(
    namespace: &str,
    name: &str,
    (period, span): (Period, Span),
    days: &[UtilisationReport],
    standing: &Standing,
    now: Timestamp,
) -> UtilisationReport {
    let within: Vec<&UtilisationReport> = days
        .iter()
        .filter(|d| d.spec.period == Period::Day && d.spec.from.0 >= span.from && d.spec.to.0 <= span.to)
        .collect();
    let interval = within.iter().max_by_key(|d| d.spec.from.0).map_or(60, |d| d.spec.interval_seconds);
    let until = span.to.min(now);
    // A month counts from its first day with a report: before, the system was not there. A window counts whole.
    let from = match period {
        Period::Window => span.from,
        _ => within.iter().map(|d| d.spec.from.0).min().unwrap_or(span.from),
    };
    let covered = |a: Timestamp, b: Timestamp| slot::between(a, b, interval);
    let reported: i64 = within.iter().map(|d| covered(d.spec.from.0, d.spec.to.0.min(until))).sum();
    let missing = (covered(from, until) - reported).max(0);
    let all = missing + within.iter().map(|d| of_in(d)).sum::<i64>();
    let mut parts = Parts::new();
    for (name, figures) in within.iter().filter_map(|d| d.status.as_ref()).flat_map(|s| &s.resources) {
        let Some(measured) = Measured::named(name) else { continue };
        // What was measured on some days could have been on all of them.
        let (tally, _) = parts.entry(measured).or_insert_with(|| (Tally::default(), all));
        if let Some(one) = tally_of(figures) {
            tally.merge(&one);
        }
    }
    let mut report = empty(namespace, name, period, span, interval, standing);
    let mut status = UtilisationReportStatus {
        resources: figures(&parts, all, standing, period == Period::Month),
        ..UtilisationReportStatus::default()
    };
    let verdict = complete(span.to <= now, span.to);
    conditions::set(&mut status.conditions, "Complete", &verdict, None, now.min(span.to));
    report.status = Some(status);
    report
}

/// How many readings a report could have.
fn of_in(report: &UtilisationReport) -> i64 {
    report
        .status
        .iter()
        .flat_map(|s| s.resources.values())
        .map(|f| f.of)
        .max()
        .unwrap_or_else(|| slot::between(report.spec.from.0, report.spec.to.0, report.spec.interval_seconds))
}

fn tally_of(figures: &Figures) -> Option<Tally> {
    let sum = quantity::parse(&figures.sum).ok()?;
    let peak = figures.peak.as_ref().map_or(Some(0), |p| quantity::parse(p).ok())?;
    Tally::restore(u32::try_from(figures.readings).ok()?, sum, peak, figures.sketch.as_ref()?).ok()
}

fn complete(over: bool, to: Timestamp) -> Verdict {
    if over {
        Verdict::yes("PeriodOver", "the figures are final")
    } else {
        Verdict::no("PeriodRuns", format!("whole days so far; the period ends at {to}"))
    }
}

fn empty(
    namespace: &str,
    name: &str,
    period: Period,
    span: Span,
    interval: i64,
    standing: &Standing,
) -> UtilisationReport {
    let spec = UtilisationReportSpec {
        period,
        from: Time(span.from),
        to: Time(span.to),
        interval_seconds: interval,
    };
    let mut report = UtilisationReport::new(name, spec);
    report.metadata.namespace = Some(namespace.to_owned());
    let labels = [(DEPARTMENT, standing.department.clone()), (PERIOD, format!("{period:?}"))];
    report.metadata.labels = Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
    report
}

fn figures(parts: &Parts, of: i64, standing: &Standing, sketch: bool) -> BTreeMap<String, Figures> {
    let nothing = (Tally::default(), of);
    let granted = |m: &Measured| m.of(&standing.granted);
    // What was granted and never measured is shown as such.
    let shown =
        Measured::ALL.into_iter().filter(|m| parts.contains_key(m) || granted(m).is_some_and(|g| g > 0));
    let one = |m: Measured| {
        let (tally, of) = parts.get(&m).unwrap_or(&nothing);
        let readings = i64::from(tally.readings());
        let figures = Figures {
            average: tally.average(m.grain()).map(quantity::exact),
            p95: tally.p95(m.grain()).map(quantity::exact),
            peak: tally.peak().map(quantity::exact),
            readings,
            of: *of,
            coverage: percent(readings, *of),
            requested: standing.requested.as_ref().and_then(|r| m.of(r)).map(quantity::exact),
            granted: granted(&m).map(quantity::exact),
            budget: m.of(&standing.budget).map(quantity::exact),
            verdict: None,
            sum: quantity::exact(tally.sum()),
            sketch: (sketch && readings > 0).then(|| tally.sketch_text()),
        };
        (m.name().to_owned(), figures)
    };
    shown.map(one).collect()
}

/// `99.93`: in percent with two digits, rounded down, so that 100.00 is all.
#[must_use]
pub fn percent(part: i64, of: i64) -> String {
    let basis_points = if of <= 0 { 0 } else { i128::from(part) * 10_000 / i128::from(of) };
    format!("{}.{:02}", basis_points / 100, basis_points % 100)
}

/// Puts verdicts and recommendations into the report of a window.
pub fn judge(
    report: &mut UtilisationReport,
    (name, policy): (&str, &SupervisionPolicySpec),
    standing: &Standing,
    before: Option<&UtilisationReport>,
) {
    let to = report.spec.to.clone();
    let Some(status) = &mut report.status else { return };
    let mut each = Vec::new();
    for (resource, threshold) in &policy.thresholds {
        let Some(measured) = Measured::named(resource) else { continue };
        let Some(figures) = status.resources.get_mut(resource) else {
            continue;
        };
        let said = verdict::judge(&evidence(figures), *threshold, policy.minimum_coverage);
        figures.verdict = Some(said);
        each.push(said);
        let peak = figures.peak.as_ref().and_then(|p| quantity::parse(p).ok());
        status.recommendations.extend(recommendation(measured, said, peak, policy.headroom, standing));
    }
    let overall = verdict::overall(each);
    status.verdict = Some(overall);
    status.policy = Some(name.to_owned());
    let since = before.and_then(|b| b.status.as_ref()?.low_since.clone());
    status.low_since = (overall == UseVerdict::Low).then(|| since.unwrap_or(to));
}

fn evidence(figures: &Figures) -> Evidence {
    let amount = |q: &Option<_>| q.as_ref().and_then(|q| quantity::parse(q).ok());
    Evidence {
        average: amount(&figures.average),
        peak: amount(&figures.peak),
        readings: figures.readings,
        of: figures.of,
        granted: amount(&figures.granted),
    }
}

/// What a request is rounded up to: 100m, 64Mi, 1Gi, one device.
fn step(measured: Measured) -> i128 {
    const NANO: i128 = 1_000_000_000;
    match measured {
        Measured::Cpu => NANO / 10,
        Measured::Memory => NANO << 26,
        Measured::Storage | Measured::BucketBytes => NANO << 30,
        Measured::Gpu | Measured::BucketObjects => NANO,
    }
}

fn recommendation(
    measured: Measured,
    said: UseVerdict,
    peak: Option<i128>,
    headroom: i64,
    standing: &Standing,
) -> Option<Recommendation> {
    let resource = measured.bounded_by(&standing.granted)?.clone();
    let (granted, peak) = (standing.granted[&resource], peak?);
    let to = verdict::enough(peak, headroom, step(measured));
    let action = match said {
        UseVerdict::Low if peak == 0 => Action::Reclaim,
        UseVerdict::Low if to < granted => Action::Shrink,
        UseVerdict::High if to > granted => Action::Expand,
        _ => return None,
    };
    Some(Recommendation {
        resource,
        action,
        to: quantity::exact(to),
        by: quantity::exact((granted - to).abs()),
    })
}

/// Whether a report is older than it is kept: days for 100 days, months for 37 months.
#[must_use]
pub fn is_outdated(report: &UtilisationReport, now: Timestamp) -> bool {
    let kept = match report.spec.period {
        Period::Day => 100,
        Period::Month => 37 * 31,
        Period::Window => return false,
    };
    now.duration_since(report.spec.to.0) > SignedDuration::from_hours(24 * kept)
}

/// The peak of the window, by what bounds it; for those who ask for less.
#[must_use]
pub fn peaks(report: &UtilisationReport, granted: &Amounts) -> Amounts {
    let resources = report.status.iter().flat_map(|s| &s.resources);
    let peak = |(name, figures): (&String, &Figures)| {
        let bound = Measured::named(name)?.bounded_by(granted)?.clone();
        Some((bound, quantity::parse(figures.peak.as_ref()?).ok()?))
    };
    resources.filter_map(peak).collect()
}

/// Whether it is the same but for what the API server adds.
#[must_use]
pub fn is_same(a: &UtilisationReport, b: &UtilisationReport) -> bool {
    a.spec == b.spec && a.status == b.status && a.name_any() == b.name_any()
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
