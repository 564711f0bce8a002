//! Tables for a terminal: columns as wide as their widest cell, where a Chinese character takes two places.

use tripod_domain::explain::{Row, Section};
use unicode_width::UnicodeWidthStr;

use super::Language;

/// Between two columns, as kubectl has it.
const GAP: usize = 3;

/// How wide the columns have to be.
#[derive(Clone, Debug, Default)]
pub struct Widths(Vec<usize>);

impl Widths {
    /// Makes room for these rows.
    pub fn fit<T: AsRef<str>>(&mut self, rows: &[impl AsRef<[T]>]) {
        for row in rows {
            // The last cell of a row is never padded: a long message does not push the columns of others away.
            let padded = row.as_ref().split_last().map_or(&[][..], |(_, others)| others);
            for (column, cell) in padded.iter().enumerate() {
                let width = clean(cell.as_ref()).width();
                match self.0.get_mut(column) {
                    Some(widest) => *widest = width.max(*widest),
                    None => self.0.push(width),
                }
            }
        }
    }

    /// One line, without its end.
    pub fn line<T: AsRef<str>>(&self, row: &[T]) -> String {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let cell = clean(cell.as_ref());
            line.push_str(&cell);
            if column + 1 < row.len() {
                let room = self.0.get(column).copied().unwrap_or_default().saturating_sub(cell.width());
                line.extend(std::iter::repeat_n(' ', room + GAP));
            }
        }
        line.trim_end().to_owned()
    }
}

/// What others wrote must not act on a terminal, nor read as something else: control characters and those that
/// change the direction of text are shown, not sent.
pub fn clean(text: &str) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => clean.push(' '),
            c if acts(c) => clean.extend(c.escape_unicode()),
            c => clean.push(c),
        }
    }
    clean
}

/// Sections under their titles, indented; commands on lines of their own. `command` makes one that can be copied.
pub fn sections(sections: &[Section], language: Language, command: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for section in sections {
        if !text.is_empty() {
            text.push('\n');
        }
        let mut cells: Vec<Vec<&str>> = Vec::new();
        for row in &section.rows {
            if let Row::Cells(row) = row {
                cells.push(row.iter().map(|line| language.of(line)).collect());
            }
        }
        let mut widths = Widths::default();
        widths.fit(&cells);
        let mut cells = cells.into_iter();
        text.push_str(&format_line("", language.of(&section.title)));
        for row in &section.rows {
            match row {
                Row::Cells(_) => {
                    text.push_str(&format_line("  ", &widths.line(&cells.next().unwrap_or_default())));
                }
                Row::Command(line) => text.push_str(&format_line("    ", &clean(&command(line)))),
            }
        }
    }
    text
}

fn format_line(indent: &str, line: &str) -> String {
    format!("{indent}{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tripod_domain::explain::Line;

    #[test]
    fn columns_align_where_a_character_takes_two_places() {
        let rows = [["NAME", "SYSTEM", "CPU"], ["a", "预约挂号", "8"], ["long-name", "b", "-"]];
        let mut widths = Widths::default();
        widths.fit(&rows);
        let lines: Vec<String> = rows.iter().map(|row| widths.line(row)).collect();
        assert_eq!(
            lines,
            ["NAME        SYSTEM     CPU", "a           预约挂号   8", "long-name   b          -"]
        );
        // Where the last column begins, in places of the terminal.
        let begins = |line: &str| line.rsplit_once(' ').unwrap().0.width();
        assert!(lines.iter().all(|line| begins(line) == begins(&lines[0])), "{lines:?}");
    }

    #[test]
    fn what_others_wrote_does_not_act() {
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}c\nd"), "a\\u{1b}[2Jb\\u{202e}c d");
        assert_eq!(clean("卫信函〔2026〕12号 · é"), "卫信函〔2026〕12号 · é");
    }

    #[test]
    fn sections_speak_one_language_and_commands_can_be_copied() {
        let section = Section {
            title: Line::new("Next", "下一步"),
            rows: vec![
                Row::Cells(vec![Line::new("given", "已同意"), Line::same("a")]),
                Row::Command("kubectl x".into()),
                Row::Cells(vec![Line::new("ignored", "不计入"), Line::same("b")]),
            ],
        };
        let show =
            |language| sections(std::slice::from_ref(&section), language, |c| format!("{c} --context y"));
        assert_eq!(show(Language::En), "Next\n  given     a\n    kubectl x --context y\n  ignored   b\n");
        assert_eq!(show(Language::Zh), "下一步\n  已同意   a\n    kubectl x --context y\n  不计入   b\n");
    }
}
