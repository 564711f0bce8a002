//! A document as Markdown (with tables as GitHub has them). No text breaks out of its cell, or becomes markup.

use super::document::visible;
use super::{Cell, Document, Language, Table};
use crate::explain::Line;

/// Writes it in one language.
#[must_use]
pub fn markdown(document: &Document, language: Language) -> String {
    let words = |line: &Line| escape(language.of(line));
    let mut lines = vec![format!("# {}", words(&document.title)), String::new()];
    let about = document.about.iter();
    lines.extend(about.map(|(of, cell)| format!("- {}: {}", words(&of.title), words(&cell.line()))));
    for each in &document.tables {
        lines.extend([String::new(), format!("## {}", words(&each.title)), String::new()]);
        lines.extend(table(each, language));
    }
    if !document.notes.is_empty() {
        lines.push(String::new());
    }
    lines.extend(document.notes.iter().map(|note| format!("- {}", words(note))));
    lines.join("\n") + "\n"
}

fn table(table: &Table, language: Language) -> Vec<String> {
    let words = |line: &Line| escape(language.of(line));
    if let Some(why) = table.without_rows() {
        return vec![words(&why)];
    }
    let rule = |column| if table.has_numbers(column) { "---:" } else { "---" }.to_owned();
    let bold = |cell: &Cell| match words(&cell.line()) {
        empty if empty.is_empty() => empty,
        words => format!("**{words}**"),
    };
    let mut lines = vec![
        row(table.columns.iter().map(|column| words(&column.title))),
        row((0..table.columns.len()).map(rule)),
    ];
    lines.extend(table.rows.iter().flatten().map(|cells| row(cells.iter().map(|cell| words(&cell.line())))));
    lines.extend(table.total.iter().map(|cells| row(cells.iter().map(bold))));
    lines
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

/// As text and nothing else: no cell's end, no markup, no HTML, no address that becomes a link.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).trim().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("&#64;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '!' | '#' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.replace("://", "&#58;//").replace("www.", "www&#46;")
}
