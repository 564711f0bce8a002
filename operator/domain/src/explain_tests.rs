use super::*;
use crate::resource_request::tests::{department, request};
use crate::spec_hash;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-11-25T00:00:00Z".parse().unwrap()
}

/// The request with this status on top of one that is awaiting approval.
fn standing_at(status: &Value) -> ResourceRequest {
    let mut request = request();
    let hash = spec_hash::of(&request.spec).unwrap();
    let mut object = json!({"observedGeneration": 1, "phase": "AwaitingApproval", "specHash": hash,
        "namespace": "health-registration", "class": "standard", "approvals": {"required": 1}});
    object.as_object_mut().unwrap().extend(status.as_object().cloned().unwrap());
    request.status = Some(serde_json::from_value(object).unwrap());
    request
}

fn ready(reason: &str) -> Value {
    json!([{"type": "Ready", "status": "False", "reason": reason, "message": "because · 因为",
        "lastTransitionTime": "2026-11-01T00:00:00Z"}])
}

fn said(sections: &[Section]) -> (String, String) {
    let (mut en, mut zh) = (String::new(), String::new());
    for row in sections.iter().flat_map(|section| {
        std::iter::once(Row::Cells(vec![section.title.clone()])).chain(section.rows.clone())
    }) {
        let cells = match row {
            Row::Cells(cells) => cells,
            Row::Command(command) => vec![Line::same(format!("$ {command}"))],
        };
        let join = |of: fn(&Line) -> &str| cells.iter().map(of).collect::<Vec<_>>().join(" | ") + "\n";
        en.push_str(&join(|line| &line.en));
        zh.push_str(&join(|line| &line.zh));
    }
    (en, zh)
}

fn explained(request: &ResourceRequest) -> (String, String) {
    let (hash, department) = (spec_hash::of(&request.spec).unwrap(), department());
    let asked =
        Asked { request, department: Some(&department), hash: &hash, operator_namespace: "tripod-system" };
    said(&super::request(&asked, now()))
}

/// What a status makes the explanation say: English, Chinese, and a command in both.
type Case = (Value, [&'static str; 3]);

fn all_say(cases: &[Case]) {
    for (status, [english, chinese, command]) in cases {
        let (en, zh) = explained(&standing_at(status));
        assert!(en.contains(english), "{english}\n{en}");
        assert!(zh.contains(chinese), "{chinese}\n{zh}");
        let command = format!("$ kubectl {command}");
        assert!(en.contains(&command) && zh.contains(&command), "{command}\n{en}");
    }
}

#[test]
fn each_situation_names_who_has_to_do_what() {
    let because = |reason: &str| json!({"conditions": ready(reason)});
    let of_term = |phase: &str, reason: &str| {
        json!({"phase": phase, "conditions": ready(reason), "term": {"startedAt": "2026-01-01T00:00:00Z",
            "endsAt": "2026-12-05T00:00:00Z", "keptUntil": "2027-01-04T00:00:00Z"}})
    };
    let longer =
        r#"patch resourcerequest registration -n dept-health --type=merge -p '{"spec":{"term":"730d"}}'"#;
    all_say(&[
        (
            because("AwaitingApproval"),
            [
                "An approver who is not zhang@health, for instance the cloud chief 王主任 (chief@health)",
                "zhang@health 以外的审批人，例如云长 王主任（chief@health）",
                "tripod approve registration -n dept-health --hash sha256:",
            ],
        ),
        (
            because("Rejected"),
            [
                "The requester: change",
                "申请人：请按驳回意见修改",
                "edit resourcerequest registration -n dept-health",
            ],
        ),
        (
            because("ApprovalsUnguarded"),
            ["The platform: install", "平台：请安装", "get validatingadmissionpolicies"],
        ),
        (
            because("NotApplied"),
            ["The platform: a write failed", "平台：写入失败", "logs -n tripod-system deployment/tripod"],
        ),
        (
            because("Provisioning"),
            [
                "Nobody: it is being made",
                "无须操作：正在开通",
                "wait --for=condition=Ready --timeout=5m resourcerequest/registration -n dept-health",
            ],
        ),
        (
            because("BudgetExhausted"),
            [
                "The platform: the budget",
                "平台：预算",
                "describe resourcequota tripod-budget -n health-registration",
            ],
        ),
        (
            because("Provisioned"),
            ["Nobody: the system's", "无须操作：系统命名空间可用", "describe resourcequota"],
        ),
        (
            because("NewReason"),
            [
                "NewReason is not known",
                "不识别 NewReason",
                "describe resourcerequest registration -n dept-health",
            ],
        ),
        (of_term("Expiring", "Provisioned"), ["the term ends soon", "期限将满", longer]),
        (of_term("Ended", "TermOver"), ["the term is over", "期限已满", longer]),
        (json!({"conditions": []}), ["The operator: it has not looked", "控制器：尚未处理当前规格", "logs"]),
        (
            json!({"specHash": "sha256:old", "observedGeneration": 0}),
            ["The operator: it has not looked", "控制器：尚未处理当前规格", "logs"],
        ),
    ]);
}

#[test]
fn each_check_that_failed_names_its_remedy() {
    let failed = |names: &[&str]| {
        let checks =
            names.iter().map(|name| json!({"name": name, "result": "Failed", "message": "does not · 不行"}));
        json!({"conditions": ready(names[0]), "checks": checks.collect::<Vec<_>>()})
    };
    all_say(&[
        (
            failed(&["BudgetHeadroom"]),
            [
                "asks for less, or the platform",
                "申请人减少申请量，或由平台增加预算",
                "edit department health",
            ],
        ),
        (
            failed(&["DepartmentActive"]),
            ["The platform: take", "平台：解除部门暂停", "patch department health --type=merge"],
        ),
        (
            failed(&["NamespaceFree"]),
            [
                "under another name",
                "以其他名称重新申请",
                "delete resourcerequest registration -n dept-health",
            ],
        ),
        (
            failed(&["FormComplete"]),
            [
                "so that FormComplete passes",
                "以通过 FormComplete",
                "edit resourcerequest registration -n dept-health",
            ],
        ),
        (
            failed(&["ZoneAllowed", "BudgetHeadroom"]),
            ["so that ZoneAllowed passes", "以通过 ZoneAllowed", "edit department health"],
        ),
        (
            failed(&["ZoneAllowed"]),
            ["FAILED | ZoneAllowed | does not\n", "未通过 | ZoneAllowed | 不行\n", "edit"],
        ),
    ]);
}

#[test]
fn what_can_not_be_judged_says_so() {
    let situation =
        |request: &ResourceRequest| super::situation(request, &spec_hash::of(&request.spec).unwrap());
    assert_eq!(situation(&request()), Situation::Unseen);
    // Seen, and hashed otherwise: another version.
    let other = standing_at(&json!({"specHash": "sha256:other", "conditions": ready("AwaitingApproval")}));
    assert_eq!(situation(&other), Situation::OtherHash);
    let mut leaving = standing_at(&json!({"conditions": ready("Provisioned")}));
    leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    assert_eq!(situation(&leaving), Situation::Leaving);
    let stray =
        standing_at(&json!({"conditions": [{"type": "Assessed", "status": "False", "reason": "NoDepartment",
        "message": "", "lastTransitionTime": "2026-11-01T00:00:00Z"}]}));
    assert_eq!(situation(&stray), Situation::NoDepartment);
}

#[test]
fn who_has_approved_is_not_asked_again() {
    let (en, zh) = explained(&standing_at(
        &json!({"conditions": ready("AwaitingSecondApprover"), "class": null,
        "approvals": {"required": 2, "given": ["chief@health"], "ignored": [{"name": "old", "reason": "it is for another spec"}]}}),
    ));
    assert!(
        en.contains("given | chief@health") && en.contains("ignored | old: it is for another spec"),
        "{en}"
    );
    assert!(en.contains("1 of 2 given (larger than every class)"), "{en}");
    assert!(en.contains("who is not zhang@health or chief@health: approve"), "{en}");
    assert!(zh.contains("已有 1/2（超出所有类别）") && !zh.contains("例如云长"), "{zh}");
}

#[test]
fn a_change_shows_what_grows_and_what_goes() {
    let request =
        standing_at(&json!({"conditions": ready("AwaitingApproval"), "phase": "Provisioned", "granted": {
        "specHash": "sha256:0123456789abcdef", "at": "2026-05-01T00:00:00Z",
        "resources": {"requests.cpu": "4", "requests.memory": "32Gi", "requests.storage": "1Ti"}}}));
    let (en, zh) = explained(&request);
    for row in [
        "requests.cpu | 4 | 8 | +4\n",
        "requests.memory | 32Gi | 32Gi | \n",
        "requests.storage | 1Ti | - | -1Ti\n",
        "In force | sha256:0123456789ab since 2026-05-01T00:00:00Z; the change waits\n",
    ] {
        assert!(en.contains(row), "{row}\n{en}");
    }
    assert!(zh.contains("Provisioned（已开通） | 系统命名空间可用\n"), "{zh}");
    let mut department = department();
    department.status = Some(
        serde_json::from_value(json!({"ledger": {"dept-health": {"reserved": {}},
        "health-registration": {"reserved": {"requests.cpu": "4"}},
        "adopted": {"reserved": {"requests.cpu": "2"}}}}))
        .unwrap(),
    );
    let table = said(&super::department(&department, std::slice::from_ref(&request))).0;
    // What has no request takes of the budget all the same.
    assert!(
        table.ends_with("adopted | - | - | 2 | - | - | -\n") && !table.contains("dept-health |"),
        "{table}"
    );
    assert!(
        table.contains("health-registration | registration | Provisioned | 4→8 | 32Gi | 365d | -\n"),
        "{table}"
    );
}

#[test]
fn the_half_that_fits_is_said() {
    for (message, en, zh) in [
        ("the budget has room · 预算充足", "the budget has room", "预算充足"),
        ("only English", "only English", "only English"),
        (
            "by li: a · b; change it · 已被驳回：li: a · b；请修改",
            "by li: a · b; change it",
            "已被驳回：li: a · b；请修改",
        ),
        ("", "", ""),
    ] {
        assert_eq!(Line::of(message), Line::new(en, zh));
    }
}

#[test]
fn the_unknown_is_a_dash_and_never_a_zero() {
    let mut department = department();
    let row = |department: &Department, start: &str| {
        let (en, _) = said(&super::department(department, &[]));
        en.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned()
    };
    assert_eq!(row(&department, "requests.cpu"), "requests.cpu | 64 | - | - | - | - | ");
    assert_eq!(row(&department, "Attention"), "Attention | the operator has not looked at it yet");
    department.status = Some(
        serde_json::from_value(json!({"observedGeneration": 1, "systems": 3, "budget": {
            "requests.cpu": {"budget": "64", "committed": "68", "requested": "20500m"},
            "requests.memory": {"budget": "256Gi", "committed": "32Gi", "used": "100Mi"}},
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Provisioned", "message": "fine", "lastTransitionTime": "2026-11-01T00:00:00Z"},
                {"type": "WithinBudget", "status": "False", "reason": "OverCommitted", "message": "too much", "lastTransitionTime": "2026-11-01T00:00:00Z"}]}))
        .unwrap(),
    );
    assert_eq!(row(&department, "requests.cpu"), "requests.cpu | 64 | 68 | 20500m | - | 0 | OVER by 4");
    assert_eq!(row(&department, "requests.memory"), "requests.memory | 256Gi | 32Gi | - | 100Mi | 224Gi | ");
    assert_eq!(row(&department, "Namespaces"), "Namespaces | 3 besides the home");
    assert_eq!(row(&department, "Attention"), "Attention | WithinBudget: OverCommitted: too much");
    let unseen = request_row(&request(), now());
    assert_eq!(
        unseen,
        ["dept-health", "registration", "预约挂号", "-", "-", "8", "32Gi", "-", "-", "-"].map(str::to_owned)
    );
}

#[test]
fn what_is_said_of_a_verdict_is_said_once() {
    let mut conditions = ready("Rejected");
    conditions[0]["message"] = json!("by li · 由 li The grant stays · 原批准有效");
    conditions
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "Approved", "status": "False", "reason": "Rejected",
        "message": "by li · 由 li", "lastTransitionTime": "2026-11-01T00:00:00Z"}));
    let request = standing_at(&json!({"phase": "Provisioned", "conditions": conditions}));
    let (en, zh) = explained(&request);
    assert!(en.contains("Rejected | by li\n") && zh.contains("Rejected | 由 li\n"), "{zh}");
    let row = request_row(&request, now());
    assert_eq!((&*row[3], &*row[4], &*row[7]), ("Provisioned", "Rejected", "0/1"));
}

#[test]
fn ages_read_as_those_of_kubectl() {
    let day = 86_400;
    for (seconds, text) in [
        (-5, "0s"),
        (119, "119s"),
        (190, "3m10s"),
        (600, "10m"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (3 * day + 4 * 3600, "3d4h"),
        (4 * day, "4d"),
        (12 * day, "12d"),
        (760 * day, "2y30d"),
        (3000 * day, "8y"),
    ] {
        let created = Timestamp::from_second(now().as_second() - seconds).unwrap();
        assert_eq!(age(created, now()), text, "{seconds}");
    }
}
