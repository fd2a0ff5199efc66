//! Where what must not appear is moved to, and what says so when fence did not come to its end: directories of the user's
//! state. Everything is moved by descriptor, on the host's own mounts.

use crate::error::{Failure, Result};
use crate::log::Log;
use crate::nofollow::{make_directories, open_below};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, fstat, open, openat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What was moved aside lies here.
const QUARANTINE: &str = "quarantine";
/// One file for each run that goes on, locked as long as it does: what it watches.
const RUNS: &str = "runs";
/// A list of paths longer than this was not written by fence.
const LONGEST_RECORD: u64 = 16 * 1024 * 1024;

/// fence's own directory below the user's state, made where it is missing and looked through for runs that did not come to
/// their end: what appeared in them is moved aside now. None where there is no such directory, or not the user's own.
pub fn prepare(home: Option<&Path>, log: &Log) -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    // Not through links: below the home directory a command may have planted them.
    let (base, below) = match (state, home) {
        (Some(state), _) => (state, PathBuf::from("fence")),
        (None, Some(home)) => (home.canonicalize().ok()?, PathBuf::from(".local/state/fence")),
        (None, None) => return None,
    };
    let own = |fd: &OwnedFd| fstat(fd).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw());
    let top = open_below(root().ok()?.as_fd(), &base).ok().filter(own)?;
    let made = |name: &str| {
        let path = below.join(name);
        open_below(top.as_fd(), &path).or_else(|_| {
            make_directories(top.as_fd(), &path, 0o700)?;
            open_below(top.as_fd(), &path)
        })
    };
    let state = base.join(&below);
    let runs = made(RUNS).ok().filter(own)?;
    made(QUARANTINE).ok().filter(own)?;
    sweep(&runs, &state, log);
    Some(state)
}

fn root() -> std::result::Result<OwnedFd, Errno> {
    open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// What runs that were killed left: their record is there and nobody holds it.
fn sweep(runs: &OwnedFd, state: &Path, log: &Log) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(list) = openat(runs, ".", flags, Mode::empty()) else { return };
    let Ok(entries) = rustix::fs::Dir::new(list) else { return };
    for entry in entries.flatten().filter(|entry| !entry.file_name().to_bytes().starts_with(b".")) {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(record) = openat(runs, entry.file_name(), flags, Mode::empty()) else { continue };
        if rustix::fs::flock(&record, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let mut text = Vec::new();
        let whole = File::from(record).take(LONGEST_RECORD).read_to_end(&mut text).is_ok();
        let paths = text.split(|b| *b == 0).filter(|path| path.starts_with(b"/"));
        let mut quarantine = Quarantine::open(Some(state), OsStr::from_bytes(entry.file_name().to_bytes()));
        for path in paths.filter(|_| whole).map(|path| Path::new(OsStr::from_bytes(path))) {
            match quarantine.take(path) {
                Ok(Some(to)) => log.warn(&format!(
                    "moved {} aside to {}: it appeared in a run that was killed, and programs outside obey it",
                    path.display(),
                    to.display()
                )),
                Ok(None) => {}
                Err(failure) => log.warn(&failure.to_string()),
            }
        }
        _ = unlinkat(runs, entry.file_name(), AtFlags::empty());
    }
}

/// A place to move things to.
pub(super) struct Quarantine {
    /// The host's root: this process may be in another one's mount namespace.
    root: Option<OwnedFd>,
    directory: Option<(OwnedFd, PathBuf)>,
    /// Part of each new name.
    run: OsString,
    count: usize,
}

impl Quarantine {
    pub(super) fn open(state: Option<&Path>, run: &OsStr) -> Quarantine {
        let root = root().ok();
        let directory = state.and_then(|state| {
            let path = state.join(QUARANTINE);
            Some((open_below(root.as_ref()?.as_fd(), &path).ok()?, path))
        });
        Quarantine { root, directory, run: run.to_os_string(), count: 0 }
    }

    /// A directory of the host, no link on the way followed.
    pub(super) fn host(&self, path: &Path) -> std::result::Result<OwnedFd, Errno> {
        open_below(self.root.as_ref().ok_or(Errno::NOENT)?.as_fd(), path)
    }

    /// How many things were moved.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Moves what stands at a path, if anything; says where to. A link on the way leads past the watch: it is moved.
    fn take(&mut self, path: &Path) -> Result<Option<PathBuf>> {
        let mut at = path;
        let kind = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode);
        while let (Some(parent), Some(name)) = (at.parent(), at.file_name()) {
            if let Ok(directory) = self.host(parent)
                && fstat(&directory).is_ok_and(|stat| kind(stat) == FileType::Directory)
            {
                let there = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW);
                let counts = at == path || there.is_ok_and(|stat| kind(stat) == FileType::Symlink);
                return if counts { self.move_aside(directory.as_fd(), parent, name) } else { Ok(None) };
            }
            at = parent;
        }
        Ok(None)
    }

    /// Moves `name` out of `directory`, which is at `at`; says where to. None: it is gone by now.
    pub(super) fn move_aside(
        &mut self,
        directory: BorrowedFd<'_>,
        at: &Path,
        name: &OsStr,
    ) -> Result<Option<PathBuf>> {
        if statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            return Ok(None);
        }
        self.count += 1;
        // The place that it had, as one name.
        let was = at.join(name).into_os_string().into_vec();
        let mut to = OsString::from(format!("{}-", self.count));
        to.push(&self.run);
        let origin: Vec<u8> = was.iter().map(|b| if *b == b'/' { b'%' } else { *b }).take(200).collect();
        to.push(OsString::from_vec(origin));
        if let Some((quarantine, path)) = &self.directory {
            match rename(directory, name, quarantine.as_fd(), &to) {
                Ok(()) => return Ok(Some(path.join(to))),
                Err(Errno::NOENT) => return Ok(None),
                Err(_) => {}
            }
        }
        // On another file system: beside, under a name that nothing obeys.
        let mut beside = OsString::from(format!(".fence-moved-aside-{}-", self.count));
        beside.push(&self.run);
        match rename(directory, name, directory, &beside) {
            Ok(()) => Ok(Some(at.join(beside))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => {
                let what = format!("cannot move {} aside, which must not appear", at.join(name).display());
                Err(Failure::new(what)
                    .errno(errno.raw_os_error())
                    .hint("look at it before you run anything there"))
            }
        }
    }
}

/// rename(2) that replaces nothing, where the file system can say so.
fn rename(
    from: BorrowedFd<'_>,
    name: &OsStr,
    to: BorrowedFd<'_>,
    new: &OsStr,
) -> std::result::Result<(), Errno> {
    match renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(from, name, to, new),
        other => other,
    }
}

/// The record of a run that goes on.
pub(super) struct Record {
    runs: OwnedFd,
    name: OsString,
    /// Locked.
    _file: File,
}

impl Record {
    /// Writes what this run watches.
    pub(super) fn write<'p>(
        state: &Path,
        run: &OsStr,
        paths: impl Iterator<Item = &'p Path>,
    ) -> Option<Record> {
        let runs = open_below(root().ok()?.as_fd(), &state.join(RUNS)).ok()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&runs, run, flags, Mode::from_raw_mode(0o600)).ok()?);
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).ok()?;
        let mut text = Vec::new();
        for path in paths {
            text.extend(path.as_os_str().as_bytes());
            text.push(0);
        }
        file.write_all(&text).ok()?;
        Some(Record { runs, name: run.to_os_string(), _file: file })
    }

    /// The run came to its end.
    pub(super) fn remove(self) {
        _ = unlinkat(&self.runs, &self.name, AtFlags::empty());
    }
}

/// A directory of the host's, while this process still sees them.
pub(super) fn descriptor(path: &str) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
