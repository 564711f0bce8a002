//! What the probes of the Centres found missing, for the engine. Findings get old, and a store that was renewed may have
//! more by now: only fresh ones count, and only that something is missing, where the engine would find the same and go the same
//! way around it.

use jiff::{SignedDuration, Timestamp};
use tripod_crds::Centre;
use tripod_crds::centre::{Finding, StoreFindings};
use tripod_replication::engine::Lacking;

/// Stores are probed again after ten minutes; one that is not has a reason.
const FRESH: SignedDuration = SignedDuration::from_mins(20);

/// What is known to be missing.
pub(super) fn lacking(source: &Centre, target: &Centre, now: Timestamp) -> Lacking {
    let (source, target) = (fresh(source, now), fresh(target, now));
    let target_lacks = |of: fn(&StoreFindings) -> Finding| target.is_some_and(|f| of(f) == Finding::Absent);
    Lacking {
        // Refused as unknown. Those that are ignored do no harm, and of those that are wrong the engine has to see which.
        conditions: target_lacks(|f| f.conditional_writes) && target_lacks(|f| f.conditional_overwrites),
        // Who does not know the parameter answers with the whole.
        parts: source.is_some_and(|f| matches!(f.part_reads, Finding::Absent | Finding::Refuted)),
        tags: target_lacks(|f| f.tags),
    }
}

/// Whether a store is known to list in no order: its listings are sorted before they are compared.
pub(super) fn is_unsorted(centre: &Centre, now: Timestamp) -> bool {
    fresh(centre, now).is_some_and(|found| matches!(found.list_order, Finding::Absent | Finding::Refuted))
}

/// Of the store as it is described now.
fn fresh(centre: &Centre, now: Timestamp) -> Option<&StoreFindings> {
    let status = centre.status.as_ref().filter(|s| s.observed_generation == centre.metadata.generation)?;
    let is_fresh = |found: &&StoreFindings| now.duration_since(found.checked_at.0) < FRESH;
    status.store.as_ref().filter(is_fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tripod_crds::{CentreSpec, CentreStatus};

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn centre(checked_at: &str, findings: &Value) -> Centre {
        let spec: CentreSpec = serde_json::from_value(json!({"role": "Remote", "city": "west", "store": {
            "endpoint": "https://s", "region": "r", "bucket": "vault", "credentialsSecretRef": {"name": "store"}}}))
        .unwrap();
        let mut store = json!({"conditionalWrites": "Proven", "checksums": "Proven", "versioning": "Absent",
            "objectLock": "Absent", "checkedAt": checked_at});
        for (name, finding) in findings.as_object().unwrap() {
            store[name] = finding.clone();
        }
        let status = json!({"observedGeneration": 1, "store": store});
        let mut centre = Centre::new("remote", spec);
        centre.metadata.generation = Some(1);
        centre.status = Some(serde_json::from_value::<CentreStatus>(status).unwrap());
        centre
    }

    #[test]
    fn only_what_is_freshly_known_to_be_missing_counts() {
        let just_now = "2026-01-01T11:55:00Z";
        let none = centre(
            just_now,
            &json!({"conditionalWrites": "Absent", "conditionalOverwrites": "Absent",
            "partReads": "Refuted", "tags": "Absent"}),
        );
        let all = Lacking { conditions: true, parts: true, tags: true };
        assert_eq!(lacking(&none, &none, now()), all);
        assert!(!is_unsorted(&none, now()));
        let disordered = centre(just_now, &json!({"listOrder": "Refuted"}));
        assert!(is_unsorted(&disordered, now()));
        // Each side is asked for its own.
        let proven = centre(
            just_now,
            &json!({"conditionalOverwrites": "Proven", "partReads": "Proven", "tags": "Proven"}),
        );
        assert_eq!(lacking(&none, &proven, now()), Lacking { parts: true, ..Lacking::default() });
        assert_eq!(lacking(&proven, &none, now()), Lacking { parts: false, ..all });
        // Unknown, or wrong, is not missing.
        let odd = centre(
            just_now,
            &json!({"conditionalWrites": "Refuted", "conditionalOverwrites": "Refuted", "tags": "Refuted"}),
        );
        let half =
            centre(just_now, &json!({"conditionalWrites": "Absent", "conditionalOverwrites": "Unknown"}));
        for centre in [&odd, &half] {
            assert_eq!(lacking(centre, centre, now()), Lacking::default());
        }
        // What was found long ago, or of another store.
        let old = Centre { status: centre("2026-01-01T11:40:00Z", &json!({})).status, ..none.clone() };
        let mut changed = none.clone();
        changed.metadata.generation = Some(2);
        let mut never = none;
        never.status = None;
        for centre in [&old, &changed, &never] {
            assert_eq!(lacking(centre, centre, now()), Lacking::default());
        }
    }
}
