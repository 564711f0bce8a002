use super::*;
use std::collections::BTreeMap;

/// A request that passes every check.
pub(crate) fn request() -> ResourceRequest {
    serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "ResourceRequest",
        "metadata": {"name": "registration", "namespace": "dept-health", "uid": "u1", "generation": 1},
        "spec": {"requester": "zhang@health",
            "system": {"displayName": "预约挂号", "securityLevel": 2, "filingNumber": "11010-1", "buildMode": "New", "owner": "zhang@health"},
            "basis": {"letter": "卫信函〔2026〕12号", "purpose": "全区预约挂号统一平台"},
            "resources": {"requests.cpu": "8", "requests.memory": "32Gi"},
            "term": "365d", "recoveryLevel": 1}}))
    .unwrap()
}

pub(crate) fn department() -> Department {
    serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Department",
        "metadata": {"name": "health", "uid": "d1", "resourceVersion": "7", "generation": 1},
        "spec": {"displayName": "卫生健康局", "cloudChief": {"name": "王主任", "user": "chief@health"},
            "members": [{"kind": "Group", "name": "health-admins", "role": "Admin"}],
            "budget": {"requests.cpu": "64", "requests.memory": "256Gi"}}}))
    .unwrap()
}

pub(crate) fn approval(request: &ResourceRequest, approver: &str) -> Approval {
    serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Approval",
        "metadata": {"name": format!("by-{approver}"), "namespace": "tripod-system"},
        "spec": {"verdict": "Approved", "approver": approver, "subject": {"kind": "ResourceRequest",
            "namespace": "dept-health", "name": "registration", "uid": request.metadata.uid,
            "specHash": spec_hash::of(&request.spec).unwrap(), "requester": request.spec.requester}}}))
    .unwrap()
}

fn seen() -> Observed {
    Observed {
        request: request(),
        department: Some(department()),
        classes: Vec::new(),
        approvals: Vec::new(),
        guarded: true,
        system: System::Absent,
        free: ledger::read("", &department().spec.budget).unwrap(),
        alike: Vec::new(),
        department_use: None,
        system_use: None,
        supervision: None,
        evaluated: Vec::new(),
        centres: BTreeSet::from(["same-city".into()]),
        here: "production".into(),
        definition_goes: false,
    }
}

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
}

fn reasons(seen: &Observed, now: Timestamp) -> Vec<(String, String)> {
    let status = status(seen, &decide(seen, now), &Ok(()), now);
    status.conditions.iter().map(|c| (c.type_.clone(), c.reason.clone())).collect()
}

/// The namespace that a plan creates, with its quota enforced and rights given.
fn provisioned(seen: &Observed, plan: &Plan) -> Namespace {
    let manifest = plan.steps.iter().find_map(|step| match step {
        Step::CreateNamespace(manifest) => Some(manifest.clone()),
        _ => None,
    });
    let text = |v: &Value| serde_json::from_value::<BTreeMap<String, String>>(v.clone()).unwrap();
    let meta = &manifest.unwrap()["metadata"];
    let spec = ledger::read("", &seen.request.spec.resources).unwrap();
    // What the steps did to the request itself.
    assert!(plan.steps.contains(&Step::AddFinalizer));
    Namespace {
        labels: text(&meta["labels"]),
        annotations: text(&meta["annotations"]),
        quota: Some(ledger::Quota {
            version: "1".into(),
            promise: "7".into(),
            enforced: Some(spec.clone()),
            used: Some(Amounts::new()),
            spec,
        }),
        children: BTreeMap::from([(
            ("RoleBinding".into(), "tripod-department-admin".into()),
            namespace::Child::default(),
        )]),
        ..Namespace::default()
    }
}

fn provision(seen: &mut Observed, plan: &Plan) {
    seen.system = System::Ours(provisioned(seen, plan));
    seen.request.metadata.finalizers = Some(vec![FINALIZER.into()]);
}

#[test]
fn two_people_approve_what_fits_into_no_class() {
    let mut seen = seen();
    assert!(reasons(&seen, at(0)).contains(&("Approved".into(), "AwaitingApproval".into())));
    seen.approvals.push(approval(&seen.request, "chief@health"));
    assert!(reasons(&seen, at(0)).contains(&("Approved".into(), "AwaitingSecondApprover".into())));
    assert!(decide(&seen, at(0)).steps.is_empty());
    seen.approvals.push(approval(&seen.request, "li@platform"));
    let plan = decide(&seen, at(0));
    assert!(matches!(&plan.steps[..], [Step::AddFinalizer, Step::CreateNamespace(_)]), "{plan:?}");
    seen.guarded = false;
    assert!(decide(&seen, at(0)).steps.is_empty(), "nobody knows who has approved");
    assert!(reasons(&seen, at(0)).contains(&("Approved".into(), "ApprovalsUnguarded".into())));
}

#[test]
fn a_change_takes_effect_when_it_is_approved_and_not_before() {
    let mut seen = seen();
    seen.approvals = ["a", "b"].map(|who| approval(&seen.request, who)).to_vec();
    let plan = decide(&seen, at(0));
    provision(&mut seen, &plan);
    assert!(reasons(&seen, at(1)).contains(&("Ready".into(), "Provisioned".into())));
    assert!(decide(&seen, at(1)).steps.is_empty(), "the same again writes nothing");
    seen.request.metadata.finalizers = None;
    assert_eq!(
        decide(&seen, at(1)).steps,
        [Step::AddFinalizer],
        "made again, its end is still to be noticed"
    );
    seen.request.metadata.finalizers = Some(vec![FINALIZER.into()]);

    seen.request
        .spec
        .resources
        .insert("requests.cpu".into(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("16".into()));
    let plan = decide(&seen, at(2));
    assert!(plan.steps.is_empty() && plan.grant.as_ref().unwrap().spec_hash != plan.hash);
    let after = status(&seen, &plan, &Ok(()), at(2));
    assert_eq!(after.phase, Some(tripod_crds::resource_request::Phase::Provisioned));
    assert_eq!(after.granted.unwrap().resources["requests.cpu"].0, "8");
    assert_eq!(after.approvals.unwrap().ignored.len(), 2, "they were for another spec");

    seen.approvals = ["a", "b"].map(|who| approval(&seen.request, who)).to_vec();
    let plan = decide(&seen, at(3));
    let Step::PatchNamespace { patch, .. } = &plan.steps[0] else { panic!("{plan:?}") };
    assert_eq!(patch["metadata"]["annotations"][ENDED], Value::Null);
    assert_eq!(plan.grant.unwrap().since, at(0), "the term counts from the first day");
}

#[test]
fn a_term_ends_and_data_stays() {
    let mut seen = seen();
    seen.approvals = ["a", "b"].map(|who| approval(&seen.request, who)).to_vec();
    let plan = decide(&seen, at(0));
    provision(&mut seen, &plan);
    for (day, reason) in
        [(300, "FarAway"), (336, "EndsWithin30Days"), (360, "EndsWithin7Days"), (364, "EndsWithin1Days")]
    {
        assert!(reasons(&seen, at(day)).contains(&("TermEnding".into(), reason.into())), "{day}");
        let before = seen.request.status.clone();
        let after = status(&seen, &decide(&seen, at(day)), &Ok(()), at(day));
        let told = news(before.as_ref(), &after).iter().filter(|n| n.reason == reason).count();
        assert_eq!(told, usize::from(day > 300), "{day}");
        assert!(news(Some(&after), &after).is_empty(), "told once");
        seen.request.status = Some(after);
    }
    let plan = decide(&seen, at(366));
    let [Step::PatchNamespace { patch, .. }] = &plan.steps[..] else { panic!("{plan:?}") };
    assert!(patch["metadata"]["annotations"][ENDED].is_string());
    assert!(reasons(&seen, at(366)).contains(&("Ready".into(), "TermOver".into())));
}

#[test]
fn the_end_is_written_down_before_the_request_goes() {
    let mut seen = seen();
    seen.approvals = ["a", "b"].map(|who| approval(&seen.request, who)).to_vec();
    let plan = decide(&seen, at(0));
    provision(&mut seen, &plan);
    seen.request.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(5)));
    let plan = decide(&seen, at(5));
    assert!(matches!(&plan.steps[..], [Step::PatchNamespace { .. }, Step::RemoveFinalizer]), "{plan:?}");
    seen.definition_goes = true;
    assert_eq!(decide(&seen, at(5)).steps, [Step::RemoveFinalizer], "nobody asked for the system's end");
    // Clean-up needs no valid department.
    seen.department = None;
    assert_eq!(decide(&seen, at(5)).steps, [Step::RemoveFinalizer]);
}

#[test]
fn what_was_given_up_is_asked_for_anew() {
    let mut seen = seen();
    seen.approvals = ["a", "b"].map(|who| approval(&seen.request, who)).to_vec();
    let plan = decide(&seen, at(0));
    let mut namespace = provisioned(&seen, &plan);
    namespace.annotations.insert(ENDED.into(), at(5).to_string());
    provision(&mut seen, &plan);
    seen.system = System::Ours(namespace);
    let approvals = std::mem::take(&mut seen.approvals);
    assert!(decide(&seen, at(6)).steps.is_empty(), "the approval was for what is gone");
    assert!(reasons(&seen, at(6)).contains(&("Ready".into(), "AwaitingApproval".into())));
    seen.approvals = approvals;
    let [Step::PatchNamespace { patch, .. }] = &decide(&seen, at(6)).steps[..] else { panic!("not granted") };
    assert_eq!(patch["metadata"]["annotations"][ENDED], Value::Null);
}

#[test]
fn a_namespace_of_somebody_else_is_never_touched() {
    let mut seen = seen();
    seen.approvals = ["a", "b"].map(|who| approval(&seen.request, who)).to_vec();
    seen.system = System::Foreign("department health-registration".into());
    assert!(decide(&seen, at(0)).steps.is_empty());
    assert!(reasons(&seen, at(0)).contains(&("Assessed".into(), "NamespaceFree".into())));
}
