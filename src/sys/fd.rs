//! Descriptors by number: what was inherited, and the loopback device.

use super::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Marks every descriptor from `first` to `last` close-on-exec (or closes it where the kernel is older than 5.11).
pub fn close_on_exec(first: u32, last: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: three integers. Only flags of descriptors change; none that a Rust owner still uses is closed.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Marks one inherited descriptor close-on-exec; a closed number is no error.
pub fn set_close_on_exec(fd: RawFd) {
    // SAFETY: F_SETFD changes a flag of the descriptor, whoever owns it.
    unsafe {
        libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
    }
}

/// An inherited descriptor for inspection; it is not closed here.
pub fn inherited(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: inherited descriptors stay open for the life of the process: fence only marks them close-on-exec.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Duplicates `from` onto the number `to` (which is closed first), without close-on-exec: it stays over exec.
pub fn move_to(from: OwnedFd, to: RawFd) -> Result<()> {
    // SAFETY: dup3 takes integers; `to` is a number that the command line names, or 0, 1 or 2: nothing in Rust owns those.
    check(libc::c_long::from(unsafe { libc::dup3(from.as_raw_fd(), to, 0) })).map(drop)
}

/// Brings the loopback device of the current network namespace up.
pub fn loopback_up() -> Result<()> {
    // SAFETY: socket returns a new descriptor that is owned from here on; `request` is a whole ifreq that outlives
    // both calls, with a NUL-terminated name.
    unsafe {
        let socket =
            check(libc::c_long::from(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)))?;
        let socket = OwnedFd::from_raw_fd(socket as RawFd);
        let mut request = std::mem::zeroed::<libc::ifreq>();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(libc::c_long::from(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )))
        .map(drop)
    }
}
