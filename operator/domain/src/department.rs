//! What a department gets: a home, walls and rights in all of its namespaces, and quotas that never add up to more than
//! its budget. And what it uses, beside what it asked for and was given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};
use tripod_crds::department::{BudgetForecast, Suspension};
use tripod_crds::{Cloud, Department};

use crate::conditions::Verdict;
use crate::ledger::{self, Amounts, Entry, Ledger};
use crate::namespace::{self, ADOPTED, Namespace, Rights, SCALED};
use crate::tenancy::{DEPARTMENT, home};
use crate::utilisation::Readings;

pub use status::{again, free, status, usage};

#[path = "department_status.rs"]
mod status;

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    pub department: Department,
    /// The operator's own namespace: movers may talk to it, approvals are given in it.
    pub operator_namespace: String,
    /// The namespaces with the department's label.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Of the home and those to be adopted: what exists under that name without the department's label.
    pub unlabelled: BTreeMap<String, Unlabelled>,
    /// Namespaces of the ledger that were looked for and don't exist.
    pub gone: BTreeSet<String>,
    /// What was read last, by namespace, or why nothing could be read.
    pub usage: Result<BTreeMap<String, Readings>, String>,
    /// How the budget will do, by resource.
    pub forecast: BTreeMap<String, BudgetForecast>,
    /// All other clouds. Shared: each holds what every department has there.
    pub clouds: Vec<Arc<Cloud>>,
}

/// A namespace that is not the department's, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlabelled {
    pub version: String,
    /// Whose it is.
    pub department: Option<String>,
}

/// What to do, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The description can't be followed: nothing else is done.
    pub invalid: Option<Verdict>,
    /// Namespaces that are wanted and can't be had; everything else goes on.
    pub taken: Vec<Verdict>,
    pub create: Vec<Value>,
    /// Merge patches of namespaces, by name; with the version if only that may be changed.
    pub patch: Vec<(String, Option<String>, Value)>,
    pub ledger: ledger::Plan,
    pub apply: Vec<Value>,
    /// Role bindings: namespace, name, uid.
    pub revoke: Vec<(String, String, String)>,
    /// Scale to zero (true) or back.
    pub scale: Vec<(String, bool)>,
    /// Ended, out of grace, and asked to be deleted: name, uid, version.
    pub delete: Vec<(String, String, String)>,
}

/// Names that no department ever gets.
fn is_of_the_platform(namespace: &str, operator: &str) -> bool {
    namespace == "default"
        || namespace == operator
        || namespace.starts_with("kube-")
        || namespace.starts_with("dept-")
}

/// Pure, total.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let spec = &seen.department.spec;
    let read = |field: &str, of| ledger::read(field, of).err();
    let adoptions = spec.adopt.iter().enumerate();
    let wrong = read("spec.budget", &spec.budget).or_else(|| read("spec.home", &spec.home)).or_else(|| {
        adoptions.clone().find_map(|(i, a)| read(&format!("spec.adopt[{i}].resources"), &a.resources))
    });
    if let Some(message) = wrong {
        plan.invalid = Some(Verdict::no("InvalidBudget", message));
        return plan;
    }
    have_home(seen, &mut plan);
    for (i, adoption) in adoptions {
        adopt(seen, i, &adoption.namespace, &mut plan);
    }
    plan.ledger = ledger::plan(&ledger_seen(seen));
    for (name, namespace) in seen.namespaces.iter().filter(|(_, n)| !n.deleting) {
        keep(seen, name, namespace, now, &mut plan);
    }
    plan
}

fn name_of(seen: &Observed) -> String {
    seen.department.metadata.name.clone().unwrap_or_default()
}

fn have_home(seen: &Observed, plan: &mut Plan) {
    let (department, name) = (name_of(seen), home(&name_of(seen)));
    if seen.namespaces.contains_key(&name) {
        return;
    }
    match seen.unlabelled.get(&name) {
        None => plan.create.push(namespace::manifest(&seen.department, &name, &json!({}), &json!({}))),
        Some(_) => plan.taken.push(Verdict::no("NamespaceNotOurs", format!(
            "namespace {name} exists and is not this department's; to adopt it: kubectl label namespace {name} {DEPARTMENT}={department}"))),
    }
}

fn adopt(seen: &Observed, index: usize, name: &str, plan: &mut Plan) {
    let field = format!("spec.adopt[{index}].namespace");
    if is_of_the_platform(name, &seen.operator_namespace) {
        plan.taken.push(Verdict::no("NamespaceNotAdoptable", format!("{field}: {name} is the platform's")));
    } else if !seen.namespaces.contains_key(name) {
        match seen.unlabelled.get(name) {
            None => plan
                .taken
                .push(Verdict::no("NamespaceNotFound", format!("{field}: there is no namespace {name}"))),
            Some(Unlabelled { department: Some(other), .. }) => plan.taken.push(Verdict::no(
                "NamespaceTaken",
                format!("{field}: {name} is department {other}'s; remove it from one of the two"),
            )),
            // Only as it was seen: of two departments that adopt it at once, one comes too late.
            Some(Unlabelled { version, .. }) => {
                let mut patch = json!({"metadata": {"resourceVersion": version,
                    "labels": {DEPARTMENT: name_of(seen)}, "annotations": {ADOPTED: "true"}}});
                if let Some(Value::Object(all)) =
                    namespace::metadata_patch(&seen.department, &Namespace::default(), false)
                        .map(|mut p| p["metadata"].take())
                {
                    for (part, values) in all {
                        let values = values.as_object().cloned().unwrap_or_default();
                        if let Some(target) = patch["metadata"][&part].as_object_mut() {
                            target.extend(values);
                        }
                    }
                }
                plan.patch.push((name.to_owned(), Some(version.clone()), patch));
            }
        }
    }
}

/// What the ledger decides from.
#[must_use]
pub fn ledger_seen(seen: &Observed) -> ledger::Seen {
    let spec = &seen.department.spec;
    let status = seen.department.status.clone().unwrap_or_default();
    let entry = |entry: &tripod_crds::department::LedgerEntry| Entry {
        reserved: ledger::read("", &entry.reserved).unwrap_or_default(),
        promise: entry.promise.clone(),
    };
    ledger::Seen {
        budget: ledger::read("", &spec.budget).unwrap_or_default(),
        version: seen.department.metadata.resource_version.clone().unwrap_or_default(),
        ledger: status.ledger.iter().map(|(name, e)| (name.clone(), entry(e))).collect::<Ledger>(),
        namespaces: seen
            .namespaces
            .iter()
            .map(|(name, n)| (name.clone(), ledger_namespace(seen, name, n)))
            .collect(),
        gone: seen.gone.clone(),
    }
}

fn ledger_namespace(seen: &Observed, name: &str, namespace: &Namespace) -> ledger::Namespace {
    let adoption = seen.department.spec.adopt.iter().find(|a| a.namespace == name);
    let grant = namespace.grant();
    let given: Option<&BTreeMap<String, Quantity>> = if *name == home(&name_of(seen)) {
        Some(&seen.department.spec.home)
    } else {
        adoption.map(|a| &a.resources).or_else(|| grant.as_ref().map(|g| &g.resources))
    };
    let wanted = if namespace.ended_at().is_some() {
        // What is kept, counts; nothing more is to come.
        Some(Amounts::new())
    } else {
        given.and_then(|given| ledger::read("", given).ok())
    };
    ledger::Namespace {
        wanted: wanted.filter(|_| !namespace.deleting),
        adopted: namespace.is_adopted(),
        since: grant.map_or(0, |g| g.since.as_second()),
        quota: namespace.quota.clone(),
    }
}

/// Keeps metadata, walls and rights of one namespace as they have to be.
fn keep(seen: &Observed, name: &str, namespace: &Namespace, now: Timestamp, plan: &mut Plan) {
    let ended = namespace.ended_at();
    if let (Some(ended), Some(grant)) = (ended, namespace.grant())
        && crate::term::is_to_be_deleted(&grant, ended, now)
    {
        plan.delete.push((name.to_owned(), namespace.uid.clone(), namespace.version.clone()));
        return;
    }
    if let Some(patch) = namespace::metadata_patch(&seen.department, namespace, ended.is_some()) {
        plan.patch.push((name.to_owned(), None, patch));
    }
    let to_zero = namespace::suspension(&seen.department, ended.is_some()) == Suspension::ScaledToZero;
    let is_scaled = namespace.annotations.contains_key(SCALED);
    if to_zero != is_scaled {
        plan.scale.push((name.to_owned(), to_zero));
    }
    // Rights are given when the quota is enforced, and not taken back because it is being changed.
    let members = namespace.has_rights() || namespace.quota.as_ref().is_some_and(ledger::Quota::is_enforced);
    let rights = Rights { members, scaler: to_zero || is_scaled };
    let children = namespace::children(&seen.department, name, rights, &seen.operator_namespace);
    let wanted: BTreeMap<_, _> = children.iter().map(namespace::identity).collect();
    for (key, child) in &namespace.children {
        if key.0 == "RoleBinding" && !child.applied.is_empty() && !wanted.contains_key(key) {
            let at = if key.1.starts_with("tripod-approver-") { &seen.operator_namespace } else { name };
            plan.revoke.push((at.to_owned(), key.1.clone(), child.uid.clone()));
        }
    }
    plan.apply.extend(children.into_iter().filter(|child| {
        let (key, hash) = namespace::identity(child);
        namespace.children.get(&key).is_none_or(|seen| seen.applied != hash)
    }));
}

/// When a quota that is not enforced is reported.
const STALLED: SignedDuration = SignedDuration::from_secs(60);

/// Namespaces whose quota was written long ago and is not enforced yet.
#[must_use]
pub fn stalled(seen: &Observed, now: Timestamp) -> Vec<&str> {
    let late = |n: &&Namespace| {
        n.quota.as_ref().is_some_and(|q| !q.is_enforced())
            && n.quota_written_at + STALLED.as_secs() < now.as_second()
    };
    seen.namespaces.iter().filter(|(_, n)| late(n) && !n.deleting).map(|(name, _)| name.as_str()).collect()
}

#[cfg(test)]
#[path = "department_tests.rs"]
mod tests;
