//! The only folder that may use `unsafe`: system calls that rustix does not have, each a few lines, no decisions.
//!
//! # Safety
//!
//! Every block hands the kernel pointers to values that live across the call, or plain integers. Nothing here
//! keeps a pointer after the call. The functions that change what later code may assume (`clone`, `exec`,
//! `wipe_arguments`) are called while the process has one thread.
#![allow(unsafe_code)]

pub mod arena;
pub mod bpf;
pub mod fd;
pub mod landlock;
pub mod mount;
pub mod notify;
pub mod process;
pub mod ptrace;
pub mod seccomp;
pub mod signal;
pub mod thread;
pub mod time;

use rustix::io::Errno;

/// A system call's result: the kernel's answer or its errno.
pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the C convention (-1 and errno) into a `Result`.
fn check(answer: libc::c_long) -> Result<libc::c_long> {
    if answer == -1 {
        Err(Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)))
    } else {
        Ok(answer)
    }
}

/// The kernel's Landlock ABI; 0 where Landlock is not built in or not enabled.
pub fn landlock_abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the kernel wants a null pointer and a size of zero, and answers with a number.
    let answer = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION)
    });
    answer.map_or(0, |abi| abi as u32)
}

/// Bits of the Landlock errors that this kernel has repaired; 0 where it does not say.
pub fn landlock_errata() -> u32 {
    const ERRATA: u32 = 2;
    // SAFETY: as for the version.
    let answer = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, ERRATA)
    });
    answer.map_or(0, |bits| bits as u32)
}

/// Fills `bytes` with random numbers of the kernel.
pub fn random(bytes: &mut [u8]) -> Result<()> {
    // SAFETY: the buffer is valid for its length.
    check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } as libc::c_long).map(drop)
}

/// Bytes of a page of memory.
pub fn page_size() -> usize {
    // SAFETY: sysconf takes a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// Whether the program file gave this process rights that the caller lacks (AT_SECURE): file capabilities, say. The kernel
/// said so at exec.
pub fn secure_exec() -> bool {
    // SAFETY: getauxval takes a number and reads the vector that the kernel put on the stack.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
