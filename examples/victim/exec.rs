//! Acts that execute programs in every way that there is, and that try to change what was judged.

use crate::errno::{Errno, check};
use crate::processes::fork;
use crate::{Act, Outcome, number};
use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) const ACTS: &[Act] = &[
    ("exec", "PATH -- WORDS...", |a| Err(execve(&c(&a[0]), &strings(&a[2..])))),
    // From a process that says that nobody may look into it.
    ("exec-undumpable", "PATH -- WORDS...", |a| {
        // SAFETY: integers.
        check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
        Err(execve(&c(&a[0]), &strings(&a[2..])))
    }),
    // By descriptor: execveat with an empty path.
    ("exec-fd", "PATH -- WORDS...", |a| {
        let file = std::fs::File::open(&a[0])?;
        execveat(file.as_raw_fd(), c"", &a[2..], libc::AT_EMPTY_PATH)
    }),
    ("exec-memfd", "PATH -- WORDS...", |a| {
        let bytes = std::fs::read(&a[0])?;
        // SAFETY: the name is a C string; the new descriptor is owned from here on.
        let mut file = unsafe {
            std::fs::File::from_raw_fd(check(libc::memfd_create(c"copy".as_ptr(), libc::MFD_CLOEXEC))? as i32)
        };
        file.write_all(&bytes)?;
        execveat(file.as_raw_fd(), c"", &a[2..], libc::AT_EMPTY_PATH)
    }),
    ("exec-at", "DIRECTORY NAME -- WORDS...", |a| {
        let directory = std::fs::File::open(&a[0])?;
        execveat(directory.as_raw_fd(), &c(&a[1]), &a[3..], 0)
    }),
    ("exec-nofollow", "PATH -- WORDS...", |a| {
        execveat(libc::AT_FDCWD, &c(&a[0]), &a[2..], libc::AT_SYMLINK_NOFOLLOW)
    }),
    // As a 32-bit program asks for it.
    #[cfg(target_arch = "x86_64")]
    ("exec-i386", "PATH -- WORDS...", |a| crate::calls::execve_i386(&c(&a[0]), &strings(&a[2..]))),
    // Not the first thread, with the others alive.
    ("exec-thread", "PATH -- WORDS...", |a| {
        let (path, words) = (c(&a[0]), strings(&a[2..]));
        for _ in 0..3 {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
        }
        let answer = std::thread::spawn(move || execve(&path, &words)).join();
        Err(answer.unwrap_or(Errno(libc::EIO)))
    }),
    // Eight threads at once: one of them wins.
    ("exec-threads", "PATH -- WORDS...", |a| {
        let (path, words) = (c(&a[0]), strings(&a[2..]));
        // No new thread while another one's exec ends this process: that is no failure.
        let all: Vec<_> = (0..8)
            .filter_map(|_| {
                let (path, words) = (path.clone(), words.clone());
                std::thread::Builder::new().spawn(move || execve(&path, &words)).ok()
            })
            .collect();
        Err(all.into_iter().filter_map(|thread| thread.join().ok()).next().unwrap_or(Errno(libc::EIO)))
    }),
    // Execs that fail, COUNT of each kind, then one that works.
    ("exec-failing", "COUNT FILE", |a| {
        std::fs::write(&a[1], [1, 2])?;
        std::fs::set_permissions(&a[1], std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let long = vec![c("x"), CString::new(vec![b'x'; 200_000]).unwrap()];
        let wanted = [
            ("/nonexistent", strings(&[]), libc::ENOENT),
            ("/dev/null", strings(&[]), libc::EACCES),
            (a[1].as_str(), strings(&[]), libc::ENOEXEC),
            ("/bin/sh", long, libc::E2BIG),
        ];
        for _ in 0..number(&a[0]) {
            for (path, words, errno) in &wanted {
                let got = execve(&c(path), words);
                if got != Errno(*errno) {
                    println!("{path}: {got}");
                    return Err(got);
                }
            }
        }
        Err(execve(&me(), &[c("victim"), c("exit"), c("0")]))
    }),
    // COUNT children, one after the other, each under a storm of SIGALRM, SIGKILL or SIGTSTP while it executes.
    ("exec-under", "alarm|kill|stop COUNT", |a| under(&a[0], number(&a[1]))),
    // COUNT children in each of WIDTH processes at once.
    ("exec-parallel", "WIDTH COUNT", |a| {
        let children = (0..number(&a[0])).map(|_| -> Result<i32, Errno> {
            let pid = fork()?;
            if pid == 0 {
                let ok = (0..number(&a[1]))
                    .all(|_| run_self(&["exit", "7"]).is_ok_and(|status| exited(status, 7)));
                std::process::exit(i32::from(!ok));
            }
            Ok(pid)
        });
        let pids = children.collect::<Result<Vec<_>, _>>()?;
        pids.into_iter()
            .try_for_each(|pid| if exited(wait(pid)?, 0) { Ok(()) } else { Err(Errno(libc::EIO)) })
    }),
    // What a race is about: `push` leaves a mark.
    ("target", "WORD FILE", |a| {
        // Or it is the wrong program.
        if a[0] == "push" || std::env::current_exe()?.ends_with("forbidden") {
            std::fs::OpenOptions::new().append(true).create(true).open(&a[1])?.write_all(b"x")?;
            std::process::exit(77);
        }
        Ok(())
    }),
    // Executes PROGRAM `target WORD FILE` while WORD flips between `status` and `push`.
    ("race", "thread|vm|shared|link SECONDS PROGRAM FILE [OTHER]", |a| {
        race(&a[0], Duration::from_secs(number(&a[1]) as u64), &a[2], &a[3], a.get(4))
    }),
    // The same under a supervisor that judges what it reads and lets go on, as one does that does not verify.
    ("race-unverified", "thread|vm|shared SECONDS PROGRAM FILE", |a| {
        crate::filter::supervised(b"push\0\0\0\0", || {
            race(&a[0], Duration::from_secs(number(&a[1]) as u64), &a[2], &a[3], None)
        })
    }),
    // The command under that supervisor.
    ("unverified", "-- COMMAND...", |a| {
        crate::filter::supervised(b"push\0\0\0\0", || crate::filter::run(&a[1..]))
    }),
    // Changes the arguments of its child after that was executed.
    ("rewrite-child", "", |_| {
        let pid = fork()?;
        if pid == 0 {
            execve(&me(), &[c("victim"), c("spin"), c("2")]);
            std::process::exit(1);
        }
        std::thread::sleep(Duration::from_millis(300));
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Field 48, counted behind the name: arg_start.
        let after = stat.rsplit(')').next().unwrap_or_default();
        let start: u64 = after.split_whitespace().nth(45).and_then(|n| n.parse().ok()).unwrap_or(0);
        let open = std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"));
        let written = open.and_then(|file| std::os::unix::fs::FileExt::write_all_at(&file, b"X", start));
        // SAFETY: two integers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        wait(pid)?;
        Ok(written?)
    }),
    // Executes PATH with as many arguments.
    ("exec-long", "COUNT PATH", |a| {
        let words: Vec<CString> = (0..number(&a[0])).map(|n| c(&format!("argument-{n}"))).collect();
        Err(execve(&c(&a[1]), &words))
    }),
];

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn strings(words: &[String]) -> Vec<CString> {
    words.iter().map(|word| c(word)).collect()
}

fn me() -> CString {
    c(&std::env::current_exe().unwrap().to_string_lossy())
}

fn pointers(words: &[CString]) -> Vec<*const libc::c_char> {
    words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
}

unsafe extern "C" {
    static environ: *const *const libc::c_char;
}

pub(crate) fn execve(path: &CStr, words: &[CString]) -> Errno {
    // SAFETY: the array ends with a null pointer and its strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), pointers(words).as_ptr(), environ) };
    Errno::last()
}

fn execveat(directory: i32, path: &CStr, words: &[String], flags: i32) -> Outcome {
    let words = strings(words);
    // SAFETY: as in `execve`.
    check(unsafe {
        libc::syscall(libc::SYS_execveat, directory, path.as_ptr(), pointers(&words).as_ptr(), environ, flags)
    })
    .map(drop)
}

fn wait(pid: i32) -> Result<i32, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one int.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(status),
        }
    }
}

fn exited(status: i32, wanted: i32) -> bool {
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == wanted
}

/// Runs this program in a child.
fn run_self(words: &[&str]) -> Result<i32, Errno> {
    let (path, words): (_, Vec<CString>) =
        (me(), ["victim"].iter().chain(words).map(|word| c(word)).collect());
    let pid = fork()?;
    if pid == 0 {
        execve(&path, &words);
        std::process::exit(99);
    }
    wait(pid)
}

fn under(storm: &str, count: i64) -> Outcome {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGALRM, nothing as *const () as libc::sighandler_t) };
    for n in 0..count {
        let pid = fork()?;
        if pid == 0 {
            let timer = |micros| libc::itimerval {
                it_interval: libc::timeval { tv_sec: 0, tv_usec: micros },
                it_value: libc::timeval { tv_sec: 0, tv_usec: micros },
            };
            // SAFETY: whole structures.
            unsafe {
                libc::setitimer(
                    libc::ITIMER_REAL,
                    &timer(if storm == "alarm" { 200 } else { 0 }),
                    std::ptr::null_mut(),
                )
            };
            for _ in 0..3 {
                execve(c"/nonexistent", &[]);
            }
            // SAFETY: the program to come has no handler.
            unsafe { libc::setitimer(libc::ITIMER_REAL, &timer(0), std::ptr::null_mut()) };
            execve(&me(), &[c("victim"), c("exit"), c("7")]);
            std::process::exit(99);
        }
        if storm != "alarm" {
            std::thread::sleep(Duration::from_micros((n as u64 * 7) % 500));
            let signal = if storm == "kill" { libc::SIGKILL } else { libc::SIGTSTP };
            // SAFETY: integers.
            unsafe { libc::kill(pid, signal) };
        }
        let status = loop {
            let mut status = 0;
            // SAFETY: the kernel writes one int.
            match unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) } {
                -1 if Errno::last() == Errno(libc::EINTR) => {}
                -1 => return Err(Errno::last()),
                // SAFETY: integers.
                _ if libc::WIFSTOPPED(status) => unsafe { _ = libc::kill(pid, libc::SIGCONT) },
                _ => break status,
            }
        };
        let killed = storm == "kill" && libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        if !exited(status, 7) && !killed {
            println!("child {n}: status {status:#x}");
            return Err(Errno(libc::EIO));
        }
    }
    Ok(())
}

/// The two words, as numbers that one store replaces.
const STATUS: u64 = u64::from_le_bytes(*b"status\0\0");
const PUSH: u64 = u64::from_le_bytes(*b"push\0\0\0\0");

static STOP: AtomicBool = AtomicBool::new(false);

/// Flips the word until it is told to stop.
fn flip(word: *mut u64) {
    let mut wait = 1u32;
    while !STOP.load(Ordering::Relaxed) {
        for value in [PUSH, STATUS] {
            // SAFETY: `word` lives as long as the process, and everybody who reads it expects any of the two values.
            unsafe { word.write_volatile(value) };
            wait = wait.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (0..wait >> 22).for_each(|_| std::hint::spin_loop());
        }
    }
}

#[derive(Default)]
struct Count {
    ran: u32,
    denied: u32,
    killed: u32,
    forbidden: u32,
    other: u32,
}

fn race(how: &str, time: Duration, program: &str, file: &str, other: Option<&String>) -> Outcome {
    // SAFETY: a new page, shared with children; it is never unmapped.
    let word = unsafe {
        let flags = libc::MAP_ANONYMOUS | if how == "shared" { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0).cast::<u64>()
    };
    // SAFETY: the page is mapped.
    unsafe { word.write_volatile(STATUS) };
    let (path, zero, act, mark) = (c(program), c("victim"), c("target"), c(file));
    let argv = [zero.as_ptr(), act.as_ptr(), word.cast_const().cast(), mark.as_ptr(), std::ptr::null()];
    let address = word as usize;
    let mut flipper = 0;
    match how {
        "vm" => _ = std::thread::spawn(move || flip(address as *mut u64)),
        "shared" | "link" => {
            flipper = fork()?;
            if flipper == 0 {
                if how == "shared" {
                    flip(word);
                }
                loop {
                    for target in [Some(&program.to_owned()), other].into_iter().flatten() {
                        let new = format!("{file}.new");
                        _ = std::os::unix::fs::symlink(target, &new);
                        _ = std::fs::rename(&new, format!("{file}.link"));
                    }
                }
            }
        }
        _ => {}
    }
    let path = if how == "link" { c(&format!("{file}.link")) } else { path };
    let mut count = Count::default();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let pid = if how == "vm" { child_in_this_memory(&path, &argv)? } else { fork()? };
        if pid == 0 {
            if how == "thread" {
                std::thread::spawn(move || flip(address as *mut u64));
            }
            exec_or_end(&path, &argv);
        }
        match wait(pid)? {
            status if exited(status, 0) => count.ran += 1,
            status if exited(status, 77) => count.forbidden += 1,
            status if exited(status, 100) => count.denied += 1,
            status if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL => {
                count.killed += 1
            }
            _ => count.other += 1,
        }
    }
    STOP.store(true, Ordering::Relaxed);
    if flipper > 0 {
        // SAFETY: integers.
        unsafe { libc::kill(flipper, libc::SIGKILL) };
    }
    let Count { ran, denied, killed, forbidden, other } = count;
    println!("ran {ran} denied {denied} killed {killed} forbidden {forbidden} other {other}");
    Ok(())
}

fn exec_or_end(path: &CStr, argv: &[*const libc::c_char; 5]) -> ! {
    // SAFETY: the array ends with a null pointer; its strings live.
    unsafe {
        libc::execve(path.as_ptr(), argv.as_ptr(), environ);
        libc::_exit(if Errno::last() == Errno(libc::EPERM) { 100 } else { 101 })
    }
}

/// A child that shares all memory, threads of the parent included, as posix_spawn makes them.
fn child_in_this_memory(path: &CStr, argv: &[*const libc::c_char; 5]) -> Result<i32, Errno> {
    extern "C" fn run(argument: *mut libc::c_void) -> i32 {
        // SAFETY: the pointer of the call below, whose caller waits until this process has left its memory.
        let (path, argv) = unsafe { &*argument.cast::<(&CStr, &[*const libc::c_char; 5])>() };
        exec_or_end(path, argv)
    }
    let mut stack = vec![0u128; 4096];
    let mut argument = (path, argv);
    // SAFETY: the stack outlives the child's use of it, because of CLONE_VFORK.
    check(unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        libc::clone(run, top.cast(), flags, (&raw mut argument).cast())
    })
    .map(|pid| pid as i32)
}
