//! Expands all glob patterns of the policy in one walk of the file system.
//!
//! The walk starts at `/` with every pattern at once. A directory in which only literal names can match is not read but
//! asked for those names, so the walk goes straight to the literal prefixes; below them each directory is read once.
//! Symbolic links to directories are followed after everything else, and a directory met again is walked only for the
//! patterns that it was not yet walked with: loops end, and the plain path of a file is the one that is found.

use super::dir::{self, Identity, Reader};
use crate::error::{Failure, Result};
use crate::rules::glob::Glob;
use crate::rules::globset::{GlobSet, Hit, Move, NOTHING, SetId};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Entries that a walk looks at before it gives up: about twenty seconds.
const MOST_ENTRIES: u64 = 20_000_000;
/// Matches that it keeps; no run could have as many mounts.
const MOST_MATCHES: usize = 500_000;
/// Directories held open on the way down; below that they are opened by path.
const OPEN_LEVELS: usize = 64;
/// The kernel takes no longer path, so neither a mount nor the command can name one in a single call.
const LONGEST_PATH: usize = 4095;
/// Unreadable places that are named; the rest is counted.
const MOST_NOTES: usize = 8;

/// What the patterns name now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// For each pattern its matches as found (links not resolved), sorted.
    pub matches: Vec<Vec<PathBuf>>,
    /// Directories that could not be searched, with the reason: the first few.
    pub unread: Vec<(PathBuf, i32)>,
    /// How many there were.
    pub unread_count: usize,
    /// Entries looked at.
    pub entries: u64,
}

/// What each of the patterns names, in their order.
pub fn expand(patterns: &[String], cwd: &Path, home: Option<&Path>) -> Result<Vec<Vec<PathBuf>>> {
    let globs = patterns.iter().map(|text| Glob::parse(text, cwd, home)).collect::<Result<Vec<_>>>()?;
    Ok(expand_globs(&globs)?.matches)
}

/// The same for parsed patterns, with what was met on the way.
pub fn expand_globs(globs: &[Glob]) -> Result<Expansion> {
    let (set, start) = GlobSet::new(globs);
    let mut walk = Walk::new(set, globs.len());
    if start != NOTHING {
        walk.search(start)?;
    }
    for (matches, glob) in walk.out.matches.iter_mut().zip(globs) {
        matches.extend(glob.certain());
        matches.sort();
        matches.dedup();
    }
    Ok(walk.out)
}

/// A walk in progress. One stack of names serves all levels: memory is what is still to do on the way down, and one
/// number for each directory that was seen.
struct Walk {
    set: GlobSet,
    /// Of the directory at hand; the root is empty.
    path: Vec<u8>,
    names: Vec<u8>,
    children: Vec<Child>,
    hits: Vec<Hit>,
    /// What each directory was walked with.
    seen: HashMap<Identity, SetId>,
    /// What links will walk each directory with.
    queued: HashMap<Identity, SetId>,
    links: VecDeque<(Vec<u8>, Move)>,
    following: bool,
    kept: usize,
    /// The system had no more descriptors or memory: what was skipped is not known to be out of the user's reach.
    exhausted: Option<Errno>,
    out: Expansion,
}

/// A directory to enter later; its name begins there in `names` and ends where the next one begins.
struct Child {
    name: usize,
    sets: Move,
}

/// A directory whose children are being entered.
struct Frame {
    /// Closed below [`OPEN_LEVELS`].
    fd: Option<OwnedFd>,
    place: Place,
    /// Its children are those from here on.
    first: usize,
    path: usize,
}

/// Where a directory is.
#[derive(Clone, Copy)]
struct Place {
    /// Of the directory above.
    device: Option<(u32, u32)>,
    pseudo: bool,
}

impl Walk {
    fn new(set: GlobSet, globs: usize) -> Walk {
        Walk {
            set,
            path: Vec::new(),
            names: Vec::new(),
            children: Vec::new(),
            hits: Vec::new(),
            seen: HashMap::new(),
            queued: HashMap::new(),
            links: VecDeque::new(),
            following: false,
            kept: 0,
            exhausted: None,
            out: Expansion { matches: vec![Vec::new(); globs], ..Expansion::default() },
        }
    }

    /// Plain directories first, then what links lead to.
    fn search(&mut self, start: SetId) -> Result<()> {
        let mut reader = Reader::new();
        let root = dir::open(CWD, b"/", true).map_err(|errno| {
            Failure::new("cannot open / to search for glob patterns").errno(errno.raw_os_error())
        })?;
        self.tree(&mut reader, root, Move { all: start, named: start })?;
        self.following = true;
        while let Some((path, sets)) = self.links.pop_front() {
            self.path = path;
            match dir::open(CWD, &self.path, true) {
                Ok(fd) => self.tree(&mut reader, fd, sets)?,
                Err(errno) => self.skip(None, errno),
            }
        }
        self.check_limits()
    }

    /// The directory at `path` and all below it.
    fn tree(&mut self, reader: &mut Reader, top: OwnedFd, sets: Move) -> Result<()> {
        let mut stack = Vec::new();
        stack.extend(self.enter(reader, top, sets, Place { device: None, pseudo: false })?);
        while let Some(frame) = stack.last() {
            self.path.truncate(frame.path);
            if self.children.len() <= frame.first {
                stack.pop();
                continue;
            }
            let Some(child) = self.children.pop() else { break };
            self.path.push(b'/');
            self.path.extend_from_slice(&self.names[child.name..]);
            let opened = match &frame.fd {
                Some(fd) => dir::open(fd.as_fd(), &self.names[child.name..], false),
                None => dir::open(CWD, &self.path, false),
            };
            self.names.truncate(child.name);
            let place = frame.place;
            match opened {
                Ok(fd) => {
                    let held = stack.len() < OPEN_LEVELS;
                    let entered = self.enter(reader, fd, child.sets, place)?;
                    stack.extend(entered.map(|f| Frame { fd: f.fd.filter(|_| held), ..f }));
                }
                Err(errno) => self.skip(None, errno),
            }
        }
        Ok(())
    }

    /// Looks at the entries of the directory at `path`: notes matches, and the directories to enter next.
    fn enter(&mut self, reader: &mut Reader, fd: OwnedFd, sets: Move, above: Place) -> Result<Option<Frame>> {
        let identity = match dir::identity(&fd) {
            Ok(identity) => identity,
            Err(errno) => {
                self.skip(None, errno);
                return Ok(None);
            }
        };
        let crossed = above.device != Some(identity.device);
        let pseudo = if crossed { dir::is_pseudo(&fd) } else { above.pseudo };
        // `/**/x` stops at the door of procfs; `/proc/*/x` asked for it by name.
        let set = if pseudo && !above.pseudo { sets.named } else { sets.all };
        let before = self.seen.get(&identity).copied().unwrap_or(NOTHING);
        // Only a link can lead to a directory again. On kernels that don't tell mounts apart, a bind mount looks like its
        // origin, and must be walked nevertheless.
        let set = if self.following { self.set.without(set, before) } else { set };
        if set == NOTHING {
            return Ok(None);
        }
        let walked = self.set.union(before, set);
        self.seen.insert(identity, walked);
        let place = Place { device: Some(identity.device), pseudo };
        let first = self.children.len();
        match self.set.exact_names(set) {
            Some(names) => self.look_up(fd.as_fd(), names, set, pseudo),
            None => {
                let read =
                    reader.read(fd.as_fd(), |name, kind| self.entry(fd.as_fd(), name, kind, set, pseudo));
                if let Err(errno) = read {
                    self.skip(None, errno);
                    let names = self.set.literal_names(set);
                    self.look_up(fd.as_fd(), names, set, pseudo);
                }
            }
        }
        self.check_limits()?;
        Ok(Some(Frame { fd: Some(fd), place, first, path: self.path.len() }))
    }

    /// Asks for names instead of reading the directory.
    fn look_up(&mut self, dir: BorrowedFd, names: Vec<Box<[u8]>>, set: SetId, pseudo: bool) {
        for name in names {
            match dir::kind(dir, &name) {
                Ok(kind) => _ = self.entry(dir, &name, kind, set, pseudo),
                Err(errno) => self.skip(Some(&name), errno),
            }
        }
    }

    /// One entry; false when the walk has seen enough.
    fn entry(&mut self, dir: BorrowedFd, name: &[u8], kind: FileType, set: SetId, pseudo: bool) -> bool {
        self.out.entries += 1;
        let container = matches!(kind, FileType::Directory | FileType::Symlink);
        let mut hits = std::mem::take(&mut self.hits);
        let sets = self.set.step(set, name, container, &mut hits);
        if !hits.is_empty() {
            let directory = kind == FileType::Directory
                || (kind == FileType::Symlink
                    && hits.iter().any(|hit| hit.tree)
                    && dir::leads_to_directory(dir, name));
            for hit in hits.drain(..).filter(|hit| directory || !hit.tree) {
                self.keep(hit.glob, name);
            }
        }
        self.hits = hits;
        match kind {
            FileType::Directory if sets.all != NOTHING => {
                if self.path.len() + 1 + name.len() > LONGEST_PATH {
                    self.skip(Some(name), Errno::NAMETOOLONG);
                } else {
                    self.children.push(Child { name: self.names.len(), sets });
                    self.names.extend_from_slice(name);
                }
            }
            // The links of procfs lead everywhere.
            FileType::Symlink if pseudo => self.link(dir, name, Move { all: sets.named, ..sets }),
            FileType::Symlink => self.link(dir, name, sets),
            _ => {}
        }
        self.out.entries <= MOST_ENTRIES && self.kept <= MOST_MATCHES
    }

    /// A link is followed at the end, when it leads to a directory that no other way leads to with the same patterns.
    fn link(&mut self, dir: BorrowedFd, name: &[u8], sets: Move) {
        if sets.all == NOTHING {
            return;
        }
        let identity = match dir::open(dir, name, true).and_then(dir::identity) {
            Ok(identity) => identity,
            // Not a directory, or nothing at all.
            Err(errno) => return self.skip(Some(name), errno),
        };
        let known = [&self.seen, &self.queued].map(|map| map.get(&identity).copied().unwrap_or(NOTHING));
        let known = self.set.union(known[0], known[1]);
        let all = self.set.without(sets.all, known);
        if all != NOTHING {
            let named = self.set.without(sets.named, known);
            let queued = self.set.union(known, all);
            self.queued.insert(identity, queued);
            self.links.push_back((self.child_path(name), Move { all, named }));
        }
    }

    fn keep(&mut self, glob: usize, name: &[u8]) {
        let path = self.child_path(name);
        if path.len() > LONGEST_PATH {
            return self.skip(Some(name), Errno::NAMETOOLONG);
        }
        self.kept += 1;
        self.out.matches[glob].push(OsString::from_vec(path).into());
    }

    fn child_path(&self, name: &[u8]) -> Vec<u8> {
        [&self.path[..], b"/", name].concat()
    }

    /// Notes what could not be searched. What is not there, or is not a directory, is no loss.
    fn skip(&mut self, name: Option<&[u8]>, errno: Errno) {
        if matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) {
            return;
        }
        if matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM) {
            self.exhausted = Some(errno);
        }
        self.out.unread_count += 1;
        if self.out.unread.len() < MOST_NOTES {
            let path = name.map_or_else(|| self.path.clone(), |name| self.child_path(name));
            self.out.unread.push((OsString::from_vec(path).into(), errno.raw_os_error()));
        }
    }

    /// A walk that gave up half-way would leave files open that a rule denies.
    fn check_limits(&self) -> Result<()> {
        if self.exhausted.is_none() && self.out.entries <= MOST_ENTRIES && self.kept <= MOST_MATCHES {
            return Ok(());
        }
        let at = String::from_utf8_lossy(&self.path);
        let failure = |why: String| Failure::new(format!("cannot search for glob patterns (at {at}){why}"));
        let hint = "name the directories to search, as in src/**/*.key";
        Err(match self.exhausted {
            Some(errno) => failure(String::new()).errno(errno.raw_os_error()),
            None if self.out.entries > MOST_ENTRIES => {
                failure(format!(": more than {MOST_ENTRIES} files")).hint(hint)
            }
            None => failure(format!(": more than {MOST_MATCHES} matches")).hint(hint),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]
mod tests {
    use super::super::glob_compat::Temp;
    use super::*;

    fn find(temp: &Temp, patterns: &[&str]) -> Vec<Vec<String>> {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_string()).collect();
        let found = expand(&patterns, &temp.0.join("w"), None).unwrap();
        found.iter().map(|matches| temp.relative(matches)).collect()
    }

    #[test]
    fn links_that_loop_end() {
        let temp = Temp::new("loops");
        temp.make(&[
            "w/a/x.key",
            "w/a/up -> ..",
            "w/a/self -> .",
            "w/b -> a",
            "w/c -> c",
            "out/y.key",
            "w/o -> ../out",
        ]);
        temp.make(&["out/back -> ../w", "out/other -> ../w/o/"]);
        assert_eq!(find(&temp, &["**/*.key"]), [["w/a/x.key", "w/o/y.key"]]);
    }

    #[test]
    fn a_link_is_followed_for_the_patterns_that_did_not_see_its_target() {
        let temp = Temp::new("rest");
        temp.make(&["w/a/x.key", "w/l -> a"]);
        assert_eq!(find(&temp, &["a/*.key", "l/*.key"]), [["w/a/x.key"], ["w/l/x.key"]]);
        assert_eq!(find(&temp, &["**/*.key", "l/x.*"]), [["w/a/x.key"], ["w/l/x.key"]]);
    }

    #[test]
    fn a_trailing_double_star_wants_a_directory() {
        let temp = Temp::new("tree");
        temp.make(&["w/a/sub/x", "w/b/sub", "w/c/sub -> ../a", "w/d/sub -> nowhere"]);
        assert_eq!(
            find(&temp, &["**/sub/**", "**/sub"]),
            [vec!["w/a/sub", "w/c/sub"], vec!["w/a/sub", "w/b/sub", "w/c/sub", "w/d/sub"]]
        );
    }

    #[test]
    fn literal_components_are_looked_up() {
        let temp = Temp::new("literal");
        temp.make(&["w/a[1]/b", "w/a1/b", "real/x.c", "w/dir -> ../real"]);
        assert_eq!(
            find(&temp, &["a\\[1]/b", "a\\[2]/b", "dir/[x].c", "a\\[1]/b/c"]),
            [vec!["w/a[1]/b"], vec![], vec!["w/dir/x.c"], vec![]]
        );
    }

    #[test]
    fn names_that_are_not_utf8() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let temp = Temp::new("bytes");
        let path = temp.0.join(OsStr::from_bytes(b"\xff.key"));
        std::fs::write(&path, "").unwrap();
        assert_eq!(expand(&["?.key".into()], &temp.0, None).unwrap(), [[path]]);
    }

    #[test]
    fn deep_directories_need_few_descriptors() {
        let temp = Temp::new("deep");
        let deep = format!("w/{}x.key", "d/".repeat(300));
        temp.make(&[&deep]);
        assert_eq!(find(&temp, &["**/x.key"]), [[deep]]);
    }

    #[test]
    fn kernel_state_is_not_searched() {
        let (set, start) = GlobSet::new(&[Glob::parse("/**/stat", Path::new("/"), None).unwrap()]);
        let mut walk = Walk::new(set, 1);
        walk.path = b"/proc".to_vec();
        let proc = dir::open(CWD, b"/proc", true).unwrap();
        walk.tree(&mut Reader::new(), proc, Move { all: start, named: NOTHING }).unwrap();
        assert_eq!(walk.out, Expansion { matches: vec![vec![]], ..Expansion::default() });
        let named = expand(&["/proc/sel[f]/stat".into()], Path::new("/"), None).unwrap();
        assert_eq!(named, [[PathBuf::from("/proc/self/stat")]]);
    }
}
