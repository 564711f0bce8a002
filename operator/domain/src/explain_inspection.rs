//! What an inspection found, as tables.

use std::collections::BTreeMap;

use tripod_crds::inspection::{Change, Entry, EntryType};

use super::points::size;
use super::{Line, Row, Section};

/// What is in a place.
#[must_use]
pub fn entries(entries: &[Entry]) -> Section {
    let head = [
        Line::new("TYPE", "类型"),
        Line::new("MODE", "权限"),
        Line::new("OWNER", "属主"),
        Line::new("ENTRIES", "数量"),
        Line::new("SIZE", "大小"),
        Line::new("MODIFIED", "修改时间"),
        Line::new("PATH", "路径"),
    ];
    let mut rows = vec![Row::Cells(head.to_vec())];
    rows.extend(entries.iter().map(|entry| Row::Cells(row(entry))));
    Section { title: Line::new("In the recovery point", "恢复点内容"), rows }
}

fn row(entry: &Entry) -> Vec<Line> {
    let or_none = |text: Option<String>| Line::same(text.unwrap_or_else(|| super::UNKNOWN.to_owned()));
    let arrow = entry.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
    vec![
        kind(entry.kind),
        or_none(entry.mode.clone()),
        or_none(entry.owner.clone()),
        or_none(entry.files.map(|files| files.to_string())),
        or_none(entry.size.map(size)),
        or_none(entry.modified.as_ref().map(|time| time.0.strftime("%F %T").to_string())),
        Line::same(format!("{}{arrow}", entry.path)),
    ]
}

fn kind(kind: EntryType) -> Line {
    match kind {
        EntryType::Directory => Line::new("directory", "目录"),
        EntryType::File => Line::new("file", "文件"),
        EntryType::Link => Line::new("link", "链接"),
        EntryType::Object => Line::new("object", "对象"),
    }
}

/// All changes of a comparison, counted.
#[must_use]
pub fn sum(changes: &BTreeMap<Change, u64>) -> Line {
    let of = |change| changes.get(&change).copied().unwrap_or_default();
    let (new, gone, other) = (of(Change::Added), of(Change::Removed), of(Change::Changed));
    Line::new(
        format!("{new} added, {gone} removed, {other} changed"),
        format!("新增 {new}，移除 {gone}，变更 {other}"),
    )
}

/// So many are not shown.
#[must_use]
pub fn hidden(count: u64) -> Line {
    Line::new(
        format!("{count} more are not shown; --limit 0 shows all"),
        format!("另有 {count} 项未显示；--limit 0 显示全部"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::backup::tests::text;
    use super::*;

    #[test]
    fn an_entry_is_a_row_in_both_languages() {
        let file = Entry {
            size: Some(2048),
            mode: Some("0640".into()),
            ..Entry::new("volumes/data/a", EntryType::File)
        };
        let link = Entry { target: Some("a".into()), ..Entry::new("volumes/data/b", EntryType::Link) };
        let shown = entries(&[file, link]);
        let (en, zh) = (text(std::slice::from_ref(&shown), false), text(&[shown], true));
        assert!(en.contains("file | 0640 | - | - | 2.0 KiB | - | volumes/data/a\n"), "{en}");
        assert!(zh.contains("链接 | - | - | - | - | - | volumes/data/b -> a\n"), "{zh}");
    }

    #[test]
    fn changes_are_counted() {
        assert_eq!(sum(&BTreeMap::from([(Change::Added, 2)])).en, "2 added, 0 removed, 0 changed");
    }
}
