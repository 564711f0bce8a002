use jiff::SignedDuration;

use super::*;

const MINUTE: i64 = 60;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cpu(amount: i128) -> Readings {
    [(Measured::Cpu, Ok(amount))].into()
}

fn unknown() -> Readings {
    [(Measured::Cpu, Err("no answer".to_owned()))].into()
}

/// A book that has read `readings(minute)` once a minute, from midnight on, for so many minutes.
fn read(minutes: i64, readings: impl Fn(i64) -> Option<Readings>) -> Book {
    let (start, mut book) = (at("2026-11-25T00:00:00Z"), Book::default());
    for minute in 0..minutes {
        if let Some(readings) = readings(minute) {
            let now = start + SignedDuration::from_secs(minute * MINUTE + 17);
            book.record("a", at("2026-01-01T00:00:00Z"), &readings, now, MINUTE, &TimeZone::UTC);
        }
    }
    book
}

fn figures(day: &Day) -> (u32, u32, Option<i128>) {
    let tally = day.tally(Measured::Cpu).unwrap();
    (tally.readings(), day.of, tally.average(1))
}

#[test]
fn a_day_is_counted_to_the_slot() {
    let book = read(1441, |_| Some(cpu(2)));
    let (_, day) = book.over().next().unwrap();
    assert_eq!(figures(day), (1440, 1440, Some(2)));
    assert_eq!(figures(book.today("a").unwrap()), (1, 1, Some(2)));
}

#[test]
fn what_was_not_read_lowers_the_coverage_and_not_the_average() {
    for hole in [unknown as fn() -> Readings, Readings::new] {
        let book = read(1441, |m| Some(if (60..120).contains(&m) { hole() } else { cpu(4) }));
        assert_eq!(figures(book.over().next().unwrap().1), (1380, 1440, Some(4)));
    }
    // The operator itself was away.
    let book = read(1441, |m| (!(60..120).contains(&m)).then(|| cpu(4)));
    assert_eq!(figures(book.over().next().unwrap().1), (1380, 1440, Some(4)));
}

#[test]
fn an_hour_of_zeros_that_is_true_is_zeros() {
    let book = read(1441, |m| Some(cpu(if m < 720 { 0 } else { 4 })));
    assert_eq!(figures(book.over().next().unwrap().1), (1440, 1440, Some(2)));
}

#[test]
fn a_slot_has_one_reading() {
    let mut book = read(10, |_| Some(cpu(2)));
    let again = at("2026-11-25T00:09:50Z");
    book.record("a", again, &cpu(1000), again, MINUTE, &TimeZone::UTC);
    // A clock that was set back.
    let back = at("2026-11-25T00:03:00Z");
    book.record("a", back, &cpu(1000), back, MINUTE, &TimeZone::UTC);
    assert_eq!(figures(book.today("a").unwrap()), (10, 10, Some(2)));
}

#[test]
fn a_system_is_counted_from_when_it_came_to_be() {
    let (mut book, since) = (Book::default(), at("2026-11-25T12:00:30Z"));
    for second in [40, 90, 150] {
        let now = at("2026-11-25T12:00:00Z") + SignedDuration::from_secs(second);
        book.record("a", since, &cpu(2), now, MINUTE, &TimeZone::UTC);
    }
    // The slot in which it was made is no whole one.
    assert_eq!(figures(book.today("a").unwrap()), (2, 2, Some(2)));
}

#[test]
fn another_interval_takes_effect_at_once() {
    let mut book = read(60, |_| Some(cpu(2)));
    for five in 0..12 {
        let now = at("2026-11-25T01:00:10Z") + SignedDuration::from_secs(five * 300);
        book.record("a", now, &cpu(2), now, 300, &TimeZone::UTC);
    }
    assert_eq!(figures(book.today("a").unwrap()), (72, 72, Some(2)));
}

#[test]
fn a_restart_loses_only_what_was_not_read() {
    let mut book = read(700, |_| Some(cpu(2)));
    let mut again = Book::default();
    for (_, text) in book.take_changes() {
        again.take_up(&text).unwrap();
    }
    assert!(book.take_changes().is_empty());
    let now = at("2026-11-25T11:45:00Z");
    again.record("a", now, &cpu(2), now, MINUTE, &TimeZone::UTC);
    // 701 readings; minutes 700 to 704 are lost.
    assert_eq!(figures(again.today("a").unwrap()), (701, 706, Some(2)));
    assert!(again.take_up("{\"b\": 1}").unwrap_err().contains('b'));
    assert_eq!(again.len(), 1);
}

#[test]
fn days_wait_until_they_are_reported() {
    let mut book = read(1441, |_| Some(cpu(2)));
    let date = book.over().next().unwrap().1.date;
    let kept = book.take_changes();
    let mut again = Book::default();
    for (_, text) in &kept {
        again.take_up(text).unwrap();
    }
    assert_eq!(again.over().count(), 1);
    again.reported("a", date);
    assert_eq!(again.over().count(), 0);
    again.keep(|_| false);
    assert!(again.is_empty());
    assert_eq!(again.take_changes(), [(shard("a"), "{}".to_owned())]);
}
