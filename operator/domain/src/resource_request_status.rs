//! What a request's status says, and what is told about it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tripod_crds::ResourceRequestStatus;
use tripod_crds::resource_request::{Approvals, CheckResult, Granted, Phase, Term};

use super::{Observed, Plan, System, is_assessed, is_enforced, names, namespace_name};
use crate::approvals::short;
use crate::bilingual::{append, both};
use crate::conditions::{self, Verdict};
use crate::ledger;
use crate::namespace::Namespace;
use crate::tenancy::Grant;
use crate::term;
use crate::utilisation::evaluation::{self, Subject};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub warning: bool,
    pub reason: String,
    pub message: String,
}

/// The status that follows.
#[must_use]
pub fn status(
    seen: &Observed,
    plan: &Plan,
    acted: &Result<(), String>,
    now: Timestamp,
) -> ResourceRequestStatus {
    let generation = seen.request.metadata.generation;
    let mut status = seen.request.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    status.spec_hash = Some(plan.hash.clone());
    status.namespace = namespace_name(&seen.request);
    status.class.clone_from(&plan.class);
    status.checks.clone_from(&plan.checks);
    let in_force = plan.grant.as_ref().is_some_and(|grant| grant.spec_hash == plan.hash);
    if !in_force || !plan.tally.given.is_empty() || status.approvals.is_none() {
        status.approvals = Some(Approvals {
            required: plan.required,
            given: plan.tally.given.clone(),
            ignored: plan.tally.ignored.clone(),
        });
    }
    status.granted = plan.grant.as_ref().map(|grant| Granted {
        spec_hash: grant.spec_hash.clone(),
        resources: grant.resources.clone(),
        at: whole(grant.at),
    });
    let system = if let System::Ours(namespace) = &seen.system { Some(namespace) } else { None };
    status.term = plan.grant.as_ref().map(|grant| term_of(grant, system, &status, now));
    let assessed = assessed(seen, plan);
    let approved = approved(seen, plan, &assessed);
    let ready = ready(seen, plan, system, [&assessed, &approved], acted, now);
    status.phase = Some(phase(plan, system, &assessed, &ready, now));
    for (kind, verdict) in [("Assessed", &assessed), ("Approved", &approved), ("Ready", &ready)] {
        conditions::set(&mut status.conditions, kind, verdict, generation, now);
    }
    if let Some(grant) = &plan.grant {
        conditions::set(&mut status.conditions, "TermEnding", &ending(grant, now), generation, now);
        let is_ready = ready.holds && in_force;
        let known = status.delivery.as_ref();
        status.delivery = Some(evaluation::delivery(grant, &seen.approvals, known, is_ready, now));
        supervise(&mut status, seen, grant, now);
    }
    status
}

/// The third act: how the grant is used, and what the days of trial have shown.
fn supervise(status: &mut ResourceRequestStatus, seen: &Observed, grant: &Grant, now: Timestamp) {
    let generation = seen.request.metadata.generation;
    let (department, request) = names(seen);
    let subject = Subject { department: &department, request: &request };
    let ended = matches!(&seen.system, System::Ours(namespace) if namespace.ended_at().is_some());
    let Some((_, policy)) = seen.supervision.as_ref().filter(|_| !ended) else {
        // Nobody judges it any more.
        status.utilisation = None;
        status.conditions.retain(|c| c.type_ != "WellUsed");
        return;
    };
    let window = seen.system_use.as_ref();
    status.utilisation = window.and_then(|w| evaluation::utilisation(w, policy, subject, now));
    let before = status.evaluation.take();
    let (delivery, used) = (status.delivery.as_ref(), status.utilisation.as_ref());
    status.evaluation = evaluation::evaluate(grant, before.as_ref(), delivery, used, policy.trial_days);
    match used.and_then(|used| evaluation::well_used(used, now)) {
        Some(verdict) => conditions::set(&mut status.conditions, "WellUsed", &verdict, generation, now),
        // Nobody can say any more.
        None => status.conditions.retain(|c| c.type_ != "WellUsed"),
    }
}

fn whole(moment: Timestamp) -> Time {
    Time(Timestamp::from_second(moment.as_second()).unwrap_or(moment))
}

fn term_of(
    grant: &Grant,
    system: Option<&Namespace>,
    before: &ResourceRequestStatus,
    now: Timestamp,
) -> Term {
    let mut warned = before.term.as_ref().map(|term| term.warned.clone()).unwrap_or_default();
    match term::warning(grant, now) {
        // A longer term begins anew.
        None => warned.clear(),
        Some(days) if !warned.contains(&days) => warned.push(days),
        Some(_) => {}
    }
    let ended = system.and_then(Namespace::ended_at).unwrap_or(term::end(grant));
    Term {
        started_at: whole(grant.since),
        ends_at: whole(term::end(grant)),
        kept_until: whole(term::kept_until(grant, ended)),
        warned,
    }
}

fn assessed(seen: &Observed, plan: &Plan) -> Verdict {
    if seen.department.is_none() {
        let message = both("this namespace is no department's home", "此命名空间不是任何部门的主命名空间");
        return Verdict::no("NoDepartment", message);
    }
    match plan.checks.iter().find(|check| check.result == CheckResult::Failed) {
        Some(check) => Verdict::no(check.name.clone(), check.message.clone()),
        None if plan.checks.is_empty() => {
            Verdict::yes("GrantedBefore", both("assessed when it was granted", "批准时已评估"))
        }
        None => Verdict::yes("AllChecksPassed", both("no check has failed", "全部检查通过")),
    }
}

fn approved(seen: &Observed, plan: &Plan, assessed: &Verdict) -> Verdict {
    let class = plan.class.as_deref().unwrap_or("none");
    if plan.grant.as_ref().is_some_and(|grant| grant.spec_hash == plan.hash) {
        return if plan.required == 0 {
            Verdict::yes(
                "AutoApproved",
                both(format!("class {class} needs nobody"), format!("类别 {class} 无须人工审批")),
            )
        } else {
            Verdict::yes("Approved", both("this spec is approved", "此规格已获批准"))
        };
    }
    if let Some(who) = &plan.tally.rejected {
        let message = both(
            format!("rejected by {who}; change the request to ask again"),
            format!("已被驳回：{who}；修改申请后可重新提交"),
        );
        return Verdict::no("Rejected", message);
    }
    if !assessed.holds {
        let message = both("the assessment comes first", "须先通过评估");
        return Verdict::no("NotAssessed", message);
    }
    let (given, needed, requester) = (plan.tally.given.len(), plan.required, &seen.request.spec.requester);
    if needed > 0 && !seen.guarded {
        let message = both(
            "the admission policy tripod-approvals is not in place, so nobody can tell who approves; the platform has to install policies/",
            "准入策略 tripod-approvals 未安装，无法确认审批人身份；须由平台安装",
        );
        return Verdict::no("ApprovalsUnguarded", message);
    }
    let by = if given == 0 { String::new() } else { format!(" ({})", plan.tally.given.join(", ")) };
    let reason = if given == 0 { "AwaitingApproval" } else { "AwaitingSecondApprover" };
    let english =
        format!("{given} of {needed}{by}; needs someone other than {requester} for {}", short(&plan.hash));
    let chinese = format!("已有 {given}/{needed}{by}；须由 {requester} 以外的人员审批");
    let message = both(english, chinese);
    Verdict::no(
        reason,
        plan.tally.ignored.first().map_or(message.clone(), |ignored| {
            let english = format!("; {} does not count: {}", ignored.name, ignored.reason);
            append(&message, &english, &format!("；{} 无效", ignored.name))
        }),
    )
}

fn ready(
    seen: &Observed,
    plan: &Plan,
    system: Option<&Namespace>,
    [assessed, approved]: [&Verdict; 2],
    acted: &Result<(), String>,
    now: Timestamp,
) -> Verdict {
    if let Err(error) = acted {
        return Verdict::no("NotApplied", both(error, "写入失败，将重试"));
    }
    if !approved.holds {
        let why = if assessed.holds { approved } else { assessed };
        let message = match &plan.grant {
            Some(_) => append(&why.message, "; the grant before it stays in force", "；原批准继续有效"),
            None => why.message.clone(),
        };
        return Verdict::no(why.reason.clone(), message);
    }
    let Some(grant) = &plan.grant else {
        return Verdict::no("Provisioning", both("approved", "已批准"));
    };
    if system.and_then(Namespace::ended_at).is_some() || term::end(grant) <= now {
        let message = both(
            "the term is over; workloads are stopped and data is kept until status.term.keptUntil",
            "期限已满；工作负载已停止，数据保留至 status.term.keptUntil",
        );
        return Verdict::no("TermOver", message);
    }
    let being_made = || both("namespace, quota and rights are being made", "正在创建命名空间、配额与权限");
    let Some(namespace) = system else { return Verdict::no("Provisioning", being_made()) };
    let Some(quota) = &namespace.quota else { return Verdict::no("Provisioning", being_made()) };
    if !is_enforced(grant, namespace) {
        return match exhausted(seen, grant, quota) {
            Some(resource) => {
                let english = format!("the budget has no room for all of {resource}; what fits is in force");
                Verdict::no("BudgetExhausted", both(english, format!("{resource} 预算不足；已生效部分可用")))
            }
            None if namespace.has_rights() => {
                Verdict::no("Changing", both("the quota is being changed", "正在变更配额"))
            }
            None => Verdict::no("Provisioning", being_made()),
        };
    }
    if !namespace.has_rights() {
        return Verdict::no("Provisioning", being_made());
    }
    Verdict::yes("Provisioned", both("the system's namespace can be used", "系统命名空间可用"))
}

/// The first resource of which the quota lacks more than is free.
fn exhausted<'a>(seen: &Observed, grant: &'a Grant, quota: &ledger::Quota) -> Option<&'a String> {
    let wanted = ledger::read("", &grant.resources).ok()?;
    let lacks = |(resource, wanted): &(String, i128)| {
        let has = quota.spec.get(resource).copied().unwrap_or(0);
        *wanted > has && seen.free.get(resource).is_some_and(|free| wanted > free)
    };
    let (resource, _) = wanted.into_iter().find(lacks)?;
    grant.resources.keys().find(|r| **r == resource)
}

fn ending(grant: &Grant, now: Timestamp) -> Verdict {
    let end = whole(term::end(grant)).0;
    if end <= now {
        return Verdict::yes("TermOver", both(format!("it ended at {end}"), format!("已于 {end} 到期")));
    }
    match term::warning(grant, now) {
        Some(days) => Verdict::yes(
            format!("EndsWithin{days}Days"),
            both(
                format!("it ends at {end}; ask for a longer spec.term to go on"),
                format!("将于 {end} 到期；如需续用请延长 spec.term"),
            ),
        ),
        None => Verdict::no("FarAway", both(format!("it ends at {end}"), format!("到期时间 {end}"))),
    }
}

fn phase(
    plan: &Plan,
    system: Option<&Namespace>,
    assessed: &Verdict,
    ready: &Verdict,
    now: Timestamp,
) -> Phase {
    if let Some(grant) = &plan.grant {
        if system.and_then(Namespace::ended_at).is_some() || term::end(grant) <= now {
            return Phase::Ended;
        }
        return match (ready.reason.as_str(), term::warning(grant, now)) {
            ("Provisioning", _) => Phase::Provisioning,
            (_, Some(_)) => Phase::Expiring,
            _ => Phase::Provisioned,
        };
    }
    if plan.tally.rejected.is_some() {
        return Phase::Rejected;
    }
    if assessed.holds && is_assessed(&plan.checks) { Phase::AwaitingApproval } else { Phase::Assessing }
}

/// Seconds from approval to delivery, when it has just been delivered.
#[must_use]
pub fn delivered(before: Option<&ResourceRequestStatus>, after: &ResourceRequestStatus) -> Option<i64> {
    let at = |s: &ResourceRequestStatus| s.delivery.as_ref()?.delivered_at.clone();
    let (delivery, now) = (after.delivery.as_ref()?, at(after)?);
    let is_news = before.and_then(at).as_ref() != Some(&now);
    is_news.then(|| now.0.duration_since(delivery.approved_at.0).as_secs())
}

/// What is worth an event: a reason of Ready that is new, and each warning once.
#[must_use]
pub fn news(before: Option<&ResourceRequestStatus>, after: &ResourceRequestStatus) -> Vec<News> {
    let reason = |status: &ResourceRequestStatus| {
        conditions::find(&status.conditions, "Ready").map(|c| c.reason.clone())
    };
    let mut news = Vec::new();
    if let Some(ready) = conditions::find(&after.conditions, "Ready")
        && before.and_then(reason).as_ref() != Some(&ready.reason)
        && !matches!(ready.reason.as_str(), "Provisioning" | "Changing")
    {
        let warning =
            !matches!(ready.reason.as_str(), "Provisioned" | "AwaitingApproval" | "AwaitingSecondApprover");
        news.push(News { warning, reason: ready.reason.clone(), message: ready.message.clone() });
    }
    let used = |status: &ResourceRequestStatus| {
        conditions::find(&status.conditions, "WellUsed").filter(|c| c.status == "False").cloned()
    };
    if let Some(badly) = used(after)
        && before.and_then(used).map(|b| b.reason).as_ref() != Some(&badly.reason)
    {
        news.push(News { warning: true, reason: format!("Use{}", badly.reason), message: badly.message });
    }
    if let Some(evaluation) = &after.evaluation
        && before
            .and_then(|b| b.evaluation.as_ref())
            .is_none_or(|b| (&b.granted_at, b.verdict) != (&evaluation.granted_at, evaluation.verdict))
    {
        let message = both(
            format!("the trial is over: {:?}; see status.evaluation", evaluation.verdict),
            format!("试运行期满：{:?}；详见 status.evaluation", evaluation.verdict),
        );
        news.push(News { warning: false, reason: "Evaluated".to_owned(), message });
    }
    let warned = |status: Option<&ResourceRequestStatus>| {
        status.and_then(|s| s.term.as_ref()).map(|t| t.warned.clone()).unwrap_or_default()
    };
    if warned(Some(after)).len() > warned(before).len()
        && let Some(ending) = conditions::find(&after.conditions, "TermEnding")
    {
        news.push(News { warning: true, reason: ending.reason.clone(), message: ending.message.clone() });
    }
    news
}
