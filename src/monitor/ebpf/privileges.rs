//! The rights that loading programs takes, and what to say when they are missing.

use crate::rights;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, no_new_privs, set_capabilities};

/// By number and name: what the kernel asks for from 5.8 on.
const NEEDED: [(u32, &str); 2] = [(39, "cap_bpf"), (38, "cap_perfmon")];
/// CAP_SYS_ADMIN, which stands for both, and is all there is before.
const SYS_ADMIN: u32 = 21;
/// Locked memory that all maps together need, with some to spare.
const LOCKED: u64 = 8 << 20;

/// Makes effective what the program file gives (`setcap …+p`), and lets as much memory be locked as may be: up to Linux
/// 5.10 maps count as such. The answer is the limit to put back.
pub(super) fn raise() -> Rlimit {
    if let Ok(mut sets) = capabilities(None) {
        let wanted = CapabilitySet::from_bits_retain(rights::MONITOR);
        sets.effective |= sets.permitted & wanted;
        _ = set_capabilities(None, sets);
    }
    let before = getrlimit(Resource::Memlock);
    if setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_err() {
        _ = setrlimit(Resource::Memlock, Rlimit { current: before.maximum, maximum: before.maximum });
    }
    before
}

/// Puts the limit back, and what the program file gives out of effect.
pub(super) fn restore(limit: Rlimit) {
    _ = setrlimit(Resource::Memlock, limit);
    _ = rights::put_away();
}

/// Why the kernel refused, and what to do.
pub(super) fn explain(errno: Errno) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let text = crate::error::describe(errno.raw_os_error());
    if errno == Errno::NOSYS {
        return "this kernel has no bpf(2)".into();
    }
    if read("/sys/kernel/security/lockdown").contains("[confidentiality]") {
        return "this kernel is locked down for confidentiality, so that no program may read its memory"
            .into();
    }
    let has = capabilities(None).map_or(0, |sets| sets.effective.bits());
    let admin = has & 1 << SYS_ADMIN != 0;
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(bit, _)| has & 1 << bit == 0).map(|(_, name)| *name).collect();
    if errno != Errno::PERM {
        return format!("bpf(2): {text}");
    }
    if !admin && !missing.is_empty() {
        return lacks(&missing, &read("/proc/sys/kernel/cap_last_cap"));
    }
    if read("/proc/self/uid_map").split_whitespace().ne(["0", "0", "4294967295"]) {
        return "in a container's user namespace nobody may load programs into the kernel: run fence outside"
            .into();
    }
    if let Some(limit) = getrlimit(Resource::Memlock).maximum.filter(|limit| *limit < LOCKED) {
        return format!(
            "bpf(2): {text}; up to Linux 5.10 its memory counts as locked, of which {limit} bytes are allowed here: raise that \
             (ulimit -l, LimitMEMLOCK=)"
        );
    }
    format!("bpf(2): {text}, although the capabilities are there: a container's seccomp profile forbids it")
}

fn lacks(missing: &[&str], last_capability: &str) -> String {
    if last_capability.trim().parse().is_ok_and(|last: u32| last < NEEDED[0].0) {
        return "on this kernel (below 5.8) only root may (CAP_SYS_ADMIN)".into();
    }
    let fence = std::env::current_exe().map_or("fence".into(), |path| path.display().to_string());
    let ignored = match no_new_privs() {
        Ok(true) => " (capabilities of files do not count here: no_new_privs is set)",
        _ => "",
    };
    let missing = missing.join(" and ");
    if rustix::process::geteuid().is_root() {
        return format!("it takes {missing}, which root lacks in this container: run fence outside");
    }
    format!("it takes {missing}{ignored}: run as root, or once as root: setcap cap_bpf,cap_perfmon+p {fence}")
}
