//! clone(2) as fork, execve(2), and the process's own argument memory.

use super::{Result, check};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::{CStr, CString};

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The caller, with the new process's id.
    Parent(Pid),
}

/// Forks into the namespaces that `flags` (CLONE_NEW*) names; SIGCHLD tells the end.
///
/// The process must have one thread: the child goes on with a copy of this one's memory, allocator included.
pub fn fork_into(flags: u64) -> Result<Fork> {
    let flags = flags | libc::SIGCHLD as u64;
    // SAFETY: a null stack means "copy of mine", as fork(2); no CLONE_VM, so the child shares no memory.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize) })?;
    Ok(Pid::from_raw(pid as i32).map_or(Fork::Child, Fork::Parent))
}

/// What the new process of `spawn` runs; its result is the exit status.
type Body<'a> = &'a mut dyn FnMut() -> u8;

/// Runs `body` in a new process on a stack of its own. Until that process execs or ends this one stands still (vfork(2)):
/// nothing runs at the same time. `shared`: in this one's memory, so that nothing is copied.
///
/// The process must have one thread. What `body` changes in shared memory stays changed here; its descriptors, credentials,
/// filters and signal mask are its own.
pub fn spawn(shared: bool, mut body: Body<'_>) -> Result<Pid> {
    extern "C" fn run(argument: *mut libc::c_void) -> libc::c_int {
        // SAFETY: `argument` is the pointer to `body` below, which lives until clone returns in the waiting parent.
        let body = unsafe { &mut *argument.cast::<Body<'_>>() };
        i32::from(body())
    }
    const STACK: usize = 256 * 1024;
    // u128: the stack pointer must be a multiple of 16.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let flags = libc::CLONE_VFORK | libc::SIGCHLD | if shared { libc::CLONE_VM } else { 0 };
    // SAFETY: the stack grows down from the end of an allocation that outlives the call, since CLONE_VFORK holds this
    // process until the other has left it; `body` outlives the call too.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(run, top.cast(), flags, (&raw mut body).cast())
    };
    let pid = check(libc::c_long::from(pid))?;
    Pid::from_raw(pid as i32).ok_or(Errno::AGAIN)
}

/// Replaces this process by the program at `path`; returns only the reason why it could not.
pub fn exec(path: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    match check(libc::c_long::from(unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) })) {
        Err(errno) => errno,
        Ok(_) => Errno::IO,
    }
}

/// Ends the process at once: no destructors, no buffers flushed twice after a fork.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Overwrites the argument strings that /proc/PID/cmdline shows: a `-c` line or a settings path may hold secrets,
/// and init lives in the sandbox's PID namespace, where everyone may read that file.
///
/// Nothing may read the process's C arguments afterwards (`std::env::args` does).
pub fn wipe_arguments(count: usize) {
    // SAFETY: musl keeps `environ` at the array that the kernel put on the stack until somebody sets a variable,
    // which fence never does; there argv[count] == NULL stands just before it, and argv[0..count] before that. Each
    // pointer that is overwritten is a NUL-terminated string of this process's own stack.
    unsafe {
        let variables = environ;
        if variables.is_null() || !(*variables.sub(1)).is_null() {
            return;
        }
        for i in 0..count {
            let word = *variables.sub(2 + i);
            if word.is_null() {
                return;
            }
            word.write_bytes(0, libc::strlen(word));
        }
    }
}

unsafe extern "C" {
    static environ: *const *mut libc::c_char;
}
