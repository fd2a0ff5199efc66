//! The two ways to mount: the descriptor calls (Linux 5.2, mount_setattr 5.12), and mount(2) with a walk that remounts
//! each mount below. Which one is decided once.

use crate::error::Result;
use crate::mountinfo;
use crate::nofollow::open_below;
use crate::sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY, set_attributes};
use rustix::fs::{CWD, OFlags, StatVfsMountFlags, fstatvfs, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_bind,
    mount_bind_recursive, mount_change, mount_remount, move_mount, open_tree,
};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

type Answer<T> = std::result::Result<T, Errno>;

/// A process's own descriptors, where its /proc is the host's.
pub(super) const DESCRIPTORS: &str = "/proc/self/fd/";

/// How this kernel mounts.
pub(super) enum Attach {
    /// open_tree, mount_setattr, move_mount: attributes are set before anything shows.
    Descriptors,
    /// mount(2), with the host's mount points: each below a bind is remounted with the flags it must have. The text is where
    /// this process finds its own descriptors.
    Remount(Vec<PathBuf>, &'static str),
}

impl Attach {
    /// By descriptor where the kernel has mount_setattr.
    pub(super) fn new(by_descriptor: bool) -> Result<Attach> {
        if by_descriptor {
            return Ok(Attach::Descriptors);
        }
        let table = std::fs::read("/proc/self/mountinfo").map_err(|e| {
            let errno = Errno::from_io_error(&e).unwrap_or(Errno::IO);
            super::failed("read /proc/self/mountinfo", errno)
                .hint("this kernel needs a mounted /proc to set a sandbox up")
        })?;
        Ok(Attach::Remount(mountinfo::points(&table), DESCRIPTORS))
    }

    /// The host's whole tree over `/`, every mount of it with `flags`; a handle on its root.
    pub(super) fn host_root(&self, flags: u64) -> Answer<OwnedFd> {
        match self {
            Attach::Descriptors => {
                let tree = open_tree(CWD, "/", CLONE | OpenTreeFlags::AT_RECURSIVE)?;
                set_attributes(tree.as_fd(), flags, true)?;
                over_root(&tree)?;
                Ok(tree)
            }
            Attach::Remount(points, own) => {
                // Or what is mounted here would appear on the host.
                mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
                mount_bind_recursive("/", "/")?;
                let root = top()?;
                for point in points {
                    remount(own, root.as_fd(), point, flags)?;
                }
                Ok(root)
            }
        }
    }

    /// An empty root in memory over `/`.
    pub(super) fn empty_root(&self) -> Answer<OwnedFd> {
        match self {
            Attach::Descriptors => {
                let tree = fresh_mount("tmpfs", &[("mode", "755")], NOSUID | NODEV)?;
                over_root(&tree)?;
                Ok(tree)
            }
            Attach::Remount(..) => {
                mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
                let data = CString::new("mode=755").map_err(|_| Errno::INVAL)?;
                mount("tmpfs", "/", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(data.as_c_str()))?;
                top()
            }
        }
    }

    /// What `source` stands for (with all mounts below, when `recursive`) over `target`, with `flags` added to those that
    /// the host has; a handle on it. `path` is where the source is on the host.
    pub(super) fn bind(
        &self,
        source: BorrowedFd<'_>,
        path: &Path,
        target: BorrowedFd<'_>,
        flags: u64,
        recursive: bool,
    ) -> Answer<OwnedFd> {
        match self {
            Attach::Descriptors => {
                let depth = if recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
                let tree = open_tree(source, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH | depth)?;
                set_attributes(tree.as_fd(), flags, recursive)?;
                onto(&tree, target)?;
                Ok(tree)
            }
            Attach::Remount(points, own) => {
                let from = magic(own, source);
                if recursive {
                    mount_bind_recursive(&from, magic(own, target))?
                } else {
                    mount_bind(&from, magic(own, target))?
                }
                let top = over(own, target)?;
                restrict(own, top.as_fd(), flags)?;
                let below = points
                    .iter()
                    .filter_map(|p| p.strip_prefix(path).ok())
                    .filter(|p| !p.as_os_str().is_empty());
                for point in below.filter(|_| recursive) {
                    remount(own, top.as_fd(), point, flags)?;
                }
                Ok(top)
            }
        }
    }

    /// Binds a symbolic link on `target`, which may be the link itself.
    pub(super) fn link(&self, link: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Answer<()> {
        match self {
            Attach::Descriptors => {
                let tree = open_tree(link, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH)?;
                set_attributes(tree.as_fd(), RDONLY | NOSUID | NODEV, false)?;
                onto(&tree, target)
            }
            Attach::Remount(_, own) => mount_bind(magic(own, link), magic(own, target)),
        }
    }

    /// A new file system over `target`; a handle on it.
    pub(super) fn fresh(
        &self,
        kind: &str,
        options: &[(&str, &str)],
        target: BorrowedFd<'_>,
        flags: u64,
    ) -> Answer<OwnedFd> {
        match self {
            Attach::Descriptors => {
                let tree = fresh_mount(kind, options, flags)?;
                onto(&tree, target)?;
                Ok(tree)
            }
            Attach::Remount(_, own) => {
                let data =
                    options.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
                let data = CString::new(data).map_err(|_| Errno::INVAL)?;
                mount(kind, magic(own, target), kind, mount_flags(flags), Some(data.as_c_str()))?;
                over(own, target)
            }
        }
    }

    /// Adds flags to one mount.
    pub(super) fn restrict(&self, mount: BorrowedFd<'_>, flags: u64) -> Answer<()> {
        match self {
            Attach::Descriptors => set_attributes(mount, flags, false),
            Attach::Remount(_, own) => restrict(own, mount, flags),
        }
    }
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// Lays a detached tree over `/`. All mounts below are made private first: the tree would appear on the host, and when the
/// old root is detached, what is mounted on a shared mount would be unmounted there too.
fn over_root(tree: &OwnedFd) -> Answer<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    move_mount(tree, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn onto(tree: &OwnedFd, target: BorrowedFd<'_>) -> Answer<()> {
    let by_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", by_descriptor)
}

fn fresh_mount(kind: &str, options: &[(&str, &str)], flags: u64) -> Answer<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    // MOUNT_ATTR_* has the same values here and in mount_setattr.
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain(flags as u32))
}

/// The mount that lies over `/` of this process: `..` of the root leads to what is mounted on it.
fn top() -> Answer<OwnedFd> {
    open("/..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
}

/// What was just mounted over `target`: its magic link leads there once more, through the mount.
fn over(own: &str, target: BorrowedFd<'_>) -> Answer<OwnedFd> {
    let path = rustix::fs::readlinkat(CWD, magic(own, target), Vec::new())?;
    let path = Path::new(OsStr::from_bytes(path.as_bytes()));
    let root = top()?;
    open_below(root.as_fd(), path)
}

/// A path that names an open descriptor, for calls that take no descriptor.
fn magic(own: &str, fd: BorrowedFd<'_>) -> String {
    format!("{own}{}", fd.as_raw_fd())
}

/// Remounts the mount at `point` below `root`. One that can't be reached needs no flags: nobody inside can reach it either.
fn remount(own: &str, root: BorrowedFd<'_>, point: &Path, flags: u64) -> Answer<()> {
    match open_below(root, point).and_then(|mount| restrict(own, mount.as_fd(), flags)) {
        Err(Errno::NOENT | Errno::ACCESS | Errno::NOTCONN | Errno::STALE | Errno::LOOP | Errno::NOTDIR) => {
            Ok(())
        }
        other => other,
    }
}

/// Adds flags to those that a mount has: a remount without a locked one of them is refused.
fn restrict(own: &str, mount: BorrowedFd<'_>, flags: u64) -> Answer<()> {
    let has = fstatvfs(mount)?.f_flag;
    let kept = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let kept =
        kept.iter().filter(|(flag, _)| has.contains(*flag)).fold(MountFlags::empty(), |all, (_, f)| all | *f);
    mount_remount(magic(own, mount), MountFlags::BIND | kept | mount_flags(flags), c"")
}

fn mount_flags(flags: u64) -> MountFlags {
    let pairs = [
        (RDONLY, MountFlags::RDONLY),
        (NOSUID, MountFlags::NOSUID),
        (NODEV, MountFlags::NODEV),
        (NOEXEC, MountFlags::NOEXEC),
    ];
    pairs.iter().filter(|(bit, _)| flags & bit != 0).fold(MountFlags::empty(), |all, (_, flag)| all | *flag)
}
