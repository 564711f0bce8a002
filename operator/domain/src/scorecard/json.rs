//! A document as JSON, for machines: figures are strings with the digits that people read, counts are numbers, what is
//! unknown is `null`, and words that differ are said in both languages. Keys are the columns' own; of terms the key is
//! written.

use serde_json::{Map, Value, json};

use super::{Cell, Column, Document, Table};
use crate::explain::Line;

/// Writes it: an object with a value for each `about`, and `title`, `tables` and `notes`.
#[must_use]
pub fn json(document: &Document) -> Value {
    let mut object: Map<String, Value> =
        document.about.iter().filter_map(|(of, cell)| Some((of.key.to_owned(), value(cell)?))).collect();
    let tables: Map<String, Value> =
        document.tables.iter().map(|each| (each.key.to_owned(), table(each))).collect();
    object.insert("title".to_owned(), words(&document.title));
    object.insert("tables".to_owned(), Value::Object(tables));
    object.insert("notes".to_owned(), document.notes.iter().map(words).collect());
    Value::Object(object)
}

/// Rows that are not known are `null`.
fn table(table: &Table) -> Value {
    let row = |cells: &Vec<Cell>| row(&table.columns, cells);
    let rows: Option<Vec<Value>> = table.rows.as_ref().map(|rows| rows.iter().map(row).collect());
    let mut object = json!({ "rows": rows });
    if let Some(total) = &table.total {
        object["total"] = row(total);
    }
    object
}

fn row(columns: &[Column], cells: &[Cell]) -> Value {
    let cells = columns.iter().zip(cells);
    let cells = cells.filter_map(|(column, cell)| Some((column.key.to_owned(), value(cell)?)));
    Value::Object(cells.collect())
}

/// `None`: nothing stands there.
fn value(cell: &Cell) -> Option<Value> {
    Some(match cell {
        Cell::Text(line) => words(line),
        Cell::Term(key, _) => Value::from(*key),
        Cell::Figure(figure) => Value::from(figure.as_str()),
        Cell::Count(count) => Value::from(*count),
        Cell::Unknown => Value::Null,
        Cell::Nothing => Value::from("n/a"),
        Cell::Blank => return None,
    })
}

fn words(line: &Line) -> Value {
    if line.en == line.zh { Value::from(line.en.as_str()) } else { json!({ "en": line.en, "zh": line.zh }) }
}
