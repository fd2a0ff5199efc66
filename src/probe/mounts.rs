//! The host's mount table: the other paths under which a file can be reached because its file system, or a part of it, is
//! mounted more than once.

use crate::map::Map;
use crate::mountinfo::{self, Mount};
use rustix::fs::stat;
use std::path::{Path, PathBuf};

/// The mount table, as far as it holds file systems that are mounted more than once.
#[derive(Debug, Default)]
pub struct Table {
    mounts: Vec<Mount>,
    repeated: Map<Vec<u8>, usize>,
}

/// Whether `/` of this process is a mount point; after a plain chroot it is not.
pub fn root_is_a_mount() -> bool {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    mountinfo::parse(&table).iter().any(|mount| mount.point == Path::new("/"))
}

impl Table {
    /// Reads this process's table; without /proc there is none.
    pub fn read() -> Table {
        Table::parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(text: &[u8]) -> Table {
        let mounts = mountinfo::parse(text);
        let mut repeated = Map::new();
        for mount in &mounts {
            *repeated.get_or_insert(mount.device.clone(), 0) += 1;
        }
        Table { mounts, repeated }
    }

    /// Other paths of the file or directory at the canonical `path`, and of what is in it: those that lead there now.
    pub fn other_paths(&self, path: &Path) -> Vec<PathBuf> {
        let mut all = self.whole(path);
        all.extend(self.parts(path));
        all
    }

    /// Mounts of something below `path`.
    fn parts(&self, path: &Path) -> Vec<PathBuf> {
        let Some((mount, inside)) = self.repeated_mount(path) else { return Vec::new() };
        let same = self.mounts.iter().filter(|m| m.device == mount.device && *m != mount);
        let part = |m: &Mount| {
            let below = m.root.strip_prefix(&inside).ok().filter(|below| !below.as_os_str().is_empty())?;
            (identity(&m.point) == identity(&path.join(below)) && !m.point.starts_with(path))
                .then(|| m.point.clone())
        };
        same.filter_map(part).collect()
    }

    fn whole(&self, path: &Path) -> Vec<PathBuf> {
        let candidates = self.candidates(path);
        let this = if candidates.is_empty() { None } else { identity(path) };
        candidates.into_iter().filter(|other| this.is_some() && identity(other) == this).collect()
    }

    /// The mount that `path` is on, and its place in that file system, when the same is mounted elsewhere too.
    fn repeated_mount(&self, path: &Path) -> Option<(&Mount, PathBuf)> {
        // The last mount over the longest prefix is the one that shows.
        let covering = self.mounts.iter().filter(|m| path.starts_with(&m.point));
        let mount = covering.max_by_key(|m| m.point.components().count())?;
        let repeated = self.repeated.get(&mount.device).is_some_and(|times| *times > 1);
        let inside = joined(&mount.root, path.strip_prefix(&mount.point).ok()?);
        repeated.then_some((mount, inside))
    }

    fn candidates(&self, path: &Path) -> Vec<PathBuf> {
        let Some((mount, inside)) = self.repeated_mount(path) else { return Vec::new() };
        let same = self.mounts.iter().filter(|m| m.device == mount.device && *m != mount);
        let paths = same.filter_map(|m| Some(joined(&m.point, inside.strip_prefix(&m.root).ok()?)));
        paths.filter(|other| other != path).collect()
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// `join` that adds no slash for the directory itself.
fn joined(point: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { point.to_path_buf() } else { point.join(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_is_mounted_twice_has_two_paths() {
        let table = Table::parse(
            b"30 1 8:1 / / rw - ext4 /dev/a rw\n31 30 8:2 / /home rw - ext4 /dev/b rw\n\
              32 30 8:2 /me/my\\040code /srv/code rw - ext4 /dev/b rw\n33 30 0:9 / /data rw - tmpfs t rw\n",
        );
        let paths = |path: &str| table.candidates(Path::new(path));
        assert_eq!(paths("/home/me/my code/.env"), [Path::new("/srv/code/.env")]);
        assert_eq!(paths("/srv/code"), [Path::new("/home/me/my code")]);
        assert!(paths("/home/me/.ssh").is_empty() && paths("/data/x").is_empty() && paths("/etc").is_empty());
    }
}
