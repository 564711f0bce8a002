//! The next step: who has to do what, as a command that can be copied.

use jiff::Timestamp;
use kube::ResourceExt;
use tripod_crds::ResourceRequest;
use tripod_crds::resource_request::{CheckResult, Phase};

use super::{Asked, Line, Row};
use crate::approvals::short;
use crate::conditions;
use crate::tenancy;
use crate::term;

/// What a request waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Situation {
    /// It is being deleted.
    Leaving,
    /// The operator has not looked at the spec as it stands.
    Unseen,
    /// The operator has, and arrives at another hash.
    OtherHash,
    /// It is in no department's home.
    NoDepartment,
    /// Checks have failed: their names.
    ChecksFailed(Vec<String>),
    Rejected,
    /// Approvals don't count, because nothing proves who gives them.
    Unguarded,
    AwaitingApproval,
    /// A write failed.
    NotApplied,
    Provisioning,
    /// The quota in force is less than what is granted.
    NotEnforced,
    Expiring,
    Ended,
    InForce,
    /// A reason that is not known here: of a newer operator.
    Other(String),
}

/// What a request, whose spec has this hash, waits for.
#[must_use]
pub fn situation(request: &ResourceRequest, hash: &str) -> Situation {
    if request.metadata.deletion_timestamp.is_some() {
        return Situation::Leaving;
    }
    let Some(status) = &request.status else { return Situation::Unseen };
    if status.spec_hash.as_deref() != Some(hash) {
        let looked = status.spec_hash.is_some() && status.observed_generation == request.metadata.generation;
        return if looked { Situation::OtherHash } else { Situation::Unseen };
    }
    let reason = |kind: &str| conditions::find(&status.conditions, kind).map(|c| c.reason.as_str());
    if reason("Assessed") == Some("NoDepartment") {
        return Situation::NoDepartment;
    }
    let failed = status.checks.iter().filter(|check| check.result == CheckResult::Failed);
    let failed: Vec<String> = failed.map(|check| check.name.clone()).collect();
    match reason("Ready") {
        None => Situation::Unseen,
        Some("NotApplied") => Situation::NotApplied,
        Some(reason) if failed.iter().any(|name| name == reason) => Situation::ChecksFailed(failed),
        Some("Rejected") => Situation::Rejected,
        Some("ApprovalsUnguarded") => Situation::Unguarded,
        Some("AwaitingApproval" | "AwaitingSecondApprover") => Situation::AwaitingApproval,
        Some("Provisioning" | "Changing") => Situation::Provisioning,
        Some("BudgetExhausted") => Situation::NotEnforced,
        Some("TermOver") => Situation::Ended,
        Some("Provisioned") if status.phase == Some(Phase::Expiring) => Situation::Expiring,
        Some("Provisioned") => Situation::InForce,
        Some(other) => Situation::Other(other.to_owned()),
    }
}

/// Who has to do what.
#[must_use]
pub fn next(asked: &Asked<'_>, now: Timestamp) -> Vec<Row> {
    let system =
        asked.request.status.as_ref().and_then(|status| status.namespace.clone()).unwrap_or_default();
    let edit = format!("kubectl edit resourcerequest {}", target(asked));
    let logs = format!("kubectl logs -n {} deployment/tripod", asked.operator_namespace);
    match situation(asked.request, asked.hash) {
        Situation::Leaving => step(
            "Nobody: the request is being deleted. Its end is written down, and its data is kept for the days of grace.",
            "无须操作：申请正在删除；系统到期时间将被记录，数据在宽限期内保留。",
            [],
        ),
        Situation::Unseen => step(
            "The operator: it has not looked at the spec as it stands. If that stays so, the platform has to look why:",
            "控制器：尚未处理当前规格。若长时间未变化，请平台检查：",
            [logs],
        ),
        Situation::OtherHash => step(
            "Who asks this: the operator arrives at another hash of the spec. Use the plugin of the operator's version:",
            "查询者：控制器计算的规格哈希不同，请使用与控制器版本一致的插件：",
            [format!("kubectl get deployment tripod -n {} -o wide", asked.operator_namespace)],
        ),
        Situation::NoDepartment => step(
            "The requester: this namespace is no department's home. Make the request in one of these:",
            "申请人：此命名空间不是部门主命名空间，请在以下命名空间之一提交申请：",
            ["kubectl get departments -o custom-columns=NAME:.metadata.name,NAMESPACE:.status.namespace"
                .to_owned()],
        ),
        Situation::ChecksFailed(checks) => checks.iter().flat_map(|check| mend(asked, check)).collect(),
        Situation::Rejected => step(
            "The requester: change the request as the verdict says; a changed one is asked for anew.",
            "申请人：请按驳回意见修改；修改后自动重新提交。",
            [edit],
        ),
        Situation::Unguarded => step(
            "The platform: install the admission policies of policies/; until then no approval counts.",
            "平台：请安装 policies/ 中的准入策略；在此之前审批不生效。",
            ["kubectl get validatingadmissionpolicies,validatingadmissionpolicybindings".to_owned()],
        ),
        Situation::AwaitingApproval => approve(asked),
        Situation::NotApplied => step(
            "The platform: a write failed, and is tried again. The reason is above, and in the log:",
            "平台：写入失败，正在重试。原因见上文及日志：",
            [logs],
        ),
        Situation::Provisioning => step(
            "Nobody: it is being made. To wait for it:",
            "无须操作：正在开通。可等待完成：",
            [format!("kubectl wait --for=condition=Ready --timeout=5m resourcerequest/{}", target(asked))],
        ),
        Situation::NotEnforced => step(
            "The platform: the budget has to have room for all of the grant. What is in force, and where the budget went:",
            "平台：预算须容纳全部已批准资源。当前配额与预算使用情况：",
            [format!("kubectl describe resourcequota {} -n {system}", tenancy::QUOTA), budget_command(asked)],
        ),
        Situation::Expiring => longer(asked, "the term ends soon. To go on", "期限将满。如需续用", now),
        Situation::Ended => longer(
            asked,
            "the term is over, and data is still kept. To go on",
            "期限已满，数据尚在保留。如需恢复使用",
            now,
        ),
        Situation::InForce => step(
            "Nobody: the system's namespace can be used.",
            "无须操作：系统命名空间可用。",
            [format!("kubectl describe resourcequota {} -n {system}", tenancy::QUOTA)],
        ),
        Situation::Other(reason) => step(
            &format!("{reason} is not known to this version of the plugin; the conditions say more:"),
            &format!("此版本插件不识别 {reason}，详见状态条件："),
            [format!("kubectl describe resourcerequest {}", target(asked))],
        ),
    }
}

fn step<const N: usize>(en: &str, zh: &str, commands: [String; N]) -> Vec<Row> {
    let mut rows = vec![Row::Cells(vec![Line::new(en, zh)])];
    rows.extend(commands.into_iter().map(Row::Command));
    rows
}

/// `NAME -n NAMESPACE`
fn target(asked: &Asked<'_>) -> String {
    format!("{} -n {}", asked.request.name_any(), asked.request.namespace().unwrap_or_default())
}

fn department_name(asked: &Asked<'_>) -> String {
    let home = asked.request.namespace().unwrap_or_default();
    tenancy::department_of_home(&home).unwrap_or_default().to_owned()
}

fn budget_command(asked: &Asked<'_>) -> String {
    format!("kubectl tripod department {}", department_name(asked))
}

/// What a failed check asks for.
fn mend(asked: &Asked<'_>, check: &str) -> Vec<Row> {
    let (edit, department) =
        (format!("kubectl edit resourcerequest {}", target(asked)), department_name(asked));
    match check {
        "DepartmentActive" => step(
            "The platform: take the department's suspension back.",
            "平台：解除部门暂停。",
            [format!(
                r#"kubectl patch department {department} --type=merge -p '{{"spec":{{"suspension":"None"}}}}'"#
            )],
        ),
        "NamespaceFree" => step(
            "The requester: make the request under another name, and delete this one.",
            "申请人：请以其他名称重新申请，并删除此申请。",
            [
                format!("kubectl get resourcerequest {} -o yaml", target(asked)),
                format!("kubectl delete resourcerequest {}", target(asked)),
            ],
        ),
        "BudgetHeadroom" => step(
            "The requester asks for less, or the platform raises the budget. Where it went, and the two ways:",
            "申请人减少申请量，或由平台增加预算。预算使用情况及两种处理方式：",
            [budget_command(asked), edit, format!("kubectl edit department {department}")],
        ),
        check => step(
            &format!(
                "The requester: change the request so that {check} passes; the message above names the field."
            ),
            &format!("申请人：请修改申请以通过 {check}；上文消息已指明字段。"),
            [edit],
        ),
    }
}

/// Who may approve: not the requester, nobody twice.
fn approve(asked: &Asked<'_>) -> Vec<Row> {
    let requester = &asked.request.spec.requester;
    let approvals =
        asked.request.status.as_ref().and_then(|status| status.approvals.clone()).unwrap_or_default();
    let chief = asked.department.and_then(|department| department.spec.cloud_chief.as_ref());
    let chief = chief.filter(|chief| chief.user != *requester && !approvals.given.contains(&chief.user));
    let mut who =
        Line::new(format!("An approver who is not {requester}"), format!("{requester} 以外的审批人"));
    if !approvals.given.is_empty() {
        let given = approvals.given.join(", ");
        who.add(&format!(" or {given}"), &format!("（{given} 已审批，不可重复）"));
    }
    if let Some(chief) = chief {
        who.add(
            &format!(", for instance the cloud chief {} ({})", chief.name, chief.user),
            &format!("，例如云长 {}（{}）", chief.name, chief.user),
        );
    }
    // The hash binds the verdict to what was explained here, should the request be changed meanwhile.
    let verdict =
        |verb: &str| format!("kubectl tripod {verb} {} --hash {}", target(asked), short(asked.hash));
    step(
        &format!("{}: approve, or reject with a reason.", who.en),
        &format!("{}：批准，或附理由驳回。", who.zh),
        [verdict("approve"), format!("{} --comment '…'", verdict("reject"))],
    )
}

/// Asks for a longer term: as long again, and in any case beyond today.
fn longer(asked: &Asked<'_>, en: &str, zh: &str, now: Timestamp) -> Vec<Row> {
    let days = term::parse(&asked.request.spec.term).unwrap_or(365);
    let started = asked.request.status.as_ref().and_then(|status| status.term.as_ref());
    let elapsed = started.map_or(0, |term| now.duration_since(term.started_at.0).as_hours() / 24);
    let longer = (days.max(elapsed) + days).min(9999);
    let patch = format!(r#"{{"spec":{{"term":"{longer}d"}}}}"#);
    step(
        &format!(
            "The requester: {en}, ask for a longer term, counted from the day of provisioning; it is approved like any change."
        ),
        &format!("申请人：{zh}，请延长期限（自开通之日起算）；与其他变更一样须经审批。"),
        [format!("kubectl patch resourcerequest {} --type=merge -p '{patch}'", target(asked))],
    )
}
