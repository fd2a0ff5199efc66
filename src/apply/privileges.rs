//! capabilities(7): what is dropped and what root keeps.

use super::failed;
use crate::error::Result;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// For the command: the bounding set first (it needs SETPCAP), then the rest, then no_new_privs.
pub(super) fn drop_all_but(keep: u64) -> Result<()> {
    bound(keep)?;
    clear_ambient_capability_set().map_err(|e| failed("clear the ambient capabilities", e))?;
    set(keep)?;
    set_no_new_privs(true).map_err(|e| failed("set no_new_privs", e))
}

/// For init: nothing but the right to pass signals on to a command that changed its user.
pub(super) fn drop_for_init(keep: u64) -> Result<()> {
    set_no_new_privs(true).map_err(|e| failed("set no_new_privs", e))?;
    set(keep)
}

/// The kernel answers EINVAL past its last capability, which ends the list. Without SETPCAP it answers EPERM: then
/// no_new_privs alone keeps a program from gaining what the set would allow.
fn bound(keep: u64) -> Result<()> {
    for bit in (0..64).filter(|bit| keep & (1 << bit) == 0) {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::PERM) => break,
            Err(errno) => return Err(failed("drop a capability from the bounding set", errno)),
        }
    }
    Ok(())
}

fn set(keep: u64) -> Result<()> {
    let keep = CapabilitySet::from_bits_retain(keep);
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(|e| failed("drop capabilities", e))
}
