//! Waiting for something, processes that a test started, and descriptors that one inherits.

use crate::harness::World;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a tree may take to die: what users are promised.
const SOON: Duration = Duration::from_secs(1);
/// How long something may take to happen on a busy machine.
const EVENTUALLY: Duration = Duration::from_secs(20);

/// Whether it becomes true before `time` is over.
fn within(time: Duration, mut is_true: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    while !is_true() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Fails the test unless it becomes true.
#[track_caller]
pub fn eventually(what: &str, is_true: impl FnMut() -> bool) {
    assert!(within(EVENTUALLY, is_true), "in {EVENTUALLY:?} not: {what}");
}

/// Fails the test if a process of this world is alive a second from now: one that runs a program of the world's, or
/// names it in its command line.
#[track_caller]
pub fn all_dead_soon(world: &World) {
    if !within(SOON, || alive(world).is_empty()) {
        panic!("alive after {SOON:?}: {:?}", alive(world));
    }
}

fn alive(world: &World) -> Vec<String> {
    let of_world = |process: &Path| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let exe = fs::read_link(process.join("exe")).unwrap_or_default();
        let dead = stat_field(process, 0).is_none_or(|state| state == "Z" || state == "X");
        let ours = exe.starts_with(&world.root) || line.contains(&*world.root.to_string_lossy());
        (ours && !dead).then(|| format!("{} {line}", process.display()))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|p| p.file_name().is_some_and(|n| n.as_encoded_bytes()[0].is_ascii_digit()))
        .filter_map(|p| of_world(&p))
        .collect()
}

/// A field of /proc/PID/stat, counted from the state, which follows the name.
fn stat_field(process: &Path, index: usize) -> Option<String> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(index).map(str::to_string)
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    let parent = |child: &u32| stat_field(Path::new(&format!("/proc/{child}")), 1);
    all.filter(|child| parent(child).is_some_and(|p| p == pid.to_string())).collect()
}

/// The state letter of a process: S, T, Z, …
pub fn state(pid: u32) -> Option<String> {
    stat_field(Path::new(&format!("/proc/{pid}")), 0)
}

/// Length of a file that grows; 0 while it does not exist.
pub fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |meta| meta.len())
}

pub fn send(pid: u32, signal: i32) {
    // SAFETY: two integers.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0, "kill -{signal} {pid}");
}

/// Lets the command inherit a descriptor under this number, whatever the limit is.
pub fn inherit(command: &mut Command, descriptor: impl Into<OwnedFd>, number: i32) {
    // Out of the way of the numbers that other descriptors get.
    let descriptor = rustix::io::fcntl_dupfd_cloexec(descriptor.into(), 100).unwrap();
    // SAFETY: between fork and exec only system calls are made, on values that were made before.
    unsafe {
        command.pre_exec(move || {
            let mut limit = std::mem::zeroed::<libc::rlimit>();
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            let before = limit;
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
            let answer = libc::dup2(descriptor.as_raw_fd(), number);
            // The limit is lowered again: what was opened above it stays open.
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const before);
            if answer == number { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}
