use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::json;

use super::*;
use crate::utilisation::Readings;
use crate::utilisation::book::Book;

const CORE: i128 = 1_000_000_000;
const DAY: i64 = 24 * 60 * 60;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn standing() -> Standing {
    let amounts = |cpu: i128| Amounts::from([("requests.cpu".to_owned(), cpu * CORE)]);
    Standing {
        department: "health".into(),
        granted: amounts(4),
        requested: Some(amounts(2)),
        budget: amounts(100),
    }
}

fn policy() -> SupervisionPolicySpec {
    serde_json::from_value(json!({"source": {"title": "t", "effective": "2026-01-01"}, "windowDays": 10,
        "thresholds": {"cpu": {"lowAverage": 30, "lowPeak": 60, "highAverage": 50}}}))
    .unwrap()
}

/// Reports of so many days from 1 October on, in UTC, once an hour; `cpu(day, hour)` in billionths of a core.
fn days(count: i64, cpu: impl Fn(i64, i64) -> Option<i128>) -> (Vec<UtilisationReport>, Vec<i128>) {
    let (start, zone) = (at("2026-10-01T00:00:00Z"), TimeZone::UTC);
    let mut raw = Vec::new();
    let each = (0..count).map(|day| {
        let mut book = Book::default();
        // The first reading of the next day closes this one.
        for hour in 0..=24 {
            let reading = cpu(day, hour);
            raw.extend(reading.filter(|_| hour < 24));
            let now = start + SignedDuration::from_secs(day * DAY + hour * 3600 + 5);
            let readings: Readings = [(Measured::Cpu, reading.ok_or_else(|| "no answer".to_owned()))].into();
            book.record("a", start, &readings, now, 3600, &zone);
        }
        let over = book.over().next().unwrap().1.clone();
        of_day("a", &over, &standing())
    });
    let days = each.collect();
    (days, raw)
}

fn window_of(days: &[UtilisationReport], now: &str) -> UtilisationReport {
    let span = window(at(now), 10, &TimeZone::UTC);
    let mut report = of_days("a", WINDOW, (Period::Window, span), days, &standing(), at(now));
    judge(&mut report, ("default", &policy()), &standing(), None);
    report
}

fn cpu(report: &UtilisationReport) -> &Figures {
    &report.status.as_ref().unwrap().resources["cpu"]
}

#[test]
fn a_month_is_what_its_readings_say() {
    let profile = |day: i64, hour: i64| {
        let missing = day == 3 && hour < 6;
        (!missing).then(|| i128::from(day * 24 + hour) * 7_000_001 % (2 * CORE))
    };
    let (days, raw) = days(31, profile);
    let span = month(jiff::civil::date(2026, 10, 1), &TimeZone::UTC);
    let now = at("2026-11-01T00:00:10Z");
    let report = of_days("a", "month-2026-10", (Period::Month, span), &days, &standing(), now);
    let figures = cpu(&report);
    let (n, sum) = (raw.len() as i128, raw.iter().sum::<i128>());
    assert_eq!((figures.readings, figures.of), (31 * 24 - 6, 31 * 24));
    assert_eq!(figures.coverage, "99.19");
    assert_eq!(quantity::parse(&figures.sum), Ok(sum));
    assert_eq!(quantity::parse(figures.peak.as_ref().unwrap()).unwrap(), *raw.iter().max().unwrap());
    let average = quantity::parse(figures.average.as_ref().unwrap()).unwrap();
    assert!((average * n - sum).abs() <= n * Measured::Cpu.grain() / 2 + n);
    let complete = &report.status.as_ref().unwrap().conditions[0];
    assert_eq!((complete.type_.as_str(), complete.status.as_str()), ("Complete", "True"));
}

#[test]
fn the_month_so_far_says_so() {
    let (days, _) = days(5, |_, _| Some(CORE));
    let span = month(jiff::civil::date(2026, 10, 1), &TimeZone::UTC);
    let report =
        of_days("a", "month-2026-10", (Period::Month, span), &days, &standing(), at("2026-10-06T00:00:00Z"));
    assert_eq!((cpu(&report).readings, cpu(&report).of), (120, 120));
    assert_eq!(report.status.as_ref().unwrap().conditions[0].status, "False");
}

#[test]
fn low_use_is_said_with_what_would_do() {
    let (days, _) = days(10, |_, hour| Some(if hour == 9 { CORE } else { CORE / 2 }));
    let status = window_of(&days, "2026-10-11T01:00:00Z").status.unwrap();
    assert_eq!(status.verdict, Some(UseVerdict::Low));
    assert_eq!(status.low_since.as_ref().unwrap().0, at("2026-10-11T00:00:00Z"));
    let [shrink] = &status.recommendations[..] else { panic!("{:?}", status.recommendations) };
    assert_eq!((shrink.resource.as_str(), shrink.action), ("requests.cpu", Action::Shrink));
    // The peak of one core and 30 % of room; of the four that were granted 2.7 are left.
    assert_eq!((shrink.to.clone(), shrink.by.clone()), (Quantity("1300m".into()), Quantity("2700m".into())));
}

#[test]
fn days_without_a_report_are_no_zeros() {
    let (mut days, _) = days(10, |_, _| Some(CORE / 2));
    days.remove(4);
    days.remove(4);
    let report = window_of(&days, "2026-10-11T01:00:00Z");
    assert_eq!((cpu(&report).readings, cpu(&report).of), (192, 240));
    assert_eq!(report.status.unwrap().verdict, Some(UseVerdict::Unknown));
}

#[test]
fn a_system_younger_than_the_window_is_not_idle() {
    let (days, _) = days(6, |_, _| Some(0));
    assert_eq!(window_of(&days, "2026-10-07T01:00:00Z").status.unwrap().verdict, Some(UseVerdict::Unknown));
}

#[test]
fn nothing_used_is_reclaimed_and_too_much_expanded() {
    let idle = days(10, |_, _| Some(0)).0;
    let status = window_of(&idle, "2026-10-11T01:00:00Z").status.unwrap();
    assert_eq!((status.verdict, status.recommendations[0].action), (Some(UseVerdict::Low), Action::Reclaim));
    let busy = days(10, |_, _| Some(4 * CORE)).0;
    let status = window_of(&busy, "2026-10-11T01:00:00Z").status.unwrap();
    assert_eq!((status.verdict, status.recommendations[0].action), (Some(UseVerdict::High), Action::Expand));
    assert_eq!(status.recommendations[0].to, Quantity("5200m".into()));
}

#[test]
fn a_report_that_was_tampered_with_counts_as_not_read() {
    let (mut days, _) = days(10, |_, _| Some(CORE / 2));
    for day in &mut days[..2] {
        let figures = day.status.as_mut().unwrap().resources.get_mut("cpu").unwrap();
        figures.sketch = Some("AAAA".into());
    }
    let report = window_of(&days, "2026-10-11T01:00:00Z");
    assert_eq!((cpu(&report).readings, cpu(&report).of), (192, 240));
}

#[test]
fn since_when_it_is_low_is_kept_while_it_is() {
    let (days, _) = days(10, |_, _| Some(CORE / 2));
    let first = window_of(&days, "2026-10-11T01:00:00Z");
    let mut second = first.clone();
    second.spec.to = Time(at("2026-10-12T00:00:00Z"));
    judge(&mut second, ("default", &policy()), &standing(), Some(&first));
    assert_eq!(second.status.unwrap().low_since.unwrap().0, at("2026-10-11T00:00:00Z"));
}

#[test]
fn shares_are_rounded_down_to_two_digits() {
    assert_eq!(percent(1440, 1440), "100.00");
    assert_eq!(percent(1439, 1440), "99.93");
    assert_eq!(percent(0, 0), "0.00");
}

#[test]
fn old_days_go_and_old_months_stay() {
    let (days, _) = days(1, |_, _| Some(CORE));
    assert!(!is_outdated(&days[0], at("2027-01-01T00:00:00Z")));
    assert!(is_outdated(&days[0], at("2027-02-01T00:00:00Z")));
    let mut month = days[0].clone();
    month.spec.period = Period::Month;
    assert!(!is_outdated(&month, at("2029-01-01T00:00:00Z")));
}
