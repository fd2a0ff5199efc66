//! Rules on what `ssh` may reach and run there.

use super::{defaults, prefix, shell};
use crate::config::policy::{Policy, Ssh};

/// Letters of the options of OpenSSH's client that take a value, glued or as the next word.
const WITH_VALUE: &str = "BbcDEeFIiJLlmOoPpQRSWw";

/// An ssh command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshCommand {
    /// The host that is named, without the user.
    pub host: String,
    /// Others that are connected to: `-J`, `-o ProxyJump=`, `-o HostName=`.
    pub others: Vec<String>,
    /// What runs there; empty: a login shell.
    pub remote: String,
    /// Lines that a shell runs here: `-o ProxyCommand=` and the like.
    pub local: Vec<String>,
}

/// Reads a command's words as OpenSSH's client does; nothing when it is not ssh or names no host.
pub fn read(words: &[&str]) -> Option<SshCommand> {
    let (program, mut rest) = words.split_first()?;
    if prefix::basename(program) != "ssh" {
        return None;
    }
    let mut ssh = SshCommand::default();
    let mut remote_option = "";
    let mut named = None;
    let mut ended = false;
    // Options stand in front of the host, and again after it.
    loop {
        while let Some(word) = rest.first().filter(|word| word.len() > 1 && word.starts_with('-') && !ended) {
            rest = &rest[1..];
            ended = *word == "--";
            let value = word.trim_start_matches(|c| !WITH_VALUE.contains(c));
            let Some(letter) = value.chars().next().filter(|_| !ended) else { continue };
            let value = match &value[1..] {
                "" => rest.split_first().map_or("", |(value, after)| {
                    rest = after;
                    value
                }),
                glued => glued,
            };
            match letter {
                'J' => ssh.jumps(value),
                'o' => ssh.option(value, &mut remote_option),
                _ => {}
            }
        }
        match (named, rest.split_first()) {
            (None, Some((host, after))) => {
                named = Some(*host);
                rest = after;
            }
            _ => break,
        }
    }
    let host = named?;
    ssh.host = without_user(host.strip_prefix("ssh://").map_or(host, without_port)).to_owned();
    for other in &mut ssh.others {
        *other = other.replace("%h", &ssh.host);
    }
    ssh.remote = if rest.is_empty() { remote_option.to_owned() } else { rest.join(" ") };
    Some(ssh)
}

impl SshCommand {
    fn jumps(&mut self, list: &str) {
        let hosts = list.split(',').filter(|host| !host.is_empty() && *host != "none");
        self.others.extend(hosts.map(|host| {
            let host = host.trim_start_matches("ssh://");
            without_user(without_port(host)).to_owned()
        }));
    }

    /// `-o KEY=VALUE`, `-o "KEY VALUE"`
    fn option<'w>(&mut self, option: &'w str, remote: &mut &'w str) {
        let option = option.trim();
        let Some((key, value)) = option.split_once(|c: char| c == '=' || c.is_whitespace()) else { return };
        let value = value.trim_start_matches(|c: char| c == '=' || c.is_whitespace());
        match key.to_ascii_lowercase().as_str() {
            "hostname" => self.others.push(value.to_owned()),
            "proxyjump" => self.jumps(value),
            "remotecommand" if value != "none" => *remote = value,
            "proxycommand" | "localcommand" | "knownhostscommand" if value != "none" => {
                self.local.push(value.to_owned());
            }
            _ => {}
        }
    }
}

fn without_user(host: &str) -> &str {
    host.rsplit('@').next().unwrap_or(host)
}

/// `host:22`, `[::1]:22`, `host/`
fn without_port(host: &str) -> &str {
    let host = host.trim_end_matches('/');
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

/// The refusal of a command by the ssh rules, if there is one.
pub fn check(policy: &Policy, words: &[&str]) -> Result<(), String> {
    let rules = &policy.ssh;
    if rules.allowed_hosts.is_empty() && rules.denied_hosts.is_empty() {
        return Ok(());
    }
    let Some(ssh) = read(words) else { return Ok(()) };
    for name in std::iter::once(&ssh.host).chain(&ssh.others) {
        host(rules, name).map_err(|why| match ssh.remote.as_str() {
            "" => format!("SSH blocked: {why} (host: {name})"),
            remote => format!("SSH command blocked: {why} (host: {name}, command: {remote})"),
        })?;
    }
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
    let reading = shell::read(line);
    if let Some((line, why)) = reading.unreadable.first() {
        return Err(format!("command {line:?} can't be read as shell grammar: {why}"));
    }
    for piece in &reading.pieces {
        let text = &*piece.text;
        let words: Vec<&str> = piece.words.iter().map(|word| word.text.as_str()).collect();
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
        // A variable in front can make an allowed program run another one.
        let plain = piece.assignments.is_empty() && !reading.compound;
        if rules.allow_all_commands || plain && find(&rules.allowed_commands, &words).is_some() {
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
            let Some(got) = got else { continue };
            let expected = match row["ours"].split_once('|') {
                Some(ours) => ours,
                None => (row["host"].as_str(), row["remote_command"].as_str()),
            };
            assert_eq!((got.host.as_str(), got.remote.as_str()), expected, "{}", row["id"]);
        }
    }

    /// `ssh(1)`: options in front of the host and after it, glued values, what else is connected to or run.
    #[test]
    fn options_of_the_client() {
        let read = |line: &str| {
            let words = shell::tokens(line);
            let ssh = read(&words.iter().map(String::as_str).collect::<Vec<_>>()).expect("ssh");
            (ssh.host, ssh.remote, ssh.others.join(","), ssh.local.join(","))
        };
        for (line, host, remote, others, local) in [
            ("ssh -vp 22 h ls", "h", "ls", "", ""),
            ("ssh -p22 -lroot h ls -t", "h", "ls -t", "", ""),
            ("ssh h -p 22 -t ls -l", "h", "ls -l", "", ""),
            ("ssh -- h -t ls", "h", "-t ls", "", ""),
            ("ssh h -- -t ls", "h", "-t ls", "", ""),
            ("ssh -J u@j:22,ssh://k:2 h", "h", "", "j,k", ""),
            ("ssh -Jj h id", "h", "id", "j", ""),
            ("ssh -o ProxyJump=j -oHostName=%h.evil h", "h", "", "j,h.evil", ""),
            ("ssh -o 'hostname evil' h", "h", "", "evil", ""),
            ("ssh -o RemoteCommand='rm -rf /' h", "h", "rm -rf /", "", ""),
            ("ssh -o RemoteCommand=none -o ProxyCommand='nc %h 22' h", "h", "", "", "nc %h 22"),
            ("ssh -o PermitLocalCommand=yes -o localcommand='git push' h", "h", "", "", "git push"),
            ("ssh ssh://u@[::1]:22/ ls", "[::1]", "ls", "", ""),
            ("ssh a@b@h", "h", "", "", ""),
            ("ssh -E log -F cfg -I x -B eth0 -P tag -i id h", "h", "", "", ""),
        ] {
            let expected = (host.into(), remote.into(), others.into(), local.into());
            assert_eq!(read(line), expected, "{line}");
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
