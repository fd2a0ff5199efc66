//! What a run left in writable places that somebody should look at before a program outside meets it: said at the end, with
//! `-m`. The look is bounded, and so is what is said.

use crate::config::Policy;
use crate::facts::Facts;
use crate::log::Log;
use crate::nofollow::open_host;
use crate::plan::{Plan, private, wanted};
use crate::probe::dir::{Reader, is_pseudo};
use crate::probe::paths::resolve;
use crate::rules::glob::{self, Glob};
use crate::sys::time::Stamp;
use crate::tables::protected::{self, Where};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Entries that are looked at.
const MOST_ENTRIES: usize = 200_000;
/// Paths that a line names; the rest is counted.
const MOST_NAMED: usize = 5;

/// One line.
#[derive(Default)]
struct Line {
    named: Vec<String>,
    more: usize,
}

impl Line {
    fn add(&mut self, path: &Path) {
        if self.named.len() < MOST_NAMED {
            self.named.push(path.display().to_string());
        } else {
            self.more += 1;
        }
    }

    fn say(&self, what: &str, log: &Log) {
        let more = if self.more > 0 { format!(" and {} more", self.more) } else { String::new() };
        if !self.named.is_empty() {
            log.warn(&format!("{what}: {}{more}", self.named.join(", ")));
        }
    }
}

struct Look<'a> {
    facts: &'a Facts,
    plan: &'a Plan,
    roots: Vec<PathBuf>,
    /// Patterns of denials.
    denied: Vec<Glob>,
    since: Stamp,
    entries: usize,
    links: Line,
    set_user_id: Line,
    obeyed: Line,
    late: Line,
}

/// Looks at what changed since the run began, and says what there is to say.
pub fn report(policy: &Policy, facts: &Facts, plan: &Plan, since: Stamp, log: &Log) {
    let mut roots = wanted::writable_roots(policy, facts);
    roots.retain(|root| !private::is_top(root) && !private::is_closed(root));
    crate::order::set(&mut roots);
    // Parents come first.
    roots.dedup_by(|below, above| below.starts_with(above));
    let patterns = policy.filesystem.deny_read.iter().chain(&policy.filesystem.deny_write);
    let patterns = patterns.filter(|entry| glob::is_glob(entry));
    let denied = patterns.filter_map(|text| Glob::parse(text, &facts.cwd, facts.home.as_deref()).ok());
    let mut look = Look {
        facts,
        plan,
        denied: denied.collect(),
        since,
        entries: 0,
        links: Line::default(),
        set_user_id: Line::default(),
        obeyed: Line::default(),
        late: Line::default(),
        roots: Vec::new(),
    };
    let mut todo = roots.clone();
    look.roots = roots;
    let mut reader = Reader::new();
    while let Some(directory) = todo.pop() {
        look.directory(&mut reader, &directory, &mut todo);
    }
    look.links.say("symbolic links that lead out of the writable places appeared", log);
    look.set_user_id.say("set-user-ID or set-group-ID files appeared", log);
    look.obeyed.say("names that programs obey appeared in directories that are not watched", log);
    look.late
        .say("files appeared that patterns of the policy deny, which do not cover them in this run", log);
    if look.entries > MOST_ENTRIES {
        log.warn(&format!("only {MOST_ENTRIES} entries of the writable places were looked at"));
    }
}

impl Look<'_> {
    /// One directory; those in it go to `todo`. What is gone or closed by now is left out.
    fn directory(&mut self, reader: &mut Reader, path: &Path, todo: &mut Vec<PathBuf>) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = open_host(path).and_then(|handle| openat(handle, ".", flags, Mode::empty()));
        let Some(directory) = opened.ok().filter(|directory| !is_pseudo(directory)) else { return };
        _ = reader.read(directory.as_fd(), |name, kind| {
            self.entries += 1;
            if let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                let path = path.join(OsStr::from_bytes(name));
                if self.since.is_before((stat.st_ctime, stat.st_ctime_nsec as i64)) {
                    self.changed(&path, kind, &stat);
                }
                if kind == FileType::Directory {
                    todo.push(path);
                }
            }
            self.entries <= MOST_ENTRIES
        });
        if self.entries > MOST_ENTRIES {
            todo.clear();
        }
    }

    fn changed(&mut self, path: &Path, kind: FileType, stat: &Stat) {
        let leads_out = || {
            let real = resolve(path).1;
            real.is_some_and(|real| !self.roots.iter().any(|root| real.starts_with(root)))
        };
        if kind == FileType::Symlink && leads_out() {
            self.links.add(path);
        }
        if kind == FileType::RegularFile && stat.st_mode & 0o6000 != 0 {
            self.set_user_id.add(path);
        }
        let name = path.file_name();
        let is = |known: &str| name == Some(OsStr::new(known));
        let known = || self.facts.at(path).is_some() || self.plan.watched.iter().any(|w| w.path == path);
        if (is(".git") || protected::names(Where::Everywhere).any(is)) && !known() {
            self.obeyed.add(path);
        }
        let before = || self.facts.globs.values().flatten().any(|found| found.real == path);
        if self.denied.iter().any(|glob| glob.matches(path)) && !before() {
            self.late.add(path);
        }
    }
}
