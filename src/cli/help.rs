//! Help texts: the sentences are here, the flags come from their tables.

use super::flags::{Flag, Set, names};
use super::{applets, config, run};

/// Where the explanations of flags begin.
const COLUMN: usize = 34;
/// The longest line.
const WIDTH: usize = 100;

/// `fence --help`
pub(super) fn run() -> String {
    page(
        "fence runs a command in a sandbox: no network, a read-only file system, no dangerous system calls.\n\
         What a command may do is said in fence.json, or by a template.\n\n\
         Usage:\n  \
         fence [FLAGS] [--] COMMAND [ARGUMENTS]\n  \
         fence [FLAGS] -c LINE [ARGUMENTS]\n  \
         fence SUB-COMMAND …\n",
        &sections(run::FLAGS),
        "Sub-commands (for a program of such a name write it after --):\n  \
         plan         Show what a run would do, and do nothing\n  \
         learn        Run a command and write the configuration that it needs\n  \
         config       Show the configuration, or write a first one\n  \
         features     Show what a run needs of this system\n  \
         landlock     Apply Landlock rules alone, then run a command\n  \
         seccomp      Install the system call filter alone, then run a command\n  \
         connect      Inside a run: connect through its proxy; ssh's ProxyCommand\n  \
         supervise    Judge what a command under fence seccomp executes\n  \
         help         Show this text, or that of a sub-command\n\n\
         Examples:\n  \
         fence npm test\n  \
         fence -t code -- make\n  \
         fence -c 'make && make test'\n\n\
         Exit status: that of the command, 128 + N when signal N ended it; 125 fence failed or refused,\n\
         126 the command is denied or not executable, 127 it was not found.\n",
    )
}

/// `fence plan --help`
pub(super) fn plan() -> String {
    page(
        "Shows what a run would do: the engine, the file system, the rules, what could not be enforced. Runs nothing.\n\n\
         Usage:\n  fence plan [--json] [FLAGS] [--] COMMAND [ARGUMENTS]\n",
        &sections(run::FLAGS),
        "",
    )
}

/// `fence learn --help`
pub(super) fn learn() -> String {
    page(
        "Runs a command with the file system writable and all hosts allowed, watches what it does, and writes the\n\
         configuration that it needs. Keys, tokens and passwords stay hidden. Only for commands that you trust.\n\n\
         Usage:\n  fence learn [-o FILE] [FLAGS] [--] COMMAND [ARGUMENTS]\n",
        &sections(run::FLAGS),
        "Example:\n  fence learn -- npm install && fence -- npm install\n",
    )
}

/// `fence config --help`
pub(super) fn config() -> String {
    let flags = sections(config::SHOW) + "\n" + &sections(config::INIT);
    page(
        "Shows the configuration that is in force here, or writes a first one.\n\n\
         Usage:\n  fence config show [FLAGS]\n  fence config init [FLAGS]\n",
        &flags,
        "",
    )
}

/// `fence landlock --help`
pub(super) fn landlock() -> String {
    page(
        "Applies Landlock rules to itself, then runs the command. What no rule allows is denied.\n\n\
         Usage:\n  fence landlock [FLAGS] [--] COMMAND [ARGUMENTS]\n",
        &sections(applets::LANDLOCK),
        "Example:\n  fence landlock --ro /usr --ro /etc --rw . --connect 443 -- make\n",
    )
}

/// `fence seccomp --help`
pub(super) fn seccomp() -> String {
    page(
        "Installs the system call filter, then runs the command.\n\n\
         Usage:\n  fence seccomp [FLAGS] [--] COMMAND [ARGUMENTS]\n",
        &sections(applets::SECCOMP),
        "Example:\n  fence seccomp --deny chmod -- make\n",
    )
}

/// `fence features --help`
pub(super) fn features() -> String {
    page(
        "Tries everything that a run needs of this system; says what does not work, why, and what to do.\n\n\
         Usage:\n  fence features [--json | --apparmor-profile]\n",
        &sections(applets::FEATURES),
        "",
    )
}

/// `fence connect --help`
pub(super) fn connect() -> String {
    page(
        "Inside a run: makes stdin and stdout a connection to the host, through the run's own proxy and by its rules.\n\n\
         Usage:\n  fence connect HOST PORT\n",
        &sections(applets::CONNECT),
        "Example:\n  ssh -o ProxyCommand='fence connect %h %p' git@example.com\n",
    )
}

/// `fence supervise --help`
pub(super) fn supervise() -> String {
    page(
        "Judges every exec under a filter of fence seccomp --notify-fd by the command and ssh rules of a policy, and \
         verifies what then runs.\n\nUsage:\n  fence supervise [FLAGS] [--] [COMMAND [ARGUMENTS]]\n\nThe \
         COMMAND gets the other end of the socket; without one the socket is inherited.\n",
        &sections(applets::SUPERVISE),
        "Example:\n  fence supervise -s fence.json -- fence seccomp --notify-fd 3 -- make\n",
    )
}

fn page(intro: &str, flags: &str, end: &str) -> String {
    let end = if end.is_empty() { String::new() } else { format!("\n{end}") };
    format!("{intro}\n{flags}{end}")
}

/// The flags under their headings, in the table's order.
fn sections<T>(flags: &[Flag<T>]) -> String {
    let mut out = String::new();
    let mut group = "";
    for flag in flags {
        if flag.group != group {
            let gap = if out.is_empty() { "" } else { "\n" };
            out += &format!("{gap}{}:\n", flag.group);
            group = flag.group;
        }
        out += &row(flag);
    }
    out
}

/// One flag and its explanation, broken at blanks.
fn row<T>(flag: &Flag<T>) -> String {
    let gap = if flag.short.is_some() { "  " } else { "      " };
    let value = match flag.set {
        Set::Value(name, _) => format!(" {name}"),
        Set::Switch(_) => String::new(),
    };
    let mut line = format!("{gap}{}{value}", names(flag));
    let mut out = String::new();
    if line.len() + 2 > COLUMN {
        out += &format!("{line}\n");
        line.clear();
    }
    line = format!("{line:COLUMN$}");
    let mut empty = true;
    for word in flag.help.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out += &format!("{line}\n");
            line = " ".repeat(COLUMN);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    out + &line + "\n"
}
