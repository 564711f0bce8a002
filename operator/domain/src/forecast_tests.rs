use super::*;
use proptest::prelude::*;

/// A day like any other: which weekday it is does not matter, only the rhythm.
const TODAY: i64 = 100;
const UNIT: i128 = 1_000_000_000;

fn series(days: impl IntoIterator<Item = i64>, amount: impl Fn(i64) -> i64) -> Vec<(i64, i128)> {
    days.into_iter().map(|day| (day, i128::from(amount(day)) * UNIT)).collect()
}

fn ask(known: &[(i64, i128)], budget: i128) -> Forecast {
    forecast(known, budget * UNIT, TODAY)
}

/// As far as order goes: exhausted now, in so many days, never.
fn rank(forecast: Forecast) -> u32 {
    match forecast {
        Forecast::Exhausted => 0,
        Forecast::InDays { likely, .. } => likely,
        Forecast::Never => HORIZON_DAYS + 1,
        Forecast::TooLittle { .. } => panic!("enough days were given"),
    }
}

fn in_days(likely: u32) -> Forecast {
    Forecast::InDays { likely, earliest: likely, latest: Some(likely) }
}

#[test]
fn a_straight_line_is_extended_to_the_day() {
    let known = series(11..=100, |day| day);
    assert_eq!(ask(&known, 145), in_days(45));
    assert_eq!(ask(&known, 101), in_days(1));
    assert_eq!(ask(&known, 100), Forecast::Exhausted);
    assert_eq!(ask(&known, 830), in_days(730));
    assert_eq!(ask(&known, 831), Forecast::Never);
}

#[test]
fn what_does_not_grow_is_never_used_up() {
    assert_eq!(ask(&series(11..=100, |_| 7), 8), Forecast::Never);
    assert_eq!(ask(&series(11..=100, |day| 200 - day), 130), Forecast::Never);
    assert_eq!(ask(&series(11..=100, |_| 8), 8), Forecast::Exhausted);
}

#[test]
fn too_few_known_days_give_no_answer() {
    let too_little = |have| Forecast::TooLittle { have, need: NEEDED_DAYS };
    assert_eq!(ask(&[], 10), too_little(0));
    assert_eq!(ask(&series(88..=100, |day| day), 500), too_little(13));
    assert_eq!(ask(&series(87..=100, |day| day), 145), in_days(45));
    // Long ago there were many; of the last four weeks there are few.
    assert_eq!(ask(&series((1..=72).chain(88..=100), |day| day), 500), too_little(13));
}

#[test]
fn neither_what_was_before_the_window_nor_what_is_to_come_counts() {
    let known = series(11..=100, |day| day);
    let more = series((-300..=16).chain(101..=200), |_| 1_000_000);
    assert_eq!(ask(&[known, more].concat(), 145), in_days(45));
}

#[test]
fn an_expansion_is_not_growth() {
    let step = |at: i64| move |day: i64| if day < at { 40 } else { 60 };
    for at in [30, 60, 90, 96] {
        assert_eq!(ask(&series(17..=100, step(at)), 100), Forecast::Never, "{at}");
    }
    // Growth goes on beside it.
    let known = series(17..=100, |day| day + step(70)(day));
    assert_eq!(ask(&known, 205), in_days(45));
    // What was reached at once counts at once, also before it is known to be a jump.
    assert_eq!(ask(&series(17..=100, step(98)), 60), Forecast::Exhausted);
}

#[test]
fn many_expansions_are_how_it_grows() {
    // Ten every two weeks: 80 on day 100, on a line that is at 84 then.
    let known = series(17..=100, |day| 30 + (day - 17) / 14 * 10);
    let Forecast::InDays { likely, earliest, .. } = ask(&known, 150) else { panic!("it grows") };
    assert!((70..=110).contains(&likely), "{likely}");
    assert!(earliest <= likely);
}

#[test]
fn a_week_has_its_days() {
    let weekend = |day: i64| day.rem_euclid(7) >= 5;
    let known = series(17..=100, |day| if weekend(day) { 40 } else { 100 } + day);
    assert_eq!(ask(&known, 235), in_days(35));
    // Day 131 would have it, but is a weekend's first, so that it comes after that.
    assert_eq!((131i64.rem_euclid(7), 132i64.rem_euclid(7)), (5, 6));
    assert_eq!(ask(&known, 231), in_days(33));
    // On a weekend too, what the week's days take counts.
    let flat = series(10..=97, |day| if weekend(day) { 40 } else { 100 });
    assert!(weekend(97));
    assert_eq!(forecast(&flat, 100 * UNIT, 97), Forecast::Exhausted);
}

#[test]
fn spikes_are_no_growth_and_no_level() {
    let known = series(17..=100, |day| if day % 9 == 1 { 500 } else { day });
    assert_eq!(ask(&known, 145), in_days(45));
}

#[test]
fn growth_that_has_ended_is_over() {
    let known = series(17..=100, |day| day.min(60));
    assert_eq!(ask(&known, 80), Forecast::Never);
}

#[test]
fn growth_that_has_changed_is_what_it_is_now() {
    let known = series(17..=100, |day| if day <= 70 { 2 * day } else { 70 + day });
    assert_eq!(ask(&known, 215), in_days(45));
}

#[test]
fn growth_that_fades_is_not_called_never() {
    let shrinking = |day: i64| (17..day).fold(10_000_000, |left, _| left * 98 / 100);
    let known = series(17..=100, |day| 10_000_000 - shrinking(day));
    let reached = |forecast: Forecast| match forecast {
        Forecast::InDays { likely, earliest, latest } => (likely, earliest < 100, latest),
        other => panic!("{other:?}"),
    };
    // 98 hundredths of the rest are left each day: half of it after 34 days.
    let half = 10_000_000 - i128::from(shrinking(100)) / 2;
    let (likely, _, _) = reached(ask(&known, half));
    assert!((33..=37).contains(&likely), "{likely}");
    // It may never come to this; but if it fades no more, it will.
    assert_eq!(reached(ask(&known, 10_100_000)), (HORIZON_DAYS, true, None));
}

#[test]
fn of_two_values_of_a_day_the_larger_counts() {
    let known = series((17..=100).chain(17..=100), |day| day);
    let lower = series(17..=100, |_| 0);
    assert_eq!(ask(&[known, lower].concat(), 145), in_days(45));
}

#[test]
fn what_is_expected_ahead_is_on_the_line() {
    let outlook = Outlook::of(&series(11..=100, |day| day), TODAY).unwrap();
    let expected = outlook.at(30);
    assert_eq!((expected.low, expected.likely, expected.high), (130 * UNIT, 130 * UNIT, 130 * UNIT));
}

#[test]
fn it_is_said_in_both_languages() {
    let said = |forecast: Forecast| forecast.line();
    assert_eq!(
        said(Forecast::InDays { likely: 45, earliest: 30, latest: None }),
        Line::new("in 45 days (80 %: 30 to beyond 730)", "约 45 天后用尽（80 % 区间：30 天至超过 730 天）")
    );
    assert_eq!(
        said(Forecast::InDays { likely: 730, earliest: 80, latest: None }),
        Line::new(
            "in 730 or more days (80 %: 80 to beyond 730)",
            "约 730 天或更久后用尽（80 % 区间：80 天至超过 730 天）"
        )
    );
    assert_eq!(
        said(Forecast::TooLittle { have: 3, need: 14 }),
        Line::new("too little is known: 3 of at least 14 days", "数据不足：已知 3 天，至少需要 14 天")
    );
}

/// Between 40 and 84 days, noisy, some of them missing, enough of them known.
fn noisy() -> impl Strategy<Value = Vec<(i64, i128)>> {
    let day = (0i128..1_000_000, proptest::bool::weighted(0.8));
    let days = proptest::collection::vec(day, 40..84);
    (days, -5_000i128..20_000).prop_map(|(days, slope)| {
        let last = days.len();
        let known = days.into_iter().enumerate().filter(|(i, (_, known))| *known || last - i <= 14);
        let amount = |i: usize, noise: i128| 1_000_000 + slope * i128::try_from(i).unwrap() + noise;
        known.map(|(i, (noise, _))| (TODAY + 1 + day_of(i) - day_of(last), amount(i, noise))).collect()
    })
}

fn day_of(index: usize) -> i64 {
    i64::try_from(index).unwrap()
}

proptest! {
    #[test]
    fn never_panics(
        known in proptest::collection::vec((any::<i64>(), any::<i128>()), 0..40),
        near in proptest::collection::vec((-90i64..5, any::<i128>()), 0..120),
        budget in any::<i128>(),
        today in any::<i64>(),
    ) {
        let near = near.into_iter().map(|(day, amount)| (today.saturating_add(day), amount));
        let known: Vec<_> = known.into_iter().chain(near).collect();
        let forecast = forecast(&known, budget, today);
        if let Forecast::InDays { likely, earliest, latest } = forecast {
            prop_assert!((1..=HORIZON_DAYS).contains(&likely) && earliest <= likely);
            prop_assert!(latest.is_none_or(|latest| (likely..=HORIZON_DAYS).contains(&latest)));
        }
    }

    #[test]
    fn a_larger_budget_never_lasts_shorter(
        known in noisy(),
        budget in 0i128..5_000_000,
        more in 0i128..5_000_000,
    ) {
        let (small, large) = (forecast(&known, budget, TODAY), forecast(&known, budget + more, TODAY));
        prop_assert!(rank(small) <= rank(large), "{small:?} {large:?}");
    }

    #[test]
    fn days_that_are_not_known_are_no_zeros(
        missing in proptest::collection::btree_set(17i64..100, 0..60),
        level in 1i64..1_000,
        slope in 0i64..20,
    ) {
        // Half of the last four weeks stays known: every other day.
        let known = |day: &i64| !missing.contains(day) || (*day > 72 && day % 2 == 0);
        let known = series((17..=100).filter(known), |day| level + slope * day);
        let budget = i128::from(level + slope * 145) + i128::from(slope == 0);
        let expected = if slope == 0 { Forecast::Never } else { in_days(45) };
        prop_assert_eq!(ask(&known, budget), expected);
    }
}
