//! The built-in templates: configuration files that `-t NAME` and `"extends": "NAME"` mean.

use std::fmt::Write;

use crate::error::Failure;

/// One built-in template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Name, as `-t` takes it.
    pub name: &'static str,
    /// One line for `--list-templates`.
    pub description: &'static str,
    /// JSONC.
    pub text: &'static str,
}

macro_rules! template {
    ($name:literal, $description:literal) => {
        Template {
            name: $name,
            description: $description,
            text: include_str!(concat!("../../templates/", $name, ".json")),
        }
    };
}

/// All templates, by name.
pub static TEMPLATES: [Template; 7] = [
    template!("code", "Coding agents: model and package hosts, writes in the project and caches, no pushes"),
    template!("code-relaxed", "As code, with every host allowed (for programs that ignore proxy settings)"),
    template!("code-strict", "As code, reading only system files, the project and the agents' own settings"),
    template!("disable-telemetry", "Every host but those of analytics, telemetry and error reports"),
    template!("git-readonly", "No network; git may look but not change history or push"),
    template!("hermes", "Hermes Agent: as code, with its model, chat and search hosts"),
    template!("local-dev-server", "A server under development: listens and connects on this machine only"),
];

/// The template called `name`; a `.json` at the end is ignored.
///
/// # Errors
/// `template "NAME" not found`
pub fn find(name: &str) -> Result<&'static Template, Failure> {
    let name = name.strip_suffix(".json").unwrap_or(name);
    let found = TEMPLATES.iter().find(|template| template.name == name);
    found.ok_or_else(|| Failure::new(format!("template {name:?} not found")))
}

/// The hint where a command line names a template that is not there.
pub const SEE_LIST: &str = "Use --list-templates to see available templates";

/// What `--list-templates` prints.
pub fn list() -> String {
    let mut out = String::from("Available templates:\n\n");
    for template in &TEMPLATES {
        _ = writeln!(out, "  {:<20} {}", template.name, template.description);
    }
    out.push_str("\nUsage: fence -t <template> <command>\nExample: fence -t code -- code\n");
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::file::read;

    #[test]
    fn every_template_reads_without_a_word() {
        for template in &TEMPLATES {
            let reading = read(template.name, template.text, false).unwrap();
            assert_ne!(reading.file, Default::default(), "{}", template.name);
        }
    }

    #[test]
    fn names_are_sorted_and_found() {
        assert!(TEMPLATES.is_sorted_by_key(|template| template.name));
        assert_eq!(find("code.json").unwrap().name, "code");
        assert_eq!(find("nope.json").unwrap_err().to_string(), "template \"nope\" not found");
        let text = list();
        assert!(text.starts_with("Available templates:\n\n  code                 Coding agents: "), "{text}");
        assert!(text.contains("\n  git-readonly         No network"));
        assert!(text.ends_with("\n\nUsage: fence -t <template> <command>\nExample: fence -t code -- code\n"));
    }
}
