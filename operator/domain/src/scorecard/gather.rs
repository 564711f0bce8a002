//! A scorecard out of what the API server knows: the month's report of the department's home, its requests, its drills.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tripod_crds::department::{OffCloudReason, Outlook};
use tripod_crds::disaster_recovery_drill::DrillPhase;
use tripod_crds::resource_request::Phase;
use tripod_crds::supervision_policy::SupervisionPolicySpec;
use tripod_crds::utilisation_report::{Figures, UseVerdict};
use tripod_crds::{Department, DisasterRecoveryDrill, ResourceRequest, UtilisationReport};

use super::{
    Deliveries, Drill, Hardware, LastDrill, Month, Overdue, Place, Policy, Resource, Scorecard, System,
    Thresholds, Usage,
};
use crate::explain::Line;
use crate::forecast::Forecast;
use crate::utilisation::{Measured, report, slot};
use crate::{conditions, disaster_recovery_drill, duration, ledger, quantity};

/// What is gathered. Drills by the namespace of their system; a namespace that is missing could not be read.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    pub department: &'a Department,
    /// Of the home, over the month; absent when none was written.
    pub report: Option<&'a UtilisationReport>,
    pub requests: &'a [ResourceRequest],
    pub drills: BTreeMap<String, Vec<DisasterRecoveryDrill>>,
    pub policy: Option<&'a SupervisionPolicySpec>,
}

/// How long people may take to provision what was approved, and to approve what was asked for.
const DELIVERED_WITHIN: SignedDuration = SignedDuration::from_hours(24);
const APPROVED_WITHIN: SignedDuration = SignedDuration::from_hours(72);

/// The scorecard of a month, as of `now`.
#[must_use]
pub fn gather(sources: &Sources<'_>, month: Month, now: Timestamp) -> Scorecard {
    let offset = sources.policy.map_or("+08:00", |p| p.utc_offset.as_str());
    let zone = slot::zone(offset);
    let first = Date::new(month.year, month.month, 1).unwrap_or_default();
    let span = report::month(first, &zone);
    let runs = span.from <= now && now < span.to;
    let systems = sources.requests.iter().filter(|r| is_system(r));
    let elsewhere = sources.department.spec.off_cloud.iter().map(off_cloud);
    Scorecard {
        department: sources.department.name_any(),
        display_name: sources.department.spec.display_name.clone(),
        month,
        generated_at: now,
        resources: Resource::ALL.into_iter().filter_map(|r| Some((r, usage(sources, r, runs)?))).collect(),
        policy: policy(sources.policy),
        deliveries: Some(deliveries(sources.requests, span)),
        overdue: Some(sources.requests.iter().filter_map(|r| overdue(r, now)).collect()),
        systems: Some(systems.map(|r| system(sources, r, &zone)).chain(elsewhere).collect()),
        hardware: hardware(sources.requests),
    }
}

fn is_system(request: &ResourceRequest) -> bool {
    request.status.as_ref().is_some_and(|s| s.granted.is_some() && s.phase != Some(Phase::Ended))
}

fn measured(resource: Resource) -> Measured {
    match resource {
        Resource::Cpu => Measured::Cpu,
        Resource::Memory => Measured::Memory,
        Resource::Storage => Measured::Storage,
        Resource::Gpu => Measured::Gpu,
    }
}

/// Absent where the budget does not bound it and nothing was measured.
fn usage(sources: &Sources<'_>, resource: Resource, runs: bool) -> Option<Usage> {
    let measured = measured(resource);
    let figures = sources.report.and_then(|r| r.status.as_ref()?.resources.get(measured.name()));
    let budget = ledger::read("", &sources.department.spec.budget).unwrap_or_default();
    let bound = measured.bounded_by(&budget);
    if figures.is_none() && bound.is_none() {
        return None;
    }
    let amount = |of: fn(&Figures) -> &Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
        quantity::parse(of(figures?).as_ref()?).ok()
    };
    let status = sources.department.status.as_ref();
    // What is committed is known as of now, and of no other time.
    let committed = || quantity::parse(status?.budget.get(bound?)?.committed.as_ref()?).ok();
    let share = |f: &Figures| u32::try_from(f.readings * 10_000 / f.of.max(1)).unwrap_or(0);
    Some(Usage {
        budget: amount(|f| &f.budget).or_else(|| measured.of(&budget)),
        committed: runs.then(committed).flatten(),
        granted: amount(|f| &f.granted),
        requested: amount(|f| &f.requested),
        used_average: amount(|f| &f.average),
        used_p95: amount(|f| &f.p95),
        used_peak: amount(|f| &f.peak),
        coverage: figures.map(share),
        forecast: runs.then(|| forecast(status?.forecast.get(bound?)?)).flatten(),
    })
}

fn forecast(of: &tripod_crds::department::BudgetForecast) -> Option<Forecast> {
    let days = |days: Option<i64>| days.and_then(|d| u32::try_from(d).ok());
    match of.outlook {
        Outlook::TooLittleData => None,
        Outlook::Sufficient => Some(Forecast::Never),
        Outlook::Exhausted => Some(Forecast::Exhausted),
        Outlook::Exhausting => Some(Forecast::InDays {
            likely: days(of.likely_days)?,
            earliest: days(of.earliest_days)?,
            latest: days(of.latest_days),
        }),
    }
}

fn policy(spec: Option<&SupervisionPolicySpec>) -> Policy {
    let Some(spec) = spec else {
        return Policy {
            source: Line::new("no supervision policy", "无监管策略"),
            dated: Date::ZERO,
            thresholds: BTreeMap::new(),
            least_coverage: 10_000,
        };
    };
    let points = |percent: i64| u32::try_from(percent * 100).unwrap_or(0);
    let thresholds = Resource::ALL.into_iter().filter_map(|resource| {
        let threshold = spec.thresholds.get(measured(resource).name())?;
        let (high_above, low_below) = (points(threshold.high_average), points(threshold.low_average));
        Some((resource, Thresholds { high_above, low_below }))
    });
    Policy {
        source: Line::same(&spec.source.title),
        dated: spec.source.effective.parse().unwrap_or(Date::ZERO),
        thresholds: thresholds.collect(),
        least_coverage: points(spec.minimum_coverage),
    }
}

/// Of the systems that were delivered in the month.
fn deliveries(requests: &[ResourceRequest], span: report::Span) -> Deliveries {
    let waited = |request: &ResourceRequest| {
        let delivery = request.status.as_ref()?.delivery.as_ref()?;
        let delivered = delivery.delivered_at.as_ref()?.0;
        let within = span.from <= delivered && delivered < span.to;
        within.then(|| u64::try_from(delivered.duration_since(delivery.approved_at.0).as_secs()).unwrap_or(0))
    };
    Deliveries::sort(requests.iter().filter_map(waited))
}

fn overdue(request: &ResourceRequest, now: Timestamp) -> Option<Overdue> {
    let status = request.status.as_ref()?;
    let since = |kind: &str, wanted: &str| {
        let condition = conditions::find(&status.conditions, kind).filter(|c| c.status == wanted)?;
        Some(condition.last_transition_time.0)
    };
    let late = |since: Timestamp, within: SignedDuration| now.duration_since(since) > within;
    let (phase, since) = match status.phase? {
        Phase::Provisioning => {
            ("Provisioning", since("Approved", "True").filter(|s| late(*s, DELIVERED_WITHIN))?)
        }
        Phase::AwaitingApproval => {
            ("AwaitingApproval", since("Assessed", "True").filter(|s| late(*s, APPROVED_WITHIN))?)
        }
        _ => {
            let shrink_by = status.utilisation.as_ref()?.shrink_by.as_ref()?.0;
            ("Shrink", Some(shrink_by).filter(|by| *by < now)?)
        }
    };
    Some(Overdue { request: request.name_any(), phase: phase.to_owned(), since })
}

fn system(sources: &Sources<'_>, request: &ResourceRequest, zone: &TimeZone) -> System {
    let (spec, status) = (&request.spec, request.status.as_ref());
    let namespace = status.and_then(|s| s.namespace.clone());
    let verdict = status.and_then(|s| s.utilisation.as_ref()).map(|u| u.verdict);
    let drills = namespace.as_ref().and_then(|n| sources.drills.get(n));
    System {
        display_name: spec.system.display_name.clone(),
        security_level: u8::try_from(spec.system.security_level).ok(),
        zone: Some(spec.zone.unwrap_or(sources.department.spec.zone)),
        place: Place::OnCloud,
        verdict: verdict.and_then(verdict_name),
        recovery_level: u8::try_from(spec.recovery_level).ok(),
        last_drill: drills.map_or(LastDrill::Unknown, |drills| last_drill(drills, zone)),
        forecast: None,
        namespace,
    }
}

fn verdict_name(verdict: UseVerdict) -> Option<Line> {
    match verdict {
        UseVerdict::Low => Some(Line::new("Low", "使用率低")),
        UseVerdict::Fit => Some(Line::new("Fit", "合理")),
        UseVerdict::High => Some(Line::new("High", "使用率高")),
        UseVerdict::Unknown => None,
    }
}

fn off_cloud(system: &tripod_crds::department::OffCloud) -> System {
    let place = match system.reason {
        OffCloudReason::NotYet => Place::OffCloud,
        OffCloudReason::Classified => Place::Exempt { reason: "涉密 classified".to_owned() },
        OffCloudReason::HighLevel => {
            Place::Exempt { reason: "等保四级及以上 level 4 and up".to_owned() }
        }
    };
    System {
        display_name: system.display_name.clone(),
        namespace: None,
        security_level: u8::try_from(system.security_level).ok(),
        zone: None,
        place,
        verdict: None,
        recovery_level: None,
        last_drill: LastDrill::Unknown,
        forecast: None,
    }
}

fn last_drill(drills: &[DisasterRecoveryDrill], zone: &TimeZone) -> LastDrill {
    let ended = drills.iter().filter_map(|d| Some((disaster_recovery_drill::concluded(d)?, d)));
    let Some(((at, passed), drill)) = ended.max_by_key(|((at, _), _)| *at) else {
        let runs = drills.iter().any(|d| {
            !matches!(disaster_recovery_drill::phase_of(d), DrillPhase::Succeeded | DrillPhase::Failed)
        });
        return if runs { LastDrill::Unknown } else { LastDrill::Never };
    };
    let seconds = |text: &str| duration::parse(text).ok().and_then(|d| u64::try_from(d.as_secs()).ok());
    let status = drill.status.as_ref();
    LastDrill::On(Drill {
        date: slot::day(at, zone),
        passed,
        rpo_seconds: status.and_then(|s| seconds(s.rpo.as_ref()?)),
        rto_seconds: status.and_then(|s| seconds(&s.rto.as_ref()?.total)),
    })
}

/// Components of the systems' forms; where no system names any, nothing is known.
fn hardware(requests: &[ResourceRequest]) -> Hardware {
    let components = || requests.iter().filter(|r| is_system(r)).flat_map(|r| &r.spec.components);
    if components().next().is_none() {
        return Hardware::default();
    }
    let count = |domestic: bool| {
        let some = components().filter(move |c| c.domestic == domestic);
        some.map(|c| u64::try_from(c.count).unwrap_or(0)).sum::<u64>()
    };
    Hardware { domestic: Some(count(true)), other: Some(count(false)) }
}
