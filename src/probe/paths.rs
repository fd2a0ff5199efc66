//! What stands at a path, or where it would appear: looked up once, link by link only where there are links.

use super::{dir, git};
use crate::facts::{Facts, Found, Kind, Missing};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open};
use rustix::io::Errno;
use std::path::{Component, Path, PathBuf};

/// Puts what stands at `path` into the facts, once: what it is, or where it would appear.
pub(super) fn add(facts: &mut Facts, path: PathBuf) {
    if facts.paths.contains_key(&path) || facts.absent.contains_key(&path) {
        return;
    }
    let found = below_canonical(facts, &path).unwrap_or_else(|| {
        let found =
            find_with_links(&path).ok_or_else(|| rustix::fs::stat(&path).err().unwrap_or(Errno::NOENT));
        if found.is_err() {
            facts.missing.insert(path.clone(), missing(&path));
        }
        found
    });
    match found {
        Ok(found) => {
            facts.paths.insert(path, found);
            return;
        }
        Err(Errno::NOTDIR) => _ = facts.missing.insert(path.clone(), None),
        Err(Errno::ACCESS) => {
            let closed = path.ancestors().skip(1).find(|above| rustix::fs::stat(*above).is_ok());
            if let Some(closed) = closed.and_then(|above| own_directory(above, facts.uid)) {
                facts.blocked.insert(path.clone(), closed);
            }
        }
        Err(_) => {}
    }
    facts.absent.add(path);
}

/// A directory that belongs to the caller, who can change its permissions.
pub(super) fn own_directory(path: &Path, uid: u32) -> Option<Found> {
    let own = rustix::fs::stat(path).is_ok_and(|stat| stat.st_uid == uid);
    find_with_links(path).filter(|found| own && found.kind == Kind::Directory)
}

/// The same as [`find`], with the symbolic links on the way.
pub(super) fn find_with_links(path: &Path) -> Option<Found> {
    let found = find(path)?;
    let links = if found.real == path { Vec::new() } else { links_on(path) };
    Some(Found { links, ..found })
}

/// Whether a path goes through no symbolic link; none: nothing is there.
fn is_canonical(facts: &mut Facts, path: &Path) -> Option<bool> {
    if let Some(known) = facts.canonical.get(path) {
        return *known;
    }
    let canonical = match path.parent() {
        None => Some(path == Path::new("/")),
        // `..`
        Some(_) if path.file_name().is_none() => Some(false),
        Some(above) => match is_canonical(facts, above) {
            Some(true) => match rustix::fs::lstat(path) {
                Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode) != FileType::Symlink),
                Err(Errno::NOENT) => None,
                // What can't be looked up for another reason may be there all the same.
                Err(_) => Some(false),
            },
            other => other,
        },
    };
    facts.canonical.insert(path.to_path_buf(), canonical);
    canonical
}

/// The short way for a path whose directory is known to be canonical: one lstat. `None` when it does not apply.
fn below_canonical(facts: &mut Facts, path: &Path) -> Option<std::result::Result<Found, Errno>> {
    let parent = path.parent().filter(|_| path.file_name().is_some())?;
    match is_canonical(facts, parent) {
        None => {
            // Links lead nowhere else, so it would appear where the last directory is.
            let there = path.ancestors().find(|above| facts.canonical.get(*above) == Some(&Some(true)))?;
            let missing = Missing { real: path.into(), there: there.into(), links: Vec::new() };
            facts.missing.insert(path.to_path_buf(), Some(missing));
            return Some(Err(Errno::NOENT));
        }
        Some(false) => return None,
        Some(true) => {}
    }
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(errno) => return Some(Err(errno)),
    };
    let real = path.to_path_buf();
    let found = Found { real, kind: kind_of(&stat), links: Vec::new(), nlink: links_to(&stat) };
    (FileType::from_raw_mode(stat.st_mode) != FileType::Symlink).then_some(Ok(found))
}

/// What a path leads to. One open, and the kernel's own name for what was opened.
pub fn find(path: &Path) -> Option<Found> {
    let handle = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(&handle).ok()?;
    let real = dir::real_path(&handle).or_else(|| std::fs::canonicalize(path).ok())?;
    Some(Found { real, kind: kind_of(&stat), links: Vec::new(), nlink: links_to(&stat) })
}

/// The field has 32 bits on aarch64.
#[allow(clippy::useless_conversion)]
fn links_to(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}

fn kind_of(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        _ => Kind::Other,
    }
}

/// The symbolic links that looking `path` up goes through, outermost first.
fn links_on(path: &Path) -> Vec<(PathBuf, PathBuf)> {
    resolve(path).0
}

/// The same, and where they lead, whether that exists or not; a loop leads nowhere.
pub(crate) fn resolve(path: &Path) -> (Vec<(PathBuf, PathBuf)>, Option<PathBuf>) {
    let mut links = Vec::new();
    let mut todo = path.to_path_buf();
    // As many as the kernel follows before it says ELOOP.
    while links.len() < 40 {
        let Some((link, text, rest)) = first_link(&todo) else {
            let real = todo.components().fold(PathBuf::from("/"), |mut real, component| {
                match component {
                    Component::ParentDir => _ = real.pop(),
                    Component::Normal(name) => real.push(name),
                    _ => {}
                }
                real
            });
            return (links, Some(real));
        };
        todo = link.parent().unwrap_or(Path::new("/")).join(&text).join(rest);
        links.push((link, text));
    }
    (links, None)
}

/// The first symbolic link on a path, its text, and the part of the path after it.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let mut at = PathBuf::from("/");
    let mut components = path.components();
    while let Some(component) = components.next() {
        match component {
            Component::ParentDir => _ = at.pop(),
            Component::Normal(name) => at.push(name),
            _ => continue,
        }
        if let Ok(text) = std::fs::read_link(&at) {
            return Some((at, text, components.as_path().to_path_buf()));
        }
    }
    None
}

/// Where something that does not exist would appear. A path that goes through a file leads nowhere.
fn missing(path: &Path) -> Option<Missing> {
    let (links, real) = resolve(path);
    let real = real?;
    let there = real.ancestors().skip(1).find(|above| git::kind(above).is_some())?.to_path_buf();
    there.is_dir().then_some(Missing { real, there, links })
}
