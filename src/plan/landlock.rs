//! Landlock's rows: the file rules once more, as far as a list of allowed places can say them.

use super::files::{Place, Rules};
use super::mounts::Mount;
use crate::facts::{Found, Kind};
use crate::tables::landlock as rights;
use std::path::{Path, PathBuf};

/// One ruleset: what it handles and what it allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The kernel's ABI that the ruleset is made for.
    pub abi: u32,
    /// Allowed places.
    pub rows: Vec<Row>,
    /// Signals and abstract Unix sockets reach no process outside (ABI 6).
    pub scoped: bool,
    /// No TCP port can be connected or bound to (ABI 4): the network is the host's.
    pub no_ports: bool,
    /// The rows are real paths of the host's own tree: a symbolic link in one was put there just now.
    pub real: bool,
}

impl Ruleset {
    /// The places that give this right.
    pub fn places(&self, access: u64) -> impl Iterator<Item = PathBuf> {
        self.rows.iter().filter(move |row| row.access & access != 0).map(|row| row.path.clone())
    }
}

/// What is allowed below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Path as the sandbox sees it.
    pub path: PathBuf,
    /// `LANDLOCK_ACCESS_FS_*` bits.
    pub access: u64,
}

/// Directories in which only existing files are written to.
const NODES: [&str; 1] = ["/proc"];

/// Where terminals are: the only places whose ioctls are allowed on device nodes.
const TERMINALS: [&str; 4] = ["/dev/pts", "/dev/tty", "/dev/console", "/dev/ptmx"];

/// The ruleset for these rules; `None` where the kernel has no Landlock.
///
/// Denials inside an allowed place can't be said here: the mounts carry them.
pub fn plan(
    abi: u32,
    rules: &Rules,
    mounts: &[Mount],
    own: Vec<PathBuf>,
    devices: &[PathBuf],
) -> Option<Ruleset> {
    if abi == 0 {
        return None;
    }
    let abi = abi.min(rights::NEWEST_ABI);
    let mut rows = Vec::new();
    let mut row = |path: &Path, directory: bool, access: u64| {
        let possible = rights::handled_fs(abi) & if directory { u64::MAX } else { rights::FILE };
        rows.push(Row { path: path.to_path_buf(), access: access & possible });
    };
    if rules.empty_root && !rules.all_readable {
        for (path, rule) in rules
            .places
            .iter()
            .filter(|(_, rule)| rule.shown && !matches!(rule.place, Place::Mask | Place::Write))
        {
            let execute_only = rules.execute_only.contains(path);
            row(path, rule.directory, if execute_only { rights::EXECUTE_ONLY } else { rights::READ });
        }
        for private in ["/proc", "/dev", "/run", "/tmp", "/var/tmp"] {
            if mounts
                .iter()
                .any(|m| matches!(m, Mount::Tmpfs { to, .. } | Mount::Proc(to) if to == Path::new(private)))
            {
                row(Path::new(private), true, rights::READ);
            }
        }
    } else {
        row(Path::new("/"), true, rights::READ);
    }
    for (path, rule) in rules.places.iter().filter(|(_, rule)| rule.place == Place::Write) {
        let write = if rules.denies_writing(path) { 0 } else { rights::write_fs(abi) };
        row(path, rule.directory, rights::READ | write);
    }
    for (path, rule) in &rules.places {
        if let Place::Expose { writable } = rule.place {
            let ioctl = if path.starts_with("/dev") { rights::IOCTL_DEV } else { 0 };
            let write = if writable { rights::write_fs(abi) | ioctl } else { 0 };
            row(path, rule.directory, rights::READ | rights::RESOLVE_UNIX | write);
        }
    }
    if abi >= 9 {
        for path in &rules.sockets {
            row(path, true, rights::READ | rights::RESOLVE_UNIX);
        }
    }
    for path in &own {
        row(path, true, rights::READ | rights::write_fs(abi));
    }
    for path in NODES {
        let sealed = mounts.iter().any(|m| matches!(m, Mount::Seal(at) if at == Path::new(path)));
        let write = if sealed { 0 } else { rights::WRITE_FILE | rights::TRUNCATE };
        row(Path::new(path), true, rights::READ | write);
    }
    row(Path::new("/dev"), true, rights::READ | rights::WRITE_FILE | rights::TRUNCATE);
    for path in TERMINALS {
        row(Path::new(path), path == "/dev/pts", rights::READ | rights::WRITE_FILE | rights::IOCTL_DEV);
    }
    for path in devices {
        row(path, false, rights::READ | rights::WRITE_FILE | rights::IOCTL_DEV);
    }
    Some(Ruleset { abi, rows, scoped: rights::scoped(abi) != 0, ..Ruleset::default() })
}

/// A ruleset for the host's own tree: places to read and execute, places to do everything in.
pub fn for_host(abi: u32, read: &[Found], write: &[Found]) -> Ruleset {
    let row = |found: &Found, access: u64| {
        let possible =
            rights::handled_fs(abi) & if found.kind == Kind::Directory { u64::MAX } else { rights::FILE };
        Row { path: found.real.clone(), access: access & possible }
    };
    let read = read.iter().map(|found| row(found, rights::READ));
    let write =
        write.iter().map(|found| row(found, rights::READ | rights::write_fs(abi) | rights::IOCTL_DEV));
    Ruleset { abi, rows: read.chain(write).collect(), ..Ruleset::default() }
}
