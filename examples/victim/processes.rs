//! Acts on processes: signals, descriptors, what lives on, how a process ends.

use crate::errno::{Errno, check};
use crate::{Act, Outcome, number};
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

pub(crate) const ACTS: &[Act] = &[
    ("exit", "STATUS", |a| std::process::exit(number(&a[0]) as i32)),
    // Ends by the signal, whatever the caller ignored or blocked.
    ("raise", "SIGNAL", |a| {
        let signal = number(&a[0]) as i32;
        // SAFETY: plain values; the default disposition and an empty mask, then the signal to this process.
        unsafe {
            let mut none = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut none);
            libc::signal(signal, libc::SIG_DFL);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            check(libc::kill(libc::getpid(), signal))?;
        }
        // A signal that does not end a process by default.
        std::process::exit(0)
    }),
    ("kill", "PID SIGNAL", |a| {
        // SAFETY: two integers.
        check(unsafe { libc::kill(number(&a[0]) as i32, number(&a[1]) as i32) }).map(drop)
    }),
    // rt_sigqueueinfo with a code that only the kernel may send, to a process that is not oneself.
    ("forge-signal", "PID SIGNAL", |a| {
        let mut info = [0u32; 32];
        info[2] = 0x80; // SI_KERNEL
        // SAFETY: `info` is a whole siginfo_t (128 bytes) and outlives the call.
        check(unsafe {
            libc::syscall(libc::SYS_rt_sigqueueinfo, number(&a[0]), number(&a[1]), info.as_ptr())
        })
        .map(drop)
    }),
    // Signals without kill(2): the descriptor's owner gets one when data comes.
    ("kill-by-owner", "PID SIGNAL", |a| {
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        use std::os::fd::AsRawFd;
        let fd = theirs.as_raw_fd();
        // SAFETY: integers only.
        unsafe {
            check(libc::fcntl(fd, libc::F_SETOWN, number(&a[0]) as i32))?;
            check(libc::fcntl(fd, 10 /* F_SETSIG */, number(&a[1]) as i32))?;
            check(libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC))?;
        }
        Ok(ours.write_all(b"x")?)
    }),
    // Three tasks for each process: itself, a thread, a child. Each opens the file once and fails, or the act does.
    ("open-in-tasks", "PROCESSES PATH ERRNO", |a| {
        let wanted = Errno::named(&a[2]).unwrap();
        let mut running = 0;
        for _ in 0..number(&a[0]) {
            // SAFETY: this process has one thread, so the child may go on with a copy of its memory.
            if check(unsafe { libc::fork() })? == 0 {
                std::process::exit(open_in_tasks(&a[1], wanted));
            }
            running += 1;
            if running == 16 {
                wait_for_success()?;
                running -= 1;
            }
        }
        (0..running).try_for_each(|_| wait_for_success())
    }),
    ("pidfd", "PID", |a| {
        // SAFETY: two integers.
        check(unsafe { libc::syscall(libc::SYS_pidfd_open, number(&a[0]), 0) }).map(drop)
    }),
    ("ptrace-attach", "PID", |a| {
        // SAFETY: PTRACE_SEIZE takes no memory.
        check(unsafe { libc::ptrace(libc::PTRACE_SEIZE as _, number(&a[0]) as i32, 0, 0) }).map(drop)
    }),
    ("priority", "WHICH WHO VALUE", |a| {
        // SAFETY: three integers.
        check(unsafe { libc::setpriority(number(&a[0]) as _, number(&a[1]) as _, number(&a[2]) as i32) })
            .map(drop)
    }),
    ("setuid", "UID", |a| {
        // SAFETY: an integer.
        check(unsafe { libc::setuid(number(&a[0]) as u32) })?;
        println!("{}", ids());
        Ok(())
    }),
    // The command as somebody else, with no capability left.
    ("as", "UID -- COMMAND...", |a| {
        let id = number(&a[0]) as u32;
        // SAFETY: integers.
        unsafe {
            check(libc::setresgid(id, id, id))?;
            check(libc::setresuid(id, id, id))?;
        }
        crate::filter::run(&a[2..])
    }),
    ("ids", "", |_| {
        println!("{}", ids());
        Ok(())
    }),
    // Every open descriptor and what it is.
    ("fds", "", |_| {
        let mut numbers: Vec<i32> = fs::read_dir("/proc/self/fd")?
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        for number in numbers {
            // The one that lists is gone by now.
            if let Ok(what) = fs::read_link(format!("/proc/self/fd/{number}")) {
                println!("{number} {}", what.display());
            }
        }
        Ok(())
    }),
    // The same without /proc, by asking for every number.
    ("fd-numbers", "", |_| {
        // SAFETY: F_GETFD takes no memory, and any number may be asked for.
        (0..70_000).filter(|n| unsafe { libc::fcntl(*n, libc::F_GETFD) } >= 0).for_each(|n| println!("{n}"));
        Ok(())
    }),
    // A heartbeat in the file from a process that left the session and its parent.
    ("daemon", "SECONDS FILE", |a| {
        if fork()? != 0 {
            return Ok(());
        }
        // SAFETY: no arguments.
        unsafe { libc::setsid() };
        if fork()? != 0 {
            std::process::exit(0);
        }
        beat(&a[0], &a[1])
    }),
    ("heartbeat", "SECONDS FILE", |a| beat(&a[0], &a[1])),
    ("spin", "SECONDS", |a| {
        let end = Instant::now() + Duration::from_secs(number(&a[0]) as u64);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        Ok(())
    }),
    ("setpgid", "", |_| {
        // SAFETY: two integers.
        check(unsafe { libc::setpgid(0, 0) }).map(drop)
    }),
    ("tty", "", |_| {
        let name = fs::read_link("/proc/self/fd/0")?;
        // SAFETY: an integer.
        check(unsafe { libc::isatty(0) } - 1)?;
        println!("{}", name.display());
        Ok(())
    }),
];

/// Appends to the file ten times a second, whatever signals come that can be ignored.
fn beat(seconds: &str, file: &str) -> Outcome {
    // SAFETY: ignoring a signal runs no code.
    (1..32).for_each(|signal| unsafe { _ = libc::signal(signal, libc::SIG_IGN) });
    let end = Instant::now() + Duration::from_secs(number(seconds) as u64);
    while Instant::now() < end {
        fs::OpenOptions::new().append(true).create(true).open(file)?.write_all(b".")?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

pub(crate) fn fork() -> Result<i32, Errno> {
    // SAFETY: the victim has one thread.
    check(unsafe { libc::fork() }).map(|pid| pid as i32)
}

fn ids() -> String {
    // SAFETY: no arguments.
    let (uid, euid, gid, egid) =
        unsafe { (libc::getuid(), libc::geteuid(), libc::getgid(), libc::getegid()) };
    format!("uid={uid} euid={euid} gid={gid} egid={egid}")
}

/// Opens a file in this thread, in another one and in a child; 0 when each failed as it should.
fn open_in_tasks(path: &str, wanted: Errno) -> i32 {
    let fails = |path: &str| fs::File::open(path).err().map(Errno::from) == Some(wanted);
    // SAFETY: this process has one thread, so the child may go on with a copy of its memory.
    if unsafe { libc::fork() } == 0 {
        std::process::exit(i32::from(!fails(path)));
    }
    let thread = std::thread::scope(|scope| scope.spawn(|| fails(path)).join().unwrap());
    i32::from(!(fails(path) && thread && wait_for_success().is_ok()))
}

/// Waits for one child; EPROTO unless it ended with 0.
fn wait_for_success() -> Outcome {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    check(unsafe { libc::wait(&raw mut status) })?;
    if status == 0 { Ok(()) } else { Err(Errno(libc::EPROTO)) }
}
