//! Finds the built-in protected names that exist below the working directory, and the repositories there.

use super::dir::{self, Reader};
use crate::error::{Failure, Result};
use crate::tables::protected::{PROTECTED, SKIPPED, Where};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories that are looked into before the search gives up.
const MOST_DIRECTORIES: usize = 1_000_000;

/// What exists below the working directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Protected names, sorted; `.git/hooks` and `.git/config` of a `.git` directory with them.
    pub paths: Vec<PathBuf>,
    /// Directories that have a `.git` (a directory, a file or a link), sorted: for `git::look`.
    pub work_trees: Vec<PathBuf>,
}

/// Looks into the directories below `top`, `depth` levels down; the names in `top` itself are not listed. Symbolic links
/// are not followed. `git_config`: the user lets `.git/config` be written.
pub fn look(top: &Path, depth: usize, git_config: bool) -> Result<Names> {
    let mut search = Search { names: Names::default(), reader: Reader::new(), directories: 0, git_config };
    match dir::open(CWD, top.as_os_str().as_bytes(), true) {
        Ok(fd) => search.directory(fd, top, 0, depth)?,
        Err(errno) => return Err(failure(top, errno)),
    }
    search.names.paths.sort();
    search.names.work_trees.sort();
    Ok(search.names)
}

fn failure(path: &Path, errno: Errno) -> Failure {
    Failure::new(format!("cannot look for protected names in {}", path.display())).errno(errno.raw_os_error())
}

struct Search {
    names: Names,
    reader: Reader,
    directories: usize,
    git_config: bool,
}

impl Search {
    /// The recursion is `depth` deep. What can't be read holds nothing that the same user could run from it by name.
    fn directory(&mut self, fd: OwnedFd, path: &Path, level: usize, depth: usize) -> Result<()> {
        self.directories += 1;
        if self.directories > MOST_DIRECTORIES {
            let what = format!("cannot look for protected names in {}: too many directories", path.display());
            return Err(Failure::new(what).hint("start fence in the project's directory"));
        }
        let mut below: Vec<Vec<u8>> = Vec::new();
        let (names, git_config) = (&mut self.names, self.git_config);
        _ = self.reader.read(fd.as_fd(), |name, kind| {
            if level > 0 {
                look_at(names, fd.as_fd(), path, name, kind, git_config);
            }
            let enters = level < depth && kind == FileType::Directory && name != b".git";
            if enters && name != SKIPPED.as_bytes() {
                below.push(name.to_vec());
            }
            true
        });
        for name in below {
            let child = match dir::open(fd.as_fd(), &name, false) {
                Ok(child) => child,
                Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(failure(path, errno)),
            };
            // procfs and the like are seen from the root directory, if at all.
            if level > 0 || !dir::is_pseudo(&child) {
                self.directory(child, &path.join(OsStr::from_bytes(&name)), level + 1, depth)?;
            }
        }
        Ok(())
    }
}

/// One entry of a directory below the top.
fn look_at(names: &mut Names, dir: BorrowedFd, path: &Path, name: &[u8], kind: FileType, git_config: bool) {
    if name.first() != Some(&b'.') {
        return;
    }
    if name == b".git" {
        names.work_trees.push(path.to_path_buf());
        if kind == FileType::Directory {
            let wanted: &[&str] = if git_config { &[".git/hooks"] } else { &[".git/hooks", ".git/config"] };
            let found = wanted.iter().filter(|name| dir::kind(dir, name.as_bytes()).is_ok());
            names.paths.extend(found.map(|name| path.join(name)));
        }
        return;
    }
    let directory =
        || kind == FileType::Directory || (kind == FileType::Symlink && dir::leads_to_directory(dir, name));
    let mut everywhere = PROTECTED.iter().filter(|row| row.place == Where::Everywhere);
    match everywhere.find(|row| row.name.as_bytes() == name) {
        Some(row) if row.directory == directory() => names.paths.push(path.join(row.name)),
        _ => {}
    }
}
