//! ptrace(2) as the exec supervisor uses it: all of it from one thread, which is the tracer.

use super::{Result, check};
use rustix::io::Errno;

/// `PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL`: stop at exec; who is traced dies with the tracer.
const OPTIONS: usize = 0x10 | 0x10_0000;

/// What `wait` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The thread is gone.
    Ended,
    /// A new program is in place and has run no instruction.
    Exec,
    /// It stopped because it was asked to, or with its whole group.
    Interrupted,
    /// A signal is about to be delivered.
    Signal(i32),
}

/// Starts to trace a thread without stopping it.
pub fn seize(tid: u32) -> Result<()> {
    ask(libc::PTRACE_SEIZE as u32, tid, OPTIONS)
}

/// Asks for a stop.
pub fn interrupt(tid: u32) -> Result<()> {
    ask(libc::PTRACE_INTERRUPT as u32, tid, 0)
}

/// Lets a stopped thread go on, traced, with a signal (0: none).
pub fn go_on(tid: u32, signal: i32) -> Result<()> {
    ask(libc::PTRACE_CONT as u32, tid, signal as usize)
}

/// Lets a stopped thread go for good.
pub fn detach(tid: u32) -> Result<()> {
    ask(libc::PTRACE_DETACH as u32, tid, 0)
}

/// At an exec stop: the thread that called exec. It takes its leader's number over.
pub fn former_tid(tid: u32) -> Option<u32> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the kernel writes one unsigned long, which outlives the call.
    let answer = unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG as _, tid as i32, 0usize, &raw mut message) };
    check(answer as libc::c_long).ok().map(|_| message as u32)
}

/// Reads another process's memory; shorter where it is not mapped further on.
pub fn read(tid: u32, address: u64, bytes: &mut [u8]) -> Result<usize> {
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let there = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the kernel writes to `bytes` only, at most its length; the other address is the other process's.
    let read = unsafe { libc::process_vm_readv(tid as i32, &raw const here, 1, &raw const there, 1, 0) };
    check(read as libc::c_long).map(|read| read as usize)
}

/// The type of a request differs between C libraries.
fn ask(request: u32, tid: u32, data: usize) -> Result<()> {
    // SAFETY: these requests take integers only.
    check(unsafe { libc::ptrace(request as _, tid as i32, 0usize, data) } as libc::c_long).map(drop)
}

/// The next thread that this very thread traces or made and that has something to say; none: nothing now.
///
/// `__WNOTHREAD`: never a child of another thread of this process.
pub fn wait() -> Option<(u32, Stop)> {
    let mut status = 0;
    let flags = libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG;
    let tid = loop {
        // SAFETY: the kernel writes one int, which outlives the call.
        match check(libc::c_long::from(unsafe { libc::waitpid(-1, &raw mut status, flags) })) {
            Err(Errno::INTR) => {}
            Err(_) | Ok(0) => return None,
            Ok(tid) => break tid as u32,
        }
    };
    let stop = match status >> 16 {
        _ if !libc::WIFSTOPPED(status) => Stop::Ended,
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_STOP => Stop::Interrupted,
        _ => Stop::Signal(libc::WSTOPSIG(status)),
    };
    Some((tid, stop))
}
