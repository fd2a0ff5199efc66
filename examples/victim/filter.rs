//! Filters of the victim's own: a program that sandboxes itself, and an older kernel.

use crate::errno::{Errno, check};
use crate::{Act, Outcome, calls};
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) const ACTS: &[Act] = &[
    // A filter that allows everything: harmless, and it must not open what another one shut.
    ("own-filter", "-- COMMAND...", |a| {
        let allow = [statement(RETURN, ALLOW)];
        no_new_privs()?;
        install(&allow)?;
        run(&a[1..])
    }),
    // Stands in for a kernel that lacks these system calls.
    ("enosys", "NAMES -- COMMAND...", |a| refuse(libc::ENOSYS, &a[0], &a[2..])),
    // Stands in for a container whose filter refuses them.
    ("refuse", "ERRNO NAMES -- COMMAND...", |a| {
        let errno = Errno::named(&a[0]).map_or_else(|| crate::number(&a[0]) as i32, |e| e.0);
        refuse(errno, &a[1], &a[3..])
    }),
    ("no-new-privs", "-- COMMAND...", |a| {
        no_new_privs()?;
        run(&a[1..])
    }),
    ("status", "", |_| {
        let wanted = ["NoNewPrivs", "Seccomp:", "Cap", "Uid", "Gid"];
        let status = std::fs::read_to_string("/proc/self/status")?;
        status
            .lines()
            .filter(|line| wanted.iter().any(|w| line.starts_with(w)))
            .for_each(|line| println!("{line}"));
        Ok(())
    }),
];

#[repr(C)]
struct Statement {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    filter: *const Statement,
}

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

fn statement(code: u16, k: u32) -> Statement {
    Statement { code, jt: 0, jf: 0, k }
}

fn refuse(errno: i32, names: &str, command: &[String]) -> Outcome {
    let mut program = vec![statement(LOAD, 0)];
    for name in names.split(',') {
        let number = calls::number_of(name).unwrap_or_else(|| {
            eprintln!("victim: no system call {name}");
            std::process::exit(2)
        });
        program.push(Statement { code: EQUAL, jt: 0, jf: 1, k: number as u32 });
        program.push(statement(RETURN, ERRNO | errno as u32));
    }
    program.push(statement(RETURN, ALLOW));
    // Root installs it without no_new_privs, so that what runs under it is as it would be on that kernel.
    if install(&program).is_err() {
        no_new_privs()?;
        install(&program)?;
    }
    run(command)
}

fn no_new_privs() -> Outcome {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

fn install(statements: &[Statement]) -> Outcome {
    let program = Program { len: statements.len() as u16, filter: statements.as_ptr() };
    // SAFETY: the program and what it points to outlive the call; `len` is their number.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })
        .map(drop)
}

/// Becomes the command, looked up on PATH.
pub(crate) fn run(words: &[String]) -> Outcome {
    let (program, args) = words.split_first().ok_or(Errno(libc::EINVAL))?;
    Err(Command::new(program).args(args).exec().into())
}
