//! Backups: what a policy would take now, and why the rest is left out.

use kube::ResourceExt;
use tripod_crds::BackupPolicy;

use super::{Line, Row, Section, UNKNOWN, fact};
use crate::selection::needs::Need;
use crate::selection::tally::{OfKind, Tally};
use crate::selection::{Fate, Reason};

/// A claim, and what becomes of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    /// As the claim has it, for instance `20Gi`.
    pub size: Option<String>,
    pub class: Option<String>,
    pub fate: Fate,
}

/// How something that is needed of the cluster stands, for who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    Recorded,
    Absent,
    Forbidden,
}

impl Needed {
    /// A stable word for machines.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Recorded => "Recorded",
            Self::Absent => "Absent",
            Self::Forbidden => "Forbidden",
        }
    }

    fn line(self) -> Line {
        match self {
            Self::Recorded => Line::new("is recorded", "将被记录"),
            Self::Absent => Line::new("there is none of this name in the cluster", "集群中没有同名对象"),
            Self::Forbidden => {
                Line::new("you may not read it; the operator may", "您无权读取；操作员可以读取")
            }
        }
    }
}

/// What a point of a policy would hold if it were made now.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    pub policy: &'a BackupPolicy,
    pub tally: &'a Tally,
    pub volumes: &'a [Volume],
    pub needs: &'a [(Need, Needed)],
}

/// The plan, for people.
#[must_use]
pub fn plan(of: &Planned<'_>) -> Vec<Section> {
    let mut sections = vec![subject(of), objects(of.tally)];
    sections.extend(left_out(of.tally));
    sections.push(volumes(of.volumes));
    sections.extend(buckets(of.policy));
    sections.extend(needs(of.needs));
    sections.extend(hooks(of.policy));
    sections.extend(not_listed(of.tally));
    let (name, namespace) = (of.policy.name_any(), of.policy.namespace().unwrap_or_default());
    let command = Row::Command(format!("kubectl tripod backup now {name} -n {namespace} --wait"));
    let said = Row::Cells(vec![Line::new("make a recovery point now", "立即生成恢复点")]);
    sections.push(Section::new("Next", "下一步", vec![said, command]));
    sections
}

fn subject(of: &Planned<'_>) -> Section {
    let (name, namespace) = (of.policy.name_any(), of.policy.namespace().unwrap_or_default());
    let spec = &of.policy.spec;
    let schedule = match (&spec.schedule, spec.suspend) {
        (_, true) => Line::new("suspended", "已暂停"),
        (Some(schedule), false) => Line::same(format!("{schedule} UTC")),
        (None, false) => Line::new("on demand only", "仅按需"),
    };
    Section {
        title: Line::new(
            format!("What the policy {name} would take in {namespace} now"),
            format!("备份策略 {name} 现在将从 {namespace} 备份的内容"),
        ),
        rows: vec![fact("Schedule", "计划", schedule)],
    }
}

fn objects(tally: &Tally) -> Section {
    let taken = tally.kinds.iter().filter(|(_, of)| of.taken > 0);
    let mut rows: Vec<Row> = taken
        .map(|(kind, of)| Row::Cells(vec![Line::same(kind), Line::same(of.taken.to_string())]))
        .collect();
    if rows.is_empty() {
        rows.push(Row::Cells(vec![Line::new("none", "无")]));
    }
    let count = tally.taken();
    Section {
        title: Line::new(format!("Objects: {count} taken"), format!("对象：将备份 {count} 个")), rows
    }
}

fn left_out(tally: &Tally) -> Option<Section> {
    let mut rows = Vec::new();
    for (kind, of) in &tally.kinds {
        rows.extend(left_out_of(kind, of));
    }
    rows.extend(left_out_wholly(tally));
    (!rows.is_empty()).then(|| Section::new("Left out", "不备份的对象", rows))
}

/// The first names of each reason, and how many more there are.
fn left_out_of(kind: &str, of: &OfKind) -> Vec<Row> {
    let mut rows = Vec::new();
    for left in of.left_out.values() {
        for (name, reason) in &left.first {
            rows.push(Row::Cells(vec![Line::same(format!("{kind}/{name}")), reason.line()]));
        }
        let more = left.count.saturating_sub(left.first.len() as u64);
        if more > 0 {
            let more = Line::new(format!("and {more} more of {kind}"), format!("以及另外 {more} 个 {kind}"));
            // Owners differ: of the others only the kind of reason is known.
            let reason = match left.first.first() {
                Some((_, Reason::Owned { .. })) => Line::new("owned as well", "同样属于其他对象"),
                Some((_, reason)) => reason.line(),
                None => Line::same(UNKNOWN),
            };
            rows.push(Row::Cells(vec![more, reason]));
        }
    }
    rows
}

/// Kinds of which nothing is taken, by reason: one row each.
fn left_out_wholly(tally: &Tally) -> Vec<Row> {
    let mut by_reason: std::collections::BTreeMap<&Reason, Vec<&str>> = std::collections::BTreeMap::new();
    for (kind, of) in &tally.kinds {
        if let Some(reason) = &of.whole {
            by_reason.entry(reason).or_default().push(kind);
        }
    }
    let row =
        |(reason, kinds): (&Reason, Vec<&str>)| Row::Cells(vec![Line::same(kinds.join(", ")), reason.line()]);
    // Wide, so last and without a column beside the names of objects.
    by_reason.into_iter().map(row).collect()
}

fn volumes(volumes: &[Volume]) -> Section {
    let taken = volumes.iter().filter(|volume| volume.fate.is_taken()).count();
    let mut rows: Vec<Row> = volumes
        .iter()
        .map(|volume| {
            let or_unknown = |text: &Option<String>| Line::same(text.as_deref().unwrap_or(UNKNOWN));
            let fate = match &volume.fate {
                Fate::Taken => Line::new("its files are taken", "备份其文件"),
                Fate::LeftOut(reason) => {
                    let why = reason.line();
                    Line::new(format!("left out: {}", why.en), format!("不备份：{}", why.zh))
                }
            };
            Row::Cells(vec![
                Line::same(&volume.name),
                or_unknown(&volume.size),
                or_unknown(&volume.class),
                fate,
            ])
        })
        .collect();
    if rows.is_empty() {
        rows.push(Row::Cells(vec![Line::new("none", "无")]));
    }
    Section {
        title: Line::new(format!("Volumes: {taken} taken"), format!("存储卷：将备份 {taken} 个")),
        rows,
    }
}

fn buckets(policy: &BackupPolicy) -> Option<Section> {
    let rows: Vec<Row> =
        policy.spec.include.buckets.iter().map(|name| Row::Cells(vec![Line::same(name)])).collect();
    (!rows.is_empty()).then(|| Section::new("Buckets", "存储桶", rows))
}

fn needs(needs: &[(Need, Needed)]) -> Option<Section> {
    let rows: Vec<Row> = needs
        .iter()
        .map(|(need, standing)| Row::Cells(vec![Line::same(need.title()), standing.line()]))
        .collect();
    (!rows.is_empty()).then(|| {
        Section::new(
            "Needed of the cluster: recorded, and never restored by a department",
            "依赖的集群级对象：仅记录，部门不会恢复它们",
            rows,
        )
    })
}

fn hooks(policy: &BackupPolicy) -> Option<Section> {
    let names: Vec<&str> = policy.spec.hooks.iter().map(|hook| hook.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        let row = |en: &str, zh: &str, names: Vec<&str>| fact(en, zh, Line::same(names.join(", ")));
        let befores = policy.spec.hooks.iter().filter(|h| h.before.is_some()).map(|h| h.name.as_str());
        let afters = policy.spec.hooks.iter().rev().filter(|h| h.after.is_some()).map(|h| h.name.as_str());
        Section::new(
            "Hooks",
            "钩子",
            vec![row("before", "备份前", befores.collect()), row("after", "备份后", afters.collect())],
        )
    })
}

fn not_listed(tally: &Tally) -> Option<Section> {
    let rows: Vec<Row> = tally.not_listed.iter().map(|kind| Row::Cells(vec![Line::same(kind)])).collect();
    (!rows.is_empty()).then(|| {
        Section::new(
            "Kinds that you may not list: what of them is taken can't be said",
            "您无权列出的类型：无法判断其中哪些会被备份",
            rows,
        )
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::selection::needs::ClusterKind;
    use serde_json::json;

    pub(in super::super) fn text(sections: &[Section], zh: bool) -> String {
        let line = |line: &Line| if zh { line.zh.clone() } else { line.en.clone() };
        let row = |row: &Row| match row {
            Row::Cells(cells) => format!("  {}\n", cells.iter().map(line).collect::<Vec<_>>().join(" | ")),
            Row::Command(command) => format!("    {command}\n"),
        };
        let section = |of: &Section| {
            let rows: String = of.rows.iter().map(row).collect();
            format!("{}\n{rows}", line(&of.title))
        };
        sections.iter().map(section).collect()
    }

    #[test]
    fn a_plan_says_what_is_taken_and_why_the_rest_is_not() {
        let policy: BackupPolicy =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "a-b"},
            "spec": {"include": {"buckets": ["files"]}, "hooks": [
                {"name": "one", "before": {"job": {"image": "i"}}, "after": {"job": {"image": "i"}}},
                {"name": "two", "after": {"job": {"image": "i"}}}]}}))
            .unwrap();
        let mut tally = Tally::default();
        tally.object("configmaps", "settings", &Fate::Taken);
        tally.object("configmaps", "kube-root-ca.crt", &Fate::LeftOut(Reason::Given));
        for n in 0..7 {
            let owner = Reason::Owned { kind: "CronJob".into(), name: "nightly".into() };
            tally.object("jobs.batch", &format!("nightly-{n}"), &Fate::LeftOut(owner));
        }
        tally.kind("pods", Reason::DerivedKind);
        tally.kind("events", Reason::DerivedKind);
        tally.not_listed.push("widgets.example.org".into());
        let volume = |name: &str, fate| Volume {
            name: name.into(),
            size: Some("1Gi".into()),
            class: Some("fast".into()),
            fate,
        };
        let volumes = [volume("data", Fate::Taken), volume("cache", Fate::LeftOut(Reason::VolumeExcluded))];
        let need = Need { kind: ClusterKind::StorageClass, name: "fast".into() };
        let needs = [(need, Needed::Recorded)];
        let planned = Planned { policy: &policy, tally: &tally, volumes: &volumes, needs: &needs };
        let (en, zh) = (text(&plan(&planned), false), text(&plan(&planned), true));
        for words in [
            "What the policy p would take in a-b now",
            "Objects: 1 taken\n  configmaps | 1",
            "  configmaps/kube-root-ca.crt | given by Kubernetes",
            "  jobs.batch/nightly-0 | owned by CronJob/nightly",
            "  and 2 more of jobs.batch | owned as well",
            "  events, pods | derived kind",
            "Volumes: 1 taken\n  data | 1Gi | fast | its files are taken",
            "  cache | 1Gi | fast | left out: in spec.exclude.volumes",
            "  files\n",
            "  storageclasses.storage.k8s.io/fast | is recorded",
            "  before | one\n  after | two, one",
            "  widgets.example.org\n",
            "    kubectl tripod backup now p -n a-b --wait",
        ] {
            assert!(en.contains(words), "{words} is not in\n{en}");
        }
        for words in ["对象：将备份 1 个", "由 Kubernetes 自动提供", "派生类型", "存储卷：将备份 1 个"]
        {
            assert!(zh.contains(words), "{words} is not in\n{zh}");
        }
    }
}
