//! `fence supervise`: judges what runs under the filter of a `fence seccomp --notify-fd`.

use crate::apply;
use crate::cli::{Run, SuperviseCommand};
use crate::config::{self, Env};
use crate::error::{Failure, Result, STATUS_FENCE};
use crate::launch::message::{Channel, Message};
use crate::log::Log;
use crate::plan::exec;
use crate::probe::host;
use crate::supervise::ExecSupervisor;
use crate::sys::{process, signal, thread};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Runs the command with a socket at `--notify-fd`, or takes the inherited socket; answers until the command has ended, or
/// nobody is left who could ask.
///
/// # Errors
/// No policy, no listener, a host where exec can't be judged.
pub fn run(command: &SuperviseCommand) -> Result<u8> {
    // Before anything else is opened, which might get the number.
    let socket = if command.command.is_empty() {
        Channel::inherited(command.notify_fd)?
    } else {
        Channel::pair_with(command.notify_fd)?
    };
    let env = Env::of_process()?;
    let run = Run::default();
    let log = Arc::new(Log::open(&run)?);
    let mut policy =
        config::load(command.settings.as_deref(), command.template.as_deref(), &env, false)?.policy;
    policy.command.runtime_exec_policy = "argv".into();
    let facts = host::look(&policy, &run, &env.cwd, env.home.as_deref(), &[])?;
    let planned = exec::by_arguments(&policy, &run, &facts)?;
    let policy = planned.exec.ok_or_else(|| Failure::new("cannot supervise: exec can't be judged here"))?;
    let child = if command.command.is_empty() { None } else { Some(start(command)?) };
    let listener = Arc::new(listener(&socket, child)?);
    signal::block_children();
    let supervisor = ExecSupervisor::new(listener, policy, None, log);
    let serve = move || {
        supervisor.run(None).map_err(|e| Failure::new("cannot watch processes").errno(e.raw_os_error()))
    };
    let Some(child) = child else { return serve().map(|()| 0) };
    // On another thread, which sees none of this one's children. The child's own stops are that thread's: to wait for the
    // child here before its end would take them away.
    _ = thread::start(c"supervise", Box::new(move || _ = serve()));
    let end = pidfd_open(child, PidfdFlags::empty()).ok();
    while let Some(end) = &end
        && poll(&mut [PollFd::new(end, PollFlags::IN)], None).is_err()
    {}
    let ended = waitpid(Some(child), WaitOptions::empty()).ok().flatten();
    let status = ended.and_then(|(_, status)| {
        status.exit_status().or(status.terminating_signal().map(|number| 128 + number))
    });
    Ok(status.unwrap_or(255) as u8)
}

fn start(command: &SuperviseCommand) -> Result<Pid> {
    let mut failure = None;
    let started = process::spawn(true, &mut || {
        // Memory is shared until the exec: what is put here is seen by the parent.
        failure = Some(apply::exec_here(&command.command));
        STATUS_FENCE
    });
    let pid = started.map_err(|e| Failure::new("cannot start a process").errno(e.raw_os_error()))?;
    failure.map_or(Ok(pid), Err)
}

/// What comes over the socket.
fn listener(socket: &Channel, child: Option<Pid>) -> Result<OwnedFd> {
    loop {
        socket.wait(1);
        let ended =
            child.is_some_and(|child| matches!(waitpid(Some(child), WaitOptions::NOHANG), Ok(Some(_))));
        match socket.receive_with() {
            Some((Message::Asking, mut descriptors)) if !descriptors.is_empty() => {
                return Ok(descriptors.remove(0));
            }
            Some((Message::Gone, _)) => break,
            _ if ended => break,
            _ => {}
        }
    }
    Err(Failure::new("nobody sent a listener")
        .hint("write fence supervise -- fence seccomp --notify-fd 3 -- COMMAND"))
}
