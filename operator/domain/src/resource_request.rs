//! The project gate: assess before, control during, evaluate after. A request becomes a namespace with a grant in it when
//! its spec, by hash, has passed every check and has the approvals that its class needs. A change is another spec: until
//! it is approved, the grant before it stays in force. The namespace's annotation is the only record of a grant.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::{Value, json};
use tripod_crds::resource_request::{Check, CheckResult};
use tripod_crds::supervision_policy::SupervisionPolicySpec;
use tripod_crds::utilisation_report::UseVerdict;
use tripod_crds::{Approval, Department, RequestClass, ResourceRequest, UtilisationReport};

use crate::approvals::{self, Tally};
use crate::assessment::{self, Evidence};
use crate::ledger::{self, Amounts};
use crate::namespace::{self, Namespace};
use crate::spec_hash;
use crate::tenancy::{self, DEPARTMENT, ENDED, GRANT, Grant, REQUEST};
use crate::term;

pub use status::{News, delivered, news, status};

#[path = "resource_request_status.rs"]
mod status;

/// Keeps a request until its system's end is recorded.
pub const FINALIZER: &str = "tripod.cloud/exit";
/// Annotation of a system's namespace: hash of the protection that was applied in it.
pub const PROTECTION: &str = "tripod.cloud/protection";

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    pub request: ResourceRequest,
    /// The department whose home the request is in.
    pub department: Option<Department>,
    pub classes: Vec<RequestClass>,
    pub approvals: Vec<Approval>,
    /// Whether the admission policy that proves who approves is in place.
    pub guarded: bool,
    pub system: System,
    /// What of the budget this request may have, its own commitment included; a resource whose commitments are unknown
    /// is absent.
    pub free: Amounts,
    pub alike: Vec<String>,
    /// Over the window, of the whole department.
    pub department_use: Option<UtilisationReport>,
    /// Over the window, of this system.
    pub system_use: Option<UtilisationReport>,
    /// The policy under which use is judged, with its name.
    pub supervision: Option<(String, SupervisionPolicySpec)>,
    /// What the department's other requests were evaluated as.
    pub evaluated: Vec<(String, UseVerdict)>,
    pub centres: BTreeSet<String>,
    /// The centre where systems run.
    pub here: String,
    /// The definition of requests itself is being deleted: nobody asked for the system's end.
    pub definition_goes: bool,
}

/// What there is under the name of the system's namespace.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one of them lives at a time")]
pub enum System {
    Absent,
    /// It has another owner, who is named.
    Foreign(String),
    Ours(Namespace),
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    AddFinalizer,
    RemoveFinalizer,
    CreateNamespace(Value),
    PatchNamespace { name: String, patch: Value },
    Apply(Value),
}

/// What to do, and on what grounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub hash: String,
    pub checks: Vec<Check>,
    pub class: Option<String>,
    pub required: i64,
    pub tally: Tally,
    /// In force after the steps.
    pub grant: Option<Grant>,
}

/// The department's and the request's name.
fn names(seen: &Observed) -> (String, String) {
    let home = seen.request.namespace().unwrap_or_default();
    (tenancy::department_of_home(&home).unwrap_or_default().to_owned(), seen.request.name_any())
}

/// The name of the system's namespace.
#[must_use]
pub fn namespace_name(request: &ResourceRequest) -> Option<String> {
    let home = request.namespace()?;
    Some(tenancy::system(tenancy::department_of_home(&home)?, &request.name_any()))
}

/// The grant that stands: none where a system was given up before its term was over, which is asked for anew.
#[must_use]
pub fn standing(system: &System, now: Timestamp) -> Option<Grant> {
    let System::Ours(namespace) = system else { return None };
    let grant = namespace.grant()?;
    let given_up = namespace.ended_at().is_some() && term::end(&grant) > now;
    (!given_up).then_some(grant)
}

/// Pure, total.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Plan {
    let ours = if let System::Ours(namespace) = &seen.system { Some(namespace) } else { None };
    let mut plan = Plan {
        hash: spec_hash::of(&seen.request.spec).unwrap_or_default(),
        grant: standing(&seen.system, now),
        ..Plan::default()
    };
    if seen.request.metadata.deletion_timestamp.is_some() {
        plan.steps = farewell(seen, ours, now);
        return plan;
    }
    let Some(department) = &seen.department else { return plan };
    let (class, required) = approvals::class(&seen.request, &seen.classes);
    plan.class = class.map(ResourceExt::name_any);
    plan.required = required;
    if plan.grant.as_ref().is_some_and(|grant| grant.spec_hash == plan.hash) {
        plan.checks = seen.request.status.as_ref().map(|s| s.checks.clone()).unwrap_or_default();
    } else {
        plan.checks = assessment::assess(&evidence(seen, department));
        plan.tally = approvals::count(&seen.request, &plan.hash, &seen.approvals, now);
        if may_be_granted(seen, &plan) {
            grant(seen, department, ours, now, &mut plan);
            return plan;
        }
    }
    if let (Some(grant), Some(namespace)) = (&plan.grant, ours) {
        plan.steps = control(seen, grant, namespace, now);
        // Made again after its definition was: its end would go unnoticed.
        if !has_finalizer(&seen.request) {
            plan.steps.insert(0, Step::AddFinalizer);
        }
    }
    plan
}

fn evidence<'a>(seen: &'a Observed, department: &'a Department) -> Evidence<'a> {
    let (owner, request) = names(seen);
    let name = tenancy::system(&owner, &request);
    let namespace = match &seen.system {
        System::Foreign(whose) => {
            Err(format!("namespace {name} is {whose}'s; choose another name for the request"))
        }
        _ if name.len() > 63 => {
            Err(format!("namespace {name} would have {} characters; 63 are allowed", name.len()))
        }
        _ if name.starts_with("kube-") || name.starts_with("dept-") || name.starts_with("tripod-") => {
            Err(format!("namespace {name} would be the platform's; choose another name for the request"))
        }
        _ => Ok(name),
    };
    Evidence {
        request: &seen.request,
        department,
        free: seen.free.clone(),
        alike: seen.alike.clone(),
        department_use: seen.department_use.as_ref(),
        system_use: seen.system_use.as_ref(),
        evaluated: &seen.evaluated,
        namespace,
        centres: seen.centres.clone(),
        here: seen.here.clone(),
    }
}

/// Whether no check has failed.
#[must_use]
pub fn is_assessed(checks: &[Check]) -> bool {
    !checks.is_empty() && checks.iter().all(|check| check.result != CheckResult::Failed)
}

fn may_be_granted(seen: &Observed, plan: &Plan) -> bool {
    let given = i64::try_from(plan.tally.given.len()).unwrap_or(0);
    is_assessed(&plan.checks)
        && plan.tally.rejected.is_none()
        && given >= plan.required
        && (plan.required == 0 || seen.guarded)
}

fn grant(
    seen: &Observed,
    department: &Department,
    ours: Option<&Namespace>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let (owner, request) = names(seen);
    let spec = &seen.request.spec;
    let before = plan.grant.take();
    let grant = Grant {
        spec_hash: plan.hash.clone(),
        resources: spec.resources.clone(),
        since: before.map_or(now, |grant| grant.since),
        at: now,
        term: term::parse(&spec.term).unwrap_or(1),
        grace_days: spec.grace_days,
        after_term: spec.after_term,
    };
    let text = serde_json::to_string(&grant).unwrap_or_default();
    let name = tenancy::system(&owner, &request);
    if !has_finalizer(&seen.request) {
        plan.steps.push(Step::AddFinalizer);
    }
    plan.steps.push(match ours {
        None => Step::CreateNamespace(namespace::manifest(
            department,
            &name,
            &json!({REQUEST: request, DEPARTMENT: owner}),
            &json!({GRANT: text}),
        )),
        Some(namespace) => Step::PatchNamespace {
            name,
            patch: only_this(namespace, &json!({GRANT: text, ENDED: Value::Null})),
        },
    });
    plan.grant = Some(grant);
}

fn has_finalizer(request: &ResourceRequest) -> bool {
    request.finalizers().iter().any(|f| f == FINALIZER)
}

/// A change of annotations of exactly the namespace that was seen.
fn only_this(seen: &Namespace, annotations: &Value) -> Value {
    json!({"metadata": {"uid": seen.uid, "resourceVersion": seen.version, "annotations": annotations}})
}

/// While a grant is in force: its end, and the protection that it brought.
fn control(seen: &Observed, grant: &Grant, namespace: &Namespace, now: Timestamp) -> Vec<Step> {
    let (owner, request) = names(seen);
    let name = tenancy::system(&owner, &request);
    if term::end(grant) <= now {
        if namespace.ended_at().is_some() {
            return Vec::new();
        }
        let ended = json!({ENDED: term::end(grant).to_string()});
        return vec![Step::PatchNamespace { patch: only_this(namespace, &ended), name }];
    }
    let hash = spec_hash::of(&seen.request.spec.protection).unwrap_or_default();
    let is_in_force = spec_hash::of(&seen.request.spec).is_ok_and(|h| h == grant.spec_hash);
    let Some(protection) = &seen.request.spec.protection else { return Vec::new() };
    if !is_in_force || namespace.annotations.get(PROTECTION) == Some(&hash) || !namespace.has_rights() {
        return Vec::new();
    }
    // Applied once a grant: from then on the department may change it.
    let policy = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "BackupPolicy",
        "metadata": {"name": request.get(..36).unwrap_or(&request).trim_end_matches('-'), "namespace": name,
            "labels": {DEPARTMENT: owner}},
        "spec": protection});
    vec![
        Step::Apply(policy),
        Step::PatchNamespace { name, patch: json!({"metadata": {"annotations": {PROTECTION: hash}}}) },
    ]
}

/// The end by deletion. That it ends is written down before the request goes; the data stays for the days of grace.
fn farewell(seen: &Observed, ours: Option<&Namespace>, now: Timestamp) -> Vec<Step> {
    if !has_finalizer(&seen.request) {
        return Vec::new();
    }
    let (owner, request) = names(seen);
    let mut steps = Vec::new();
    if let Some(namespace) = ours
        && !seen.definition_goes
        && namespace.ended_at().is_none()
    {
        let ended = json!({ENDED: now.to_string()});
        let name = tenancy::system(&owner, &request);
        steps.push(Step::PatchNamespace { name, patch: only_this(namespace, &ended) });
    }
    steps.push(Step::RemoveFinalizer);
    steps
}

/// Whether the quota enforces the whole grant.
#[must_use]
pub fn is_enforced(grant: &Grant, namespace: &Namespace) -> bool {
    let Ok(wanted) = ledger::read("", &grant.resources) else { return false };
    let enforces = |quota: &ledger::Quota| {
        quota.is_enforced()
            && wanted.iter().all(|(resource, amount)| quota.spec.get(resource) == Some(amount))
    };
    namespace.quota.as_ref().is_some_and(enforces)
}

/// When to look again without being called: the next moment of the term, or an approval's expiry.
#[must_use]
pub fn again(seen: &Observed, plan: &Plan, now: Timestamp) -> SignedDuration {
    let term = plan.grant.as_ref().map(|grant| term::next(grant, now));
    let expiries = seen.approvals.iter().filter_map(|a| a.spec.expires_at.as_ref().map(|t| t.0));
    let used = seen.request.status.as_ref().and_then(|s| s.utilisation.as_ref());
    let shrink_by = used.and_then(|u| u.shrink_by.as_ref()).map(|t| t.0);
    let next = expiries.chain(shrink_by).filter(|t| *t > now).chain(term).min();
    // Nothing wakes us when the policy is installed.
    let longest = if seen.guarded { SignedDuration::from_hours(6) } else { SignedDuration::from_secs(30) };
    next.map_or(longest, |next| next.duration_since(now).min(longest)).max(SignedDuration::from_secs(1))
}

#[cfg(test)]
#[path = "resource_request_tests.rs"]
pub(crate) mod tests;
