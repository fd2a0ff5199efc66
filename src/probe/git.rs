//! The directories of a git repository, and what in them makes git on the host run code.
//!
//! A repository may come from anyone: each file is read to a bound and only if it is a regular one, references are followed
//! once as git does, and where there is more to look at than the bound, the answer is an error: an unprotected `config`
//! would run code at the next `git status`.

use super::paths::find;
use crate::error::{Failure, Result};
use crate::facts::{Kind, Repository};
use crate::map::Set;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::fs::{File, FileType};
use std::io::{ErrorKind, Read};
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What git obeys in each of its directories. `commondir` and `gitdir` say where the rest is.
const OBEYED: [&str; 3] = ["hooks", "commondir", "gitdir"];
/// The same, left out when the user lets the configuration be written.
const CONFIGURATION: [&str; 2] = ["config", "config.worktree"];
/// Directories below `modules` and `worktrees` that are looked at.
const MOST_DIRECTORIES: usize = 10_000;
/// How deep modules may lie in modules.
const DEEPEST: usize = 32;
/// `gitdir: PATH`, `commondir`: a path and a few words.
const LONGEST_REFERENCE: u64 = 8 * 1024;
/// A `config`.
const LONGEST_CONFIG: u64 = 1024 * 1024;
/// How deep configurations may include each other, as git has it.
const DEEPEST_INCLUDE: usize = 10;

/// The repository whose work tree, or bare repository, `top` is; `git_config`: the user lets its configuration be
/// written. `home` is where `~` leads. `own` keeps what the user's own configuration says for the next call. Some of
/// `protect` may be symbolic links.
pub fn look(
    top: &Path,
    home: Option<&Path>,
    git_config: bool,
    own: &mut Option<Search>,
) -> Result<Option<Repository>> {
    let dot_git = top.join(".git");
    let is_file = match kind(&dot_git) {
        None if !is_git_dir(top) => return Ok(None),
        kind => kind.map(|kind| kind.is_file()),
    };
    let git_dir = match is_file {
        Some(true) => reference(&dot_git, "gitdir:")?,
        Some(false) => Some(dot_git.clone()),
        None => Some(top.to_path_buf()),
    };
    let mut search = own.get_or_insert_with(|| Search::of_user(home, git_config)).clone();
    if is_file == Some(true) {
        search.protect.add(dot_git.clone());
    }
    let Some(git_dir) = git_dir.and_then(|dir| directory(&dir)) else { return Ok(Some(broken(top, search))) };
    let common_dir = common_dir(&git_dir)?;
    let linked = is_linked(&dot_git, &git_dir, &common_dir)?;
    search.tops.extend([top.to_path_buf(), git_dir.clone(), common_dir.clone()]);
    search.tops.extend(common_dir.parent().filter(|_| common_dir.ends_with(".git")).map(Path::to_path_buf));
    search.git_dir(&git_dir, 0)?;
    search.git_dir(&common_dir, 0)?;
    let hooks: Vec<Vec<u8>> = search.everywhere.iter().chain(&search.hooks).cloned().collect();
    for base in std::mem::take(&mut search.tops) {
        search.hook_directories(&hooks, &base);
    }
    Ok(Some(Repository {
        work_tree: top.to_path_buf(),
        git_dir,
        common_dir,
        linked,
        protect: search.protect.into_keys().collect(),
        absent: search.absent.into_keys().collect(),
        modules: search.modules,
    }))
}

/// A `.git` that leads nowhere: git refuses it, and nothing but the reference itself can be protected.
fn broken(top: &Path, search: Search) -> Repository {
    let nowhere = top.join(".git");
    Repository {
        work_tree: top.to_path_buf(),
        git_dir: nowhere.clone(),
        common_dir: nowhere,
        linked: false,
        protect: search.protect.into_keys().collect(),
        ..Repository::default()
    }
}

/// As git decides: HEAD, and objects and refs here or in the common directory.
pub(crate) fn is_git_dir(dir: &Path) -> bool {
    let has = |name: &str| dir.join(name).is_dir();
    kind(&dir.join("HEAD")).is_some()
        && (has("objects") && has("refs") || kind(&dir.join("commondir")).is_some())
}

fn common_dir(git_dir: &Path) -> Result<PathBuf> {
    let named = reference(&git_dir.join("commondir"), "")?;
    Ok(named.and_then(|path| directory(&path)).unwrap_or_else(|| git_dir.to_path_buf()))
}

/// The common directory of a linked work tree, and a submodule's git directory, have to be writable for `git commit`, so a
/// hostile `.git` must not be able to name any repository of the host: the repository itself has to have this work tree in
/// its list, or in its configuration.
fn is_linked(dot_git: &Path, git_dir: &Path, common_dir: &Path) -> Result<bool> {
    if !kind(dot_git).is_some_and(|kind| kind.is_file()) {
        return Ok(false);
    }
    if git_dir == common_dir {
        let named = work_tree(git_dir)?.and_then(|path| directory(&path));
        return Ok(named.is_some() && named.as_deref() == dot_git.parent());
    }
    if directory(&common_dir.join("worktrees")).as_deref() != git_dir.parent() {
        return Ok(false);
    }
    let back = reference(&git_dir.join("gitdir"), "")?;
    let (back, here) = (back.and_then(|path| find(&path)), find(dot_git));
    Ok(back.is_some_and(|back| here.is_some_and(|here| back.real == here.real)))
}

/// What was found so far.
#[derive(Clone, Default)]
pub struct Search {
    git_config: bool,
    home: Option<PathBuf>,
    /// Directories that were looked at, canonical.
    dirs: Set<PathBuf>,
    protect: Set<PathBuf>,
    absent: Set<PathBuf>,
    /// `config` files of modules.
    modules: Vec<PathBuf>,
    /// Values of core.hooksPath: the user's own and the machine's, and those of the repository at hand.
    everywhere: Vec<Vec<u8>>,
    hooks: Vec<Vec<u8>>,
    /// What those may be relative to.
    tops: Vec<PathBuf>,
    looked: usize,
}

impl Search {
    /// The configurations of the user and of the machine. What can't be read there does not count for git either.
    fn of_user(home: Option<&Path>, git_config: bool) -> Search {
        let mut search = Search { git_config, home: home.map(Path::to_path_buf), ..Search::default() };
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let config = config.or_else(|| Some(home?.join(".config")));
        let own = home.map(|home| home.join(".gitconfig"));
        let all = [own, config.map(|dir| dir.join("git/config")), Some("/etc/gitconfig".into())];
        for file in all.into_iter().flatten() {
            let hooks = search.configuration(&file, 0).unwrap_or_default();
            search.everywhere.extend(hooks);
        }
        search
    }

    /// What counts in a git directory, its modules and its linked work trees.
    fn git_dir(&mut self, dir: &Path, depth: usize) -> Result<()> {
        if !self.dirs.add(dir.to_path_buf()) {
            return Ok(());
        }
        OBEYED.iter().for_each(|name| self.obeyed(dir.join(name)));
        for path in CONFIGURATION.map(|name| dir.join(name)) {
            let hooks = self.configuration(&path, 0)?;
            self.hooks.extend(hooks);
            if !self.git_config {
                self.obeyed(path);
            }
        }
        self.modules(&dir.join("modules"), depth + 1)?;
        for worktree in self.children(&dir.join("worktrees"))? {
            // The `.git` of a linked work tree, which says where its git directory is.
            if let Some(dot_git) = reference(&worktree.join("gitdir"), "")? {
                self.reference_file(&dot_git);
                self.tops.extend(dot_git.parent().map(Path::to_path_buf));
            }
            self.git_dir(&worktree, depth + 1)?;
        }
        Ok(())
    }

    /// What git obeys, there or not.
    fn obeyed(&mut self, path: PathBuf) {
        let list = if kind(&path).is_some() { &mut self.protect } else { &mut self.absent };
        list.add(path);
    }

    /// The values of core.hooksPath in a configuration; what that includes is protected, for git obeys it too. Sections are
    /// not looked at: what is protected without need does little harm.
    fn configuration(&mut self, file: &Path, depth: usize) -> Result<Vec<Vec<u8>>> {
        let Some(text) = read(file, LONGEST_CONFIG)?.filter(|_| depth <= DEEPEST_INCLUDE) else {
            return Ok(Vec::new());
        };
        let (mut hooks, mut included) = (Vec::new(), Vec::new());
        values(&text, |key, value| match key {
            b"hookspath" => hooks.push(value),
            b"path" => included.push(value),
            _ => {}
        });
        for value in included {
            let path = self.expand(&value, file.parent().unwrap_or(file));
            if !kind(&path).is_some_and(|kind| kind.is_dir()) {
                hooks.extend(self.configuration(&path, depth + 1)?);
                self.obeyed(path);
            }
        }
        Ok(hooks)
    }

    /// Directories that are git's hooks where it runs in `base`.
    fn hook_directories(&mut self, values: &[Vec<u8>], base: &Path) {
        for value in values.iter().filter(|value| !value.is_empty()) {
            let path = self.expand(value, base);
            if !kind(&path).is_some_and(|kind| kind.is_file()) {
                self.obeyed(path);
            }
        }
    }

    fn expand(&self, value: &[u8], base: &Path) -> PathBuf {
        match (value.strip_prefix(b"~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(OsStr::from_bytes(rest)),
            _ => base.join(OsStr::from_bytes(value)),
        }
    }

    /// Modules have names with slashes, so a directory below `modules` may be one, or lead to some. A link is followed to a
    /// repository, but not searched: it may lead anywhere.
    fn modules(&mut self, dir: &Path, depth: usize) -> Result<()> {
        let Some(dir) = directory(dir).filter(|dir| self.dirs.add(dir.clone())) else { return Ok(()) };
        if depth > DEEPEST {
            return Err(too_much(&dir));
        }
        for child in self.children(&dir)? {
            if is_git_dir(&child) {
                let around = std::mem::take(&mut self.hooks);
                self.git_dir(&child, depth)?;
                let own = std::mem::replace(&mut self.hooks, around);
                let hooks: Vec<Vec<u8>> = self.everywhere.iter().cloned().chain(own).collect();
                self.hook_directories(&hooks, &child);
                if let Some(work_tree) = work_tree(&child)? {
                    self.reference_file(&work_tree.join(".git"));
                    self.hook_directories(&hooks, &work_tree);
                }
                self.modules.push(child.join("config"));
            } else if child.starts_with(&dir) {
                self.modules(&child, depth + 1)?;
            }
        }
        Ok(())
    }

    /// The `.git` file of another work tree, when it is a file: written anew, it would name any git directory.
    fn reference_file(&mut self, dot_git: &Path) {
        if kind(dot_git).is_some_and(|kind| kind.is_file()) {
            self.protect.add(dot_git.to_path_buf());
        }
    }

    /// The directories in `dir`, canonical; a link to a directory counts, for git follows it.
    fn children(&mut self, dir: &Path) -> Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(vec![]);
            }
            Err(error) => return Err(unreadable(dir, &error)),
        };
        let mut children = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(dir, &error))?;
            self.looked += 1;
            if self.looked > MOST_DIRECTORIES {
                return Err(too_much(dir));
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink()) {
                children.extend(directory(&entry.path()));
            }
        }
        Ok(children)
    }
}

/// The work tree that a module's configuration names.
fn work_tree(git_dir: &Path) -> Result<Option<PathBuf>> {
    let Some(text) = read(&git_dir.join("config"), LONGEST_CONFIG)? else { return Ok(None) };
    let mut last = None;
    values(&text, |key, value| {
        if key == b"worktree" {
            last = Some(git_dir.join(OsStr::from_bytes(&value)));
        }
    });
    Ok(last)
}

/// Each key of a configuration, in lower case and without its section, with its value.
fn values(text: &[u8], mut each: impl FnMut(&[u8], Vec<u8>)) {
    let mut rest = text.iter().copied().peekable();
    let mut key = Vec::new();
    while let Some(byte) = rest.next() {
        match byte {
            b'[' => {
                // A section's name in quotes may hold a bracket.
                let mut quoted = false;
                while let Some(byte) = rest.next_if(|b| *b != b'\n') {
                    match byte {
                        b'\\' => _ = rest.next(),
                        b'"' => quoted = !quoted,
                        b']' if !quoted => break,
                        _ => {}
                    }
                }
            }
            b'#' | b';' => while rest.next_if(|b| *b != b'\n').is_some() {},
            b'=' => each(&std::mem::take(&mut key), value(&mut rest)),
            b'\n' => key.clear(),
            byte if byte.is_ascii_whitespace() => {}
            byte => key.push(byte.to_ascii_lowercase()),
        }
    }
}

/// A value up to the end of its line, without quotes, escapes, comment, and blanks around.
fn value(rest: &mut Peekable<impl Iterator<Item = u8>>) -> Vec<u8> {
    let (mut value, mut length, mut quoted) = (Vec::new(), 0, false);
    while let Some(byte) = rest.next_if(|b| *b != b'\n') {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => match rest.next() {
                // The line goes on in the next one.
                Some(b'\n') | None => continue,
                Some(b'n') => value.push(b'\n'),
                Some(b't') => value.push(b'\t'),
                Some(byte) => value.push(byte),
            },
            b'#' | b';' if !quoted => while rest.next_if(|b| *b != b'\n').is_some() {},
            byte if !quoted && byte.is_ascii_whitespace() => {
                if !value.is_empty() {
                    value.push(byte);
                }
                continue;
            }
            byte => value.push(byte),
        }
        if byte != b'#' && byte != b';' || quoted {
            length = value.len();
        }
    }
    value.truncate(length);
    value
}

/// The path that a file of one line names, relative to the file's directory.
fn reference(file: &Path, prefix: &str) -> Result<Option<PathBuf>> {
    let Some(text) = read(file, LONGEST_REFERENCE)? else { return Ok(None) };
    let line = text.strip_prefix(prefix.as_bytes()).map(<[u8]>::trim_ascii);
    Ok(line.filter(|line| !line.is_empty()).map(|line| match file.parent() {
        Some(dir) => dir.join(OsStr::from_bytes(line)),
        None => PathBuf::from(OsStr::from_bytes(line)),
    }))
}

/// A regular file of at most `most` bytes; `None` when there is no such file. Not blocked by a FIFO.
fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(errno) => {
            let error = std::io::Error::from(errno);
            let absent = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
            return if absent { Ok(None) } else { Err(unreadable(path, &error)) };
        }
    };
    let Some(metadata) = file.metadata().ok().filter(|metadata| metadata.is_file()) else { return Ok(None) };
    // Room for the end to be seen, too.
    let mut text = Vec::with_capacity(metadata.len().min(most) as usize + 32);
    (&mut file).take(most + 1).read_to_end(&mut text).map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > most {
        return Err(too_much(path));
    }
    Ok(Some(text))
}

/// What stands at a path, links not followed.
pub(crate) fn kind(path: &Path) -> Option<FileType> {
    path.symlink_metadata().ok().map(|metadata| metadata.file_type())
}

/// The canonical path of a directory.
fn directory(path: &Path) -> Option<PathBuf> {
    find(path).filter(|found| found.kind == Kind::Directory).map(|found| found.real)
}

fn too_much(path: &Path) -> Failure {
    Failure::new(format!(
        "cannot protect the git repository: {} is larger than any that git makes",
        path.display()
    ))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("cannot protect the git repository: cannot read {}", path.display()));
    match error.raw_os_error() {
        Some(errno) => failure.errno(errno),
        None => failure,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]
mod tests {
    use super::super::glob_compat::Temp;
    use super::*;
    use std::fs;

    /// What `git init` makes, of what counts here.
    fn git_dir(temp: &Temp, path: &str) {
        let names = ["HEAD", "objects/", "refs/", "config", "hooks/"];
        temp.make(&names.map(|name| format!("{path}/{name}")));
    }

    fn write(temp: &Temp, path: &str, text: &str) {
        temp.make(&[path]);
        fs::write(temp.0.join(path), text).unwrap();
    }

    fn look_at(temp: &Temp, top: &str) -> (Repository, Vec<String>) {
        let repository = look(&temp.0.join(top), None, false, &mut None).unwrap().unwrap();
        let protect = temp.relative(&repository.protect);
        (repository, protect)
    }

    #[test]
    fn an_ordinary_repository() {
        let temp = Temp::new("git-plain");
        git_dir(&temp, "w/.git");
        temp.make(&["w/.git/commondir/", "plain/x"]);
        let (repository, protect) = look_at(&temp, "w");
        assert_eq!(protect, ["w/.git/commondir", "w/.git/config", "w/.git/hooks"]);
        assert_eq!((&repository.git_dir, repository.linked), (&repository.common_dir, false));
        let allowed = look(&temp.0.join("w"), None, true, &mut None).unwrap().unwrap();
        assert_eq!(temp.relative(&allowed.protect), ["w/.git/commondir", "w/.git/hooks"]);
        assert_eq!(look(&temp.0.join("plain"), None, false, &mut None).unwrap(), None);
    }

    #[test]
    fn a_bare_repository() {
        let temp = Temp::new("git-bare");
        git_dir(&temp, "b");
        let (repository, protect) = look_at(&temp, "b");
        assert_eq!(repository.git_dir, temp.0.join("b"));
        assert_eq!(protect, ["b/config", "b/hooks"]);
    }

    #[test]
    fn a_linked_work_tree() {
        let temp = Temp::new("git-linked");
        git_dir(&temp, "main/.git");
        write(&temp, "main/.git/worktrees/one/commondir", "../..\n");
        write(&temp, "main/.git/worktrees/one/gitdir", &format!("{}/one/.git\n", temp.0.display()));
        write(&temp, "main/.git/worktrees/one/HEAD", "ref: refs/heads/one\n");
        write(&temp, "one/.git", &format!("gitdir: {}/main/.git/worktrees/one\n", temp.0.display()));
        let (repository, protect) = look_at(&temp, "one");
        assert!(repository.linked);
        assert_eq!(repository.git_dir, temp.0.join("main/.git/worktrees/one"));
        assert_eq!(repository.common_dir, temp.0.join("main/.git"));
        let all = [
            "main/.git/config",
            "main/.git/hooks",
            "main/.git/worktrees/one/commondir",
            "main/.git/worktrees/one/gitdir",
            "one/.git",
        ];
        assert_eq!(protect, all);
        assert_eq!(look_at(&temp, "main").1, all);
    }

    #[test]
    fn a_work_tree_that_no_repository_knows_is_not_linked() {
        let temp = Temp::new("git-hostile");
        git_dir(&temp, "victim/.git");
        temp.make(&["victim/.git/worktrees/one/"]);
        // Its own git directory, which claims the victim's as its common directory.
        git_dir(&temp, "w/fake");
        write(&temp, "w/fake/commondir", "../../victim/.git");
        write(&temp, "w/fake/gitdir", "../.git");
        write(&temp, "w/.git", "gitdir: fake");
        let (repository, protect) = look_at(&temp, "w");
        assert!(!repository.linked);
        assert_eq!(repository.common_dir, temp.0.join("victim/.git"));
        assert!(protect.contains(&"w/fake/commondir".to_string()) && protect.contains(&"w/.git".to_string()));
        // The victim's list entry without a way back.
        write(&temp, "w/.git", "gitdir: ../victim/.git/worktrees/one");
        write(&temp, "victim/.git/worktrees/one/commondir", "../..");
        write(&temp, "victim/.git/worktrees/one/gitdir", "/elsewhere/.git");
        assert!(!look_at(&temp, "w").0.linked);
    }

    #[test]
    fn modules() {
        let temp = Temp::new("git-modules");
        for path in ["w/.git", "w/.git/modules/a", "w/.git/modules/lib/b", "w/.git/modules/a/modules/c"] {
            git_dir(&temp, path);
        }
        write(&temp, "w/.git/modules/lib/b/config", "[core]\n\tworktree = ../../../../lib/b\n");
        write(&temp, "w/lib/b/.git", "gitdir: ../../.git/modules/lib/b\n");
        temp.make(&["w/.git/modules/loop -> .", "w/.git/modules/up -> ../..", "w/.git/modules/root -> /"]);
        let (_, protect) = look_at(&temp, "w");
        let dirs = ["w/.git", "w/.git/modules/a", "w/.git/modules/lib/b", "w/.git/modules/a/modules/c"];
        for path in dirs.iter().flat_map(|dir| [format!("{dir}/config"), format!("{dir}/hooks")]) {
            assert!(protect.contains(&path), "{path}: {protect:?}");
        }
        assert!(protect.iter().any(|path| path.ends_with("../../../../lib/b/.git")), "{protect:?}");
    }

    #[test]
    fn beyond_the_bounds_is_an_error() {
        let temp = Temp::new("git-bounds");
        git_dir(&temp, "w/.git");
        temp.make(&[format!("w/.git/modules/{}", "m/".repeat(DEEPEST + 1))]);
        assert!(look(&temp.0.join("w"), None, false, &mut None).is_err());
        write(&temp, "v/.git", &format!("gitdir: {}", "x".repeat(10_000)));
        assert!(look(&temp.0.join("v"), None, false, &mut None).is_err());
        write(&temp, "u/.git", "nothing of the kind");
        assert_eq!(look_at(&temp, "u").1, ["u/.git"]);
    }

    #[test]
    fn a_fifo_does_not_block() {
        let temp = Temp::new("git-fifo");
        git_dir(&temp, "w/.git");
        let fifo = temp.0.join("w/.git/commondir");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(look_at(&temp, "w").1, ["w/.git/commondir", "w/.git/config", "w/.git/hooks"]);
    }
}
