//! Connections of a command that shares the host's network: it gets its sockets from here, and they are connected from here.
//!
//! A verdict on a call that then goes on could be walked round by a thread that changes the address, or the socket, after the look.
//! So connect(2) never goes on: the broker has a copy of each socket that it made, and connects that to the address it
//! judged. A TCP socket is tied to the loopback device from the start, so that whatever else is done with it stays on this host.

use super::callers::Callers;
use crate::log::Log;
use crate::monitor::event::{Event, Layer, Outcome, Subject};
use crate::plan::broker::{Address, Broker as Policy, Kind, Listen, address, kind};
use crate::sys::notify::{self, Notification};
use crate::sys::{Result, fd, thread};
use crate::tables::syscalls::{Arch, find};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, open, openat, readlinkat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Sockets that were made and neither connected nor bound yet: more than that, and the oldest can't be connected any more.
const MOST_SOCKETS: usize = 1024;
/// Calls that wait for a server at the same time; more are told to try again.
const MOST_WAITING: usize = 64;
/// No address is longer (`struct sockaddr_storage`).
const LONGEST_ADDRESS: u64 = 128;

/// A call that the broker answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Socket,
    Connect,
    Bind,
    Listen,
}

/// Makes and connects the command's sockets.
pub struct Broker {
    policy: Policy,
    /// Connections to the proxies.
    callers: Arc<Callers>,
    log: Arc<Log>,
    /// Architecture, number, call.
    calls: Vec<(u32, i32, Call)>,
    sockets: Mutex<VecDeque<Socket>>,
    waiting: AtomicUsize,
}

/// The broker's copy of a socket that the command has not connected yet.
struct Socket {
    /// Names it: what /proc/PID/fd shows.
    inode: u64,
    kind: Kind,
    copy: OwnedFd,
}

/// Where a socket is to be connected.
enum Target {
    Tcp(SocketAddr),
    /// A socket's file, held: what was judged is what is connected to.
    Unix(OwnedFd),
}

impl Broker {
    /// For a command that starts now.
    pub fn new(policy: Policy, callers: Arc<Callers>, log: Arc<Log>) -> Broker {
        let names = [
            ("socket", Call::Socket),
            ("connect", Call::Connect),
            ("bind", Call::Bind),
            ("listen", Call::Listen),
        ];
        let mut calls = Vec::new();
        for arch in [Some(Arch::HOST), Arch::HOST.compat()].into_iter().flatten() {
            for (name, call) in names {
                let number = find(name).and_then(|(_, numbers)| numbers.on(arch));
                calls.extend(number.map(|number| (arch.audit(), number as i32, call)));
            }
        }
        Broker { policy, callers, log, calls, sockets: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Whether a call is the broker's to answer.
    pub fn takes(&self, request: &Notification) -> bool {
        self.call(request).is_some()
    }

    fn call(&self, request: &Notification) -> Option<Call> {
        let asked = (request.arch, request.number);
        self.calls.iter().find(|(arch, number, _)| (*arch, *number) == asked).map(|(_, _, call)| *call)
    }

    /// Answers a call that waits on the listener, or sees to it that it is answered. What is not for the broker is refused: the
    /// filter asks about nothing else.
    pub fn answer(self: &Arc<Self>, listener: &Arc<OwnedFd>, request: Notification) {
        let answer = match self.call(&request) {
            Some(Call::Socket) => self.socket(listener, &request),
            Some(Call::Connect) => return self.connect(listener, request),
            Some(Call::Bind) => self.bind(&request, || notify::is_valid(listener.as_fd(), request.id)),
            Some(Call::Listen) => self.listen(&request),
            None => Err(Errno::PERM),
        };
        finish(listener, request.id, answer);
    }

    /// socket(2): its arguments are in registers, so nothing can change after the look.
    fn socket(&self, listener: &Arc<OwnedFd>, request: &Notification) -> Result<Verdict> {
        let [family, flags, protocol] = [0, 1, 2].map(|i| request.arguments[i] as i32);
        let kind = match kind(family, flags, protocol) {
            Some(Kind::Route) => return Ok(Verdict::GoOn),
            Some(kind) => kind,
            None => {
                self.denied(
                    request,
                    "socket: Address family not supported by protocol",
                    Subject::Call(format!("family {family}")),
                );
                return Err(Errno::AFNOSUPPORT);
            }
        };
        let kept = SocketFlags::from_bits_truncate(flags as u32) & SocketFlags::NONBLOCK;
        let family = AddressFamily::from_raw(family as u16);
        let protocol = (kind == Kind::Tcp).then_some(rustix::net::ipproto::TCP);
        let of = SocketType::from_raw(flags as u32 & 0xf);
        let copy = socket_with(family, of, SocketFlags::CLOEXEC | kept, protocol)?;
        if kind == Kind::Tcp {
            fd::tie_to_loopback(copy.as_fd())?;
        }
        let inode = fstat(&copy)?.st_ino;
        let close_on_exec = flags & libc::SOCK_CLOEXEC != 0;
        let number = notify::add_descriptor(listener.as_fd(), request.id, copy.as_fd(), close_on_exec)?;
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if sockets.len() >= MOST_SOCKETS {
            sockets.pop_front();
        }
        sockets.push_back(Socket { inode, kind, copy });
        Ok(Verdict::Value(number))
    }

    /// connect(2): judged here, carried out here, on a thread of its own where it may have to wait.
    fn connect(self: &Arc<Self>, listener: &Arc<OwnedFd>, request: Notification) {
        let prepared = self.target(&request, || notify::is_valid(listener.as_fd(), request.id));
        let (socket, target) = match prepared {
            Err(errno) => return finish(listener, request.id, Err(errno)),
            Ok(prepared) => prepared,
        };
        let waits =
            rustix::fs::fcntl_getfl(&socket.copy).is_ok_and(|flags| !flags.contains(OFlags::NONBLOCK));
        let (broker, on) = (Arc::clone(self), Arc::clone(listener));
        let dial = move || {
            let answer = dial(&socket.copy, &target);
            // From here on the connection is the command's alone: a copy would keep it open when the command closes it.
            if matches!(answer, Ok(()) | Err(Errno::INPROGRESS)) {
                if let Target::Tcp(to) = target
                    && broker.policy.proxies.contains(&to.port())
                {
                    broker.callers.add(&socket.copy);
                }
                broker.forget(socket.inode);
            }
            drop(socket);
            if waits {
                broker.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            finish(&on, request.id, answer.map(|()| Verdict::Value(0)));
        };
        if !waits {
            return dial();
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return finish(listener, request.id, Err(Errno::AGAIN));
        }
        if thread::start(c"connect", Box::new(dial)).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            finish(listener, request.id, Err(Errno::AGAIN));
        }
    }

    /// The copy of the caller's socket, and where it may be connected.
    fn target(&self, request: &Notification, is_valid: impl Fn() -> bool) -> Result<(Socket, Target)> {
        let to = read_address(request)?;
        let socket = self.copy_of(request)?;
        // What was read is the caller's only if it still waits: its number may belong to another process by now.
        if !is_valid() {
            return Err(Errno::NOENT);
        }
        // It has been connected already, or was never to be connected: a pair, one that was accepted.
        let socket = socket.ok_or(Errno::ISCONN)?;
        match (socket.kind, to) {
            (Kind::Tcp, Address::Internet(to)) if self.policy.may_connect(to) => {
                Ok((socket, Target::Tcp(to)))
            }
            (Kind::Unix, Address::Path(path)) => {
                let (file, real) = open_socket(request.tid, path)?;
                let stat = fstat(&file)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
                    return Err(Errno::CONNREFUSED);
                }
                if self.policy.may_use(&real, stat.st_dev, stat.st_ino) {
                    return Ok((socket, Target::Unix(file)));
                }
                let subject = Subject::Path(real.to_string_lossy().into_owned());
                self.denied(request, "connect: Permission denied", subject);
                Err(Errno::ACCESS)
            }
            (_, to) => {
                let subject = match to {
                    Address::Internet(to) => Subject::Host(to.to_string()),
                    _ => Subject::Call("an address of another kind".into()),
                };
                self.denied(request, "connect: Permission denied", subject);
                Err(Errno::ACCESS)
            }
        }
    }

    /// bind(2). A Unix socket's file is made by the caller, under its own rules; what a swapped socket could do instead stays on
    /// the loopback device.
    fn bind(&self, request: &Notification, is_valid: impl Fn() -> bool) -> Result<Verdict> {
        let on = read_address(request)?;
        // Programs of the host would take it for another's.
        if on == Address::Abstract {
            self.denied(request, "bind: Permission denied", Subject::Call("an abstract name".into()));
            return Err(Errno::ACCESS);
        }
        let Some(socket) = self.copy_of(request)? else { return Ok(Verdict::GoOn) };
        if !is_valid() {
            return Err(Errno::NOENT);
        }
        match (socket.kind, on) {
            (Kind::Tcp, Address::Internet(on)) => {
                let may = self.policy.may_listen(on);
                // Port 0 is what a client may ask for before it connects.
                if !may && on.port() != 0 {
                    self.denied(request, "bind: Permission denied", Subject::Host(on.to_string()));
                    return Err(Errno::ACCESS);
                }
                bind(&socket.copy, &on)?;
                if may {
                    self.forget(socket.inode);
                }
                Ok(Verdict::Value(0))
            }
            (Kind::Tcp, _) => Err(Errno::AFNOSUPPORT),
            _ => {
                self.forget(socket.inode);
                Ok(Verdict::GoOn)
            }
        }
    }

    /// listen(2): without a bind before, the kernel would take a port by itself.
    fn listen(&self, request: &Notification) -> Result<Verdict> {
        let Some(socket) = self.copy_of(request)? else { return Ok(Verdict::GoOn) };
        if socket.kind == Kind::Tcp && self.policy.listen != Listen::Any {
            self.denied(request, "listen: Permission denied", Subject::Call("a TCP port".into()));
            return Err(Errno::ACCESS);
        }
        self.forget(socket.inode);
        Ok(Verdict::GoOn)
    }

    /// A second copy of the socket that the caller's first argument names; none: it is not here.
    fn copy_of(&self, request: &Notification) -> Result<Option<Socket>> {
        let path = format!("/proc/{}/fd/{}", request.tid, request.arguments[0] as i32);
        let link = readlinkat(CWD, path, Vec::new()).map_err(|_| Errno::BADF)?;
        let inode = link
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        let inode: u64 = inode.ok_or(Errno::NOTSOCK)?;
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = sockets.iter().find(|socket| socket.inode == inode) else { return Ok(None) };
        let copy = fcntl_dupfd_cloexec(&found.copy, 3)?;
        Ok(Some(Socket { copy, ..*found }))
    }

    fn forget(&self, inode: u64) {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).retain(|socket| socket.inode != inode);
    }

    fn denied(&self, request: &Notification, what: &str, subject: Subject) {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", request.tid)).unwrap_or_default();
        let event = Event::new(Layer::Seccomp, Outcome::Denied, what, subject);
        self.log.event(&event.process(request.tid, name.trim_end()));
    }
}

/// What the caller gets.
enum Verdict {
    /// The call's result.
    Value(i64),
    /// The kernel carries it out: nothing that it reads again matters.
    GoOn,
}

/// A caller that is gone by now needs no answer.
fn finish(listener: &Arc<OwnedFd>, id: u64, answer: Result<Verdict>) {
    _ = match answer {
        Ok(Verdict::Value(value)) => notify::answer(listener.as_fd(), id, value),
        Ok(Verdict::GoOn) => notify::go_on(listener.as_fd(), id),
        Err(errno) => notify::refuse(listener.as_fd(), id, errno),
    };
}

/// The address that the caller's second and third argument tell.
fn read_address(request: &Notification) -> Result<Address> {
    let length = request.arguments[2] as u32;
    if u64::from(length) > LONGEST_ADDRESS {
        return Err(Errno::INVAL);
    }
    let mut bytes = vec![0; length as usize];
    let memory = File::open(format!("/proc/{}/mem", request.tid)).map_err(|_| Errno::ACCESS)?;
    memory.read_exact_at(&mut bytes, request.arguments[1]).map_err(|_| Errno::FAULT)?;
    Ok(address(&bytes))
}

/// A socket's file as the caller names it, and its real path. The caller's root is the broker's.
fn open_socket(tid: u32, path: Vec<u8>) -> Result<(OwnedFd, PathBuf)> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let directory = open(format!("/proc/{tid}/cwd"), flags | OFlags::DIRECTORY, Mode::empty())?;
    let file = openat(directory, PathBuf::from(OsString::from_vec(path)), flags, Mode::empty())?;
    let real = readlinkat(CWD, own(&file), Vec::new())?;
    let real = PathBuf::from(OsString::from_vec(real.into_bytes()));
    Ok((file, real))
}

fn own(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn dial(socket: &OwnedFd, target: &Target) -> Result<()> {
    match target {
        Target::Tcp(to) => connect(socket, to),
        Target::Unix(file) => connect(socket, &SocketAddrUnix::new(own(file))?),
    }
}
