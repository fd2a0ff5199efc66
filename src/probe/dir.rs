//! Directories by file descriptor: opening, reading with the kernel's own types, and telling one from another.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, StatxFlags, fstat, fstatfs, openat, statx};
use rustix::io::{Errno, Result};
use std::mem::MaybeUninit;

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

/// Opens a directory; the last component may be a symbolic link only when `follow`.
pub(crate) fn open(dir: BorrowedFd, path: &[u8], follow: bool) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOCTTY;
    openat(dir, path, if follow { flags } else { flags | OFlags::NOFOLLOW }, Mode::empty())
}

/// Which directory it is. The mount belongs to it: a bind mount shows the same directory at a second path, and a rule for
/// one of the paths does not hold at the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    mount: u64,
    /// The device.
    pub(crate) device: (u32, u32),
    inode: u64,
}

/// Identifies an open directory.
pub(crate) fn identity(dir: impl AsFd) -> Result<Identity> {
    let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MNT_ID;
    match statx(&dir, "", AtFlags::EMPTY_PATH, wanted) {
        // Before Linux 5.8 the mount is 0.
        Ok(found) => Ok(Identity {
            mount: found.stx_mnt_id,
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        }),
        // statx refused by an old container's filter.
        Err(Errno::NOSYS | Errno::PERM) => {
            let stat = fstat(dir)?;
            let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
            Ok(Identity { mount: 0, device, inode: stat.st_ino })
        }
        Err(errno) => Err(errno),
    }
}

/// Whether an open directory belongs to a file system of kernel state.
pub(crate) fn is_pseudo(dir: impl AsFd) -> bool {
    fstatfs(dir).is_ok_and(|fs| PSEUDO.contains(&(fs.f_type as u64 & 0xffff_ffff)))
}
