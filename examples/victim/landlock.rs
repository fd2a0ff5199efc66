//! A kernel with another Landlock ABI: the calls of the command and its children are watched, and answered as that ABI answers. What
//! a ruleset then does is this kernel's doing, which must have at least that ABI.

use crate::errno::check;
use crate::filter::{self, ALLOW, EQUAL, LOAD, RETURN, Statement, statement};
use crate::{Act, number, processes};
use fence::sys::bpf::memory_of;

pub(crate) const ACTS: &[Act] = &[("landlock", "ABI -- COMMAND...", |a| {
    let abi = number(&a[0]);
    let child = processes::fork()?;
    if child != 0 {
        std::process::exit(watch(child, abi));
    }
    // SAFETY: no memory; the parent sees to it that the stop ends.
    unsafe {
        check(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0))?;
        check(libc::raise(libc::SIGSTOP))?;
    }
    const TRACE: u32 = 0x7ff0_0000;
    let calls = [CREATE, ADD, RESTRICT].map(|call| Statement { code: EQUAL, jt: 0, jf: 1, k: call as u32 });
    let mut program = vec![statement(LOAD, 0)];
    program.extend(calls.into_iter().flat_map(|test| [test, statement(RETURN, TRACE)]));
    program.push(statement(RETURN, ALLOW));
    filter::install_as_root(&program)?;
    filter::run(&a[2..])
})];

const CREATE: i64 = libc::SYS_landlock_create_ruleset;
const ADD: i64 = libc::SYS_landlock_add_rule;
const RESTRICT: i64 = libc::SYS_landlock_restrict_self;

/// What the kernel of this ABI answers to a call, where that is not what this kernel does with it. `attribute` are the first
/// words of `struct landlock_ruleset_attr`.
fn answer(abi: i64, call: i64, arguments: [u64; 4], attribute: &[u64]) -> Option<i64> {
    let invalid = Some(-i64::from(libc::EINVAL));
    // Rights by ABI: on files, ports, scopes.
    let (files, ports, scopes) = match abi {
        ..=1 => (0x1fff, 0, 0),
        2 => (0x3fff, 0, 0),
        3 => (0x7fff, 0, 0),
        4 => (0x7fff, 3, 0),
        5 => (0xffff, 3, 0),
        _ => (0xffff, 3, 3),
    };
    match call {
        // A flag asks for a number: 1 is the version, others came with later kernels.
        CREATE if arguments[2] == 1 => Some(abi),
        CREATE if arguments[2] != 0 => invalid,
        CREATE => {
            let known = [files, ports, scopes];
            let words = if abi >= 6 {
                3
            } else if abi >= 4 {
                2
            } else {
                1
            };
            if attribute.iter().skip(words).any(|word| *word != 0) {
                return Some(-i64::from(libc::E2BIG));
            }
            let unknown = attribute.iter().zip(known).any(|(word, known)| word & !known != 0);
            invalid.filter(|_| unknown)
        }
        ADD => invalid.filter(|_| arguments[1] == 2 && abi < 4),
        _ => {
            let known = if abi >= 8 {
                0xf
            } else if abi >= 7 {
                7
            } else {
                0
            };
            invalid.filter(|_| arguments[1] & !known != 0)
        }
    }
}

/// Watches the child and what comes of it; the exit status of the child.
fn watch(child: i32, abi: i64) -> i32 {
    let options = libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_EXITKILL;
    let mut begun = false;
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if pid < 0 {
            continue;
        }
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if pid != child {
                continue;
            }
            return if libc::WIFEXITED(status) {
                libc::WEXITSTATUS(status)
            } else {
                128 + libc::WTERMSIG(status)
            };
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        if !begun {
            // SAFETY: integers; the child has stopped for this.
            unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) };
            begun = true;
        }
        if event == libc::PTRACE_EVENT_SECCOMP {
            judge(pid, abi);
        }
        // Stops of the watch itself pass no signal on; and new children begin with a SIGSTOP.
        let quiet = event != 0 || signal == libc::SIGSTOP || signal == libc::SIGTRAP;
        // SAFETY: integers.
        unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, if quiet { 0 } else { signal }) };
    }
}

/// Looks at a call that stands still, and answers it where the other kernel would answer otherwise.
fn judge(pid: i32, abi: i64) {
    // SAFETY: the kernel fills a whole structure, and reads it.
    unsafe {
        let mut registers = std::mem::zeroed::<libc::user_regs_struct>();
        if libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut registers) != 0 {
            return;
        }
        let r = registers;
        let bytes = memory_of(pid as u32, r.rdi, (r.rsi as usize).min(64));
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        if let Some(answer) = answer(abi, r.orig_rax as i64, [r.rdi, r.rsi, r.rdx, r.r10], &words) {
            registers.orig_rax = u64::MAX;
            registers.rax = answer as u64;
            libc::ptrace(libc::PTRACE_SETREGS, pid, 0, &raw mut registers);
        }
    }
}
