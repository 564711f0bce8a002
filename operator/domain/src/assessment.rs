//! The first act of the gate: named, pure checks of a request, each with its evidence. The name of the first that fails
//! is the condition's reason. A check that has no measurement is unknown; that stops nobody, and approvers see it.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tripod_crds::department::Zone;
use tripod_crds::resource_request::{Check, CheckResult};
use tripod_crds::utilisation_report::{Figures, UseVerdict};
use tripod_crds::{Department, ResourceRequest, UtilisationReport};

use crate::bilingual::both;
use crate::ledger::{self, Amounts};
use crate::quantity;
use crate::utilisation::report;

/// What the checks look at.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    pub request: &'a ResourceRequest,
    pub department: &'a Department,
    /// What of the budget is free for this request, its own commitment included; a resource whose commitments are not
    /// known yet is absent.
    pub free: Amounts,
    /// Other requests whose systems read like this one's: `dept-x/name`.
    pub alike: Vec<String>,
    /// Over the window of supervision, of the whole department; absent before the first whole day.
    pub department_use: Option<&'a UtilisationReport>,
    /// Over the same window, of this system.
    pub system_use: Option<&'a UtilisationReport>,
    /// What the department's other requests were evaluated as.
    pub evaluated: &'a [(String, UseVerdict)],
    /// Why the namespace of that name can't be had.
    pub namespace: Result<String, String>,
    /// Names of all centres.
    pub centres: BTreeSet<String>,
    /// The centre that the system runs at: a copy there survives nothing.
    pub here: String,
}

/// All checks, in the order in which they are shown.
#[must_use]
pub fn assess(evidence: &Evidence<'_>) -> Vec<Check> {
    let checks: [(&str, Test); 10] = [
        ("DepartmentActive", department_active),
        ("NamespaceFree", namespace_free),
        ("BelongsOnCloud", belongs_on_cloud),
        ("FormComplete", form_complete),
        ("ZoneAllowed", zone_allowed),
        ("NoDuplicateSystem", no_duplicate),
        ("RecoveryLevelCovered", recovery_level_covered),
        ("BudgetHeadroom", budget_headroom),
        ("RecentUse", recent_use),
        ("PresentUse", present_use),
    ];
    checks
        .into_iter()
        .map(|(name, check)| {
            let (result, message) = match check(evidence) {
                Ok(message) => (CheckResult::Passed, message),
                Err(Flaw::Failed(message)) => (CheckResult::Failed, message),
                Err(Flaw::Unknown(message)) => (CheckResult::Unknown, message),
            };
            Check { name: name.to_owned(), result, message }
        })
        .collect()
}

enum Flaw {
    Failed(String),
    Unknown(String),
}

type Finding = Result<String, Flaw>;
type Test = fn(&Evidence<'_>) -> Finding;

fn failed<T>(english: impl AsRef<str>, chinese: impl AsRef<str>) -> Result<T, Flaw> {
    Err(Flaw::Failed(both(english, chinese)))
}

fn department_active(evidence: &Evidence<'_>) -> Finding {
    let spec = &evidence.department.spec;
    if spec.suspension.is_none() {
        return Ok(both("the department works", "部门状态正常"));
    }
    failed(
        format!("the department is suspended ({:?}); the platform has to take that back", spec.suspension),
        format!("部门已被暂停（{:?}），须由平台解除", spec.suspension),
    )
}

fn namespace_free(evidence: &Evidence<'_>) -> Finding {
    match &evidence.namespace {
        Ok(name) => Ok(both(format!("namespace {name}"), format!("命名空间 {name}"))),
        Err(why) => failed(why, "命名空间不可用，请更换申请名称"),
    }
}

fn belongs_on_cloud(evidence: &Evidence<'_>) -> Finding {
    let system = &evidence.request.spec.system;
    if system.classified {
        return failed(
            "spec.system.classified: systems with state secrets do not go to this cloud",
            "spec.system.classified：涉密系统不得上本云",
        );
    }
    if system.security_level >= 4 && zone(evidence) != Zone::Dedicated {
        return failed(
            "spec.system.securityLevel: level 4 goes to this cloud only in the zone Dedicated",
            "spec.system.securityLevel：等保四级系统仅可部署于专线区",
        );
    }
    Ok(both("it may be on the cloud", "可以上云"))
}

/// What the form needs at its 等保 level.
fn form_complete(evidence: &Evidence<'_>) -> Finding {
    let spec = &evidence.request.spec;
    let level = spec.system.security_level;
    let mut missing = Vec::new();
    let lacks = |text: Option<&String>| text.is_none_or(|t| t.trim().is_empty());
    if level >= 2 && lacks(spec.system.filing_number.as_ref()) {
        missing.push("spec.system.filingNumber");
    }
    if level >= 3 && lacks(spec.basis.technical_plan.as_ref()) {
        missing.push("spec.basis.technicalPlan");
    }
    if let Err(message) = crate::term::parse(&spec.term) {
        return failed(&message, &message);
    }
    let asks = |what: &str| spec.resources.keys().any(|r| r == what || r.ends_with(&format!("/{what}")));
    let budget = &evidence.department.spec.budget;
    // What the budget bounds and is not asked for is zero: storage without a claim is of no use.
    if asks("requests.storage")
        && budget.contains_key("count/persistentvolumeclaims")
        && !asks("count/persistentvolumeclaims")
    {
        missing.push("spec.resources[count/persistentvolumeclaims]");
    }
    if missing.is_empty() {
        return Ok(both(format!("complete for level {level}"), format!("材料齐全（等保 {level} 级）")));
    }
    let fields = missing.join(", ");
    failed(format!("level {level} needs {fields}"), format!("等保 {level} 级须填写 {fields}"))
}

fn zone(evidence: &Evidence<'_>) -> Zone {
    evidence.request.spec.zone.unwrap_or(evidence.department.spec.zone)
}

fn zone_allowed(evidence: &Evidence<'_>) -> Finding {
    let (asked, has) = (zone(evidence), evidence.department.spec.zone);
    if asked == has {
        return Ok(both(format!("zone {asked:?}"), format!("网络区域 {asked:?}")));
    }
    failed(
        format!("spec.zone: the department lives in {has:?}, not in {asked:?}"),
        format!("spec.zone：部门位于 {has:?}，不在 {asked:?}"),
    )
}

fn no_duplicate(evidence: &Evidence<'_>) -> Finding {
    if evidence.alike.is_empty() {
        return Ok(both("no other system reads like it", "无同名或相似系统"));
    }
    let list = evidence.alike.join(", ");
    failed(
        format!(
            "spec.system.displayName: {list} reads the same; extend that, or choose a name that tells them apart"
        ),
        format!("spec.system.displayName：与 {list} 重复；请扩建原系统，或使用可区分的名称"),
    )
}

/// The backup that a level of GB/T 20988-2007 needs at the least. The standard's own words are about what an
/// organisation has; these rules are what of that a policy can show.
fn recovery_level_covered(evidence: &Evidence<'_>) -> Finding {
    let spec = &evidence.request.spec;
    let (level, mode) = (spec.recovery_level, spec.protection.as_ref());
    let objectives = mode.map_or(&[][..], |p| &p.objectives);
    let others = objectives.iter().map(|o| &o.centre).filter(|centre| **centre != evidence.here);
    let centres: BTreeSet<&String> = others.collect();
    if let Some((i, unknown)) =
        objectives.iter().enumerate().find(|(_, o)| !evidence.centres.contains(&o.centre))
    {
        let field = format!("spec.protection.objectives[{i}].centre");
        let known = evidence.centres.iter().cloned().collect::<Vec<_>>().join(", ");
        return failed(
            format!("{field}: there is no centre {}; there are {known}", unknown.centre),
            format!("{field}：没有中心 {}；现有 {known}", unknown.centre),
        );
    }
    let security = spec.system.security_level;
    let least = if security >= 4 {
        4
    } else if security == 3 {
        3
    } else {
        1
    };
    if level < least || level > 5 {
        return failed(
            format!(
                "spec.recoveryLevel: {level}; security level {security} needs {least} at the least, and 6 (no loss at all) is not to be had from copies"
            ),
            format!("spec.recoveryLevel：{level}；等保 {security} 级至少为 {least}，且异步副本无法达到 6 级"),
        );
    }
    if mode.is_some_and(|p| !p.include.objects && !p.include.volumes && p.include.buckets.is_empty()) {
        return failed(
            "spec.protection.include: nothing is protected",
            "spec.protection.include：未包含任何内容",
        );
    }
    let needs = [
        (
            level >= 2 && centres.is_empty(),
            "spec.protection.objectives for another centre",
            "须在 spec.protection.objectives 指定另一中心",
        ),
        (
            level >= 3 && mode.and_then(|p| p.schedule.as_ref()).is_none(),
            "spec.protection.schedule",
            "须填写 spec.protection.schedule",
        ),
        (
            level >= 4 && centres.len() < 2,
            "spec.protection.objectives for two centres",
            "spec.protection.objectives 须指定两个中心",
        ),
    ];
    match needs.into_iter().find(|(lacks, _, _)| *lacks) {
        Some((_, english, chinese)) => failed(
            format!("spec.recoveryLevel {level} needs {english}"),
            format!("灾难恢复 {level} 级：{chinese}"),
        ),
        None => Ok(both(
            format!("level {level}: the policy covers it"),
            format!("灾难恢复 {level} 级：备份策略满足要求"),
        )),
    }
}

fn budget_headroom(evidence: &Evidence<'_>) -> Finding {
    let budget = &evidence.department.spec.budget;
    for (resource, asked) in &evidence.request.spec.resources {
        let field = format!("spec.resources[{resource}]");
        let asked = match quantity::parse(asked) {
            Ok(asked) => asked,
            Err(error) => return failed(format!("{field}: {error}"), format!("{field}：{error}")),
        };
        if !budget.contains_key(resource) {
            return failed(
                format!("{field}: the department has no budget for it; its budget names {}", names(budget)),
                format!("{field}：部门预算中没有此项；预算包括 {}", names(budget)),
            );
        }
        let Some(free) = evidence.free.get(resource) else {
            return Err(Flaw::Unknown(both(
                format!("{resource}: what is committed is not known yet"),
                format!("{resource}：已承诺量尚未知"),
            )));
        };
        if asked > *free {
            let (asked, free) = (quantity::exact(asked).0, quantity::exact((*free).max(0)).0);
            return failed(
                format!("{field}: {asked} is asked for and {free} is free"),
                format!("{field}：申请 {asked}，可用 {free}"),
            );
        }
    }
    Ok(both("the budget has room", "预算充足"))
}

fn names(budget: &tripod_crds::quantities::Quantities) -> String {
    budget.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// Nobody is given less than the system has used in the window.
fn recent_use(evidence: &Evidence<'_>) -> Finding {
    let nothing = || both("no window of use to compare with", "尚无使用记录可比对");
    let Some(report) = evidence.system_use else { return Ok(nothing()) };
    let asked = match ledger::read("spec.resources", &evidence.request.spec.resources) {
        Ok(asked) => asked,
        Err(error) => return failed(&error, &error),
    };
    for (resource, peak) in report::peaks(report, &asked) {
        if asked.get(&resource).is_some_and(|asked| *asked < peak) {
            let (to, used) = (quantity::exact(asked[&resource]).0, quantity::exact(peak).0);
            let from = report.spec.from.0;
            return failed(
                format!(
                    "spec.resources[{resource}]: {to} is asked for, and {used} were used at a time since {from}"
                ),
                format!("spec.resources[{resource}]：申请 {to}，但 {from} 以来峰值为 {used}"),
            );
        }
    }
    Ok(both("not below what was used in the window", "不低于近期使用峰值"))
}

/// How the department uses what it has. It stops nobody: those who approve see it.
fn present_use(evidence: &Evidence<'_>) -> Finding {
    let figures = evidence.department_use.and_then(|r| r.status.as_ref()?.resources.get("cpu"));
    let share = |figures: &Figures| {
        let amount = |q: &Option<Quantity>| q.as_ref().and_then(|q| quantity::parse(q).ok());
        let (granted, average) = (amount(&figures.granted)?, amount(&figures.average)?);
        (granted > 0).then(|| (average * 100 / granted, figures.coverage.clone()))
    };
    let Some((percent, coverage)) = figures.and_then(share) else {
        let (english, chinese) = evaluated(evidence);
        return Err(Flaw::Unknown(both(
            format!("not measured yet{english}"),
            format!("尚无测量数据{chinese}"),
        )));
    };
    let (english, chinese) = evaluated(evidence);
    Ok(both(
        format!(
            "the department uses {percent} % of the processors that it was granted (coverage {coverage} %){english}"
        ),
        format!("部门平均使用其获批处理器的 {percent} %（数据覆盖率 {coverage} %）{chinese}"),
    ))
}

/// What became of its other requests.
fn evaluated(evidence: &Evidence<'_>) -> (String, String) {
    let of = |verdict| {
        let names = evidence.evaluated.iter().filter(|(_, v)| *v == verdict).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let (low, high) = (of(UseVerdict::Low), of(UseVerdict::High));
    let part = |names: &str, english: &str, chinese: &str| {
        if names.is_empty() {
            return (String::new(), String::new());
        }
        (format!("; evaluated as {english}: {names}"), format!("；评估为{chinese}：{names}"))
    };
    let (low, high) = (part(&low, "Low", "使用率低"), part(&high, "High", "使用率高"));
    (low.0 + &high.0, low.1 + &high.1)
}

/// What a name looks like to a reader: letters that are confused with each other become one, marks and spaces go.
#[must_use]
pub fn skeleton(name: &str) -> String {
    unicode_security::skeleton(name).filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
#[path = "assessment_tests.rs"]
mod tests;
