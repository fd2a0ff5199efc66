//! The host's mount table: the other paths under which a file can be reached because its file system, or a part of it, is
//! mounted more than once.

use crate::mountinfo::{self, Mount};
use rustix::fs::stat;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The mount table, as far as it holds file systems that are mounted more than once.
#[derive(Debug, Default)]
pub struct Table {
    mounts: Vec<Mount>,
    repeated: BTreeMap<Vec<u8>, usize>,
}

impl Table {
    /// Reads this process's table; without /proc there is none.
    pub fn read() -> Table {
        Table::parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(text: &[u8]) -> Table {
        let mounts = mountinfo::parse(text);
        let mut repeated = BTreeMap::new();
        for mount in &mounts {
            *repeated.entry(mount.device.clone()).or_insert(0) += 1;
        }
        Table { mounts, repeated }
    }

    /// Other paths of the file or directory at the canonical `path`: those that lead there now.
    pub fn other_paths(&self, path: &Path) -> Vec<PathBuf> {
        let candidates = self.candidates(path);
        let identity = |path: &Path| stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
        let this = if candidates.is_empty() { None } else { identity(path) };
        candidates.into_iter().filter(|other| this.is_some() && identity(other) == this).collect()
    }

    fn candidates(&self, path: &Path) -> Vec<PathBuf> {
        // The last mount over the longest prefix is the one that shows.
        let covering = self.mounts.iter().filter(|m| path.starts_with(&m.point));
        let Some(mount) = covering.max_by_key(|m| m.point.components().count()) else { return Vec::new() };
        if self.repeated.get(&mount.device).is_none_or(|times| *times < 2) {
            return Vec::new();
        }
        let Ok(rest) = path.strip_prefix(&mount.point) else { return Vec::new() };
        let inside = mount.root.join(rest);
        let same = self.mounts.iter().filter(|m| m.device == mount.device && *m != mount);
        let paths = same.filter_map(|m| Some(joined(&m.point, inside.strip_prefix(&m.root).ok()?)));
        paths.filter(|other| other != path).collect()
    }
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
