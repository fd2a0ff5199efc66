//! Directories by file descriptor: opening, reading with the kernel's own types, and asking what they are.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, fstatfs, openat, openat2, readlinkat,
};
use rustix::io::{Errno, Result};
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// File systems that show the kernel's state, not files: no search wanders into them.
const PSEUDO: &[u64] = &[
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
    0xcafe_4a11, // bpf
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x1980_0202, // mqueue
    0x4249_4e4d, // binfmt_misc
    0x6573_5543, // fusectl
];

/// Room for the entries of one getdents64 call.
const BUFFER: usize = 64 * 1024;

/// A buffer to read directories with, one after the other.
pub(crate) struct Reader {
    buffer: Vec<MaybeUninit<u8>>,
}

impl Reader {
    pub(crate) fn new() -> Reader {
        Reader { buffer: vec![MaybeUninit::uninit(); BUFFER] }
    }

    /// Calls `each` with the name and type of every entry but `.` and `..`, until it says stop (false).
    pub(crate) fn read(
        &mut self,
        dir: BorrowedFd,
        mut each: impl FnMut(&[u8], FileType) -> bool,
    ) -> Result<()> {
        let mut entries = RawDir::new(dir, &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                // A file system that does not say.
                FileType::Unknown => kind(dir, name).unwrap_or(FileType::Unknown),
                known => known,
            };
            if !each(name, kind) {
                break;
            }
        }
        Ok(())
    }
}

/// The type of an entry, symbolic links not followed.
pub(crate) fn kind(dir: BorrowedFd, name: &[u8]) -> Result<FileType> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Whether an entry, with symbolic links followed, is a directory.
pub(crate) fn leads_to_directory(dir: BorrowedFd, name: &[u8]) -> bool {
    let stat = rustix::fs::statat(dir, name, AtFlags::empty());
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// A directory that was opened.
pub(crate) struct Opened {
    pub(crate) fd: OwnedFd,
    /// Why it can't be read; names can be looked up in it nevertheless.
    pub(crate) refused: Option<Errno>,
    /// It may be on another mount than the directory from which it was opened.
    pub(crate) crossed: bool,
}

/// Opens a directory to look names up in it, or to `read` it when that is allowed. `path` has no symbolic link at its end.
pub(crate) fn open(dir: BorrowedFd, path: &[u8], read: bool) -> Result<Opened> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let wanted = if read { flags | OFlags::RDONLY } else { flags | OFlags::PATH };
    // One call opens it and tells that it is on the same mount. It says no to a mount point, and where it is not known.
    if let Ok(fd) = openat2(dir, path, wanted, Mode::empty(), ResolveFlags::NO_XDEV) {
        return Ok(Opened { fd, refused: None, crossed: false });
    }
    let (fd, refused) = match openat(dir, path, wanted, Mode::empty()) {
        Err(errno @ (Errno::ACCESS | Errno::PERM)) if read => {
            (openat(dir, path, flags | OFlags::PATH, Mode::empty())?, Some(errno))
        }
        opened => (opened?, None),
    };
    Ok(Opened { fd, refused, crossed: true })
}

/// Opens what a symbolic link leads to, when that is a directory, to ask what it is.
pub(crate) fn follow(dir: BorrowedFd, name: &[u8]) -> Result<OwnedFd> {
    openat(dir, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The kernel's own name for what was opened; `None` where /proc is not mounted.
pub(crate) fn real_path(opened: impl AsFd) -> Option<PathBuf> {
    let number = opened.as_fd().as_raw_fd();
    let name = readlinkat(CWD, format!("/proc/self/fd/{number}"), Vec::new()).ok()?.into_bytes();
    let real = name.starts_with(b"/") && !name.ends_with(b" (deleted)");
    real.then(|| OsString::from_vec(name).into())
}

/// Whether an open directory belongs to a file system of kernel state.
pub(crate) fn is_pseudo(dir: impl AsFd) -> bool {
    fstatfs(dir).is_ok_and(|fs| PSEUDO.contains(&(fs.f_type as u64 & 0xffff_ffff)))
}
