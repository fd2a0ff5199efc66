//! mount_setattr(2), Linux 5.12.

use super::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct mount_attr`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `MOUNT_ATTR_RDONLY`
pub const RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`
pub const NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`
pub const NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`
pub const NOEXEC: u64 = 0x8;

/// Sets attributes on the mount that `tree` stands for (and, when `recursive`, on all below), and makes it private:
/// nothing that happens to it propagates anywhere.
pub fn set_attributes(tree: BorrowedFd<'_>, set: u64, recursive: bool) -> Result<()> {
    let attr = MountAttr { attr_set: set, propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string and `attr` outlives the call; its size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Whether mount_setattr(2) exists and may be called: asked with a size of zero, which it refuses with EINVAL.
pub fn has_set_attributes() -> bool {
    // SAFETY: a size of zero makes the kernel refuse before it reads through the null pointer.
    let answer = check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, -1, c"".as_ptr(), 0, std::ptr::null::<MountAttr>(), 0usize)
    });
    answer == Err(rustix::io::Errno::INVAL)
}
