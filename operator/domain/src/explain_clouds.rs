//! What a department has on other clouds: a table with a row for each cloud and resource, and the sums.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tripod_crds::Department;
use tripod_crds::cloud::CloudLine;

use super::{Line, Row, Section, UNKNOWN};

/// Nothing where there are no other clouds.
pub(super) fn section(department: &Department) -> Option<Section> {
    let status = department.status.as_ref().filter(|status| !status.clouds.is_empty())?;
    let mut rows = vec![Row::Cells(vec![
        Line::new("CLOUD", "云"),
        Line::new("RESOURCE", "资源"),
        Line::new("BUDGET", "预算"),
        Line::new("GRANTED", "已批准"),
        Line::new("REQUESTED", "已申请"),
        Line::new("USED", "实际使用"),
    ])];
    for (resource, own) in &status.budget {
        let line = CloudLine {
            budget: Some(own.budget.clone()),
            granted: own.committed.clone(),
            requested: own.requested.clone(),
            used: own.used.clone(),
        };
        rows.push(row(Line::new("this one", "本云"), resource, &line));
    }
    for (name, share) in &status.clouds {
        if let Some(why) = &share.unknown {
            let reason = why.split(':').next().unwrap_or_default();
            rows.push(Row::Cells(vec![
                Line::same(name),
                Line::new(format!("unknown: {why}"), format!("未知：{reason}，详见 Cloud {name}")),
            ]));
        } else if share.resources.is_empty() {
            rows.push(Row::Cells(vec![Line::same(name), Line::new("nothing", "无")]));
        }
        for (resource, line) in &share.resources {
            rows.push(row(Line::same(name), resource, line));
        }
    }
    for (resource, line) in &status.total {
        rows.push(row(Line::new("all together", "合计"), resource, line));
    }
    let elsewhere: BTreeSet<&String> =
        status.clouds.values().flat_map(|share| share.resources.keys()).collect();
    if elsewhere.iter().any(|resource| !status.total.contains_key(*resource)) {
        rows.push(Row::Cells(vec![Line::new(
            "what is not in the budget here is not added up",
            "不在本云预算内的资源不合计",
        )]));
    }
    Some(Section::new("On all clouds", "多云合计", rows))
}

fn row(cloud: Line, resource: &str, line: &CloudLine) -> Row {
    let cell = |amount: Option<&Quantity>| Line::same(amount.map_or(UNKNOWN, |amount| amount.0.as_str()));
    Row::Cells(vec![
        cloud,
        Line::same(resource),
        cell(line.budget.as_ref()),
        cell(line.granted.as_ref()),
        cell(line.requested.as_ref()),
        cell(line.used.as_ref()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource_request::tests::department;
    use serde_json::json;
    use tripod_crds::DepartmentStatus;

    /// The rows in English, cells separated by one space.
    fn said(status: &serde_json::Value) -> Option<Vec<String>> {
        let mut department = department();
        let status: DepartmentStatus = serde_json::from_value(status.clone()).unwrap();
        department.status = Some(status);
        let cells = |row: &Row| match row {
            Row::Cells(cells) => cells.iter().map(|cell| cell.en.as_str()).collect::<Vec<_>>().join(" "),
            Row::Command(command) => command.clone(),
        };
        section(&department).map(|section| section.rows.iter().skip(1).map(cells).collect())
    }

    #[test]
    fn each_cloud_has_its_rows_and_the_unknown_is_no_number() {
        let mut status =
            json!({"budget": {"requests.cpu": {"budget": "60", "committed": "10", "used": "1500m"}}});
        assert_eq!(said(&status), None, "no other cloud, no table");
        status["clouds"] = json!({"fourth": {}, "second": {"resources": {"requests.cpu": {"granted": "3"}}},
            "third": {"unknown": "Unreachable: see the conditions of Cloud third"}});
        status["total"] = json!({"requests.cpu": {}});
        assert_eq!(
            said(&status).unwrap(),
            [
                "this one requests.cpu 60 10 - 1500m",
                "fourth nothing",
                "second requests.cpu - 3 - -",
                "third unknown: Unreachable: see the conditions of Cloud third",
                "all together requests.cpu - - - -",
            ]
        );
        status["clouds"] = json!({"second": {"resources": {"requests.memory": {"granted": "3"}}}});
        assert_eq!(said(&status).unwrap().last().unwrap(), "what is not in the budget here is not added up");
    }
}
