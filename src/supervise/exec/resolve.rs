//! Paths as another process sees them: from its root, its working directory and its descriptors.

use crate::facts::FileId;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatfs, openat, openat2, readlinkat,
    statat,
};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A file that was found.
pub(super) struct Found {
    handle: OwnedFd,
    pub(super) stat: Stat,
    /// Its own path, as far as it can be named.
    pub(super) real: String,
    /// It was reached by a descriptor, not by a name: its own name is the one that counts.
    pub(super) by_descriptor: bool,
}

/// `PROC_SUPER_MAGIC`
const PROC: u64 = 0x9fa0;
/// As many links as the kernel follows.
const LINKS: usize = 40;
const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Found {
    pub(super) fn id(&self) -> FileId {
        id(&self.stat)
    }

    pub(super) fn is_regular(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::RegularFile
    }

    /// The first bytes, when it may be read.
    pub(super) fn head(&self) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(CWD, path_of(&self.handle), flags, Mode::empty()).ok()?;
        let mut head = vec![0; 256];
        let read = rustix::io::pread(&file, &mut head, 0).ok()?;
        head.truncate(read);
        Some(head)
    }
}

pub(super) fn id(stat: &Stat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

fn path_of(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

/// Finds what `path` leads the thread `tid` to.
pub(super) fn find(tid: u32, directory: i32, path: &[u8], follow: bool) -> Result<Found, Errno> {
    let (start, scope) = match (path.first(), directory) {
        (Some(b'/'), _) => (root_of(tid)?, ResolveFlags::IN_ROOT),
        (_, libc::AT_FDCWD) => (open_magic(&format!("/proc/{tid}/cwd"))?, ResolveFlags::BENEATH),
        // A thread can have descriptors of its own.
        _ => (
            open_magic(&format!("/proc/{tid}/fd/{directory}")).map_err(|e| match e {
                Errno::NOENT => Errno::BADF,
                other => other,
            })?,
            ResolveFlags::BENEATH,
        ),
    };
    // The kernel takes the whole way at once, if it leads through nothing of procfs and, when it is relative, only down. Its
    // failures are not the last word, since a link to `self` there is the supervisor's; but what is not there without any link
    // is not there.
    let flags = if follow { HANDLE.difference(OFlags::NOFOLLOW) } else { HANDLE };
    let at_once = |links| openat2(&start, path, flags, Mode::empty(), scope | links);
    let (handle, by_descriptor) = match at_once(ResolveFlags::NO_MAGICLINKS) {
        Ok(handle) if !path.is_empty() => (handle, false),
        Err(Errno::NOENT)
            if !path.is_empty() && matches!(at_once(ResolveFlags::NO_SYMLINKS), Err(Errno::NOENT)) =>
        {
            return Err(Errno::NOENT);
        }
        _ => {
            let root = root_of(tid)?;
            let mut walk = Walk { tid, root, links: 0, by_descriptor: path.is_empty() };
            (walk.from(start, path, follow)?, walk.by_descriptor)
        }
    };
    let stat = fstat(&handle)?;
    let real = readlinkat(CWD, path_of(&handle), Vec::new())?;
    Ok(Found { stat, real: real.to_string_lossy().into_owned(), by_descriptor, handle })
}

fn root_of(tid: u32) -> Result<OwnedFd, Errno> {
    open_magic(&format!("/proc/{tid}/root"))
}

fn open_magic(path: &str) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

struct Walk {
    tid: u32,
    root: OwnedFd,
    links: usize,
    by_descriptor: bool,
}

impl Walk {
    fn from(&mut self, start: OwnedFd, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
        let mut at = start;
        let mut todo = components(path);
        while let Some(name) = todo.pop_front() {
            let follow = follow || !todo.is_empty();
            self.by_descriptor = false;
            if name == b".." {
                // The root has no parent.
                if id(&fstat(&at)?) != id(&fstat(&self.root)?) {
                    at = openat(&at, c"..", HANDLE, Mode::empty())?;
                }
                continue;
            }
            let next = openat(&at, name.as_slice(), HANDLE, Mode::empty())?;
            if !follow || FileType::from_raw_mode(fstat(&next)?.st_mode) != FileType::Symlink {
                at = next;
                continue;
            }
            self.links += 1;
            if self.links > LINKS {
                return Err(Errno::LOOP);
            }
            if fstatfs(&at)?.f_type as u64 == PROC
                && let Some(reached) = self.through_proc(at.as_fd(), &name)?
            {
                at = reached;
                continue;
            }
            let text = readlinkat(&next, c"", Vec::new())?.into_bytes();
            if text.starts_with(b"/") {
                at = self.root.try_clone().map_err(|e| super::request::errno(&e))?;
            }
            let mut path = components(&text);
            path.append(&mut todo);
            todo = path;
        }
        Ok(at)
    }

    /// Links of procfs that are more than text. `self` means who asks, so the caller's own directory of our procfs stands for
    /// it; what `exe`, `cwd`, `root` and descriptors lead to is asked of the kernel.
    fn through_proc(&mut self, at: BorrowedFd<'_>, name: &[u8]) -> Result<Option<OwnedFd>, Errno> {
        let top = statat(at, c"self", AtFlags::SYMLINK_NOFOLLOW).is_ok();
        match name {
            b"self" if top => open_magic(&format!("/proc/{}", self.tid)).map(Some),
            b"thread-self" if top => open_magic(&format!("/proc/{0}/task/{0}", self.tid)).map(Some),
            _ if top => Ok(None),
            _ => {
                self.by_descriptor = true;
                openat(at, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map(Some)
            }
        }
    }
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.map(<[u8]>::to_vec).collect()
}
