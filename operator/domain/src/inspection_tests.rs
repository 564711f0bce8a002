//! Places, pages, and the course of an inspection.

use std::convert::Infallible;

use proptest::prelude::*;
use serde_json::json;
use tripod_crds::inspection::EntryType;

use super::*;

fn spec(after: Option<&str>, limit: u32) -> InspectionSpec {
    serde_json::from_value(json!({"recoveryPoint": "p", "after": after, "limit": limit})).unwrap()
}

fn page(paths: &[String], after: Option<&str>, limit: u32) -> Result<Answer, String> {
    let mut page = Page::new(&spec(after, limit));
    for path in paths {
        let Ok(()) =
            page.take(path, Some(Change::Added), || Ok::<_, Infallible>(Entry::new(path, EntryType::File)));
    }
    page.answer()
}

#[test]
fn a_path_names_a_part_of_the_point() {
    let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (path, expected) in [
        ("", Place::Top),
        ("/", Place::Top),
        ("objects", Place::Objects(vec![])),
        ("/objects/deployments.apps/", Place::Objects(names(&["deployments.apps"]))),
        ("volumes/", Place::Volumes),
        ("volumes/data//etc/", Place::Volume("data".into(), names(&["etc"]))),
        ("buckets", Place::Buckets),
        ("buckets/scans", Place::Bucket("scans".into(), String::new())),
        // A key is any text.
        ("buckets/scans//a//b/", Place::Bucket("scans".into(), "/a//b/".into())),
    ] {
        assert_eq!(Place::parse(path), Ok(expected), "{path}");
    }
    for wrong in ["volume", "object/a", "//objects"] {
        assert!(Place::parse(wrong).unwrap_err().starts_with("spec.path: "), "{wrong}");
    }
}

proptest! {
    #[test]
    fn pages_put_together_are_the_whole(count in 0_usize..50, limit in 1_u32..20) {
        let paths: Vec<String> = (0..count).map(|n| format!("volumes/data/{n}")).collect();
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let answer = page(&paths, after.as_deref(), limit).unwrap();
            prop_assert_eq!((answer.found, answer.changes.values().sum()), (count as u64, count as u64));
            prop_assert!(answer.entries.len() <= limit as usize);
            seen.extend(answer.entries.into_iter().map(|entry| entry.path));
            after = answer.next;
            if after.is_none() { break; }
        }
        prop_assert_eq!(seen, paths);
    }
}

#[test]
fn an_answer_is_bounded_in_bytes() {
    let paths: Vec<String> = (0..1000).map(|n| format!("{n}{}", "x".repeat(4000))).collect();
    let answer = page(&paths, None, 1000).unwrap();
    assert!(serde_json::to_vec(&answer.entries).unwrap().len() < 600 << 10);
    assert_eq!((answer.found, answer.next.as_ref()), (1000, answer.entries.last().map(|e| &e.path)));
}

#[test]
fn to_go_on_behind_what_is_not_there_is_refused() {
    assert!(page(&["a".into()], Some("b"), 5).unwrap_err().starts_with("spec.after: "));
}

#[test]
fn it_is_answered_once_kept_an_hour_and_removed() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let mut asked: Inspection = serde_json::from_value(json!({
        "metadata": {"name": "a", "creationTimestamp": "2026-11-24T02:00:00Z"}, "spec": {"recoveryPoint": "p"}}))
    .unwrap();
    assert_eq!(decide(&asked, at("2026-11-24T02:00:01Z")), Plan::Look);
    let failed = status(&asked, "remote", &Outcome::Failed("no store".into()), at("2026-11-24T02:00:01Z"));
    asked.status = Some(failed);
    assert_eq!(decide(&asked, at("2026-11-24T02:00:03Z")), Plan::Look);
    assert_eq!(decide(&asked, at("2026-11-24T03:00:00Z")), Plan::Remove);
    let answer = Answer { found: 3, ..Answer::default() };
    let answered = status(&asked, "remote", &Outcome::Answered(answer), at("2026-11-24T02:30:00Z"));
    assert_eq!((answered.conditions[0].status.as_str(), answered.found), ("True", Some(3)));
    asked.status = Some(answered);
    assert_eq!(decide(&asked, at("2026-11-24T03:20:00Z")), Plan::Keep(SignedDuration::from_mins(10)));
    assert_eq!(decide(&asked, at("2026-11-24T03:30:00Z")), Plan::Remove);
}
