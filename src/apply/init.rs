//! Init of the sandbox's PID namespace: starts the command, reaps, passes signals on, ends with the command's status.

use super::{Stage, die_with_parent, failed, listen, payload, privileges};
use crate::error::Result;
use crate::launch::message::{Channel, Message};
use crate::sys::process;
use crate::sys::signal::{self, Signals};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions, getpid, wait};

/// A command that runs, and init's own signals.
pub(super) struct Started {
    pid: Pid,
    signals: Signals,
}

/// Starts the command: its own last steps, then exec. Until then init stands still.
pub(super) fn start(stage: &mut Stage<'_>) -> Result<Started> {
    let signals = Signals::new().map_err(|e| failed("create a signalfd", e))?;
    // Ctrl-C reaches the whole process group, but the command is not in it yet.
    let early: Vec<i32> =
        std::iter::from_fn(|| signals.next()).filter(|s| s.from_kernel).map(|s| s.number).collect();
    let mut steps = stage.steps.fork("child");
    let init = getpid();
    // The supervisor has to read what is to be executed, and nobody may look into init: then a memory of its own.
    let pid = process::spawn(stage.plan.exec.is_none(), &mut || {
        let failure = payload::exec(stage, init, &mut steps);
        stage.parent.send(&Message::Failed(failure.clone()));
        failure.status
    })
    .map_err(|e| failed("start the command's process", e))?;
    early.iter().for_each(|number| _ = signal::send(pid, *number));
    privileges::drop_for_init(stage.plan.init_capabilities)?;
    if stage.plan.owns_pids() {
        die_with_parent(stage)?;
    }
    stage.steps.mark("init ready");
    stage.steps.print();
    Ok(Started { pid, signals })
}

/// Until the command ends. When init ends, the kernel kills all that is left in the namespace.
pub(super) fn run(
    command: Started,
    parent: &Channel,
    inbound: Option<&Channel>,
    guard: Option<&Channel>,
) -> u8 {
    let mut inbound = inbound;
    loop {
        let mut fds = vec![PollFd::new(&command.signals, PollFlags::IN), PollFd::new(parent, PollFlags::IN)];
        fds.extend(inbound.into_iter().chain(guard).map(|channel| PollFd::new(channel, PollFlags::IN)));
        _ = poll(&mut fds, None);
        match inbound.and_then(Channel::receive) {
            Some(Message::Connect(port)) => _ = inbound.map(|channel| listen::connect_inside(port, channel)),
            Some(Message::Gone) => inbound = None,
            _ => {}
        }
        // What the guard keeps would be open from now on.
        if guard.is_some_and(|guard| guard.receive() == Some(Message::Gone)) {
            return 128 + libc::SIGKILL as u8;
        }
        match parent.receive() {
            Some(Message::Signal(number)) => _ = signal::send(command.pid, number),
            Some(Message::Gone) => return 128 + libc::SIGKILL as u8,
            _ => {}
        }
        // Signals wake init; what matters is which children changed.
        while command.signals.next().is_some() {}
        if let Some(status) = reap(command.pid, parent) {
            return status;
        }
    }
}

/// Takes every child that ended or stopped; the exit status once the command itself has ended.
fn reap(command: Pid, parent: &Channel) -> Option<u8> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
        if pid != command {
            continue;
        }
        if let Some(number) = status.stopping_signal() {
            parent.send(&Message::Stopped(number));
            continue;
        }
        let killed = status.terminating_signal().map(|n| 128 + n);
        return Some(status.exit_status().or(killed).unwrap_or(255) as u8);
    }
    None
}
