//! How a grant is used, beside what was asked for and given; and when a department's budget will be all committed.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tripod_crds::department::{BudgetForecast, Outlook};
use tripod_crds::utilisation_report::UseVerdict;
use tripod_crds::{Department, ResourceRequest};

use super::{Line, Row, Section, UNKNOWN, fact};
use crate::conditions;

/// Absent before the first whole day.
pub(super) fn section(request: &ResourceRequest) -> Option<Section> {
    let status = request.status.as_ref()?;
    let utilisation = status.utilisation.as_ref()?;
    let mut rows = vec![Row::Cells(vec![
        Line::new("RESOURCE", "资源"),
        Line::new("GRANTED", "已批准"),
        Line::new("REQUESTED", "已申请"),
        Line::new("AVERAGE", "平均使用"),
        Line::new("PEAK", "峰值"),
        Line::new("COVERAGE", "覆盖率"),
        Line::new("VERDICT", "结论"),
    ])];
    for (resource, line) in &utilisation.resources {
        let amount = |q: &Option<Quantity>| Line::same(q.as_ref().map_or(UNKNOWN, |q| q.0.as_str()));
        rows.push(Row::Cells(vec![
            Line::same(resource),
            amount(&line.granted),
            amount(&line.requested),
            amount(&line.average),
            amount(&line.peak),
            Line::same(format!("{} %", line.coverage)),
            line.verdict.map_or_else(|| Line::same(UNKNOWN), verdict_name),
        ]));
    }
    rows.push(fact(
        "Window",
        "统计窗口",
        Line::new(
            format!("{} to {}, judged by {}", utilisation.from.0, utilisation.to.0, utilisation.policy),
            format!("{} 至 {}，依据 {}", utilisation.from.0, utilisation.to.0, utilisation.policy),
        ),
    ));
    if let Some(told) = conditions::find(&status.conditions, "WellUsed").filter(|c| c.status == "False") {
        rows.push(fact("Attention", "注意", Line::of(&told.message)));
    }
    if let Some(evaluation) = &status.evaluation {
        let verdict = verdict_name(evaluation.verdict);
        let at = evaluation.evaluated_at.0;
        rows.push(fact(
            "Evaluation",
            "试运行评估",
            Line::new(format!("{} at {at}", verdict.en), format!("{}（{at}）", verdict.zh)),
        ));
    }
    Some(Section::new("Use", "使用情况", rows))
}

fn verdict_name(verdict: UseVerdict) -> Line {
    let zh = match verdict {
        UseVerdict::Low => "使用率低",
        UseVerdict::Fit => "合理",
        UseVerdict::High => "使用率高",
        UseVerdict::Unknown => "未知",
    };
    Line::new(format!("{verdict:?}"), zh)
}

/// Absent before there is a forecast.
pub(super) fn forecast(department: &Department) -> Option<Section> {
    let forecasts = &department.status.as_ref()?.forecast;
    let rows: Vec<Row> =
        forecasts.iter().map(|(resource, f)| Row::Cells(vec![Line::same(resource), outlook(f)])).collect();
    (!rows.is_empty()).then(|| Section::new("Forecast", "预算预测", rows))
}

fn outlook(forecast: &BudgetForecast) -> Line {
    let days = |days: Option<i64>| days.map_or_else(|| "…".to_owned(), |days| days.to_string());
    match forecast.outlook {
        Outlook::TooLittleData => Line::new("too few days are known", "数据不足"),
        Outlook::Sufficient => Line::new("suffices for two years", "两年内充足"),
        Outlook::Exhausted => Line::new("all of it is committed", "已用尽"),
        Outlook::Exhausting => {
            let (likely, from, to) =
                (days(forecast.likely_days), days(forecast.earliest_days), days(forecast.latest_days));
            Line::new(
                format!("all committed in {likely} days (80 %: {from} to {to})"),
                format!("约 {likely} 天后用尽（80 % 区间：{from} 至 {to} 天）"),
            )
        }
    }
}
