//! A system call that somebody saw: its name, the paths that it names, who made it → an event.

use super::advice::{Advice, Advisor, Denial};
use super::event::{Event, Layer, Outcome, Subject};
use crate::error::describe;
use crate::tables::arguments::{Act, Shown};
use crate::tables::syscalls::{Arch, all};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A call as it was seen.
pub struct Call {
    /// The kernel's name.
    pub name: String,
    /// What is shown of it.
    pub shown: Shown,
    /// The process, by an id that /proc has, which waits for an answer; None: it goes on, and can't be asked where it was.
    pub pid: Option<u32>,
    /// Its registers.
    pub arguments: [u64; 6],
    /// The bytes of its paths, or of its address.
    pub texts: Vec<Vec<u8>>,
}

/// What a call acts on.
pub struct Target {
    /// To show.
    pub subject: Subject,
    /// Absolute.
    pub paths: Vec<PathBuf>,
    /// They are Unix sockets.
    pub socket: bool,
    /// What is done to them.
    pub act: Act,
}

/// Numbers of 32-bit calls begin here in [`names`].
pub const COMPAT: u32 = 512;

/// Names of the host's calls by number, and of 32-bit ones from [`COMPAT`] on.
pub fn names() -> Vec<&'static str> {
    let mut names = vec![""; 2 * COMPAT as usize];
    for (name, numbers) in all() {
        let native = numbers.on(Arch::HOST).filter(|n| *n < COMPAT);
        let compat = Arch::HOST.compat().and_then(|arch| numbers.on(arch)).map(|n| n + COMPAT);
        for number in [native, compat].into_iter().flatten() {
            if let Some(slot) = names.get_mut(number as usize) {
                *slot = name;
            }
        }
    }
    names
}

/// The name of a number, as [`names`] counts.
pub fn name(names: &[&'static str], number: u32) -> String {
    match names.get(number as usize) {
        Some(name) if !name.is_empty() => name.to_string(),
        _ => format!("system call {number}"),
    }
}

impl Call {
    /// What it acts on. A relative path starts from a directory of the process while that waits; else it is shown as it was
    /// given, and taken to start from `cwd`.
    pub fn target(&self, cwd: &Path) -> Target {
        let act = match self.shown.act {
            Act::Open(flags) => opened_for(self.arguments[usize::from(flags)]),
            act => act,
        };
        if self.shown.address.is_some() {
            let subject = address(self.texts.first().map_or(&[], Vec::as_slice));
            let path = subject.text().strip_prefix("unix:").map(PathBuf::from);
            return Target { subject, paths: path.into_iter().collect(), socket: true, act };
        }
        let mut line = Vec::new();
        let mut paths = Vec::new();
        for (text, argument) in
            self.texts.iter().zip([self.shown.path, self.shown.second].into_iter().flatten())
        {
            let path = Path::new(OsStr::from_bytes(text.split(|byte| *byte == 0).next().unwrap_or_default()));
            let only_text = self.shown.text && argument == 0;
            let relative = !only_text && path.is_relative() && !path.as_os_str().is_empty();
            let full = if relative { self.full(argument, path) } else { None };
            line.push(full.as_deref().unwrap_or(path).to_string_lossy().into_owned());
            if relative || path.is_absolute() && !only_text {
                paths.push(full.unwrap_or_else(|| cwd.join(path)));
            }
        }
        let text = line.join(" ");
        let subject = if text.is_empty() { Subject::Call(text) } else { Subject::Path(text) };
        Target { subject, paths, socket: false, act }
    }

    fn full(&self, argument: u8, path: &Path) -> Option<PathBuf> {
        let pid = self.pid?;
        let at = (self.shown.at && argument > 0).then(|| self.arguments[usize::from(argument) - 1] as i32);
        let link = match at.filter(|fd| *fd >= 0) {
            Some(fd) => format!("/proc/{pid}/fd/{fd}"),
            None => format!("/proc/{pid}/cwd"),
        };
        let directory = std::fs::read_link(link).ok().filter(|directory| directory.is_absolute())?;
        // `.` is the directory itself.
        Some(directory.join(path).components().collect())
    }

    /// Why it failed with this errno, and the event of that; `layer` saw it.
    pub fn denied(&self, layer: Layer, errno: i32, advisor: &Advisor) -> Event {
        let Target { subject, paths, socket, act } = self.target(&advisor.cwd);
        let denial = Denial { call: &self.name, errno, act, paths: &paths, socket };
        let Advice { rule, allow } = advisor.advise(denial, &|path| rustix::fs::lstat(path).is_ok());
        let what = format!("{}: {}", self.name, describe(errno));
        let mut event = Event::new(layer, Outcome::Denied, what, subject).rule(rule);
        event.allow = allow.map(|change| change.to_string());
        event
    }
}

fn opened_for(flags: u64) -> Act {
    let write = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
    if flags & write as u64 != 0 { Act::Write } else { Act::Read }
}

/// Bytes of a record from `at` on.
pub(super) fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Text up to its NUL.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// `struct sockaddr_in`, `sockaddr_in6` or `sockaddr_un`.
fn address(bytes: &[u8]) -> Subject {
    let family = word(bytes, 0).map(u16::from_ne_bytes).map(i32::from);
    let port = || word(bytes, 2).map_or(0, u16::from_be_bytes);
    match family {
        Some(libc::AF_INET) => {
            let ip: [u8; 4] = word(bytes, 4).unwrap_or_default();
            Subject::Host(format!("{}:{}", std::net::Ipv4Addr::from(ip), port()))
        }
        Some(libc::AF_INET6) => {
            let ip: [u8; 16] = word(bytes, 8).unwrap_or_default();
            Subject::Host(format!("[{}]:{}", std::net::Ipv6Addr::from(ip), port()))
        }
        Some(libc::AF_UNIX) if bytes.get(2) == Some(&0) => Subject::Call("unix:@".into()),
        Some(libc::AF_UNIX) => Subject::Path(format!("unix:{}", text_of(&bytes[2..]))),
        Some(family) => Subject::Call(format!("address family {family}")),
        None => Subject::Call(String::new()),
    }
}
