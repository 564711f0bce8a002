//! When a centre's store is tried out, and what the findings say of the centre.

use jiff::{SignedDuration, Timestamp};
use tripod_crds::centre::{Finding, Protection, StoreFindings};
use tripod_crds::{Centre, CentreStatus};

use crate::conditions::{self, Verdict};
use crate::link;

/// How old findings may get.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// A store that failed is tried again after this long.
const RETRY: SignedDuration = SignedDuration::from_secs(15);

/// The condition about the limits of links.
const LINKS: &str = "LinksValid";
/// The condition about locks.
const LOCK: &str = "ObjectLock";
/// The condition about keys in escrow.
const ESCROW: &str = "Escrowed";

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    pub centre: Centre,
    /// The centre of this operator.
    pub own: String,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Try everything, in the vault that this operator serves.
    Probe,
    /// Another operator serves it: see that its vault can be read.
    Read,
    /// The findings are fresh.
    Keep,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Found(StoreFindings),
    Readable,
    /// The reason for a condition, and words that name the field.
    Failed {
        reason: String,
        message: String,
    },
    Kept,
}

/// Pure, total.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Plan {
    let centre = &seen.centre;
    let status = centre.status.as_ref();
    let ready = status.and_then(|s| conditions::find(&s.conditions, "Ready"));
    let current =
        ready.is_some_and(|c| c.status == "True" && c.observed_generation == centre.metadata.generation);
    let checked = status.and_then(|s| s.store.as_ref()).map(|s| s.checked_at.0);
    if !centre.is_served_by(&seen.own) {
        return Plan::Read;
    }
    let fresh = checked.is_some_and(|at| now.duration_since(at) < FRESH);
    if current && fresh { Plan::Keep } else { Plan::Probe }
}

/// When to look again.
#[must_use]
pub fn recheck(outcome: &Outcome) -> SignedDuration {
    match outcome {
        Outcome::Failed { .. } => RETRY,
        _ => SignedDuration::from_secs(60),
    }
}

/// The status that follows.
#[must_use]
pub fn status(seen: &Observed, outcome: &Outcome, now: Timestamp) -> CentreStatus {
    let mut status = seen.centre.status.clone().unwrap_or_default();
    let generation = seen.centre.metadata.generation;
    status.observed_generation = generation;
    link_limits(&mut status, seen, now);
    status.protection =
        Some(if seen.centre.spec.served_by.is_some() { Protection::Push } else { Protection::Pull });
    let verdict = match outcome {
        Outcome::Found(findings) => {
            let verdict = judge(findings);
            status.store = Some(findings.clone());
            verdict
        }
        Outcome::Readable => {
            Verdict::yes("Readable", "its vault can be read from here; its own operator tries it out")
        }
        Outcome::Failed { reason, message } => Verdict::no(reason, message.clone()),
        Outcome::Kept => return status,
    };
    conditions::set(&mut status.conditions, "Ready", &verdict, generation, now);
    object_lock(&mut status, seen, now);
    status
}

/// Told of where it is wanted, by the operator that tries the store out.
fn object_lock(status: &mut CentreStatus, seen: &Observed, now: Timestamp) {
    let spec = &seen.centre.spec;
    let (Some(days), true) = (spec.object_lock_days, seen.centre.is_served_by(&seen.own)) else {
        status.conditions.retain(|condition| condition.type_ != LOCK);
        return;
    };
    let bucket = &spec.store.bucket;
    let verdict = match status.store.as_ref().map_or(Finding::Unknown, |store| store.object_lock) {
        Finding::Proven => Verdict::yes(
            "Proven",
            format!("a locked version can't be deleted; what is proved here is locked for {days} days"),
        ),
        Finding::Absent => Verdict::no(
            "NotLockable",
            format!(
                "spec.objectLockDays: bucket {bucket} can't lock objects, and nothing is locked; make a bucket with object \
                 lock, and name it in spec.store.bucket"
            ),
        ),
        Finding::Refuted => Verdict::no(
            "Refuted",
            format!(
                "spec.objectLockDays: the store has deleted a locked version in bucket {bucket}; nothing is locked"
            ),
        ),
        Finding::Unknown => Verdict::no(
            "NotTried",
            format!(
                "spec.objectLockDays: it could not be tried whether bucket {bucket} keeps what is locked, and nothing is \
                 locked; its account needs s3:GetBucketObjectLockConfiguration, s3:GetObjectRetention and \
                 s3:PutObjectRetention"
            ),
        ),
    };
    conditions::set(&mut status.conditions, LOCK, &verdict, seen.centre.metadata.generation, now);
}

/// What came of wrapping keys for escrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Escrow {
    /// Not looked at in this pass.
    NotAsked,
    /// The passwords of so many systems lie wrapped in the vault.
    Kept(usize),
    /// What went wrong, with the field.
    Failed(String),
}

/// Tells of it in a condition of its own; without recipients there is none.
pub fn note_escrow(status: &mut CentreStatus, seen: &Observed, escrow: &Escrow, now: Timestamp) {
    let recipients = seen.centre.spec.escrow_recipients.len();
    if recipients == 0 {
        status.conditions.retain(|condition| condition.type_ != ESCROW);
        return;
    }
    let verdict = match escrow {
        Escrow::NotAsked => return,
        Escrow::Kept(systems) => Verdict::yes(
            "Wrapped",
            format!(
                "the passwords of {systems} systems lie in the vault, wrapped for {recipients} recipients"
            ),
        ),
        Escrow::Failed(message) => Verdict::no("NotWrapped", message.clone()),
    };
    conditions::set(&mut status.conditions, ESCROW, &verdict, seen.centre.metadata.generation, now);
}

/// What is wrong with the limits of its links is told in a condition of its own: the store has nothing to do with it.
fn link_limits(status: &mut CentreStatus, seen: &Observed, now: Timestamp) {
    let spec = &seen.centre.spec;
    if spec.links.is_empty() {
        status.conditions.retain(|condition| condition.type_ != LINKS);
        return;
    }
    let verdict = match link::check(&spec.links) {
        Ok(()) => Verdict::yes("Read", "the limits of its links can be read"),
        Err(error) => Verdict::no("Invalid", error),
    };
    conditions::set(&mut status.conditions, LINKS, &verdict, seen.centre.metadata.generation, now);
}

fn judge(findings: &StoreFindings) -> Verdict {
    let lost = lost_keys(findings);
    // Either alone is no register: who can't be refused overwrites others, and who always is can't write at all.
    if [findings.conditional_writes, findings.conditional_overwrites] == [Finding::Proven; 2] {
        let right = "written, read back and listed; conditional writes are right";
        return Verdict::yes("StoreProven", format!("{right}{lost}"));
    }
    // Still a good vault: recovery points need no conditional writes, only the right to be active does.
    let wrong = "written, read back and listed; conditional writes are not right: no vote in a takeover";
    Verdict::yes("StoreUsable", format!("{wrong}{lost}"))
}

/// A bucket with such keys can't be kept here as it is: its department should hear of it before a restore does.
fn lost_keys(findings: &StoreFindings) -> String {
    let kinds = |finding| {
        let of = findings.odd_keys.iter().filter(move |(_, kept)| **kept == finding);
        of.map(|(kind, _)| kind.as_str()).collect::<Vec<_>>().join(", ")
    };
    let said = [("changes", kinds(Finding::Refuted)), ("refuses", kinds(Finding::Absent))];
    let said = said.into_iter().filter(|(_, kinds)| !kinds.is_empty());
    said.map(|(verb, kinds)| format!("; it {verb} keys of the kinds {kinds}")).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use tripod_crds::CentreSpec;

    fn centre() -> Centre {
        let spec: CentreSpec = serde_json::from_value(serde_json::json!({
            "role": "Remote", "city": "west", "store": {"endpoint": "https://s", "region": "r", "bucket": "vault",
                "credentialsSecretRef": {"name": "store"}}}))
        .unwrap();
        let mut centre = Centre::new("remote", spec);
        centre.metadata.generation = Some(1);
        centre
    }

    fn seen(centre: Centre) -> Observed {
        Observed { centre, own: "remote".into() }
    }

    fn found(now: Timestamp) -> Outcome {
        Outcome::Found(findings(now, Finding::Proven, &[]))
    }

    fn findings(now: Timestamp, overwrites: Finding, odd_keys: &[(&str, Finding)]) -> StoreFindings {
        StoreFindings {
            conditional_writes: Finding::Proven,
            conditional_overwrites: overwrites,
            checksums: Finding::Proven,
            crc64nvme: Finding::Proven,
            md5_etags: Finding::Proven,
            part_etags: Finding::Proven,
            part_reads: Finding::Proven,
            uneven_parts: Finding::Proven,
            small_parts: Finding::Absent,
            versioning: Finding::Absent,
            object_lock: Finding::Absent,
            list_order: Finding::Proven,
            start_after: Finding::Proven,
            odd_keys: odd_keys.iter().map(|(kind, kept)| ((*kind).into(), *kept)).collect(),
            unicode_metadata: Finding::Proven,
            headers: Finding::Proven,
            tags: Finding::Proven,
            server: None,
            checked_at: Time(now),
        }
    }

    #[test]
    fn probes_until_proven_then_keeps_until_stale_or_changed() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut centre = centre();
        assert_eq!(decide(&seen(centre.clone()), now), Plan::Probe);
        centre.status = Some(status(&seen(centre.clone()), &found(now), now));
        assert_eq!(decide(&seen(centre.clone()), now), Plan::Keep);
        assert_eq!(decide(&seen(centre.clone()), now + FRESH), Plan::Probe);
        let kept = status(&seen(centre.clone()), &Outcome::Kept, now + FRESH);
        assert_eq!(Some(kept), centre.status);
        centre.metadata.generation = Some(2);
        assert_eq!(decide(&seen(centre), now), Plan::Probe);
    }

    #[test]
    fn only_who_serves_it_writes_into_it() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let elsewhere = Observed { centre: centre(), own: "production".into() };
        assert_eq!(decide(&elsewhere, now), Plan::Read);
        let mut served = elsewhere;
        served.centre.spec.served_by = Some("production".into());
        assert_eq!(decide(&served, now), Plan::Probe);
        assert_eq!(status(&served, &found(now), now).protection, Some(Protection::Push));
    }

    #[test]
    fn a_store_that_refuses_the_right_condition_has_no_vote() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ready = |findings| {
            let status = status(&seen(centre()), &Outcome::Found(findings), now);
            conditions::find(&status.conditions, "Ready").cloned().unwrap()
        };
        assert_eq!(ready(findings(now, Finding::Proven, &[])).reason, "StoreProven");
        let odd = ready(findings(now, Finding::Refuted, &[]));
        assert_eq!((odd.status.as_str(), odd.reason.as_str()), ("True", "StoreUsable"));
        assert!(odd.message.ends_with("no vote in a takeover"), "{}", odd.message);
    }

    #[test]
    fn limits_of_links_that_can_not_be_read_are_told_and_nothing_else_is_said_of_the_centre() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut seen = seen(centre());
        let told = |seen: &Observed| {
            let status = status(seen, &found(now), now);
            assert_eq!(conditions::find(&status.conditions, "Ready").unwrap().status, "True");
            conditions::find(&status.conditions, LINKS).map(|c| (c.status.clone(), c.message.clone()))
        };
        assert_eq!(told(&seen), None);
        let hours = |zone: &str| {
            let hours =
                serde_json::json!({"from": "08:00", "until": "18:00", "timeZone": zone, "bandwidth": "1"});
            serde_json::from_value(serde_json::json!([{"from": "production", "hours": [hours]}])).unwrap()
        };
        seen.centre.spec.links = hours("Asia/Shanghai");
        assert_eq!(told(&seen).unwrap().0, "True");
        seen.centre.spec.links = hours("Asia/Nowhere");
        let (state, message) = told(&seen).unwrap();
        assert!(state == "False" && message.starts_with("spec.links[0].hours[0].timeZone"), "{message}");
    }

    #[test]
    fn escrow_is_told_where_it_is_wanted_and_only_when_it_was_looked_at() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut seen = seen(centre());
        let mut status = CentreStatus::default();
        note_escrow(&mut status, &seen, &Escrow::Kept(0), now);
        assert!(status.conditions.is_empty());
        seen.centre.spec.escrow_recipients = vec!["age1x".into()];
        note_escrow(&mut status, &seen, &Escrow::Kept(3), now);
        let told = |status: &CentreStatus| {
            conditions::find(&status.conditions, ESCROW)
                .map(|c| (c.status.clone(), c.message.clone()))
                .unwrap()
        };
        assert!(told(&status).1.contains("3 systems") && told(&status).0 == "True");
        note_escrow(&mut status, &seen, &Escrow::NotAsked, now);
        assert_eq!(told(&status).0, "True");
        note_escrow(&mut status, &seen, &Escrow::Failed("no".into()), now);
        assert_eq!(told(&status), ("False".into(), "no".into()));
    }

    #[test]
    fn locks_are_told_of_where_they_are_wanted_and_hold_only_as_the_store_was_seen_to() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut seen = seen(centre());
        let told = |seen: &Observed, object_lock| {
            let found = StoreFindings { object_lock, ..findings(now, Finding::Proven, &[]) };
            let status = status(seen, &Outcome::Found(found), now);
            let centre = Centre { status: Some(status.clone()), ..seen.centre.clone() };
            let condition = conditions::find(&status.conditions, LOCK);
            (condition.map(|c| (c.status.clone(), c.reason.clone())), centre.locks_for_days())
        };
        assert_eq!(told(&seen, Finding::Proven), (None, None));
        seen.centre.spec.object_lock_days = Some(30);
        let said = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));
        assert_eq!(told(&seen, Finding::Proven), (said("True", "Proven"), Some(30)));
        assert_eq!(told(&seen, Finding::Absent), (said("False", "NotLockable"), None));
        assert_eq!(told(&seen, Finding::Refuted), (said("False", "Refuted"), None));
        assert_eq!(told(&seen, Finding::Unknown), (said("False", "NotTried"), None));
        seen.own = "production".into();
        assert_eq!(told(&seen, Finding::Proven).0, None);
    }

    #[test]
    fn keys_that_would_be_lost_are_told() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let kept = [
            ("control", Finding::Refuted),
            ("longName", Finding::Absent),
            ("nested", Finding::Absent),
            ("plus", Finding::Proven),
            ("percent", Finding::Unknown),
        ];
        let message = judge(&findings(now, Finding::Proven, &kept)).message;
        assert!(
            message.ends_with(
                "it changes keys of the kinds control; it refuses keys of the kinds longName, nested"
            ),
            "{message}"
        );
    }
}
