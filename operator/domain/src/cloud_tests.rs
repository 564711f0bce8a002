use super::*;
use proptest::prelude::*;
use serde_json::json;
use tripod_crds::CloudSpec;

use crate::ledger::Amounts;

const CPU: &str = "requests.cpu";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn cloud() -> Cloud {
    let spec: CloudSpec = serde_json::from_value(json!({"displayName": "市政务云二期",
        "kubeconfigSecretRef": {"name": "cloud-second"}, "intervalSeconds": 60}))
    .unwrap();
    let mut cloud = Cloud::new("second", spec);
    cloud.metadata.generation = Some(1);
    cloud
}

fn seen(cloud: Cloud) -> Observed {
    Observed {
        cloud,
        kubeconfig: Ok(Kubeconfig::default()),
        version: "7".into(),
        last: None,
        counted: BTreeMap::from([("own".to_owned(), "this very cluster".to_owned())]),
    }
}

fn amounts(cores: i128) -> Amounts {
    Amounts::from([(CPU.to_owned(), cores * 1_000_000_000)])
}

/// `health` has two namespaces with 3 cores and `tax` one with 5; one core of each quota is asked for, half is used.
fn reading() -> Reading {
    let namespaces = [("dept-health", "health"), ("health-web", "health"), ("dept-tax", "tax")];
    let quota = |cores| Quota { hard: amounts(cores), used: Some(amounts(1)) };
    let half = Ok(Usage { cpu: 500_000_000, memory: 1 << 60 });
    Reading {
        cluster: Some("other".into()),
        namespaces: Ok(namespaces.iter().map(|(n, d)| ((*n).to_owned(), (*d).to_owned())).collect()),
        quotas: Ok([("dept-health", 1), ("health-web", 2), ("dept-tax", 5)]
            .map(|(name, cores)| (name.to_owned(), quota(cores)))
            .into()),
        usage: Ok([("health-web".to_owned(), half.clone()), ("dept-tax".to_owned(), half)].into()),
        budgets: Ok([("health".to_owned(), [(CPU.to_owned(), Quantity("8".into()))].into())].into()),
    }
}

fn line(budget: &str, granted: &str, requested: &str, used: &str) -> CloudLine {
    let known = |text: &str| (!text.is_empty()).then(|| Quantity(text.into()));
    CloudLine {
        budget: known(budget),
        granted: known(granted),
        requested: known(requested),
        used: known(used),
    }
}

fn read_at(second: i64, reading: Reading) -> Cloud {
    let mut cloud = cloud();
    cloud.status = Some(status(&seen(cloud.clone()), &Outcome::Read(reading), at(second)));
    cloud
}

fn says(status: &CloudStatus) -> (&str, &str, &str) {
    let ready = conditions::find(&status.conditions, "Ready").unwrap();
    (&ready.status, &ready.reason, &ready.message)
}

#[test]
fn what_a_department_has_is_summed_and_what_is_missing_is_unknown() {
    let of = |change: fn(&mut Reading)| {
        let mut reading = reading();
        change(&mut reading);
        departments(&reading).remove("health").unwrap_or_default().remove(CPU)
    };
    let forbidden = || Gap::Forbidden("list x".into());
    assert_eq!(of(|_| {}), Some(line("8", "3", "2", "500m")));
    for (change, expected) in [
        ((|r| r.budgets = Err(Gap::Absent)) as fn(&mut Reading), line("", "3", "2", "500m")),
        (|r| r.budgets = Ok(BTreeMap::new()), line("", "3", "2", "500m")),
        (|r| drop(r.quotas.as_mut().unwrap().remove("health-web")), line("8", "", "", "500m")),
        (
            |r| r.quotas.as_mut().unwrap().get_mut("health-web").unwrap().used = None,
            line("8", "3", "", "500m"),
        ),
        (
            |r| r.quotas.as_mut().unwrap().get_mut("health-web").unwrap().hard.clear(),
            line("8", "", "2", "500m"),
        ),
        (|r| r.usage = Err(Gap::Absent), line("8", "3", "2", "")),
        (
            |r| {
                r.usage.as_mut().unwrap().insert("health-web".into(), Err("pod web has no reading".into()));
            },
            line("8", "3", "2", ""),
        ),
        (|r| drop(r.usage.as_mut().unwrap().remove("health-web")), line("8", "3", "2", "0m")),
    ] {
        assert_eq!(of(change), Some(expected));
    }
    let mut reading = reading();
    reading.quotas = Err(forbidden());
    assert_eq!(departments(&reading)["tax"][CPU], line("", "", "", "500m"));
    assert_eq!(departments(&reading)["tax"]["requests.memory"].granted, None, "nothing bounds it");
    // A Department whose namespaces are still to be made has a budget, and nothing else.
    reading.budgets.as_mut().unwrap().insert("new".into(), [(CPU.to_owned(), Quantity("1".into()))].into());
    assert_eq!(departments(&reading)["new"][CPU], line("1", "0", "0", "0m"));
}

#[test]
fn it_is_read_once_an_interval_and_whenever_it_is_another() {
    let mut seen = seen(cloud());
    assert_eq!(decide(&seen, at(0)), Plan::Read);
    seen.last = look(&seen, &Outcome::Read(reading()), at(0));
    assert_eq!(decide(&seen, at(59)), Plan::Keep);
    assert_eq!(again(&seen, &Outcome::Kept, at(20)), SignedDuration::from_secs(40));
    assert_eq!(decide(&seen, at(60)), Plan::Read);
    assert_eq!(decide(&seen, at(-1)), Plan::Read, "the clock was set back");
    let mut changed = seen.clone();
    changed.version = "8".into();
    assert_eq!(decide(&changed, at(1)), Plan::Read, "another Secret");
    changed = seen.clone();
    changed.cloud.metadata.generation = Some(2);
    assert_eq!(decide(&changed, at(1)), Plan::Read, "another spec");
    seen.last = look(&seen, &Outcome::failed("Unreachable", "no"), at(0));
    assert_eq!((decide(&seen, at(14)), decide(&seen, at(15))), (Plan::Keep, Plan::Read));
    seen.kubeconfig = Err("it is no kubeconfig".into());
    assert_eq!(decide(&seen, at(1)), Plan::Refuse("it is no kubeconfig".into()));
}

#[test]
fn the_status_says_what_is_missing_and_names_the_field() {
    let forbidden = |what: &str| Gap::Forbidden(what.to_owned());
    let mut bare = reading();
    bare.namespaces = Err(forbidden("list namespaces"));
    bare.quotas = Err(forbidden("list resourcequotas"));
    let mut blind = reading();
    blind.usage = Err(forbidden("list pods.metrics.k8s.io"));
    let mut unmeasured = reading();
    unmeasured.usage = Err(Gap::Absent);
    let mut plain = reading();
    plain.budgets = Err(Gap::Absent);
    let mut same = reading();
    same.cluster = Some("own".into());
    for (reading, ready, reason, words) in [
        (reading(), "True", "Read", ""),
        (plain, "True", "Read", ""),
        (blind, "True", "PartlyRead", "spec.kubeconfigSecretRef: its user may not list pods.metrics.k8s.io;"),
        (unmeasured, "True", "PartlyRead", "metrics.k8s.io is not served there"),
        (bare, "False", "Unauthorised", "may not list namespaces, nor list resourcequotas;"),
        (same, "False", "KubeconfigInvalid", "this very cluster, which would be counted twice"),
    ] {
        let status = status(&seen(cloud()), &Outcome::Read(reading), at(0));
        let said = says(&status);
        assert_eq!((said.0, said.1), (ready, reason), "{}", said.2);
        assert!(said.2.contains(words), "{}", said.2);
        assert_eq!(status.read_at.is_some(), ready == "True");
    }
}

#[test]
fn what_was_read_stays_as_history_and_the_same_again_changes_nothing() {
    let read = read_at(0, reading());
    let before = read.status.clone().unwrap();
    assert_eq!(before.namespaces, Some(3));
    let failed = Outcome::failed("Unreachable", "https://api does not answer");
    let mut lost = read.clone();
    lost.status = Some(status(&seen(read.clone()), &failed, at(60)));
    let after = lost.status.clone().unwrap();
    assert_eq!(
        says(&after),
        ("False", "Unreachable", "spec.kubeconfigSecretRef: https://api does not answer")
    );
    assert_eq!((&after.departments, &after.read_at), (&before.departments, &before.read_at));
    assert_eq!(status(&seen(lost.clone()), &failed, at(75)), after);
    assert_eq!(status(&seen(lost.clone()), &Outcome::Kept, at(75)), after);
    // Of a reading with the same numbers only its time changes.
    let next = status(&seen(read), &Outcome::Read(reading()), at(60));
    assert_eq!(CloudStatus { read_at: before.read_at.clone(), ..next }, before);
}

#[test]
fn a_share_is_unknown_while_its_cloud_is() {
    let share = |cloud: &Cloud, now| shares("health", [cloud], at(now)).remove("second").unwrap();
    let read = read_at(0, reading());
    assert_eq!(share(&read, 180).resources[CPU], line("8", "3", "2", "500m"));
    let unknown = |cloud: &Cloud, now, words: &str| {
        let share = share(cloud, now);
        assert!(
            share.resources.is_empty() && share.unknown.is_some_and(|why| why.contains(words)),
            "{words}"
        );
    };
    unknown(&read, 181, "Stale: it was read last at 2027-");
    unknown(&cloud(), 0, "NotRead");
    let mut lost = read.clone();
    lost.status = Some(status(&seen(read.clone()), &Outcome::failed("Unreachable", "no"), at(60)));
    unknown(&lost, 61, "Unreachable: see the conditions of Cloud second");
    let nothing = shares("school", [&read], at(0)).remove("second").unwrap();
    assert_eq!(nothing, CloudShare::default(), "known to have nothing");
}

fn own(budget: &str, committed: &str, requested: &str, used: &str) -> BTreeMap<String, BudgetLine> {
    let line = line(budget, committed, requested, used);
    let own = BudgetLine {
        budget: line.budget.unwrap(),
        committed: line.granted,
        requested: line.requested,
        used: line.used,
        over: None,
    };
    [(CPU.to_owned(), own)].into()
}

fn share(line: Option<CloudLine>) -> CloudShare {
    CloudShare { unknown: None, resources: line.map(|line| (CPU.to_owned(), line)).into_iter().collect() }
}

#[test]
fn a_sum_is_absent_where_a_part_is_unknown() {
    let own = own("60", "10", "4", "1500m");
    let sum = |shares: Vec<CloudShare>| {
        let named = shares.into_iter().enumerate().map(|(i, share)| (format!("cloud{i}"), share));
        total(&own, &named.collect()).remove(CPU)
    };
    let there = || share(Some(line("8", "3", "2", "500m")));
    let unknown = CloudShare { unknown: Some("Unreachable".into()), ..CloudShare::default() };
    let other = CloudShare {
        resources: [("requests.memory".to_owned(), line("1", "1", "1", "1"))].into(),
        ..CloudShare::default()
    };
    for (shares, expected) in [
        (vec![], None),
        (vec![share(None)], Some(line("60", "10", "4", "1500m"))),
        (vec![there()], Some(line("68", "13", "6", "2"))),
        (vec![there(), there(), share(None)], Some(line("76", "16", "8", "2500m"))),
        (vec![there(), unknown], Some(CloudLine::default())),
        (vec![share(Some(line("", "3", "2", "")))], Some(line("", "13", "6", ""))),
        (vec![there(), other], Some(CloudLine::default())),
    ] {
        assert_eq!(sum(shares.clone()), expected, "{shares:?}");
    }
}

#[test]
fn only_whom_it_concerns_is_woken() {
    let (read, again) = (read_at(0, reading()), read_at(60, reading()));
    let mut other = reading();
    other
        .usage
        .as_mut()
        .unwrap()
        .insert("dept-tax".into(), Ok(Usage { cpu: 1_000_000_000, memory: 1 << 60 }));
    other.namespaces.as_mut().unwrap().insert("school".into(), "school".into());
    let (other, now) = (read_at(60, other), at(61));
    let these = Concerned::These(["school".to_owned(), "tax".to_owned()].into());
    let mut lost = read.clone();
    lost.status = Some(status(&seen(read.clone()), &Outcome::failed("Unreachable", "no"), at(60)));
    for (before, after, expected) in [
        (Some(&read), Some(&again), Concerned::Nobody),
        (Some(&read), Some(&other), these),
        (Some(&read), Some(&lost), Concerned::All),
        (Some(&lost), Some(&lost), Concerned::Nobody),
        (Some(&lost), Some(&again), Concerned::All),
        (None, Some(&read), Concerned::All),
        (Some(&read), None, Concerned::All),
        (None, None, Concerned::Nobody),
    ] {
        assert_eq!(concerned(before, after, now), expected);
    }
    assert_eq!(concerned(Some(&read), Some(&again), at(200)), Concerned::All, "it was stale in between");
}

fn amount() -> impl Strategy<Value = Option<i128>> {
    proptest::option::weighted(0.9, 0i128..1 << 80)
}

fn any_share() -> impl Strategy<Value = CloudShare> {
    let line =
        (amount(), amount(), amount(), amount()).prop_map(|(budget, granted, requested, used)| CloudLine {
            budget: budget.map(quantity::exact),
            granted: granted.map(quantity::exact),
            requested: requested.map(quantity::exact),
            used: used.map(quantity::exact),
        });
    prop_oneof![
        8 => line.prop_map(|line| share(Some(line))),
        1 => Just(share(None)),
        1 => Just(CloudShare { unknown: Some("Unreachable".into()), ..CloudShare::default() }),
    ]
}

/// A sum, our own part of it, and the part of others.
type Column<'a> = (Option<&'a Quantity>, Option<&'a Quantity>, fn(&CloudLine) -> Option<&Quantity>);

proptest! {
    #[test]
    fn a_total_is_never_less_than_a_part_and_never_made_of_unknowns(
        mine in any_share(),
        shares in proptest::collection::vec(any_share(), 1..5),
    ) {
        let mine = mine.resources.get(CPU).cloned().unwrap_or_default();
        let own = BudgetLine {
            budget: mine.budget.clone().unwrap_or(Quantity("0".into())),
            committed: mine.granted.clone(),
            requested: mine.requested.clone(),
            used: mine.used.clone(),
            over: None,
        };
        let shares: BTreeMap<String, CloudShare> =
            shares.into_iter().enumerate().map(|(i, share)| (i.to_string(), share)).collect();
        let total = total(&[(CPU.to_owned(), own.clone())].into(), &shares).remove(CPU).unwrap();
        let columns: [Column<'_>; 4] = [
            (total.budget.as_ref(), Some(&own.budget), |line| line.budget.as_ref()),
            (total.granted.as_ref(), own.committed.as_ref(), |line| line.granted.as_ref()),
            (total.requested.as_ref(), own.requested.as_ref(), |line| line.requested.as_ref()),
            (total.used.as_ref(), own.used.as_ref(), |line| line.used.as_ref()),
        ];
        for (sum, own, of) in columns {
            let there = shares.values().filter(|share| share.unknown.is_some() || !share.resources.is_empty());
            let parts: Vec<Option<i128>> = there
                .map(|share| share.resources.get(CPU).and_then(of))
                .chain([own])
                .map(|part| part.map(|part| quantity::parse(part).unwrap()))
                .collect();
            match sum {
                None => prop_assert!(parts.contains(&None)),
                Some(sum) => {
                    let sum = quantity::parse(sum).unwrap();
                    prop_assert!(parts.iter().all(|part| part.is_some_and(|part| part <= sum)), "{:?}", parts);
                }
            }
        }
    }
}
