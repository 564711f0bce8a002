//! The gate's third act: after the days of trial, what a grant promised beside what happened; and what a department is
//! told about a system whose grant is too large.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tripod_crds::resource_request::{Delivery, Evaluation, UseLine, Utilisation};
use tripod_crds::supervision_policy::SupervisionPolicySpec;
use tripod_crds::utilisation_report::{Figures, UseVerdict};
use tripod_crds::{Approval, UtilisationReport};

use super::slot;
use crate::bilingual::both;
use crate::conditions::Verdict;
use crate::tenancy::Grant;

const DAY: i64 = 24;

/// Whose system it is.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub department: &'a str,
    pub request: &'a str,
}

/// What a request's status says of the window; nothing before there is a verdict.
#[must_use]
pub fn utilisation(
    report: &UtilisationReport,
    policy: &SupervisionPolicySpec,
    subject: Subject<'_>,
    now: Timestamp,
) -> Option<Utilisation> {
    let status = report.status.as_ref()?;
    let exempt = exemption(policy, subject, now);
    let days = SignedDuration::from_hours(DAY * policy.grace_days);
    let shrink_by = status.low_since.as_ref().filter(|_| exempt.is_none());
    Some(Utilisation {
        verdict: status.verdict?,
        policy: status.policy.clone()?,
        from: report.spec.from.clone(),
        to: report.spec.to.clone(),
        resources: lines(report),
        recommendations: status.recommendations.clone(),
        low_since: status.low_since.clone(),
        shrink_by: shrink_by.map(|since| Time(since.0.checked_add(days).unwrap_or(Timestamp::MAX))),
        exempt,
    })
}

fn lines(report: &UtilisationReport) -> std::collections::BTreeMap<String, UseLine> {
    let line = |figures: &Figures| UseLine {
        granted: figures.granted.clone(),
        requested: figures.requested.clone(),
        average: figures.average.clone(),
        peak: figures.peak.clone(),
        coverage: figures.coverage.clone(),
        verdict: figures.verdict,
    };
    let resources = report.status.iter().flat_map(|s| &s.resources);
    resources.map(|(name, figures)| (name.clone(), line(figures))).collect()
}

/// Why a system is left alone today.
fn exemption(policy: &SupervisionPolicySpec, subject: Subject<'_>, now: Timestamp) -> Option<String> {
    let today = slot::day(now, &slot::zone(&policy.utc_offset)).to_string();
    let applies = policy
        .exemptions
        .iter()
        .filter(|e| e.department == subject.department && e.request == subject.request && e.until >= today)
        .max_by_key(|e| e.until.clone())?;
    Some(format!("{} ({})", applies.reason, applies.until))
}

/// The condition `WellUsed` of a request, for people. `None` while nobody can say.
#[must_use]
pub fn well_used(utilisation: &Utilisation, now: Timestamp) -> Option<Verdict> {
    let asked: Vec<String> = utilisation
        .recommendations
        .iter()
        .map(|r| format!("{} {} → {}", r.resource, format!("{:?}", r.action).to_lowercase(), r.to.0))
        .collect();
    let list = asked.join(", ");
    Some(match utilisation.verdict {
        UseVerdict::Unknown => return None,
        UseVerdict::Fit => Verdict::yes("Fit", both("the grant is used as it should be", "资源使用合理")),
        UseVerdict::High => Verdict::no(
            "High",
            both(
                format!("the grant is used up; ask for more: {list}"),
                format!("资源使用率过高，请申请扩容：{list}"),
            ),
        ),
        UseVerdict::Low => {
            if let Some(reason) = &utilisation.exempt {
                let message =
                    both(format!("used little, and exempt: {reason}"), format!("使用率低，已豁免：{reason}"));
                return Some(Verdict::yes("Exempt", message));
            }
            let by = utilisation.shrink_by.as_ref().map_or(now, |t| t.0);
            let reason = if by <= now { "LowOverdue" } else { "Low" };
            Verdict::no(
                reason,
                both(
                    format!("used little; change the request by {by}, or have it exempted: {list}"),
                    format!("使用率低，请于 {by} 前变更申请，或申请豁免：{list}"),
                ),
            )
        }
    })
}

/// When a grant was approved, and when it could be used.
#[must_use]
pub fn delivery(
    grant: &Grant,
    approvals: &[Approval],
    before: Option<&Delivery>,
    is_ready: bool,
    now: Timestamp,
) -> Delivery {
    let whole = |moment: Timestamp| Time(Timestamp::from_second(moment.as_second()).unwrap_or(moment));
    let last = approvals.iter().filter_map(|a| a.metadata.creation_timestamp.clone()).max_by_key(|t| t.0);
    // A grant that is newer than what is known was approved a moment before.
    let known = before.filter(|d| d.delivered_at.as_ref().is_none_or(|at| at.0 >= whole(grant.at).0));
    let mut delivery = known.cloned().unwrap_or_else(|| Delivery {
        approved_at: last.filter(|at| at.0 <= grant.at).unwrap_or_else(|| whole(grant.at)),
        delivered_at: None,
    });
    if is_ready && delivery.delivered_at.is_none() {
        delivery.delivered_at = Some(whole(now));
    }
    delivery
}

/// The evaluation of a grant, once, when its days of trial are over.
#[must_use]
pub fn evaluate(
    grant: &Grant,
    before: Option<&Evaluation>,
    delivery: Option<&Delivery>,
    utilisation: Option<&Utilisation>,
    trial_days: i64,
) -> Option<Evaluation> {
    let granted_at = Time(Timestamp::from_second(grant.at.as_second()).unwrap_or(grant.at));
    // What nobody could say may be said later; what was said stays.
    let is_final = |e: &&Evaluation| e.granted_at == granted_at && e.verdict != UseVerdict::Unknown;
    if let Some(known) = before.filter(is_final) {
        return Some(known.clone());
    }
    let utilisation = utilisation?;
    let over = grant.at.checked_add(SignedDuration::from_hours(DAY * trial_days)).ok()?;
    if utilisation.to.0 < over {
        return before.cloned();
    }
    let seconds = |d: &Delivery| Some(d.delivered_at.as_ref()?.0.duration_since(d.approved_at.0).as_secs());
    Some(Evaluation {
        granted_at,
        evaluated_at: utilisation.to.clone(),
        policy: utilisation.policy.clone(),
        verdict: utilisation.verdict,
        delivery_seconds: delivery.and_then(seconds),
        resources: utilisation.resources.clone(),
    })
}

#[cfg(test)]
#[path = "evaluation_tests.rs"]
mod tests;
