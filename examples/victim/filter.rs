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
    // Stands in for a kernel before 5.19, which lacks SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: the flags of seccomp(2) are its
    // second argument.
    ("without-killable", "-- COMMAND...", |a| {
        let program = [
            statement(LOAD, 0),
            Statement { code: EQUAL, jt: 0, jf: 3, k: libc::SYS_seccomp as u32 },
            statement(LOAD, 24),
            Statement { code: 0x45, jt: 0, jf: 1, k: 1 << 5 },
            statement(RETURN, ERRNO | libc::EINVAL as u32),
            statement(RETURN, ALLOW),
        ];
        install_as_root(&program)?;
        run(&a[1..])
    }),
    // A process that has a listener already, which nobody reads.
    ("with-listener", "-- COMMAND...", |a| {
        no_new_privs()?;
        let listener = load(&[statement(RETURN, ALLOW)], 1 << 3)?;
        // SAFETY: integers; it stays open over the exec.
        check(unsafe { libc::fcntl(listener as i32, libc::F_SETFD, 0) })?;
        run(&a[1..])
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
pub(crate) struct Statement {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    filter: *const Statement,
}

pub(crate) const LOAD: u16 = 0x20;
pub(crate) const EQUAL: u16 = 0x15;
pub(crate) const RETURN: u16 = 0x06;
pub(crate) const ALLOW: u32 = 0x7fff_0000;
pub(crate) const ERRNO: u32 = 0x0005_0000;

pub(crate) fn statement(code: u16, k: u32) -> Statement {
    Statement { code, jt: 0, jf: 0, k }
}

fn refuse(errno: i32, names: &str, command: &[String]) -> Outcome {
    let mut program = vec![statement(LOAD, 0)];
    for name in names.split(',') {
        let number = calls::number_of(name).or_else(|| name.parse().ok()).unwrap_or_else(|| {
            eprintln!("victim: no system call {name}");
            std::process::exit(2)
        });
        program.push(Statement { code: EQUAL, jt: 0, jf: 1, k: number as u32 });
        program.push(statement(RETURN, ERRNO | errno as u32));
    }
    program.push(statement(RETURN, ALLOW));
    install_as_root(&program)?;
    run(command)
}

/// Root installs it without no_new_privs, so that what runs under it is as it would be on that kernel.
pub(crate) fn install_as_root(program: &[Statement]) -> Outcome {
    install(program).or_else(|_| {
        no_new_privs()?;
        install(program)
    })
}

fn no_new_privs() -> Outcome {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

pub(crate) fn install(statements: &[Statement]) -> Outcome {
    load(statements, 0).map(drop)
}

fn load(statements: &[Statement], flags: u32) -> Result<i64, Errno> {
    let program = Program { len: statements.len() as u16, filter: statements.as_ptr() };
    // SAFETY: the program and what it points to outlive the call; `len` is their number.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })
}

/// Runs `act` in a child whose execs are judged by their third word as it is when they ask, and let go on without another
/// look: the usual way, and the one that a race gets past.
pub(crate) fn supervised(denied: &[u8; 8], act: impl FnOnce() -> Outcome) -> Outcome {
    use std::os::unix::fs::FileExt;
    const NEW_LISTENER: u32 = 1 << 3;
    const NOTIFY: u32 = 0x7fc0_0000;
    no_new_privs()?;
    let listener = load(
        &[
            statement(LOAD, 0),
            Statement { code: EQUAL, jt: 0, jf: 1, k: libc::SYS_execve as u32 },
            statement(RETURN, NOTIFY),
            statement(RETURN, ALLOW),
        ],
        NEW_LISTENER,
    )? as i32;
    let child = crate::processes::fork()?;
    if child == 0 {
        std::process::exit(i32::from(act().is_err()));
    }
    loop {
        let mut status = 0;
        let mut poll = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
        // SAFETY: whole structures, integers; the kernel zeroes or fills what it is given.
        unsafe {
            if libc::waitpid(child, &raw mut status, libc::WNOHANG) == child {
                return if status == 0 { Ok(()) } else { Err(Errno(libc::EIO)) };
            }
            if libc::poll(&raw mut poll, 1, 50) < 1 {
                continue;
            }
            let mut call = [0u64; 10];
            if libc::ioctl(listener, 0xc050_2100_u32 as _, call.as_mut_ptr()) < 0 {
                continue;
            }
            // struct seccomp_notif: id; pid and flags; number and architecture; address; arguments.
            let (id, pid, argv) = (call[0], call[1] as u32, call[5]);
            let (mut pointer, mut word) = ([0; 8], [0; 8]);
            if let Ok(memory) = std::fs::File::open(format!("/proc/{pid}/mem")) {
                _ = memory.read_exact_at(&mut pointer, argv + 16);
                _ = memory.read_exact_at(&mut word, u64::from_le_bytes(pointer));
            }
            let (error, flags) = if word == *denied { (-libc::EPERM, 0) } else { (0, 1) };
            let answer = [id, 0, u64::from(error as u32) | flags << 32];
            libc::ioctl(listener, 0xc018_2101_u32 as _, answer.as_ptr());
        }
    }
}

/// Becomes the command, looked up on PATH.
pub(crate) fn run(words: &[String]) -> Outcome {
    let (program, args) = words.split_first().ok_or(Errno(libc::EINVAL))?;
    Err(Command::new(program).args(args).exec().into())
}
