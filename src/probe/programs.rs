//! The programs that rules on commands name: which files they are, and under which other names those files are on PATH.

use super::host::executable;
use super::paths::find_with_links;
use crate::config::Policy;
use crate::facts::{Facts, FileId, Kind, Program};
use crate::map::{Map, Set};
use crate::plan::exec::{self, Mode};
use crate::rules::prefix::basename;
use crate::tables::programs::{CRITICAL, DIRECTORIES};
use rustix::fs::stat;
use std::path::{Path, PathBuf};

/// Puts what the plan needs to know into the facts; nothing where no rule concerns what runs later.
pub(super) fn look(facts: &mut Facts, policy: &Policy) {
    let words = exec::words(policy);
    if words.is_empty() {
        return;
    }
    let directories = directories(&facts.cwd);
    for word in words {
        let programs: Vec<Program> =
            places(&word, &directories, &facts.cwd).filter_map(|p| program(&p)).collect();
        if !programs.is_empty() {
            facts.programs.insert(word, programs);
        }
    }
    if exec::mode(policy) == Mode::Path {
        if facts.programs.is_empty() {
            return;
        }
        let shell = facts.shell.as_deref().and_then(id);
        let critical: Vec<(FileId, &str)> = CRITICAL
            .iter()
            .flat_map(|name| files(name, &directories).map(move |file| (file, *name)))
            .collect();
        for program in facts.programs.values_mut().flatten() {
            program.shell = Some(program.file) == shell;
            let mut names: Vec<&str> =
                critical.iter().filter(|(file, _)| *file == program.file).map(|(_, name)| *name).collect();
            crate::order::set(&mut names);
            program.critical = names;
        }
    }
    if exec::asks(policy, facts) {
        facts.program_names = names(facts, &directories);
        facts.exec_listener = Some(super::listener::try_it());
    }
}

/// PATH and the usual places, each directory once.
fn directories(cwd: &Path) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).map(|directory| cwd.join(directory));
    let mut seen = Set::new();
    all.chain(DIRECTORIES.map(PathBuf::from)).filter(|dir| id(dir).is_some_and(|id| seen.add(id))).collect()
}

/// Where a word of a rule may stand: a path is itself.
fn places<'a>(
    word: &'a str,
    directories: &'a [PathBuf],
    cwd: &'a Path,
) -> impl Iterator<Item = PathBuf> + 'a {
    let itself = word.contains('/').then(|| cwd.join(word));
    itself.into_iter().chain(directories.iter().map(move |directory| directory.join(basename(word))))
}

fn program(path: &Path) -> Option<Program> {
    if !executable(path) {
        return None;
    }
    let found = find_with_links(path).filter(|found| found.kind == Kind::File)?;
    Some(Program { file: id(&found.real)?, found, shell: false, critical: Vec::new() })
}

fn files<'a>(name: &'a str, directories: &'a [PathBuf]) -> impl Iterator<Item = FileId> + 'a {
    directories.iter().filter_map(move |directory| id(&directory.join(name)))
}

fn id(path: &Path) -> Option<FileId> {
    stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// Every name on PATH of the files that rules name. A link's own inode says nothing, so links are followed; of all else
/// the directory says the inode.
fn names(facts: &Facts, directories: &[PathBuf]) -> Map<FileId, Vec<String>> {
    use std::os::unix::fs::DirEntryExt;
    let programs = facts.programs.values().flatten();
    let mut names: Map<FileId, Vec<String>> = programs.map(|program| (program.file, Vec::new())).collect();
    let inodes: Set<u64> = names.keys().map(|(_, inode)| (*inode, ())).collect();
    for entry in directories.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten() {
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if (link || inodes.contains_key(&entry.ino()))
            && let Some(known) = id(&entry.path()).and_then(|id| names.get_mut(&id))
            && let Some(name) = entry.file_name().to_str()
            && !known.iter().any(|known| known == name)
        {
            known.push(name.to_owned());
        }
    }
    names
}
