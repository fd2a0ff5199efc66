//! Opening without following a symbolic link: openat2(2) where the kernel has it (5.6), component by component below.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

/// What is read of a file at most.
const MOST_TEXT: u64 = 1024 * 1024;

const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// A handle on a canonical path of the host's tree; a symbolic link anywhere in it is ELOOP.
pub(crate) fn open_host(path: &Path) -> Result<OwnedFd, Errno> {
    match openat2(CWD, path, HANDLE, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => {
            walk(openat(CWD, "/", HANDLE | OFlags::DIRECTORY, Mode::empty())?, path)
        }
        other => other,
    }
}

/// The same in the new tree, whose root is `root`.
pub(crate) fn open_below(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    if relative.as_os_str().is_empty() {
        // `.` is looked up like any name, so it leads to what is mounted over the root by now.
        return openat(root, ".", HANDLE | OFlags::DIRECTORY, Mode::empty());
    }
    match openat2(root, relative, HANDLE, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH) {
        Err(Errno::NOSYS | Errno::PERM) => {
            walk(root.try_clone_to_owned().map_err(|_| Errno::MFILE)?, relative)
        }
        other => other,
    }
}

fn walk(mut at: OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    for component in path.components() {
        match component {
            Component::Normal(name) => at = openat(&at, name, HANDLE, Mode::empty())?,
            Component::RootDir | Component::CurDir => continue,
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL),
        }
        if FileType::from_raw_mode(fstat(&at)?.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP);
        }
    }
    Ok(at)
}

/// `mkdir -p` in the new tree. Only the last directory gets `mode`, unless that is private; what
/// exists stays as it is.
pub(crate) fn make_directories(root: BorrowedFd<'_>, path: &Path, mode: u32) -> Result<(), Errno> {
    let names: Vec<_> = path.components().filter(|c| matches!(c, Component::Normal(_))).collect();
    let mut below: Option<OwnedFd> = None;
    for (i, name) in names.iter().enumerate() {
        let at = below.as_ref().map_or(root, AsFd::as_fd);
        let last = i + 1 == names.len();
        let name = Path::new(name.as_os_str());
        match mkdirat(at, name, Mode::from_raw_mode(if last || mode & 0o077 == 0 { mode } else { 0o755 })) {
            Ok(()) | Err(Errno::EXIST) => {}
            // A read-only file system answers EROFS before EEXIST: fine when the directory is there.
            Err(Errno::ROFS) if rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() => {}
            Err(errno) => return Err(errno),
        }
        if !last {
            below = Some(open_below(at, name)?);
        }
    }
    Ok(())
}

/// The text of a regular file of moderate length.
pub(crate) fn text_below(directory: BorrowedFd<'_>, name: &OsStr) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty()).ok()?;
    let regular = FileType::from_raw_mode(fstat(&file).ok()?.st_mode) == FileType::RegularFile;
    let mut text = Vec::new();
    (regular && File::from(file).take(MOST_TEXT).read_to_end(&mut text).is_ok()).then_some(text)
}
