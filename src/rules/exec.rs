//! The verdict on one exec: which names the program may go by, and what each would mean.

use super::command::{self, Verdict, verdict};
use super::prefix::basename;
use super::shell::quote;
use crate::cli::Command;
use crate::config::policy::Policy;
use crate::tables::programs::{LOADER_VALUES, LOADERS, MULTICALL};

/// The names of one file that rules name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Those that rules have.
    pub denied: Vec<String>,
    /// All that it has on PATH.
    pub all: Vec<String>,
}

/// A program that is to run, or runs.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The path that was used.
    pub path: &'a str,
    /// The path of the file itself, links resolved.
    pub real: &'a str,
    /// What is known of the file.
    pub names: Option<&'a Names>,
    /// `argv`, from word 0.
    pub words: &'a [String],
}

/// Why a program may not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The command as it was judged.
    pub line: String,
    /// The name that it was judged by.
    pub name: String,
    /// The rule, as it is written.
    pub rule: Option<String>,
    /// What else is against it: the ssh rules, or that it can't be looked into.
    pub cause: Option<String>,
}

impl Denial {
    /// A denial that no rule of commands is the reason of.
    pub fn for_cause(path: &str, words: &[String], cause: impl Into<String>) -> Denial {
        let name = basename(path);
        Denial {
            line: line(name, words.get(1..).unwrap_or_default()),
            name: name.to_owned(),
            rule: None,
            cause: Some(cause.into()),
        }
    }
}

/// Judges a program by every name that it may act under; one that is denied is enough.
pub fn refusal(policy: &Policy, attempt: &Attempt<'_>) -> Option<Denial> {
    let rest = attempt.words.get(1..).unwrap_or_default();
    let lines = is_multicall(basename(attempt.real));
    candidates(attempt).into_iter().find_map(|name| judge(policy, name, rest, lines))
}

/// Programs look at the path or at word 0 when they have several names. Where both are names that the file has on PATH,
/// they say what it does; any other may be a link that was made to hide what it is, so all names that rules have for the file
/// count then.
fn candidates<'a>(attempt: &Attempt<'a>) -> Vec<&'a str> {
    let path = basename(attempt.path);
    // A login shell's word 0 begins with a dash.
    let zero = attempt.words.first().map_or("", |word| basename(word.trim_start_matches('-')));
    let mut names = vec![path];
    if zero != path && !zero.is_empty() {
        names.push(zero);
    }
    if let Some(known) = attempt.names {
        let on_path = |name: &str| known.all.iter().any(|known| known == name);
        if !(on_path(path) && on_path(zero)) {
            names.extend(known.denied.iter().map(String::as_str));
        }
    }
    names
}

fn is_multicall(name: &str) -> bool {
    name.starts_with(MULTICALL[0]) || MULTICALL.contains(&name)
}

fn judge(policy: &Policy, name: &str, rest: &[String], own_shell: bool) -> Option<Denial> {
    if let Some(denial) = by_rules(policy, name, rest) {
        return Some(denial);
    }
    // A part of git under a name of its own.
    if let Some(part) = name.strip_prefix("git-").filter(|part| !part.is_empty()) {
        let words: Vec<String> = std::iter::once(part.to_owned()).chain(rest.iter().cloned()).collect();
        return by_rules(policy, "git", &words);
    }
    if is_multicall(name) {
        let (applet, rest) = rest.split_first()?;
        let applet = applet.strip_prefix("--coreutils-prog=").unwrap_or(applet);
        return judge(policy, basename(applet), rest, true);
    }
    // Its shell may run its other commands without an exec, so the line that stands there counts.
    if own_shell && matches!(name, "sh" | "ash" | "hush" | "bash") {
        let words = std::iter::once("sh".into()).chain(rest.iter().map(Into::into)).collect();
        let why = command::check(policy, &Command::Argv(words)).err()?;
        return Some(Denial {
            line: line(name, rest),
            name: name.into(),
            rule: None,
            cause: Some(why.what.clone()),
        });
    }
    None
}

fn by_rules(policy: &Policy, name: &str, rest: &[String]) -> Option<Denial> {
    let words: Vec<&str> = std::iter::once(name).chain(rest.iter().map(String::as_str)).collect();
    let (rule, cause) = match verdict(policy, &words) {
        Verdict::Allowed => return None,
        Verdict::Denied { rule, .. } => (Some(rule.to_owned()), None),
        Verdict::Ssh(why) => (None, Some(why)),
    };
    Some(Denial { line: line(name, rest), name: name.to_owned(), rule, cause })
}

/// As one would type it, cut where it is long.
fn line(name: &str, rest: &[String]) -> String {
    const LONGEST: usize = 240;
    let mut line = quote(name);
    for word in rest {
        if line.len() > LONGEST {
            line.push_str(" …");
            break;
        }
        line.push(' ');
        line.extend(quote(word).chars().take(LONGEST));
    }
    line
}

/// Which word of a dynamic loader's command line is the program that it is to run; none: it is no loader, or runs none.
pub fn loaded_program(real: &str, words: &[String]) -> Option<usize> {
    if !LOADERS.iter().any(|loader| basename(real).starts_with(loader)) {
        return None;
    }
    let mut at = 1;
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
        match word.as_str() {
            "--" => return words.get(at + 1).map(|_| at + 1),
            word if LOADER_VALUES.contains(&word) => at += 2,
            _ => at += 1,
        }
    }
    words.get(at).map(|_| at)
}

/// The interpreter that the first bytes of a script name, and its argument, as the kernel reads them.
pub fn interpreter(head: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = head.strip_prefix(b"#!")?;
    let end = line.iter().position(|byte| matches!(byte, b'\n' | 0)).unwrap_or(line.len());
    // No other white space counts.
    let trim = |line: &[u8]| -> usize { line.iter().take_while(|byte| blank(byte)).count() };
    let line = &line[trim(&line[..end])..end];
    let line = &line[..line.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last + 1)];
    let (name, rest) = line.split_at(line.iter().position(blank).unwrap_or(line.len()));
    let argument = &rest[trim(rest)..];
    (!name.is_empty()).then(|| (name.to_vec(), (!argument.is_empty()).then(|| argument.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy::Command as Rules;
    use crate::testdata::{list, table};

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn policy(deny: &[&str]) -> Policy {
        let deny = deny.iter().map(|rule| rule.to_string()).collect();
        Policy { command: Rules { deny, use_defaults: Some(false), ..Rules::default() }, ..Policy::default() }
    }

    fn denied(policy: &Policy, path: &str, real: &str, names: Option<&Names>, line: &str) -> bool {
        refusal(policy, &Attempt { path, real, names, words: &words(line) }).is_some()
    }

    #[test]
    fn every_runtime_verdict_of_the_original() {
        let rows = table(include_str!("../../tests/data/compat/command.tsv"));
        let rows: Vec<_> = rows.into_iter().filter(|row| row["mode"] == "runtime-argv").collect();
        assert!(rows.len() > 20);
        for row in rows {
            let mut policy = policy(&[]);
            policy.command.deny = list(&row["deny"]);
            policy.command.allow = list(&row["allow"]);
            policy.command.use_defaults = (row["useDefaults"] == "false").then_some(false);
            let all = list(&row["command"]);
            let Some((path, words)) = all.split_first() else { continue };
            let got = refusal(&policy, &Attempt { path, real: path, names: None, words });
            let ours = row["ours_by_design"].trim_start_matches("later: ");
            if row["original"] == "blocked" || ours == "blocked" {
                let got = got.unwrap_or_else(|| panic!("{}", row["id"]));
                assert!(
                    row["rule"].is_empty() || got.rule.as_ref() == Some(&row["rule"]),
                    "{}: {got:?}",
                    row["id"]
                );
            } else if words.first().is_none_or(|zero| basename(zero) == basename(path)) {
                // Otherwise word 0, which the original does not look at, counts too.
                assert_eq!(got, None, "{}", row["id"]);
            }
        }
    }

    #[test]
    fn a_file_is_known_under_any_name() {
        let rules = policy(&["git push"]);
        let git = Names { denied: vec!["git".into()], all: vec!["git".into(), "git-receive-pack".into()] };
        let git = Some(&git);
        for (path, line) in [
            ("/usr/bin/git", "git push"),
            ("/usr/bin/git", "ls push"),
            ("./g", "./g push"),
            ("./git-receive-pack", "x push"),
            ("/usr/bin/git-receive-pack", "git push"),
            ("/usr/lib/git-core/git-push", "git-push origin"),
            ("/usr/bin/git", "git -C . push"),
        ] {
            assert!(denied(&rules, path, "/usr/bin/git", git, line), "{path} {line}");
        }
        for (path, line) in
            [("/usr/bin/git", "git status"), ("./g", "g status"), ("/bin/echo", "echo git push")]
        {
            assert!(!denied(&rules, path, "/usr/bin/git", git, line), "{path} {line}");
        }
        // Another file with another name is another program, whatever it is told that it is called.
        assert!(!denied(&rules, "/usr/bin/echo", "/usr/bin/echo", None, "echo push"));
        assert!(denied(&rules, "/usr/bin/echo", "/usr/bin/echo", None, "git push"));
    }

    #[test]
    fn many_programs_in_one_file_are_told_by_name() {
        let rules = policy(&["dd", "git push"]);
        let all = ["busybox", "dd", "ls", "sh"].map(String::from).to_vec();
        let names = Names { denied: vec!["dd".into()], all };
        let busybox = |path: &str, line: &str| denied(&rules, path, "/bin/busybox", Some(&names), line);
        for (path, line) in [
            ("/bin/dd", "dd if=x"),
            ("/bin/busybox", "busybox dd if=x"),
            ("/bin/busybox", "busybox busybox dd if=x"),
            ("/bin/ls", "dd if=x"),
            ("./x", "x"),
            ("./x", "dd"),
            ("/bin/sh", "sh -c ls;dd"),
            ("/bin/busybox", "busybox sh -c dd"),
            ("/bin/busybox", "busybox ash -c dd"),
            ("/usr/bin/coreutils", "coreutils --coreutils-prog=dd if=x"),
        ] {
            assert!(busybox(path, line), "{path} {line}");
        }
        for (path, line) in [("/bin/ls", "ls dd"), ("/bin/busybox", "busybox ls"), ("/bin/sh", "-sh -c ls")] {
            assert!(!busybox(path, line), "{path} {line}");
        }
        let systemctl =
            Names { denied: vec!["reboot".into()], all: vec!["reboot".into(), "systemctl".into()] };
        let rules = policy(&["reboot", "systemctl poweroff"]);
        let systemctl =
            |path: &str, line: &str| denied(&rules, path, "/bin/systemctl", Some(&systemctl), line);
        assert!(!systemctl("/bin/systemctl", "systemctl status"));
        assert!(systemctl("/bin/systemctl", "systemctl poweroff"));
        assert!(systemctl("/bin/systemctl", "reboot"));
        assert!(systemctl("/sbin/reboot", "reboot"));
    }

    #[test]
    fn loaders_are_seen_through() {
        let loader = "/lib64/ld-linux-x86-64.so.2";
        for (line, program) in [
            ("ld.so /usr/bin/git push", Some(1)),
            ("ld.so --library-path /x /usr/bin/git push", Some(3)),
            ("ld.so --argv0 ls --inhibit-cache ./g push", Some(4)),
            ("ld.so --list /usr/bin/git", Some(2)),
            ("ld.so -- git", Some(2)),
            ("ld.so --version", None),
            ("ld.so", None),
        ] {
            assert_eq!(loaded_program(loader, &words(line)), program, "{line}");
        }
        assert_eq!(loaded_program("/usr/bin/ls", &words("ls x")), None);
        assert_eq!(loaded_program("/lib/ld-musl-x86_64.so.1", &words("ld git")), Some(1));
    }

    #[test]
    fn interpreters() {
        let read = |head: &str| {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default();
            interpreter(head.as_bytes()).map(|(name, argument)| (text(name), argument.map(text)))
        };
        assert_eq!(read("#!/bin/sh\necho"), Some(("/bin/sh".into(), None)));
        assert_eq!(
            read("#! \t/usr/bin/env -S  a b \nx"),
            Some(("/usr/bin/env".into(), Some("-S  a b".into())))
        );
        assert_eq!(read("#!x"), Some(("x".into(), None)));
        assert_eq!(read("#!\n"), None);
        assert_eq!(read("#!/l ./y\x0c \n"), Some(("/l".into(), Some("./y\x0c".into()))));
        assert_eq!(read("\x7fELF"), None);
    }

    #[test]
    fn lines_are_cut() {
        let mut long = vec!["x".to_string(); 5000];
        long[0] = "dd".into();
        let denial = refusal(
            &policy(&["dd"]),
            &Attempt { path: "/bin/dd", real: "/bin/dd", names: None, words: &long },
        );
        assert!(denial.is_some_and(|denial| denial.line.ends_with('…') && denial.line.len() < 600));
    }
}
