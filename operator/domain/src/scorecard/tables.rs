//! What a scorecard says, table by table.

use tripod_crds::department::Zone;

use super::document::{Cell, Column, Document, Table};
use super::{
    Class, Deliveries, Hardware, LastDrill, Overdue, Percent, Place, Policy, Rate, Resource, Scorecard,
    System, Usage, amount,
};
use crate::explain::Line;

pub(super) fn document(card: &Scorecard) -> Document {
    let (name, month) = (&card.display_name, card.month);
    Document {
        title: Line::new(format!("Scorecard: {name}, {month}"), format!("云资源考核表：{name}，{month}")),
        about: vec![
            (Column::new("department", "Department", "部门"), Cell::name(&card.department)),
            (Column::new("displayName", "Name", "名称"), Cell::name(name)),
            (Column::new("month", "Month", "月份"), Cell::name(month.to_string())),
            (Column::new("generatedAt", "Made at", "生成时间"), Cell::name(card.generated_at.to_string())),
        ],
        tables: vec![
            resources(card),
            deliveries(card.deliveries.as_ref()),
            overdue(card.overdue.as_deref()),
            systems(card.systems.as_deref()),
            hardware(&card.hardware),
        ],
        notes: vec![policy(&card.policy)],
    }
}

fn resources(card: &Scorecard) -> Table {
    let row = |resource: Resource| {
        let usage = card.resources.get(&resource).cloned().unwrap_or_default();
        let mut cells = vec![Cell::Term(resource_key(resource), resource_name(resource))];
        cells.extend(usage_cells(resource, &usage, &card.policy));
        cells
    };
    let mut columns = vec![Column::new("resource", "Resource", "资源")];
    columns.extend(usage_columns());
    Table {
        key: "resources",
        title: Line::new("Resources", "资源"),
        columns,
        rows: Some(Resource::ALL.into_iter().map(row).collect()),
        total: None,
    }
}

pub(super) fn resource_name(resource: Resource) -> Line {
    match resource {
        Resource::Cpu => Line::new("CPU (cores)", "CPU（核）"),
        Resource::Memory => Line::new("memory (bytes)", "内存（字节）"),
        Resource::Storage => Line::new("storage (bytes)", "存储（字节）"),
        Resource::Gpu => Line::new("GPU (pieces)", "GPU（块）"),
    }
}

pub(super) fn resource_key(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "cpu",
        Resource::Memory => "memory",
        Resource::Storage => "storage",
        Resource::Gpu => "gpu",
    }
}

/// Headings of [`usage_cells`].
pub(super) fn usage_columns() -> Vec<Column> {
    vec![
        Column::new("budget", "Budget", "预算"),
        Column::new("committed", "Committed", "承诺量"),
        Column::new("granted", "Granted", "分配量"),
        Column::new("requested", "Requested", "申请量"),
        Column::new("usedAverage", "Used, average", "平均用量"),
        Column::new("usedP95", "Used, p95", "P95 用量"),
        Column::new("usedPeak", "Used, peak", "峰值用量"),
        Column::new("coverage", "Coverage", "数据覆盖率"),
        Column::new("allocationRate", "Allocation rate", "分配率"),
        Column::new("utilisationRate", "Utilisation rate", "利用率"),
        Column::new("class", "Class", "利用等级"),
        Column::new("budgetForecast", "Budget used up", "预算耗尽预测"),
    ]
}

pub(super) fn usage_cells(resource: Resource, usage: &Usage, policy: &Policy) -> Vec<Cell> {
    let class = match policy.class(resource, usage) {
        _ if !policy.thresholds.contains_key(&resource) => Cell::Nothing,
        _ if usage.utilisation() == Some(Rate::OfNothing) => Cell::Nothing,
        None => Cell::Unknown,
        Some(Class::High) => Cell::term("high", "high", "高"),
        Some(Class::Normal) => Cell::term("normal", "normal", "正常"),
        Some(Class::Low) => Cell::term("low", "low", "低"),
    };
    vec![
        amount(usage.budget),
        amount(usage.committed),
        amount(usage.granted),
        amount(usage.requested),
        amount(usage.used_average),
        amount(usage.used_p95),
        amount(usage.used_peak),
        Cell::percent(usage.coverage.map(|points| Percent(points.into()))),
        Cell::rate(usage.allocation()),
        Cell::rate(usage.utilisation()),
        class,
        Cell::forecast(usage.forecast),
    ]
}

fn deliveries(deliveries: Option<&Deliveries>) -> Table {
    let row = |all: &Deliveries| {
        let mut cells: Vec<Cell> = all.buckets.into_iter().map(Cell::Count).collect();
        cells.extend([
            Cell::Count(all.total()),
            Cell::Count(all.within_a_day),
            Cell::rate(all.within_a_day_rate()),
        ]);
        cells
    };
    Table {
        key: "deliveries",
        title: Line::new("Systems delivered, by days from approval", "系统交付时长（自批准起的天数）"),
        columns: vec![
            Column::new("days1to3", "1–3 days", "1–3 天"),
            Column::new("days4to10", "4–10 days", "4–10 天"),
            Column::new("days11to30", "11–30 days", "11–30 天"),
            Column::new("days31to60", "31–60 days", "31–60 天"),
            Column::new("daysOver60", "60+ days", "60 天以上"),
            Column::new("total", "Total", "合计"),
            Column::new("within24h", "Within 24 h", "24 小时内"),
            Column::new("within24hRate", "Share within 24 h", "24 小时内交付率"),
        ],
        rows: deliveries.map(|all| vec![row(all)]),
        total: None,
    }
}

fn overdue(overdue: Option<&[Overdue]>) -> Table {
    let row = |item: &Overdue| {
        vec![Cell::name(&item.request), Cell::name(&item.phase), Cell::name(item.since.to_string())]
    };
    Table {
        key: "overdue",
        title: Line::new("Overdue", "超期事项"),
        columns: vec![
            Column::new("request", "Request", "申请"),
            Column::new("phase", "Phase", "阶段"),
            Column::new("since", "Since", "起始时间"),
        ],
        rows: overdue.map(|items| items.iter().map(row).collect()),
        total: overdue.map(|items| vec![total(items.len()), Cell::Blank, Cell::Blank]),
    }
}

fn total(count: usize) -> Cell {
    Cell::text(format!("Total: {count}"), format!("合计：{count}"))
}

fn systems(systems: Option<&[System]>) -> Table {
    Table {
        key: "systems",
        title: Line::new("Systems", "信息系统"),
        columns: vec![
            Column::new("system", "System", "系统"),
            Column::new("namespace", "Namespace", "命名空间"),
            Column::new("securityLevel", "Protection level", "等保级别"),
            Column::new("zone", "Zone", "网络区域"),
            Column::new("place", "On the cloud", "上云情况"),
            Column::new("exemption", "Exempt because", "豁免理由"),
            Column::new("verdict", "Verdict", "评价结论"),
            Column::new("recoveryLevel", "Recovery level", "灾备等级"),
            Column::new("lastDrill", "Last drill", "最近演练"),
            Column::new("drillResult", "Result", "演练结果"),
            Column::new("rpoSeconds", "RPO (s)", "RPO（秒）"),
            Column::new("rtoSeconds", "RTO (s)", "RTO（秒）"),
            Column::new("grantForecast", "Grant used up", "配额耗尽预测"),
        ],
        rows: systems.map(|systems| systems.iter().map(system).collect()),
        total: systems.map(systems_total),
    }
}

fn system(system: &System) -> Vec<Cell> {
    let mut cells = vec![
        Cell::name(&system.display_name),
        system.namespace.as_ref().map_or(Cell::Nothing, Cell::name),
        Cell::count(system.security_level.map(u64::from)),
        system.zone.map_or(Cell::Unknown, |zone| Cell::Text(zone_name(zone))),
        match &system.place {
            Place::Unknown => Cell::Unknown,
            Place::OnCloud => Cell::term("onCloud", "on the cloud", "已上云"),
            Place::OffCloud => Cell::term("offCloud", "not on the cloud", "未上云"),
            Place::Exempt { .. } => Cell::term("exempt", "exempt", "豁免"),
        },
        match &system.place {
            Place::Exempt { reason } => Cell::name(reason),
            _ => Cell::Blank,
        },
        system.verdict.clone().map_or(Cell::Unknown, Cell::Text),
        Cell::count(system.recovery_level.map(u64::from)),
    ];
    cells.extend(match &system.last_drill {
        LastDrill::Unknown => [Cell::Unknown, Cell::Unknown, Cell::Unknown, Cell::Unknown],
        LastDrill::Never => {
            [Cell::term("never", "never", "从未"), Cell::Nothing, Cell::Nothing, Cell::Nothing]
        }
        LastDrill::On(drill) => [
            Cell::name(drill.date.to_string()),
            if drill.passed {
                Cell::term("passed", "passed", "通过")
            } else {
                Cell::term("failed", "failed", "未通过")
            },
            Cell::count(drill.rpo_seconds),
            Cell::count(drill.rto_seconds),
        ],
    });
    cells.push(Cell::forecast(system.forecast));
    cells
}

fn zone_name(zone: Zone) -> Line {
    match zone {
        Zone::Internet => Line::new("Internet", "互联网区"),
        Zone::Extranet => Line::new("Extranet", "政务外网区"),
        Zone::Dedicated => Line::new("Dedicated", "专线区"),
    }
}

fn systems_total(systems: &[System]) -> Vec<Cell> {
    let passed =
        systems.iter().filter(|s| matches!(s.last_drill, LastDrill::On(drill) if drill.passed)).count();
    let mut cells = vec![Cell::Blank; 13];
    cells[0] = total(systems.len());
    cells[4] = Cell::rate(on_cloud(systems));
    cells[9] = if systems.iter().any(|s| s.last_drill == LastDrill::Unknown) {
        Cell::Unknown
    } else {
        Cell::text(format!("passed: {passed}"), format!("通过：{passed}"))
    };
    cells
}

/// Systems on the cloud, of those that have to be.
pub(super) fn on_cloud(systems: &[System]) -> Option<Rate> {
    let share = |counts: &dyn Fn(&Place) -> bool| {
        let known = systems.iter().all(|s| s.place != Place::Unknown);
        known.then(|| systems.iter().filter(|s| counts(&s.place)).map(|_| 1).sum::<i128>())
    };
    Rate::of(share(&|place| *place == Place::OnCloud), share(&|place| !matches!(place, Place::Exempt { .. })))
}

fn hardware(hardware: &Hardware) -> Table {
    Table {
        key: "hardware",
        title: Line::new("Hardware: components", "硬件构成（组件数）"),
        columns: vec![
            Column::new("domestic", "Domestic", "信创"),
            Column::new("other", "Other", "非信创"),
            Column::new("total", "Total", "合计"),
            Column::new("domesticRate", "Domestic share", "信创占比"),
        ],
        rows: Some(vec![vec![
            Cell::count(hardware.domestic),
            Cell::count(hardware.other),
            Cell::count(hardware.total()),
            Cell::rate(hardware.domestic_rate()),
        ]]),
        total: None,
    }
}

/// Which thresholds the classes are by, and whose they are.
pub(super) fn policy(policy: &Policy) -> Line {
    let percent = |points: u32| Percent(points.into());
    let least = percent(policy.least_coverage);
    let (source, dated) = (&policy.source, policy.dated);
    let mut note = Line::new(
        format!("Classes by {}, {dated}; below a coverage of {least} there is none", source.en),
        format!("利用等级依据：{}（{dated}）；数据覆盖率低于 {least} 时不评级", source.zh),
    );
    for (resource, thresholds) in &policy.thresholds {
        let (name, high, low) =
            (resource_name(*resource), percent(thresholds.high_above), percent(thresholds.low_below));
        note.en
            .push_str(&["; ", &name.en, format!(": above {high} high, below {low} low").as_str()].concat());
        note.zh.push_str(&["；", &name.zh, format!("：高于 {high} 为高，低于 {low} 为低").as_str()].concat());
    }
    note
}
