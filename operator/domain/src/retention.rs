//! Which recovery points of one policy stay at one centre, and by which rule: the newest so many, and the newest one of each
//! of the newest so many hours, days, weeks, months and years, in UTC.
//!
//! Promises, whatever the rules: a point that brought an unusual change stays for a month, and so does the newest Verified one
//! before it, since nobody may have noticed yet; what is held, in use, or younger at this centre than the minimum age stays; so does the newest
//! Verified point. Only what is Verified here is counted, so that nothing unproved takes the place of something proved.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tripod_crds::RetentionRules;
use tripod_crds::recovery_point::CopyState;

use crate::duration;

/// Rules as they are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub last: u16,
    pub hourly: u16,
    pub daily: u16,
    pub weekly: u16,
    pub monthly: u16,
    pub yearly: u16,
    pub minimum_age: SignedDuration,
}

impl Rules {
    /// Reads rules. The minimum age is at least `floor`.
    ///
    /// # Errors
    /// Names the field that can't be read.
    pub fn read(rules: &RetentionRules, floor: SignedDuration) -> Result<Self, String> {
        let age = match &rules.minimum_age {
            Some(text) => duration::parse(text).map_err(|e| format!("retention.minimumAge: {e}"))?,
            None => SignedDuration::ZERO,
        };
        let count = |rule: Option<u16>| rule.unwrap_or(0);
        Ok(Self {
            last: count(rules.keep_last),
            hourly: count(rules.hourly),
            daily: count(rules.daily),
            weekly: count(rules.weekly),
            monthly: count(rules.monthly),
            yearly: count(rules.yearly),
            minimum_age: age.max(floor),
        })
    }
}

/// One point of the policy, as this centre has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub name: String,
    /// As its origin says.
    pub taken_at: Timestamp,
    /// When it came to this centre, by the clock of this centre.
    pub arrived_at: Option<Timestamp>,
    pub state: CopyState,
    /// Why it is held, where it is.
    pub held: Option<String>,
    /// What uses it, where something does.
    pub in_use: Option<String>,
    /// It brought a change that is unusual for its system.
    pub unusual: bool,
}

/// For so long an unusual change keeps two points: time enough to notice, also over holidays.
pub const GUARD: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What becomes of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With every reason there is.
    Kept(Vec<String>),
    Expired,
}

/// Pure, total. Points are those of one policy at one centre.
#[must_use]
pub fn judge(points: &[Point], rules: &Rules, now: Timestamp) -> BTreeMap<String, Verdict> {
    let counted: Vec<&Point> =
        points.iter().filter(|p| p.state == CopyState::Verified && p.taken_at <= now).collect();
    let mut kept = count(&counted, rules);
    if let Some(newest) = counted.iter().max_by_key(|p| (p.taken_at, &p.name)) {
        kept.entry(newest.name.clone()).or_default().push("newest Verified".to_owned());
    }
    for (name, reason) in guarded(&counted, now) {
        kept.entry(name).or_default().push(reason);
    }
    let verdict = |point: &Point| {
        let mut reasons = protection(point, rules, now);
        match point.state {
            CopyState::Verified => reasons.extend(kept.get(&point.name).cloned().unwrap_or_default()),
            CopyState::Damaged => reasons.extend(if_mended(point, &counted, rules)),
            _ => reasons.push("not yet proved here".to_owned()),
        }
        if reasons.is_empty() { Verdict::Expired } else { Verdict::Kept(reasons) }
    };
    points.iter().map(|point| (point.name.clone(), verdict(point))).collect()
}

/// Points with an unusual change, and the newest before each of them: of several in a row, the one before the first.
fn guarded(counted: &[&Point], now: Timestamp) -> Vec<(String, String)> {
    let mut reasons = Vec::new();
    for point in counted.iter().filter(|p| p.unusual && now.duration_since(p.taken_at) < GUARD) {
        reasons.push((point.name.clone(), "unusual change".to_owned()));
        let before =
            counted.iter().filter(|p| !p.unusual && (p.taken_at, &p.name) < (point.taken_at, &point.name));
        if let Some(good) = before.max_by_key(|p| (p.taken_at, &p.name)) {
            reasons.push((good.name.clone(), format!("before the unusual change of {}", point.name)));
        }
    }
    reasons
}

/// What keeps a point in spite of all rules.
fn protection(point: &Point, rules: &Rules, now: Timestamp) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(reason) = &point.held {
        reasons.push(format!("held: {reason}"));
    }
    if let Some(user) = &point.in_use {
        reasons.push(format!("in use by {user}"));
    }
    if point.taken_at > now {
        // Its origin's clock is wrong, or lies: it must not push anything out, nor be judged by that time.
        reasons.push("taken later than now".to_owned());
    }
    // By the clock of this centre too: what an origin claims about times ages nothing.
    let young = |at: Timestamp| now.duration_since(at) < rules.minimum_age;
    match point.arrived_at {
        Some(arrived) if !young(arrived) && !young(point.taken_at) => {}
        Some(_) => reasons.push("minimum age".to_owned()),
        None => reasons.push("not known since when it is here".to_owned()),
    }
    reasons
}

/// A damaged point takes no other's place; it stays while it would have one of its own.
fn if_mended(point: &Point, counted: &[&Point], rules: &Rules) -> Vec<String> {
    let with: Vec<&Point> = counted.iter().copied().chain([point]).collect();
    let reasons = count(&with, rules).remove(&point.name).unwrap_or_default();
    let newest = counted.iter().all(|p| p.taken_at <= point.taken_at);
    reasons
        .into_iter()
        .chain(newest.then(|| "newest".to_owned()))
        .map(|r| format!("{r}, once mended"))
        .collect()
}

/// So many periods are kept, what they are called, and in which one a moment is.
type Period = (u16, &'static str, fn(DateTime) -> String);

/// By name, the rules that keep each: in every period the newest point counts.
fn count(points: &[&Point], rules: &Rules) -> BTreeMap<String, Vec<String>> {
    let mut newest_first = points.to_vec();
    newest_first.sort_by(|a, b| (b.taken_at, &b.name).cmp(&(a.taken_at, &a.name)));
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for point in newest_first.iter().take(rules.last.into()) {
        kept.entry(point.name.clone()).or_default().push("last".to_owned());
    }
    let periods: [Period; 5] = [
        (rules.hourly, "hourly", |t| t.strftime("%Y-%m-%dT%H").to_string()),
        (rules.daily, "daily", |t| t.strftime("%Y-%m-%d").to_string()),
        (rules.weekly, "weekly", |t| t.strftime("%G-W%V").to_string()),
        (rules.monthly, "monthly", |t| t.strftime("%Y-%m").to_string()),
        (rules.yearly, "yearly", |t| t.strftime("%Y").to_string()),
    ];
    for (most, rule, period) in periods {
        let (mut left, mut before) = (most, None);
        for point in &newest_first {
            let this = period(point.taken_at.to_zoned(TimeZone::UTC).datetime());
            if left == 0 {
                break;
            }
            if before.as_ref() != Some(&this) {
                left -= 1;
                kept.entry(point.name.clone()).or_default().push(format!("{rule} {this}"));
                before = Some(this);
            }
        }
    }
    kept
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
