//! What is printed: tables for people, JSON and YAML for programs.

use std::io::{ErrorKind, Write};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, Color, Table, presets};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::failure::{Failure, plain};

/// Keys that say what an object is, in this order before all others.
const FIRST: [&str; 3] = ["name", "slug", "sub_id"];

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// For both
    Yaml,
    /// For spreadsheets; statistics only
    Csv,
}

/// A column: its title, and where its values are.
pub(super) type Column = (&'static str, &'static str);

/// Prints a list.
pub(super) fn list(format: Format, columns: &[Column], items: &[Value]) -> Result<(), Failure> {
    if format != Format::Table {
        return value(format, &Value::Array(items.to_vec()));
    }
    let mut table = Table::new();
    table.set_header(
        columns.iter().map(|(title, _)| Cell::new(title).add_attribute(Attribute::Bold)),
    );
    for item in items {
        table.add_row(columns.iter().map(|(_, at)| cell(&text(item.pointer(at)))));
    }
    print(table)
}

/// Prints one object, a line for each field.
pub(super) fn one(format: Format, object: &Value) -> Result<(), Failure> {
    if format != Format::Table {
        return value(format, object);
    }
    let mut rows = Vec::new();
    flatten("", object, &mut rows);
    let mut table = Table::new();
    for (key, value) in rows {
        table.add_row([Cell::new(plain(&key)).add_attribute(Attribute::Bold), cell(&value)]);
    }
    print(table)
}

/// Prints one object, as a row of such a list where that is for people.
pub(super) fn row(format: Format, columns: &[Column], object: &Value) -> Result<(), Failure> {
    if format == Format::Table {
        return list(format, columns, std::slice::from_ref(object));
    }
    value(format, object)
}

/// Prints what is no table.
pub(super) fn value(format: Format, value: &Value) -> Result<(), Failure> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value).map_err(Failure::failed)? + "\n",
        Format::Csv => return Err(Failure::wrong("only statistics can be printed as CSV")),
        Format::Table | Format::Yaml => yaml(value)?,
    };
    write(text.as_bytes())
}

/// YAML, with what names an object before its other fields.
pub(super) fn yaml(value: &Value) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(&Ordered(value)).map_err(Failure::failed)?;
    Ok(text.trim_end().to_owned() + "\n")
}

/// Writes to standard output. Who reads no further, such as `head`, has all that it wants.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    offer(bytes).map(drop)
}

/// The same; whether anybody reads on.
pub(super) fn offer(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn print(mut table: Table) -> Result<(), Failure> {
    table.load_style(presets::NOTHING);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    write(lines.collect::<String>().as_bytes())
}

/// Words that somebody should see have a colour, on terminals.
fn cell(text: &str) -> Cell {
    let cell = Cell::new(plain(text));
    match text {
        "up" | "ready" => cell.fg(Color::Green),
        "down" => cell.fg(Color::Red),
        "suspect" | "unknown" | "cordoned" | "draining" | "retired" => cell.fg(Color::Yellow),
        _ => cell,
    }
}

/// A value in a cell.
pub(super) fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(float) if number.is_f64() => {
                let rounded = format!("{float:.3}");
                rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            _ => number.to_string(),
        },
        Some(Value::Array(items)) => {
            let named = |item: &Value| {
                let name = FIRST.iter().find_map(|key| item.get(key)).unwrap_or(item);
                text(Some(name))
            };
            items.iter().map(named).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    }
}

/// Every field with its path, in the order of [`Ordered`].
pub(super) fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in ordered(fields) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, rows);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), item, rows);
            }
        }
        other => rows.push((path.to_owned(), text(Some(other)))),
    }
}

fn ordered(fields: &serde_json::Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let first = FIRST.iter().filter_map(|key| fields.get_key_value(*key));
    first.chain(fields.iter().filter(|(key, _)| !FIRST.contains(&key.as_str())))
}

struct Ordered<'v>(&'v Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in ordered(fields) {
                    map.serialize_entry(key, &Ordered(value))?;
                }
                map.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            other => other.serialize(serializer),
        }
    }
}
