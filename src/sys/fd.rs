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

/// Has the kernel send this process SIGIO whenever a name appears in the directory or goes away (dnotify). It must be open
/// for reading, and stay open.
pub fn tell_changes(directory: BorrowedFd<'_>) -> Result<()> {
    // fcntl.h; the libc crate lacks them for musl.
    const F_NOTIFY: libc::c_int = 1026;
    const CREATE_DELETE_RENAME_AGAIN: libc::c_ulong = 0x4 | 0x8 | 0x10 | 0x8000_0000;
    // SAFETY: fcntl takes two integers here.
    let answer = unsafe { libc::fcntl(directory.as_raw_fd(), F_NOTIFY, CREATE_DELETE_RENAME_AGAIN) };
    check(libc::c_long::from(answer)).map(drop)
}

/// Closes every descriptor from 3 on but these. Nothing that is closed may be used again: for a process that never returns.
pub fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd > 2).collect();
    crate::order::sort(&mut keep);
    let mut first = 3;
    for last in keep.into_iter().map(|fd| fd - 1).chain([RawFd::MAX]) {
        // SAFETY: three integers; the caller gives up what is closed.
        if first <= last && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == -1 {
            // Before 5.9.
            for fd in first..=last.min(highest()) {
                // SAFETY: as above.
                unsafe { libc::close(fd) };
            }
        }
        first = last.saturating_add(2);
    }
}

/// No descriptor above this one is open. A limit that was lowered later closes none, so the list comes first.
fn highest() -> RawFd {
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let highest = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max();
    highest.unwrap_or_else(|| {
        let most = 1 << 20;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        limit.map_or(most, |limit| limit.min(most as u64) as RawFd)
    })
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

/// Ties a socket to the loopback device, so that nothing else can be reached with it or reach it. Who has no capability may
/// do that once and not undo it (5.7).
pub fn tie_to_loopback(socket: BorrowedFd<'_>) -> Result<()> {
    let name = c"lo";
    // SAFETY: the name outlives the call, and its length counts the final NUL.
    check(libc::c_long::from(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            name.to_bytes_with_nul().len() as libc::socklen_t,
        )
    }))
    .map(drop)
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
