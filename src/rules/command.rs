//! The check of the literal command before it starts: `command.allow`, `command.deny`, the default list, ssh rules.

use super::shell::{self, Piece, Reading};
use super::{defaults, prefix, ssh};
use crate::cli::Command;
use crate::config::policy::Policy;
use crate::error::{Failure, Result, STATUS_NOT_EXECUTABLE};

/// What the check could not say, of a command that may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsure {
    /// Commands whose name or words only the run knows.
    pub unknown: Vec<String>,
    /// Lines that are not the grammar that fence reads. Rules were looked for at every word of them.
    pub unread: Vec<String>,
}

/// More words than this are not searched one by one.
const SEARCHED: usize = 2048;

/// Refuses a command that a rule denies.
///
/// # Errors
/// A rule is against one of its commands, or it can't be read and is too long to be searched.
pub fn check(policy: &Policy, command: &Command) -> Result<Unsure> {
    let Reading { pieces, unreadable, .. } = match command {
        Command::Argv(words) => shell::read_words(words),
        Command::Line { script, .. } => shell::read(&script.to_string_lossy()),
    };
    if let Some(why) = pieces.iter().find_map(|piece| refusal(policy, piece)) {
        return Err(Failure::new(why).status(STATUS_NOT_EXECUTABLE));
    }
    let unknown = pieces.iter().filter(|piece| only_the_run_knows(policy, piece));
    let mut unsure =
        Unsure { unknown: unknown.map(|piece| piece.text.to_string()).collect(), unread: Vec::new() };
    for (line, why) in unreadable {
        if let Some(refused) = search(policy, &line) {
            let hint =
                format!("the line can't be read as shell grammar ({why}), so any word may begin a command");
            return Err(Failure::new(refused).hint(hint).status(STATUS_NOT_EXECUTABLE));
        }
        unsure.unread.push(why.to_owned());
    }
    Ok(unsure)
}

/// Looks for rules at every word of a line that can't be read.
fn search(policy: &Policy, line: &str) -> Option<String> {
    let words = shell::scattered(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.len() > SEARCHED {
        return Some(format!(
            "command blocked by sandbox command policy: {} words are too many",
            words.len()
        ));
    }
    (0..words.len()).find_map(|start| {
        let words = &words[start..];
        let text = words[..words.len().min(8)].join(" ");
        sentence(verdict(policy, words), &text)
    })
}

/// Whether a rule might be against the command, depending on what a variable, a pattern or another command gives.
fn only_the_run_knows(policy: &Policy, piece: &Piece) -> bool {
    let rules = &policy.command;
    let Some((name, arguments)) = piece.words.split_first() else { return false };
    let names = |rule: &str| {
        let (first, more) = rule.trim().split_once([' ', '\t']).unwrap_or((rule, ""));
        !more.is_empty() && prefix::basename(first) == prefix::basename(&name.text)
    };
    let named = || {
        let defaults = defaults::DENY.into_iter().filter(|_| rules.use_defaults != Some(false));
        rules.deny.iter().map(String::as_str).chain(defaults).any(names)
    };
    !name.known || arguments.iter().any(|word| !word.known) && named()
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
    let words: Vec<&str> = piece.words.iter().map(|word| word.text.as_str()).collect();
    sentence(verdict(policy, &words), &piece.text)
}

fn sentence(verdict: Verdict<'_>, text: &str) -> Option<String> {
    match verdict {
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
        check(policy, &line(script)).map(drop).map_err(|failure| {
            assert_eq!(failure.status, 126);
            failure.what.clone()
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
            assert_eq!(got.is_err(), ours == "blocked", "{id}: {got:?}");
            let messages = [&row["ours_message"], &row["message"]];
            if let (Err(got), Some(message)) = (got, messages.into_iter().find(|text| !text.is_empty())) {
                assert_eq!(got, *message, "{id}");
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
            let expected = match (row["ours"].as_str(), row["original"].as_str()) {
                (ours, _) if !ours.is_empty() => Err(ours.to_owned()),
                (_, "allowed") => Ok(()),
                _ => Err(row["message"].clone()),
            };
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

    /// Ways to hide a command, and texts that are none.
    #[test]
    fn what_is_seen_before_it_runs() {
        let mut policy = Policy::default();
        policy.command.deny = vec!["git push".into()];
        for row in table(include_str!("../../tests/data/preflight.tsv")) {
            let got = match check(&policy, &line(&row["command"])) {
                Err(failure) => {
                    assert_eq!(failure.status, 126);
                    "blocked"
                }
                Ok(unsure) if !unsure.unread.is_empty() => "unread",
                // What is unsure of another command of an allowed line is no matter here.
                Ok(unsure) if !unsure.unknown.is_empty() && row["verdict"] != "allowed" => "unknown",
                Ok(_) => "allowed",
            };
            assert_eq!(got, row["verdict"], "{}", row["command"]);
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_and_is_long() {
        let policy = Policy::default();
        let failure = check(&policy, &line(&format!("echo 'a{}", " b".repeat(3000)))).expect_err("refused");
        assert_eq!(failure.status, 126);
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
        let message = argv(&["git", "push", "a b"]).map_err(|failure| failure.what.clone());
        let expected = "command blocked by sandbox command policy: \"git push 'a b'\" matches \"git push\"";
        assert_eq!(message, Err(expected.into()));
    }
}
