//! When a cron schedule is due. Five fields, UTC; the clock is an argument.

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::{Timestamp, tz::TimeZone};

/// A parsed schedule.
#[derive(Clone, Debug)]
pub struct Schedule(Cron);

impl Schedule {
    /// # Errors
    /// Says what is wrong with the expression, in words a person who wrote it understands.
    pub fn parse(text: &str) -> Result<Self, String> {
        CronParser::builder()
            .seconds(Seconds::Disallowed)
            .build()
            .parse(text)
            .map(Self)
            .map_err(|e| format!("{text:?} is not a cron schedule of five fields: {e}"))
    }

    /// The first time strictly after `after`. `None` if there is none, as for 30 February.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let zoned = after.to_zoned(TimeZone::UTC);
        self.0.find_next_occurrence(&zoned, false).ok().map(|z| z.timestamp())
    }

    /// The latest time that is due: after `since`, not after `now`. Missed times in between are not made up
    /// for: one point now is worth as much as ten now.
    #[must_use]
    pub fn due(&self, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let zoned = now.to_zoned(TimeZone::UTC);
        let latest = self.0.find_previous_occurrence(&zoned, true).ok()?.timestamp();
        (latest > since).then_some(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn due_once_per_slot() {
        let every_quarter = Schedule::parse("*/15 * * * *").unwrap();
        let due = every_quarter.due(at("2026-11-24T02:00:00Z"), at("2026-11-24T02:31:07Z"));
        assert_eq!(due, Some(at("2026-11-24T02:30:00Z")));
        assert_eq!(every_quarter.due(at("2026-11-24T02:30:00Z"), at("2026-11-24T02:44:59Z")), None);
        assert_eq!(every_quarter.next(at("2026-11-24T02:30:00Z")), Some(at("2026-11-24T02:45:00Z")));
    }

    #[test]
    fn refuses_nonsense() {
        for text in ["often", "* * *", "61 * * * *", "* * * * * *"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
