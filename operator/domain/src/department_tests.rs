use super::*;
use crate::ledger::Quota;
use crate::resource_request::tests::department;
use crate::utilisation::Measured;
use tripod_crds::department::Adoption;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn seen() -> Observed {
    Observed {
        department: department(),
        operator_namespace: "tripod-system".into(),
        namespaces: BTreeMap::new(),
        unlabelled: BTreeMap::new(),
        gone: BTreeSet::new(),
        usage: Ok(BTreeMap::from([(
            "dept-health".into(),
            [(Measured::Cpu, Ok(0)), (Measured::Memory, Ok(0))].into(),
        )])),
        forecast: BTreeMap::new(),
        clouds: Vec::new(),
    }
}

fn quota(amount: i128) -> Quota {
    let amounts = Amounts::from([("requests.cpu".into(), amount), ("requests.memory".into(), amount)]);
    Quota {
        version: "1".into(),
        promise: String::new(),
        spec: amounts.clone(),
        enforced: Some(amounts),
        used: Some(Amounts::from([("requests.cpu".into(), 0), ("requests.memory".into(), 0)])),
    }
}

/// The home as it is once everything in it is made.
fn with_home(seen: &mut Observed) {
    let (labels, annotations) = namespace::metadata(&seen.department, false);
    let some = |map: BTreeMap<&'static str, Option<String>>| {
        map.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect()
    };
    let rights = Rights { members: true, scaler: false };
    let children = namespace::children(&seen.department, "dept-health", rights, "tripod-system");
    let child = |child: &Value| {
        let (key, applied) = namespace::identity(child);
        (key, namespace::Child { uid: "c".into(), applied })
    };
    let home = Namespace {
        uid: "n".into(),
        labels: some(labels),
        annotations: some(annotations),
        quota: Some(quota(0)),
        children: children.iter().map(child).collect(),
        ..Namespace::default()
    };
    seen.namespaces.insert("dept-health".into(), home);
}

#[test]
fn a_home_is_made_and_rights_wait_for_its_quota() {
    let mut seen = seen();
    let plan = decide(&seen, at(0));
    assert_eq!(plan.create[0]["metadata"]["name"], "dept-health");
    assert!(
        plan.create[0]["metadata"].get("ownerReferences").is_none(),
        "deleting a department takes no data"
    );
    with_home(&mut seen);
    let home = seen.namespaces.get_mut("dept-health").unwrap();
    home.children.clear();
    home.quota = None;
    let kinds = |seen: &Observed| -> Vec<String> {
        decide(seen, at(0)).apply.iter().map(|o| o["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&seen), ["LimitRange", "NetworkPolicy"]);
    seen.namespaces.get_mut("dept-health").unwrap().quota = Some(quota(0));
    assert_eq!(kinds(&seen), ["LimitRange", "NetworkPolicy", "RoleBinding", "RoleBinding", "RoleBinding"]);
}

#[test]
fn the_same_again_plans_nothing() {
    let mut seen = seen();
    with_home(&mut seen);
    assert_eq!(decide(&seen, at(0)), Plan::default());
    let status = status(&seen, &Plan::default(), &Ok(()), at(0));
    assert!(status.conditions.iter().all(|c| c.status == "True"), "{:?}", status.conditions);
}

#[test]
fn what_somebody_changed_or_nobody_needs_is_put_right() {
    let mut seen = seen();
    with_home(&mut seen);
    let home = seen.namespaces.get_mut("dept-health").unwrap();
    home.children.get_mut(&("NetworkPolicy".into(), "tripod-walls".into())).unwrap().applied.clear();
    home.labels.insert("pod-security.kubernetes.io/enforce".into(), "privileged".into());
    let stray = namespace::Child { uid: "stray".into(), applied: "x".into() };
    home.children.insert(("RoleBinding".into(), "tripod-department-operator".into()), stray);
    let plan = decide(&seen, at(0));
    assert_eq!(plan.apply.len(), 1);
    assert_eq!(plan.patch[0].2["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "baseline");
    assert_eq!(plan.revoke, [("dept-health".into(), "tripod-department-operator".into(), "stray".into())]);
}

#[test]
fn only_a_namespace_of_nobody_is_adopted() {
    let mut seen = seen();
    with_home(&mut seen);
    let names = ["legacy", "other-one", "nowhere", "kube-system", "tripod-system", "dept-other"];
    seen.department.spec.adopt =
        names.iter().map(|n| Adoption { namespace: (*n).into(), resources: BTreeMap::new() }).collect();
    seen.unlabelled.insert("legacy".into(), Unlabelled { version: "5".into(), department: None });
    seen.unlabelled
        .insert("other-one".into(), Unlabelled { version: "6".into(), department: Some("other".into()) });
    let plan = decide(&seen, at(0));
    let [(name, Some(version), patch)] = &plan.patch[..] else { panic!("{plan:?}") };
    assert_eq!((name.as_str(), version.as_str()), ("legacy", "5"));
    assert_eq!(patch["metadata"]["labels"][DEPARTMENT], "health");
    assert_eq!(patch["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "baseline");
    let reasons: Vec<&str> = plan.taken.iter().map(|v| v.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "NamespaceTaken",
            "NamespaceNotFound",
            "NamespaceNotAdoptable",
            "NamespaceNotAdoptable",
            "NamespaceNotAdoptable"
        ]
    );
    assert!(plan.taken[0].message.contains("spec.adopt[1].namespace: other-one is department other's"));
}

#[test]
fn suspension_is_done_and_undone() {
    let mut seen = seen();
    with_home(&mut seen);
    seen.department.spec.suspension = Suspension::ScaledToZero;
    let plan = decide(&seen, at(0));
    assert_eq!(plan.scale, [("dept-health".to_owned(), true)]);
    assert_eq!(plan.patch[0].2["metadata"]["labels"]["tripod.cloud/suspension"], "ScaledToZero");
    let home = seen.namespaces.get_mut("dept-health").unwrap();
    home.annotations.insert(SCALED.into(), "true".into());
    assert!(decide(&seen, at(0)).scale.is_empty());
    seen.department.spec.suspension = Suspension::None;
    assert_eq!(decide(&seen, at(0)).scale, [("dept-health".to_owned(), false)]);
}

#[test]
fn a_stalled_quota_controller_is_reported() {
    let mut seen = seen();
    with_home(&mut seen);
    let home = seen.namespaces.get_mut("dept-health").unwrap();
    home.quota.as_mut().unwrap().enforced = None;
    home.quota_written_at = at(0).as_second();
    let reason = |seen: &Observed, now| {
        let status = status(seen, &decide(seen, now), &Ok(()), now);
        crate::conditions::find(&status.conditions, "QuotaEnforced").unwrap().reason.clone()
    };
    assert_eq!(reason(&seen, at(59)), "Enforced");
    assert_eq!(reason(&seen, at(61)), "QuotaControllerStalled");
}

#[test]
fn no_reading_is_not_a_zero() {
    let mut seen = seen();
    with_home(&mut seen);
    let line =
        |seen: &Observed| status(seen, &Plan::default(), &Ok(()), at(0)).budget["requests.cpu"].clone();
    seen.usage = Ok(BTreeMap::from([(
        "dept-health".into(),
        [(Measured::Cpu, Ok(250_000_000)), (Measured::Memory, Ok(0))].into(),
    )]));
    assert_eq!(line(&seen).used, Some(Quantity("250m".into())));
    seen.usage =
        Ok(BTreeMap::from([("dept-health".into(), [(Measured::Cpu, Err("no reading yet".into()))].into())]));
    assert_eq!(line(&seen).used, None);
    seen.namespaces.get_mut("dept-health").unwrap().quota.as_mut().unwrap().used = None;
    assert_eq!(line(&seen).requested, None);
}

#[test]
fn a_lowered_budget_is_reported_and_evicts_nothing() {
    let mut seen = seen();
    with_home(&mut seen);
    seen.namespaces.get_mut("dept-health").unwrap().quota = Some(quota(100_000_000_000));
    seen.department.spec.home = BTreeMap::from([
        ("requests.cpu".into(), Quantity("100".into())),
        ("requests.memory".into(), Quantity("100".into())),
    ]);
    let plan = decide(&seen, at(0));
    assert!(plan.ledger.quotas.is_empty(), "{plan:?}");
    let status = status(&seen, &plan, &Ok(()), at(0));
    assert_eq!(status.budget["requests.cpu"].over, Some(Quantity("36".into())));
    assert_eq!(crate::conditions::find(&status.conditions, "WithinBudget").unwrap().reason, "OverCommitted");
}

#[test]
fn other_clouds_are_beside_it_and_where_there_are_none_nothing_is_said() {
    let mut seen = seen();
    with_home(&mut seen);
    let shown = |seen: &Observed, second| status(seen, &Plan::default(), &Ok(()), at(second));
    assert!(shown(&seen, 0).clouds.is_empty() && shown(&seen, 0).total.is_empty());
    let object = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Cloud", "metadata": {"name": "second"},
        "spec": {"displayName": "二期", "kubeconfigSecretRef": {"name": "cloud-second"}},
        "status": {"readAt": at(0).to_string(), "departments": {"health": {"requests.cpu": {"granted": "3"}}},
            "conditions": [{"type": "Ready", "status": "True", "reason": "Read", "message": "", "lastTransitionTime": at(0).to_string()}]}});
    seen.clouds = vec![Arc::new(serde_json::from_value(object).unwrap())];
    let before = shown(&seen, 0);
    assert_eq!(before.clouds["second"].resources["requests.cpu"].granted, Some(Quantity("3".into())));
    assert!(before.total["requests.cpu"].granted.is_some() && before.total["requests.cpu"].budget.is_none());
    seen.department.status = Some(before.clone());
    assert_eq!(shown(&seen, 60), before);
    assert_eq!(shown(&seen, 181).total["requests.cpu"], tripod_crds::cloud::CloudLine::default());
}
