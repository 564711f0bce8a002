//! The running day of every namespace, and days that are over and not reported yet. It is kept outside of the process
//! after each reading, in a few shards, so that a restart loses what was not read meanwhile and nothing else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::slot;
use super::tally::Tally;
use super::{Measured, Readings};

/// In how many parts the book is kept. With ten thousand systems a part is some hundreds of kilobytes.
pub const SHARDS: u32 = 32;

/// One day of one namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Day {
    pub date: Date,
    /// Midnight, or when the namespace came to be.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Seconds between two readings, lately.
    pub interval: i64,
    /// How many readings there could be so far.
    pub of: u32,
    /// Up to here `of` has counted.
    counted_to: Timestamp,
    lines: BTreeMap<String, Line>,
}

/// One resource.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Line {
    tally: Tally,
    /// When the slot of the last reading began, in seconds since the epoch.
    slot: Option<i64>,
}

impl Day {
    fn new(date: Date, since: Timestamp, zone: &TimeZone, interval: i64) -> Self {
        let (start, to) = (slot::start(date, zone), slot::end(date, zone));
        let from = start.max(since).min(to);
        Self { date, from, to, interval, of: 0, counted_to: from, lines: BTreeMap::new() }
    }

    fn count_to(&mut self, moment: Timestamp, interval: i64) {
        let moment = moment.min(self.to);
        self.of += u32::try_from(slot::between(self.counted_to, moment, interval)).unwrap_or(0);
        self.counted_to = self.counted_to.max(moment);
        self.interval = interval;
    }

    /// What was read at this moment: of each resource the first in its slot.
    fn record(&mut self, now: Timestamp, interval: i64, readings: &Readings) {
        let begins = Timestamp::from_second(slot::of(now, interval) * interval).unwrap_or(now);
        // The slot that `now` is in has begun, and counts.
        self.count_to(begins.checked_add(jiff::SignedDuration::from_secs(1)).unwrap_or(now), interval);
        if begins < self.from {
            return;
        }
        for (measured, reading) in readings {
            let line = self.lines.entry(measured.name().to_owned()).or_default();
            if let Ok(amount) = reading
                && line.slot.is_none_or(|last| last < begins.as_second())
            {
                line.tally.add(*amount);
                line.slot = Some(begins.as_second());
            }
        }
    }

    /// All that was measured, a tally without readings included where something was tried and failed.
    pub fn tallies(&self) -> impl Iterator<Item = (Measured, &Tally)> {
        self.lines.iter().filter_map(|(name, line)| Some((Measured::named(name)?, &line.tally)))
    }

    #[must_use]
    pub fn tally(&self, measured: Measured) -> Option<&Tally> {
        self.lines.get(measured.name()).map(|line| &line.tally)
    }
}

/// One namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Page {
    today: Day,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    over: Vec<Day>,
}

/// The most days that wait for their report; an API server that takes none for longer loses the oldest.
const WAITING: usize = 7;

/// All namespaces.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pages: BTreeMap<String, Page>,
    changed: std::collections::BTreeSet<u32>,
}

/// The part of the book that a namespace is kept in.
#[must_use]
pub fn shard(namespace: &str) -> u32 {
    // FNV-1a: the same in every version, since what is kept has to be found again.
    let hash = namespace.bytes().fold(2_166_136_261_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(16_777_619));
    hash % SHARDS
}

impl Book {
    /// What was read of a namespace that is there since `since`.
    pub fn record(
        &mut self,
        namespace: &str,
        since: Timestamp,
        readings: &Readings,
        now: Timestamp,
        interval: i64,
        zone: &TimeZone,
    ) {
        let date = slot::day(now, zone);
        let fresh = || Day::new(date, since, zone, interval);
        let page = self
            .pages
            .entry(namespace.to_owned())
            .or_insert_with(|| Page { today: fresh(), over: Vec::new() });
        // A clock that was set back stays in the day that had begun.
        if page.today.date < date {
            let mut over = std::mem::replace(&mut page.today, fresh());
            let end = over.to;
            over.count_to(end, interval);
            page.over.push(over);
            if page.over.len() > WAITING {
                page.over.remove(0);
            }
        }
        page.today.record(now, interval, readings);
        self.changed.insert(shard(namespace));
    }

    /// Forgets namespaces that are not there any more.
    pub fn keep(&mut self, there: impl Fn(&str) -> bool) {
        let changed = &mut self.changed;
        self.pages.retain(|namespace, _| {
            let keep = there(namespace);
            if !keep {
                changed.insert(shard(namespace));
            }
            keep
        });
    }

    /// The day that runs.
    #[must_use]
    pub fn today(&self, namespace: &str) -> Option<&Day> {
        self.pages.get(namespace).map(|page| &page.today)
    }

    /// Days that are over and not reported, with their namespaces.
    pub fn over(&self) -> impl Iterator<Item = (&String, &Day)> {
        self.pages.iter().flat_map(|(namespace, page)| page.over.iter().map(move |day| (namespace, day)))
    }

    /// Its report is written.
    pub fn reported(&mut self, namespace: &str, date: Date) {
        if let Some(page) = self.pages.get_mut(namespace) {
            page.over.retain(|day| day.date != date);
            self.changed.insert(shard(namespace));
        }
    }

    /// The shards that have changed since this was asked last, each as it is to be kept.
    pub fn take_changes(&mut self) -> Vec<(u32, String)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|number| (number, self.write(number))).collect()
    }

    /// These could not be kept; they are changes still.
    pub fn not_kept(&mut self, shards: impl IntoIterator<Item = u32>) {
        self.changed.extend(shards);
    }

    fn write(&self, number: u32) -> String {
        let pages: BTreeMap<&String, &Page> =
            self.pages.iter().filter(|(namespace, _)| shard(namespace) == number).collect();
        serde_json::to_string(&pages).unwrap_or_default()
    }

    /// Takes up a shard that was kept. What can't be read is left out, and named.
    ///
    /// # Errors
    /// Names what was lost.
    pub fn take_up(&mut self, text: &str) -> Result<(), String> {
        let pages: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| format!("the whole shard: {error}"))?;
        let mut lost = Vec::new();
        for (namespace, page) in pages {
            match serde_json::from_value(page) {
                Ok(page) => drop(self.pages.insert(namespace, page)),
                Err(error) => lost.push(format!("{namespace}: {error}")),
            }
        }
        if lost.is_empty() { Ok(()) } else { Err(lost.join("; ")) }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
