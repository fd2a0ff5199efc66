//! seccomp(2).

use super::{Result, check};
use crate::plan::bpf::Instruction;
use std::os::fd::{FromRawFd, OwnedFd};

/// `struct sock_fprog`
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`
const NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (5.19)
const WAIT_KILLABLE: u32 = 1 << 5;

/// Installs a filter on the calling thread for good; no_new_privs must be set (or CAP_SYS_ADMIN held).
pub fn install(filter: &[Instruction]) -> Result<()> {
    load(filter, 0).map(drop)
}

/// The same for a filter that asks somebody: who reads the descriptor answers. `killable`: only a fatal signal disturbs a
/// call that waits for its answer (5.19).
pub fn install_with_listener(filter: &[Instruction], killable: bool) -> Result<OwnedFd> {
    let fd = load(filter, NEW_LISTENER | if killable { WAIT_KILLABLE } else { 0 })?;
    // SAFETY: with this flag the answer is a new descriptor, owned from here on; the kernel made it close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn load(filter: &[Instruction], flags: u32) -> Result<libc::c_long> {
    let Ok(len) = u16::try_from(filter.len()) else { return Err(rustix::io::Errno::TOOBIG) };
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` and the instructions it points to outlive the call; `len` is their number.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })
}

/// Whether the kernel knows what a filter may answer (`SECCOMP_RET_*`).
pub fn knows(action: u32) -> bool {
    // SAFETY: the kernel reads one integer, which outlives the call.
    let answer = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0u32, &raw const action)
    });
    answer.is_ok()
}

/// Whether filters can be installed: asked with a null program, which the kernel answers with EFAULT.
pub fn available() -> bool {
    // SAFETY: the kernel checks the pointer itself and answers EFAULT.
    let answer = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0u32, std::ptr::null::<Program>())
    });
    answer == Err(rustix::io::Errno::FAULT)
}
