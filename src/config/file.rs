//! The text of one configuration file → `File`, every mistake with its place.
//!
//! A misspelt `denyRead` must not open the door, so an unknown or repeated key stops the run; a tolerant reading
//! (`--allow-degraded`) warns instead.

use jsonc_parser::ast::{Array, Object, Value};
use jsonc_parser::common::Ranged;

use super::fields::{Field, File, Member, Slot, member, nearest};
use super::{groups, jsonc, validate};

/// Kind of a mistake: the first words of the message differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No JSONC.
    Syntax,
    /// JSONC, but not a configuration.
    Content,
}

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `FILE:LINE:COLUMN`
    pub place: String,
    /// Kind.
    pub kind: Kind,
    /// Path of the key concerned: `network.allowedDomains[2]`; empty: the whole file, or `what` names it.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

impl Mistake {
    /// As one message; `syntax` and `content` say whose mistake it is.
    pub fn message(&self, syntax: &str, content: &str) -> String {
        let label = if self.kind == Kind::Syntax { syntax } else { content };
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        format!("{}: {key}{label}: {}", self.place, self.what)
    }
}

/// A file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What it says, host groups replaced by their hosts.
    pub file: File,
    /// What a tolerant reading let pass.
    pub warnings: Vec<String>,
}

/// `read` for what stands on disk.
///
/// # Errors
/// As `read`; bytes that are no UTF-8 are a syntax mistake.
pub fn read_bytes(name: &str, bytes: &[u8], tolerant: bool) -> Result<Reading, Mistake> {
    match std::str::from_utf8(bytes) {
        Ok(text) => read(name, text, tolerant),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let (line, column) = jsonc::line_column(&before, before.len());
            let place = format!("{name}:{line}:{column}");
            Err(Mistake {
                place,
                kind: Kind::Syntax,
                key: String::new(),
                what: "the text is not UTF-8".into(),
            })
        }
    }
}

/// Reads and checks the text of the file called `name`. A blank text says nothing.
///
/// # Errors
/// The first mistake: syntax before keys and types (in the order of the text), these before impossible values.
pub fn read(name: &str, text: &str, tolerant: bool) -> Result<Reading, Mistake> {
    if text.trim().is_empty() {
        return Ok(Reading::default());
    }
    let mut reader = Reader { name, text, tolerant, file: File::default(), places: vec![], warnings: vec![] };
    let value = jsonc::parse(text).map_err(|e| reader.mistake(Kind::Syntax, e.at, "", e.what))?;
    match &value {
        Value::Object(object) => reader.object("", object)?,
        Value::NullKeyword(_) => {}
        other => return Err(reader.wrong_type("", other, "an object")),
    }
    validate::check(&reader.file.policy).map_err(|invalid| reader.locate(&invalid))?;
    groups::expand(&mut reader.file.policy.network.allowed_domains);
    groups::expand(&mut reader.file.policy.network.denied_domains);
    Ok(Reading { file: reader.file, warnings: reader.warnings })
}

/// Where a setting and the entries of its list stand.
struct Place {
    path: &'static str,
    at: usize,
    items: Vec<usize>,
}

struct Reader<'t> {
    name: &'t str,
    text: &'t str,
    tolerant: bool,
    file: File,
    places: Vec<Place>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn object(&mut self, section: &str, object: &Object<'_>) -> Result<(), Mistake> {
        let mut seen = Vec::new();
        for property in &object.properties {
            let (name, at) = (property.name.as_str(), property.range.start);
            if is_note(name) {
                continue;
            }
            let Some(member) = member(section, name) else {
                self.lapse(at, &join(section, name), unknown(section, name))?;
                continue;
            };
            if seen.contains(&member.path()) {
                self.lapse(at, member.path(), "duplicate key".into())?;
            }
            seen.push(member.path());
            self.member(member, &property.value)?;
        }
        Ok(())
    }

    fn member(&mut self, member: Member, value: &Value<'_>) -> Result<(), Mistake> {
        match (member, value) {
            (Member::Field(field), value) => self.field(field, value),
            (Member::Section(path), Value::Object(object)) => self.object(path, object),
            (Member::Section(_), Value::NullKeyword(_)) => Ok(()),
            (Member::Section(path), other) => Err(self.wrong_type(path, other, "an object")),
        }
    }

    fn field(&mut self, field: &'static Field, value: &Value<'_>) -> Result<(), Mistake> {
        self.note_place(field, value);
        match (field.slot, value) {
            (Slot::Switch(slot), Value::BooleanLit(on)) => *slot(&mut self.file) = on.value,
            (Slot::Choice(slot), Value::BooleanLit(on)) => *slot(&mut self.file) = Some(on.value),
            (Slot::Text(slot), Value::StringLit(text)) => *slot(&mut self.file) = text.value.to_string(),
            (Slot::Number(slot), value @ Value::NumberLit(_)) => {
                let read = whole(value).ok_or_else(|| self.wrong_type(field.path, value, "a whole number"));
                *slot(&mut self.file) = read?;
            }
            (Slot::Texts(slot), Value::Array(list)) => {
                *slot(&mut self.file) = self.items(field, list, text, "a string")?;
            }
            (Slot::Numbers(slot), Value::Array(list)) => {
                *slot(&mut self.file) = self.items(field, list, whole, "a whole number")?;
            }
            // null unsets; only a repeated key could have set anything before.
            (Slot::Choice(slot), Value::NullKeyword(_)) => *slot(&mut self.file) = None,
            (Slot::Texts(slot), Value::NullKeyword(_)) => slot(&mut self.file).clear(),
            (Slot::Numbers(slot), Value::NullKeyword(_)) => slot(&mut self.file).clear(),
            (_, Value::NullKeyword(_)) => {}
            (slot, other) => return Err(self.wrong_type(field.path, other, slot.expected())),
        }
        Ok(())
    }

    /// The entries of a list; a null among them is an empty one, which the checks refuse where it matters.
    fn items<T: Default>(
        &self,
        field: &Field,
        list: &Array<'_>,
        item: fn(&Value<'_>) -> Option<T>,
        expected: &str,
    ) -> Result<Vec<T>, Mistake> {
        let mut items = Vec::with_capacity(list.elements.len());
        for (i, value) in list.elements.iter().enumerate() {
            items.push(match value {
                Value::NullKeyword(_) => T::default(),
                value => item(value)
                    .ok_or_else(|| self.wrong_type(&format!("{}[{i}]", field.path), value, expected))?,
            });
        }
        Ok(items)
    }

    fn note_place(&mut self, field: &Field, value: &Value<'_>) {
        let items = match value {
            Value::Array(list) => list.elements.iter().map(|item| item.range().start).collect(),
            _ => Vec::new(),
        };
        self.places.retain(|place| place.path != field.path);
        self.places.push(Place { path: field.path, at: value.range().start, items });
    }

    /// Gives an impossible value the place where it was written.
    fn locate(&self, invalid: &validate::Invalid) -> Mistake {
        let place = self.places.iter().find(|place| place.path == invalid.path);
        let item = place.and_then(|place| place.items.get(invalid.item?));
        let at = item.copied().or(place.map(|place| place.at)).unwrap_or(0);
        let key = match invalid.item {
            Some(i) => format!("{}[{i}]", invalid.path),
            // The message names its setting itself; only an entry is told more closely.
            None => String::new(),
        };
        self.mistake(Kind::Content, at, &key, invalid.what.clone())
    }

    /// A mistake that a tolerant reading lets pass.
    fn lapse(&mut self, at: usize, key: &str, what: String) -> Result<(), Mistake> {
        let mistake = self.mistake(Kind::Content, at, key, what);
        if !self.tolerant {
            return Err(mistake);
        }
        self.warnings.push(format!("{}: {}: {}", mistake.place, mistake.key, mistake.what));
        Ok(())
    }

    fn wrong_type(&self, key: &str, value: &Value<'_>, expected: &str) -> Mistake {
        let what = format!("expected {expected}, found {}", jsonc::describe(value));
        self.mistake(Kind::Content, value.range().start, key, what)
    }

    fn mistake(&self, kind: Kind, at: usize, key: &str, what: String) -> Mistake {
        let (line, column) = jsonc::line_column(self.text, at);
        Mistake { place: format!("{}:{line}:{column}", self.name), kind, key: key.to_string(), what }
    }
}

/// Keys for editors and people: `$schema`, `_comment`, `// why`.
fn is_note(name: &str) -> bool {
    name.starts_with('$') || name.starts_with('_') || name.starts_with("//")
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_string() } else { format!("{section}.{name}") }
}

fn unknown(section: &str, name: &str) -> String {
    match nearest(section, name) {
        Some(known) => format!("unknown key; did you mean {known:?}?"),
        None => "unknown key".to_string(),
    }
}

fn text(value: &Value<'_>) -> Option<String> {
    value.as_string_lit().map(|text| text.value.to_string())
}

/// A number written as a whole one: `8e1` and `80.0` are none.
fn whole(value: &Value<'_>) -> Option<i64> {
    value.as_number_lit().and_then(|number| number.value.parse().ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fails(text: &str) -> String {
        read("f.json", text, false).unwrap_err().message("SYNTAX", "CONTENT")
    }

    #[test]
    fn every_mistake_has_its_place() {
        let rows = [
            ("{\n  x\n}", "f.json:2:3: SYNTAX: expected a key in double quotes"),
            ("{\"alowPty\": true}", "f.json:1:2: alowPty: CONTENT: unknown key; did you mean \"allowPty\"?"),
            ("{\"network\":\n {\"Quux\": 1}}", "f.json:2:3: network.Quux: CONTENT: unknown key"),
            ("{\"allowPty\":true, \"ALLOWPTY\":true}", "f.json:1:19: allowPty: CONTENT: duplicate key"),
            ("{\"ssh\": []}", "f.json:1:9: ssh: CONTENT: expected an object, found a list"),
            (
                "{\"command\":{\"deny\":[\"é\", 1]}}",
                "f.json:1:26: command.deny[1]: CONTENT: expected a string, found 1",
            ),
            (
                "{\"network\":{\"httpProxyPort\":8e1}}",
                "f.json:1:29: network.httpProxyPort: CONTENT: expected a whole number, found 8e1",
            ),
            (
                "{\"network\":{\"allowedDomains\":[\"a.com\",\n\"b\"]}}",
                "f.json:2:1: network.allowedDomains[1]: CONTENT: invalid allowed domain \"b\": invalid domain format",
            ),
            (
                "{\"devices\": {\"mode\": \"x\"}}",
                "f.json:1:22: CONTENT: invalid devices.mode \"x\" (expected one of: auto, minimal, host)",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(fails(text), expected);
        }
    }

    #[test]
    fn bytes_that_are_no_text_have_a_place_too() {
        let mistake = read_bytes("f", b"{\n \"a\xff\": 1}", false).unwrap_err();
        assert_eq!(mistake.message("SYNTAX", "CONTENT"), "f:2:4: SYNTAX: the text is not UTF-8");
    }

    #[test]
    fn notes_pass_and_null_unsets() {
        let text = r#"{"$schema": 1, "_x": {}, "// why": [], "network": null, "allowPty": null,
            "ssh": {"allowedHosts": null}, "command": {"useDefaults": null}}"#;
        assert_eq!(read("f", text, false).unwrap(), Reading::default());
    }

    #[test]
    fn a_tolerant_reading_warns() {
        let text =
            r#"{"command": {"deny": ["a"], "dney": ["b"]}, "COMMAND": {"deny": ["c"], "allow": ["d"]}}"#;
        let reading = read("f", text, true).unwrap();
        assert_eq!(reading.file.policy.command.deny, ["c"]);
        assert_eq!(reading.file.policy.command.allow, ["d"]);
        assert_eq!(
            reading.warnings,
            ["f:1:29: command.dney: unknown key; did you mean \"deny\"?", "f:1:45: command: duplicate key"]
        );
        assert!(read("f", "{\"allowPty\": 1}", true).is_err());
    }

    #[test]
    fn impossible_values_are_reported_in_the_fixed_order() {
        let text = r#"{"ssh": {"allowedHosts": [""]}, "network": {"deniedDomains": ["b"], "allowedDomains": ["a"]}}"#;
        assert!(fails(text).contains("network.allowedDomains[0]"));
    }

    #[test]
    fn groups_become_hosts() {
        let reading = read("f", r#"{"network": {"deniedDomains": ["a.com", "@pypi"]}}"#, false).unwrap();
        assert_eq!(reading.file.policy.network.denied_domains.len(), 3);
        assert!(
            fails(r#"{"network": {"allowedDomains": ["@nmp"]}}"#)
                .contains("unknown host group (known: @npm, ")
        );
    }

    #[test]
    fn no_damage_to_a_text_makes_the_reader_panic() {
        let text = "{ // é\n\"network\": {\"allowedDomains\": [\"a\\u00e9\\n.com\", null,], \"httpProxyPort\": -12}, /* x */}";
        let damage = [
            "", "\"", "\\", "{", "}", "[", "]", ",", ":", "/", "*", "'", "-", "1e", "\\u", "\\ud83d", "é",
            "\u{2028}", "\0",
        ];
        for (at, c) in text.char_indices() {
            for piece in damage {
                _ = read("f", &format!("{}{piece}{}", &text[..at], &text[at + c.len_utf8()..]), true);
                _ = read("f", &format!("{}{piece}", &text[..at]), true);
            }
        }
    }
}
