//! Time in slots: one reading each, or none. So a late reading, one that comes twice, one from a clock that runs ahead and
//! one that a sensor repeats for an hour can't be counted as what they are not.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

/// The number of the slot that a moment is in.
#[must_use]
pub fn of(moment: Timestamp, interval_seconds: i64) -> i64 {
    moment.as_second().div_euclid(interval_seconds.max(1))
}

/// Whether a reading that a sensor dated so belongs to now: not older than two intervals, or than its own window and
/// one interval, and not from the future by more than half an interval.
///
/// # Errors
/// Says how far away it is.
pub fn is_fresh(taken: Timestamp, now: Timestamp, interval_seconds: i64) -> Result<(), String> {
    let age = now.duration_since(taken).as_secs();
    if age > 2 * interval_seconds {
        return Err(format!("the reading is {age} s old"));
    }
    if age < -(interval_seconds / 2).max(5) {
        return Err(format!("the reading is dated {} s ahead; check the clocks", -age));
    }
    Ok(())
}

/// How many slots begin in `[from, to)`.
#[must_use]
pub fn between(from: Timestamp, to: Timestamp, interval_seconds: i64) -> i64 {
    let begins = |moment: Timestamp| (moment.as_second() + interval_seconds - 1).div_euclid(interval_seconds);
    (begins(to) - begins(from)).max(0)
}

/// The zone in which days begin: `+08:00`. One that can't be read is UTC.
#[must_use]
pub fn zone(offset: &str) -> TimeZone {
    let read = || {
        let (sign, rest) = match offset.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':')?;
        let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
        Offset::from_seconds(sign * seconds).ok()
    };
    read().map_or(TimeZone::UTC, TimeZone::fixed)
}

/// The day that a moment is in, there.
#[must_use]
pub fn day(moment: Timestamp, zone: &TimeZone) -> Date {
    moment.to_zoned(zone.clone()).date()
}

/// The first moment of a day.
#[must_use]
pub fn start(day: Date, zone: &TimeZone) -> Timestamp {
    day.to_zoned(zone.clone()).map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp())
}

/// The first moment after it.
#[must_use]
pub fn end(day: Date, zone: &TimeZone) -> Timestamp {
    day.tomorrow().map_or(Timestamp::MAX, |next| start(next, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn days_begin_at_midnight_there() {
        let china = zone("+08:00");
        let late = at("2026-11-25T16:30:00Z");
        assert_eq!(day(late, &china).to_string(), "2026-11-26");
        assert_eq!(start(day(late, &china), &china), at("2026-11-25T16:00:00Z"));
        assert_eq!(end(day(late, &china), &china), at("2026-11-26T16:00:00Z"));
        assert_eq!(zone("nonsense"), TimeZone::UTC);
        assert_eq!(start(day(late, &zone("-02:30")), &zone("-02:30")), at("2026-11-25T02:30:00Z"));
    }

    #[test]
    fn slots_of_a_day() {
        let (from, to) = (at("2026-11-25T00:00:00Z"), at("2026-11-26T00:00:00Z"));
        assert_eq!(between(from, to, 60), 1440);
        assert_eq!(between(from, at("2026-11-25T00:00:01Z"), 60), 1);
        assert_eq!(between(at("2026-11-25T00:00:01Z"), at("2026-11-25T00:01:00Z"), 60), 0);
        assert_eq!(between(to, from, 60), 0);
    }

    #[test]
    fn a_reading_is_of_now_or_not_at_all() {
        let now = at("2026-11-25T12:00:00Z");
        for (taken, fresh) in [
            ("2026-11-25T12:00:00Z", true),
            ("2026-11-25T11:58:30Z", true),
            ("2026-11-25T11:57:00Z", false),
            ("2026-11-25T12:00:20Z", true),
            ("2026-11-25T12:02:00Z", false),
        ] {
            assert_eq!(is_fresh(at(taken), now, 60).is_ok(), fresh, "{taken}");
        }
    }
}
