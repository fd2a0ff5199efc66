//! The check of the literal command before it starts: `command.allow`, `command.deny`, the default list, ssh rules.

use super::shell::{self, Piece};
use super::{defaults, prefix, ssh};
use crate::cli::Command;
use crate::config::policy::Policy;
use crate::error::{Failure, Result, STATUS_NOT_EXECUTABLE};

/// Refuses a command that a rule denies.
pub fn check(policy: &Policy, command: &Command) -> Result<()> {
    let pieces = match command {
        Command::Argv(words) => shell::pieces_of_words(words),
        Command::Line { script, .. } => shell::pieces(&script.to_string_lossy()),
    };
    match pieces.iter().find_map(|piece| refusal(policy, piece)) {
        Some(why) => Err(Failure::new(why).status(STATUS_NOT_EXECUTABLE)),
        None => Ok(()),
    }
}

/// Why one simple command is denied; `allow` beats everything, ssh rules too.
fn refusal(policy: &Policy, piece: &Piece) -> Option<String> {
    let Piece { text, words } = piece;
    let rules = &policy.command;
    let matched = |rule: &&str| prefix::matches(rule, words);
    if rules.allow.iter().map(String::as_str).any(|rule| matched(&rule)) {
        return None;
    }
    if let Some(rule) = rules.deny.iter().map(String::as_str).find(matched) {
        return Some(format!("command blocked by sandbox command policy: {text:?} matches {rule:?}"));
    }
    if rules.use_defaults != Some(false)
        && let Some(rule) = defaults::DENY.into_iter().find(matched)
    {
        return Some(format!("command blocked by default sandbox command policy: {text:?} matches {rule:?}"));
    }
    ssh::check(policy, words).err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::{json, list, table, texts};
    use jsonc_parser::JsonValue;

    fn line(script: &str) -> Command {
        Command::Line { script: script.into(), params: Vec::new() }
    }

    fn verdict(policy: &Policy, script: &str) -> std::result::Result<(), String> {
        check(policy, &line(script)).map_err(|failure| {
            assert_eq!(failure.status, 126);
            failure.what
        })
    }

    /// Sets the fields of `ssh` and `command` that the tables use.
    fn fill(policy: &mut Policy, object: JsonValue<'_>) {
        let JsonValue::Object(fields) = object else { panic!("{object:?}") };
        for (name, value) in fields {
            let (ssh, command) = (&mut policy.ssh, &mut policy.command);
            match (&*name, value) {
                ("ssh" | "command", value) => fill(policy, value),
                ("allowedHosts", value) => ssh.allowed_hosts = texts(value),
                ("deniedHosts", value) => ssh.denied_hosts = texts(value),
                ("allowedCommands", value) => ssh.allowed_commands = texts(value),
                ("deniedCommands", value) => ssh.denied_commands = texts(value),
                ("allowAllCommands", JsonValue::Boolean(on)) => ssh.allow_all_commands = on,
                ("inheritDeny", JsonValue::Boolean(on)) => ssh.inherit_deny = on,
                ("useDefaults", JsonValue::Boolean(on)) => command.use_defaults = Some(on),
                ("deny", value) => command.deny = texts(value),
                ("allow", value) => command.allow = texts(value),
                (name, value) => panic!("{name}: {value:?}"),
            }
        }
    }

    #[test]
    fn every_preflight_of_the_original() {
        let rows = table(include_str!("../../tests/data/compat/command.tsv"));
        let rows: Vec<_> = rows.into_iter().filter(|row| row["mode"] == "preflight").collect();
        assert_eq!(rows.len(), 164);
        for row in rows {
            let mut policy = Policy::default();
            fill(&mut policy, json(&row["ssh"]));
            policy.command.deny = list(&row["deny"]);
            policy.command.allow = list(&row["allow"]);
            policy.command.use_defaults = (row["useDefaults"] == "false").then_some(false);
            let (id, ours, got) =
                (&row["id"], row["ours_by_design"].as_str(), verdict(&policy, &row["command"]));
            if row["original"] == "blocked" {
                // Never laxer than the original, also where a grammar will know better.
                assert_eq!(got, Err(row["message"].clone()), "{id}");
            } else if !ours.starts_with("later: ") {
                assert_eq!(got.is_err(), ours == "blocked", "{id}: {got:?}");
            }
        }
    }

    #[test]
    fn every_ssh_verdict_of_the_original() {
        let rows = table(include_str!("../../tests/data/compat/ssh.tsv"));
        let rows: Vec<_> = rows.into_iter().filter(|row| !row["original"].is_empty()).collect();
        assert!(rows.len() > 50);
        for row in rows {
            let mut policy = Policy::default();
            fill(&mut policy, json(&row["config"]));
            let expected = if row["original"] == "allowed" { Ok(()) } else { Err(row["message"].clone()) };
            assert_eq!(verdict(&policy, &row["command"]), expected, "{}", row["id"]);
        }
    }

    #[test]
    fn words_are_judged_as_they_are() {
        let mut policy = Policy::default();
        policy.command.deny = vec!["git push".into()];
        let argv = |words: &[&str]| check(&policy, &Command::Argv(words.iter().map(Into::into).collect()));
        for blocked in
            [&["git", "push"][..], &["A=1", "git", "-C", "/x", "push"], &["sh", "-c", "ls & git push"]]
        {
            assert!(argv(blocked).is_err(), "{blocked:?}");
        }
        for allowed in [&["git push"][..], &["echo", "; git push"], &["git", "status"]] {
            assert!(argv(allowed).is_ok(), "{allowed:?}");
        }
        let message = argv(&["git", "push", "a b"]).map_err(|failure| failure.what);
        let expected = "command blocked by sandbox command policy: \"git push 'a b'\" matches \"git push\"";
        assert_eq!(message, Err(expected.into()));
    }
}
