//! All departments in a month, side by side: a table for each resource and one of service, with a row of totals. A total
//! is unknown as soon as one of its parts is.

use jiff::Timestamp;

use super::document::{Cell, Column, Document, Table};
use super::tables::{on_cloud, policy, resource_key, resource_name, usage_cells, usage_columns};
use super::{Deliveries, Hardware, Month, Resource, Scorecard, System, Usage, amount};
use crate::explain::Line;

/// What is to be shown of them, in the order given.
#[must_use]
pub fn overview(month: Month, generated_at: Timestamp, cards: &[Scorecard]) -> Document {
    let mut tables: Vec<Table> =
        Resource::ALL.into_iter().map(|resource| by_resource(resource, cards)).collect();
    tables.push(service(cards));
    let mut notes: Vec<Line> = Vec::new();
    for note in cards.iter().map(|card| policy(&card.policy)) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    Document {
        title: Line::new(format!("Scorecards, {month}"), format!("云资源考核汇总表，{month}")),
        about: vec![
            (Column::new("month", "Month", "月份"), Cell::name(month.to_string())),
            (Column::new("generatedAt", "Made at", "生成时间"), Cell::name(generated_at.to_string())),
            (Column::new("departments", "Departments", "部门数"), Cell::length(cards.len())),
        ],
        tables,
        notes,
    }
}

fn department() -> Column {
    Column::new("department", "Department", "部门")
}

fn total() -> Cell {
    Cell::text("Total", "合计")
}

fn by_resource(resource: Resource, cards: &[Scorecard]) -> Table {
    let usage = |card: &Scorecard| card.resources.get(&resource).cloned().unwrap_or_default();
    let row = |card: &Scorecard| {
        let mut cells = vec![Cell::name(&card.display_name)];
        cells.extend(usage_cells(resource, &usage(card), &card.policy));
        cells
    };
    let mut columns = vec![department()];
    columns.extend(usage_columns());
    let usages: Vec<Usage> = cards.iter().map(usage).collect();
    Table {
        key: resource_key(resource),
        title: resource_name(resource),
        columns,
        rows: Some(cards.iter().map(row).collect()),
        total: Some(usage_total(&usages)),
    }
}

/// Averages sum up; peaks of different moments don't. Classes and forecasts are of one department.
fn usage_total(usages: &[Usage]) -> Vec<Cell> {
    let sum = |of: fn(&Usage) -> Option<i128>| -> Option<i128> {
        usages.iter().map(of).try_fold(0i128, |sum, amount| sum.checked_add(amount?))
    };
    let all = Usage {
        budget: sum(|u| u.budget),
        committed: sum(|u| u.committed),
        granted: sum(|u| u.granted),
        requested: sum(|u| u.requested),
        used_average: sum(|u| u.used_average),
        ..Usage::default()
    };
    vec![
        total(),
        amount(all.budget),
        amount(all.committed),
        amount(all.granted),
        amount(all.requested),
        amount(all.used_average),
        Cell::Blank,
        Cell::Blank,
        Cell::Blank,
        Cell::rate(all.allocation()),
        Cell::rate(all.utilisation()),
        Cell::Blank,
        Cell::Blank,
    ]
}

fn service(cards: &[Scorecard]) -> Table {
    let row = |card: &Scorecard| {
        service_cells(
            Cell::name(&card.display_name),
            card.systems.as_deref(),
            card.deliveries.as_ref(),
            card.overdue.as_ref().map(Vec::len),
            &card.hardware,
        )
    };
    let systems: Option<Vec<Vec<System>>> = cards.iter().map(|card| card.systems.clone()).collect();
    let count = |of: fn(&Hardware) -> Option<u64>| -> Option<u64> {
        cards.iter().map(|card| of(&card.hardware)).try_fold(0u64, |sum, count| sum.checked_add(count?))
    };
    let sum = service_cells(
        total(),
        systems.map(|all| all.concat()).as_deref(),
        all_deliveries(cards).as_ref(),
        cards.iter().map(|card| card.overdue.as_ref().map(Vec::len)).sum(),
        &Hardware { domestic: count(|h| h.domestic), other: count(|h| h.other) },
    );
    Table {
        key: "service",
        title: Line::new("Systems and service", "系统与服务"),
        columns: vec![
            department(),
            Column::new("systems", "Systems", "系统数"),
            Column::new("onCloudRate", "On the cloud", "上云率"),
            Column::new("delivered", "Delivered", "交付系统数"),
            Column::new("within24hRate", "Share within 24 h", "24 小时内交付率"),
            Column::new("overdue", "Overdue", "超期事项"),
            Column::new("domesticRate", "Domestic share", "信创占比"),
        ],
        rows: Some(cards.iter().map(row).collect()),
        total: Some(sum),
    }
}

fn all_deliveries(cards: &[Scorecard]) -> Option<Deliveries> {
    let mut all = Deliveries::default();
    for card in cards {
        let some = card.deliveries.as_ref()?;
        all.within_a_day = all.within_a_day.checked_add(some.within_a_day)?;
        for (sum, count) in all.buckets.iter_mut().zip(some.buckets) {
            *sum = sum.checked_add(count)?;
        }
    }
    Some(all)
}

fn service_cells(
    name: Cell,
    systems: Option<&[System]>,
    deliveries: Option<&Deliveries>,
    overdue: Option<usize>,
    hardware: &Hardware,
) -> Vec<Cell> {
    vec![
        name,
        systems.map_or(Cell::Unknown, |systems| Cell::length(systems.len())),
        Cell::rate(systems.and_then(on_cloud)),
        deliveries.map_or(Cell::Unknown, |all| Cell::Count(all.total())),
        Cell::rate(deliveries.and_then(Deliveries::within_a_day_rate)),
        overdue.map_or(Cell::Unknown, Cell::length),
        Cell::rate(hardware.domestic_rate()),
    ]
}
