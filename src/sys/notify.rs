//! seccomp user notification: receive, check, answer (seccomp_unotify(2)).

use super::{Result, check};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct seccomp_notif`: a system call that waits for an answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Notification {
    /// Names the request; never used twice on one listener.
    pub id: u64,
    /// The calling thread, in the reader's PID namespace.
    pub tid: u32,
    flags: u32,
    /// The number, in the call's architecture.
    pub number: i32,
    /// `AUDIT_ARCH_*`
    pub arch: u32,
    instruction: u64,
    /// Registers.
    pub arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const RECEIVE: libc::c_int = 0xc050_2100_u32 as libc::c_int;
/// `struct seccomp_notif_addfd`
#[repr(C)]
struct AddDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    number: u32,
    number_flags: u32,
}

const ADD: libc::c_int = 0x4018_2103;
const SEND: libc::c_int = 0xc018_2101_u32 as libc::c_int;
const ID_VALID: libc::c_int = 0x4008_2102;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE` (5.5)
const CONTINUE: u32 = 1;

/// Lets the kernel run reader and caller one after the other on the same processor (6.6), which saves waking another one;
/// before that there is nothing to gain.
pub fn wake_here(listener: BorrowedFd<'_>) {
    const SET_FLAGS: libc::c_int = 0x4008_2104;
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: integers only.
    unsafe { _ = libc::ioctl(listener.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) };
}

/// The next request; ENOENT when its caller died meanwhile.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification> {
    // The kernel wants it zeroed.
    let mut request = Notification::default();
    // SAFETY: the kernel fills one whole structure, which outlives the call.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut request) }))?;
    Ok(request)
}

/// Whether the caller still waits: what was read of it before is then its own, not a later process's of that number.
pub fn is_valid(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads one u64, which outlives the call.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), ID_VALID as _, &raw const id) }))
        .is_ok()
}

/// Makes the call succeed with this result.
pub fn answer(listener: BorrowedFd<'_>, id: u64, value: i64) -> Result<()> {
    send(listener, &Answer { id, value, error: 0, flags: 0 })
}

/// Gives the caller a copy of a descriptor; its number there (5.9). The call still waits for its answer.
pub fn add_descriptor(
    listener: BorrowedFd<'_>,
    id: u64,
    descriptor: BorrowedFd<'_>,
    close_on_exec: bool,
) -> Result<i64> {
    let number_flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
    let request =
        AddDescriptor { id, flags: 0, source: descriptor.as_raw_fd() as u32, number: 0, number_flags };
    // SAFETY: the kernel reads one whole structure, which outlives the call.
    let number = check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), ADD as _, &raw const request)
    }))?;
    Ok(number)
}

/// Makes the call fail.
pub fn refuse(listener: BorrowedFd<'_>, id: u64, errno: Errno) -> Result<()> {
    send(listener, &Answer { id, value: 0, error: -errno.raw_os_error(), flags: 0 })
}

/// Lets the kernel carry the call out, reading its arguments again.
pub fn go_on(listener: BorrowedFd<'_>, id: u64) -> Result<()> {
    send(listener, &Answer { id, value: 0, error: 0, flags: CONTINUE })
}

fn send(listener: BorrowedFd<'_>, answer: &Answer) -> Result<()> {
    // SAFETY: the kernel reads one whole structure, which outlives the call.
    check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), SEND as _, std::ptr::from_ref(answer))
    }))
    .map(drop)
}
