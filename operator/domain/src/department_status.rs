//! What a department's status says.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tripod_crds::DepartmentStatus;
use tripod_crds::department::{BudgetLine, Suspension};

use super::{Observed, Plan, home, ledger_seen, name_of, stalled};
use crate::cloud;
use crate::conditions::{self, Verdict};
use crate::ledger::{self, Amounts};
use crate::namespace::Namespace;
use crate::quantity;
use crate::utilisation::{self, Measured, Readings};

/// When to look again although nobody called: once an hour, and soon while a quota waits to be enforced, since a quota
/// controller that stalls tells nobody.
#[must_use]
pub fn again(seen: &Observed, plan: &Plan) -> SignedDuration {
    let waits = |n: &Namespace| n.quota.as_ref().is_some_and(|q| !q.is_enforced());
    // What could not be had may be had later: a namespace that is to be adopted, a quota that was refused.
    if !plan.scale.is_empty() {
        SignedDuration::from_secs(2)
    } else if seen.namespaces.values().any(waits) || !plan.taken.is_empty() || !plan.ledger.refused.is_empty()
    {
        SignedDuration::from_secs(30)
    } else {
        SignedDuration::from_hours(1)
    }
}

/// The status that follows; the ledger in it stays empty, since another writer owns that.
#[must_use]
pub fn status(
    seen: &Observed,
    plan: &Plan,
    applied: &Result<(), String>,
    now: Timestamp,
) -> DepartmentStatus {
    let generation = seen.department.metadata.generation;
    let mut status = seen.department.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    status.ledger = BTreeMap::new();
    let home = home(&name_of(seen));
    status.systems = i64::try_from(seen.namespaces.keys().filter(|name| **name != home).count()).ok();
    if seen.namespaces.contains_key(&home) {
        status.namespace = Some(home.clone());
    }
    status.budget = budget(seen);
    status.clouds = cloud::shares(&name_of(seen), seen.clouds.iter().map(AsRef::as_ref), now);
    status.total = cloud::total(&status.budget, &status.clouds);
    status.forecast.clone_from(&seen.forecast);
    let conditions = [
        ("Ready", ready(seen, plan, applied, &home)),
        ("WithinBudget", within_budget(&status.budget)),
        ("QuotaEnforced", enforced(seen, now)),
        ("UsageMeasured", measured(seen)),
    ];
    for (kind, verdict) in conditions {
        conditions::set(&mut status.conditions, kind, &verdict, generation, now);
    }
    status
}

fn ready(seen: &Observed, plan: &Plan, applied: &Result<(), String>, home: &str) -> Verdict {
    if let Some(verdict) = plan.invalid.as_ref().or(plan.taken.first()) {
        return verdict.clone();
    }
    if let Err(error) = applied {
        return Verdict::no("NotApplied", error);
    }
    let Some(namespace) = seen.namespaces.get(home) else {
        return Verdict::no("Provisioning", format!("namespace {home} is being made"));
    };
    if !namespace.quota.as_ref().is_some_and(ledger::Quota::is_enforced) && !namespace.has_rights() {
        return Verdict::no(
            "AwaitingQuota",
            format!("the quota of {home} is not enforced yet; members get their rights then"),
        );
    }
    if plan.apply.is_empty()
        && plan.patch.is_empty()
        && plan.create.is_empty()
        && plan.ledger.quotas.is_empty()
    {
        return match seen.department.spec.suspension {
            Suspension::None => {
                Verdict::yes("Provisioned", "namespaces, rights, quotas and walls are in place")
            }
            Suspension::Cordoned => Verdict::yes("Cordoned", "nothing new is accepted; what runs goes on"),
            Suspension::ScaledToZero if plan.scale.is_empty() => Verdict::yes(
                "ScaledToZero",
                "all workloads are scaled to zero; spec.suspension: None gives them back",
            ),
            Suspension::ScaledToZero => Verdict::no("ScalingToZero", "workloads are being scaled to zero"),
        };
    }
    // It was written in this pass, and is seen in the next.
    conditions::find(&seen.department.status.clone().unwrap_or_default().conditions, "Ready")
        .filter(|ready| ready.status == "True")
        .map_or_else(
            || Verdict::no("Provisioning", "namespaces, rights, quotas and walls are being made"),
            |ready| Verdict::yes(ready.reason.clone(), ready.message.clone()),
        )
}

fn within_budget(budget: &BTreeMap<String, BudgetLine>) -> Verdict {
    let over: Vec<String> = budget
        .iter()
        .filter_map(|(resource, line)| Some(format!("{resource} by {}", line.over.as_ref()?.0)))
        .collect();
    if over.is_empty() {
        return Verdict::yes("Fits", "what is committed fits into spec.budget");
    }
    let what = over.join(", ");
    Verdict::no(
        "OverCommitted",
        format!(
            "spec.budget is exceeded: {what}. Nothing is evicted, and nothing is granted until it fits: raise the budget, or shrink or end systems"
        ),
    )
}

fn enforced(seen: &Observed, now: Timestamp) -> Verdict {
    let stalled = stalled(seen, now);
    match stalled.first() {
        None => Verdict::yes("Enforced", "every quota is enforced, or was written within the last minute"),
        Some(first) => Verdict::no(
            "QuotaControllerStalled",
            format!(
                "{} quotas were written more than a minute ago and are not enforced, {first} for one; is kube-controller-manager alive?",
                stalled.len()
            ),
        ),
    }
}

fn measured(seen: &Observed) -> Verdict {
    let unknown = match &seen.usage {
        Err(why) => Some(why.clone()),
        Ok(all) => seen.namespaces.keys().find_map(|n| match all.get(n).map(|r| r.get(&Measured::Cpu)) {
            Some(Some(Ok(_))) => None,
            Some(Some(Err(why))) => Some(why.clone()),
            _ => Some(format!("{n} has no reading yet")),
        }),
    };
    unknown.map_or_else(
        || Verdict::yes("AllPodsRead", "every running pod has a reading"),
        |why| Verdict::no("Unknown", why),
    )
}

/// All that is known of a resource, side by side.
fn budget(seen: &Observed) -> BTreeMap<String, BudgetLine> {
    let all = ledger_seen(seen);
    let used = usage(seen);
    let requested = |resource: &str| {
        let quotas =
            seen.namespaces.values().map(|n| n.quota.as_ref()?.used.as_ref()?.get(resource).copied());
        quotas.sum::<Option<i128>>().filter(|_| !seen.namespaces.is_empty())
    };
    let line = |(resource, budget): (&String, &Quantity)| {
        let committed = ledger::committed(&all.ledger, &all.namespaces, resource);
        let over = committed.map(|c| c - all.budget.get(resource).copied().unwrap_or(0)).filter(|o| *o > 0);
        let line = BudgetLine {
            budget: budget.clone(),
            committed: committed.map(quantity::exact),
            requested: requested(resource).map(quantity::exact),
            used: used_of(resource, &used),
            over: over.map(quantity::exact),
        };
        (resource.clone(), line)
    };
    seen.department.spec.budget.iter().map(line).collect()
}

/// The sum over the department's namespaces; one that is unknown makes it unknown.
#[must_use]
pub fn usage(seen: &Observed) -> Readings {
    let Ok(all) = &seen.usage else { return Readings::new() };
    utilisation::sum(&seen.namespaces.keys().map(|name| (name.as_str(), all.get(name))))
}

/// What of the use a resource of the budget bounds, rounded to what people read.
fn used_of(resource: &str, usage: &Readings) -> Option<Quantity> {
    let (measured, write): (Measured, fn(i128) -> Quantity) = match resource {
        "requests.cpu" | "limits.cpu" | "cpu" => (Measured::Cpu, quantity::millicores),
        "requests.memory" | "limits.memory" | "memory" => (Measured::Memory, quantity::mebibytes),
        "requests.storage" => (Measured::Storage, quantity::mebibytes),
        gpu if gpu.ends_with("/gpu") => (Measured::Gpu, quantity::millicores),
        _ => return None,
    };
    Some(write(usage.get(&measured)?.as_ref().ok().copied()?))
}

/// What of the budget is not committed, by resource; a resource of which a commitment is unknown is absent.
#[must_use]
pub fn free(seen: &ledger::Seen) -> Amounts {
    let free = |(resource, budget): (&String, &i128)| {
        Some((resource.clone(), budget - ledger::committed(&seen.ledger, &seen.namespaces, resource)?))
    };
    seen.budget.iter().filter_map(free).collect()
}
