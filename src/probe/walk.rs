//! Expands all glob patterns of the policy, and finds the built-in protected names, in one walk of the file system.
//!
//! The walk starts at `/` with every pattern at once. A directory in which only literal names can match is not read but
//! asked for those names, so the walk goes straight to the literal prefixes; below them each directory is read once.
//! Symbolic links to directories are followed after everything else, by the real path of what they lead to: the states in
//! which the plain walk was there follow from that path, and are left out. So loops end, and the plain path of a file is
//! the one that is found.

use super::dir::{self, Opened, Reader};
use super::protected::{Names, Wanted};
use crate::error::{Failure, Result, describe};
use crate::map::Map;
use crate::rules::glob::Glob;
use crate::rules::globset::{GlobSet, Hit, Move, NOTHING, SetId};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
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
    /// Built-in protected names.
    pub protected: Names,
    /// Directories that could not be searched for the patterns, with the reason: the first few.
    pub unread: Vec<(PathBuf, i32)>,
    /// How many there were.
    pub unread_count: usize,
    /// Those of them that permissions close: whoever owns one can open it again.
    pub closed: Vec<PathBuf>,
    /// Entries looked at.
    pub entries: u64,
}

impl Expansion {
    /// The directories that could not be searched, each as `PATH: REASON`.
    pub fn unread_places(&self) -> Vec<String> {
        let named =
            self.unread.iter().map(|(path, errno)| format!("{}: {}", path.display(), describe(*errno)));
        let rest = self.unread_count.saturating_sub(self.unread.len());
        named.chain((rest > 0).then(|| format!("{rest} more places"))).collect()
    }
}

/// What each of the patterns names, in their order, and the built-in names that are wanted.
pub fn expand(
    patterns: &[String],
    cwd: &Path,
    home: Option<&Path>,
    wanted: Option<Wanted>,
) -> Result<Expansion> {
    let globs = patterns.iter().map(|text| Glob::parse(text, cwd, home)).collect::<Result<Vec<_>>>()?;
    let mut walk = Walk::new(&globs, wanted);
    if walk.start != NOTHING {
        walk.search()?;
    }
    let mut out = walk.out;
    for (matches, glob) in out.matches.iter_mut().zip(&globs) {
        matches.extend(glob.certain());
        crate::order::set(matches);
    }
    crate::order::sort(&mut out.protected.paths);
    crate::order::sort(&mut out.protected.work_trees);
    Ok(out)
}

/// A walk in progress. One stack of names serves all levels: memory is what is still to do on the way down, and what
/// links lead to.
struct Walk<'a> {
    set: GlobSet,
    /// The set of the root directory.
    start: SetId,
    wanted: Option<Wanted<'a>>,
    /// Of the directory at hand; the root is empty.
    path: Vec<u8>,
    names: Vec<u8>,
    children: Vec<Child>,
    hits: Vec<Hit>,
    links: VecDeque<Link>,
    /// The link that is being followed.
    link: Option<Link>,
    /// What links walk each directory with, by real path: what is done and what is promised.
    followed: Map<Vec<u8>, SetId>,
    kept: usize,
    /// The system had no more descriptors or memory: what was skipped is not known to be out of the user's reach.
    exhausted: Option<Errno>,
    out: Expansion,
}

/// How a directory is searched.
#[derive(Clone, Copy)]
struct Search {
    set: SetId,
    /// Below a link: what the plain walk was there with.
    known: SetId,
    /// It shows the kernel's state.
    pseudo: bool,
}

/// A symbolic link to follow.
struct Link {
    path: Vec<u8>,
    /// What it leads to; the root is empty.
    real: Vec<u8>,
    search: Search,
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
    search: Search,
    /// Its children are those from here on.
    first: usize,
    path: usize,
}

impl<'a> Walk<'a> {
    fn new(globs: &[Glob], wanted: Option<Wanted<'a>>) -> Walk<'a> {
        let built_in = wanted.map(|wanted| wanted.glob());
        let (set, start) = GlobSet::new(globs.iter().chain(&built_in));
        Walk {
            set,
            start,
            wanted,
            path: Vec::new(),
            names: Vec::new(),
            children: Vec::new(),
            hits: Vec::new(),
            links: VecDeque::new(),
            link: None,
            followed: Map::new(),
            kept: 0,
            exhausted: None,
            out: Expansion { matches: vec![Vec::new(); globs.len()], ..Expansion::default() },
        }
    }

    /// Plain directories first, then what links lead to.
    fn search(&mut self) -> Result<()> {
        let mut reader = Reader::new();
        let root = dir::open(CWD, b"/", true).map_err(|errno| {
            Failure::new("cannot open / to search for glob patterns").errno(errno.raw_os_error())
        })?;
        self.tree(&mut reader, root, Search { set: self.start, known: NOTHING, pseudo: false })?;
        while let Some(link) = self.links.pop_front() {
            let search = link.search;
            let opened = dir::open(CWD, if link.real.is_empty() { b"/" } else { &link.real }, true);
            self.path.clone_from(&link.path);
            self.link = Some(link);
            match opened {
                Ok(top) => self.tree(&mut reader, top, search)?,
                Err(errno) => self.skip(search.set, None, errno),
            }
        }
        self.check_limits()
    }

    /// The directory at `path` and all below it.
    fn tree(&mut self, reader: &mut Reader, top: Opened, search: Search) -> Result<()> {
        let mut stack = vec![self.look(reader, top, search)?];
        while let Some(frame) = stack.last() {
            self.path.truncate(frame.path);
            if self.children.len() <= frame.first {
                stack.pop();
            } else if let Some(child) = self.children.pop() {
                let held = stack.len() < OPEN_LEVELS;
                let entered = self.enter(reader, frame, child)?;
                stack.extend(entered.map(|f| Frame { fd: f.fd.filter(|_| held), ..f }));
            }
        }
        Ok(())
    }

    /// Looks at a directory below another one, unless nothing is left to search for.
    fn enter(&mut self, reader: &mut Reader, above: &Frame, child: Child) -> Result<Option<Frame>> {
        let name = &self.names[child.name..];
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        let read = !self.set.exact(child.sets.all);
        let opened = match &above.fd {
            Some(fd) => dir::open(fd.as_fd(), name, read),
            None => dir::open(CWD, &self.path, read),
        };
        let known = match above.search.known {
            NOTHING => NOTHING,
            known => self.set.step(known, name, true, &mut Vec::new()).all,
        };
        self.names.truncate(child.name);
        let dir = match opened {
            Ok(dir) => dir,
            Err(errno) => {
                self.skip(child.sets.all, None, errno);
                return Ok(None);
            }
        };
        let pseudo = if dir.crossed { dir::is_pseudo(&dir.fd) } else { above.search.pseudo };
        // `/**/x` stops at the door of procfs; `/proc/*/x` asked for it by name.
        let stopped = pseudo && !above.search.pseudo;
        let (set, known) = if stopped { (child.sets.named, NOTHING) } else { (child.sets.all, known) };
        let set = match self.real_path() {
            Some(real) => self.promise(real, set, known),
            None => set,
        };
        if set == NOTHING {
            return Ok(None);
        }
        self.look(reader, dir, Search { set, known, pseudo }).map(Some)
    }

    /// Looks at the entries of the directory at `path`: notes matches, and the directories to enter next.
    fn look(&mut self, reader: &mut Reader, dir: Opened, search: Search) -> Result<Frame> {
        let first = self.children.len();
        let fd = dir.fd.as_fd();
        let exact = self.set.exact(search.set);
        let read = match dir.refused {
            _ if exact => Ok(()),
            Some(errno) => Err(errno),
            None => reader.read(fd, |name, kind| self.entry(fd, name, kind, search)),
        };
        let asked = if exact || read.is_err() { self.look_up(fd, search) } else { Ok(()) };
        if let Err(errno) = read.and(asked) {
            self.skip(search.set, None, errno);
        }
        self.check_limits()?;
        Ok(Frame { fd: Some(dir.fd), search, first, path: self.path.len() })
    }

    /// Asks for names instead of reading the directory; the error says why that gives no answer for any name.
    fn look_up(&mut self, dir: BorrowedFd, search: Search) -> rustix::io::Result<()> {
        for name in self.set.literal_names(search.set) {
            match dir::kind(dir, &name) {
                Ok(kind) => _ = self.entry(dir, &name, kind, search),
                Err(Errno::ACCESS) => return Err(Errno::ACCESS),
                Err(errno) => self.skip(search.set, Some(&name), errno),
            }
        }
        Ok(())
    }

    /// One entry; false when the walk has seen enough.
    fn entry(&mut self, dir: BorrowedFd, name: &[u8], kind: FileType, search: Search) -> bool {
        self.out.entries += 1;
        let container = matches!(kind, FileType::Directory | FileType::Symlink);
        let mut hits = std::mem::take(&mut self.hits);
        let sets = self.set.step(search.set, name, container, &mut hits);
        for hit in hits.drain(..) {
            self.hit(hit, dir, name, kind);
        }
        self.hits = hits;
        match kind {
            FileType::Directory if sets.all == NOTHING => {}
            FileType::Directory if self.path.len() + 1 + name.len() > LONGEST_PATH => {
                self.skip(sets.all, Some(name), Errno::NAMETOOLONG);
            }
            FileType::Directory => {
                self.children.push(Child { name: self.names.len(), sets });
                self.names.extend_from_slice(name);
            }
            FileType::Symlink => self.link(dir, name, sets, search.pseudo),
            _ => {}
        }
        self.out.entries <= MOST_ENTRIES && self.kept <= MOST_MATCHES
    }

    /// An entry that a pattern names.
    fn hit(&mut self, hit: Hit, dir: BorrowedFd, name: &[u8], kind: FileType) {
        match self.wanted {
            Some(wanted) if hit.glob == self.out.matches.len() => {
                let path = Path::new(OsStr::from_bytes(&self.path));
                wanted.entry(&mut self.out.protected, dir, path, name, kind);
            }
            _ if !hit.tree || kind == FileType::Directory => self.keep(hit.glob, name),
            _ if kind == FileType::Symlink && dir::leads_to_directory(dir, name) => self.keep(hit.glob, name),
            _ => {}
        }
    }

    /// A link is followed at the end, when it leads to a directory that no other way leads to with the same patterns.
    fn link(&mut self, dir: BorrowedFd, name: &[u8], sets: Move, pseudo: bool) {
        let all = self.set.followed(sets.all);
        if all == NOTHING {
            return;
        }
        let path = self.child_path(name);
        let (real, there) = match real_directory(dir, name, &path) {
            Ok(found) => found,
            // Not a directory, or nothing at all.
            Err(errno) => return self.skip(all, Some(name), errno),
        };
        // The links of procfs lead everywhere, and what leads there does not carry `**` on either.
        let set = if pseudo || there { sets.named } else { all };
        let known = if there { NOTHING } else { self.plain_set(&real) };
        let set = self.promise(real.clone(), set, known);
        if set != NOTHING {
            self.links.push_back(Link { path, real, search: Search { set, known, pseudo: there } });
        }
    }

    /// The set in which the plain walk is in a directory: it goes there by the real path and no other.
    fn plain_set(&mut self, real: &[u8]) -> SetId {
        let names = real.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.fold(self.start, |set, name| self.set.step(set, name, true, &mut Vec::new()).all)
    }

    /// What of `set` a way through a link has to walk a directory with: not what the plain walk does, nor what another
    /// link has led or will lead to.
    fn promise(&mut self, real: Vec<u8>, set: SetId, known: SetId) -> SetId {
        let before = self.followed.get(&real).copied().unwrap_or(NOTHING);
        let rest = self.set.without(set, known);
        let rest = self.set.without(rest, before);
        if rest != NOTHING {
            let both = self.set.union(before, rest);
            self.followed.insert(real, both);
        }
        rest
    }

    /// The real path of the directory at hand, below a link.
    fn real_path(&self) -> Option<Vec<u8>> {
        self.link.as_ref().map(|link| [&link.real, &self.path[link.path.len()..]].concat())
    }

    fn keep(&mut self, glob: usize, name: &[u8]) {
        let path = self.child_path(name);
        if path.len() > LONGEST_PATH {
            return self.skip(self.start, Some(name), Errno::NAMETOOLONG);
        }
        self.kept += 1;
        self.out.matches[glob].push(OsString::from_vec(path).into());
    }

    fn child_path(&self, name: &[u8]) -> Vec<u8> {
        [&self.path[..], b"/", name].concat()
    }

    /// Notes what could not be searched. What is not there, or is not a directory, is no loss; what the caller can't list
    /// has no built-in name that a program would come upon.
    fn skip(&mut self, set: SetId, name: Option<&[u8]>, errno: Errno) {
        if matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM) {
            self.exhausted = Some(errno);
        }
        let gone = matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP);
        if gone || self.set.followed(set) == NOTHING {
            return;
        }
        self.out.unread_count += 1;
        if errno == Errno::ACCESS {
            let path = name.map_or_else(|| self.path.clone(), |name| self.child_path(name));
            self.out.closed.push(OsString::from_vec(path).into());
        }
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
        let (what, hint) = match self.out.matches.len() {
            0 => ("protected names", "start fence in the project's directory"),
            _ => ("glob patterns", "name the directories to search, as in src/**/*.key"),
        };
        let at = String::from_utf8_lossy(&self.path);
        let failure = |why: String| Failure::new(format!("cannot search for {what} (at {at}){why}"));
        Err(match self.exhausted {
            Some(errno) => failure(String::new()).errno(errno.raw_os_error()),
            None if self.out.entries > MOST_ENTRIES => {
                failure(format!(": more than {MOST_ENTRIES} files")).hint(hint)
            }
            None => failure(format!(": more than {MOST_MATCHES} matches")).hint(hint),
        })
    }
}

/// The real path of the directory that a link leads to (the root is empty), and whether it is of kernel state.
fn real_directory(dir: BorrowedFd, name: &[u8], path: &[u8]) -> rustix::io::Result<(Vec<u8>, bool)> {
    let fd = dir::follow(dir, name)?;
    let by_name = || std::fs::canonicalize(OsStr::from_bytes(path)).ok();
    let real = dir::real_path(&fd).or_else(by_name).ok_or(Errno::NOENT)?;
    let mut real = real.into_os_string().into_vec();
    if real == b"/" {
        real.clear();
    }
    Ok((real, dir::is_pseudo(fd)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]
mod tests {
    use super::super::glob_compat::Temp;
    use super::*;

    fn find(temp: &Temp, patterns: &[&str]) -> Vec<Vec<String>> {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_string()).collect();
        let found = expand(&patterns, &temp.0.join("w"), None, None).unwrap().matches;
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
    fn a_link_to_a_directory_above_searches_only_what_is_new() {
        let temp = Temp::new("above");
        temp.make(&[
            "w/a/x.key",
            "w/top -> ..",
            "out/y.key",
            "out/sub/w -> ../../w",
            "w/again -> ../out/sub",
        ]);
        assert_eq!(find(&temp, &["**/*.key"]), [["w/a/x.key", "w/top/out/y.key"]]);
    }

    #[test]
    fn built_in_names_and_patterns_share_the_walk() {
        let temp = Temp::new("shared");
        temp.make(&[
            "w/.bashrc",
            "w/a/.bashrc",
            "w/a/.hidden",
            "w/a/.vscode",
            "w/a/.git/hooks/x.key",
            "w/b/.git",
            "w/b/c/.idea -> ../..",
            "w/node_modules/p/.bashrc",
            "w/node_modules/p/x.key",
            "w/l -> ../out",
            "out/.zshrc",
            "out/x.key",
        ]);
        let (top, patterns) = (temp.0.join("w"), ["**/x.key".to_string()]);
        let wanted = Some(Wanted { top: &top, depth: 3, git_config: false });
        let alone = expand(&[], &top, None, wanted).unwrap();
        let found = expand(&patterns, &top, None, wanted).unwrap();
        assert_eq!(temp.relative(&found.protected.paths), ["w/a/.bashrc", "w/a/.git/hooks", "w/b/c/.idea"]);
        assert_eq!(temp.relative(&found.protected.work_trees), ["w/a", "w/b"]);
        assert_eq!(found.protected, alone.protected);
        assert!(alone.matches.is_empty());
        let keys = ["w/a/.git/hooks/x.key", "w/l/x.key", "w/node_modules/p/x.key"];
        assert_eq!(temp.relative(&found.matches[0]), keys);
    }

    #[test]
    fn unread_places_are_bounded() {
        let mut walk = Walk::new(&[Glob::parse("/**/x", Path::new("/"), None).unwrap()], None);
        for errno in [Errno::NOENT, Errno::ACCESS] {
            (0..10).for_each(|i| walk.skip(walk.start, Some(format!("d{i}").as_bytes()), errno));
        }
        walk.skip(NOTHING, Some(b"other"), Errno::ACCESS);
        let places = walk.out.unread_places();
        assert_eq!((places.len(), places[0].as_str()), (9, "/d0: Permission denied"));
        assert_eq!(places[8], "2 more places");
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
        assert_eq!(expand(&["?.key".into()], &temp.0, None, None).unwrap().matches, [[path]]);
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
        let globs = [Glob::parse("/**/stat", Path::new("/"), None).unwrap()];
        let mut walk = Walk::new(&globs, None);
        let root = Search { set: walk.start, known: NOTHING, pseudo: false };
        let above = Frame { fd: None, search: root, first: 0, path: 0 };
        walk.names = b"proc".to_vec();
        let child = Child { name: 0, sets: Move { all: walk.start, named: NOTHING } };
        assert!(walk.enter(&mut Reader::new(), &above, child).unwrap().is_none());
        assert_eq!(walk.out, Expansion { matches: vec![vec![]], ..Expansion::default() });
        let named = expand(&["/proc/sel[f]/stat".into()], Path::new("/"), None, None).unwrap();
        assert_eq!(named.matches, [[PathBuf::from("/proc/self/stat")]]);
    }
}
