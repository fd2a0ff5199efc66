//! Random policies: the mount table, played by a small simulator, against the precedence rules said a second time.

use super::host::Host;
use fence::config::Policy;
use fence::plan::mounts::Mount;
use fence::plan::{self, Plan, show};
use fence::tables::landlock as rights;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a path is to the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Hidden,
    Read,
    Write,
}

/// Marsaglia's xorshift64: the same policies on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn some(&mut self, from: &[PathBuf], most: usize) -> Vec<String> {
        (0..self.below(most + 1)).map(|_| from[self.below(from.len())].to_str().unwrap().into()).collect()
    }
}

#[test]
fn random_policies_hold() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for round in 0..800 {
        let mut host = Host::usual();
        for top in ["/data", "/data/p", "/tmp", "/tmp/p", "/home/me/proj", "/var", "/var/tmp"] {
            for name in ["a", "b"] {
                host.has(&format!("{top}/{name}/x/y {top}/{name}/file {top}/{name}.txt"));
            }
        }
        if random.below(4) == 0 {
            host.cwd(["/tmp/a", "/tmp/p/b", "/data/a", "/var/tmp/a/x"][random.below(4)]);
        }
        let interesting = |path: &PathBuf| !path.starts_with("/dev") && !path.starts_with("/proc");
        let all: Vec<PathBuf> = host.all().into_iter().map(|(path, _)| path).filter(interesting).collect();
        let mut policy = Policy::default();
        let fs = &mut policy.filesystem;
        fs.default_deny_read = random.below(3) == 0;
        fs.strict_deny_read = fs.default_deny_read && random.below(2) == 0;
        fs.allow_read = random.some(&all, 3);
        fs.allow_write = random.some(&all, 4);
        fs.deny_write = random.some(&all, 3);
        fs.deny_read = random.some(&all, 2);
        fs.deny_read.retain(|path| path != "/");
        let facts = host.facts(&policy);
        let plan = plan::plan(&policy, &host.run, &facts).unwrap_or_else(|e| panic!("round {round}: {e}"));
        let mut simulator = Simulator::new(&host);
        for mount in &plan.mounts {
            simulator
                .carry_out(mount)
                .unwrap_or_else(|e| panic!("round {round}: {mount:?}: {e}\n{}", said(&policy, &plan)));
        }
        for path in &all {
            let (is, should) = (simulator.access(path), oracle(&policy, &facts.cwd, path));
            assert!(
                is == should,
                "round {round}: {path:?} is {is:?}, not {should:?}\n{}",
                said(&policy, &plan)
            );
            landlock_agrees(&plan, path, should);
        }
        for entry in &policy.filesystem.deny_write {
            if let Some(movable) = movable(&simulator, Path::new(entry)) {
                panic!(
                    "round {round}: {movable:?} can be moved, and {entry} with it\n{}",
                    said(&policy, &plan)
                );
            }
        }
    }
}

fn said(policy: &Policy, plan: &Plan) -> String {
    let mounts: Vec<String> = plan.mounts.iter().map(show::line).collect();
    format!("directory {}\n{:#?}\n{}", plan.cwd.display(), policy.filesystem, mounts.join("\n"))
}

/// The precedence rules, one sentence each.
fn oracle(policy: &Policy, cwd: &Path, path: &Path) -> Access {
    const DEFAULT: [&str; 4] = ["/usr", "/etc", "/sys", "/opt"];
    let fs = &policy.filesystem;
    // /tmp and the like are the sandbox's own: only what is named inside them shows.
    let private = ["/tmp", "/var/tmp", "/run"].into_iter().find(|top| path.starts_with(top));
    let covers = |entry: &str| path.starts_with(entry);
    let counts =
        |entry: &str| covers(entry) && private.is_none_or(|top| entry != top && entry.starts_with(top));
    let any = |list: &[String], test: &dyn Fn(&str) -> bool| list.iter().any(|entry| test(entry));
    if any(&fs.deny_read, &covers) {
        return Access::Hidden;
    }
    let here = cwd.to_str().unwrap();
    let shown_here = private.is_some() && counts(here);
    let allowed = any(&fs.allow_read, &counts) || any(&fs.allow_write, &counts) || shown_here;
    let by_default = match (fs.default_deny_read, fs.strict_deny_read) {
        (false, _) => private.is_none(),
        (true, false) => DEFAULT.into_iter().any(covers),
        (true, true) => false,
    };
    // What /sys holds is written to only when it is named.
    let named = |entry: &str| counts(entry) && (!path.starts_with("/sys") || entry != "/");
    match allowed || by_default {
        false => Access::Hidden,
        true if any(&fs.allow_write, &named) && !any(&fs.deny_write, &covers) => Access::Write,
        true => Access::Read,
    }
}

/// Mounts as a list, the last one over a path is what shows.
struct Simulator<'a> {
    host: &'a Host,
    mounts: Vec<(PathBuf, Shows)>,
}

enum Shows {
    Host {
        writable: bool,
    },
    /// In memory: what was made in it, and whether more can be made.
    Memory {
        made: BTreeSet<PathBuf>,
        sealed: bool,
    },
    /// A mask, a device, a procfs.
    Other,
}

impl<'a> Simulator<'a> {
    fn new(host: &'a Host) -> Self {
        Simulator { host, mounts: Vec::new() }
    }

    fn top(&self, path: &Path) -> &(PathBuf, Shows) {
        self.mounts.iter().rev().find(|(at, _)| path.starts_with(at)).expect("a root")
    }

    fn access(&self, path: &Path) -> Access {
        match self.top(path) {
            (_, Shows::Host { writable: true }) => Access::Write,
            (_, Shows::Host { writable: false }) => Access::Read,
            _ => Access::Hidden,
        }
    }

    /// Whether something stands at a path, so that it can be mounted over.
    fn there(&self, path: &Path) -> bool {
        let (at, shows) = self.top(path);
        match shows {
            Shows::Host { .. } => self.host.all().iter().any(|(there, _)| there == path),
            Shows::Memory { made, .. } => at == path || made.contains(path),
            Shows::Other => at == path || path.starts_with("/proc"),
        }
    }

    fn carry_out(&mut self, mount: &Mount) -> Result<(), &'static str> {
        let memory = || Shows::Memory { made: BTreeSet::new(), sealed: false };
        let root = PathBuf::from("/");
        let (at, shows) = match mount {
            Mount::HostRoot { read_only } => (&root, Shows::Host { writable: !read_only }),
            Mount::EmptyRoot => (&root, memory()),
            Mount::Directory { at, .. } | Mount::File(at) | Mount::Link { at, .. } => return self.make(at),
            // What the name server adds: these policies allow no hosts.
            Mount::Text { over, .. } => panic!("a text over {}", over.display()),
            Mount::Seal(path) => return self.seal(path),
            Mount::Bind { from, to, read_only, .. } if from == to => {
                (to, Shows::Host { writable: !read_only })
            }
            Mount::Tmpfs { to, read_only: false, .. } => (to, memory()),
            Mount::Bind { to, .. } | Mount::Tmpfs { to, .. } | Mount::Proc(to) | Mount::Pts(to) => {
                (to, Shows::Other)
            }
            Mount::MaskDirectory(at) | Mount::MaskFile(at) | Mount::MaskSocket(at) => (at, Shows::Other),
            Mount::ReadOnlyPart(_) | Mount::KeepLink(_) | Mount::Copy { .. } => return Ok(()),
        };
        if !self.mounts.is_empty() && !self.there(at) && !at.starts_with("/run") {
            return Err("there is nothing to mount over");
        }
        self.mounts.push((at.to_path_buf(), shows));
        Ok(())
    }

    fn make(&mut self, path: &Path) -> Result<(), &'static str> {
        let there = self.there(path);
        let top = self.mounts.iter_mut().rev().find(|(at, _)| path.starts_with(at));
        match top {
            _ if there => Ok(()),
            Some((at, Shows::Memory { made, sealed: false })) => {
                made.extend(path.ancestors().take_while(|p| p != at).map(Path::to_path_buf));
                Ok(())
            }
            _ => Err("it can't be made there"),
        }
    }

    fn seal(&mut self, path: &Path) -> Result<(), &'static str> {
        match self.mounts.iter_mut().rev().find(|(at, _)| at == path) {
            Some((_, Shows::Memory { sealed, .. })) => *sealed = true,
            Some((_, Shows::Host { writable })) => *writable = false,
            _ => return Err("there is nothing to seal"),
        }
        Ok(())
    }
}

/// A directory that can be renamed together with a path in it that is denied for writing. There is none: each is a mount
/// point, or its parent is read-only.
fn movable<'a>(simulator: &Simulator<'_>, denied: &'a Path) -> Option<&'a Path> {
    let mount_point = |path: &Path| simulator.mounts.iter().any(|(at, _)| at == path);
    let below_writable =
        |path: &Path| path.parent().is_some_and(|dir| simulator.access(dir) == Access::Write);
    let shows = simulator.access(denied) == Access::Read;
    let mut way = denied.ancestors().filter(|path| *path != Path::new("/"));
    way.find(|path| shows && below_writable(path) && !mount_point(path))
}

/// What the mounts allow, Landlock allows too.
fn landlock_agrees(plan: &Plan, path: &Path, access: Access) {
    let rows = plan.landlock.as_ref().unwrap().rows.iter().filter(|row| path.starts_with(&row.path));
    let rights = rows.fold(0, |all, row| all | row.access);
    let wanted = match access {
        Access::Hidden => 0,
        Access::Read => rights::READ_FILE | rights::EXECUTE,
        Access::Write => rights::READ_FILE | rights::EXECUTE | rights::WRITE_FILE,
    };
    assert!(rights & wanted == wanted, "Landlock denies {path:?} what the mounts allow: {access:?}");
}
