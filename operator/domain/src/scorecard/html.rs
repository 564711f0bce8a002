//! A document as one HTML page: nothing is loaded, nothing runs, and no text becomes markup.

use super::document::visible;
use super::{Cell, Document, Language, Table};
use crate::explain::Line;

const STYLE: &str = "body{font:14px/1.5 sans-serif;margin:2em;color:#222}\
    table{border-collapse:collapse;margin:.5em 0 1.5em}\
    th,td{border:1px solid #bbb;padding:.2em .6em;text-align:left}\
    th{background:#f0f0f0}\
    .n{text-align:right;font-variant-numeric:tabular-nums}\
    .u{color:#a40000}\
    tfoot td{font-weight:bold}";

/// Writes it in one language.
#[must_use]
pub fn html(document: &Document, language: Language) -> String {
    let words = |line: &Line| escape(language.of(line));
    let code = match language {
        Language::English => "en",
        Language::Chinese => "zh-CN",
    };
    let title = words(&document.title);
    let mut lines = vec![
        format!("<!DOCTYPE html>\n<html lang=\"{code}\">\n<head>\n<meta charset=\"utf-8\">"),
        // What no text can become can't run either: twice is safer.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            .to_owned(),
        format!("<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<ul>"),
    ];
    let about = document.about.iter();
    lines.extend(about.map(|(of, cell)| format!("<li>{}: {}</li>", words(&of.title), words(&cell.line()))));
    lines.push("</ul>".to_owned());
    for each in &document.tables {
        lines.push(format!("<h2>{}</h2>", words(&each.title)));
        lines.extend(table(each, language));
    }
    lines.push("<ul>".to_owned());
    lines.extend(document.notes.iter().map(|note| format!("<li>{}</li>", words(note))));
    lines.push("</ul>\n</body>\n</html>\n".to_owned());
    lines.join("\n")
}

fn table(table: &Table, language: Language) -> Vec<String> {
    if let Some(why) = table.without_rows() {
        return vec![format!("<p>{}</p>", escape(language.of(&why)))];
    }
    let heading =
        |column: &super::Column| format!("<th scope=\"col\">{}</th>", escape(language.of(&column.title)));
    let row = |cells: &Vec<Cell>| {
        let cells = cells.iter().map(|cell| data(cell, language));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let headings: String = table.columns.iter().map(heading).collect();
    let mut lines = vec![format!("<table>\n<thead><tr>{headings}</tr></thead>\n<tbody>")];
    lines.extend(table.rows.iter().flatten().map(row));
    lines.push("</tbody>".to_owned());
    lines.extend(table.total.iter().map(|cells| format!("<tfoot>{}</tfoot>", row(cells))));
    lines.push("</table>".to_owned());
    lines
}

fn data(cell: &Cell, language: Language) -> String {
    let class = match cell {
        Cell::Figure(_) | Cell::Count(_) => " class=\"n\"",
        Cell::Unknown => " class=\"u\"",
        _ => "",
    };
    format!("<td{class}>{}</td>", escape(language.of(&cell.line())))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
