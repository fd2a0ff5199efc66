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

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'p> {
    /// No rule is against it.
    Allowed,
    /// A rule of `command.deny` or of the built-in list, as it is written.
    Denied {
        /// The rule.
        rule: &'p str,
        /// Whose it is.
        source: Source,
    },
    /// The ssh rules are against it; the sentence that says why.
    Ssh(String),
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `command.deny`
    Deny,
    /// The built-in list.
    Default,
}

/// Judges one program with its arguments, as exec gets them: nothing is looked into, also not the line of `sh -c`.
///
/// The first word counts by its last path component; empty words count for nothing. `command.allow` beats everything,
/// ssh rules too.
pub fn verdict<'p>(policy: &'p Policy, words: &[&str]) -> Verdict<'p> {
    let rules = &policy.command;
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    let find =
        |list: &'p [String]| list.iter().map(String::as_str).find(|rule| prefix::matches(rule, &words));
    if find(&rules.allow).is_some() {
        return Verdict::Allowed;
    }
    if let Some(rule) = find(&rules.deny) {
        return Verdict::Denied { rule, source: Source::Deny };
    }
    if rules.use_defaults != Some(false)
        && let Some(rule) = defaults::DENY.into_iter().find(|rule| prefix::matches(rule, &words))
    {
        return Verdict::Denied { rule, source: Source::Default };
    }
    ssh::check(policy, &words).map_or_else(Verdict::Ssh, |()| Verdict::Allowed)
}

/// Why one simple command is denied.
fn refusal(policy: &Policy, piece: &Piece) -> Option<String> {
    let Piece { text, words } = piece;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match verdict(policy, &words) {
        Verdict::Allowed => None,
        Verdict::Denied { rule, source } => {
            let kind = if source == Source::Default { "default " } else { "" };
            Some(format!("command blocked by {kind}sandbox command policy: {text:?} matches {rule:?}"))
        }
        Verdict::Ssh(why) => Some(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::{json, list, table, texts};
    use jsonc_parser::JsonValue;

    fn line(script: &str) -> Command {
        Command::Line { script: script.into(), params: Vec::new() }
    }

    fn preflight(policy: &Policy, script: &str) -> std::result::Result<(), String> {
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
                (&row["id"], row["ours_by_design"].as_str(), preflight(&policy, &row["command"]));
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
            assert_eq!(preflight(&policy, &row["command"]), expected, "{}", row["id"]);
        }
    }

    /// `["/usr/bin/git", "git", "push"]`: the file, then its argument vector.
    #[test]
    fn every_run_time_verdict_of_the_original() {
        let rows = table(include_str!("../../tests/data/compat/command.tsv"));
        let rows: Vec<_> = rows.into_iter().filter(|row| row["mode"] == "runtime-argv").collect();
        assert_eq!(rows.len(), 22);
        for row in rows {
            let mut policy = Policy::default();
            policy.command.deny = list(&row["deny"]);
            policy.command.allow = list(&row["allow"]);
            policy.command.use_defaults = (row["useDefaults"] == "false").then_some(false);
            let exec = list(&row["command"]);
            let mut words: Vec<&str> = exec.iter().skip(1).map(String::as_str).collect();
            words.splice(..words.len().min(1), [exec[0].as_str()]);
            let expected = match row["kind"].as_str() {
                "user" => Verdict::Denied { rule: &row["rule"], source: Source::Deny },
                "default" => Verdict::Denied { rule: &row["rule"], source: Source::Default },
                _ => Verdict::Allowed,
            };
            assert_eq!(verdict(&policy, &words), expected, "{}", row["id"]);
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
