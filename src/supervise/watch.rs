//! Answers calls that the filter asks about only so that they can be shown: what it refuses anyway is refused, and for
//! `fence learn` all else goes on. No verdict is made here: whatever a call's memory says after the look, the kernel decides.

use crate::log::Log;
use crate::monitor::advice::{Advisor, Change, Denial};
use crate::monitor::call::{self, Call, Target};
use crate::monitor::event::{Layer, Subject};
use crate::monitor::learn::Learned;
use crate::sys::bpf::string_of;
use crate::sys::notify::{self, Notification};
use crate::tables::arguments::{self, Act};
use crate::tables::syscalls::Arch;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Access;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Who answers.
pub struct Watch {
    advisor: Advisor,
    names: Vec<&'static str>,
    log: Arc<Log>,
    lesson: Option<Arc<Lesson>>,
}

/// What `fence learn` collects.
pub struct Lesson {
    /// By the policy that is to be in force later.
    pub advisor: Advisor,
    /// Nobody is told to let these be read.
    pub secrets: Vec<PathBuf>,
    /// The home directory and what is above: never as a whole.
    pub home: Option<PathBuf>,
    /// Ports inside that fence itself listens on.
    pub own_ports: Vec<u16>,
    /// So far.
    pub learned: Mutex<Learned>,
}

impl Watch {
    /// Denials go to the log; with a lesson what the calls do is learnt.
    pub fn new(advisor: Advisor, log: Arc<Log>, lesson: Option<Arc<Lesson>>) -> Watch {
        Watch { advisor, names: call::names(), log, lesson }
    }

    /// Until nobody is left who could ask, or the process ends.
    pub fn serve(&self, listener: &OwnedFd) {
        loop {
            let mut fds = [PollFd::new(listener, PollFlags::IN)];
            _ = poll(&mut fds, None);
            let asked = fds[0].revents();
            if asked.contains(PollFlags::IN) {
                if let Ok(request) = notify::receive(listener.as_fd()) {
                    self.answer(listener.as_fd(), &request);
                }
            } else if asked.intersects(PollFlags::HUP | PollFlags::ERR) {
                return;
            }
        }
    }

    /// Answers one request.
    pub fn answer(&self, listener: BorrowedFd<'_>, request: &Notification) {
        let number = request.number.cast_unsigned();
        let mut known = [Some(Arch::HOST), Arch::HOST.compat()].into_iter().flatten();
        let arch = known.find(|arch| arch.audit() == request.arch);
        let call = self.call(request, arch != Some(Arch::HOST));
        let (pid, process) = who(request.tid);
        // Without a lesson everything that asks is refused: the filter asks about nothing else.
        let refused = self.lesson.is_none() || arch.is_none_or(|arch| self.advisor.filters(arch, number));
        // What was read is of this caller only if it still waits.
        let mut event = refused.then(|| call.denied(Layer::Seccomp, libc::EPERM, &self.advisor));
        let there = notify::is_valid(listener, request.id);
        if let Some(event) = event.take().filter(|_| there) {
            self.log.event(&event.process(pid, process.as_str()));
        } else if let Some(lesson) = self.lesson.as_ref().filter(|_| there) {
            lesson.take(&call, &process);
        }
        _ = if refused {
            notify::refuse(listener, request.id, Errno::PERM)
        } else {
            notify::go_on(listener, request.id)
        };
    }

    fn call(&self, request: &Notification, compat: bool) -> Call {
        let number = request.number.cast_unsigned() + if compat { call::COMPAT } else { 0 };
        let name = call::name(&self.names, number);
        let shown = arguments::of(&name);
        let text = |argument: u8| string_of(request.tid, request.arguments[usize::from(argument)], 4096);
        let address = |argument: u8| bytes_of(request.tid, request.arguments[usize::from(argument)]);
        let texts = match shown.address {
            Some(argument) => vec![address(argument)],
            None => [shown.path, shown.second].into_iter().flatten().map(text).collect(),
        };
        Call { name, shown, pid: Some(request.tid), arguments: request.arguments, texts }
    }
}

/// A socket address: as long as the longest that is shown.
fn bytes_of(tid: u32, address: u64) -> Vec<u8> {
    crate::sys::bpf::memory_of(tid, address, 110)
}

/// Process id and name of a thread.
fn who(tid: u32) -> (u32, String) {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    (field("Tgid:").and_then(|id| id.parse().ok()).unwrap_or(tid), field("Name:").unwrap_or("?").to_string())
}

impl Lesson {
    fn take(&self, call: &Call, process: &str) {
        let target = call.target(&self.advisor.cwd);
        if call.name == "connect" {
            self.connect(&target);
            return;
        }
        for path in &target.paths {
            self.path(call, &target, path, process);
        }
    }

    /// A connection to the sandbox's own loopback, where only fence listens.
    fn connect(&self, target: &Target) {
        let Subject::Host(host) = &target.subject else { return };
        let port =
            ["127.0.0.1:", "[::1]:"].iter().find_map(|own| host.strip_prefix(own)?.parse::<u16>().ok());
        if let Some(port) = port.filter(|port| !self.own_ports.contains(port) && *port != 0) {
            self.learned().ports.get_or_insert(port.to_string(), String::new());
        }
    }

    fn path(&self, call: &Call, target: &Target, path: &Path, process: &str) {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return };
        // Through links, as the kernel goes; what has no directory can't be made, whatever the rules say.
        let Ok(parent) = std::fs::canonicalize(parent) else { return };
        let own = ["/proc", "/dev", "/sys", "/run"];
        if own.iter().any(|top| parent.starts_with(top)) {
            return;
        }
        let path = parent.join(name);
        if self.secrets.iter().any(|secret| path.starts_with(secret)) {
            self.learned().denied.get_or_insert(path.display().to_string(), process.to_string());
            return;
        }
        let write = matches!(target.act, Act::Write | Act::Name);
        let paths = std::slice::from_ref(&path);
        let denial = Denial { call: &call.name, errno: libc::EACCES, act: target.act, paths, socket: false };
        let place = match self.advisor.advise(denial, &|_| true).allow {
            Some(Change::Write(_)) if write => self.place(call, &parent, &path),
            Some(Change::Read(_)) if path.exists() => Some(path),
            _ => None,
        };
        let Some(place) = place else { return };
        let mut learned = self.learned();
        let places = if write { &mut learned.writes } else { &mut learned.reads };
        // What is below a place that is known already says nothing new.
        if !place.ancestors().any(|above| above.to_str().is_some_and(|above| places.contains_key(above))) {
            places.insert(place.display().to_string(), process.to_string());
        }
    }

    /// What would have to be writable: the directory, but for one of those that never are as a whole. A new directory is
    /// there by the next time.
    fn place(&self, call: &Call, parent: &Path, path: &Path) -> Option<PathBuf> {
        let able = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
        let whole = parent.components().count() > 2
            && self.home.as_deref().is_none_or(|home| !home.starts_with(parent));
        let directory = call.name.starts_with("mkdir");
        // `mkdir -p` asks for each directory above too. Where the caller's own rights deny it, no rule would help.
        if directory && path.exists() || !able(parent) && !able(path) {
            return None;
        }
        let itself = directory || !whole;
        Some(if itself { path.to_path_buf() } else { parent.to_path_buf() })
    }

    fn learned(&self) -> std::sync::MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
