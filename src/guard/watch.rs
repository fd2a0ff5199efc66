//! Names that must not appear: looked for when their directory changes, and once more at the end.
//!
//! dnotify (fcntl(2), F_NOTIFY), not inotify: closing an inotify instance waits for a grace period of the kernel, some
//! milliseconds, and that would be part of every launch.

use super::quarantine::Quarantine;
use crate::error::{Failure, Result};
use crate::log::Log;
use crate::map::{Map, Set};
use crate::nofollow::text_below;
use crate::plan::watch::{BARE, Then, Watched};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Things that are moved aside before the run is ended: what makes more of them means harm.
const MOST: usize = 100;
/// Lines about single things; the rest is counted.
const MOST_LINES: usize = 10;

/// A directory that tells when it changes, and which one that is.
struct Armed {
    _open: OwnedFd,
    identity: (u64, u64),
}

pub(super) struct Watcher<'p> {
    watched: &'p [Watched],
    /// Those of them that were there and that the host removed, and the places of masks: they are listened at.
    gone: Set<PathBuf>,
    /// `config` files of git directories that the command can't change, with their inode at the start.
    configurations: Vec<(PathBuf, Option<(u64, u64)>)>,
    /// git locked one of those.
    locked: bool,
    armed: Map<PathBuf, Armed>,
    /// Some directory can't tell when it changes.
    pub(super) deaf: bool,
    quarantine: Quarantine,
    /// The directory that was opened last in this look: names come directory by directory.
    directory: Option<Directory>,
}

/// A directory of the host's.
struct Directory {
    open: OwnedFd,
    at: PathBuf,
    identity: (u64, u64),
}

impl<'p> Watcher<'p> {
    pub(super) fn new(
        watched: &'p [Watched],
        configurations: Vec<PathBuf>,
        quarantine: Quarantine,
    ) -> Watcher<'p> {
        let mut watcher = Watcher {
            watched,
            gone: Set::new(),
            configurations: Vec::new(),
            locked: false,
            armed: Map::new(),
            deaf: false,
            quarantine,
            directory: None,
        };
        for path in configurations {
            let identity = watcher.identity(&path);
            watcher.configurations.push((path, identity));
        }
        watcher
    }

    /// Looks at every name; what must not be there is moved aside.
    pub(super) fn look(&mut self, log: &Log) -> Result<()> {
        self.directory = None;
        let all = self.watched;
        for watched in all.iter().filter(|w| w.then != Then::Report) {
            if watched.there && !self.gone.contains_key(&watched.path) {
                continue;
            }
            // Told of changes before it is looked at, so that nothing falls between.
            while let Some(appeared) = self.locate(watched) {
                let known = self.arm();
                if let Some(name) = &appeared {
                    self.move_aside(name, watched, log)?;
                } else if known {
                    break;
                }
            }
        }
        for n in 0..self.configurations.len() {
            let lock = self.configurations[n].0.with_extension("lock");
            self.locked |= self.identity(&lock).is_some();
        }
        // Another look is to see what has another name by then.
        self.directory = None;
        Ok(())
    }

    /// What stands at `path` is moved aside: it must not be covered, or it could not be moved.
    pub(super) fn takes(&self, path: &Path) -> bool {
        self.gone.contains_key(path) && self.watched.iter().any(|w| w.there && w.path == path)
    }

    /// The host removed something that a mount stood over: when it comes back, nobody can say who made it.
    pub(super) fn is_gone(&mut self, path: PathBuf) {
        self.listen(&path);
        self.gone.add(path);
    }

    /// Has the directory tell in which something is or would appear: of a file that is moved away its mount tells nothing.
    pub(super) fn listen(&mut self, path: &Path) {
        let there = Watched { path: path.into(), then: Then::Report, allow: String::new(), there: false };
        while self.locate(&there).is_some() && !self.arm() {}
    }

    /// Has the directory at hand tell when it changes; whether it did so before.
    fn arm(&mut self) -> bool {
        let Some(Directory { open, at, identity }) = &self.directory else { return true };
        if self.armed.get(at).is_some_and(|armed| armed.identity == *identity) {
            return true;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let told = openat(open, ".", flags, Mode::empty());
        match told.and_then(|told| crate::sys::fd::tell_changes(told.as_fd()).map(|()| told)) {
            Ok(told) => {
                self.armed.insert(at.clone(), Armed { _open: told, identity: *identity });
                false
            }
            Err(_) => {
                self.deaf = true;
                true
            }
        }
    }

    /// Moves `name` in the directory at hand aside.
    fn move_aside(&mut self, name: &OsStr, watched: &Watched, log: &Log) -> Result<()> {
        let Some(Directory { open, at, .. }) = &self.directory else { return Ok(()) };
        let Some(to) = self.quarantine.move_aside(open.as_fd(), at, name)? else { return Ok(()) };
        let path = at.join(name);
        match self.quarantine.count() {
            count if count > MOST => Err(Failure::new(format!(
                "ended the command: it went on making {}, which must not appear",
                path.display()
            ))),
            count if count > MOST_LINES => Ok(()),
            _ => {
                log.warn(&format!(
                    "moved {} aside to {}: programs outside may run what it says; {}",
                    path.display(),
                    to.display(),
                    watched.allow
                ));
                Ok(())
            }
        }
    }

    /// Opens the directory where something would appear, as far as it exists by now; what is there of it.
    fn locate(&mut self, watched: &Watched) -> Option<Option<OsString>> {
        if let Then::Bare(lacked) = &watched.then {
            let directory = self.open(&watched.path)?;
            return Some(bare(directory.open.as_fd(), lacked).map(Into::into));
        }
        let mut path = watched.path.as_path();
        loop {
            let (parent, name) = (path.parent()?, path.file_name()?);
            if let Some(directory) = self.open(parent) {
                let kind = kind(directory.open.as_fd(), name);
                // A link on the way leads past the watch.
                let counts = path == watched.path || kind == Some(FileType::Symlink);
                return Some(kind.filter(|_| counts).map(|_| name.to_os_string()));
            }
            path = parent;
        }
    }

    /// A directory, opened once for all names in it that are looked at in a row.
    fn open(&mut self, at: &Path) -> Option<&Directory> {
        if self.directory.as_ref().is_none_or(|directory| directory.at != at) {
            let open = self.quarantine.host(at).ok()?;
            let stat = fstat(&open).ok()?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return None;
            }
            let identity = (stat.st_dev, stat.st_ino);
            self.directory = Some(Directory { open, at: at.into(), identity });
        }
        self.directory.as_ref()
    }

    /// The text of a file of the host's.
    pub(super) fn text(&self, path: &Path) -> Option<Vec<u8>> {
        text_below(self.quarantine.host(path.parent()?).ok()?.as_fd(), path.file_name()?)
    }

    fn identity(&mut self, path: &Path) -> Option<(u64, u64)> {
        let directory = self.open(path.parent()?)?;
        let stat = statat(&directory.open, path.file_name()?, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }

    /// The last look, when nothing runs any more, and what is to be said.
    pub(super) fn end(&mut self, log: &Log) -> Result<()> {
        self.look(log)?;
        let more = self.quarantine.count().saturating_sub(MOST_LINES);
        if more > 0 {
            log.warn(&format!("moved {more} more such files aside"));
        }
        let all = self.watched.iter().filter(|w| w.then == Then::Report);
        let there = all.filter(|w| self.identity(&w.path).is_some());
        let reported: Vec<String> = there.map(|w| w.path.display().to_string()).take(MOST_LINES).collect();
        if !reported.is_empty() {
            log.warn(&format!(
                "the command made {}: look at it before a program outside obeys it",
                reported.join(", ")
            ));
        }
        let configurations = std::mem::take(&mut self.configurations);
        if self.locked && configurations.iter().all(|(path, before)| self.identity(path) == *before) {
            log.warn("git's configuration is read-only for the command; filesystem.allowGitConfig opens it");
        }
        Ok(())
    }
}

/// What of a faked repository was not there before, when all that git looks for is there.
fn bare(directory: BorrowedFd<'_>, lacked: &[&'static str]) -> Option<&'static str> {
    let has = |name: &str| kind(directory, OsStr::new(name)).is_some();
    let whole = has("HEAD") && (has("commondir") || has("objects") && has("refs"));
    BARE.into_iter().filter(|name| lacked.contains(name)).find(|name| whole && has(name))
}

fn kind(directory: BorrowedFd<'_>, name: &OsStr) -> Option<FileType> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}
