//! `fence config show`: the merged settings as JSON, and the chain of files that they came from.

use super::fields::{FIELDS, File, Slot};
use crate::json::Json;

/// The settings that are set, in the table's order; what equals unset is left out.
pub fn document(file: &File) -> Json {
    // The table lends its places for writing only.
    let mut file = file.clone();
    let mut top = Vec::new();
    for field in &FIELDS {
        if let Some(value) = value(field.path, field.slot, &mut file) {
            insert(&mut top, field.path, value);
        }
    }
    Json::Object(top)
}

fn value(path: &str, slot: Slot, file: &mut File) -> Option<Json> {
    match slot {
        Slot::Switch(slot) => slot(file).then_some(Json::Bool(true)),
        Slot::Choice(slot) => slot(file).map(Json::Bool),
        Slot::Number(slot) => Some(*slot(file)).filter(|number| *number != 0).map(Json::Int),
        Slot::Text(slot) => {
            let text = std::mem::take(slot(file));
            let said = text.is_empty() || (path == "network.defaultAction" && text == "deny");
            (!said).then_some(Json::Str(text))
        }
        Slot::Numbers(slot) => list(slot(file), |number| Json::Int(*number)),
        Slot::Texts(slot) => list(slot(file), |text| Json::str(text)),
    }
}

fn list<T>(items: &[T], json: impl Fn(&T) -> Json) -> Option<Json> {
    (!items.is_empty()).then(|| Json::List(items.iter().map(json).collect()))
}

/// Puts a value at its path; the settings of one section follow each other, so the section is the last member.
fn insert(members: &mut Vec<(String, Json)>, path: &str, value: Json) {
    let Some((section, rest)) = path.split_once('.') else {
        members.push((path.to_string(), value));
        return;
    };
    if members.last().is_none_or(|(name, _)| name != section) {
        members.push((section.to_string(), Json::Object(Vec::new())));
    }
    if let Some((_, Json::Object(inner))) = members.last_mut() {
        insert(inner, rest, value);
    }
}

/// What goes to stderr: the root, then each step of `extends` one level deeper.
pub fn chain(chain: &[String]) -> String {
    let mut out = String::from("Active config chain:\n");
    for (depth, link) in chain.iter().enumerate() {
        match depth.checked_sub(1) {
            None => out.push_str(link),
            Some(indent) => out.push_str(&format!("{}└── {link}", "    ".repeat(indent))),
        }
        out.push('\n');
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_settings_are_left_out() {
        let mut file = File::default();
        assert_eq!(document(&file).pretty(), "{}");
        file.policy.network.default_action = "deny".into();
        file.policy.filesystem.wsl_interop = Some(false);
        file.policy.macos.lookup.push("x".into());
        assert_eq!(
            document(&file).compact(),
            r#"{"filesystem":{"wslInterop":false},"macos":{"mach":{"lookup":["x"]}}}"#
        );
    }

    #[test]
    fn each_step_of_the_chain_is_deeper() {
        let links = ["project config: /p".to_string(), "file: /b".into(), "builtin template: code".into()];
        assert_eq!(
            chain(&links),
            "Active config chain:\nproject config: /p\n└── file: /b\n    └── builtin template: code\n\n"
        );
    }
}
