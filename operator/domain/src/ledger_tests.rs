use proptest::prelude::*;

use super::*;

fn amounts(all: &[(&str, i128)]) -> Amounts {
    all.iter().map(|(resource, amount)| ((*resource).to_owned(), *amount)).collect()
}

fn cpu(amount: i128) -> Amounts {
    amounts(&[("cpu", amount)])
}

/// A quota of cores, counted: what it says, what is enforced, what is used.
fn quota(promise: &str, spec: i128, enforced: i128, used: i128) -> Quota {
    let (enforced, used) = (Some(cpu(enforced)), Some(cpu(used)));
    Quota { version: "q1".into(), promise: promise.into(), spec: cpu(spec), enforced, used }
}

fn namespace(wanted: i128, quota: impl Into<Option<Quota>>) -> Namespace {
    Namespace { wanted: Some(cpu(wanted)), quota: quota.into(), ..Namespace::default() }
}

fn entry(reserved: i128, promise: &str) -> Entry {
    Entry { reserved: cpu(reserved), promise: promise.into() }
}

fn seen(
    budget: i128,
    ledger: &[(&str, Entry)],
    namespaces: impl IntoIterator<Item = (&'static str, Namespace)>,
) -> Seen {
    Seen {
        budget: cpu(budget),
        version: "7".into(),
        ledger: self::ledger(ledger),
        namespaces: namespaces.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
        gone: BTreeSet::new(),
    }
}

fn write(namespace: &str, at: Option<&str>, hard: i128, promise: &str) -> QuotaWrite {
    let (at, promise) = (at.map(str::to_owned), promise.to_owned());
    QuotaWrite { namespace: namespace.into(), at, hard: cpu(hard), promise }
}

fn ledger(entries: &[(&str, Entry)]) -> Ledger {
    entries.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone())).collect()
}

#[test]
fn a_quota_begins_with_zero_and_grows_under_a_promise() {
    let made = plan(&seen(4, &[], [("a", namespace(3, None))]));
    assert_eq!((made.ledger, made.quotas), (None, vec![write("a", None, 0, "")]));

    let not_counted = Quota { enforced: None, used: None, ..quota("", 0, 0, 0) };
    for present in [not_counted, quota("", 0, 0, 0)] {
        let granted = plan(&seen(4, &[], [("a", namespace(3, present))]));
        assert_eq!(granted.ledger, Some(ledger(&[("a", entry(3, "7"))])));
        assert_eq!(granted.quotas, [write("a", Some("q1"), 3, "7")]);
    }
}

/// Whoever reserved for it may still be about to make its quota, for another namespace of that name.
#[test]
fn a_quota_begins_with_zero_though_more_is_reserved() {
    let plan = plan(&seen(4, &[("a", entry(3, "5"))], [("a", namespace(3, None))]));
    assert_eq!((plan.ledger, plan.quotas), (None, vec![write("a", None, 0, "5")]));
}

#[test]
fn what_shrinks_is_released_when_it_is_neither_enforced_nor_used_under_the_present_promise() {
    let held = [("a", entry(3, "5"))];
    let shrink = |quota: Quota| plan(&seen(4, &held, [("a", namespace(1, quota))]));
    let lowered = shrink(quota("5", 3, 3, 0));
    assert_eq!((lowered.ledger, lowered.quotas), (None, vec![write("a", Some("q1"), 1, "5")]));
    assert_eq!(shrink(quota("5", 1, 3, 0)), Plan::default(), "enforced");
    assert_eq!(shrink(quota("5", 1, 1, 3)), Plan::default(), "used");
    let part = shrink(quota("5", 1, 1, 2));
    assert_eq!((part.ledger, part.quotas), (Some(ledger(&[("a", entry(2, "5"))])), vec![]));
    let free = shrink(quota("5", 1, 1, 1));
    assert_eq!((free.ledger, free.quotas), (Some(ledger(&[("a", entry(1, "5"))])), vec![]));

    // Whoever made promise 5 may still write it: first it has to be in the quota.
    let fenced = shrink(quota("4", 1, 1, 0));
    assert_eq!((fenced.ledger, fenced.quotas), (None, vec![write("a", Some("q1"), 1, "5")]));
    let unknown = Quota { enforced: None, used: None, ..quota("5", 1, 1, 0) };
    assert_eq!(shrink(unknown), Plan::default(), "not counted");
}

#[test]
fn what_one_gives_another_gets_in_the_same_pass() {
    let held = [("a", entry(3, "5"))];
    let shifted =
        seen(3, &held, [("a", namespace(1, quota("5", 1, 1, 0))), ("b", namespace(2, quota("", 0, 0, 0)))]);
    let shifted = plan(&shifted);
    assert_eq!(shifted.ledger, Some(ledger(&[("a", entry(1, "5")), ("b", entry(2, "7"))])));
    assert_eq!(shifted.quotas, [write("b", Some("q1"), 2, "7")]);
}

#[test]
fn over_committed_grants_nothing_and_evicts_nothing() {
    let held = [("a", entry(3, "5")), ("b", entry(2, "5"))];
    let over =
        seen(4, &held, [("a", namespace(4, quota("5", 3, 3, 3))), ("b", namespace(2, quota("5", 2, 2, 2)))]);
    let over = plan(&over);
    assert_eq!((over.ledger, over.quotas), (None, vec![]));
    let refusal = Refusal { resource: "cpu".into(), more: 1, free: Some(-1) };
    assert_eq!(over.refused, BTreeMap::from([("a".to_owned(), refusal)]));
}

/// The quota was read when more was enforced; since then that was released, and given to another.
#[test]
fn an_old_quota_gives_nothing_that_the_ledger_does_not_reserve() {
    let given = [("a", entry(1, "6")), ("b", Entry { promise: "5".into(), ..Entry::default() })];
    let old =
        seen(1, &given, [("a", namespace(0, quota("", 0, 0, 0))), ("b", namespace(1, quota("5", 0, 1, 0)))]);
    let plan = plan(&old);
    assert_eq!(plan.refused.keys().collect::<Vec<_>>(), ["b"]);
    assert!(plan.ledger.is_none_or(|ledger| ledger["b"].reserved.is_empty()));
}

#[test]
fn what_is_reserved_is_granted_even_over_the_budget() {
    let plan = plan(&seen(1, &[("a", entry(3, "5"))], [("a", namespace(3, quota("5", 1, 3, 0)))]));
    assert_eq!(plan.ledger, Some(ledger(&[("a", entry(3, "7"))])));
    assert_eq!(plan.quotas, [write("a", Some("q1"), 3, "7")]);
}

#[test]
fn a_resource_that_is_bounded_since_now_is_unknown_until_counted() {
    let mut seen = seen(4, &[], [("a", namespace(0, quota("", 0, 0, 0))), ("b", namespace(1, None))]);
    seen.budget.insert("memory".into(), 8);
    seen.namespaces.get_mut("b").unwrap().wanted = Some(amounts(&[("cpu", 1), ("memory", 2)]));
    seen.namespaces.get_mut("b").unwrap().quota = Some(Quota {
        version: "q1".into(),
        promise: String::new(),
        spec: amounts(&[("cpu", 0), ("memory", 0)]),
        enforced: Some(amounts(&[("cpu", 0), ("memory", 0)])),
        used: Some(amounts(&[("cpu", 0), ("memory", 0)])),
    });
    let blocked = plan(&seen);
    assert_eq!(blocked.ledger, None);
    assert_eq!(blocked.refused["b"], Refusal { resource: "memory".into(), more: 2, free: None });
    assert_eq!(blocked.quotas[0].hard, amounts(&[("cpu", 0), ("memory", 0)]), "so that it will be counted");

    for (used, free) in [(7, Some(1)), (6, None)] {
        let quota = seen.namespaces.get_mut("a").unwrap().quota.as_mut().unwrap();
        quota.spec = amounts(&[("cpu", 0), ("memory", 0)]);
        (quota.enforced, quota.used) =
            (Some(quota.spec.clone()), Some(amounts(&[("cpu", 0), ("memory", used)])));
        let plan = plan(&seen);
        assert_eq!(plan.refused.get("b").and_then(|refusal| refusal.free), free, "{used} are used");
    }
}

#[test]
fn an_adopted_namespace_is_unknown_until_counted() {
    let adopted = |wanted, quota: Option<Quota>| Namespace { adopted: true, ..namespace(wanted, quota) };
    let with =
        |quota| seen(4, &[], [("a", adopted(2, quota)), ("b", namespace(2, self::quota("", 0, 0, 0)))]);
    let unknown = plan(&with(None));
    assert_eq!((unknown.ledger, unknown.quotas), (None, vec![write("a", None, 0, "")]));
    assert_eq!(unknown.refused["b"].free, None);
    let uncounted = Quota { enforced: None, used: None, ..quota("", 0, 0, 0) };
    let uncounted = plan(&with(Some(uncounted)));
    assert_eq!(uncounted.ledger, None);
    assert!(uncounted.refused.values().all(|refusal| refusal.free.is_none()));

    let counted = plan(&with(Some(quota("", 0, 0, 2))));
    assert_eq!(counted.ledger, Some(ledger(&[("a", entry(2, "7")), ("b", entry(2, "7"))])));
    let large = plan(&with(Some(quota("", 0, 0, 3))));
    assert_eq!(
        large.ledger,
        Some(ledger(&[("a", entry(2, "7"))])),
        "what it uses counts, whatever it is granted"
    );
    assert_eq!(large.refused["b"], Refusal { resource: "cpu".into(), more: 2, free: Some(1) });
}

#[test]
fn the_oldest_comes_first_and_is_granted_all_or_nothing() {
    let waiting = |wanted, since| Namespace { since, ..namespace(wanted, quota("", 0, 0, 0)) };
    let of =
        |a, b, c| plan(&seen(4, &[], [("a", waiting(3, a)), ("b", waiting(3, b)), ("c", waiting(1, c))]));
    let granted = |plan: Plan| plan.ledger.unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(granted(of(1, 2, 3)), ["a", "c"]);
    assert_eq!(granted(of(2, 1, 3)), ["b", "c"]);
    assert_eq!(granted(of(1, 1, 1)), ["a", "c"], "by name where age does not tell");

    let mut both = seen(4, &[], [("a", waiting(3, 1))]);
    both.namespaces.get_mut("a").unwrap().wanted = Some(amounts(&[("cpu", 3), ("pods", 1)]));
    let both = plan(&both);
    assert_eq!(
        (both.ledger, &both.refused["a"].resource[..]),
        (None, "pods"),
        "not bounded is not to be had"
    );
}

#[test]
fn what_nobody_knows_the_grant_of_keeps_what_it_has() {
    let unknown = Namespace { wanted: None, ..namespace(0, quota("5", 3, 3, 0)) };
    let plan = plan(&seen(4, &[("a", entry(3, "5"))], [("a", unknown), ("b", namespace(2, None))]));
    assert_eq!(plan.ledger, None);
    assert!(plan.quotas.iter().all(|write| write.namespace == "b"));
    assert_eq!(plan.refused["b"].free, Some(1));
}

#[test]
fn a_namespace_that_is_not_there_counts_until_it_is_known_to_be_gone() {
    let mut seen = seen(4, &[("a", entry(3, "5"))], [("b", namespace(2, quota("", 0, 0, 0)))]);
    let unseen = plan(&seen);
    assert_eq!((unseen.ledger, unseen.refused["b"].free), (None, Some(1)));
    seen.gone.insert("a".into());
    assert_eq!(plan(&seen).ledger, Some(ledger(&[("b", entry(2, "7"))])));
    seen.namespaces.insert("a".into(), namespace(3, quota("5", 3, 3, 3)));
    assert_eq!(plan(&seen).ledger, None, "it was read, so it is not gone");
}

#[test]
fn what_is_no_amount_is_named() {
    let quantities = |text: &str| BTreeMap::from([("cpu".to_owned(), Quantity(text.into()))]);
    assert_eq!(
        read("spec.budget", &quantities("12x")).unwrap_err(),
        "spec.budget[cpu]: \"12x\" is not a quantity"
    );
    assert_eq!(read("spec.home", &quantities("-1")).unwrap_err(), "spec.home[cpu]: -1 is negative");
    assert_eq!(super::write(&read("", &quantities("1500m")).unwrap()), quantities("1500m"));
}

/// Of three namespaces, in all the states that they can be in.
fn any_seen() -> impl Strategy<Value = Seen> {
    let resource = || proptest::sample::select(vec!["cpu", "memory"]);
    let any_amounts = || proptest::collection::btree_map(resource().prop_map(str::to_owned), 0..5i128, 0..=2);
    let promise = || proptest::sample::select(vec!["", "4", "5"]).prop_map(str::to_owned);
    let status = || proptest::option::of((any_amounts(), any_amounts()));
    let quota = (promise(), any_amounts(), status()).prop_map(|(promise, spec, status)| {
        let (enforced, used) = status.unzip();
        Quota { version: "q1".into(), promise, spec, enforced, used }
    });
    let wanted = proptest::option::of(any_amounts());
    let namespace = (wanted, any::<bool>(), 0..3i64, proptest::option::of(quota))
        .prop_map(|(wanted, adopted, since, quota)| Namespace { wanted, adopted, since, quota });
    let entry = (any_amounts(), promise()).prop_map(|(reserved, promise)| Entry { reserved, promise });
    let name = || proptest::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
    (
        any_amounts(),
        proptest::collection::btree_map(name(), entry, 0..=3),
        proptest::collection::btree_map(name(), namespace, 0..=3),
        proptest::collection::btree_set(name(), 0..=1),
    )
        .prop_map(|(budget, ledger, namespaces, gone)| Seen {
            budget,
            version: "7".into(),
            ledger,
            namespaces,
            gone,
        })
}

/// What an API server and a quota controller make of a plan when nothing goes wrong.
fn happens(seen: &mut Seen, plan: &Plan, version: usize) {
    if let Some(ledger) = &plan.ledger {
        seen.ledger.clone_from(ledger);
        seen.version = format!("{version}");
    }
    for write in &plan.quotas {
        let namespace = seen.namespaces.get_mut(&write.namespace).unwrap();
        let used = namespace.quota.take().and_then(|quota| quota.used).unwrap_or_default();
        let used = write.hard.keys().map(|resource| (resource.clone(), amount(&used, resource))).collect();
        namespace.quota = Some(Quota {
            version: format!("q{version}"),
            promise: write.promise.clone(),
            spec: write.hard.clone(),
            enforced: Some(write.hard.clone()),
            used: Some(used),
        });
    }
}

proptest! {
    #[test]
    fn what_grows_fits(seen in any_seen()) {
        let plan = plan(&seen);
        let after = plan.ledger.as_ref().unwrap_or(&seen.ledger);
        for resource in ["cpu", "memory"] {
            let budget = amount(&seen.budget, resource);
            let before = committed(&seen.ledger, &seen.namespaces, resource);
            let after = committed(after, &seen.namespaces, resource);
            // What was reserved for those that are gone is given back.
            match (before, after) {
                (Some(before), Some(after)) => prop_assert!(after <= budget.max(before), "{after} of {budget}"),
                (None, None) => {}
                _ => prop_assert!(false, "what is unknown was not looked at"),
            }
        }
        for write in &plan.quotas {
            let read = seen.namespaces[&write.namespace].quota.as_ref();
            prop_assert_eq!(write.at.as_ref(), read.map(|quota| &quota.version));
            for (resource, hard) in &write.hard {
                let (spec, reserved) = (
                    read.map_or(0, |quota| amount(&quota.spec, resource)),
                    after.get(&write.namespace).map_or(0, |entry| amount(&entry.reserved, resource)),
                );
                prop_assert!(*hard <= spec.max(reserved), "more than was reserved");
                prop_assert!(*hard <= spec || write.promise == seen.version, "grows without a new promise");
            }
        }
    }

    #[test]
    fn while_one_is_unknown_nobody_else_is_promised_more(seen in any_seen()) {
        let plan = plan(&seen);
        for (name, entry) in plan.ledger.iter().flatten() {
            for (resource, reserved) in &entry.reserved {
                let before = seen.ledger.get(name).map_or(0, |entry| amount(&entry.reserved, resource));
                let known = committed(&seen.ledger, &seen.namespaces, resource).is_some();
                prop_assert!(known || *reserved <= before);
            }
        }
    }

    #[test]
    fn what_happens_comes_to_rest(mut seen in any_seen()) {
        seen.gone.retain(|name| !seen.namespaces.contains_key(name));
        for version in 8..24 {
            let plan = plan(&seen);
            if plan.ledger.is_none() && plan.quotas.is_empty() {
                break;
            }
            happens(&mut seen, &plan, version);
        }
        let rest = plan(&seen);
        prop_assert_eq!((&rest.ledger, &rest.quotas), (&None, &vec![]));
        for (name, namespace) in &seen.namespaces {
            let (Some(wanted), Some(quota)) = (&namespace.wanted, &namespace.quota) else { continue };
            for (resource, wanted) in wanted {
                let says = amount(&quota.spec, resource);
                prop_assert!(says == *wanted || says < *wanted && rest.refused.contains_key(name));
            }
        }
    }

    /// Nothing is in use yet and all fits: then each gets what it wants, counted.
    #[test]
    fn what_fits_is_enforced(wants in proptest::collection::vec(0..4i128, 3)) {
        let [a, b, c] = [wants[0], wants[1], wants[2]].map(|wanted| namespace(wanted, None));
        let mut seen = seen(wants.iter().sum(), &[], [("a", a), ("b", b), ("c", c)]);
        for version in 8..24 {
            let plan = plan(&seen);
            happens(&mut seen, &plan, version);
        }
        for namespace in seen.namespaces.values() {
            let quota = namespace.quota.as_ref().unwrap();
            prop_assert!(quota.is_enforced() && Some(&quota.spec) == namespace.wanted.as_ref());
        }
    }
}
