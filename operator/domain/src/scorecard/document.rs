//! What is shown, before it is written down: tables of cells. All that is written is made from this.

use crate::explain::Line;
use crate::forecast::Forecast;
use crate::scorecard::{Percent, Rate};

/// A title, what is known of the whole, tables, and notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub title: Line,
    /// One row: the whole.
    pub about: Vec<(Column, Cell)>,
    pub tables: Vec<Table>,
    pub notes: Vec<Line>,
}

/// Rows under headings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// For machines: unique in the document, `camelCase`.
    pub key: &'static str,
    pub title: Line,
    pub columns: Vec<Column>,
    /// As many cells as columns. `None`: not known; empty: there are none.
    pub rows: Option<Vec<Vec<Cell>>>,
    /// As many cells as columns.
    pub total: Option<Vec<Cell>>,
}

/// A heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// For machines: unique in the table, `camelCase`.
    pub key: &'static str,
    pub title: Line,
}

impl Column {
    pub(super) fn new(key: &'static str, en: &str, zh: &str) -> Self {
        Self { key, title: Line::new(en, zh) }
    }
}

/// What stands in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Words; whoever wrote them may mean harm.
    Text(Line),
    /// One of a few words; for machines the key, `camelCase`.
    Term(&'static str, Line),
    /// Digits as they are printed everywhere, with a unit.
    Figure(String),
    Count(u64),
    /// Nobody knows.
    Unknown,
    /// There is nothing to be known.
    Nothing,
    /// In a row of totals: this is not summed up.
    Blank,
}

impl Cell {
    pub(super) fn text(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self::Text(Line::new(en, zh))
    }

    pub(super) fn term(key: &'static str, en: &str, zh: &str) -> Self {
        Self::Term(key, Line::new(en, zh))
    }

    /// A name: the same in every language.
    pub(super) fn name(name: impl Into<String>) -> Self {
        Self::Text(Line::same(name))
    }

    pub(super) fn count(count: Option<u64>) -> Self {
        count.map_or(Self::Unknown, Self::Count)
    }

    pub(super) fn length(of: usize) -> Self {
        Self::count(u64::try_from(of).ok())
    }

    pub(super) fn percent(percent: Option<Percent>) -> Self {
        percent.map_or(Self::Unknown, |percent| Self::Figure(percent.to_string()))
    }

    pub(super) fn rate(rate: Option<Rate>) -> Self {
        match rate {
            None => Self::Unknown,
            Some(Rate::OfNothing) => Self::Nothing,
            Some(Rate::Is(percent)) => Self::percent(Some(percent)),
        }
    }

    pub(super) fn forecast(forecast: Option<Forecast>) -> Self {
        forecast.map_or(Self::Unknown, |forecast| Self::Text(forecast.line()))
    }

    /// What people read.
    #[must_use]
    pub fn line(&self) -> Line {
        match self {
            Self::Text(line) | Self::Term(_, line) => line.clone(),
            Self::Figure(figure) => Line::same(figure),
            Self::Count(count) => Line::same(count.to_string()),
            Self::Unknown => Line::new("unknown", "未知"),
            Self::Nothing => Line::new("n/a", "不适用"),
            Self::Blank => Line::default(),
        }
    }
}

impl Table {
    /// What is said where there are no rows.
    pub(super) fn without_rows(&self) -> Option<Line> {
        match &self.rows {
            None => Some(Cell::Unknown.line()),
            Some(rows) if rows.is_empty() => Some(Line::new("none", "无")),
            Some(_) => None,
        }
    }

    /// Whether there are numbers in a column: they stand to the right.
    pub(super) fn has_numbers(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().flatten().filter_map(|cells| cells.get(column));
        cells.any(|cell| matches!(cell, Cell::Figure(_) | Cell::Count(_)))
    }
}

/// One line of what can be seen: line breaks would end a table's row, and marks of direction (Unicode bidi) would show
/// the figures beside a name in another order.
pub(super) fn visible(text: &str) -> String {
    let seen = |c: char| match c {
        c if c.is_control() => ' ',
        '\u{2028}' | '\u{2029}' => ' ',
        '\u{061c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(seen).collect()
}
