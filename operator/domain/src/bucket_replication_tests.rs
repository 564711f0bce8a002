use serde_json::{Value, json};
use tripod_crds::BucketReplicationStatus;
use tripod_crds::bucket_replication::TargetPhase;

use super::*;
use crate::conditions;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// One target, `remote`, served here; `change` is put over the spec.
fn seen(change: &Value) -> Observed {
    let mut spec =
        json!({"source": {"centre": "production", "bucket": "files"}, "targets": [{"centre": "remote"}]});
    for (field, value) in change.as_object().unwrap() {
        spec[field] = value.clone();
    }
    let mut object = BucketReplication::new("files", serde_json::from_value(spec).unwrap());
    object.metadata.generation = Some(1);
    object.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(-10_000)));
    let kept = vec!["tripod-vault".to_owned(), "vault".to_owned()];
    let centre = |served_here| Known { served_here, kept: kept.clone(), links: Ok(()) };
    Observed {
        object,
        centre: "remote".into(),
        centres: [("production".into(), centre(false)), ("remote".into(), centre(true))].into(),
        patterns: Ok(()),
        targets: BTreeMap::new(),
    }
}

fn whole() -> Figures {
    Figures { listed: 10, lag: Some(0), ..Figures::default() }
}

fn refused() -> Refusal {
    Refusal { reason: "TargetNotEmpty".into(), message: "it has \"a\"".into() }
}

fn ended(begun: i64, over: i64, result: Result<Figures, Refusal>) -> Ended {
    Ended {
        generation: Some(1),
        token: None,
        started_at: at(begun),
        ended_at: at(over),
        failures: u32::from(!result.as_ref().is_ok_and(Figures::is_whole)),
        quiet: u32::from(!result.as_ref().is_ok_and(Figures::found_something)),
        result,
    }
}

fn with_last(mut seen: Observed, last: Ended) -> Observed {
    seen.targets.insert("remote".into(), Runs { last: Some(last), ..Runs::default() });
    seen
}

fn with_current(mut seen: Observed, started: Option<i64>, figures: Figures) -> Observed {
    let runs = seen.targets.entry("remote".into()).or_default();
    runs.current = Some(Current {
        is_touch: false,
        generation: Some(1),
        started_at: started.map(at),
        figures,
        workers: None,
    });
    seen
}

fn step(seen: &Observed, now: i64) -> Step {
    decide(seen, at(now)).steps["remote"]
}

/// A pass as the controller makes it: the status stands on the object afterwards.
fn pass(seen: &mut Observed, now: i64) -> BucketReplicationStatus {
    let plan = decide(seen, at(now));
    let status = status(seen, &plan, at(now));
    seen.object.status = Some(status.clone());
    status
}

fn said(status: &BucketReplicationStatus, kind: &str) -> (String, String) {
    let condition = conditions::find(&status.conditions, kind).unwrap();
    (condition.status.clone(), condition.reason.clone())
}

fn is(state: &str, reason: &str) -> (String, String) {
    (state.to_owned(), reason.to_owned())
}

#[test]
fn when_a_run_is_due() {
    let once = json!({"mode": "Once"});
    let nightly = json!({"mode": "Scheduled", "schedule": "0 2 * * *"});
    let slot: Timestamp = "2027-01-16T02:00:00Z".parse().unwrap();
    let slot = slot.as_second() - at(0).as_second();
    for (what, seen, now, expected) in [
        ("at once", seen(&json!({})), 0, Step::Start),
        (
            "not before the interval is over",
            with_last(seen(&json!({})), ended(0, 5, Ok(whole()))),
            59,
            Step::Leave,
        ),
        ("after it", with_last(seen(&json!({})), ended(0, 5, Ok(whole()))), 60, Step::Start),
        ("one run took longer", with_last(seen(&json!({})), ended(0, 200, Ok(whole()))), 200, Step::Start),
        ("a failure waits", with_last(seen(&json!({})), ended(0, 1, Err(refused()))), 10, Step::Leave),
        ("and is tried again", with_last(seen(&json!({})), ended(0, 1, Err(refused()))), 11, Step::Start),
        ("once", seen(&once), 0, Step::Start),
        ("and not again", with_last(seen(&once), ended(0, 5, Ok(whole()))), 9000, Step::Leave),
        (
            "once, before the slot",
            with_last(seen(&nightly), ended(slot - 90_000, slot - 86_400, Ok(whole()))),
            slot - 1,
            Step::Start,
        ),
        (
            "by schedule",
            with_last(seen(&nightly), ended(slot - 80_000, slot - 70_000, Ok(whole()))),
            slot - 1,
            Step::Leave,
        ),
        (
            "at the slot",
            with_last(seen(&nightly), ended(slot - 80_000, slot - 70_000, Ok(whole()))),
            slot,
            Step::Start,
        ),
        (
            "after the slot",
            with_last(seen(&nightly), ended(slot, slot + 9, Ok(whole()))),
            slot + 10,
            Step::Leave,
        ),
        ("one at a time", with_current(seen(&json!({})), Some(0), Figures::default()), 900, Step::Leave),
        ("not while suspended", seen(&json!({"suspend": true})), 0, Step::Leave),
        (
            "stopped",
            with_current(seen(&json!({"suspend": true})), Some(0), Figures::default()),
            1,
            Step::Stop,
        ),
    ] {
        assert_eq!(step(&seen, now), expected, "{what}");
    }
}

#[test]
fn a_token_asks_for_one_run() {
    let mut once = with_last(seen(&json!({"mode": "Once"})), ended(0, 5, Ok(whole())));
    once.object.metadata.annotations = Some([(RUN_ANNOTATION.to_owned(), "a".to_owned())].into());
    assert_eq!(step(&once, 6), Step::Start);
    let mut by_token = ended(7, 8, Ok(whole()));
    by_token.token = Some("a".into());
    let mut acted = with_last(once.clone(), by_token.clone());
    assert_eq!(step(&acted, 9), Step::Leave);
    assert_eq!(pass(&mut acted, 9).targets[0].last_run_token.as_deref(), Some("a"));
    // Also when nothing is remembered but the status.
    acted.targets.clear();
    assert_eq!(step(&acted, 100), Step::Leave);
    // One that could not be made is made again, not at once.
    by_token.result = Err(refused());
    by_token.failures = 1;
    let failed = with_last(once, by_token);
    assert_eq!((step(&failed, 9), step(&failed, 18)), (Step::Leave, Step::Start));
}

#[test]
fn another_spec_begins_a_run_anew() {
    let mut changed = with_current(seen(&json!({})), Some(0), Figures::default());
    changed.object.metadata.generation = Some(2);
    assert_eq!(step(&changed, 1), Step::Stop);
    let mut mended = with_last(seen(&json!({})), ended(0, 1, Err(refused())));
    mended.object.metadata.generation = Some(2);
    assert_eq!(step(&mended, 2), Step::Start);
}

#[test]
fn what_is_wrong_is_refused_with_its_field() {
    let mut bad_pattern = seen(&json!({}));
    let mut bad_link = bad_pattern.clone();
    bad_link.centres.get_mut("remote").unwrap().links = Err("spec.links[0].hours[0].timeZone: no".into());
    bad_pattern.patterns = Err("\"[\": unclosed".into());
    for (seen, reason, words) in [
        (
            seen(&json!({"source": {"centre": "moon", "bucket": "files"}})),
            "UnknownCentre",
            "spec.source.centre",
        ),
        (
            seen(&json!({"targets": [{"centre": "remote"}, {"centre": "moon"}]})),
            "UnknownCentre",
            "spec.targets[1].centre",
        ),
        (
            seen(&json!({"targets": [{"centre": "remote", "bucket": "vault"}]})),
            "BucketReserved",
            "spec.targets[0].bucket",
        ),
        (
            seen(&json!({"targets": [{"centre": "remote", "bucket": "tripod-drill-1"}]})),
            "BucketReserved",
            "spec.targets[0].bucket",
        ),
        (seen(&json!({"mode": "Scheduled", "schedule": "61 * * * *"})), "Invalid", "spec.schedule"),
        (seen(&json!({"pollInterval": "5s5m"})), "Invalid", "spec.pollInterval"),
        (seen(&json!({"rpo": "30s"})), "Invalid", "spec.rpo"),
        (seen(&json!({"minPollInterval": "2m"})), "Invalid", "spec.minPollInterval"),
        (seen(&json!({"minPollInterval": "1s1s"})), "Invalid", "spec.minPollInterval"),
        (bad_link, "LinkInvalid", "Centre remote: spec.links[0]"),
        (seen(&json!({"bandwidth": "-1"})), "Invalid", "spec.bandwidth"),
        (seen(&json!({"filter": {"minSize": "much"}})), "Invalid", "spec.filter.minSize"),
        (seen(&json!({"filter": {"tags": {"": "x"}}})), "Invalid", "spec.filter.tags"),
        (bad_pattern, "Invalid", "spec.filter"),
    ] {
        let mut seen = seen;
        assert_eq!(step(&seen, 0), Step::Leave);
        let refusal = decide(&seen, at(0)).refusal.unwrap();
        assert_eq!(refusal.reason, reason);
        assert!(refusal.message.starts_with(words), "{}", refusal.message);
        let status = pass(&mut seen, 0);
        assert_eq!(said(&status, "Ready"), is("False", reason));
        assert_eq!(said(&status, "InSync"), is("Unknown", "NotReplicated"));
    }
}

#[test]
fn a_lag_is_unknown_until_a_run_has_looked() {
    let mut seen = seen(&json!({"rpo": "5m"}));
    let first = pass(&mut seen, 0);
    assert_eq!((first.targets[0].lag_seconds, first.targets[0].objects_pending), (None, None));
    assert_eq!(said(&first, "InSync"), is("Unknown", "NoRunYet"));
    assert_eq!(said(&first, "Ready"), is("False", "Starting"));

    let figures = Figures { listed: 9, wanted: 5, copied: 2, lag: Some(900), ..Figures::default() };
    let mut seen = with_current(seen, Some(0), figures);
    let running = pass(&mut seen, 5);
    assert_eq!((running.targets[0].phase, running.targets[0].lag_seconds), (TargetPhase::Running, None));
    assert_eq!(running.targets[0].objects_pending, Some(3));
    assert_eq!(said(&running, "Ready"), is("True", "Replicating"));

    let mut seen = with_last(seen, ended(0, 10, Ok(whole())));
    let done = pass(&mut seen, 11);
    assert_eq!((done.targets[0].phase, done.targets[0].lag_seconds), (TargetPhase::Idle, Some(0)));
    assert_eq!(done.targets[0].last_complete_at.as_ref().map(|t| t.0), Some(at(10)));
    assert_eq!(said(&done, "InSync"), is("True", "InSync"));

    // Nothing was seen since: neither here nor there.
    assert_eq!(said(&pass(&mut seen, 400), "InSync"), is("Unknown", "ReadingTooOld"));
    let mut seen = with_last(seen, ended(60, 90, Err(refused())));
    let failed = pass(&mut seen, 91);
    assert_eq!((failed.targets[0].phase, failed.targets[0].lag_seconds), (TargetPhase::Failed, None));
    assert_eq!(said(&failed, "InSync"), is("Unknown", "NoReading"));
    assert_eq!(said(&failed, "Ready"), is("False", "TargetNotEmpty"));
}

#[test]
fn what_is_known_to_be_missing_counts_against_the_objective() {
    let left = |lag| {
        Ok(Figures { listed: 9, wanted: 3, copied: 1, failed: 2, lag: Some(lag), ..Figures::default() })
    };
    let mut young = with_last(seen(&json!({"rpo": "5m"})), ended(0, 10, left(60)));
    assert_eq!(said(&pass(&mut young, 11), "InSync"), is("True", "InSync"));
    let mut old = with_last(seen(&json!({"rpo": "5m"})), ended(0, 10, left(301)));
    let status = pass(&mut old, 11);
    assert_eq!(said(&status, "InSync"), is("False", "Lagging"));
    assert_eq!(said(&status, "Ready"), is("False", "ObjectsFailed"));
    assert_eq!((status.targets[0].objects_pending, &status.targets[0].last_complete_at), (Some(2), &None));
    let mut without = with_last(seen(&json!({})), ended(0, 10, left(60)));
    assert_eq!(said(&pass(&mut without, 11), "InSync"), is("False", "ObjectsMissing"));
}

#[test]
fn held_back_deletions_are_told_once_and_so_is_the_recovery() {
    let fuse = Ok(Figures { listed: 1, lag: Some(0), fuse: Some(5000), ..Figures::default() });
    let mut seen = with_last(seen(&json!({})), ended(0, 10, fuse));
    let status = pass(&mut seen, 11);
    assert_eq!(said(&status, "Ready"), is("False", "DeletesHeldBack"));
    assert_eq!(said(&status, "InSync"), is("False", "DeletesHeldBack"));
    let told = news(None, &status);
    assert_eq!(
        told.iter().map(|n| n.reason.as_str()).collect::<Vec<_>>(),
        ["FirstRunStarted", "DeletesHeldBack"]
    );
    assert_eq!(news(Some(&status), &status), []);
    let mut seen = with_last(seen, ended(60, 70, Ok(whole())));
    let mended = pass(&mut seen, 71);
    assert_eq!(news(Some(&status), &mended)[0].reason, "Recovered");
    assert_eq!(news(Some(&mended), &mended), []);
}

#[test]
fn an_idle_replication_is_written_down_now_and_then() {
    let mut seen = with_last(seen(&json!({})), ended(0, 10, Ok(whole())));
    let first = pass(&mut seen, 11);
    for minute in 1..10 {
        seen = with_last(seen, ended(minute * 60, minute * 60 + 1, Ok(whole())));
        assert_eq!(pass(&mut seen, minute * 60 + 2), first, "minute {minute}");
    }
    seen = with_last(seen, ended(610, 611, Ok(whole())));
    assert_ne!(pass(&mut seen, 612), first);
    // A new process changes nothing either, before it has looked.
    let before = seen.object.status.clone().unwrap();
    seen.targets.clear();
    assert_eq!(pass(&mut seen, 700), before);
}

#[test]
fn another_bucket_begins_anew() {
    let mut seen = with_last(seen(&json!({"mode": "Once"})), ended(0, 10, Ok(whole())));
    assert_eq!(said(&pass(&mut seen, 11), "Ready"), is("True", "Complete"));
    seen.targets.clear();
    assert_eq!(step(&seen, 12), Step::Leave);
    seen.object.spec.targets[0].bucket = Some("other".into());
    assert_eq!(step(&seen, 12), Step::Start);
    assert_eq!(pass(&mut seen, 12).targets[0].last_complete_at, None);
}

#[test]
fn targets_of_others_are_left_to_them() {
    let mut elsewhere = seen(&json!({}));
    elsewhere.centres.get_mut("remote").unwrap().served_here = false;
    let status = pass(&mut elsewhere, 0);
    assert_eq!((status.targets.len(), said(&status, "Ready")), (0, is("True", "ServedElsewhere")));
    assert_eq!(said(&status, "InSync"), is("Unknown", "ServedElsewhere"));
}

#[test]
fn who_makes_a_large_run_is_told_while_it_is_made() {
    let mut seen = with_current(seen(&json!({})), Some(0), Figures { wanted: 5, ..Figures::default() });
    let workers = Workers { job: "replicate-1".into(), shards: 32, shards_done: 12, workers: 4 };
    if let Some(current) = seen.targets.get_mut("remote").and_then(|runs| runs.current.as_mut()) {
        current.workers = Some(workers.clone());
    }
    assert_eq!(pass(&mut seen, 10).targets[0].workers, Some(workers));
    seen.targets.clear();
    let seen = &mut with_last(seen, ended(0, 20, Ok(whole())));
    assert_eq!(pass(seen, 20).targets[0].workers, None);
}

#[test]
fn throughput_is_told_in_two_digits() {
    let figures = Figures { listed: 9, copied_bytes: 12_345_678, ..Figures::default() };
    let mut seen = with_current(seen(&json!({})), Some(0), figures);
    assert_eq!(pass(&mut seen, 10).targets[0].throughput, Some(1_200_000));
}

#[test]
fn what_was_found_missing_is_no_lag_of_zero() {
    let seen = with_last(seen(&json!({"rpo": "5m"})), ended(0, 10, Ok(whole())));
    let figures = Figures { listed: 9, wanted: 1, ..Figures::default() };
    let mut seen = with_current(seen, Some(60), figures);
    let status = pass(&mut seen, 200);
    let target = &status.targets[0];
    assert_eq!((target.lag_seconds, target.objects_pending, target.throughput), (Some(200), Some(1), None));
    assert_eq!(said(&status, "InSync"), is("True", "InSync"));
    // It may be that old, and nobody knows.
    assert_eq!(said(&pass(&mut seen, 301), "InSync"), is("Unknown", "ReadingTooOld"));
    // It is known to be that old.
    if let Some(current) = &mut seen.targets.get_mut("remote").unwrap().current {
        current.figures.lag = Some(302);
    }
    let status = pass(&mut seen, 302);
    assert_eq!(status.targets[0].lag_seconds, Some(302));
    assert_eq!(said(&status, "InSync"), is("False", "Lagging"));
    // A new process knows less.
    if let Some(runs) = seen.targets.get_mut("remote") {
        runs.last = None;
        runs.current.as_mut().unwrap().figures.lag = None;
    }
    assert_eq!(pass(&mut seen, 303).targets[0].lag_seconds, None);
}

#[test]
fn looks_come_sooner_where_something_changes() {
    let changing = json!({"pollInterval": "1m", "minPollInterval": "2s"});
    let after = |quiet, figures: Figures| {
        let last = Ended { quiet, ..ended(0, 1, Ok(figures)) };
        let seen = with_last(seen(&changing), last);
        (1..100).find(|now| step(&seen, *now) == Step::Start).unwrap()
    };
    let copied = Figures { copied: 1, ..whole() };
    assert_eq!([0, 1, 2, 3, 4, 5, 6].map(|n| after(n, copied.clone())), [2, 4, 8, 16, 32, 60, 60]);
    // What only fails again and again is not asked for more often.
    assert!(!Figures { wanted: 3, failed: 3, ..whole() }.found_something() && copied.found_something());
}

fn hinted(mut seen: Observed, hints: Hints) -> Observed {
    seen.targets.entry("remote".into()).or_default().hints = hints;
    seen
}

#[test]
fn events_ask_for_keys_and_sometimes_for_a_whole_run() {
    let keys = || Hints { keys: 3, ..Hints::default() };
    let whole_run = || Hints { whole: true, ..Hints::default() };
    let gone = || Hints { gone: true, ..Hints::default() };
    let mirrored = json!({"pollInterval": "1h", "deletes": {"policy": "Mirror"}});
    let hourly = json!({"pollInterval": "1h"});
    let idle = || with_last(seen(&hourly), ended(0, 5, Ok(whole())));
    let nightly = json!({"mode": "Scheduled", "schedule": "0 2 * * *"});
    for (what, seen, now, expected) in [
        ("at once", hinted(idle(), keys()), 6, Step::Touch),
        ("a whole run that is due comes first", hinted(idle(), keys()), 3600, Step::Start),
        ("nothing before the first", hinted(seen(&hourly), keys()), 6, Step::Start),
        ("one at a time", hinted(with_current(idle(), Some(1), Figures::default()), keys()), 6, Step::Leave),
        (
            "not by schedule",
            hinted(with_last(seen(&nightly), ended(0, 5, Ok(whole()))), keys()),
            6,
            Step::Leave,
        ),
        (
            "not while runs fail",
            hinted(with_last(idle(), ended(6, 7, Err(refused()))), keys()),
            8,
            Step::Leave,
        ),
        ("a whole run, not at once", hinted(idle(), whole_run()), 59, Step::Leave),
        ("and soon", hinted(idle(), whole_run()), 60, Step::Start),
        ("what is gone stays", hinted(idle(), gone()), 60, Step::Leave),
        (
            "what is gone goes",
            hinted(with_last(seen(&mirrored), ended(0, 5, Ok(whole()))), gone()),
            60,
            Step::Start,
        ),
    ] {
        assert_eq!(step(&seen, now), expected, "{what}");
    }
    // A process before this one has made a whole run.
    let mut known = idle();
    pass(&mut known, 6);
    known.targets.clear();
    assert_eq!(step(&hinted(known.clone(), keys()), 7), Step::Touch);
    assert_eq!(step(&known, 7), Step::Leave);
}

#[test]
fn a_look_at_some_keys_is_no_news_unless_it_finds_something_it_can_not_copy() {
    let idle = with_last(seen(&json!({"rpo": "5m"})), ended(0, 5, Ok(whole())));
    let mut quiet = idle.clone();
    let before = pass(&mut quiet, 6);
    let figures = Figures { listed: 9, wanted: 5, copied: 2, lag: Some(1), ..Figures::default() };
    let mut quiet = with_current(quiet, Some(7), figures);
    quiet.targets.get_mut("remote").unwrap().current.as_mut().unwrap().is_touch = true;
    assert_eq!(pass(&mut quiet, 9), before);
    // A large object takes long, and is missing meanwhile.
    let status = pass(&mut quiet, 30);
    assert_eq!((status.targets[0].phase, status.targets[0].lag_seconds), (TargetPhase::Running, Some(1)));
    let mut failed = hinted(idle, Hints { missing: Some(400), whole: true, ..Hints::default() });
    let status = pass(&mut failed, 9);
    assert_eq!((status.targets[0].lag_seconds, said(&status, "InSync")), (Some(400), is("False", "Lagging")));
}
