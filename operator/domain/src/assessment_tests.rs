use super::*;
use crate::resource_request::tests::{department, request};
use serde_json::json;

/// The checks that do not pass when the request is changed so.
fn failing(pointer: &str, value: serde_json::Value) -> Vec<(String, CheckResult)> {
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
        use_of_requested: Ok(12),
        namespace: Ok("health-registration".into()),
        centres: ["production".to_owned(), "same-city".to_owned(), "remote".to_owned()].into(),
        here: "production".into(),
    };
    let checks = assess(&evidence).into_iter().filter(|c| c.result != CheckResult::Passed);
    checks.map(|c| (c.name, c.result)).collect()
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
