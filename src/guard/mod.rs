//! The guard: a process of fence beside the sandbox, outside its PID namespace, its Landlock domain and its filter. It moves
//! aside what must not appear, and makes mounts again that the host took away. Where there is nothing to guard there is
//! none. It is a process and not a thread, for it goes into the sandbox's mount namespace, and goes on while fence is
//! stopped (Ctrl-Z) or killed.

mod keep;
mod left;
mod quarantine;
mod watch;

pub use left::report;
pub use quarantine::prepare;

use crate::error::{Failure, Result, STATUS_FENCE};
use crate::launch::message::{Channel, Message};
use crate::log::Log;
use crate::plan::Plan;
use crate::plan::mounts::Mount;
use crate::plan::watch::Then;
use crate::sys::signal::{Signals, send};
use crate::sys::{fd, process};
use keep::Keeper;
use quarantine::{Quarantine, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, WaitOptions, set_dumpable_behavior, waitpid};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use watch::Watcher;

/// Between two looks where a directory can't tell that it changes, in milliseconds.
const INTERVAL: i64 = 20;
/// After fence itself was killed: how long the guard waits for the kernel to end the sandbox, in looks of 5 ms.
const MOST_WAITS: usize = 400;

/// Whether the plan has anything to guard.
pub fn is_needed(plan: &Plan) -> bool {
    !plan.watched.is_empty() || plan.mounts.iter().any(|row| row.protects().is_some())
}

/// The guard's ends of its channels, and whose guard it is.
pub struct Ends {
    /// To the launcher, which closes its end when init is gone.
    pub launcher: Channel,
    /// To init, which sends its namespaces.
    pub inside: Channel,
    /// Init.
    pub init: Pid,
}

/// The namespaces that the guard goes into: those of this process.
///
/// # Errors
/// There is no /proc.
pub fn namespaces(user: bool) -> Result<Vec<OwnedFd>> {
    let names: &[&str] = if user { &["user", "mnt"] } else { &["mnt"] };
    let open = |name: &&str| {
        rustix::fs::open(format!("/proc/self/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    };
    let opened: std::result::Result<Vec<_>, Errno> = names.iter().map(open).collect();
    opened.map_err(|e| {
        Failure::new("cannot open the sandbox's namespaces in /proc to guard it").errno(e.raw_os_error())
    })
}

/// The guard's process could not be made.
pub fn not_started(errno: Errno) -> Failure {
    Failure::new("cannot start the process that guards the sandbox").errno(errno.raw_os_error())
}

/// Waits for the guard's end. All that ran in the sandbox is gone.
///
/// # Errors
/// It failed, which it has said, or was killed: the sandbox was ended then.
pub fn end(guard: Pid) -> Result<()> {
    let status = loop {
        match waitpid(Some(guard), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(Some((_, status))) => break status,
            _ => return Ok(()),
        }
    };
    match status.exit_status() {
        Some(0) => Ok(()),
        Some(_) => Err(Failure::new("the sandbox was ended: its protections could not be kept")),
        None => Err(Failure::new("the sandbox was ended: the process that guards it was killed")),
    }
}

/// The guard's whole life.
pub fn run(plan: &Plan, log: &Log, ends: Ends) -> ! {
    let status = match guard(plan, log, &ends) {
        Ok(()) => 0,
        Err(failure) => {
            log.warn(&failure.to_string());
            STATUS_FENCE
        }
    };
    process::exit_now(status)
}

fn guard(plan: &Plan, log: &Log, ends: &Ends) -> Result<()> {
    // The launcher's ends of other channels, sockets and files are none of the guard's.
    let mut keep = vec![ends.launcher.as_fd().as_raw_fd(), ends.inside.as_fd().as_raw_fd()];
    keep.extend(log.descriptor());
    fd::close_all_but(&keep);
    let failed = |doing: &str, e: Errno| Failure::new(format!("cannot {doing}")).errno(e.raw_os_error());
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| failed("protect the guard from being inspected", e))?;
    let signals = Signals::new().map_err(|e| failed("create a signalfd", e))?;
    let run = OsString::from(format!("{}-{}", std::process::id(), plan.nonce));
    let aside = plan.watched.iter().filter(|w| w.then != Then::Report && !w.there);
    let record = plan.state.as_ref().filter(|_| aside.clone().next().is_some()).and_then(|state| {
        let paths = aside.filter(|w| w.then == Then::Aside).map(|w| w.path.as_path());
        let record = Record::write(state, &run, paths);
        if record.is_none() {
            let state = state.display();
            log.warn(&format!(
                "cannot note in {state} what is watched: no later start will look for it if fence is killed"
            ));
        }
        record
    });
    let quarantine = Quarantine::open(plan.state.as_deref(), &run);
    let mut watcher = Watcher::new(&plan.watched, configurations(plan), quarantine);
    plan.mounts.iter().filter_map(Mount::protects).for_each(|path| watcher.listen(path));
    let proc = quarantine::descriptor("/proc");
    watcher.look(log)?;
    let mut keeper: Option<Keeper<'_>> = None;
    loop {
        let mut fds = vec![
            PollFd::new(&signals, PollFlags::IN),
            PollFd::new(&ends.launcher, PollFlags::IN),
            PollFd::new(&ends.inside, PollFlags::IN),
        ];
        fds.extend(keeper.iter().map(|k| PollFd::from_borrowed_fd(k.table(), PollFlags::PRI)));
        let interval = Timespec { tv_sec: 0, tv_nsec: INTERVAL * 1_000_000 };
        _ = poll(&mut fds, watcher.deaf.then_some(&interval));
        let over = !fds[1].revents().is_empty();
        drop(fds);
        if let Some((Message::Built, namespaces)) = ends.inside.receive_with()
            && plan.mounts.iter().any(|row| row.protects().is_some())
        {
            let proc = proc.as_ref().map_err(|e| failed("open /proc to guard the sandbox", *e))?;
            keeper = Some(Keeper::enter(plan, &namespaces, proc)?);
        }
        while signals.next().is_some() {}
        if over {
            break;
        }
        if let Some(keeper) = &mut keeper {
            let found = keeper.check(&|path| watcher.takes(path))?;
            found.again.iter().for_each(|path| watcher.listen(path));
            found.gone.into_iter().for_each(|path| watcher.is_gone(path));
        }
        watcher.look(log)?;
    }
    // Closed by fence's own end, or because it was killed: then the kernel is about to end the sandbox.
    for _ in 0..MOST_WAITS {
        if has_ended(ends.init, proc.as_ref().ok()) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    if let Some(keeper) = &keeper {
        say_what_is_lost(plan, keeper, &watcher, log);
    }
    watcher.end(log)?;
    record.into_iter().for_each(Record::remove);
    Ok(())
}

/// Copies of configurations end with the run. git writes `worktree` anew in daily work: that is no change.
fn say_what_is_lost(plan: &Plan, keeper: &Keeper<'_>, watcher: &Watcher<'_>, log: &Log) {
    let says = |text: Vec<u8>| -> Vec<Vec<u8>> {
        let lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
        lines.filter(|line| !line.starts_with(b"worktree")).map(<[u8]>::to_vec).collect()
    };
    let changed = plan.mounts.iter().find_map(|row| match row {
        Mount::Copy { of, at } => {
            let (before, now) = (watcher.text(of)?, keeper.copied(at)?);
            (says(before) != says(now)).then_some(of)
        }
        _ => None,
    });
    if let Some(path) = changed {
        let path = path.display();
        log.warn(&format!("{path} was changed for the command alone; filesystem.allowGitConfig opens it"));
    }
}

/// Whether a process has ended. When fence was killed, who takes its children may leave them unreaped for long.
fn has_ended(pid: Pid, proc: Option<&OwnedFd>) -> bool {
    if send(pid, 0) == Err(Errno::SRCH) {
        return true;
    }
    let path = format!("{}/stat", pid.as_raw_nonzero());
    let stat = proc.and_then(|proc| {
        rustix::fs::openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    });
    let mut text = String::new();
    let read = stat.is_some_and(|stat| File::from(stat).read_to_string(&mut text).is_ok());
    read && text.rsplit(") ").next().is_some_and(|state| state.starts_with(['Z', 'X']))
}

/// git's configuration files that the command can't change.
fn configurations(plan: &Plan) -> Vec<PathBuf> {
    let config = |row: &Mount| match row {
        Mount::Bind { to, read_only: true, may_be_gone: true, .. } if to.ends_with("config") => {
            Some(to.clone())
        }
        _ => None,
    };
    plan.mounts.iter().filter_map(config).collect()
}
