//! The built-in protected names below the working directory, and the repositories there: what the walk looks for, and
//! which of the entries that it meets count.

use super::dir;
use crate::rules::glob::Glob;
use crate::tables::protected::{PROTECTED, Protected, SKIPPED, Where};
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use std::path::{Path, PathBuf};

/// What is wanted. The names in `top` itself are not listed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The working directory, canonical.
    pub top: &'a Path,
    /// How many directories down.
    pub depth: usize,
    /// The user lets `.git/config` be written.
    pub git_config: bool,
}

/// What exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Protected names, sorted; `.git/hooks` and `.git/config` of a `.git` directory with them.
    pub paths: Vec<PathBuf>,
    /// Directories that have a `.git` (a directory, a file or a link), sorted: for `git::look`.
    pub work_trees: Vec<PathBuf>,
}

impl Wanted<'_> {
    /// The entries to show to [`Wanted::entry`]. All names have a dot in front.
    pub(super) fn glob(&self) -> Glob {
        Glob::hidden_below(self.top, self.depth, SKIPPED)
    }

    /// Adds what counts of the entry `name` of the directory `dir`, whose path is `path`.
    pub(super) fn entry(&self, names: &mut Names, dir: BorrowedFd, path: &Path, name: &[u8], kind: FileType) {
        if name == b".git" {
            names.work_trees.push(path.to_path_buf());
            let inside: &[&str] = if self.git_config { &["hooks"] } else { &["hooks", "config"] };
            let inside = inside.iter().map(|name| format!(".git/{name}"));
            let found =
                inside.filter(|name| kind == FileType::Directory && dir::kind(dir, name.as_bytes()).is_ok());
            return names.paths.extend(found.map(|name| path.join(name)));
        }
        let wanted = |row: &&Protected| row.place == Where::Everywhere && row.name.as_bytes() == name;
        if let Some(row) = PROTECTED.iter().find(wanted) {
            let link = kind == FileType::Symlink && dir::leads_to_directory(dir, name);
            if row.directory == (link || kind == FileType::Directory) {
                names.paths.push(path.join(row.name));
            }
        }
    }
}
