//! seccomp(2).

use super::{Result, check};
use crate::plan::bpf::Instruction;

/// `struct sock_fprog`
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// Installs a filter on the calling thread for good; no_new_privs must be set (or CAP_SYS_ADMIN held).
pub fn install(filter: &[Instruction]) -> Result<()> {
    let Ok(len) = u16::try_from(filter.len()) else { return Err(rustix::io::Errno::TOOBIG) };
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` and the instructions it points to outlive the call; `len` is their number.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0u32, &raw const program)
    })
    .map(drop)
}

/// Whether filters can be installed: asked with a null program, which the kernel answers with EFAULT.
pub fn available() -> bool {
    // SAFETY: the kernel checks the pointer itself and answers EFAULT.
    let answer = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0u32, std::ptr::null::<Program>())
    });
    answer == Err(rustix::io::Errno::FAULT)
}
