//! Recovery points: where they are, what they brought, and whether somebody has restored one.

use jiff::Timestamp;
use kube::ResourceExt;
use tripod_crds::recovery_point::{CopyState, PointPhase};
use tripod_crds::restore_tests::CentreProof;
use tripod_crds::{BackupPolicy, RecoveryPoint, RecoveryPointStatus};

use super::{Line, Row, Section, UNKNOWN, age};

/// Recovery points, the newest first, with where they are.
#[must_use]
pub fn points(points: &[RecoveryPoint], now: Timestamp) -> Section {
    let mut sorted: Vec<&RecoveryPoint> = points.iter().collect();
    sorted
        .sort_by_key(|point| (point.namespace(), std::cmp::Reverse(point.spec.taken_at.0), point.name_any()));
    let head = [
        Line::new("NAMESPACE", "命名空间"),
        Line::new("NAME", "名称"),
        Line::new("POLICY", "策略"),
        Line::new("PHASE", "阶段"),
        Line::new("AGE", "时间"),
        Line::new("SIZE", "大小"),
        Line::new("NEW", "新增"),
        Line::new("CENTRES", "各中心"),
    ];
    let mut rows = vec![Row::Cells(head.to_vec())];
    rows.extend(sorted.into_iter().map(|point| Row::Cells(point_row(point, now))));
    Section { title: Line::new("Recovery points", "恢复点"), rows }
}

fn point_row(point: &RecoveryPoint, now: Timestamp) -> Vec<Line> {
    let status = point.status.clone().unwrap_or_default();
    let bytes = status.contents.as_ref().map(|c| c.file_bytes + c.bucket_bytes);
    vec![
        Line::same(point.namespace().unwrap_or_default()),
        Line::same(point.name_any()),
        Line::same(&point.spec.policy),
        status.phase.map_or_else(|| Line::same(UNKNOWN), phase),
        Line::same(age(point.spec.taken_at.0, now)),
        Line::same(bytes.map_or_else(|| UNKNOWN.to_owned(), size)),
        change(&status),
        centres(point, now),
    ]
}

/// How much the vault did not have before; marked where that, or what is gone, is unusual for the system.
fn change(status: &RecoveryPointStatus) -> Line {
    let added = status.contents.as_ref().and_then(|contents| contents.added_bytes);
    let mut line = Line::same(added.map_or_else(|| UNKNOWN.to_owned(), size));
    if !status.unusual.is_empty() {
        line.add(" (unusual)", "（异常）");
    }
    line
}

/// What restore tests and drills have proved, for each policy and centre of which this cluster knows. Nothing where there are none.
#[must_use]
pub fn proofs(policies: &[BackupPolicy], now: Timestamp) -> Option<Section> {
    let head = [
        Line::new("NAMESPACE", "命名空间"),
        Line::new("POLICY", "策略"),
        Line::new("CENTRE", "中心"),
        Line::new("RESTORED AND CHECKED", "恢复并检查通过"),
        Line::new("LAST TEST", "最近一次测试"),
    ];
    let known = policies.iter().flat_map(|policy| {
        let proofs = policy.status.iter().flat_map(|status| &status.proofs);
        proofs.map(|proof| Row::Cells(proof_row(policy, proof, now)))
    });
    let rows: Vec<Row> = known.collect();
    (!rows.is_empty()).then(|| {
        let rows = std::iter::once(Row::Cells(head.to_vec())).chain(rows).collect();
        Section::new("Proven to be restorable", "已证明可恢复", rows)
    })
}

fn proof_row(policy: &BackupPolicy, proof: &CentreProof, now: Timestamp) -> Vec<Line> {
    let proven = match (&proof.proven_at, &proof.recovery_point) {
        (Some(at), Some(point)) => {
            let ago = age(at.0, now);
            Line::new(format!("{point} {ago} ago"), format!("{point}（{ago} 前）"))
        }
        _ => Line::new("never", "从未"),
    };
    let last = match &proof.failure {
        Some(words) => Line::new(format!("failed: {words}"), format!("失败：{words}")),
        None => Line::new("passed", "通过"),
    };
    vec![
        Line::same(policy.namespace().unwrap_or_default()),
        Line::same(policy.name_any()),
        Line::same(&proof.centre),
        proven,
        last,
    ]
}

/// Where a point is, and since when that is proved: `production Verified 3m, remote Pending`.
#[must_use]
pub fn centres(point: &RecoveryPoint, now: Timestamp) -> Line {
    let copies = point.status.iter().flat_map(|status| &status.centres);
    let mut line = Line::default();
    for (at, copy) in copies.enumerate() {
        if at > 0 {
            line.add(", ", "，");
        }
        let state = state(copy.state);
        line.add(&format!("{} {}", copy.centre, state.en), &format!("{} {}", copy.centre, state.zh));
        if let Some(verified) = &copy.verified_at {
            let ago = age(verified.0, now);
            line.add(&format!(" {ago} ago"), &format!("（{ago} 前）"));
        }
        if let Some(until) = copy.locked_until.as_ref().filter(|until| until.0 > now) {
            let day = until.0.strftime("%F");
            line.add(&format!(" (locked until {day})"), &format!("（锁定至 {day}）"));
        }
    }
    if line.en.is_empty() { Line::same(UNKNOWN) } else { line }
}

/// A phase, in words.
#[must_use]
pub fn phase(phase: PointPhase) -> Line {
    match phase {
        PointPhase::Running => Line::new("Running", "进行中"),
        PointPhase::Complete => Line::new("Complete", "已完成"),
        PointPhase::Failed => Line::new("Failed", "失败"),
    }
}

fn state(state: CopyState) -> Line {
    match state {
        CopyState::Unknown => Line::new("Unknown", "未知"),
        CopyState::Pending => Line::new("Pending", "等待复制"),
        CopyState::Copied => Line::new("Copied", "已复制"),
        CopyState::Verified => Line::new("Verified", "已校验"),
        CopyState::Damaged => Line::new("Damaged", "已损坏"),
        CopyState::Removed => Line::new("Removed", "已移除"),
    }
}

/// Bytes for people, in powers of 1024 with a digit behind the point: `1.5 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for next in units {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::super::backup::tests::text;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_point_says_where_it_is_and_since_when() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let point = |name: &str, taken: &str| -> RecoveryPoint {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "a-b"},
                "spec": {"policy": "p", "origin": "production", "takenAt": taken},
                "status": {"phase": "Complete",
                    "contents": {"objects": 3, "files": 2, "fileBytes": 1_572_864, "bucketObjects": 0, "bucketBytes": 0, "addedBytes": 2048},
                    "unusual": ["volume data: 60 % are gone: of 100 there are 40 left"],
                    "centres": [{"centre": "production", "state": "Verified", "verifiedAt": "2026-11-24T02:05:00Z"},
                        {"centre": "remote", "state": "Pending"}]}}))
            .unwrap()
        };
        let all = [point("p-1", "2026-11-24T02:00:00Z"), point("p-2", "2026-11-24T02:04:00Z")];
        let shown = points(&all, at("2026-11-24T02:08:00Z"));
        let (en, zh) = (text(std::slice::from_ref(&shown), false), text(&[shown], true));
        let expected = "a-b | p-2 | p | Complete | 4m | 1.5 MiB | 2.0 KiB (unusual) | production Verified 3m ago, remote Pending\n";
        assert!(en.contains(expected), "{en}");
        assert!(en.find("p-2") < en.find("p-1"), "the newest first: {en}");
        assert!(zh.contains("production 已校验（3m 前），remote 等待复制"), "{zh}");
    }

    #[test]
    fn a_proof_says_of_what_and_how_old_it_is() {
        let policy = |status: serde_json::Value| -> BackupPolicy {
            serde_json::from_value(
                json!({"metadata": {"name": "p", "namespace": "a-b"}, "spec": {}, "status": status}),
            )
            .unwrap()
        };
        let now = "2026-11-24T02:08:00Z".parse().unwrap();
        assert_eq!(proofs(&[policy(json!({}))], now), None);
        let known = policy(json!({"proofs": [
            {"centre": "remote", "provenAt": "2026-11-22T02:08:00Z", "recoveryPoint": "p-1", "testedAt": "2026-11-24T02:00:00Z", "failure": "rows"},
            {"centre": "same-city", "testedAt": "2026-11-24T02:00:00Z"}]}));
        let shown = proofs(&[known], now).unwrap();
        let (en, zh) = (text(std::slice::from_ref(&shown), false), text(&[shown], true));
        assert!(en.contains("a-b | p | remote | p-1 2d ago | failed: rows\n"), "{en}");
        assert!(en.contains("a-b | p | same-city | never | passed\n"), "{en}");
        assert!(zh.contains("p-1（2d 前） | 失败：rows"), "{zh}");
    }

    #[test]
    fn sizes_are_read_at_a_glance() {
        for (bytes, expected) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (u64::MAX, "15.9 EiB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }
}
