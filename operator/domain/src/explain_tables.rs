//! Tables: requests as `kubectl get` shows them, and a department with its budget and systems.

use jiff::Timestamp;
use kube::ResourceExt;
use tripod_crds::department::{BudgetLine, CloudChief, Suspension};
use tripod_crds::quantities::Quantities;
use tripod_crds::{Department, ResourceRequest};

use super::{Line, Row, Section, UNKNOWN, fact, phase_meaning, zone_name};
use crate::conditions;
use crate::quantity;
use crate::tenancy;

/// Headings of [`request_row`]; the age is the last.
pub const REQUEST_COLUMNS: [&str; 10] =
    ["NAMESPACE", "NAME", "SYSTEM", "PHASE", "REASON", "CPU", "MEMORY", "APPROVALS", "ENDS", "AGE"];

/// A request in one row, with what it asks for.
#[must_use]
pub fn request_row(request: &ResourceRequest, now: Timestamp) -> [String; 10] {
    let status = request.status.clone().unwrap_or_default();
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let created = request.metadata.creation_timestamp.as_ref();
    [
        request.namespace().unwrap_or_default(),
        request.name_any(),
        request.spec.system.display_name.clone(),
        or_unknown(status.phase.map(|phase| format!("{phase:?}"))),
        or_unknown(reason(request)),
        amount(&request.spec.resources, "cpu"),
        amount(&request.spec.resources, "memory"),
        or_unknown(status.approvals.map(|a| format!("{}/{}", a.given.len(), a.required))),
        or_unknown(status.term.map(|term| day(term.ends_at.0))),
        or_unknown(created.map(|created| age(created.0, now))),
    ]
}

/// Why it stands there: of a failed assessment, the check that failed.
fn reason(request: &ResourceRequest) -> Option<String> {
    let ready = conditions::find(&request.status.as_ref()?.conditions, "Ready")?;
    Some(ready.reason.clone())
}

fn amount(of: &Quantities, what: &str) -> String {
    let amount = of.get(&format!("requests.{what}")).or_else(|| of.get(what));
    amount.map_or(UNKNOWN, |amount| amount.0.as_str()).to_owned()
}

fn day(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d").to_string()
}

/// How old something is, as kubectl writes it: `45s`, `3m10s`, `5h2m`, `3d4h`, `12d`, `2y30d`.
#[must_use]
pub fn age(created: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(created).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i64, unit: &str, small: i64, part: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{part}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => two(days, "d", hours % 24, "h"),
        () if days < 2 * 365 => format!("{days}d"),
        () if days < 8 * 365 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

/// A department: who and how it is, its budget resource by resource, what it has on other clouds, and its systems.
#[must_use]
pub fn department(department: &Department, requests: &[ResourceRequest]) -> Vec<Section> {
    let mut sections = vec![identity(department), budget(department)];
    sections.extend(super::clouds::section(department));
    sections.extend(super::used::forecast(department));
    sections.push(systems(department, requests));
    sections
}

fn identity(department: &Department) -> Section {
    let spec = &department.spec;
    let chief = |chief: &CloudChief| {
        Line::new(format!("{} ({})", chief.name, chief.user), format!("{}（{}）", chief.name, chief.user))
    };
    let suspension = match spec.suspension {
        Suspension::None => Line::new("none", "无"),
        Suspension::Cordoned => Line::new(
            "Cordoned: nothing new is accepted, what runs goes on",
            "Cordoned：不接受新的工作负载与申请，现有的继续运行",
        ),
        Suspension::ScaledToZero => Line::new(
            "ScaledToZero: every workload is scaled to zero",
            "ScaledToZero：全部工作负载已缩容至零",
        ),
    };
    let mut rows = vec![
        fact("Name", "名称", Line::same(&spec.display_name)),
        fact("Zone", "网络区域", zone_name(spec.zone)),
        fact("Cloud chief", "云长", spec.cloud_chief.as_ref().map_or_else(|| Line::same(UNKNOWN), chief)),
        fact("Suspension", "暂停", suspension),
    ];
    // Those that were adopted, or whose request is gone, are in no request: the count tells that there are more.
    if let Some(count) = department.status.as_ref().and_then(|status| status.systems) {
        rows.push(fact(
            "Namespaces",
            "命名空间",
            Line::new(format!("{count} besides the home"), format!("主命名空间之外 {count} 个")),
        ));
    }
    rows.extend(attention(department));
    Section {
        title: Line::new(
            format!("Department {}", department.name_any()),
            format!("部门 {}", department.name_any()),
        ),
        rows,
    }
}

/// The conditions that are not fine. All conditions of a department are: true is good.
fn attention(department: &Department) -> Vec<Row> {
    let Some(status) = &department.status else {
        return vec![fact(
            "Attention",
            "注意",
            Line::new("the operator has not looked at it yet", "控制器尚未处理该部门"),
        )];
    };
    let mut rows: Vec<Row> = status
        .conditions
        .iter()
        .filter(|condition| condition.status != "True")
        .map(|condition| {
            let message = Line::of(&condition.message);
            let (kind, reason) = (&condition.type_, &condition.reason);
            fact(
                "Attention",
                "注意",
                Line::new(
                    format!("{kind}: {reason}: {}", message.en),
                    format!("{kind}：{reason}：{}", message.zh),
                ),
            )
        })
        .collect();
    if status.observed_generation < department.metadata.generation {
        rows.push(fact(
            "Attention",
            "注意",
            Line::new(
                "the spec was changed, and the operator has not looked at it since",
                "规格已修改，控制器尚未处理",
            ),
        ));
    }
    rows
}

fn budget(department: &Department) -> Section {
    let lines = department.status.as_ref().map(|status| &status.budget);
    let mut rows = vec![Row::Cells(vec![
        Line::new("RESOURCE", "资源"),
        Line::new("BUDGET", "预算"),
        Line::new("COMMITTED", "已承诺"),
        Line::new("REQUESTED", "已申请"),
        Line::new("USED", "实际使用"),
        Line::new("FREE", "剩余"),
        Line::default(),
    ])];
    for (resource, budget) in &department.spec.budget {
        let line = lines.and_then(|lines| lines.get(resource));
        let cell =
            |of: fn(&BudgetLine) -> Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
                Line::same(line.and_then(of).map_or(UNKNOWN, |amount| amount.0.as_str()))
            };
        let committed = line.and_then(|line| quantity::parse(line.committed.as_ref()?).ok());
        let free = quantity::parse(budget).ok().zip(committed).map(|(budget, committed)| budget - committed);
        let over = free.filter(|free| *free < 0).map(|free| quantity::exact(-free).0);
        rows.push(Row::Cells(vec![
            Line::same(resource),
            Line::same(&budget.0),
            cell(|line| line.committed.as_ref()),
            cell(|line| line.requested.as_ref()),
            cell(|line| line.used.as_ref()),
            Line::same(free.map_or_else(|| UNKNOWN.to_owned(), |free| quantity::exact(free.max(0)).0)),
            over.map_or_else(Line::default, |over| {
                Line::new(format!("OVER by {over}"), format!("超出 {over}"))
            }),
        ]));
    }
    Section::new("Budget", "预算", rows)
}

fn systems(department: &Department, requests: &[ResourceRequest]) -> Section {
    let mut sorted: Vec<&ResourceRequest> = requests.iter().collect();
    sorted.sort_by_key(|request| request.name_any());
    let mut rows: Vec<Row> = sorted.into_iter().map(system).collect();
    rows.extend(without_request(department, requests));
    if rows.is_empty() {
        rows.push(Row::Cells(vec![Line::new("none", "无")]));
        return Section::new("Systems", "系统", rows);
    }
    let headings = Row::Cells(vec![
        Line::new("NAMESPACE", "命名空间"),
        Line::new("REQUEST", "申请"),
        Line::new("PHASE", "阶段"),
        Line::new("CPU", "处理器"),
        Line::new("MEMORY", "内存"),
        Line::new("TERM", "期限"),
        Line::new("ENDS", "到期"),
    ]);
    rows.insert(0, headings);
    Section::new("Systems", "系统", rows)
}

fn system(request: &ResourceRequest) -> Row {
    let status = request.status.clone().unwrap_or_default();
    Row::Cells(vec![
        Line::same(status.namespace.unwrap_or_else(|| UNKNOWN.to_owned())),
        Line::same(request.name_any()),
        status.phase.map_or_else(|| Line::same(UNKNOWN), |phase| phase_meaning(phase).0),
        Line::same(in_force_and_asked(request, "cpu")),
        Line::same(in_force_and_asked(request, "memory")),
        Line::same(&request.spec.term),
        Line::same(status.term.map_or_else(|| UNKNOWN.to_owned(), |term| day(term.ends_at.0))),
    ])
}

/// Where the budget goes besides: namespaces that were adopted, whose request was deleted, or the home itself.
fn without_request<'a>(
    department: &'a Department,
    requests: &'a [ResourceRequest],
) -> impl Iterator<Item = Row> + 'a {
    let name = department.name_any();
    let has_request = move |namespace: &str| {
        requests.iter().any(|request| tenancy::system(&name, &request.name_any()) == namespace)
    };
    let ledger = department.status.iter().flat_map(|status| &status.ledger);
    let besides =
        ledger.filter(move |(namespace, entry)| !has_request(namespace) && !entry.reserved.is_empty());
    besides.map(|(namespace, entry)| {
        let dash = || Line::same(UNKNOWN);
        let reserved = |what| Line::same(amount(&entry.reserved, what));
        let cells =
            vec![Line::same(namespace), dash(), dash(), reserved("cpu"), reserved("memory"), dash(), dash()];
        Row::Cells(cells)
    })
}

/// `8`, or `8→12` while a change waits.
fn in_force_and_asked(request: &ResourceRequest, what: &str) -> String {
    let asked = amount(&request.spec.resources, what);
    let granted = request.status.as_ref().and_then(|status| status.granted.as_ref());
    match granted.map(|granted| amount(&granted.resources, what)) {
        Some(granted) if granted != asked => format!("{granted}→{asked}"),
        _ => asked,
    }
}
