use super::*;
use crate::resource_request::tests::{department, request};
use serde_json::json;

/// A window in which so much of four granted cores was used.
fn window(average: &str, peak: &str) -> UtilisationReport {
    serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "UtilisationReport",
        "metadata": {"name": "window"},
        "spec": {"period": "Window", "from": "2026-10-01T00:00:00Z", "to": "2026-10-31T00:00:00Z", "intervalSeconds": 60},
        "status": {"resources": {"cpu": {"average": average, "peak": peak, "granted": "4", "readings": 9, "of": 10,
            "coverage": "90.00", "sum": "1"}}}}))
    .unwrap()
}

/// The checks that do not pass when the request is changed so.
fn failing(pointer: &str, value: serde_json::Value) -> Vec<(String, CheckResult)> {
    let used = (window("500m", "2"), window("500m", "1500m"));
    checks(pointer, value, Some(&used.0), Some(&used.1))
        .into_iter()
        .filter(|c| c.result != CheckResult::Passed)
        .map(|c| (c.name, c.result))
        .collect()
}

fn checks(
    pointer: &str,
    value: serde_json::Value,
    department_use: Option<&UtilisationReport>,
    system_use: Option<&UtilisationReport>,
) -> Vec<Check> {
    let mut object = serde_json::to_value(request()).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    let request: ResourceRequest = serde_json::from_value(object).unwrap();
    let department = department();
    let evidence = Evidence {
        request: &request,
        department: &department,
        free: [
            ("requests.cpu".to_owned(), 8_000_000_000),
            ("requests.memory".to_owned(), (1 << 40) * 1_000_000_000),
        ]
        .into(),
        alike: Vec::new(),
        department_use,
        system_use,
        evaluated: &[("portal".to_owned(), UseVerdict::Low), ("mail".to_owned(), UseVerdict::Fit)],
        namespace: Ok("health-registration".into()),
        centres: ["production".to_owned(), "same-city".to_owned(), "remote".to_owned()].into(),
        here: "production".into(),
    };
    assess(&evidence)
}

#[test]
fn nobody_gets_less_than_was_used_and_approvers_see_how_it_was() {
    let (department, system) = (window("500m", "2"), window("500m", "1500m"));
    let of = |name: &str, cpu: &str, used: bool| {
        let value = json!({"requests.cpu": cpu});
        let checks = checks("/spec/resources", value, used.then_some(&department), used.then_some(&system));
        let check = checks.into_iter().find(|c| c.name == name).unwrap();
        (check.result, check.message)
    };
    let (result, message) = of("RecentUse", "1499m", true);
    assert_eq!(result, CheckResult::Failed);
    assert!(
        message.starts_with("spec.resources[requests.cpu]: 1499m is asked for, and 1500m were used"),
        "{message}"
    );
    assert_eq!(of("RecentUse", "1500m", true).0, CheckResult::Passed);
    assert_eq!(of("RecentUse", "1m", false).0, CheckResult::Passed);
    let (result, message) = of("PresentUse", "2", true);
    assert_eq!(result, CheckResult::Passed);
    assert!(message.contains("12 % of the processors") && message.contains("as Low: portal ·"), "{message}");
    assert_eq!(of("PresentUse", "2", false).0, CheckResult::Unknown);
}

#[test]
fn each_check_fails_by_its_own_name() {
    let objective = |centre: &str| json!({"centre": centre, "rpo": "1h"});
    let cases = [
        ("/spec/term", json!("365d"), None),
        ("/spec/system/classified", json!(true), Some("BelongsOnCloud")),
        ("/spec/system/filingNumber", json!(null), Some("FormComplete")),
        ("/spec/zone", json!("Internet"), Some("ZoneAllowed")),
        ("/spec/recoveryLevel", json!(2), Some("RecoveryLevelCovered")),
        ("/spec/protection", json!({"objectives": [objective("moon")]}), Some("RecoveryLevelCovered")),
        ("/spec/protection", json!({"objectives": [objective("remote")]}), None),
        (
            "/spec/protection",
            json!({"include": {"objects": false, "volumes": false}}),
            Some("RecoveryLevelCovered"),
        ),
        ("/spec/recoveryLevel", json!(6), Some("RecoveryLevelCovered")),
        ("/spec/resources", json!({"requests.cpu": "8001m"}), Some("BudgetHeadroom")),
        ("/spec/resources", json!({"requests.cpu": "1"}), Some("RecentUse")),
        ("/spec/resources", json!({"requests.nvidia.com/gpu": "1"}), Some("BudgetHeadroom")),
    ];
    for (pointer, value, expected) in cases {
        let failing = failing(pointer, value.clone());
        let names: Vec<&str> = failing.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected.into_iter().collect::<Vec<_>>(), "{pointer} {value}");
    }
}

/// The level, and what a policy has to have for it.
#[test]
fn a_level_needs_copies_at_other_centres() {
    let objective = |centre: &str| json!({"centre": centre, "rpo": "1h"});
    let (schedule, two) = ("0 * * * *", json!([objective("same-city"), objective("remote")]));
    for (level, protection, passes) in [
        (2, json!({"objectives": [objective("production")]}), false),
        (2, json!({"objectives": [objective("remote")]}), true),
        (3, json!({"objectives": [objective("remote")]}), false),
        (3, json!({"objectives": [objective("remote")], "schedule": schedule}), true),
        (
            4,
            json!({"objectives": [objective("remote"), objective("production")], "schedule": schedule}),
            false,
        ),
        (4, json!({"objectives": two, "schedule": schedule}), true),
    ] {
        let mut spec = serde_json::to_value(request().spec).unwrap();
        spec["recoveryLevel"] = json!(level);
        spec["protection"] = protection.clone();
        let failing = failing("/spec", spec);
        assert_eq!(failing.is_empty(), passes, "{level} {protection}: {failing:?}");
    }
}

#[test]
fn look_alikes_have_one_skeleton() {
    for (one, other) in
        [("预约挂号", "预约 挂号"), ("OA", "ОА"), ("Health-Portal", "health portal"), ("a", "а")]
    {
        assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
    }
    assert_ne!(skeleton("预约挂号"), skeleton("预约取号"));
}
