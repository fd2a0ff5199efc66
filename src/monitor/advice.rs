//! Which rule denied a call, and the line of the configuration that would allow it. Pure: from the plan and the call alone.

use crate::json::Json;
use crate::plan::Plan;
use crate::plan::landlock::Row;
use crate::plan::mounts::Mount;
use crate::tables::arguments::Act;
use crate::tables::landlock as rights;
use crate::tables::syscalls::{Action, Arch, Rule};
use std::fmt;
use std::path::{Path, PathBuf};

/// What the answer is read from.
#[derive(Default)]
pub struct Advisor {
    mounts: Vec<Mount>,
    rows: Option<Vec<Row>>,
    filter: Vec<Rule>,
    /// The directory that the command started in.
    pub cwd: PathBuf,
}

/// A call that failed.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'a> {
    /// The kernel's name of it.
    pub call: &'a str,
    /// EPERM, EACCES or EROFS.
    pub errno: i32,
    /// What it does to the paths.
    pub act: Act,
    /// Absolute paths; others are left out.
    pub paths: &'a [PathBuf],
    /// The paths are Unix sockets.
    pub socket: bool,
}

/// Why, and what would allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What denied it.
    pub rule: String,
    /// None: nothing that can be written in the configuration.
    pub allow: Option<Change>,
}

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// `filesystem.allowWrite`
    Write(PathBuf),
    /// `filesystem.allowRead`
    Read(PathBuf),
    /// An entry of `filesystem.denyRead` to take out.
    Unmask(PathBuf),
    /// `network.allowUnixSockets`
    Socket(PathBuf),
    /// `--allow-syscall`
    Call(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |path: &Path| Json::str(path.to_string_lossy()).compact();
        match self {
            Change::Write(path) => write!(f, "filesystem.allowWrite: [{}]", text(path)),
            Change::Read(path) => write!(f, "filesystem.allowRead: [{}]", text(path)),
            Change::Unmask(path) => write!(f, "take {} out of filesystem.denyRead", text(path)),
            Change::Socket(path) => write!(f, "network.allowUnixSockets: [{}]", text(path)),
            Change::Call(name) => write!(f, "--allow-syscall {name}"),
        }
    }
}

impl Advice {
    fn new(rule: impl Into<String>, allow: Option<Change>) -> Advice {
        Advice { rule: rule.into(), allow }
    }
}

impl Advisor {
    /// From the plan of a run.
    pub fn new(plan: &Plan) -> Advisor {
        Advisor {
            mounts: plan.mounts.clone(),
            rows: plan.landlock.as_ref().map(|ruleset| ruleset.rows.clone()),
            filter: plan.seccomp.clone(),
            cwd: plan.cwd.clone(),
        }
    }

    /// Why the call failed. `exists` says whether something is there on the host: only what is there can be allowed.
    pub fn advise(&self, denial: Denial<'_>, exists: &dyn Fn(&Path) -> bool) -> Advice {
        if let Some(advice) = self.filtered(denial) {
            return advice;
        }
        let file = |path: &PathBuf| match denial.act {
            _ if denial.socket => Some(Advice::new("the socket's place", Some(Change::Socket(path.clone())))),
            Act::Write => self.write(path, path, exists),
            Act::Name => self.write(path, path.parent().unwrap_or(path), exists),
            Act::Read | Act::Execute | Act::Open(_) => self.read(path),
        };
        denial.paths.iter().find_map(file).unwrap_or_else(|| {
            Advice::new("the kernel itself: permissions of the file, or rights that the command lacks", None)
        })
    }

    /// Whether the filter refuses the call with this number whatever its arguments are.
    pub fn filters(&self, arch: Arch, number: u32) -> bool {
        let is = |rule: &&Rule| rule.numbers.on(arch) == Some(number);
        self.filter.iter().find(is).is_some_and(|rule| matches!(rule.action, Action::Refuse(_)))
    }

    fn filtered(&self, denial: Denial<'_>) -> Option<Advice> {
        let rule = self.filter.iter().find(|rule| rule.name == denial.call && denial.errno == libc::EPERM)?;
        let allow = match rule.action {
            Action::Refuse(_) => Some(Change::Call(rule.name.to_string())),
            // Some of these calls pass the filter, and the kernel may have its own reason.
            _ => None,
        };
        Some(Advice::new(format!("the system call filter: {}", rule.why), allow))
    }

    /// Why `path` can't be written to, when a rule says so. `wanted` would have to be writable for it.
    fn write(&self, path: &Path, wanted: &Path, exists: &dyn Fn(&Path) -> bool) -> Option<Advice> {
        let there = wanted.ancestors().find(|above| exists(above)).filter(|above| *above != Path::new("/"));
        let allow = there.map(|path| Change::Write(path.to_path_buf()));
        match self.covering(path) {
            Some(Mount::MaskFile(at) | Mount::MaskDirectory(at)) => Some(masked(at)),
            Some(Mount::Bind { to, read_only: true, .. }) if self.below_writable(to) => Some(Advice::new(
                format!("filesystem.denyWrite or a protected name ({})", to.display()),
                Some(Change::Write(to.clone())),
            )),
            Some(Mount::Proc(_) | Mount::ReadOnlyPart(_)) => {
                Some(Advice::new("the sandbox's own /proc", None))
            }
            Some(Mount::Bind { read_only: false, .. } | Mount::Tmpfs { read_only: false, .. })
                if self.landlock_allows(path, rights::WRITE_FILE) =>
            {
                None
            }
            _ => {
                Some(Advice::new("the read-only file system: filesystem.allowWrite does not list it", allow))
            }
        }
    }

    fn read(&self, path: &Path) -> Option<Advice> {
        match self.covering(path) {
            Some(Mount::MaskFile(at) | Mount::MaskDirectory(at)) => Some(masked(at)),
            _ if self.landlock_allows(path, rights::READ_FILE) => None,
            _ => Some(Advice::new(
                "Landlock: filesystem.allowRead does not list it",
                Some(Change::Read(path.to_path_buf())),
            )),
        }
    }

    /// The mount that shows a path: the last and deepest at or above it.
    fn covering(&self, path: &Path) -> Option<&Mount> {
        let above = self.mounts.iter().filter(|mount| place(mount).is_some_and(|at| path.starts_with(at)));
        above.max_by_key(|mount| place(mount).map_or(0, |at| at.components().count()))
    }

    /// A mount that takes writing away from a writable place above it.
    fn below_writable(&self, to: &Path) -> bool {
        to.parent().and_then(|above| self.covering(above)).is_some_and(|mount| {
            matches!(mount, Mount::Bind { read_only: false, .. } | Mount::HostRoot { read_only: false })
        })
    }

    fn landlock_allows(&self, path: &Path, right: u64) -> bool {
        let Some(rows) = &self.rows else { return true };
        rows.iter().any(|row| row.access & right != 0 && path.starts_with(&row.path))
    }
}

/// Where a mount is, when what is below depends on it.
fn place(mount: &Mount) -> Option<&Path> {
    match mount {
        Mount::HostRoot { .. } | Mount::EmptyRoot => Some(Path::new("/")),
        Mount::Bind { to: at, .. }
        | Mount::Tmpfs { to: at, .. }
        | Mount::MaskDirectory(at)
        | Mount::MaskFile(at)
        | Mount::Proc(at)
        | Mount::ReadOnlyPart(at)
        | Mount::Seal(at) => Some(at),
        _ => None,
    }
}

fn masked(at: &Path) -> Advice {
    Advice::new(format!("filesystem.denyRead ({})", at.display()), Some(Change::Unmask(at.to_path_buf())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tables::syscalls::BLOCKED;

    fn advisor() -> Advisor {
        let bind = |path: &str, read_only| Mount::Bind {
            from: path.into(),
            to: path.into(),
            read_only,
            devices: false,
            may_be_gone: false,
        };
        Advisor {
            mounts: vec![
                Mount::HostRoot { read_only: true },
                bind("/proj", false),
                bind("/proj/.git/hooks", true),
                Mount::MaskFile("/proj/.env".into()),
                Mount::Tmpfs { to: "/tmp".into(), mode: 0o1777, read_only: false },
            ],
            rows: None,
            filter: BLOCKED.to_vec(),
            cwd: "/proj".into(),
        }
    }

    fn advice(call: &str, errno: i32, act: Act, path: &str) -> (String, String) {
        let paths: Vec<PathBuf> = if path.is_empty() { Vec::new() } else { vec![path.into()] };
        let denial = Denial { call, errno, act, paths: &paths, socket: false };
        let there = |path: &Path| matches!(path.to_str().unwrap(), "/" | "/proj" | "/etc" | "/etc/x");
        let advice = advisor().advise(denial, &there);
        (advice.rule, advice.allow.map_or(String::new(), |change| change.to_string()))
    }

    #[test]
    fn each_rule_is_named_with_what_lifts_it() {
        use libc::{EACCES, EPERM, EROFS};
        let rows = [
            (
                "openat",
                EROFS,
                Act::Write,
                "/etc/x",
                "the read-only file system",
                r#"filesystem.allowWrite: ["/etc/x"]"#,
            ),
            (
                "openat",
                EROFS,
                Act::Write,
                "/etc/new/y",
                "the read-only",
                r#"filesystem.allowWrite: ["/etc"]"#,
            ),
            ("unlink", EROFS, Act::Name, "/etc/x", "the read-only", r#"filesystem.allowWrite: ["/etc"]"#),
            // Nobody is told to make the whole tree writable.
            ("mkdir", EROFS, Act::Name, "/new", "the read-only file system", ""),
            (
                "openat",
                EROFS,
                Act::Write,
                "/proj/.git/hooks/x",
                "filesystem.denyWrite or a protected name",
                r#"filesystem.allowWrite: ["/proj/.git/hooks"]"#,
            ),
            (
                "openat",
                EACCES,
                Act::Read,
                "/proj/.env",
                "filesystem.denyRead",
                r#"take "/proj/.env" out of filesystem.denyRead"#,
            ),
            (
                "openat",
                EACCES,
                Act::Write,
                "/proj/.env",
                "filesystem.denyRead",
                r#"take "/proj/.env" out of filesystem.denyRead"#,
            ),
            ("openat", EACCES, Act::Read, "/etc/shadow", "the kernel itself", ""),
            ("openat", EACCES, Act::Write, "/tmp/x", "the kernel itself", ""),
            (
                "mount",
                EPERM,
                Act::Name,
                "/mnt",
                "the system call filter: changes what",
                "--allow-syscall mount",
            ),
            ("unshare", EPERM, Act::Read, "", "the system call filter: a new user", ""),
            ("mount", EACCES, Act::Read, "", "the kernel itself", ""),
        ];
        for (call, errno, act, path, rule, allow) in rows {
            let (said, change) = advice(call, errno, act, path);
            assert!(said.starts_with(rule), "{call} {path}: {said}");
            assert_eq!(change, allow, "{call} {path}");
        }
    }

    #[test]
    fn landlock_denies_what_the_mounts_allow() {
        let row = Row { path: "/proj".into(), access: rights::READ_FILE };
        let advisor = Advisor { rows: Some(vec![row]), ..advisor() };
        for (act, path, wanted) in [
            (Act::Write, "/proj/x", Some("filesystem.allowWrite")),
            (Act::Read, "/proj/x", None),
            (Act::Read, "/srv/x", Some("filesystem.allowRead")),
        ] {
            let paths = [PathBuf::from(path)];
            let denial = Denial { call: "open", errno: libc::EACCES, act, paths: &paths, socket: false };
            let allow = advisor.advise(denial, &|_| true).allow.map(|change| change.to_string());
            assert_eq!(allow.as_deref().and_then(|text| text.split(':').next()), wanted, "{path}");
        }
    }
}
