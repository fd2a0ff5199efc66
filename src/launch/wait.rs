//! The launcher's life while the command runs: signals in, job control, the end.

use super::message::{Channel, Message};
use crate::apply::bwrap::failed_to_build;
use crate::error::{Failure, Result};
use crate::supervise::Supervisor;
use crate::sys::signal::{self, Signals, Taken};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, getpid, pidfd_open, waitpid};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use std::os::fd::OwnedFd;

/// What the sandbox has told, one message after the other.
#[derive(Default)]
pub(super) struct Told {
    /// Why the command did not run, or why the sandbox was given up.
    failure: Option<Failure>,
    /// fence was started inside by bubblewrap, so that one had made the sandbox.
    built: bool,
    /// Nothing more comes.
    gone: bool,
}

impl Told {
    fn next(&mut self, channel: &Channel) -> Option<(Message, Vec<OwnedFd>)> {
        let (message, descriptors) = (!self.gone).then(|| channel.receive_with()).flatten()?;
        match &message {
            Message::Failed(why) => self.failure = Some(why.clone()),
            Message::Built => self.built = true,
            Message::Gone => self.gone = true,
            _ => {}
        }
        Some((message, descriptors))
    }

    /// The exit status, unless something failed. `said`: bubblewrap's standard error, where that one makes the sandbox.
    pub(super) fn status(self, status: u8, said: Option<OwnedFd>) -> Result<u8> {
        match (self.failure, said) {
            (Some(failure), _) => Err(failure),
            (None, Some(said)) if !self.built => Err(failed_to_build(said)),
            _ => Ok(status),
        }
    }
}

/// Waits until init is gone: its exit status, and what was told. All signals must be blocked.
///
/// Signals that a process sent to fence go on to the command. What the kernel sent (Ctrl-C) reached the command too,
/// which is in the same process group, unless it has a session of its own.
pub(super) fn until_end(
    init: Pid,
    channel: &Channel,
    own_session: bool,
    supervisor: &mut Supervisor,
) -> Result<(u8, Told)> {
    let failed = |what: &str, e: Errno| {
        // Nobody would watch it.
        _ = signal::send(init, libc::SIGKILL);
        Failure::new(format!("cannot {what}")).errno(e.raw_os_error())
    };
    // A tracer's SIGCHLD goes to the whole process, so the supervisor's thread alone takes it, and all signals with it.
    let end = supervisor.judges().then(|| pidfd_open(init, PidfdFlags::empty())).transpose();
    let end = end.map_err(|e| failed("watch the sandbox's init", e))?;
    let mut signals = Signals::new().map_err(|e| failed("create a signalfd", e))?;
    let foreground = tcgetpgrp(rustix::stdio::stdin()).ok();
    let mut told = Told::default();
    let status = loop {
        let mut fds = vec![PollFd::new(&signals, PollFlags::IN)];
        if !told.gone {
            fds.push(PollFd::new(channel, PollFlags::IN));
        }
        fds.extend(end.iter().map(|end| PollFd::new(end, PollFlags::IN)));
        let own = fds.len();
        fds.extend(supervisor.watched().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        _ = poll(&mut fds, None);
        let asked = fds[own..].iter().any(|fd| !fd.revents().is_empty());
        drop(fds);
        while let Some((message, descriptors)) = told.next(channel) {
            match message {
                Message::Listening => supervisor.listening(descriptors),
                Message::Asking => signals = supervisor.asked(descriptors).unwrap_or(signals),
                Message::Stopped(_) => stop_too(channel),
                _ => {}
            }
        }
        // Only now: when the command asks, all datagrams with its sockets are here, but maybe not all were received yet.
        if asked {
            supervisor.start();
        }
        if let Some(status) = next_signal(&signals, init, channel, own_session) {
            break status;
        }
        if let Some(status) = end.as_ref().and_then(|_| ended(init)) {
            break status;
        }
    };
    while told.next(channel).is_some() {}
    // A shell inside may have made its own process group the terminal's: give the terminal back.
    if let Some(group) = foreground.filter(|group| *group == rustix::process::getpgrp()) {
        _ = tcsetpgrp(rustix::stdio::stdin(), group);
    }
    Ok((status, told))
}

/// Takes all waiting signals; the exit status when init is gone.
fn next_signal(signals: &Signals, init: Pid, channel: &Channel, own_session: bool) -> Option<u8> {
    while let Some(Taken { number, from_kernel }) = signals.next() {
        match number {
            libc::SIGCHLD => {
                if let Some(status) = ended(init) {
                    return Some(status);
                }
            }
            _ if from_kernel && !own_session => {}
            _ => channel.send(&Message::Signal(number)),
        }
    }
    None
}

/// The exit status of a process that ended.
fn ended(init: Pid) -> Option<u8> {
    let (_, status) = waitpid(Some(init), WaitOptions::NOHANG).ok()??;
    let killed = status.terminating_signal().map(|n| 128 + n);
    Some(status.exit_status().or(killed).unwrap_or(255) as u8)
}

/// The command was stopped (Ctrl-Z): so is fence, and the caller's shell takes the terminal back. When fence goes on,
/// the command does.
fn stop_too(channel: &Channel) {
    _ = signal::send(getpid(), libc::SIGSTOP);
    channel.send(&Message::Signal(libc::SIGCONT));
}
