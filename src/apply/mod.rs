//! The child's side of a run: the steps in the order that the kernel demands, no choices left in them.

pub(crate) mod bwrap;
mod identity;
mod init;
mod landlock;
mod listen;
pub(crate) mod mounts;
mod payload;
mod privileges;

pub use bwrap::STAGE;

use crate::error::{Failure, Result};
use crate::launch::message::{Channel, Message};
use crate::monitor::ebpf::Announcement;
use crate::plan::Plan;
use crate::plan::bpf::Instruction;
use crate::plan::net::Mode;
use crate::sys::signal::Mask;
use crate::sys::{fd, process, secure_exec};
use crate::trace::Steps;
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal, umask,
};
use std::os::fd::AsFd;

/// What the child needs; it has a copy of the parent's memory, so this is plain data.
pub struct Stage<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The compiled system call filter; empty: none.
    pub filter: &'a [Instruction],
    /// Number of fence's own argv words.
    pub arguments: usize,
    /// The caller's signal mask, for the command.
    pub mask: Mask,
    /// The launcher.
    pub parent: Channel,
    /// Where the launcher asks for connections to ports inside, when the plan has any.
    pub inbound: Option<Channel>,
    /// What the command's process tells the monitor, where there is one.
    pub announcement: Option<Announcement>,
    /// The guard, when the plan needs one: it ends with init, and init with it.
    pub guard: Option<Channel>,
    /// The caller's working directory outside, device and inode, where this process can't look at it any more.
    pub outside: Option<(u64, u64)>,
    /// Stopwatch.
    pub steps: Steps,
}

/// Process 1 of the sandbox: sets it up, starts the command, becomes init. Without a PID namespace it is the parent of all
/// that loses its parent below, and ends what is left by itself.
pub fn init(mut stage: Stage<'_>) -> ! {
    let plan = stage.plan;
    let status = match enter(&mut stage).and_then(|()| init::start(&mut stage)) {
        Ok(command) => init::run(command, &stage.parent, stage.inbound.as_ref(), stage.guard.as_ref()),
        Err(failure) => {
            stage.parent.send(&Message::Failed(failure.clone()));
            failure.status
        }
    };
    if !plan.owns_pids() {
        crate::tree::end(&[]);
    }
    plan.scratch.iter().for_each(|path| _ = std::fs::remove_dir_all(path));
    process::exit_now(status)
}

/// Everything that needs the capabilities of the new namespaces.
fn enter(stage: &mut Stage<'_>) -> Result<()> {
    let plan = stage.plan;
    stage.steps.mark("clone");
    // The new user namespace maps nobody yet; without a mapping the kernel refuses most of what follows.
    if let Some((uid, gid)) = plan.map {
        // The maps of a process whose program file gave it rights belong to root, until it is like any other.
        if secure_exec() {
            set_dumpable_behavior(DumpableBehavior::Dumpable)
                .map_err(|e| failed("own the sandbox's user namespace", e))?;
        }
        identity::map(uid, gid)?;
        stage.steps.mark("uid map");
    }
    if !plan.owns_pids() {
        crate::tree::adopt()?;
    }
    let outside = stage.outside.or_else(payload::where_we_are);
    if !plan.mounts.is_empty() {
        // Modes in the table are meant as they stand.
        let mask = umask(rustix::fs::Mode::empty());
        // Of the host's /proc, while that can be seen.
        let open = |_| crate::guard::namespaces(plan.map.is_some());
        let namespaces = stage.guard.as_ref().map_or(Ok(Vec::new()), open)?;
        mounts::build(&plan.mounts, plan.mount_setattr, &mut stage.steps)?;
        umask(mask);
        if let Some(guard) = &stage.guard {
            let all: Vec<_> = namespaces.iter().map(AsFd::as_fd).collect();
            guard.send_with(&Message::Built, &all);
        }
    }
    if plan.loopback {
        fd::loopback_up().map_err(|e| failed("bring the loopback device up", e).unavailable())?;
        stage.steps.mark("lo up");
    }
    if plan.network.mode == Mode::Own {
        listen::hand_over(&plan.network.listeners, &stage.parent)?;
        stage.steps.mark("listeners");
    }
    payload::directories(plan)?;
    payload::work_directory(plan, outside)?;
    stage.steps.mark("work directory");
    // Others in the PID namespace must not look into this process: its memory, descriptors and environment are the
    // launcher's. Its command line stays readable to all, so that is wiped.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| failed("protect init from being inspected", e))?;
    process::wipe_arguments(stage.arguments);
    Ok(())
}

/// Dies with the launcher. Last of all changes of identity, since those clear it (prctl(2), PR_SET_PDEATHSIG).
fn die_with_parent(stage: &Stage<'_>) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| failed("be killed together with fence", e))?;
    // The launcher may have died before that: then its end of the channel is closed already.
    if stage.parent.is_closed() {
        return Err(Failure::new("fence was killed while it set the sandbox up"));
    }
    Ok(())
}

/// Goes on inside a sandbox that bubblewrap made.
///
/// # Errors
/// Nothing says how.
pub fn resume(number: i32) -> Result<u8> {
    bwrap::resume(number)
}

/// Restricts this very process with Landlock, as the applet does: file rules and, when any port is named, TCP rules.
pub fn restrict_self(ruleset: &crate::plan::landlock::Ruleset, connect: &[u16], bind: &[u16]) -> Result<()> {
    rustix::thread::set_no_new_privs(true).map_err(|e| failed("set no_new_privs", e))?;
    landlock::restrict(ruleset, connect, bind)
}

/// Filters this very process's system calls, as the applet does.
pub fn filter_self(filter: &[Instruction]) -> Result<()> {
    rustix::thread::set_no_new_privs(true).map_err(|e| failed("set no_new_privs", e))?;
    crate::sys::seccomp::install(filter).map_err(|e| failed("install the system call filter", e))
}

/// The same with a filter that asks about exec; who answers gets the listener over `supervisor`.
pub fn filter_self_and_ask(filter: &[Instruction], supervisor: &Channel) -> Result<()> {
    use crate::sys::seccomp::install_with_listener;
    rustix::thread::set_no_new_privs(true).map_err(|e| failed("set no_new_privs", e))?;
    let listener = match install_with_listener(filter, true) {
        // Before 5.19.
        Err(Errno::INVAL) => install_with_listener(filter, false),
        other => other,
    };
    let listener = listener
        .map_err(|e| failed("install the system call filter with a listener", e).hint(LISTENER_HINT))?;
    supervisor.send_with(&Message::Asking, &[listener.as_fd()]);
    Ok(())
}

/// Replaces this process by a command with the environment it has; returns only why that failed.
pub fn exec_here(argv: &[std::ffi::OsString]) -> Failure {
    payload::exec_here(argv)
}

/// What to do when the kernel gives no listener.
pub(crate) const LISTENER_HINT: &str = "one filter with a listener is all that a process can have: another sandbox, a container or WSL2's mirrored networking \
     may have it already; command.runtimeExecPolicy \"path\" needs none for most programs";

/// A system call of the set-up that failed: `cannot {doing}: {errno}`.
fn failed(doing: &str, errno: Errno) -> Failure {
    Failure::new(format!("cannot {doing}")).errno(errno.raw_os_error())
}
