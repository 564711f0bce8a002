//! Who is let in, decided on what a cluster would say.

use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use serde_json::json;

use super::*;

fn review(authenticated: bool, audience: Option<&str>, user: &str) -> TokenReview {
    let status = TokenReviewStatus {
        authenticated: Some(authenticated),
        audiences: audience.map(|audience| vec![audience.to_owned()]),
        user: Some(UserInfo { username: Some(user.to_owned()), ..UserInfo::default() }),
        ..TokenReviewStatus::default()
    };
    TokenReview { status: Some(status), ..TokenReview::default() }
}

#[test]
fn only_a_mover_with_a_token_for_the_gateway_is_a_caller() {
    let mover = "system:serviceaccount:tax:tripod-mover";
    assert_eq!(caller_of(&review(true, Some(AUDIENCE), mover)), Ok("tax".to_owned()));
    for (authenticated, audience, user) in [
        (false, Some(AUDIENCE), mover),
        (true, None, mover),
        (true, Some("https://kubernetes.default.svc"), mover),
        (true, Some(AUDIENCE), "system:serviceaccount:tax:default"),
        (true, Some(AUDIENCE), "system:serviceaccount::tripod-mover"),
        (true, Some(AUDIENCE), "tripod-mover"),
        (true, Some(AUDIENCE), "system:admin"),
    ] {
        assert!(caller_of(&review(authenticated, audience, user)).is_err(), "{audience:?} {user}");
    }
    assert!(caller_of(&TokenReview::default()).is_err());
}

fn point(origin: &str, phase: &str) -> RecoveryPoint {
    serde_json::from_value(json!({
        "apiVersion": "tripod.cloud/v1alpha1", "kind": "RecoveryPoint", "metadata": { "name": "p" },
        "spec": { "policy": "nightly", "origin": origin, "takenAt": "2026-01-01T00:00:00Z", "volumes": ["data"] },
        "status": { "phase": phase },
    }))
    .unwrap()
}

#[test]
fn a_point_takes_its_own_volumes_while_it_runs() {
    let running = point("production", "Running");
    assert_eq!(takes(Some(&running), "production", "data"), Ok(()));
    assert!(matches!(takes(None, "production", "data"), Err(Refusal::Forbidden(_))));
    assert!(matches!(takes(Some(&running), "remote", "data"), Err(Refusal::Forbidden(_))));
    assert!(matches!(takes(Some(&running), "production", "other"), Err(Refusal::Forbidden(_))));
    for over in ["Complete", "Failed"] {
        let point = point("production", over);
        assert!(matches!(takes(Some(&point), "production", "data"), Err(Refusal::NotNow(_))));
    }
}

#[test]
fn only_a_namespace_made_for_it_is_restored_into() {
    let namespace = |labels, annotations| -> Namespace {
        serde_json::from_value(json!({ "metadata": { "labels": labels, "annotations": annotations } }))
            .unwrap()
    };
    let both = json!({ RESTORE_CENTRE: "remote", RESTORE_SYSTEM: "tax", RESTORE_POINT: "p" });
    let made = namespace(json!({ DRILL_LABEL: "d" }), both.clone());
    assert_eq!(
        restores(Some(&made)),
        Ok(Restored { centre: "remote".into(), system: "tax".into(), point: "p".into() })
    );
    assert!(restores(Some(&namespace(json!({}), both))).is_err());
    assert!(
        restores(Some(&namespace(json!({ DRILL_LABEL: "d" }), json!({ RESTORE_SYSTEM: "tax" })))).is_err()
    );
    assert!(restores(None).is_err());
}

#[test]
fn a_restore_fills_what_its_status_says_and_nothing_else() {
    let restore = |phase: &str, state: &str| -> Restore {
        serde_json::from_value(json!({
            "apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore", "metadata": { "name": "back" },
            "spec": { "recoveryPoint": "p" },
            "status": { "phase": phase, "centre": "remote", "system": "tax",
                "volumes": [{ "name": "data", "state": state, "files": 1, "bytes": 1 }] },
        }))
        .unwrap()
    };
    let filling = restore("Filling", "Filling");
    assert_eq!(
        fills(Some(&filling), "data"),
        Ok(Restored { centre: "remote".into(), system: "tax".into(), point: "p".into() })
    );
    assert!(matches!(fills(None, "data"), Err(Refusal::Forbidden(_))));
    assert!(matches!(fills(Some(&filling), "other"), Err(Refusal::NotNow(_))));
    for (phase, state) in
        [("Starting", "Filling"), ("Filling", "Restored"), ("Filling", "Skipped"), ("Succeeded", "Filling")]
    {
        assert!(
            matches!(fills(Some(&restore(phase, state)), "data"), Err(Refusal::NotNow(_))),
            "{phase} {state}"
        );
    }
}
