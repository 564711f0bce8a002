use serde_json::json;
use tripod_crds::UtilisationReport;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(exemptions: &serde_json::Value) -> SupervisionPolicySpec {
    serde_json::from_value(json!({"source": {"title": "t", "effective": "2026-01-01"}, "graceDays": 14,
        "exemptions": exemptions,
        "thresholds": {"cpu": {"lowAverage": 30, "lowPeak": 60, "highAverage": 50}}}))
    .unwrap()
}

fn report(verdict: &str) -> UtilisationReport {
    serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "UtilisationReport",
        "metadata": {"name": "window", "namespace": "health-web"},
        "spec": {"period": "Window", "from": "2026-10-01T00:00:00Z", "to": "2026-10-31T00:00:00Z", "intervalSeconds": 60},
        "status": {"verdict": verdict, "policy": "default", "lowSince": (verdict == "Low").then_some("2026-10-20T00:00:00Z"),
            "resources": {"cpu": {"average": "500m", "peak": "1", "granted": "4", "readings": 9, "of": 10,
                "coverage": "90.00", "sum": "4500m", "verdict": verdict}},
            "recommendations": [{"resource": "requests.cpu", "action": "Shrink", "to": "1300m", "by": "2700m"}]}}))
    .unwrap()
}

const WEB: Subject<'_> = Subject { department: "health", request: "web" };

fn grant(granted_at: &str) -> Grant {
    serde_json::from_value(
        json!({"specHash": "h", "resources": {"requests.cpu": "4"}, "since": "2026-01-01T00:00:00Z",
        "at": granted_at, "term": 365, "graceDays": 30}),
    )
    .unwrap()
}

#[test]
fn a_department_is_told_what_to_do_and_by_when() {
    let used = utilisation(&report("Low"), &policy(&json!([])), WEB, at("2026-10-31T01:00:00Z")).unwrap();
    assert_eq!(used.shrink_by.as_ref().unwrap().0, at("2026-11-03T00:00:00Z"));
    let before = well_used(&used, at("2026-10-31T01:00:00Z")).unwrap();
    assert_eq!((before.holds, before.reason.as_str()), (false, "Low"));
    assert!(before.message.contains("requests.cpu shrink → 1300m") && before.message.contains("申请豁免"));
    assert_eq!(well_used(&used, at("2026-11-03T00:00:00Z")).unwrap().reason, "LowOverdue");
}

#[test]
fn an_exemption_holds_until_its_last_day() {
    let exemption =
        json!([{"department": "health", "request": "web", "reason": "flood season", "until": "2026-10-31"}]);
    let told = |now: &str, subject| {
        let now = at(now);
        well_used(&utilisation(&report("Low"), &policy(&exemption), subject, now).unwrap(), now)
            .unwrap()
            .reason
    };
    // Midnight is in China.
    assert_eq!(told("2026-10-31T15:59:00Z", WEB), "Exempt");
    assert_eq!(told("2026-10-31T16:01:00Z", WEB), "Low");
    assert_eq!(told("2026-10-30T00:00:00Z", Subject { request: "other", ..WEB }), "Low");
}

#[test]
fn nobody_is_told_what_nobody_knows() {
    let used = utilisation(&report("Unknown"), &policy(&json!([])), WEB, at("2026-10-31T01:00:00Z")).unwrap();
    assert!(well_used(&used, at("2026-10-31T01:00:00Z")).is_none());
}

#[test]
fn a_grant_is_evaluated_once_when_its_trial_is_over() {
    let used = utilisation(&report("Low"), &policy(&json!([])), WEB, at("2026-10-31T01:00:00Z"));
    let delivery = Delivery {
        approved_at: Time(at("2026-09-01T00:00:00Z")),
        delivered_at: Some(Time(at("2026-09-01T00:01:30Z"))),
    };
    let evaluate = |granted, before: Option<&Evaluation>| {
        super::evaluate(&grant(granted), before, Some(&delivery), used.as_ref(), 30)
    };
    assert!(evaluate("2026-10-02T00:00:00Z", None).is_none());
    let done = evaluate("2026-10-01T00:00:00Z", None).unwrap();
    assert_eq!((done.verdict, done.delivery_seconds), (UseVerdict::Low, Some(90)));
    let unknown = Evaluation { verdict: UseVerdict::Unknown, ..done.clone() };
    assert_eq!(evaluate("2026-10-01T00:00:00Z", Some(&unknown)), Some(done.clone()));
    // It stays what it was, until another grant has had its trial.
    let stale = Evaluation { verdict: UseVerdict::Fit, ..done.clone() };
    assert_eq!(evaluate("2026-10-01T00:00:00Z", Some(&stale)), Some(stale.clone()));
    assert_eq!(evaluate("2026-10-15T00:00:00Z", Some(&stale)), Some(stale.clone()));
    assert_eq!(evaluate("2026-09-15T00:00:00Z", Some(&stale)).unwrap().verdict, UseVerdict::Low);
}

#[test]
fn delivery_is_counted_from_the_last_approval() {
    let approval: Approval = serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Approval",
        "metadata": {"name": "a", "creationTimestamp": "2026-09-01T00:00:00Z"},
        "spec": {"subject": {"kind": "ResourceRequest", "namespace": "dept-health", "name": "web", "uid": "u",
            "specHash": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", "requester": "r"},
            "verdict": "Approved", "approver": "x"}}))
    .unwrap();
    let grant = grant("2026-09-01T00:00:03Z");
    let first = delivery(&grant, &[approval], None, false, at("2026-09-01T00:00:03Z"));
    assert_eq!((first.approved_at.0, first.delivered_at.clone()), (at("2026-09-01T00:00:00Z"), None));
    let second = delivery(&grant, &[], Some(&first), true, at("2026-09-01T00:00:05Z"));
    assert_eq!(second.delivered_at.as_ref().unwrap().0, at("2026-09-01T00:00:05Z"));
    assert_eq!(delivery(&grant, &[], Some(&second), true, at("2026-09-02T00:00:00Z")), second);
    // A change that was granted later is delivered anew.
    let change = super::tests::grant("2026-10-01T00:00:00Z");
    let third = delivery(&change, &[], Some(&second), false, at("2026-10-01T00:00:00Z"));
    assert_eq!((third.approved_at.0, third.delivered_at), (at("2026-10-01T00:00:00Z"), None));
}
