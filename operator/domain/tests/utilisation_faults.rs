//! A month of a busy, of a bursty and of an idle system, with everything that a sensor can do wrong. Whatever it is, a system
//! that is used is never called idle; and one that is idle is, as long as enough of the truth arrives.
//!
//! `cargo test -p tripod-domain --test utilisation_faults -- --nocapture` prints the table.
#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tripod_crds::supervision_policy::SupervisionPolicySpec;
use tripod_crds::utilisation_report::{Period, UseVerdict};
use tripod_domain::utilisation::book::Book;
use tripod_domain::utilisation::pods::{self, Pod, PodReading};
use tripod_domain::utilisation::report::{self, Standing};
use tripod_domain::utilisation::{Readings, slot};

const INTERVAL: i64 = 60;
const DAYS: i64 = 30;
const MINUTES: i64 = DAYS * 24 * 60;
const CORE: i128 = 1_000_000_000;
/// Of the grant of four cores.
const GRANTED: i128 = 4 * CORE;

/// What is true in a minute, in billionths of a core.
type Truth = fn(i64) -> i128;

/// 45 % all the time.
fn busy(_: i64) -> i128 {
    GRANTED * 45 / 100
}

/// Nothing but for one hour a week, in which it needs 90 %: a payroll.
fn bursty(minute: i64) -> i128 {
    if minute % (7 * 24 * 60) / 60 == 100 { GRANTED * 9 / 10 } else { GRANTED / 100 }
}

fn idle(_: i64) -> i128 {
    GRANTED / 100
}

/// What a sensor says in a minute, at `now`: of the pods that run, which have been read, when and how much.
struct Seen {
    pods: Vec<Pod>,
    readings: Vec<Option<PodReading>>,
    now: Timestamp,
}

/// A way in which a sensor fails.
struct Fault {
    name: &'static str,
    apply: fn(minute: i64, seen: Seen) -> Option<Seen>,
    /// What an idle system is called under it.
    idle: UseVerdict,
}

fn honest(minute: i64, truth: Truth) -> Seen {
    let now = start() + SignedDuration::from_secs(minute * INTERVAL + 20);
    // Two pods share the load.
    let reading =
        PodReading { taken: now - SignedDuration::from_secs(10), cpu: truth(minute) / 2, memory: 0 };
    let pod = |name: &str| Pod { name: name.to_owned(), young: false };
    Seen { pods: vec![pod("p0"), pod("p1")], readings: vec![Some(reading), Some(reading)], now }
}

fn start() -> Timestamp {
    "2026-10-01T00:00:00Z".parse().unwrap()
}

#[allow(clippy::unnecessary_wraps, reason = "it is what a fault returns")]
fn each(mut seen: Seen, change: impl Fn(PodReading) -> Option<PodReading>) -> Option<Seen> {
    for reading in &mut seen.readings {
        *reading = reading.and_then(&change);
    }
    Some(seen)
}

/// A third of the time, and always then when the payroll runs.
fn in_the_hole(minute: i64) -> bool {
    minute % (24 * 60) / 60 % 3 == 1 || minute % (7 * 24 * 60) / 60 == 100
}

const FAULTS: &[Fault] = &[
    Fault { name: "none", apply: |_, seen| Some(seen), idle: UseVerdict::Low },
    Fault {
        name: "every tenth scrape is lost",
        apply: |m, seen| if m % 10 == 3 { each(seen, |_| None) } else { Some(seen) },
        idle: UseVerdict::Low,
    },
    Fault {
        name: "gaps, a third of the time",
        apply: |m, seen| if in_the_hole(m) { each(seen, |_| None) } else { Some(seen) },
        idle: UseVerdict::Unknown,
    },
    Fault {
        name: "gaps read as zeros by a broken exporter, dated long ago",
        apply: |m, seen| {
            if !in_the_hole(m) {
                return Some(seen);
            }
            each(seen, |r| Some(PodReading { cpu: 0, taken: r.taken - SignedDuration::from_hours(1), ..r }))
        },
        idle: UseVerdict::Unknown,
    },
    Fault {
        name: "counters reset: pods restart each hour and are unread for two minutes",
        apply: |m, seen| if m % 60 < 2 { each(seen, |_| None) } else { Some(seen) },
        idle: UseVerdict::Low,
    },
    Fault {
        name: "a node is missing for a week: half of the pods are unread",
        apply: |m, mut seen| {
            if (10 * 1440..17 * 1440).contains(&m) {
                seen.readings[1] = None;
            }
            Some(seen)
        },
        idle: UseVerdict::Unknown,
    },
    Fault {
        name: "a node was renamed: pods of another name, read under the old one",
        apply: |m, mut seen| {
            if m % 1440 < 5 {
                seen.pods.iter_mut().for_each(|pod| pod.name.push('x'));
            }
            Some(seen)
        },
        idle: UseVerdict::Low,
    },
    Fault {
        name: "the sensor's clock is ten minutes ahead for a week",
        apply: |m, seen| {
            let ahead = (7 * 1440..14 * 1440).contains(&m);
            each(seen, |r| {
                Some(if ahead {
                    PodReading { taken: r.taken + SignedDuration::from_mins(10), ..r }
                } else {
                    r
                })
            })
        },
        idle: UseVerdict::Unknown,
    },
    Fault {
        name: "the sensor is late by half an hour for a week",
        apply: |m, seen| {
            let late = (7 * 1440..14 * 1440).contains(&m);
            each(seen, |r| {
                Some(if late {
                    PodReading { taken: r.taken - SignedDuration::from_mins(30), ..r }
                } else {
                    r
                })
            })
        },
        idle: UseVerdict::Unknown,
    },
    Fault {
        name: "the sensor is down for an hour",
        apply: |m, seen| {
            if (20 * 1440..20 * 1440 + 60).contains(&m) { each(seen, |_| None) } else { Some(seen) }
        },
        idle: UseVerdict::Low,
    },
    Fault {
        name: "the sensor repeats itself for five days",
        apply: |m, mut seen| {
            if (3 * 1440..8 * 1440).contains(&m) {
                let stuck = honest(3 * 1440, idle);
                seen.readings = stuck.readings;
            }
            Some(seen)
        },
        idle: UseVerdict::Unknown,
    },
    Fault {
        name: "the operator is down for four days",
        apply: |m, seen| (!(12 * 1440..16 * 1440).contains(&m)).then_some(seen),
        idle: UseVerdict::Unknown,
    },
    Fault {
        name: "the operator's clock is set back by an hour, and on again",
        apply: |m, mut seen| {
            if (9 * 1440 + 600..9 * 1440 + 660).contains(&m) {
                let hour = SignedDuration::from_hours(1);
                seen.now -= hour;
                return each(seen, |r| {
                    Some(PodReading { taken: r.taken - SignedDuration::from_hours(1), ..r })
                });
            }
            Some(seen)
        },
        idle: UseVerdict::Low,
    },
    Fault {
        name: "every pod is new all the time and unread",
        apply: |_, mut seen| {
            seen.pods.iter_mut().for_each(|pod| pod.young = true);
            each(seen, |_| None)
        },
        idle: UseVerdict::Unknown,
    },
    Fault {
        name: "an hour of zeros that is true, each day",
        apply: |m, seen| {
            if m % 1440 < 60 { each(seen, |r| Some(PodReading { cpu: 0, ..r })) } else { Some(seen) }
        },
        idle: UseVerdict::Low,
    },
];

fn policy() -> SupervisionPolicySpec {
    serde_json::from_value(serde_json::json!({"source": {"title": "t", "effective": "2026-01-01"},
        "thresholds": {"cpu": {"lowAverage": 30, "lowPeak": 60, "highAverage": 50}}}))
    .unwrap()
}

/// The verdict over the month, and the coverage.
fn judged(truth: Truth, fault: &Fault) -> (UseVerdict, String) {
    let (mut book, mut days) = (Book::default(), Vec::new());
    let standing = Standing { granted: [("requests.cpu".to_owned(), GRANTED)].into(), ..Standing::default() };
    for minute in 0..=MINUTES {
        let Some(seen) = (fault.apply)(minute, honest(minute, truth)) else { continue };
        let read = |name: &str| {
            let index = ["p0", "p1"].iter().position(|known| *known == name)?;
            seen.readings[index]
        };
        let readings: Readings = pods::sum(&seen.pods, read, seen.now, INTERVAL);
        book.record("a", start(), &readings, seen.now, INTERVAL, &TimeZone::UTC);
        let over: Vec<_> = book.over().map(|(_, day)| day.clone()).collect();
        for day in over {
            days.push(report::of_day("a", &day, &standing));
            book.reported("a", day.date);
        }
    }
    let now = start() + SignedDuration::from_secs(MINUTES * INTERVAL + 60);
    let span = report::window(now, DAYS, &slot::zone("+00:00"));
    let mut window = report::of_days("a", report::WINDOW, (Period::Window, span), &days, &standing, now);
    report::judge(&mut window, ("default", &policy()), &standing, None);
    let status = window.status.unwrap();
    (status.verdict.unwrap(), status.resources["cpu"].coverage.clone())
}

#[test]
fn nobody_who_is_used_is_called_idle() {
    println!("{:72} {:>9} {:>9} {:>9} {:>9}", "fault", "coverage", "busy", "bursty", "idle");
    let mut wrong = Vec::new();
    for fault in FAULTS {
        let [(busy, coverage), (bursty, _), (idle, _)] =
            [busy as Truth, bursty, idle].map(|truth| judged(truth, fault));
        let said = [busy, bursty, idle].map(|verdict| format!("{:>9}", format!("{verdict:?}"))).join(" ");
        println!("{:72} {coverage:>9} {said}", fault.name);
        if busy == UseVerdict::Low || bursty == UseVerdict::Low {
            wrong.push(format!("{}: busy is {busy:?}, bursty is {bursty:?}", fault.name));
        }
        if idle != fault.idle {
            wrong.push(format!("{}: idle is {idle:?}, not {:?}", fault.name, fault.idle));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
