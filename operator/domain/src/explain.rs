//! What people are told when they ask where a request stands: the evidence, and who has to do what next. Every line is
//! said in English and Chinese; the reader's language is chosen where it is shown.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use std::collections::BTreeSet;
use tripod_crds::department::Zone;
use tripod_crds::quantities::Quantities;
use tripod_crds::resource_request::{AfterTerm, CheckResult, Granted, Phase};
use tripod_crds::{Department, ResourceRequest, ResourceRequestStatus};

use crate::approvals::short;
use crate::conditions;
use crate::quantity;

pub use next::{Situation, next, situation};
pub use tables::{REQUEST_COLUMNS, age, department, request_row};

#[path = "explain_backup.rs"]
pub mod backup;
#[path = "explain_clouds.rs"]
mod clouds;
#[path = "explain_inspection.rs"]
pub mod inspection;
#[path = "explain_next.rs"]
mod next;
#[path = "explain_points.rs"]
pub mod points;
#[path = "explain_tables.rs"]
mod tables;
#[path = "explain_use.rs"]
mod used;

/// What stands for the unknown: no reading is not a zero.
pub const UNKNOWN: &str = "-";

/// One thing said, in both languages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub en: String,
    pub zh: String,
}

impl Line {
    pub fn new(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self { en: en.into(), zh: zh.into() }
    }

    /// A name or a number: the same in every language.
    pub fn same(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { zh: text.clone(), en: text }
    }

    fn add(&mut self, en: &str, zh: &str) {
        self.en.push_str(en);
        self.zh.push_str(zh);
    }

    /// A message of the API, `English · 中文`. What has no Chinese half is said as it is.
    #[must_use]
    pub fn of(message: &str) -> Self {
        let marks: Vec<usize> = message.match_indices(MARK).map(|(at, _)| at).collect();
        // What both halves quote may have the mark in it: the one in the middle is the message's own.
        match marks.get(marks.len().saturating_sub(1) / 2) {
            Some(&at) => Self::new(&message[..at], &message[at + MARK.len()..]),
            None => Self::same(message),
        }
    }
}

/// What [`crate::bilingual::both`] puts between the halves.
const MARK: &str = " · ";

/// Cells of a table, or a command that can be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    Cells(Vec<Line>),
    Command(String),
}

/// What belongs together, under a title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub title: Line,
    pub rows: Vec<Row>,
}

impl Section {
    fn new(en: &str, zh: &str, rows: Vec<Row>) -> Self {
        Self { title: Line::new(en, zh), rows }
    }
}

fn fact(en: &str, zh: &str, value: Line) -> Row {
    Row::Cells(vec![Line::new(en, zh), value])
}

/// A request, and what is known around it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub request: &'a ResourceRequest,
    /// Absent when it can't be read by who asks.
    pub department: Option<&'a Department>,
    /// Of the spec as it stands.
    pub hash: &'a str,
    /// Where approvals are given.
    pub operator_namespace: &'a str,
}

/// Why a request stands where it stands, and what comes next.
#[must_use]
pub fn request(asked: &Asked<'_>, now: Timestamp) -> Vec<Section> {
    let mut sections = vec![subject(asked.request, asked.hash), standing(asked)];
    sections.extend(assessment(asked.request));
    sections.extend(approvals(asked.request));
    sections.push(resources(asked.request, asked.hash));
    sections.extend(used::section(asked.request));
    sections.push(term(asked.request, now));
    sections.push(Section::new("Next", "下一步", next(asked, now)));
    sections
}

/// What somebody who approves or rejects is about to judge.
#[must_use]
pub fn judgement(request: &ResourceRequest, hash: &str, now: Timestamp) -> Vec<Section> {
    let mut sections = vec![subject(request, hash), resources(request, hash)];
    sections.extend(assessment(request));
    sections.extend(approvals(request));
    sections.extend(used::section(request));
    sections.push(term(request, now));
    sections
}

fn status(request: &ResourceRequest) -> ResourceRequestStatus {
    request.status.clone().unwrap_or_default()
}

/// Whether the spec as it stands is the one in force.
fn is_in_force(granted: Option<&Granted>, hash: &str) -> bool {
    granted.is_some_and(|granted| granted.spec_hash == hash)
}

fn subject(request: &ResourceRequest, hash: &str) -> Section {
    let (spec, system) = (&request.spec, &request.spec.system);
    let level = system.security_level;
    let mut protection = Line::new(format!("level {level}"), format!("等保 {level} 级"));
    if let Some(number) = &system.filing_number {
        protection.add(&format!(", filed as {number}"), &format!("，备案号 {number}"));
    }
    if system.classified {
        protection.add(", with state secrets", "，涉密");
    }
    let mut rows = vec![
        fact("System", "系统", Line::same(&system.display_name)),
        fact(
            "Name",
            "名称",
            Line::same(format!("{}/{}", request.namespace().unwrap_or_default(), request.name_any())),
        ),
        fact("Asked by", "申请人", Line::same(&spec.requester)),
        fact(
            "Basis",
            "依据",
            Line::new(
                format!("{}: {}", spec.basis.letter, spec.basis.purpose),
                format!("{}：{}", spec.basis.letter, spec.basis.purpose),
            ),
        ),
        fact("Protection", "等级保护", protection),
        fact(
            "Recovery",
            "灾难恢复",
            Line::new(format!("level {}", spec.recovery_level), format!("{} 级", spec.recovery_level)),
        ),
    ];
    if let Some(zone) = spec.zone {
        rows.push(fact("Zone", "网络区域", zone_name(zone)));
    }
    rows.push(fact("Spec", "规格哈希", Line::same(short(hash))));
    Section::new("Request", "申请", rows)
}

/// What people call a zone.
fn zone_name(zone: Zone) -> Line {
    match zone {
        Zone::Internet => Line::new("Internet", "互联网区"),
        Zone::Extranet => Line::new("Extranet", "政务外网区"),
        Zone::Dedicated => Line::new("Dedicated", "专线区"),
    }
}

/// A phase, and what it means.
fn phase_meaning(phase: Phase) -> (Line, Line) {
    let (zh, en_meaning, zh_meaning) = match phase {
        Phase::Assessing => ("评估中", "a check has not passed", "有检查项未通过"),
        Phase::AwaitingApproval => ("待审批", "assessed; people have to approve", "评估通过，等待人工审批"),
        Phase::Provisioning => (
            "开通中",
            "approved; namespace, quota and rights are being made",
            "已批准，正在创建命名空间、配额与权限",
        ),
        Phase::Provisioned => ("已开通", "the system's namespace can be used", "系统命名空间可用"),
        Phase::Expiring => ("即将到期", "in use; the term ends soon", "使用中，期限将满"),
        Phase::Ended => (
            "已到期",
            "the term is over; workloads are stopped, data is kept",
            "期限已满，工作负载已停止，数据保留",
        ),
        Phase::Rejected => ("已驳回", "somebody has rejected it", "申请已被驳回"),
    };
    (Line::new(format!("{phase:?}"), format!("{phase:?}（{zh}）")), Line::new(en_meaning, zh_meaning))
}

fn standing(asked: &Asked<'_>) -> Section {
    let status = status(asked.request);
    let mut rows = Vec::new();
    match status.phase.map(phase_meaning) {
        Some((phase, meaning)) => rows.push(Row::Cells(vec![phase, meaning])),
        None => rows.push(Row::Cells(vec![Line::new(
            "unknown: the operator has not looked at it yet",
            "未知：控制器尚未处理该申请",
        )])),
    }
    if let Some(ready) = why(&status) {
        rows.push(Row::Cells(vec![Line::same(&ready.reason), Line::of(&ready.message)]));
    }
    // The grant before a change is what counts until the change is approved.
    if let Some(granted) = status.granted.as_ref().filter(|g| !is_in_force(Some(g), asked.hash)) {
        rows.push(Row::Cells(vec![
            Line::new("In force", "现行规格"),
            Line::new(
                format!("{} since {}; the change waits", short(&granted.spec_hash), granted.at.0),
                format!("{}，自 {} 起；变更尚未生效", short(&granted.spec_hash), granted.at.0),
            ),
        ]));
    }
    Section::new("Standing", "现状", rows)
}

/// What says why it is not ready, or that it is: the condition that Ready has its reason from says it without more.
fn why(status: &ResourceRequestStatus) -> Option<&Condition> {
    let ready = conditions::find(&status.conditions, "Ready")?;
    let origin = ["Assessed", "Approved"].into_iter().find_map(|kind| {
        conditions::find(&status.conditions, kind).filter(|c| c.status == "False" && c.reason == ready.reason)
    });
    Some(origin.unwrap_or(ready))
}

fn assessment(request: &ResourceRequest) -> Option<Section> {
    let status = status(request);
    let row = |check: &tripod_crds::resource_request::Check| {
        let result = match check.result {
            CheckResult::Passed => Line::new("passed", "通过"),
            CheckResult::Failed => Line::new("FAILED", "未通过"),
            CheckResult::Unknown => Line::new("unknown", "未知"),
        };
        Row::Cells(vec![result, Line::same(&check.name), Line::of(&check.message)])
    };
    let rows: Vec<Row> = status.checks.iter().map(row).collect();
    (!rows.is_empty()).then(|| Section::new("Assessment", "评估", rows))
}

fn approvals(request: &ResourceRequest) -> Option<Section> {
    let status = status(request);
    let approvals = status.approvals.as_ref()?;
    let (given, needed) = (approvals.given.len(), approvals.required);
    let class = status.class.as_ref().map_or_else(
        || Line::new("larger than every class", "超出所有类别"),
        |class| Line::new(format!("class {class}"), format!("类别 {class}")),
    );
    let count = if needed == 0 {
        Line::new(format!("nobody ({})", class.en), format!("无须人工审批（{}）", class.zh))
    } else {
        Line::new(
            format!("{given} of {needed} given ({})", class.en),
            format!("已有 {given}/{needed}（{}）", class.zh),
        )
    };
    let mut rows = vec![fact("needed", "需要", count)];
    rows.extend(approvals.given.iter().map(|who| fact("given", "已同意", Line::same(who))));
    rows.extend(approvals.ignored.iter().map(|ignored| {
        let reason = Line::of(&ignored.reason);
        fact(
            "ignored",
            "不计入",
            Line::new(format!("{}: {}", ignored.name, reason.en), format!("{}：{}", ignored.name, reason.zh)),
        )
    }));
    Some(Section::new("Approvals", "审批", rows))
}

/// What is asked for beside what is in force.
fn resources(request: &ResourceRequest, hash: &str) -> Section {
    let status = status(request);
    let (asked, none) = (&request.spec.resources, Quantities::new());
    let granted = status.granted.as_ref().map_or(&none, |granted| &granted.resources);
    let cell = |amounts: &Quantities, resource: &str| {
        Line::same(amounts.get(resource).map_or(UNKNOWN, |amount| amount.0.as_str()))
    };
    let mut rows = vec![Row::Cells(vec![
        Line::new("RESOURCE", "资源"),
        Line::new("GRANTED", "已批准"),
        Line::new("ASKED", "申请"),
        Line::new("CHANGE", "变化"),
    ])];
    let mut same = true;
    for resource in asked.keys().chain(granted.keys()).collect::<BTreeSet<_>>() {
        let change = change(granted, asked, resource);
        same &= change.is_empty();
        rows.push(Row::Cells(vec![
            Line::same(resource),
            cell(granted, resource),
            cell(asked, resource),
            Line::same(change),
        ]));
    }
    if same && status.granted.is_some() && !is_in_force(status.granted.as_ref(), hash) {
        rows.push(Row::Cells(vec![Line::new(
            "No amount changes; something else in the spec does.",
            "资源数量不变；规格的其他内容有变更。",
        )]));
    }
    Section::new("Resources", "资源", rows)
}

/// What a resource grows or shrinks by; what is not named in a grant or a request is none of it.
fn change(granted: &Quantities, asked: &Quantities, resource: &str) -> String {
    let amount = |amounts: &Quantities| amounts.get(resource).map_or(Ok(0), quantity::parse);
    match (amount(granted), amount(asked)) {
        (Ok(granted), Ok(asked)) if granted == asked => String::new(),
        (Ok(granted), Ok(asked)) => {
            let sign = if asked > granted { "+" } else { "-" };
            format!("{sign}{}", quantity::exact((asked - granted).abs()).0)
        }
        _ => "?".to_owned(),
    }
}

fn term(request: &ResourceRequest, now: Timestamp) -> Section {
    let (spec, status) = (&request.spec, status(request));
    let mut rows = Vec::new();
    if let Some(term) = &status.term {
        let days = term.ends_at.0.duration_since(now).as_hours().div_euclid(24);
        let (en, zh) = if term.ends_at.0 <= now {
            ("over".to_owned(), "已到期".to_owned())
        } else {
            (format!("in {days} days"), format!("剩余 {days} 天"))
        };
        rows.push(fact("Started", "开始", Line::same(term.started_at.0.to_string())));
        rows.push(fact(
            "Ends",
            "到期",
            Line::new(format!("{} ({en})", term.ends_at.0), format!("{}（{zh}）", term.ends_at.0)),
        ));
        rows.push(fact("Kept until", "数据保留至", Line::same(term.kept_until.0.to_string())));
    }
    rows.push(fact(
        "Asked for",
        "申请期限",
        Line::new(
            format!("{} from the day of provisioning, and {} days of grace", spec.term, spec.grace_days),
            format!("自开通之日起 {} 天，宽限 {} 天", spec.term.trim_end_matches('d'), spec.grace_days),
        ),
    ));
    rows.push(fact(
        "After that",
        "期满之后",
        match spec.after_term {
            AfterTerm::Keep => {
                Line::new("everything stays until the platform deletes it", "数据保留，直至平台手工删除")
            }
            AfterTerm::Delete => {
                Line::new("the namespace is DELETED with all that is in it", "命名空间及其全部内容将被删除")
            }
        },
    ));
    Section::new("Term", "期限", rows)
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
