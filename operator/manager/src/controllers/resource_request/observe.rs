//! Reads the index; asks the API server only for what is not a department's yet.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use tripod_crds::centre::CentreRole;
use tripod_crds::{Centre, Department, RequestClass, ResourceRequest};
use tripod_domain::department::{self, Observed as DepartmentObserved};
use tripod_domain::ledger::{self, Amounts};
use tripod_domain::resource_request::{Observed, System, namespace_name, standing};
use tripod_domain::spec_hash;
use tripod_domain::tenancy::{DEPARTMENT, department_of_home, home};
use tripod_domain::utilisation::report::WINDOW;
use tripod_domain::utilisation::verdict;

use crate::context::{Ctx, Error};
use crate::tenancy::namespace_of;

/// The policy that proves who approves, and its binding.
const GUARD: &str = "tripod-approvals";
const DEFINITION: &str = "resourcerequests.tripod.cloud";

pub(super) async fn observe(ctx: &Ctx, object: &ResourceRequest) -> Result<Observed, Error> {
    let home = object.namespace().unwrap_or_default();
    // A namespace that only reads like a home is nobody's.
    let is_home = ctx.tenancy.read().department_of(&home) == department_of_home(&home);
    let department = ctx.tenancy.department_at(&home).filter(|_| is_home);
    let deleting = object.metadata.deletion_timestamp.is_some();
    let system = system(ctx, object).await?;
    let grant = standing(&system, Timestamp::now());
    let in_force = grant.is_some_and(|grant| Some(grant.spec_hash) == spec_hash::of(&object.spec).ok());
    let mut seen = Observed {
        request: object.clone(),
        department: department.as_deref().cloned(),
        classes: ctx
            .classes
            .state()
            .iter()
            .map(|class: &std::sync::Arc<RequestClass>| (**class).clone())
            .collect(),
        approvals: Vec::new(),
        guarded: true,
        system,
        free: Amounts::new(),
        alike: Vec::new(),
        department_use: None,
        system_use: None,
        supervision: None,
        evaluated: Vec::new(),
        centres: BTreeSet::new(),
        here: ctx.centre.clone(),
        definition_goes: false,
    };
    if deleting {
        let definition =
            Api::<CustomResourceDefinition>::all(ctx.client.clone()).get_metadata_opt(DEFINITION).await?;
        seen.definition_goes = definition.is_none_or(|d| d.metadata.deletion_timestamp.is_some());
    } else if let Some(department) = &department {
        budget(ctx, department, &mut seen);
        supervision(ctx, &department.name_any(), &mut seen);
        if !in_force {
            track_record(ctx, &department.name_any(), &mut seen);
            evidence(ctx, &mut seen).await?;
        }
    }
    Ok(seen)
}

async fn system(ctx: &Ctx, object: &ResourceRequest) -> Result<System, Error> {
    let Some(name) = namespace_name(object) else { return Ok(System::Absent) };
    let home = object.namespace().unwrap_or_default();
    let owner = department_of_home(&home);
    let judge = |namespace: tripod_domain::namespace::Namespace| {
        let department = namespace.labels.get(DEPARTMENT).map(String::as_str);
        if department == owner && namespace.request() == Some(&object.name_any()) {
            return System::Ours(namespace);
        }
        System::Foreign(match (department, namespace.request()) {
            (Some(department), Some(request)) => {
                format!("department {department}'s, for its request {request}")
            }
            (Some(department), None) => format!("department {department}'s"),
            _ => "not a department's".to_owned(),
        })
    };
    if let Some(known) = ctx.tenancy.read().namespace(&name) {
        return Ok(judge(known));
    }
    let found = Api::<Namespace>::all(ctx.client.clone()).get_metadata_opt(&name).await?;
    Ok(found.map_or(System::Absent, |found| judge(namespace_of(&found))))
}

/// How the department uses what it has, and what its other requests were evaluated as.
fn track_record(ctx: &Ctx, department: &str, seen: &mut Observed) {
    let home = home(department);
    seen.department_use = ctx.windows.get(&ObjectRef::new(WINDOW).within(&home)).as_deref().cloned();
    let own = seen.request.name_any();
    let names = ctx.tenancy.read().requests_of(department);
    let evaluated = names.into_iter().filter(|name| *name != own).filter_map(|name| {
        let request = ctx.tenancy.requests.get(&ObjectRef::new(&name).within(&home))?;
        Some((name, request.status.as_ref()?.evaluation.as_ref()?.verdict))
    });
    seen.evaluated = evaluated.collect();
}

/// What a spec that is not in force yet is assessed from.
async fn evidence(ctx: &Ctx, seen: &mut Observed) -> Result<(), Error> {
    let (home, name) = (seen.request.namespace().unwrap_or_default(), seen.request.name_any());
    seen.approvals = ctx.tenancy.read().approvals(&home, &name);
    seen.alike = ctx.tenancy.alike(&seen.request);
    if !seen.approvals.is_empty() {
        let binding = Api::<ValidatingAdmissionPolicyBinding>::all(ctx.client.clone()).get_opt(GUARD).await?;
        let denies = |b: ValidatingAdmissionPolicyBinding| {
            b.spec
                .and_then(|s| s.validation_actions)
                .is_some_and(|actions| actions.iter().any(|a| a == "Deny"))
        };
        seen.guarded = binding.is_some_and(denies);
    }
    if seen.request.spec.protection.is_some() {
        let centres = Api::<Centre>::all(ctx.client.clone()).list(&ListParams::default()).await?;
        seen.centres = centres.iter().map(ResourceExt::name_any).collect();
        // The same request is made at every centre, and means the same there: systems run at production.
        let production = centres.iter().find(|centre| centre.spec.role == CentreRole::Production);
        seen.here = production.map_or_else(|| ctx.centre.clone(), ResourceExt::name_any);
    }
    Ok(())
}

/// What the department has left, and how well it uses what it has.
fn budget(ctx: &Ctx, department: &Department, seen: &mut Observed) {
    let namespaces = ctx.tenancy.read().of_department(&department.name_any());
    let whole = DepartmentObserved {
        department: department.clone(),
        operator_namespace: ctx.namespace.clone(),
        namespaces,
        unlabelled: BTreeMap::new(),
        gone: BTreeSet::new(),
        usage: Ok(BTreeMap::new()),
        forecast: BTreeMap::new(),
        clouds: Vec::new(),
    };
    let ledger = department::ledger_seen(&whole);
    seen.free = department::free(&ledger);
    // What the system has already is not asked for anew.
    if let Some(own) = namespace_name(&seen.request)
        && let Some(namespace) = ledger.namespaces.get(&own)
    {
        for (resource, free) in &mut seen.free {
            *free += ledger::commitment(ledger.ledger.get(&own), namespace, resource).unwrap_or(0);
        }
    }
}

/// How the system uses what it has, and by which rules that is judged.
fn supervision(ctx: &Ctx, department: &str, seen: &mut Observed) {
    let window = |namespace: &str| ctx.windows.get(&ObjectRef::new(WINDOW).within(namespace));
    seen.system_use = namespace_name(&seen.request).and_then(|name| window(&name)).as_deref().cloned();
    let policies = ctx.supervision.state();
    let all = policies.iter().map(|p| (p.metadata.name.as_deref().unwrap_or_default(), &p.spec));
    seen.supervision = verdict::policy_for(department, Timestamp::now(), all)
        .map(|(name, spec)| (name.to_owned(), spec.clone()));
}
