//! The launcher's life while the command runs: signals in, job control, the end.

use super::message::{Channel, Message};
use crate::error::{Failure, Result};
use crate::supervise::Supervisor;
use crate::sys::signal::{self, Signals, Taken};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// Waits until init is gone. All signals must be blocked.
///
/// Signals that a process sent to fence go on to the command. What the kernel sent (Ctrl-C) reached the command too,
/// which is in the same process group, unless it has a session of its own.
pub(super) fn until_end(
    init: Pid,
    channel: &Channel,
    own_session: bool,
    supervisor: &mut Supervisor,
) -> Result<u8> {
    let signals =
        Signals::new().map_err(|e| Failure::new("cannot create a signalfd").errno(e.raw_os_error()))?;
    let foreground = tcgetpgrp(rustix::stdio::stdin()).ok();
    let mut failure = None;
    let mut gone = false;
    let status = loop {
        let mut fds = vec![PollFd::new(&signals, PollFlags::IN)];
        if !gone {
            fds.push(PollFd::new(channel, PollFlags::IN));
        }
        let own = fds.len();
        fds.extend(supervisor.watched().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        _ = poll(&mut fds, None);
        let asked = fds[own..].iter().any(|fd| !fd.revents().is_empty());
        drop(fds);
        if asked {
            supervisor.start();
        }
        while let Some((message, descriptors)) = (!gone).then(|| channel.receive_with()).flatten() {
            match message {
                Message::Listening => supervisor.listening(descriptors),
                Message::Failed(why) => failure = Some(why),
                Message::Stopped(_) => stop_too(channel),
                Message::Gone => gone = true,
                Message::Signal(_) | Message::Connect(_) | Message::Connected(_) => {}
            }
        }
        if let Some(status) = next_signal(&signals, init, channel, own_session) {
            break status;
        }
    };
    while let Some(Message::Failed(why)) = channel.receive() {
        failure = Some(why);
    }
    // A shell inside may have made its own process group the terminal's: give the terminal back.
    if let Some(group) = foreground.filter(|group| *group == rustix::process::getpgrp()) {
        _ = tcsetpgrp(rustix::stdio::stdin(), group);
    }
    failure.map_or(Ok(status), Err)
}

/// Takes all waiting signals; the exit status when init is gone.
fn next_signal(signals: &Signals, init: Pid, channel: &Channel, own_session: bool) -> Option<u8> {
    while let Some(Taken { number, from_kernel }) = signals.next() {
        match number {
            libc::SIGCHLD => {
                if let Ok(Some((_, status))) = waitpid(Some(init), WaitOptions::NOHANG) {
                    let killed = status.terminating_signal().map(|n| 128 + n);
                    return Some(status.exit_status().or(killed).unwrap_or(255) as u8);
                }
            }
            _ if from_kernel && !own_session => {}
            _ => channel.send(&Message::Signal(number)),
        }
    }
    None
}

/// The command was stopped (Ctrl-Z): so is fence, and the caller's shell takes the terminal back. When fence goes on,
/// the command does.
fn stop_too(channel: &Channel) {
    _ = signal::send(getpid(), libc::SIGSTOP);
    channel.send(&Message::Signal(libc::SIGCONT));
}
