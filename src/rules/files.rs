//! What the file rules say of one path, by name alone: the verdict for tools that announce what they are going to read or
//! write. The sandbox itself does not ask here: it mounts.

use super::glob::{self, Glob};
use crate::config::policy::Filesystem;
use crate::tables::paths::DEFAULT_READ_HOME;
use crate::tables::protected::{PROTECTED, Where};
use std::path::{Component, Path, PathBuf};

/// Where relative paths and `~` begin.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The tool's working directory, when it told one.
    pub cwd: Option<PathBuf>,
    /// The home directory.
    pub home: Option<PathBuf>,
}

/// Whether the policy lets `path` be written; if not, why.
pub fn check_write(fs: &Filesystem, path: &str, place: &Place) -> Result<(), String> {
    let blocked = |path: &str, why: String| {
        Err(format!("write to {path:?} blocked by sandbox filesystem policy: {why}"))
    };
    let Some(real) = absolute(path, place) else {
        return blocked(path, format!("relative path {path:?} without cwd"));
    };
    let name = real.to_string_lossy();
    if let Some(rule) = matched(&fs.deny_write, &real, place) {
        return blocked(&name, format!("denyWrite (matched {rule:?})"));
    }
    if let Some(rule) = dangerous(&real, fs.allow_git_config) {
        return blocked(&name, format!("dangerous path (matched {rule:?})"));
    }
    match matched(&fs.allow_write, &real, place) {
        Some(_) => Ok(()),
        None => blocked(&name, "not in allowWrite".into()),
    }
}

/// Whether the policy lets `path` be read; if not, why. `system`: the directories that are readable by default, with links
/// resolved.
pub fn check_read(fs: &Filesystem, path: &str, place: &Place, system: &[PathBuf]) -> Result<(), String> {
    let blocked = |path: &str, why: String| {
        Err(format!("read of {path:?} blocked by sandbox filesystem policy: {why}"))
    };
    let Some(real) = absolute(path, place) else {
        return blocked(path, format!("relative path {path:?} without cwd"));
    };
    let name = real.to_string_lossy();
    if let Some(rule) = matched(&fs.deny_read, &real, place) {
        return blocked(&name, format!("denyRead (matched {rule:?})"));
    }
    let home = place.home.iter().flat_map(|home| DEFAULT_READ_HOME.iter().map(move |name| home.join(name)));
    let defaults = || home.chain(system.iter().cloned()).any(|top| real.starts_with(top));
    let lists = [&fs.allow_read, &fs.allow_execute, &fs.allow_write];
    let allowed = !(fs.default_deny_read || fs.strict_deny_read)
        || lists.iter().any(|list| matched(list, &real, place).is_some())
        || !fs.strict_deny_read && defaults();
    if allowed { Ok(()) } else { blocked(&name, "not in allowRead".into()) }
}

fn absolute(path: &str, place: &Place) -> Option<PathBuf> {
    let alone = Path::new(path).is_absolute() || path.starts_with('~');
    let cwd = place.cwd.as_deref().or(alone.then_some(Path::new("/")))?;
    Some(glob::normalize(path, cwd, place.home.as_deref()))
}

/// The first entry of a list that covers a path: a plain one with all below it, a pattern where it matches.
fn matched<'a>(list: &'a [String], path: &Path, place: &Place) -> Option<&'a String> {
    let cwd = place.cwd.as_deref().unwrap_or(Path::new("/"));
    let home = place.home.as_deref();
    list.iter().find(|entry| {
        if !glob::is_glob(entry) {
            return path.starts_with(glob::normalize(entry, cwd, home));
        }
        // A pattern that can't be read stops a run before it starts; here it covers nothing.
        Glob::parse(entry, cwd, home)
            .is_ok_and(|glob| glob.matches(path) || glob.tree().is_some_and(|tree| path.starts_with(tree)))
    })
}

/// The built-in protected name that a path has, wherever it lies.
fn dangerous(path: &Path, git_config: bool) -> Option<&'static str> {
    let names: Vec<&str> = path
        .components()
        .filter_map(|c| if let Component::Normal(name) = c { name.to_str() } else { None })
        .collect();
    let everywhere = PROTECTED.iter().filter(|row| row.place == Where::Everywhere);
    let found = everywhere.into_iter().find(|row| match row.directory {
        true => names.iter().rev().skip(1).any(|name| *name == row.name),
        false => names.last() == Some(&row.name),
    });
    let hooks = names.windows(2).any(|pair| pair == [".git", "hooks"]).then_some(".git/hooks");
    let config = (names.ends_with(&[".git", "config"]) && !git_config).then_some(".git/config");
    found.map(|row| row.name).or(hooks).or(config)
}
