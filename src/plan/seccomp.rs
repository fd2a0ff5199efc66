//! Which system calls are judged, and how: the built-in table, what the engine needs, what the user asked for.

use super::Watch;
use crate::error::{Failure, Result};
use crate::tables::arguments::{self, Act, Shown};
use crate::tables::syscalls::{
    Action, BLOCKED, BROKERED, EPERM, EXEC, GROUP_KILL, HOST_IPC, HOST_PROCESSES, HOST_TREE, NO_INTERNET,
    NO_SOCKETS, NO_TRUNCATE, NO_UNIX, Numbers, Rule, all, find,
};
use crate::text::distance;

/// What the filter has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--allow-syscall`: blocked calls to leave alone.
    pub allow: Vec<String>,
    /// `--deny`: calls to refuse as well, on all architectures; wins over `allow`.
    pub deny: Vec<String>,
    /// Landlock cannot scope signals (below ABI 6), so `kill(0)` would reach the caller's script.
    pub guard_group_kill: bool,
    /// Somebody judges what is executed.
    pub ask_exec: bool,
    /// What of the host's the command is left in, because there is no namespace.
    pub host: Host,
}

/// What is the host's own and has to be guarded call by call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The file tree: no mount says what is read-only.
    pub tree: bool,
    /// Files can be emptied past Landlock (below ABI 3).
    pub truncate: bool,
    /// Processes.
    pub processes: bool,
    /// SysV and POSIX queues, segments and semaphores.
    pub ipc: bool,
    /// The network, of which nothing is allowed.
    pub network: bool,
    /// Unix sockets.
    pub sockets: bool,
    /// Both, where fence makes and connects them.
    pub brokered: bool,
}

impl Host {
    fn tables(self) -> impl Iterator<Item = &'static (&'static str, Action, &'static str)> {
        let tables = [
            (self.tree, HOST_TREE),
            (self.tree && self.truncate, NO_TRUNCATE),
            (self.processes, HOST_PROCESSES),
            (self.ipc, HOST_IPC),
            (self.network && !self.sockets, NO_INTERNET),
            (self.sockets && !self.network, NO_UNIX),
            (self.network && self.sockets, NO_SOCKETS),
            (self.brokered, BROKERED),
        ];
        tables.into_iter().filter(|(on, _)| *on).flat_map(|(_, table)| table)
    }
}

/// Options → rows, in the order in which `fence plan` shows them.
///
/// # Errors
/// A name that is no system call.
pub fn plan(options: &Options) -> Result<Vec<Rule>> {
    let mut rules = Vec::with_capacity(BLOCKED.len() + GROUP_KILL.len() + options.deny.len());
    rules.extend_from_slice(BLOCKED);
    if options.guard_group_kill {
        rules.extend_from_slice(GROUP_KILL);
    }
    if options.host != Host::default() {
        for (name, numbers) in all() {
            if let Some((_, action, why)) = options.host.tables().find(|(wanted, ..)| *wanted == name) {
                put(&mut rules, Rule { name, numbers, action: *action, why });
            }
        }
    }
    let mut allowed = Vec::with_capacity(options.allow.len());
    for name in &options.allow {
        allowed.push(known(name)?.0);
    }
    rules.retain(|rule| !allowed.contains(&rule.name));
    // After that: what is asked about is not blocked, so there is nothing to open.
    if options.ask_exec {
        rules.extend_from_slice(EXEC);
    }
    for name in &options.deny {
        let (name, numbers) = known(name)?;
        put(&mut rules, denied(name, numbers));
        for (name, numbers) in twins(name) {
            put(&mut rules, denied(name, numbers));
        }
    }
    Ok(rules)
}

/// The rows as a filter has them whose listener shows calls: what would be refused asks too, and is refused there. To
/// learn, every call asks that names a file or an address.
pub fn watched(rules: &[Rule], watch: Watch) -> Vec<Rule> {
    let mut rules = rules.to_vec();
    if watch == Watch::Nothing {
        return rules;
    }
    for rule in &mut rules {
        if rule.action == Action::Refuse(EPERM) {
            rule.action = Action::Notify;
        }
    }
    if watch == Watch::Everything {
        for (name, numbers) in all() {
            let Shown { path, act, .. } = arguments::of(name);
            let asks = path.is_some() && matches!(act, Act::Open(_) | Act::Write | Act::Name)
                || name == "connect"
                || name == "openat2";
            if asks && !rules.iter().any(|rule| rule.name == name) {
                rules.push(Rule { name, numbers, action: Action::Notify, why: "to learn from" });
            }
        }
    }
    rules
}

/// Adds a row in place of one with the same name.
fn put(rules: &mut Vec<Rule>, rule: Rule) {
    match rules.iter_mut().find(|old| old.name == rule.name) {
        Some(old) => *old = rule,
        None => rules.push(rule),
    }
}

fn denied(name: &'static str, numbers: Numbers) -> Rule {
    Rule { name, numbers, action: Action::Refuse(EPERM), why: "you asked for it" }
}

/// A name's row in the table of all calls, or which one was meant.
fn known(name: &str) -> Result<(&'static str, Numbers)> {
    find(name).ok_or_else(|| {
        let failure = Failure::new(format!("there is no system call {name:?}"));
        match all().map(|(near, _)| (distance(name, near), near)).min() {
            Some((edits, near)) if edits <= 3 => failure.hint(format!("did you mean {near}?")),
            _ => failure,
        }
    })
}

/// The other calls of 32-bit programs that do what `name` does: wider arguments, 64-bit time, older forms, and the
/// multiplexers, whose arguments are out of sight. Without them `int 0x80` would walk round a `--deny`.
fn twins(name: &'static str) -> impl Iterator<Item = (&'static str, Numbers)> {
    all().filter(move |(other, numbers)| {
        numbers.x86_64.is_none()
            && numbers.aarch64.is_none()
            && (is_wider(name, other) || older(name).contains(other))
    })
}

/// `clock_settime64`, `chown32`, `ppoll_time64` for their names without the ending.
fn is_wider(name: &str, other: &str) -> bool {
    other.strip_prefix(name).is_some_and(|ending| matches!(ending, "32" | "64" | "_time64" | "_64" | "2"))
}

fn older(name: &str) -> &'static [&'static str] {
    match name {
        "umount2" => &["umount"],
        "lseek" => &["_llseek"],
        "select" | "pselect6" => &["_newselect"],
        "uname" => &["olduname", "oldolduname"],
        "stat" => &["oldstat"],
        "lstat" => &["oldlstat"],
        "fstat" => &["oldfstat"],
        "newfstatat" => &["fstatat64"],
        "wait4" => &["waitpid"],
        "getrlimit" => &["ugetrlimit"],
        "getdents" => &["readdir"],
        "setpriority" => &["nice"],
        "settimeofday" | "clock_settime" => &["stime"],
        "rt_sigaction" => &["sigaction", "signal"],
        "rt_sigprocmask" => &["sigprocmask", "ssetmask", "sgetmask"],
        "rt_sigsuspend" => &["sigsuspend"],
        "rt_sigpending" => &["sigpending"],
        "rt_sigreturn" => &["sigreturn"],
        "semop" => &["semtimedop_time64", "ipc"],
        "semget" | "semctl" | "semtimedop" | "shmget" | "shmat" | "shmdt" | "shmctl" | "msgget"
        | "msgsnd" | "msgrcv" | "msgctl" => &["ipc"],
        "socket" | "bind" | "connect" | "listen" | "accept" | "accept4" | "getsockname" | "getpeername"
        | "socketpair" | "sendto" | "recvfrom" | "shutdown" | "setsockopt" | "getsockopt" | "sendmsg"
        | "recvmsg" | "sendmmsg" | "recvmmsg" => &["socketcall"],
        _ => &[],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tables::syscalls::ENOSYS;

    fn action(rules: &[Rule], name: &str) -> Option<Action> {
        rules.iter().find(|rule| rule.name == name).map(|rule| rule.action)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn default_is_the_built_in_table() {
        assert_eq!(plan(&Options::default()).unwrap(), BLOCKED);
    }

    #[test]
    fn allow_opens_one() {
        let rules = plan(&Options { allow: names(&["ptrace", "read"]), ..Options::default() }).unwrap();
        assert_eq!(action(&rules, "ptrace"), None);
        assert_eq!(rules.len(), BLOCKED.len() - 1);
    }

    #[test]
    fn deny_wins_and_reaches_32_bit_twins() {
        let options = Options {
            allow: names(&["ptrace"]),
            deny: names(&["ptrace", "clock_nanosleep", "chown", "connect", "shmget", "clone3", "umount2"]),
            ..Options::default()
        };
        let rules = plan(&options).unwrap();
        for name in [
            "ptrace",
            "clock_nanosleep",
            "clock_nanosleep_time64",
            "chown32",
            "socketcall",
            "ipc",
            "clone3",
            "umount",
        ] {
            assert_eq!(action(&rules, name), Some(Action::Refuse(EPERM)), "{name}");
        }
        assert_eq!(action(&rules, "io_uring_setup"), Some(Action::Refuse(ENOSYS)));
    }

    #[test]
    fn nothing_opens_exec() {
        let options = Options { ask_exec: true, allow: names(&["execve", "execveat"]), ..Options::default() };
        let rules = plan(&options).unwrap();
        for name in ["execve", "execveat"] {
            assert_eq!(action(&rules, name), Some(Action::Notify), "{name}");
        }
    }

    #[test]
    fn names_are_checked() {
        let failure = plan(&Options { deny: names(&["mout"]), ..Options::default() }).unwrap_err();
        assert_eq!(failure.to_string(), "there is no system call \"mout\"; did you mean mount?");
        let failure = plan(&Options { allow: names(&["frobnicate_all"]), ..Options::default() }).unwrap_err();
        assert_eq!(failure.to_string(), "there is no system call \"frobnicate_all\"");
    }

    #[test]
    fn one_row_per_name() {
        let options =
            Options { guard_group_kill: true, deny: names(&["kill", "socket", "ipc"]), ..Options::default() };
        let rules = plan(&options).unwrap();
        let mut seen: Vec<_> = rules.iter().map(|rule| rule.name).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), rules.len());
        assert_eq!(action(&rules, "socket"), Some(Action::Refuse(EPERM)));
    }
}
