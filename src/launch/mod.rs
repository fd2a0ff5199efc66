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
    let announcement =
        host.monitor.as_ref().map(Monitor::announcement).transpose().map_err(|errno| {
            Failure::new("cannot look at the monitor's counters").errno(errno.raw_os_error())
        })?;
    let (ours, theirs) = Channel::pair()?;
    let inbound = supervise::listen(&plan.network.inbound)?;
    let inside = if inbound.is_empty() { None } else { Some(Channel::pair()?) };
    let (ask, answer) = inside.unzip();
    let guard = if guard::is_needed(plan) { Some((Channel::pair()?, Channel::pair()?)) } else { None };
    let (guard_and_us, guard_and_init) = guard.unzip();
    let (to_guard, guard_to_us) = guard_and_us.unzip();
    let (init_to_guard, guard_to_init) = guard_and_init.unzip();
    // Before the fork, so that no signal falls between: the child's mask starts as this one.
    let mask = signal::block_all();
    signal::default_sigchld();
    let mut spare = match plan.owns_pids() {
        true => None,
        false => Some(
            tree::adopt().map_err(|e| Failure::new("cannot become a sub-reaper").errno(e.raw_os_error()))?,
        ),
    };
    // bubblewrap makes them, and says on its standard error what it can't.
    let pipe =
        || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK);
    let (said, says) = match &plan.bwrap {
        None => (None, None),
        Some(_) => {
            let (read, write) =
                pipe().map_err(|e| Failure::new("cannot make a pipe").errno(e.raw_os_error()))?;
            (Some(read), Some(write))
        }
    };
    let forked = fork_into(if plan.bwrap.is_some() { 0 } else { plan.namespaces }).map_err(|errno| {
        signal::restore(&mask);
        Failure::new("cannot create namespaces for the sandbox").errno(errno.raw_os_error()).unavailable()
    });
    match forked? {
        Fork::Child => {
            drop((ours, ask, inbound, host, to_guard, guard_to_us, guard_to_init));
            let stage = apply::Stage {
                plan,
                filter,
                arguments,
                mask,
                parent: theirs,
                inbound: answer,
                announcement,
                guard: init_to_guard,
                outside: None,
                steps: steps.fork("init"),
            };
            match plan.bwrap.as_ref().zip(says) {
                Some((bwrap, says)) => apply::bwrap::exec(stage, bwrap, says),
                None => apply::init(stage),
            }
        }
        Fork::Parent(init) => {
            drop((theirs, answer, init_to_guard, says));
            steps.mark("clone");
            let Host { proxies, monitor, watch: watcher, log } = host;
            // Before any thread is started: it is a fork.
            let guard = match guard_to_us.zip(guard_to_init) {
                None => None,
                Some((us, inside)) => Some(match fork_into(0).map_err(guard::not_started)? {
                    // What this side holds is closed there.
                    Fork::Child => guard::run(plan, &log, guard::Ends { launcher: us, inside, init }),
                    Fork::Parent(pid) => pid,
                }),
            };
            spare.iter_mut().for_each(|spare| spare.extend(guard));
            steps.mark("guard");
            let watching = monitor.and_then(|monitor| watch(monitor, plan, &log));
            let mut supervisor = Supervisor::new(plan, log, proxies, inbound, ask).watching(watcher);
            let mut built = said.is_none();
            let status = wait::until_end(init, &ours, plan.new_session, &mut supervisor, &mut built);
            let status = match said {
                Some(said) if !built => status.and_then(|_| Err(apply::bwrap::failed_to_build(said))),
                _ => status,
            };
            // Init does this by itself, unless somebody killed it.
            spare.iter().for_each(|spare| tree::end(spare));
            supervisor.finish();
            plan.scratch.iter().for_each(|path| _ = std::fs::remove_dir_all(path));
            // The end of the channel tells the guard that nothing runs any more.
            drop(to_guard);
            _ = watching.map(Watching::end);
            let guarded = guard.map_or(Ok(()), guard::end);
            let status = status.and_then(|status| guarded.map(|()| status));
            signal::restore(&mask);
            steps.mark("wait");
            steps.print();
            status
        }
    }
}

fn watch(monitor: Monitor, plan: &Plan, log: &Arc<Log>) -> Option<Watching> {
    let watching = monitor.watch(Advisor::new(plan), log.clone());
    watching.inspect_err(|why| log.warn(&format!("cannot start the monitor's thread: {why}"))).ok()
}
