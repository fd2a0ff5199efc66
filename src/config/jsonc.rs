//! JSONC, strictly: JSON with `//` and `/* */` comments and one trailing comma, nothing else that the parser could let pass.

use jsonc_parser::ast::Value;
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::tokens::{Token, TokenAndRange};
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

/// Why a text is no JSONC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// Byte offset of the mistake.
    pub at: usize,
    /// What is wrong.
    pub what: String,
}

impl Syntax {
    fn new(at: usize, what: impl Into<String>) -> Self {
        Syntax { at, what: what.into() }
    }
}

const STRICT: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The value that `text` holds.
///
/// # Errors
/// The first mistake in the text; a text without a value is one.
pub fn parse(text: &str) -> Result<Value<'_>, Syntax> {
    if text.starts_with('\u{feff}') {
        return Err(Syntax::new(0, "the file begins with a byte order mark; save it as UTF-8 without one"));
    }
    let collect = CollectOptions { comments: CommentCollectionStrategy::AsTokens, tokens: true };
    let parsed = parse_to_ast(text, &collect, &STRICT)
        .map_err(|error| Syntax::new(error.range().start, explain(error.kind())))?;
    check_characters(text, &parsed.tokens.unwrap_or_default())?;
    parsed.value.ok_or_else(|| Syntax::new(0, "there is no value, only comments"))
}

/// The parser lets raw control characters stand in strings and takes any Unicode blank between tokens; JSON does not.
fn check_characters(text: &str, tokens: &[TokenAndRange<'_>]) -> Result<(), Syntax> {
    let end_of_text = Range { start: text.len(), end: text.len() };
    let ranges = tokens.iter().map(|token| token.range()).chain([end_of_text]);
    let mut last = 0;
    for range in ranges {
        let gap = &text[last..range.start];
        if let Some(strange) = gap.find(|c: char| !matches!(c, ' ' | '\t' | '\r' | '\n')) {
            return Err(Syntax::new(last + strange, "unexpected character"));
        }
        last = range.end;
    }
    for token in tokens.iter().filter(|token| matches!(token.token, Token::String(_))) {
        let raw = &text[token.range.start..token.range.end];
        if let Some(control) = raw.find(|c: char| c < ' ') {
            return Err(Syntax::new(token.range.start + control, "control character in a string"));
        }
    }
    Ok(())
}

/// Line and column of a byte offset, both from 1; a column is a character.
pub fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// What a value is, for messages.
pub fn describe(value: &Value<'_>) -> String {
    match value {
        Value::StringLit(_) => "a string".into(),
        Value::NumberLit(number) => number.value.into(),
        Value::BooleanLit(boolean) => boolean.value.to_string(),
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        Value::NullKeyword(_) => "null".into(),
    }
}

/// The commonest mistakes in plain words, the others in the parser's.
fn explain(kind: &ParseErrorKind) -> String {
    let plain = match kind {
        ParseErrorKind::ExpectedStringObjectProperty => "expected a key in double quotes",
        ParseErrorKind::UnexpectedTokenInObject => "expected a key in double quotes or }",
        ParseErrorKind::SingleQuotedStringsNotAllowed => "strings stand in double quotes",
        ParseErrorKind::MultipleRootJsonValues => "text after the value",
        ParseErrorKind::ExpectedColonAfterObjectKey => "expected a colon after the key",
        ParseErrorKind::UnexpectedWord => "unexpected word; strings stand in double quotes",
        ParseErrorKind::UnexpectedToken => "unexpected character",
        ParseErrorKind::ExpectedComma => "expected a comma",
        kind => return lower_first(&kind.to_string()),
    };
    plain.to_string()
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_json_with_comments_and_trailing_commas_passes() {
        for good in
            ["{}", "[1,]", "{\"a\":1,}", "// x\n{/* y */}\n// z", " null\r\n", "-1.5e+3", "\"\\u00e9\\/\""]
        {
            assert!(parse(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "// only",
            "\u{feff}{}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":'b'}",
            "[1,,2]",
            "[,]",
            "{,}",
            "{\"a\":1,,}",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            "[0x1]",
            "[+1]",
            "[.5]",
            "[5.]",
            "[NaN]",
            "[-Infinity]",
            "[\"\\x41\"]",
            "{} x",
            "{}{}",
            "{/*",
            "[01]",
            "# c\n{}",
            "[\"a\nb\"]",
            "[\u{a0}1]",
            "[1}",
            "{\"a\"}",
            "[\"\\ud800\"]",
            "[tru]",
            "[1 {}]",
            "{\"a\":}",
            "[1\u{b}]",
            "[",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn positions_count_characters_of_a_line() {
        assert_eq!(line_column("ab\ncd", 4), (2, 2));
        assert_eq!(line_column("é\r\né x", 7), (2, 3));
        assert_eq!(line_column("", 0), (1, 1));
        let error = parse("{\n  \"é\": x\n}").unwrap_err();
        assert_eq!(line_column("{\n  \"é\": x\n}", error.at), (2, 8));
    }
}
