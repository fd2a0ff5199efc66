//! The command's own process: the last steps before it is the user's program.

use super::{Stage, failed, landlock, privileges};
use crate::error::{Failure, Result, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND};
use crate::launch::message::Message;
use crate::plan::bpf::without_listener;
use crate::plan::{Plan, Reopen, Watch};
use crate::sys::{fd, process, seccomp, signal};
use crate::trace::Steps;
use rustix::fs::{FileType, Mode, OFlags, fstat, mkdir, open};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, chdir, getppid, set_dumpable_behavior, set_parent_process_death_signal,
    setsid,
};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Directories of the sandbox's own that the environment names.
pub(super) fn directories(plan: &Plan) -> Result<()> {
    for path in plan.environment.runtime_dir.iter().chain(&plan.scratch) {
        mkdir(path, Mode::RWXU).map_err(|e| failed(&format!("create {}", path.display()), e))?;
    }
    Ok(())
}

/// The caller's working directory, as it is before the mounts are made: device and inode.
pub(super) fn where_we_are() -> Option<(u64, u64)> {
    rustix::fs::stat(".").ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// The caller's working directory, seen from inside: never another one of that name, but for /tmp and its like, which
/// are the sandbox's own.
pub(super) fn work_directory(plan: &Plan, outside: Option<(u64, u64)>) -> Result<()> {
    let doing = || format!("enter the working directory {} inside the sandbox", plan.cwd.display());
    let hint = "start fence in a directory that is still there and that the policy lets the command read";
    chdir(&plan.cwd).map_err(|e| failed(&doing(), e).hint(hint))?;
    if plan.cwd_is_private || outside.is_none() || where_we_are() == outside {
        return Ok(());
    }
    Err(Failure::new(format!("cannot {}: it is hidden there", doing())).hint(hint))
}

/// Runs the plan's command; returns only why that failed. `init` is the process that waits for it.
pub(super) fn exec(stage: &Stage<'_>, init: Pid, steps: &mut Steps) -> Failure {
    match restrict(stage, init, steps) {
        Err(failure) => failure,
        Ok(()) => {
            let environment: Vec<CString> = stage.plan.environment.variables.iter().map(variable).collect();
            steps.mark("seccomp");
            steps.print();
            signal::default_sigpipe();
            signal::restore(&stage.mask);
            // From here on what is denied is the command's affair.
            if stage.announcement.as_ref().is_some_and(|announcement| !announcement.announce()) {
                return Failure::new("cannot start the command: the monitor does not see it");
            }
            run(&stage.plan.argv, &environment, search_path(&stage.plan.environment.variables))
        }
    }
}

/// Takes away what the command must not have, in an order in which each step is still allowed to the next.
fn restrict(stage: &Stage<'_>, init: Pid, steps: &mut Steps) -> Result<()> {
    let plan = stage.plan;
    if plan.new_session {
        setsid().map_err(|e| failed("start a session for the command", e))?;
    }
    reopen_read_only(plan)?;
    reopen_devices();
    close_inherited(plan)?;
    steps.mark("descriptors");
    privileges::drop_all_but(plan.capabilities)?;
    steps.mark("capabilities");
    if !plan.owns_pids() {
        die_with(init)?;
    }
    if let Some(ruleset) = &plan.landlock {
        landlock::restrict(ruleset, &[], &[])?;
        steps.mark("landlock");
    }
    filter(stage)
}

fn filter(stage: &Stage<'_>) -> Result<()> {
    let doing = "install the system call filter";
    if stage.filter.is_empty() {
        return Ok(());
    }
    let exec = stage.plan.exec.as_ref().map(|exec| exec.killable);
    if let Some(killable) = exec.or(stage.plan.broker.as_ref().map(|broker| broker.killable)) {
        if exec.is_some() {
            // This process has its own copy of init's memory, which said that nobody may look into it.
            set_dumpable_behavior(DumpableBehavior::Dumpable)
                .map_err(|e| failed("let the supervisor look into the process", e))?;
        }
        let listener = seccomp::install_with_listener(stage.filter, killable).map_err(|e| {
            failed("install the system call filter with a listener", e).hint(super::LISTENER_HINT)
        })?;
        stage.parent.send_with(&Message::Asking, &[listener.as_fd()]);
        return Ok(());
    }
    if stage.plan.watch != Watch::Nothing {
        match seccomp::install_with_listener(stage.filter, false) {
            Ok(listener) => {
                stage.parent.send_with(&Message::Asking, &[listener.as_fd()]);
                return Ok(());
            }
            Err(e) if stage.plan.watch == Watch::Everything => {
                return Err(failed("install the system call filter with a listener", e));
            }
            // Another listener is there. What is denied stays denied; it is not shown.
            Err(_) => stage.parent.send(&Message::Asking),
        }
    }
    seccomp::install(&without_listener(stage.filter)).map_err(|e| failed(doing, e))
}

/// Where no PID namespace ends the command with init: it dies with it all the same. After the last change of identity, which
/// clears this.
fn die_with(init: Pid) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| failed("be killed together with fence", e))?;
    if getppid() == Some(init) {
        Ok(())
    } else {
        Err(Failure::new("fence was killed while it started the command"))
    }
}

/// A standard descriptor of a read-only file could be opened again for writing through /proc/self/fd, past the
/// read-only mounts, because it belongs to the host's mount: it is replaced by the same file on the sandbox's mount.
fn reopen_read_only(plan: &Plan) -> Result<()> {
    for entry in &plan.reopen {
        match reopen(entry) {
            Err(failure) if entry.must => return Err(failure),
            // Not to be seen inside, or only the caller's caller may open it: reading on is all that is left.
            _ => {}
        }
    }
    Ok(())
}

fn reopen(Reopen { number, path, .. }: &Reopen) -> Result<()> {
    let doing = || format!("open {} (standard descriptor {number}) again inside the sandbox", path.display());
    let hint = "pass it through a pipe: cat FILE | fence …";
    let refuse = |e: Errno| failed(&doing(), e).hint(hint);
    let old = fd::inherited(*number);
    // A name that became a FIFO meanwhile must not make the launch wait.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let new = open(path, flags, Mode::empty()).map_err(refuse)?;
    let same = |a: &rustix::fs::Stat, b: &rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    let (before, after) = (fstat(old).map_err(refuse)?, fstat(&new).map_err(refuse)?);
    if !same(&before, &after) {
        return Err(Failure::new(format!("cannot {}: it is another file there", doing())).hint(hint));
    }
    let flags = rustix::fs::fcntl_getfl(old).map_err(refuse)?;
    rustix::fs::fcntl_setfl(&new, flags).map_err(refuse)?;
    let offset = rustix::fs::tell(old).map_err(refuse)?;
    rustix::fs::seek(&new, rustix::fs::SeekFrom::Start(offset)).map_err(refuse)?;
    fd::move_to(new, *number).map_err(refuse)
}

/// Through a device's descriptor of the host's mount the command could open it to other users (fchmod): it gets the same
/// device on the sandbox's read-only mount, a terminal as /dev/console. Where that may not be opened (after su, say) the
/// mode can't be changed either.
fn reopen_devices() {
    for number in 0..3 {
        let old = fd::inherited(number);
        let (Ok(has), Ok(flags)) = (fstat(old), rustix::fs::fcntl_getfl(old)) else { continue };
        if FileType::from_raw_mode(has.st_mode) != FileType::CharacterDevice {
            continue;
        }
        let node = match (rustix::fs::major(has.st_rdev), rustix::fs::minor(has.st_rdev)) {
            (1, 3) => "/dev/null",
            (1, 5) => "/dev/zero",
            (1, 7) => "/dev/full",
            (1, 8) => "/dev/random",
            (1, 9) => "/dev/urandom",
            (5, 0) => "/dev/tty",
            _ => "/dev/console",
        };
        let same = |s: rustix::fs::Stat| (s.st_dev, s.st_ino) == (has.st_dev, has.st_ino);
        let flags = flags & (OFlags::ACCMODE | OFlags::APPEND | OFlags::NONBLOCK);
        if rustix::fs::stat(node).is_ok_and(same)
            && let Ok(new) = open(node, flags | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
        {
            _ = fd::move_to(new, number);
        }
    }
}

/// All descriptors above 2 close at exec, except those that the plan keeps.
fn close_inherited(plan: &Plan) -> Result<()> {
    let mut first = 3;
    for keep in &plan.keep_fds {
        close_range(first, *keep - 1)?;
        first = keep + 1;
    }
    close_range(first, i32::MAX)
}

/// close_range(2) where it marks descriptors close-on-exec (5.11); below, each number that is open.
fn close_range(first: i32, last: i32) -> Result<()> {
    if first > last {
        return Ok(());
    }
    match fd::close_on_exec(first as u32, last as u32) {
        Ok(()) => Ok(()),
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
            (first..=last.min(highest_descriptor())).for_each(fd::set_close_on_exec);
            Ok(())
        }
        Err(errno) => Err(failed("close inherited descriptors", errno)),
    }
}

/// The highest open descriptor. The limit may have been lowered since it was opened, so it is asked only where there is no
/// /proc.
fn highest_descriptor() -> i32 {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max();
    let limit = || rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    open.unwrap_or_else(|| limit().map_or(1 << 20, |limit| limit.min(1 << 20) as i32))
}

/// Runs a command with the environment of this process; returns only why that failed.
pub(super) fn exec_here(argv: &[OsString]) -> Failure {
    let variables: Vec<(OsString, OsString)> =
        std::env::vars_os().filter(|(name, _)| name != "FENCE_CONFIG_JSON").collect();
    let environment: Vec<CString> = variables.iter().map(variable).collect();
    signal::default_sigpipe();
    run(argv, &environment, search_path(&variables))
}

fn variable((name, value): &(OsString, OsString)) -> CString {
    let mut bytes = name.clone().into_vec();
    bytes.push(b'=');
    bytes.extend(value.as_bytes());
    c_string(bytes)
}

/// Arguments came from the kernel as C strings, so there is no NUL to find; what follows one could not be passed on.
fn c_string(mut bytes: Vec<u8>) -> CString {
    bytes.retain(|b| *b != 0);
    CString::new(bytes).unwrap_or_default()
}

fn search_path(variables: &[(OsString, OsString)]) -> &OsStr {
    let path = variables.iter().find(|(name, _)| name == "PATH");
    path.map_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"), |(_, value)| value)
}

/// execvp(3): a name with a slash as it is, any other in each directory of the search path.
fn run(argv: &[OsString], environment: &[CString], search: &OsStr) -> Failure {
    let words: Vec<CString> = argv.iter().map(|w| c_string(w.as_bytes().to_vec())).collect();
    let name = argv.first().map_or(OsStr::new(""), OsString::as_os_str);
    if name.as_bytes().contains(&b'/') {
        return explain(Path::new(name), exec_file(Path::new(name), &words, environment));
    }
    let mut denied = None;
    for directory in search.as_bytes().split(|b| *b == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let file = Path::new(OsStr::from_bytes(directory)).join(name);
        match exec_file(&file, &words, environment) {
            Errno::NOENT if file.exists() => return explain(&file, Errno::NOENT),
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => {}
            // In a directory that can't be entered there is nothing to be found, as shells see it.
            Errno::ACCESS if rustix::fs::stat(&file).is_err() => {}
            Errno::ACCESS => denied = Some(file),
            errno => return explain(&file, errno),
        }
    }
    denied.map_or_else(|| explain(Path::new(name), Errno::NOENT), |file| explain(&file, Errno::ACCESS))
}

/// One attempt. A script without `#!` is run by the shell, as every shell and execvp(3) do.
fn exec_file(path: &Path, words: &[CString], environment: &[CString]) -> Errno {
    let file = c_string(path.as_os_str().as_bytes().to_vec());
    match process::exec(&file, words, environment) {
        Errno::NOEXEC => {
            let script: Vec<CString> =
                [c"sh".to_owned(), file].into_iter().chain(words.iter().skip(1).cloned()).collect();
            match process::exec(c"/bin/sh", &script, environment) {
                Errno::NOENT => Errno::NOEXEC,
                errno => errno,
            }
        }
        errno => errno,
    }
}

fn explain(file: &Path, errno: Errno) -> Failure {
    let name = file.display();
    match errno {
        // The kernel says the same when the file is there and what it needs to run is not.
        Errno::NOENT if file.exists() => failed(&format!("run {name}"), errno)
            .hint("the interpreter or dynamic loader that it names does not exist inside the sandbox")
            .status(STATUS_NOT_EXECUTABLE),
        Errno::NOENT | Errno::NOTDIR => {
            Failure::new(format!("cannot run {name}: command not found")).status(STATUS_NOT_FOUND)
        }
        _ => failed(&format!("run {name}"), errno).status(STATUS_NOT_EXECUTABLE),
    }
}
