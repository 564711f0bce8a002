//! When a budget will be used up, and how sure that is: an answer with its evidence, or none.
//!
//! How it is reached, so that it can be explained to whom it concerns:
//! - *Season.* What a day of the week has beyond the week's middle is taken off, where that explains most of the noise.
//! - *Jumps.* A granted expansion is a jump, not growth: up to two are taken out. A third one says that expansions are
//!   the growth; then none is. A jump counts from its fifth known day on: before, it may be a spike.
//! - *Growth* is the median of all slopes between two days that are whole weeks apart (Theil–Sen). Where the newer half
//!   of the window contradicts the older, either it changed one day, and what was before does not count, or it fades or
//!   gathers pace, and goes on so: whichever leaves less over. Growth that can't be told from noise is none.
//! - *Level* is the median of the last weeks, brought forward to today.
//! - *Uncertainty*: what is left over is shuffled in blocks of two weeks, and all is reckoned again, 200 times; in every
//!   fifth, only the newest six weeks count. The generator is fixed: the same days give the same answer everywhere.
//!
//! A day without a value is unknown, never zero. No clock: `today` is an argument. It extends what was; it knows nothing
//! of plans. `tests/forecast` compares it with a straight line.

use std::collections::BTreeMap;

use crate::explain::Line;
use trend::{Path, Point};

mod jumps;
mod season;
mod trend;

/// Days that are looked at, today included.
pub const WINDOW_DAYS: i64 = 84;
/// Days ahead beyond which nothing is said.
pub const HORIZON_DAYS: u32 = 730;
/// Of the last so many days, [`NEEDED_DAYS`] have to be known.
pub const RECENT_DAYS: i64 = 28;
/// Known days below which nothing is said.
pub const NEEDED_DAYS: u32 = 14;

/// Relative: what rounding may do.
const ROUNDING: f64 = 1e-9;

/// When a budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// What the highest day of a week takes now is the budget, or more.
    Exhausted,
    /// No growth was seen, or none that would use it up within [`HORIZON_DAYS`].
    Never,
    /// Days from today, at most [`HORIZON_DAYS`]; `earliest` to `latest` is the interval of 80 %.
    InDays {
        /// At least 1. [`HORIZON_DAYS`] stands for later, too: then only the interval reaches below it.
        likely: u32,
        /// From 0 to `likely`.
        earliest: u32,
        /// `None`: beyond the horizon.
        latest: Option<u32>,
    },
    /// Too few of the last [`RECENT_DAYS`] days are known.
    TooLittle {
        /// Known days.
        have: u32,
        /// [`NEEDED_DAYS`].
        need: u32,
    },
}

impl Forecast {
    /// For people.
    #[must_use]
    pub fn line(&self) -> Line {
        match self {
            Self::Exhausted => Line::new("exhausted", "已用尽"),
            Self::Never => {
                Line::new(format!("not within {HORIZON_DAYS} days"), format!("{HORIZON_DAYS} 天内不会用尽"))
            }
            Self::InDays { likely, earliest, latest } => {
                // On the horizon or beyond it.
                let or_more = *likely == HORIZON_DAYS && latest.is_none();
                let (more, later) = if or_more { (" or more", "或更久") } else { ("", "") };
                let (en, zh) = match latest {
                    Some(latest) => (latest.to_string(), format!(" {latest} 天")),
                    None => (format!("beyond {HORIZON_DAYS}"), format!("超过 {HORIZON_DAYS} 天")),
                };
                Line::new(
                    format!("in {likely}{more} days (80 %: {earliest} to {en})"),
                    format!("约 {likely} 天{later}后用尽（80 % 区间：{earliest} 天至{zh}）"),
                )
            }
            Self::TooLittle { have, need } => Line::new(
                format!("too little is known: {have} of at least {need} days"),
                format!("数据不足：已知 {have} 天，至少需要 {need} 天"),
            ),
        }
    }
}

/// When the series reaches the budget. Amounts in billionths of the unit; days are numbers of any epoch. Days after
/// today, and before the window, don't count; of two values of one day the larger does.
#[must_use]
pub fn forecast(known: &[(i64, i128)], budget: i128, today: i64) -> Forecast {
    match Outlook::of(known, today) {
        Ok(outlook) => outlook.reaches(budget),
        Err(have) => Forecast::TooLittle { have, need: NEEDED_DAYS },
    }
}

/// An amount that is expected, in billionths of the unit, with the interval of 80 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub likely: i128,
    /// At most `likely`.
    pub low: i128,
    /// At least `likely`.
    pub high: i128,
}

/// What a series does, and would do if all goes on as it goes.
#[derive(Clone, Debug)]
pub struct Outlook {
    today: i64,
    likely: Course,
    /// What else it might be.
    others: Vec<Course>,
    /// The least of the last three known days: what a jump has reached counts at once.
    held: f64,
}

/// Where it goes, and what each day of the week has beyond that.
#[derive(Clone, Copy, Debug)]
struct Course {
    path: Path,
    season: [f64; 7],
}

impl Outlook {
    /// Reads the series, as [`forecast`] does.
    ///
    /// # Errors
    /// The number of known days among the last [`RECENT_DAYS`], if it is below [`NEEDED_DAYS`]. No more is asked of how
    /// many days are known, or how long ago the first is.
    pub fn of(known: &[(i64, i128)], today: i64) -> Result<Self, u32> {
        let mut points = points(known, today);
        let recent = points.iter().filter(|p| p.x > -days(RECENT_DAYS)).count();
        let recent = u32::try_from(recent).unwrap_or(u32::MAX);
        if recent < NEEDED_DAYS {
            return Err(recent);
        }
        let held = points.iter().rev().take(3).map(|p| p.y).fold(f64::INFINITY, f64::min);
        let season = season::season(&points);
        for point in &mut points {
            point.y -= season[point.weekday];
        }
        jumps::take_out(&mut points);
        let (points, pace) = trend::newest_regime(&points);
        let mut path = trend::fit(points, &trend::pairs(points), pace);
        let others: Vec<Course> = trend::replicas(points, path, season);
        // Nineteen of twenty have to agree on which way it goes; those that look at the newest days only are not asked.
        let asked = others.iter().enumerate().filter(|(number, _)| number % trend::NEWEST != 0);
        let mut slopes: Vec<f64> = asked.map(|(_, other)| other.path.slope).collect();
        slopes.sort_unstable_by(f64::total_cmp);
        let few = slopes.len() / 40;
        if slopes[few] <= 0.0 && slopes[slopes.len() - 1 - few] >= 0.0 {
            path = trend::settle(points, Path { slope: 0.0, ..path });
        }
        Ok(Self { today, likely: Course { path, season }, others, held })
    }

    /// When it reaches a budget, in billionths of the unit.
    #[must_use]
    pub fn reaches(&self, budget: i128) -> Forecast {
        let budget = float(budget);
        let budget = budget - budget.abs() * ROUNDING;
        let never = f64::from(HORIZON_DAYS) + 1.0;
        let days = |course: &Course| self.crossing(course, budget).map_or(never, f64::from);
        let (earliest, latest) = interval(self.others.iter().map(days).collect());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 0 to 731")]
        let (earliest, latest) = (earliest as u32, latest as u32);
        let likely = match self.crossing(&self.likely, budget) {
            _ if self.held >= budget => return Forecast::Exhausted,
            Some(0) => return Forecast::Exhausted,
            Some(likely) => likely,
            // It grows, and it may be sooner than it seems: that is not to be called never.
            None if self.likely.path.slope > 0.0 && earliest <= HORIZON_DAYS => HORIZON_DAYS,
            None => return Forecast::Never,
        };
        let latest = (latest <= HORIZON_DAYS).then_some(latest.max(likely));
        Forecast::InDays { likely, earliest: earliest.min(likely), latest }
    }

    /// What is expected so many days from today: of a day, its weekday included, without that day's own noise.
    #[must_use]
    pub fn at(&self, ahead: u32) -> Expected {
        let (low, high) = interval(self.others.iter().map(|other| self.value(other, ahead)).collect());
        let likely = self.value(&self.likely, ahead);
        Expected { likely: whole(likely), low: whole(low.min(likely)), high: whole(high.max(likely)) }
    }

    fn value(&self, course: &Course, ahead: u32) -> f64 {
        let weekday = (self.today.rem_euclid(7) + i64::from(ahead)).rem_euclid(7);
        let season = course.season[usize::try_from(weekday).unwrap_or(0)];
        course.path.level + course.path.growth(f64::from(ahead)) + season
    }

    /// The first day on which it is at the budget; today is 0, and stands for the highest day of the week.
    fn crossing(&self, course: &Course, budget: f64) -> Option<u32> {
        let peak = course.season.iter().copied().fold(0.0, f64::max);
        if course.path.level + peak >= budget {
            return Some(0);
        }
        (1..=HORIZON_DAYS).find(|ahead| self.value(course, *ahead) >= budget)
    }
}

fn points(known: &[(i64, i128)], today: i64) -> Vec<Point> {
    let mut by_day: BTreeMap<i64, i128> = BTreeMap::new();
    let first = today.saturating_sub(WINDOW_DAYS);
    for (day, amount) in known.iter().filter(|(day, _)| *day > first && *day <= today) {
        by_day.entry(*day).and_modify(|most| *most = (*most).max(*amount)).or_insert(*amount);
    }
    let point = |(day, amount): (i64, i128)| Point {
        x: days(day - today),
        y: float(amount),
        weekday: usize::try_from(day.rem_euclid(7)).unwrap_or(0),
        piece: 0,
    };
    by_day.into_iter().map(point).collect()
}

/// Between the lowest and the highest tenth.
fn interval(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    (values[values.len() / 10], values[values.len() - 1 - values.len() / 10])
}

/// The middle; of an even number the mean of both, of none zero.
fn median(mut values: Vec<f64>) -> f64 {
    let half = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let even = values.len().is_multiple_of(2);
    let (lower, middle, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let lower = lower.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if even { lower.midpoint(*middle) } else { *middle }
}

#[allow(clippy::cast_precision_loss, reason = "fifteen digits are more than a forecast has")]
fn float(amount: i128) -> f64 {
    amount as f64
}

#[allow(clippy::cast_possible_truncation, reason = "it saturates")]
fn whole(amount: f64) -> i128 {
    amount.round() as i128
}

/// Of a span within the window.
fn days(span: i64) -> f64 {
    f64::from(i32::try_from(span).unwrap_or(i32::MIN))
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
