//! Rules on what `ssh` may reach and run there.

use super::{defaults, prefix, shell};
use crate::config::policy::{Policy, Ssh};

/// Letters of the options that take the next word as their value.
const WITH_VALUE: &[u8] = b"pliFJWbcDEeILmOQRSwo";

/// An ssh command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshCommand {
    /// Without the user.
    pub host: String,
    /// What runs there; empty: a login shell.
    pub remote: String,
}

/// Reads a command's words; nothing when it is not ssh or names no host.
pub fn read(words: &[&str]) -> Option<SshCommand> {
    let (program, rest) = words.split_first()?;
    if prefix::basename(program) != "ssh" {
        return None;
    }
    let mut rest = rest.iter();
    let mut host = None;
    let mut remote: Vec<&str> = Vec::new();
    while let Some(word) = rest.next() {
        if word.starts_with('-') && remote.is_empty() {
            if matches!(word.as_bytes(), [_, letter] if WITH_VALUE.contains(letter)) {
                rest.next();
            }
        } else if host.is_none() {
            host = Some(word.rsplit('@').next().unwrap_or(word));
        } else {
            remote.push(word);
        }
    }
    Some(SshCommand { host: host?.to_owned(), remote: remote.join(" ") })
}

/// The refusal of a command by the ssh rules, if there is one.
pub fn check(policy: &Policy, words: &[&str]) -> Result<(), String> {
    let rules = &policy.ssh;
    if rules.allowed_hosts.is_empty() && rules.denied_hosts.is_empty() {
        return Ok(());
    }
    let Some(ssh) = read(words) else { return Ok(()) };
    host(rules, &ssh.host).map_err(|why| match ssh.remote.as_str() {
        "" => format!("SSH blocked: {why} (host: {})", ssh.host),
        remote => format!("SSH command blocked: {why} (host: {}, command: {remote})", ssh.host),
    })?;
    if ssh.remote.is_empty() {
        return Ok(());
    }
    // The original leaves the host empty here.
    remote(policy, &ssh.remote)
        .map_err(|why| format!("SSH command blocked: {why} (host: , command: {})", ssh.remote))
}

fn host(rules: &Ssh, host: &str) -> Result<(), String> {
    if let Some(denied) = rules.denied_hosts.iter().find(|pattern| host_matches(pattern, host)) {
        return Err(format!("host matches denied pattern {denied:?}"));
    }
    if !rules.allowed_hosts.is_empty()
        && !rules.allowed_hosts.iter().any(|pattern| host_matches(pattern, host))
    {
        return Err("host not in allowedHosts".into());
    }
    Ok(())
}

fn remote(policy: &Policy, line: &str) -> Result<(), String> {
    let rules = &policy.ssh;
    let find =
        |list: &[String], words: &[&str]| list.iter().find(|rule| prefix::matches(rule, words)).cloned();
    for shell::Piece { text, words } in shell::original_pieces(line) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if rules.inherit_deny {
            if let Some(rule) = find(&policy.command.deny, &words) {
                return Err(format!("command {text:?} matches inherited global deny {rule:?}"));
            }
            if policy.command.use_defaults != Some(false)
                && let Some(rule) = defaults::DENY.iter().find(|rule| prefix::matches(rule, &words))
            {
                return Err(format!("command {text:?} matches inherited default deny {rule:?}"));
            }
        }
        if let Some(rule) = find(&rules.denied_commands, &words) {
            return Err(format!("command {text:?} matches ssh.deniedCommands {rule:?}"));
        }
        if rules.allow_all_commands || find(&rules.allowed_commands, &words).is_some() {
            continue;
        }
        return Err(match rules.allowed_commands.is_empty() {
            true => "no ssh.allowedCommands configured (allowlist mode requires explicit commands)".into(),
            false => format!("command {text:?} not in ssh.allowedCommands"),
        });
    }
    Ok(())
}

/// `*` stands for anything, also nothing; case does not matter; every other character is itself.
fn host_matches(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_lowercase(), host.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = host.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::table;

    #[test]
    fn every_command_line_of_the_original() {
        for row in table(include_str!("../../tests/data/compat/ssh.tsv")) {
            // A line of several commands is not ssh for the original; its pieces are tested with the commands.
            let words = shell::tokens(&row["command"]);
            let got = read(&words.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(got.is_some().to_string(), row["is_ssh"], "{}", row["id"]);
            if let Some(got) = got {
                assert_eq!((&got.host, &got.remote), (&row["host"], &row["remote_command"]), "{}", row["id"]);
            }
        }
    }

    #[test]
    fn host_patterns() {
        for (pattern, host, expected) in [
            ("*", "x", true),
            ("*.Example.com", "a.EXAMPLE.com", true),
            ("*.example.com", "example.com", false),
            ("prod-*", "prod-", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a?", "ab", false),
            ("h", "h", true),
            ("h", "hh", false),
        ] {
            assert_eq!(host_matches(pattern, host), expected, "{pattern} {host}");
        }
    }
}
