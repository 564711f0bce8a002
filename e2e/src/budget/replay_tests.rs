use super::*;

const CPU: &str = "requests.cpu";

fn cpu(n: i128) -> Amounts {
    [(CPU.to_owned(), n)].into()
}

fn department(version: u64, budget: i128, reserved: &[(&str, i128)]) -> Event {
    let reserved = reserved.iter().map(|(name, n)| ((*name).to_owned(), cpu(*n))).collect();
    Event { version, what: What::Department { budget: cpu(budget), reserved } }
}

fn quota(version: u64, namespace: &str, spec: i128, enforced: i128, used: i128) -> Event {
    let quota = Quota { spec: cpu(spec), enforced: cpu(enforced), used: cpu(used) };
    Event { version, what: What::Quota { namespace: namespace.into(), quota: Some(quota) } }
}

fn pod(version: u64, key: &str, asks: i128) -> Event {
    let asks = if asks == 0 { Amounts::new() } else { cpu(asks) };
    Event { version, what: What::Pod { key: key.into(), asks } }
}

/// Two namespaces, one of which gives back what the other gets.
fn honest() -> Vec<Event> {
    vec![
        department(1, 10, &[]),
        department(2, 10, &[("a", 6)]),
        quota(3, "a", 6, 0, 0),
        quota(4, "a", 6, 6, 0),
        quota(5, "a", 6, 6, 5),
        pod(6, "a/p", 5),
        department(7, 10, &[("a", 6), ("b", 4)]),
        quota(8, "b", 4, 4, 0),
        pod(9, "a/p", 0),
        quota(10, "a", 6, 6, 0),
        quota(11, "a", 2, 6, 0),
        quota(12, "a", 2, 2, 0),
        department(13, 10, &[("a", 2), ("b", 4)]),
        department(14, 10, &[("a", 2), ("b", 8)]),
        quota(15, "b", 8, 8, 4),
    ]
}

#[test]
fn what_is_given_back_may_be_given_again() {
    let mut events = honest();
    events.reverse();
    let found = replay(events, &[CPU]);
    assert_eq!(found.violations, Vec::<String>::new());
    assert_eq!((found.used_over[CPU], found.asked_over[CPU], found.asked[CPU]), (-5, -5, 0));
    assert_eq!((found.grown[CPU], found.budget_changes, found.undercounted), (3, 0, 0));
}

#[test]
fn what_is_still_enforced_may_not_be_given_again() {
    let mut events = honest();
    // The ledger grows b before a's quota is seen to be enforced lower.
    events.retain(|e| e.version != 12);
    let found = replay(events, &[CPU]);
    assert_eq!(found.violations, ["version 14, department: requests.cpu committed is 0.014, 0.01 may be"]);
}

#[test]
fn a_lowered_budget_lets_be_used_what_was_committed_and_no_more() {
    let mut events = honest();
    events.extend([department(16, 3, &[("a", 2), ("b", 8)]), quota(17, "b", 8, 8, 8), pod(18, "b/p", 8)]);
    assert_eq!(replay(events.clone(), &[CPU]).violations, Vec::<String>::new());
    // Given back, it is gone.
    events.extend([
        pod(19, "b/p", 0),
        quota(20, "b", 8, 8, 0),
        quota(21, "b", 1, 1, 0),
        department(22, 3, &[("a", 2), ("b", 1)]),
    ]);
    assert_eq!(replay(events.clone(), &[CPU]).violations, Vec::<String>::new());
    events.push(quota(23, "a", 3, 3, 0));
    let found = replay(events.clone(), &[CPU]);
    assert_eq!(found.violations, ["version 23, quota of a: requests.cpu committed is 0.004, 0.003 may be"]);
    events.extend([pod(24, "b/p", 1), pod(25, "a/p", 3)]);
    let found = replay(events, &[CPU]);
    assert_eq!((found.asked_over[CPU], found.undercounted, found.slipped[CPU]), (1, 2, 0));
    assert_eq!(found.violations.len(), 2);
}

#[test]
fn what_is_used_may_not_be_given_back() {
    let mut events = honest();
    events.extend([quota(16, "b", 1, 1, 4), department(17, 10, &[("a", 2), ("b", 3)])]);
    let found = replay(events.clone(), &[CPU]);
    let gives_back =
        "version 17, department: requests.cpu held by b, which uses more, is 0.003, 0.004 may be";
    assert_eq!(found.violations, [gives_back]);
    // Counted lower in between: who looked then could not know.
    events.insert(15, quota(16, "b", 1, 1, 3));
    events[16].version = 17;
    events[17].version = 18;
    let found = replay(events, &[CPU]);
    assert_eq!((found.violations, found.slipped[CPU]), (Vec::new(), 1));
}

#[test]
fn what_slips_through_a_quota_is_told_and_not_judged() {
    let mut events = honest();
    // b holds 8 of 10. Its quota forgets a pod and lets others in.
    events.extend([pod(16, "b/p", 8), quota(17, "b", 8, 8, 0), pod(18, "b/q", 3)]);
    let found = replay(events.clone(), &[CPU]);
    assert_eq!((found.violations, found.undercounted), (Vec::new(), 1));
    assert_eq!((found.asked_over[CPU], found.slipped[CPU]), (1, 3));
    // Where nothing is enforced, nothing may run.
    events.push(pod(19, "c/p", 1));
    let without = "version 19, pod c/p: requests.cpu of pods in c, without a quota, is 0.001, 0 may be";
    assert_eq!(replay(events, &[CPU]).violations, [without]);
}
