use super::*;

fn record(point: &str, state: CopyState, verified: Option<i64>) -> CopyRecord {
    CopyRecord {
        centre: "remote".into(),
        system: "s".into(),
        point: point.into(),
        root_digest: String::new(),
        taken_at: Timestamp::from_second(point.len().try_into().unwrap()).unwrap(),
        state,
        copied_at: None,
        verified_at: verified.map(|s| Timestamp::from_second(s).unwrap()),
        message: None,
        policy: Some("p".into()),
        kept_by: None,
        mended: None,
        locked_until: None,
        mending_at: Some(Timestamp::MAX),
        unusual: Vec::new(),
    }
}

fn key(point: &str) -> PointKey {
    PointKey { system: "s".into(), point: point.into() }
}

fn seen(offered: &[&str], records: Vec<CopyRecord>) -> Observed {
    Observed {
        offered: Ok(offered.iter().map(|p| key(p)).collect()),
        records,
        verify_interval: SignedDuration::from_secs(100),
        tombstones: Vec::new(),
        gone: BTreeSet::new(),
        prune_delay: SignedDuration::from_secs(60),
        lost: Vec::new(),
        keeping: Ok(Keeping::default()),
        set_aside: Vec::new(),
    }
}

#[test]
fn newest_first_then_proofs_then_rest() {
    let now = Timestamp::from_second(1000).unwrap();
    assert_eq!(decide(&seen(&["p1", "p2"], vec![]), now), Step::Copy(key("p2")));
    let copied = vec![record("p2", CopyState::Copied, None), record("p1", CopyState::Verified, Some(990))];
    assert_eq!(decide(&seen(&["p1", "p2"], copied), now), Step::Verify(key("p2")));
    let proven =
        vec![record("p2", CopyState::Verified, Some(950)), record("p1", CopyState::Verified, Some(990))];
    assert_eq!(decide(&seen(&["p1", "p2"], proven.clone()), now), Step::Rest);
    let later = Timestamp::from_second(1060).unwrap();
    assert_eq!(decide(&seen(&["p1", "p2"], proven), later), Step::Verify(key("p2")));
}

#[test]
fn a_dead_source_does_not_stop_proofs() {
    let mut seen = seen(&[], vec![record("p1", CopyState::Copied, None)]);
    seen.offered = Err("unreachable".into());
    assert_eq!(decide(&seen, Timestamp::from_second(1000).unwrap()), Step::Verify(key("p1")));
}

#[test]
fn damage_is_looked_at_again() {
    let seen = seen(&["p1"], vec![record("p1", CopyState::Damaged, Some(1))]);
    assert_eq!(decide(&seen, Timestamp::from_second(1000).unwrap()), Step::Verify(key("p1")));
}

fn with_rules(last: u16, records: Vec<CopyRecord>) -> Observed {
    let mut seen = seen(&[], records);
    let rules = Rules { last, ..Rules::default() };
    let policies = BTreeMap::from([(("s".to_owned(), "p".to_owned()), Policy::Rules(rules))]);
    seen.keeping = Ok(Keeping { policies, ..Keeping::default() });
    seen
}

/// Three proven points with their labels; the names tell the order.
fn three() -> Vec<CopyRecord> {
    let labelled = |point: &str, label: &str| CopyRecord {
        kept_by: Some(label.into()),
        copied_at: Some(Timestamp::from_second(50).unwrap()),
        ..record(point, CopyState::Verified, Some(990))
    };
    vec![labelled("p", "last"), labelled("pp", "last"), labelled("ppp", "last, newest Verified")]
}

fn now() -> Timestamp {
    Timestamp::from_second(1000).unwrap()
}

fn tombstone(point: &str, removed: i64) -> Tombstone {
    let manifest = serde_json::json!({"version": 1, "system": "s", "policy": "p", "point": point, "origin": "production",
        "takenAt": "1970-01-01T00:00:01Z", "completedAt": "1970-01-01T00:00:02Z", "rootDigest": ""});
    Tombstone {
        manifest: serde_json::from_value(manifest).unwrap(),
        removed_at: Timestamp::from_second(removed).unwrap(),
        marked_at: None,
    }
}

#[test]
fn the_oldest_that_no_rule_keeps_goes_first_and_what_is_kept_says_why() {
    let mut seen = with_rules(1, three());
    assert_eq!(decide(&seen, now()), Step::Remove(key("p")));
    seen.tombstones = vec![tombstone("p", 990)];
    assert_eq!(decide(&seen, now()), Step::Remove(key("pp")));
    seen.records[2].kept_by = None;
    let label = vec![(key("ppp"), Some("last, newest Verified".to_owned()))];
    assert_eq!(decide(&seen, now()), Step::Label(label));
    // Without rules there are no labels, and nothing goes.
    seen.keeping = Ok(Keeping::default());
    seen.records.iter_mut().for_each(|r| r.kept_by = None);
    assert_eq!(decide(&seen, now()), Step::Rest);
}

#[test]
fn whatever_is_unknown_keeps_everything() {
    let mut seen = with_rules(1, three());
    seen.offered = Err("unreachable".into());
    assert_eq!(decide(&seen, now()), Step::Rest);
    let mut seen = with_rules(1, three());
    seen.tombstones = vec![tombstone("old", 0)];
    seen.keeping = Err("backuppolicies can't be listed".into());
    assert_eq!(decide(&seen, now()), Step::Rest);
    let mut seen = with_rules(1, three());
    let unclear = Policy::Unclear("minimumAge".into());
    seen.keeping.as_mut().unwrap().policies.insert(("s".into(), "p".into()), unclear);
    seen.records.iter_mut().for_each(|r| r.kept_by = None);
    assert_eq!(decide(&seen, now()), Step::Rest);
    let mut seen = with_rules(1, three());
    for record in &mut seen.records {
        record.policy = None;
        record.kept_by = None;
    }
    assert_eq!(decide(&seen, now()), Step::Rest);
}

#[test]
fn a_policy_that_is_silent_leaves_it_to_the_centre() {
    let mut seen = with_rules(9, three());
    let keeping = seen.keeping.as_mut().unwrap();
    keeping.policies.insert(("s".into(), "p".into()), Policy::Silent);
    keeping.otherwise = Some(Rules { last: 2, ..Rules::default() });
    assert_eq!(decide(&seen, now()), Step::Remove(key("p")));
}

#[test]
fn what_was_removed_is_not_copied_again() {
    let mut seen = seen(&["p1", "p2"], Vec::new());
    seen.tombstones = vec![tombstone("p2", 990)];
    seen.gone = BTreeSet::from([key("p1")]);
    assert_eq!(decide(&seen, now()), Step::Rest);
}

#[test]
fn data_goes_after_the_delay_and_not_while_the_system_is_busy() {
    let mut seen = with_rules(9, Vec::new());
    seen.tombstones = vec![tombstone("p", 941)];
    assert_eq!(decide(&seen, now()), Step::Rest);
    seen.tombstones = vec![tombstone("p", 940)];
    assert_eq!(decide(&seen, now()), Step::Sweep("s".into()));
    seen.tombstones[0].marked_at = Some(Timestamp::from_second(950).unwrap());
    assert_eq!(decide(&seen, now()), Step::Rest);
    seen.tombstones[0].marked_at = None;
    seen.keeping.as_mut().unwrap().busy.insert("s".into(), "drill x".into());
    assert_eq!(decide(&seen, now()), Step::Rest);
}

#[test]
fn a_hold_spreads_and_ends_only_where_it_was_taken_off() {
    let mut seen = with_rules(1, three());
    let holds =
        |seen: &mut Observed, object: Option<Option<&str>>, here: Option<&str>, source: Option<&str>| {
            let holds = &mut seen.keeping.as_mut().unwrap().holds;
            let map = |text: Option<&str>| text.map(|t| (key("p"), t.to_owned())).into_iter().collect();
            holds.objects = object.map(|o| (key("p"), o.map(str::to_owned))).into_iter().collect();
            (holds.here, holds.source) = (map(here), map(source));
        };
    let hold = |reason: &str, annotate| Step::Hold { key: key("p"), reason: reason.into(), annotate };
    holds(&mut seen, Some(Some("case")), None, None);
    assert_eq!(decide(&seen, now()), hold("case", false));
    holds(&mut seen, Some(None), None, Some("case"));
    assert_eq!(decide(&seen, now()), hold("case", true));
    holds(&mut seen, None, None, Some("case"));
    assert_eq!(decide(&seen, now()), hold("case", false));
    // Taken off here while the source still has it: it stays held.
    holds(&mut seen, Some(None), Some("case"), Some("case"));
    assert!(matches!(decide(&seen, now()), Step::Label(_)));
    holds(&mut seen, Some(None), Some("case"), None);
    assert_eq!(decide(&seen, now()), Step::Release(key("p")));
    // Whoever holds the source can't end it here: the annotation here stands.
    holds(&mut seen, Some(Some("case")), Some("case"), None);
    assert!(matches!(decide(&seen, now()), Step::Label(_)));
    // An object that is gone ends nothing.
    holds(&mut seen, None, Some("case"), None);
    assert!(matches!(decide(&seen, now()), Step::Label(_)));
}

#[test]
fn others_are_asked_once_for_every_proof_that_failed() {
    let mut seen = seen(&["p1"], vec![record("p1", CopyState::Damaged, Some(990))]);
    seen.records[0].mending_at = None;
    assert_eq!(decide(&seen, now()), Step::Mend(key("p1")));
    seen.records[0].mending_at = Some(Timestamp::from_second(990).unwrap());
    assert_eq!(decide(&seen, now()), Step::Rest);
    seen.records[0].verified_at = Some(Timestamp::from_second(995).unwrap());
    assert_eq!(decide(&seen, now()), Step::Mend(key("p1")));
}

#[test]
fn what_failed_stops_nothing_else() {
    let mut seen = seen(&["p1", "p2"], vec![record("p3", CopyState::Copied, None)]);
    seen.set_aside = vec![Step::Copy(key("p2"))];
    assert_eq!(decide(&seen, now()), Step::Copy(key("p1")));
    seen.set_aside.push(Step::Copy(key("p1")));
    assert_eq!(decide(&seen, now()), Step::Verify(key("p3")));
    seen.set_aside.push(Step::Verify(key("p3")));
    assert_eq!(decide(&seen, now()), Step::Rest);
}

#[test]
fn what_is_locked_stays_until_its_lock_runs_out_and_is_not_locked_anew() {
    let mut seen = with_rules(1, three());
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    seen.records[0].locked_until = Some(at(1060));
    let label = vec![(key("p"), Some("locked until 1970-01-01T00:17:40Z".to_owned()))];
    assert_eq!(decide(&seen, now()), Step::Label(label));
    seen.records[0].kept_by = Some("locked until 1970-01-01T00:17:40Z".to_owned());
    assert_eq!(decide(&seen, now()), Step::Remove(key("pp")));
    assert!(!is_kept(&seen, &key("p"), now()) && is_kept(&seen, &key("ppp"), now()));
    assert_eq!(decide(&seen, at(1060)), Step::Remove(key("p")));
    // One that no rule will keep once it is proved is not locked first.
    seen.records[0] = CopyRecord { state: CopyState::Copied, locked_until: None, ..seen.records[0].clone() };
    assert!(!is_kept(&seen, &key("p"), now()));
    // Where it is not known what is kept, everything is.
    seen.keeping = Err("policies can't be listed".into());
    assert!(is_kept(&seen, &key("p"), now()));
}

#[test]
fn a_lock_is_for_whole_days_and_the_same_until_the_next() {
    let of = |now: &str| lock_until(2, now.parse().unwrap()).to_string();
    assert_eq!(of("2026-11-27T00:00:00Z"), "2026-11-30T00:00:00Z");
    assert_eq!(of("2026-11-27T23:59:59Z"), "2026-11-30T00:00:00Z");
    assert_eq!(of("2026-11-28T00:00:00Z"), "2026-12-01T00:00:00Z");
}

#[test]
fn what_is_lost_is_brought_back_after_what_the_source_has_and_a_failure_stops_nothing() {
    let mut seen = seen(&["offered"], vec![record("p1", CopyState::Copied, None)]);
    seen.lost = vec![key("l1"), key("l2")];
    assert_eq!(decide(&seen, now()), Step::Copy(key("offered")));
    seen.set_aside.push(Step::Copy(key("offered")));
    assert_eq!(decide(&seen, now()), Step::Recall(key("l1")));
    seen.set_aside.push(Step::Recall(key("l1")));
    assert_eq!(decide(&seen, now()), Step::Recall(key("l2")));
    seen.set_aside.push(Step::Recall(key("l2")));
    assert_eq!(decide(&seen, now()), Step::Verify(key("p1")));
}
