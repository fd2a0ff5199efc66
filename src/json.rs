//! JSON as fence prints it: a value with ordered keys, written compact or indented by two blanks.

use std::fmt::Write;

/// A JSON value; object keys keep the order in which they were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Str(String),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Text as a value.
    pub fn str(text: impl Into<String>) -> Json {
        Json::Str(text.into())
    }

    /// A list of texts.
    pub fn strings<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Json {
        Json::List(texts.into_iter().map(|t| Json::str(t.as_ref())).collect())
    }

    /// On one line, no blanks.
    pub fn compact(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, None);
        out
    }

    /// Indented by two blanks; `{}` and `[]` when empty; no newline at the end.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(0));
        out
    }

    fn write(&self, out: &mut String, indent: Option<usize>) {
        match self {
            Json::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Json::Int(n) => _ = write!(out, "{n}"),
            Json::Str(s) => write_string(out, s),
            Json::List(items) => {
                sequence(out, indent, '[', ']', items, |out, item, indent| item.write(out, indent))
            }
            Json::Object(fields) => sequence(out, indent, '{', '}', fields, |out, (key, value), indent| {
                write_string(out, key);
                out.push_str(if indent.is_some() { ": " } else { ":" });
                value.write(out, indent);
            }),
        }
    }
}

fn sequence<T>(
    out: &mut String,
    indent: Option<usize>,
    open: char,
    close: char,
    items: &[T],
    each: impl Fn(&mut String, &T, Option<usize>),
) {
    out.push(open);
    let inner = indent.map(|n| n + 2);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        new_line(out, inner);
        each(out, item, inner);
    }
    if !items.is_empty() {
        new_line(out, indent);
    }
    out.push(close);
}

fn new_line(out: &mut String, indent: Option<usize>) {
    if let Some(n) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', n));
    }
}

/// `& < >` and U+2028/U+2029 are escaped, so that the output can stand in HTML and JavaScript (as Go's encoder does).
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || matches!(c, '&' | '<' | '>' | '\u{2028}' | '\u{2029}' | '\u{7f}') => {
                _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_and_compact() {
        let value = Json::Object(vec![
            ("a".into(), Json::List(vec![Json::Int(1), Json::Bool(true)])),
            ("b".into(), Json::Object(vec![])),
            ("c".into(), Json::str("x<\"\n&")),
        ]);
        assert_eq!(value.compact(), r#"{"a":[1,true],"b":{},"c":"x\u003c\"\n\u0026"}"#);
        assert_eq!(
            value.pretty(),
            "{\n  \"a\": [\n    1,\n    true\n  ],\n  \"b\": {},\n  \"c\": \"x\\u003c\\\"\\n\\u0026\"\n}"
        );
    }
}
