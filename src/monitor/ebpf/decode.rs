//! Records of the programs → events.

use super::programs::{record, shown};
use crate::error::describe;
use crate::monitor::advice::{Advisor, Denial};
use crate::monitor::event::{Event, Layer, Outcome, Subject};
use crate::sys::bpf;
use crate::tables::arguments::{self, Act, Shown};
use crate::tables::syscalls::{Arch, all};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Reads records.
pub(super) struct Decoder {
    advisor: Advisor,
    /// The kernel's names of the host's calls, and of 32-bit ones from `record::COMPAT` on.
    names: Vec<&'static str>,
    /// Process ids in records are those that /proc shows: fence is in no PID namespace.
    same_ids: bool,
}

/// Names of calls by their number, as records have it.
pub(super) fn names() -> Vec<&'static str> {
    let mut names = vec![""; 2 * record::COMPAT as usize];
    for (name, numbers) in all() {
        let native = numbers.on(Arch::HOST);
        let compat = Arch::HOST.compat().and_then(|arch| numbers.on(arch)).map(|n| n + record::COMPAT);
        for number in [native.filter(|n| *n < record::COMPAT), compat].into_iter().flatten() {
            if let Some(slot) = names.get_mut(number as usize) {
                *slot = name;
            }
        }
    }
    names
}

/// What the programs read of a call: `shown`.
pub(super) fn bits(shown: Shown) -> u32 {
    match shown {
        Shown { address: Some(argument), .. } => u32::from(argument) | shown::ADDRESS,
        Shown { path: Some(first), second: Some(second), .. } => {
            u32::from(first) | u32::from(second) << 4 | shown::PATH | shown::SECOND
        }
        Shown { path: Some(first), .. } => u32::from(first) | shown::PATH,
        _ => 0,
    }
}

/// A record's fixed fields.
struct Fields {
    pid: u32,
    errno: i32,
    arguments: [u64; 6],
    lengths: [i32; 2],
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Fields {
    fn read(bytes: &[u8]) -> Option<Fields> {
        let mut arguments = [0; 6];
        for (i, argument) in arguments.iter_mut().enumerate() {
            *argument = u64::from_ne_bytes(word(bytes, record::ARGUMENTS + 8 * i)?);
        }
        Some(Fields {
            pid: (u64::from_ne_bytes(word(bytes, record::PID)?) >> 32) as u32,
            errno: -(i64::from_ne_bytes(word(bytes, record::ANSWER)?) as i32),
            arguments,
            lengths: [
                i32::from_ne_bytes(word(bytes, record::FIRST)?),
                i32::from_ne_bytes(word(bytes, record::SECOND)?),
            ],
        })
    }
}

impl Decoder {
    pub(super) fn new(advisor: Advisor) -> Decoder {
        /// The kernel's number of the first PID namespace.
        const FIRST: &str = "pid:[4026531836]";
        let same_ids = std::fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name == Path::new(FIRST));
        Decoder { advisor, names: names(), same_ids }
    }

    /// The event of a record; None for bytes that are none.
    pub(super) fn event(&self, bytes: &[u8]) -> Option<Event> {
        let fields = Fields::read(bytes)?;
        let number = u32::from_ne_bytes(word(bytes, record::NUMBER)?);
        let shown = u32::from_ne_bytes(word(bytes, record::SHOWN)?);
        let name = match self.names.get(number as usize) {
            Some(name) if !name.is_empty() => name.to_string(),
            _ => format!("system call {number}"),
        };
        let arguments = arguments::of(&name);
        let texts = self.texts(&fields, shown, bytes.get(record::TEXT..)?);
        let (subject, paths, socket) = if shown & shown::ADDRESS != 0 {
            let subject = address(texts.first().map_or(&[], Vec::as_slice));
            let path = subject.text().strip_prefix("unix:").map(PathBuf::from);
            (subject, path.into_iter().collect(), true)
        } else {
            let (text, paths) = self.paths(&fields, arguments, &texts);
            (if text.is_empty() { Subject::Call(text) } else { Subject::Path(text) }, paths, false)
        };
        let act = match arguments.act {
            Act::Open(flags) => opened_for(fields.arguments[usize::from(flags)]),
            act => act,
        };
        let denial = Denial { call: &name, errno: fields.errno, act, paths: &paths, socket };
        let advice = self.advisor.advise(denial, &|path| rustix::fs::lstat(path).is_ok());
        let mut event =
            Event::new(Layer::Ebpf, Outcome::Denied, format!("{name}: {}", describe(fields.errno)), subject)
                .process(fields.pid, text_of(bytes.get(record::NAME..record::NAME + 16)?))
                .rule(advice.rule);
        event.allow = advice.allow.map(|change| change.to_string());
        Some(event)
    }

    /// The texts of a record, without their ends. A path that nobody had touched when seccomp refused the call could not be
    /// read then; the process still has it, if it is still there.
    fn texts(&self, fields: &Fields, shown: u32, text: &[u8]) -> Vec<Vec<u8>> {
        let mut from = 0;
        let mut texts = Vec::new();
        for (flag, length, argument) in [
            (shown::PATH | shown::ADDRESS, fields.lengths[0], shown & 7),
            (shown::SECOND, fields.lengths[1], shown >> 4 & 7),
        ] {
            if shown & flag == 0 {
                break;
            }
            let pointer = fields.arguments.get(argument as usize).copied().unwrap_or(0);
            match usize::try_from(length) {
                Ok(length) => {
                    texts.push(text.get(from..from + length).unwrap_or(&[]).to_vec());
                    from += length;
                }
                Err(_) if self.same_ids => texts.push(bpf::string_of(fields.pid, pointer, 1024)),
                Err(_) => texts.push(Vec::new()),
            }
        }
        texts
    }

    /// The paths as they are shown, and the absolute ones. A relative path starts from a directory of the process; when that
    /// is gone it is shown as it was given, and taken to start from where the command did.
    fn paths(&self, fields: &Fields, shown: Shown, texts: &[Vec<u8>]) -> (String, Vec<PathBuf>) {
        let mut line = Vec::new();
        let mut absolute = Vec::new();
        for (text, argument) in texts.iter().zip([shown.path, shown.second].into_iter().flatten()) {
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            let path = Path::new(OsStr::from_bytes(text));
            let only_text = shown.text && argument == 0;
            let relative = !only_text && !path.is_absolute() && !text.is_empty();
            let full =
                if relative { self.full(fields, shown.at && argument > 0, argument, path) } else { None };
            line.push(full.as_deref().unwrap_or(path).to_string_lossy().into_owned());
            if relative || path.is_absolute() && !only_text {
                absolute.push(full.unwrap_or_else(|| self.advisor.cwd.join(path)));
            }
        }
        (line.join(" "), absolute)
    }

    fn full(&self, fields: &Fields, at: bool, argument: u8, path: &Path) -> Option<PathBuf> {
        let descriptor = at.then(|| fields.arguments[usize::from(argument) - 1] as i32);
        let link = match descriptor.filter(|fd| *fd >= 0) {
            Some(fd) => format!("/proc/{}/fd/{fd}", fields.pid),
            None => format!("/proc/{}/cwd", fields.pid),
        };
        let directory = std::fs::read_link(link).ok().filter(|d| self.same_ids && d.is_absolute())?;
        // `.` is the directory itself.
        Some(directory.join(path).components().collect())
    }
}

fn opened_for(flags: u64) -> Act {
    let write = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
    if flags & write as u64 != 0 { Act::Write } else { Act::Read }
}

/// Text up to its NUL.
fn text_of(bytes: &[u8]) -> String {
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
