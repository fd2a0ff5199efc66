//! Every recorded answer of the original about configuration files: the merge rows, the `config` rows of errors.tsv and
//! the `validate` rows of domain.tsv.
//!
//! A row's `ours_by_design` column holds our answer where it is not the original's, with the reason before it:
//! `REASON => ok: JSON` or `REASON => error STATUS: MESSAGE`. Without `=>` our answer is the original's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use fence::config::fields::File;
use fence::config::{Env, Policy, file, load, merge, show, validate};
use jsonc_parser::ast::Value;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

const MERGE: &str = include_str!("data/compat/merge.json");
const ERRORS: &str = include_str!("data/compat/errors.tsv");
const DOMAINS: &str = include_str!("data/compat/domain.tsv");

#[test]
fn merge_rows() {
    let options = CollectOptions::default();
    let parsed = parse_to_ast(MERGE, &options, &ParseOptions::default()).unwrap();
    let rows = parsed.value.as_ref().and_then(Value::as_array).unwrap();
    assert_eq!(rows.elements.len(), 54);
    for row in &rows.elements {
        let row = row.as_object().unwrap();
        let side = |name: &str| -> File {
            let range = jsonc_parser::common::Ranged::range(&row.get(name).unwrap().value);
            file::read(name, &MERGE[range.start..range.end], false).unwrap().file
        };
        let merged = merge::merge(side("base"), side("override"));
        let expected = &row.get("expect").unwrap().value;
        let name = &row.get_string("name").unwrap().value;
        assert_eq!(show::document(&merged).compact(), compact(expected), "{name}");
    }
}

#[test]
fn config_rows() {
    let rows = config_rows_of(ERRORS);
    assert_eq!(rows.len(), 76, "a row was lost");
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let actual = answer(row);
            (actual != row.expected).then(|| {
                format!("{}\t{}\n  expected {}\n  answered {actual}", row.id, row.case, row.expected)
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn validation_rows() {
    let (header, rows) = table(DOMAINS);
    let column = |name: &str| header.iter().position(|title| title == name).unwrap();
    let rows: Vec<_> =
        rows.into_iter().filter(|cells| cells[column("kind")].ends_with("-validate")).collect();
    assert_eq!(rows.len(), 67, "a row was lost");
    for cells in rows {
        let value = cells[column("host_or_pattern")].clone();
        let mut policy = Policy::default();
        match cells[column("kind")].as_str() {
            "domain-validate" => policy.network.allowed_domains.push(value),
            "ssh-host-validate" => policy.ssh.allowed_hosts.push(value),
            "upstreamProxy-validate" => policy.network.upstream_proxy = value,
            other => panic!("unknown kind {other}"),
        }
        let answer = validate::check(&policy).err().map_or_else(String::new, |invalid| invalid.what);
        assert_eq!(answer, cells[column("message")], "{}", cells[column("id")]);
    }
}

struct Row {
    id: String,
    case: String,
    files: String,
    main: String,
    /// `ok: JSON` or `error STATUS: MESSAGE`
    expected: String,
}

/// The header and the rows of a table, cells unescaped.
fn table(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut lines = text.lines().map(|line| line.split('\t').map(unescape).collect::<Vec<_>>());
    (lines.next().unwrap(), lines.collect())
}

fn config_rows_of(text: &str) -> Vec<Row> {
    let (header, rows) = table(text);
    let column = |name: &str| header.iter().position(|title| title == name).unwrap();
    let kind = column("kind");
    rows.into_iter()
        .filter(|cells| cells[kind] == "config")
        .map(|cells| {
            let cell = |name: &str| cells[column(name)].clone();
            let original = match cell("original").as_str() {
                "ok" => format!("ok: {}", cell("resolved_or_stdout")),
                _ => format!("error {}: {}", cell("exit"), cell("message")),
            };
            let ours = cell("ours_by_design").split_once(" => ").map(|(_, ours)| ours.to_string());
            Row {
                id: cell("id"),
                case: cell("case"),
                files: cell("files_or_args"),
                main: cell("main"),
                expected: ours.unwrap_or(original),
            }
        })
        .collect()
}

/// What we make of a row's files, found from their directory.
fn answer(row: &Row) -> String {
    let root = folder(&row.id);
    assert_eq!(row.main, "fence.json");
    let parsed = parse_to_ast(&row.files, &CollectOptions::default(), &ParseOptions::default()).unwrap();
    for property in &parsed.value.as_ref().and_then(Value::as_object).unwrap().properties {
        let path = root.join(property.name.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, property.value.as_string_lit().unwrap().value.as_bytes()).unwrap();
    }
    let env = Env { cwd: root.clone(), home: Some(root.join("home")), xdg_config_home: None };
    let answer = match load(None, None, &env, false) {
        Ok(loaded) => format!("ok: {}", show::document(&loaded.merged).compact()),
        Err(failure) => format!("error {}: {failure}", failure.status),
    };
    fs::remove_dir_all(&root).unwrap();
    answer.replace(&root.display().to_string(), "$ROOT")
}

fn folder(id: &str) -> PathBuf {
    let path = Path::new(&std::env::temp_dir()).join(format!("fence-config-{}-{id}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path.canonicalize().unwrap()
}

fn unescape(cell: &str) -> String {
    let mut out = String::new();
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            c => c,
        });
    }
    out
}

/// A parsed value as our own writer prints it.
fn compact(value: &Value<'_>) -> String {
    use fence::json::Json;
    fn json(value: &Value<'_>) -> Json {
        match value {
            Value::StringLit(text) => Json::str(text.value.as_ref()),
            Value::NumberLit(number) => Json::Int(number.value.parse().unwrap()),
            Value::BooleanLit(boolean) => Json::Bool(boolean.value),
            Value::Array(list) => Json::List(list.elements.iter().map(json).collect()),
            Value::Object(object) => Json::Object(
                object.properties.iter().map(|p| (p.name.as_str().to_string(), json(&p.value))).collect(),
            ),
            Value::NullKeyword(_) => unreachable!("no expectation holds null"),
        }
    }
    json(value).compact()
}
