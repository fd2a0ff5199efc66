//! Which system calls are judged, and how: the built-in table, what the engine needs, what the user asked for.

use crate::error::{Failure, Result};
use crate::tables::syscalls::{
    Action, BLOCKED, BROKERED, EPERM, EXEC, GROUP_KILL, LOCAL_ONLY, Numbers, Rule, SHARED_IPC, all, find,
};

/// What the filter has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--allow-syscall`: blocked calls to leave alone.
    pub allow: Vec<String>,
    /// `--deny`: calls to refuse as well, on all architectures; wins over `allow`.
    pub deny: Vec<String>,
    /// Landlock cannot scope signals (below ABI 6), so `kill(0)` would reach the caller's script.
    pub guard_group_kill: bool,
    /// Which sockets may be made.
    pub sockets: Sockets,
    /// The IPC namespace is the host's: no SysV IPC, no POSIX queues.
    pub shared_ipc: bool,
    /// A supervisor judges every `execve` and `execveat`.
    pub notify_exec: bool,
}

/// Which sockets may be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sockets {
    /// Unix, internet and netlink ROUTE: the network namespace does the rest.
    #[default]
    Families,
    /// The network is the host's: TCP alone, and a supervisor answers `connect` and `listen`.
    Brokered,
    /// The network is the host's and there is no supervisor: no internet sockets.
    LocalOnly,
}

/// Options → rows, in the order in which `fence plan` shows them.
///
/// # Errors
/// A name that is no system call; an `allow` that would undo a policy of this run.
pub fn plan(options: &Options) -> Result<Vec<Rule>> {
    let mut rules = Vec::with_capacity(BLOCKED.len() + GROUP_KILL.len() + BROKERED.len() + SHARED_IPC.len());
    rules.extend_from_slice(BLOCKED);
    if options.guard_group_kill {
        rules.extend_from_slice(GROUP_KILL);
    }
    if options.shared_ipc {
        rules.extend_from_slice(SHARED_IPC);
    }
    let mut allowed = Vec::with_capacity(options.allow.len());
    for name in &options.allow {
        allowed.push(known(name)?.0);
    }
    rules.retain(|rule| !allowed.contains(&rule.name));
    // What the network and command policy stand on comes after `allow`: lifting it would lift them without a word.
    for rule in policy(options) {
        if allowed.contains(&rule.name) {
            return Err(unsafe_to_allow(rule.name));
        }
        put(&mut rules, *rule);
    }
    refuse_ways_round(options, &allowed)?;
    for name in &options.deny {
        let (name, numbers) = known(name)?;
        put(&mut rules, denied(name, numbers));
        for (name, numbers) in twins(name) {
            put(&mut rules, denied(name, numbers));
        }
    }
    Ok(rules)
}

/// The rows that carry out the network and command policy.
fn policy(options: &Options) -> impl Iterator<Item = &'static Rule> {
    let sockets: &[Rule] = match options.sockets {
        Sockets::Families => &[],
        Sockets::Brokered => BROKERED,
        Sockets::LocalOnly => LOCAL_ONLY,
    };
    let exec: &[Rule] = if options.notify_exec { EXEC } else { &[] };
    sockets.iter().chain(exec)
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

/// Calls that would undo a policy of this run when allowed.
fn refuse_ways_round(options: &Options, allowed: &[&'static str]) -> Result<()> {
    // A tracer rewrites a verified command after the verdict.
    const ROUND_EXEC: [&str; 2] = ["ptrace", "process_vm_writev"];
    // These make and connect sockets where the filter can't see the arguments.
    const ROUND_SOCKETS: [&str; 4] = ["io_uring_setup", "io_uring_enter", "io_uring_register", "socketcall"];
    let exec: &[&str] = if options.notify_exec { &ROUND_EXEC } else { &[] };
    let sockets: &[&str] = if options.sockets == Sockets::Families { &[] } else { &ROUND_SOCKETS };
    match exec.iter().chain(sockets).find(|name| allowed.contains(name)) {
        Some(name) => Err(unsafe_to_allow(name)),
        None => Ok(()),
    }
}

fn unsafe_to_allow(name: &str) -> Failure {
    let rest = match name {
        "ptrace" | "process_vm_writev" | "execve" | "execveat" => "runtimeExecPolicy \"argv\" rests on it",
        _ => "without a network namespace the network rules rest on it",
    };
    Failure::new(format!("cannot allow the system call {name}: {rest}"))
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

/// How many letters must be put, taken or changed to make one name of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
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
    fn names_are_checked() {
        let failure = plan(&Options { deny: names(&["mout"]), ..Options::default() }).unwrap_err();
        assert_eq!(failure.to_string(), "there is no system call \"mout\"; did you mean mount?");
        let failure = plan(&Options { allow: names(&["frobnicate_all"]), ..Options::default() }).unwrap_err();
        assert_eq!(failure.to_string(), "there is no system call \"frobnicate_all\"");
    }

    #[test]
    fn policy_is_not_lifted_by_allow() {
        let argv = Options { notify_exec: true, ..Options::default() };
        let brokered = Options { sockets: Sockets::Brokered, ..Options::default() };
        let local = Options { sockets: Sockets::LocalOnly, ..Options::default() };
        for (options, name) in [
            (&argv, "ptrace"),
            (&argv, "execve"),
            (&brokered, "connect"),
            (&brokered, "socket"),
            (&brokered, "io_uring_setup"),
            (&local, "socketcall"),
            (&local, "socket"),
        ] {
            let options = Options { allow: names(&[name]), ..options.clone() };
            assert!(plan(&options).is_err(), "{name}");
        }
        assert!(plan(&Options { allow: names(&["ptrace"]), ..brokered }).is_ok());
    }

    #[test]
    fn one_row_per_name() {
        let options = Options {
            guard_group_kill: true,
            sockets: Sockets::Brokered,
            shared_ipc: true,
            notify_exec: true,
            deny: names(&["kill", "socket", "ipc"]),
            ..Options::default()
        };
        let rules = plan(&options).unwrap();
        let mut seen: Vec<_> = rules.iter().map(|rule| rule.name).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), rules.len());
        assert_eq!(action(&rules, "execve"), Some(Action::Notify));
    }
}
