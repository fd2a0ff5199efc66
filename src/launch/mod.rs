//! The parent's side of a run: fork, then wait, pass signals on, and turn the end into an exit status.

pub mod message;
mod wait;

use crate::apply;
use crate::error::{Failure, Result};
use crate::guard;
use crate::log::Log;
use crate::monitor::advice::Advisor;
use crate::monitor::ebpf::{Monitor, Watching};
use crate::plan::Plan;
use crate::plan::bpf::Instruction;
use crate::supervise::watch::Watch;
use crate::supervise::{self, Supervisor};
use crate::sys::process::{Fork, fork_into};
use crate::sys::signal;
use crate::trace::Steps;
use crate::tree;
use message::Channel;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What the parent has on its side.
pub struct Host {
    /// Sockets of the proxies on the host's loopback, where the plan says so.
    pub proxies: Vec<OwnedFd>,
    /// Watches the command, where that was asked for and can be done.
    pub monitor: Option<Monitor>,
    /// Answers the filter's listener, where the plan has one to show calls.
    pub watch: Option<Watch>,
    /// Where events go.
    pub log: Arc<Log>,
}

/// The launcher's ends of what it has in common with the sandbox, and what only it has.
struct Ours {
    init: Channel,
    /// Sockets of `-p`, and where init is asked for connections to ports inside.
    inbound: Vec<OwnedFd>,
    ask: Option<Channel>,
    /// Its end tells the guard that nothing runs any more.
    guard: Option<Channel>,
    /// What bubblewrap says on its standard error.
    said: Option<OwnedFd>,
}

/// The sandbox's.
struct Theirs {
    launcher: Channel,
    inbound: Option<Channel>,
    guard: Option<Channel>,
    says: Option<OwnedFd>,
}

/// The guard's: to the launcher, and to init.
type Guards = (Channel, Channel);

/// All that the processes of a run say to each other through.
fn ends(plan: &Plan) -> Result<(Ours, Theirs, Option<Guards>)> {
    let (init, launcher) = Channel::pair()?;
    let inbound = supervise::listen(&plan.network.inbound)?;
    let (ask, answer) = if inbound.is_empty() { None } else { Some(Channel::pair()?) }.unzip();
    let guard = if guard::is_needed(plan) { Some((Channel::pair()?, Channel::pair()?)) } else { None };
    let (to_guard, to_us, to_init, from_init) = match guard {
        None => (None, None, None, None),
        Some(((ours, launcher), (theirs, init))) => (Some(ours), Some(launcher), Some(init), Some(theirs)),
    };
    let (said, says) = plan.bwrap.as_ref().map(|_| pipe()).transpose()?.unzip();
    let ours = Ours { init, inbound, ask, guard: to_guard, said };
    let theirs = Theirs { launcher, inbound: answer, guard: from_init, says };
    Ok((ours, theirs, to_us.zip(to_init)))
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|e| refused("make a pipe", e))
}

fn refused(what: &str, errno: Errno) -> Failure {
    Failure::new(format!("cannot {what}")).errno(errno.raw_os_error())
}

/// Carries the plan out; returns the exit status of the command.
///
/// `arguments` is the number of fence's own argv words, which init wipes from its memory.
pub fn run(
    plan: &Plan,
    filter: &[Instruction],
    arguments: usize,
    host: Host,
    mut steps: Steps,
) -> Result<u8> {
    let announcement = host.monitor.as_ref().map(Monitor::announcement).transpose();
    let announcement = announcement.map_err(|e| refused("look at the monitor's counters", e))?;
    let (ours, theirs, guards) = ends(plan)?;
    // Before the fork, so that no signal falls between: the child's mask starts as this one.
    let mask = signal::block_all();
    signal::default_sigchld();
    // The second process of bubblewrap's waits for ever for a first one that ends before it has said go.
    let spare = if plan.owns_pids() && plan.bwrap.is_none() { None } else { Some(tree::adopt()?) };
    // bubblewrap makes the namespaces itself.
    let namespaces = if plan.bwrap.is_some() { 0 } else { plan.namespaces };
    match fork_into(namespaces) {
        Err(e) => {
            signal::restore(&mask);
            Err(refused("create namespaces for the sandbox", e).unavailable())
        }
        Ok(Fork::Child) => {
            drop((ours, guards, host));
            let stage = apply::Stage {
                plan,
                filter,
                arguments,
                mask,
                parent: theirs.launcher,
                inbound: theirs.inbound,
                announcement,
                guard: theirs.guard,
                outside: None,
                steps: steps.fork("init"),
            };
            match plan.bwrap.as_ref().zip(theirs.says) {
                Some((bwrap, says)) => apply::bwrap::exec(stage, bwrap, says),
                None => apply::init(stage),
            }
        }
        Ok(Fork::Parent(init)) => {
            drop(theirs);
            steps.mark("clone");
            let status = beside(init, plan, (ours, guards), host, spare, &mut steps);
            signal::restore(&mask);
            steps.mark("wait");
            steps.print();
            status
        }
    }
}

/// What the launcher does while the sandbox with this init lives, and after it.
fn beside(
    init: Pid,
    plan: &Plan,
    (ours, guards): (Ours, Option<Guards>),
    host: Host,
    mut spare: Option<Vec<Pid>>,
    steps: &mut Steps,
) -> Result<u8> {
    let Host { proxies, monitor, watch: watcher, log } = host;
    // Before any thread is started: it is a fork.
    let guard = match guards {
        None => None,
        Some((launcher, inside)) => Some(match fork_into(0).map_err(guard::not_started)? {
            // What this side holds is closed there.
            Fork::Child => guard::run(plan, &log, guard::Ends { launcher, inside, init }),
            Fork::Parent(pid) => pid,
        }),
    };
    spare.iter_mut().for_each(|spare| spare.extend(guard));
    steps.mark("guard");
    let watching = monitor.and_then(|monitor| watch(monitor, plan, &log));
    let mut supervisor = Supervisor::new(plan, log, proxies, ours.inbound, ours.ask).watching(watcher);
    let end = wait::until_end(init, &ours.init, plan.new_session, &mut supervisor);
    let status = end.and_then(|(status, told)| told.status(status, ours.said));
    // Init does this by itself, unless somebody killed it.
    spare.iter().for_each(|spare| tree::end(spare));
    supervisor.finish();
    plan.scratch.iter().for_each(|path| _ = std::fs::remove_dir_all(path));
    drop(ours.guard);
    _ = watching.map(Watching::end);
    let guarded = guard.map_or(Ok(()), guard::end);
    status.and_then(|status| guarded.map(|()| status))
}

fn watch(monitor: Monitor, plan: &Plan, log: &Arc<Log>) -> Option<Watching> {
    let watching = monitor.watch(Advisor::new(plan), log.clone());
    watching.inspect_err(|why| log.warn(&format!("cannot start the monitor's thread: {why}"))).ok()
}
