//! landlock(7): make a ruleset, add rules, apply it.

use super::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `struct landlock_ruleset_attr`: what a ruleset denies unless a rule allows it. A kernel that knows fewer fields takes the
/// longer structure as long as what it does not know is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Handled {
    /// `LANDLOCK_ACCESS_FS_*`
    pub fs: u64,
    /// `LANDLOCK_ACCESS_NET_*`
    pub net: u64,
    /// `LANDLOCK_SCOPE_*`
    pub scoped: u64,
}

const RULE_PATH_BENEATH: libc::c_int = 1;
const RULE_NET_PORT: libc::c_int = 2;

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
struct PathBeneath {
    access: u64,
    parent: i32,
}

/// `struct landlock_net_port_attr`
#[repr(C)]
struct NetPort {
    access: u64,
    port: u64,
}

/// A new ruleset.
pub fn create(handled: &Handled) -> Result<OwnedFd> {
    // SAFETY: the kernel reads one whole structure, which outlives the call; the answer is a new descriptor, owned from here on.
    unsafe {
        let (at, size) = (std::ptr::from_ref(handled), size_of::<Handled>());
        let fd = check(libc::syscall(libc::SYS_landlock_create_ruleset, at, size, 0u32))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Allows `access` to what lies at or below `place`.
pub fn allow_below(ruleset: BorrowedFd<'_>, place: BorrowedFd<'_>, access: u64) -> Result<()> {
    add(ruleset, RULE_PATH_BENEATH, &PathBeneath { access, parent: place.as_raw_fd() })
}

/// Allows `access` to a port.
pub fn allow_port(ruleset: BorrowedFd<'_>, port: u16, access: u64) -> Result<()> {
    add(ruleset, RULE_NET_PORT, &NetPort { access, port: u64::from(port) })
}

fn add<T>(ruleset: BorrowedFd<'_>, kind: libc::c_int, rule: &T) -> Result<()> {
    let at = std::ptr::from_ref(rule);
    // SAFETY: `at` is a whole structure of the kind that is named, and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), kind, at, 0u32) })
        .map(drop)
}

/// Restricts this thread, and what it starts, for good; no_new_privs must be set.
pub fn restrict_self(ruleset: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: two integers.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) }).map(drop)
}
