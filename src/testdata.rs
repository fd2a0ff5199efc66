//! The tables under `tests/data/compat` (inputs with the original's answers), for unit tests.
#![allow(clippy::expect_used, reason = "only tests use it: a broken table must stop them")]

use std::collections::HashMap;

use jsonc_parser::JsonValue;

/// A row by column name.
pub(crate) type Row = HashMap<String, String>;

/// Tab-separated text with a header line; `\\`, `\n`, `\t` and `\r` stand for those characters.
pub(crate) fn table(text: &str) -> Vec<Row> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header line").split('\t').collect();
    lines
        .map(|line| {
            let cells: Vec<String> = line.split('\t').map(unescape).collect();
            assert_eq!(cells.len(), header.len(), "{line}");
            header.iter().map(|name| (*name).to_string()).zip(cells).collect()
        })
        .collect()
}

fn unescape(cell: &str) -> String {
    let mut out = String::new();
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next().expect("a character after the backslash") {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            },
            c => c,
        });
    }
    out
}

/// A cell that holds a JSON list of texts.
pub(crate) fn list(cell: &str) -> Vec<String> {
    texts(json(cell))
}

/// A cell that holds any JSON value.
pub(crate) fn json(cell: &str) -> JsonValue<'_> {
    jsonc_parser::parse_to_value(cell, &Default::default()).expect("JSON").expect("a value")
}

/// The texts of a JSON list.
pub(crate) fn texts(value: JsonValue<'_>) -> Vec<String> {
    let JsonValue::Array(items) = value else { panic!("not a list: {value:?}") };
    items
        .into_iter()
        .map(|item| match item {
            JsonValue::String(text) => text.into_owned(),
            other => panic!("not a text: {other:?}"),
        })
        .collect()
}
