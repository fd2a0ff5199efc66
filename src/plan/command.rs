//! The words that are executed: the user's own, or a shell's with the user's line.

use super::env::{Variable, split_assignments};
use crate::cli::{Command, Run};
use crate::facts::Facts;
use crate::rules::shell::quote;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Words that only a shell understands: built-in commands and keywords of bash.
const SHELL_WORDS: &[&str] = &[
    "!",
    ".",
    ":",
    "[[",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "enable",
    "eval",
    "exec",
    "exit",
    "export",
    "fc",
    "fg",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "jobs",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "pushd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "time",
    "times",
    "trap",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
    "{",
];

/// Whether the command needs a shell to run it: a `-c` line, or a first word that only a shell knows unless a program
/// has that name.
pub fn may_need_shell(run: &Run) -> bool {
    match &run.command {
        Command::Line { .. } => true,
        Command::Argv(words) => split_assignments(words).1.first().is_some_and(is_shell_word),
    }
}

fn is_shell_word(word: &OsString) -> bool {
    word.to_str().is_some_and(|word| SHELL_WORDS.contains(&word))
}

/// What is executed, and the variables that words in front of it set.
pub fn words(run: &Run, facts: &Facts) -> (Vec<OsString>, Vec<Variable>) {
    match &run.command {
        Command::Line { script, params } => {
            (through_shell(run, facts, script.clone(), params.iter().cloned()), Vec::new())
        }
        Command::Argv(words) => {
            let (assignments, words) = split_assignments(words);
            if words.first().is_some_and(is_shell_word) && !facts.first_word_on_path {
                let line = words.iter().map(|w| shell_quote(w)).collect::<Vec<_>>().join(OsStr::new(" "));
                (through_shell(run, facts, line, std::iter::empty()), assignments)
            } else {
                (words.to_vec(), assignments)
            }
        }
    }
}

fn through_shell(
    run: &Run,
    facts: &Facts,
    line: OsString,
    params: impl Iterator<Item = OsString>,
) -> Vec<OsString> {
    let flag = if run.shell_login { "-lc" } else { "-c" };
    let shell = facts.shell.clone().unwrap_or_else(|| "/bin/sh".into());
    [shell.into_os_string(), flag.into(), line].into_iter().chain(params).collect()
}

fn shell_quote(word: &OsStr) -> OsString {
    // Bytes that are not UTF-8 need quotes in no shell, and quoting goes byte by byte.
    match word.to_str() {
        Some(text) => quote(text).into(),
        None => {
            let mut out = b"'".to_vec();
            for byte in word.as_bytes() {
                if *byte == b'\'' { out.extend(b"'\\''") } else { out.push(*byte) }
            }
            out.push(b'\'');
            OsStr::from_bytes(&out).to_owned()
        }
    }
}
