//! What `--version` and `--list-templates` print.

use std::fmt::Write;

/// The text of `--version`, with the newline at its end.
pub fn version() -> String {
    format!(
        "fence - lightweight, container-free sandbox for running untrusted commands\n  \
         Version: {}\n  Built:   {}\n  Commit:  {}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("FENCE_BUILT").unwrap_or("unknown"),
        option_env!("FENCE_COMMIT").unwrap_or("unknown"),
    )
}

/// The text of `--list-templates`, with the newline at its end; rows are (name, description).
pub fn list_templates(templates: &[(&str, &str)]) -> String {
    let mut rows = templates.to_vec();
    rows.sort_unstable();
    let mut out = String::from("Available templates:\n\n");
    for (name, description) in rows {
        _ = writeln!(out, "  {name:20} {description}");
    }
    out + "\nUsage: fence -t <template> <command>\nExample: fence -t code -- code\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_names_three_things() {
        let text = version();
        assert!(text.starts_with(
            "fence - lightweight, container-free sandbox for running untrusted commands\n  Version: 0.1.0\n  Built:   "
        ));
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn templates_are_sorted_and_aligned() {
        assert_eq!(
            list_templates(&[("git-readonly", "no pushes"), ("code", "agents")]),
            "Available templates:\n\n  code                 agents\n  git-readonly         no pushes\n\n\
             Usage: fence -t <template> <command>\nExample: fence -t code -- code\n"
        );
    }
}
