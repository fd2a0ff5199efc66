//! Whether what is executed can be judged here: tried on a child, as the exec supervisor does it.

use crate::launch::message::{Channel, Message};
use crate::plan::bpf;
use crate::sys::process::{self, Fork};
use crate::sys::{notify, ptrace, seccomp};
use crate::tables::syscalls::{Arch, EXEC};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, WaitOptions, set_dumpable_behavior, waitpid};
use std::os::fd::{AsFd, OwnedFd};

/// A path that nobody has: the child's exec fails.
const NOWHERE: &std::ffi::CStr = c"/proc/self/fence-tries-an-exec";

/// Makes a child ask for an exec, traces it and lets it go on. Whether a signal leaves a waiting call alone (5.19), or what
/// does not work.
///
/// # Errors
/// What does not work, as a sentence.
pub fn try_it() -> std::result::Result<bool, String> {
    let filter = bpf::compile(EXEC, Arch::HOST).map_err(|failure| failure.what.clone())?;
    let (ours, theirs) = Channel::pair().map_err(|failure| failure.to_string())?;
    // In a user namespace, as the command of an ordinary user: its maker may trace what lives there. Where there can be none, the
    // command is in none either.
    let namespace = if rustix::process::geteuid().is_root() { 0 } else { libc::CLONE_NEWUSER as u64 };
    let forked = process::fork_into(namespace)
        .or_else(|_| process::fork_into(0))
        .map_err(|e| failed("no process can be made", e))?;
    let child = match forked {
        Fork::Child => {
            drop(ours);
            process::exit_now(ask(&filter, &theirs))
        }
        Fork::Parent(child) => child,
    };
    drop(theirs);
    ours.wait(5);
    let answer = match ours.receive_with() {
        Some((Message::Connected(killable), mut listener)) => match listener.pop() {
            Some(listener) => judge(&listener, killable == 1).map(|()| killable == 1),
            None => Err(why(Errno::from_raw_os_error(killable))),
        },
        _ => Err("the process that tried it died".into()),
    };
    // Without an answer it would wait for ever.
    _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
    while waitpid(Some(child), WaitOptions::empty()).is_err_and(|e| e == Errno::INTR) {}
    answer
}

/// The child: a filter with a listener, then the exec.
fn ask(filter: &[bpf::Instruction], parent: &Channel) -> u8 {
    _ = rustix::thread::set_no_new_privs(true);
    // A program file with capabilities makes a process that nobody may look into; the command will not be one.
    _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
    let (killable, listener) = match seccomp::install_with_listener(filter, true) {
        Err(Errno::INVAL) => (0, seccomp::install_with_listener(filter, false)),
        other => (1, other),
    };
    match listener {
        Ok(listener) => {
            parent.send_with(&Message::Connected(killable), &[listener.as_fd()]);
            _ = process::exec(NOWHERE, &[NOWHERE.into()], &[]);
            // The stop may be asked for after the exec has failed: until the other side has seen it, or is gone.
            parent.wait(10);
        }
        Err(errno) => parent.send(&Message::Connected(errno.raw_os_error())),
    }
    0
}

fn judge(listener: &OwnedFd, killable: bool) -> std::result::Result<(), String> {
    let call = notify::receive(listener.as_fd()).map_err(why)?;
    let tid = call.tid;
    std::fs::File::open(format!("/proc/{tid}/mem"))
        .map_err(|e| failed("the memory of a process can't be read here", crate::supervise::errno(&e)))?;
    ptrace::seize(tid).map_err(|e| failed(&format!("a process can't be traced here{}", yama()), e))?;
    if killable {
        ptrace::interrupt(tid).map_err(|e| failed("a traced process can't be stopped here", e))?;
    }
    notify::go_on(listener.as_fd(), call.id)
        .map_err(|e| failed("a call can't be let go on (Linux 5.5 can)", e))?;
    if !killable {
        _ = ptrace::interrupt(tid);
    }
    let child = Pid::from_raw(tid as i32);
    match waitpid(child, WaitOptions::empty()) {
        Ok(Some((_, status))) if status.stopped() => Ok(()),
        _ => Err("a traced process does not stop here".into()),
    }
}

fn yama() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") {
        Ok(scope) if scope.trim() != "0" => format!(" (kernel.yama.ptrace_scope is {})", scope.trim()),
        _ => String::new(),
    }
}

/// Why there is no listener.
fn why(errno: Errno) -> String {
    match errno {
        Errno::BUSY => "a filter with a listener is in force already: fence runs inside another sandbox or a container that \
                        has one, or WSL2's mirrored networking is on (networkingMode=nat in .wslconfig ends that)"
            .into(),
        Errno::INVAL => "this kernel has no seccomp user notification (Linux 5.5 or newer has what is needed)".into(),
        errno => failed("a filter with a listener can't be installed", errno),
    }
}

fn failed(what: &str, errno: Errno) -> String {
    format!("{what}: {}", crate::error::describe(errno.raw_os_error()))
}
