//! Rights that the program file gives beyond the caller's: refused, or kept for the monitor alone, and given up before anything
//! of the user's runs.

use crate::error::{Failure, Result};
use crate::sys::secure_exec;
use rustix::process::{getegid, geteuid, getgid, getuid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// What `setcap` may give fence: CAP_BPF and CAP_PERFMON, and CAP_SYS_ADMIN, which stands for both below Linux 5.8.
pub const MONITOR: u64 = 1 << 39 | 1 << 38 | 1 << 21;

/// First of all: from here on files are opened, processes looked at and namespaces made with the caller's own rights. What the
/// monitor may use later stays in reach.
///
/// # Errors
/// The file is set-user-ID or set-group-ID: its owner's rights are more than fence has a use for, and the command would have them.
pub fn put_away() -> Result<()> {
    if !secure_exec() {
        return Ok(());
    }
    if getuid() != geteuid() || getgid() != getegid() {
        return Err(Failure::new(
            "cannot run with the rights of another user or group: the command would have them",
        )
        .hint("chmod ug-s takes the set-user-ID bit off this program or the one that calls it"));
    }
    let permitted = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    keep(permitted & CapabilitySet::from_bits_retain(MONITOR))
}

/// For good: from here on nobody has more rights than the caller.
///
/// # Errors
/// The kernel does not let them go.
pub fn give_up() -> Result<()> {
    if secure_exec() { keep(CapabilitySet::empty()) } else { Ok(()) }
}

/// Nothing effective, and no more than this in reach.
fn keep(permitted: CapabilitySet) -> Result<()> {
    let nothing = CapabilitySet::empty();
    let sets = CapabilitySets { effective: nothing, permitted, inheritable: nothing };
    set_capabilities(None, sets).map_err(|errno| {
        Failure::new("cannot give up the capabilities of the program file").errno(errno.raw_os_error())
    })
}
