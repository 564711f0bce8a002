//! The scorecard of a department and a month (考核): what it was given, what it used, how fast it was served, and where
//! its systems stand.
//!
//! One value, and three ways to show it: Markdown, HTML and JSON, made from one [`Document`], so that a figure has the
//! same digits everywhere. Amounts are exact ([`quantity::exact`]); every percentage comes from [`percent`]. What is not
//! known is said to be unknown, and is never a zero, nor part of a sum.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use tripod_crds::department::Zone;

use crate::explain::Line;
use crate::forecast::Forecast;
use crate::quantity;

pub use document::{Cell, Column, Document, Table};
pub use html::html;
pub use json::json;
pub use markdown::markdown;
pub use overview::overview;

mod document;
pub mod gather;
mod html;
mod json;
mod markdown;
mod overview;
mod tables;

/// The language that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    English,
    Chinese,
}

impl Language {
    /// What is said in it.
    #[must_use]
    pub fn of(self, line: &Line) -> &str {
        match self {
            Self::English => &line.en,
            Self::Chinese => &line.zh,
        }
    }
}

/// A calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    pub year: i16,
    /// 1 to 12.
    pub month: i8,
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// What a budget bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Cores.
    Cpu,
    /// Bytes.
    Memory,
    /// Bytes.
    Storage,
    /// Pieces.
    Gpu,
}

impl Resource {
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Storage, Self::Gpu];
}

/// A department in a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scorecard {
    /// The name of the Department.
    pub department: String,
    pub display_name: String,
    pub month: Month,
    pub generated_at: Timestamp,
    /// A resource that is missing is unknown.
    pub resources: BTreeMap<Resource, Usage>,
    pub policy: Policy,
    /// Of the systems that were delivered in the month; `None`: unknown.
    pub deliveries: Option<Deliveries>,
    /// What waits for longer than it should; `None`: unknown, empty: nothing does.
    pub overdue: Option<Vec<Overdue>>,
    /// `None`: unknown, empty: it has none.
    pub systems: Option<Vec<System>>,
    pub hardware: Hardware,
}

/// One resource of a department, in billionths of the unit. `None`: unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub budget: Option<i128>,
    /// What of the budget is bound: reserved, enforced or used ([`crate::ledger`]).
    pub committed: Option<i128>,
    /// What the quotas of its systems sum up to.
    pub granted: Option<i128>,
    /// What the pods request.
    pub requested: Option<i128>,
    pub used_average: Option<i128>,
    pub used_p95: Option<i128>,
    pub used_peak: Option<i128>,
    /// Share of the month with readings, in basis points: 0 to 10 000.
    pub coverage: Option<u32>,
    /// When the budget will be committed.
    pub forecast: Option<Forecast>,
}

impl Usage {
    /// Allocation rate (分配率): granted of budget.
    #[must_use]
    pub fn allocation(&self) -> Option<Rate> {
        Rate::of(self.granted, self.budget)
    }

    /// Utilisation rate (利用率): used on average of granted.
    #[must_use]
    pub fn utilisation(&self) -> Option<Rate> {
        Rate::of(self.used_average, self.granted)
    }
}

/// What is called high and low: data with a date and a source, never constants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Where the thresholds are from, in words.
    pub source: Line,
    pub dated: Date,
    /// A resource without thresholds has no class.
    pub thresholds: BTreeMap<Resource, Thresholds>,
    /// Below this coverage no class is given; in basis points.
    pub least_coverage: u32,
}

/// Of the utilisation rate, in basis points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    pub high_above: u32,
    pub low_below: u32,
}

/// How a month's average is called. It is no verdict on a system: that needs its peak, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    High,
    Normal,
    Low,
}

impl Policy {
    /// The class of a resource; `None`: unknown, or too little was measured. What is compared is the rate as it is
    /// printed: 50.00 % is not above 50 %.
    #[must_use]
    pub fn class(&self, resource: Resource, usage: &Usage) -> Option<Class> {
        let thresholds = self.thresholds.get(&resource)?;
        let Rate::Is(rate) = usage.utilisation()? else { return None };
        if usage.coverage? < self.least_coverage {
            return None;
        }
        Some(match rate.0 {
            rate if rate > i128::from(thresholds.high_above) => Class::High,
            rate if rate < i128::from(thresholds.low_below) => Class::Low,
            _ => Class::Normal,
        })
    }
}

/// How long systems waited between approval and delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// Within 24 hours; these are among those of the first bucket.
    pub within_a_day: u64,
    /// 1–3, 4–10, 11–30, 31–60, more than 60 days; a day that has begun counts.
    pub buckets: [u64; 5],
}

impl Deliveries {
    /// Sorts delivery times, in seconds.
    #[must_use]
    pub fn sort(seconds: impl IntoIterator<Item = u64>) -> Self {
        const DAY: u64 = 24 * 3600;
        let mut all = Self::default();
        for waited in seconds {
            let bucket = match waited.div_ceil(DAY) {
                0..=3 => 0,
                4..=10 => 1,
                11..=30 => 2,
                31..=60 => 3,
                _ => 4,
            };
            all.buckets[bucket] += 1;
            all.within_a_day += u64::from(waited <= DAY);
        }
        all
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Share within 24 hours.
    #[must_use]
    pub fn within_a_day_rate(&self) -> Option<Rate> {
        Rate::of(Some(self.within_a_day.into()), Some(self.total().into()))
    }
}

/// A request that waits for longer than it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    pub request: String,
    pub phase: String,
    pub since: Timestamp,
}

/// One information system of the department.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    pub display_name: String,
    /// `None`: it has none here.
    pub namespace: Option<String>,
    /// 等保, 1 to 5.
    pub security_level: Option<u8>,
    pub zone: Option<Zone>,
    pub place: Place,
    /// What the evaluation says of its use.
    pub verdict: Option<Line>,
    /// GB/T 20988, 1 to 6: what is asked for.
    pub recovery_level: Option<u8>,
    pub last_drill: LastDrill,
    /// When its grant will be used up.
    pub forecast: Option<Forecast>,
}

/// Where a system runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Unknown,
    OnCloud,
    OffCloud,
    /// It need not be on the cloud.
    Exempt {
        reason: String,
    },
}

/// The newest drill of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastDrill {
    Unknown,
    Never,
    On(Drill),
}

/// What a drill has measured, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drill {
    pub date: Date,
    pub passed: bool,
    pub rpo_seconds: Option<u64>,
    pub rto_seconds: Option<u64>,
}

/// Components that systems run on, by where the hardware is from (信创). `None`: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hardware {
    pub domestic: Option<u64>,
    pub other: Option<u64>,
}

impl Hardware {
    /// Both.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.domestic?.checked_add(self.other?)
    }

    /// Share of the domestic.
    #[must_use]
    pub fn domestic_rate(&self) -> Option<Rate> {
        Rate::of(self.domestic.map(i128::from), self.total().map(i128::from))
    }
}

/// A share of something that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    Is(Percent),
    /// Of nothing there is no share.
    OfNothing,
}

impl Rate {
    /// `None`: one of both is unknown.
    fn of(part: Option<i128>, whole: Option<i128>) -> Option<Self> {
        match (part?, whole?) {
            (_, 0) => Some(Self::OfNothing),
            (part, whole) => percent(part, whole).map(Self::Is),
        }
    }
}

/// Hundredths of a percent, written `47.25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub i128);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, amount) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        write!(f, "{sign}{}.{:02}%", amount / 100, amount % 100)
    }
}

/// The one way to a percentage: integers, two decimals, half is rounded up. `None`: of nothing, of a debt, or beyond
/// what fits.
#[must_use]
pub fn percent(part: i128, whole: i128) -> Option<Percent> {
    if whole <= 0 {
        return None;
    }
    let halves = part.checked_mul(20_000)?.checked_add(whole)?;
    Some(Percent(halves.div_euclid(whole.checked_mul(2)?)))
}

/// The figure of an amount.
fn amount(nano: Option<i128>) -> Cell {
    nano.map_or(Cell::Unknown, |nano| Cell::Figure(quantity::exact(nano).0))
}

impl Scorecard {
    /// What is to be shown.
    #[must_use]
    pub fn document(&self) -> Document {
        tables::document(self)
    }
}

#[cfg(test)]
#[path = "scorecard_tests.rs"]
mod tests;
