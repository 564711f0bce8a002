use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn point(taken: &str) -> Point {
    Point {
        name: format!("p-{taken}"),
        taken_at: at(taken),
        arrived_at: Some(at(taken)),
        state: CopyState::Verified,
        held: None,
        in_use: None,
        unusual: false,
    }
}

fn kept(points: &[Point], rules: &Rules, now: &str) -> Vec<String> {
    let verdicts = judge(points, rules, at(now));
    verdicts.into_iter().filter(|(_, v)| *v != Verdict::Expired).map(|(name, _)| name).collect()
}

const NOW: &str = "2026-11-27T12:00:00Z";

#[test]
fn grandfather_father_son() {
    let days = ["24T02", "24T14", "25T02", "25T14", "26T02", "27T02"];
    let mut points: Vec<Point> = days.map(|d| point(&format!("2026-11-{d}:00:00Z"))).into();
    points.extend(["2026-10-31T02:00:00Z", "2026-10-01T02:00:00Z", "2025-12-31T02:00:00Z"].map(point));
    let rules = Rules { last: 1, daily: 3, monthly: 2, yearly: 2, ..Rules::default() };
    let verdicts = judge(&points, &rules, at(NOW));
    let of = |taken: &str| verdicts[&format!("p-{taken}")].clone();
    let why = |reasons: &[&str]| Verdict::Kept(reasons.iter().map(|r| (*r).to_owned()).collect());
    let newest = ["last", "daily 2026-11-27", "monthly 2026-11", "yearly 2026", "newest Verified"];
    assert_eq!(of("2026-11-27T02:00:00Z"), why(&newest));
    assert_eq!(of("2026-11-26T02:00:00Z"), why(&["daily 2026-11-26"]));
    assert_eq!(of("2026-11-25T14:00:00Z"), why(&["daily 2026-11-25"]));
    assert_eq!(of("2026-11-25T02:00:00Z"), Verdict::Expired);
    assert_eq!(of("2026-11-24T14:00:00Z"), Verdict::Expired);
    assert_eq!(of("2026-10-31T02:00:00Z"), why(&["monthly 2026-10"]));
    assert_eq!(of("2026-10-01T02:00:00Z"), Verdict::Expired);
    assert_eq!(of("2025-12-31T02:00:00Z"), why(&["yearly 2025"]));
}

#[test]
fn a_week_of_two_years_is_one() {
    // 2026-12-31 and 2027-01-01 are both in the week 53 of 2026.
    let points = ["2026-12-31T02:00:00Z", "2027-01-01T02:00:00Z", "2026-12-24T02:00:00Z"].map(point);
    let rules = Rules { weekly: 2, ..Rules::default() };
    let kept = kept(&points, &rules, "2027-01-02T00:00:00Z");
    assert_eq!(kept, ["p-2026-12-24T02:00:00Z", "p-2027-01-01T02:00:00Z"]);
}

#[test]
fn what_is_protected_stays() {
    let one = Rules { last: 1, minimum_age: SignedDuration::from_hours(24), ..Rules::default() };
    let newest = point("2026-11-26T11:00:00Z");
    let old = point("2026-11-20T02:00:00Z");
    let stays = |point: Point| kept(&[newest.clone(), point.clone()], &one, NOW).contains(&point.name);
    assert!(!stays(old.clone()));
    assert!(stays(Point { held: Some("case 12".into()), ..old.clone() }));
    assert!(stays(Point { in_use: Some("drill x".into()), ..old.clone() }));
    // Pulled only now, whatever its origin says of when it was taken.
    assert!(stays(Point { arrived_at: Some(at("2026-11-27T11:00:00Z")), ..old.clone() }));
    assert!(stays(Point { arrived_at: None, ..old.clone() }));
    assert!(stays(Point { state: CopyState::Copied, ..old }));
}

#[test]
fn the_last_point_before_an_unusual_change_outlives_the_rules() {
    let rules = Rules { last: 1, ..Rules::default() };
    let days = ["20", "21", "22", "23"].map(|d| point(&format!("2026-11-{d}T02:00:00Z")));
    assert_eq!(kept(&days, &rules, NOW), ["p-2026-11-23T02:00:00Z"]);
    let mut attacked = days;
    for encrypted in &mut attacked[2..] {
        encrypted.unusual = true;
    }
    let all = |days: &[&str]| days.iter().map(|d| format!("p-2026-11-{d}T02:00:00Z")).collect::<Vec<_>>();
    assert_eq!(kept(&attacked, &rules, NOW), all(&["21", "22", "23"]));
    assert_eq!(kept(&attacked, &rules, "2026-12-22T02:00:00Z"), all(&["21", "23"]));
    assert_eq!(kept(&attacked, &rules, "2026-12-24T02:00:00Z"), all(&["23"]));
}

#[test]
fn what_is_not_proved_pushes_nothing_out() {
    let rules = Rules { last: 1, ..Rules::default() };
    let good = point("2026-11-20T02:00:00Z");
    for state in [CopyState::Copied, CopyState::Damaged, CopyState::Pending] {
        let newer = Point { state, ..point("2026-11-26T02:00:00Z") };
        assert!(kept(&[good.clone(), newer], &rules, NOW).contains(&good.name), "{state:?}");
    }
    // Nor does one that claims to be of tomorrow.
    let forged = point("2026-11-28T02:00:00Z");
    assert!(kept(&[good.clone(), forged], &rules, NOW).contains(&good.name));
    let damaged = Point { state: CopyState::Damaged, ..point("2026-11-19T02:00:00Z") };
    assert_eq!(kept(&[good.clone(), damaged], &rules, NOW), [good.name]);
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (0u16..4, 0u16..4, 0u16..4, 0u16..4, 0u16..4, 0u16..3, 0i64..100).prop_map(
        |(last, h, d, w, m, y, age)| Rules {
            last,
            hourly: h,
            daily: d,
            weekly: w,
            monthly: m,
            yearly: y,
            minimum_age: SignedDuration::from_hours(age),
        },
    )
}

fn any_points() -> impl Strategy<Value = Vec<Point>> {
    let state = prop_oneof![4 => Just(CopyState::Verified), 1 => Just(CopyState::Copied), 1 => Just(CopyState::Damaged)];
    let one = (
        0i64..20_000,
        0i64..50,
        state,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    );
    prop::collection::vec(one, 0..30).prop_map(|list| {
        let made = list.into_iter().enumerate().map(|(n, (hours, late, state, held, used, unusual))| Point {
            name: format!("p{n}"),
            taken_at: at(NOW) - SignedDuration::from_hours(hours),
            arrived_at: Some(at(NOW) - SignedDuration::from_hours((hours - late).max(0))),
            state,
            held: held.then(|| "case".into()),
            in_use: used.then(|| "drill".into()),
            unusual,
        });
        made.collect()
    })
}

fn names(points: &[Point], rules: &Rules) -> Vec<String> {
    kept(points, rules, NOW)
}

proptest! {
    #[test]
    fn judged_again_nothing_more_goes(points in any_points(), rules in any_rules()) {
        let first = names(&points, &rules);
        let left: Vec<Point> = points.into_iter().filter(|p| first.contains(&p.name)).collect();
        prop_assert_eq!(names(&left, &rules), first);
    }

    #[test]
    fn the_newest_verified_stays(points in any_points(), rules in any_rules()) {
        let newest = points.iter().filter(|p| p.state == CopyState::Verified).max_by_key(|p| (p.taken_at, p.name.clone()));
        if let Some(newest) = newest {
            prop_assert!(names(&points, &rules).contains(&newest.name));
        }
    }

    #[test]
    fn a_newer_point_takes_no_protection_away(points in any_points(), rules in any_rules()) {
        let mut more = points.clone();
        more.push(Point { name: "newer".into(), ..point(NOW) });
        let kept = names(&more, &rules);
        for point in &points {
            let young = at(NOW).duration_since(point.arrived_at.unwrap()) < rules.minimum_age;
            if point.held.is_some() || point.in_use.is_some() || young {
                prop_assert!(kept.contains(&point.name), "{:?}", point);
            }
        }
    }

    #[test]
    fn more_rules_keep_what_each_keeps(points in any_points(), one in any_rules(), two in any_rules()) {
        let both = Rules {
            last: one.last.max(two.last), hourly: one.hourly.max(two.hourly), daily: one.daily.max(two.daily),
            weekly: one.weekly.max(two.weekly), monthly: one.monthly.max(two.monthly), yearly: one.yearly.max(two.yearly),
            minimum_age: one.minimum_age.max(two.minimum_age),
        };
        let kept = names(&points, &both);
        for name in names(&points, &one).into_iter().chain(names(&points, &two)) {
            prop_assert!(kept.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_unproved_change_nothing_for_the_proved(points in any_points(), rules in any_rules()) {
        let proved: Vec<Point> = points.iter().filter(|p| p.state == CopyState::Verified).cloned().collect();
        let (all, alone) = (judge(&points, &rules, at(NOW)), judge(&proved, &rules, at(NOW)));
        for point in proved {
            prop_assert_eq!(&all[&point.name], &alone[&point.name]);
        }
    }
}
