//! Judges every exec inside: a seccomp listener says what is asked for, ptrace shows what came of it.
//!
//! What the caller's memory says can be changed by another thread after it was judged, since the kernel reads it again. So a
//! caller that may go on is traced first, and the new program is judged once more at the exec stop, where it is in place and
//! has run no instruction; another one than was judged is killed there.
//!
//! ```text
//! request ─ read, find, judge ─┬ denied: EPERM
//!                              └ seize, ask for a stop, go on ─┬ exec stop: judge what is there, let go or kill
//!                                                              └ other stop: the exec failed, let go
//! ```
//!
//! One thread does all of it, since only the tracer may speak to who it traces. From 5.19 a request that was received is
//! disturbed by fatal signals only, so the stop can be asked for first. Before, that would interrupt the request over and over:
//! there the stop is asked for after the answer, and a request of a thread that is traced already is judged again.

mod judge;
mod request;
mod resolve;

pub use request::errno;

use crate::log::Log;
use crate::map::Map;
use crate::monitor::event::{Event, Layer, Outcome, Subject};
use crate::plan::exec::Exec;
use crate::rules::exec::Denial;
use crate::sys::notify::{self, Notification};
use crate::sys::ptrace::{self, Stop};
use crate::sys::signal::{self, Relay, Signals};
use judge::{Expected, Judged};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Pid;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// The tracer and its state. Lives on the one thread that runs it.
pub struct ExecSupervisor {
    listener: Arc<OwnedFd>,
    policy: Exec,
    /// Answers what is no exec: a process can have one listener only.
    other: Option<Box<dyn Fn(Notification) + Send>>,
    log: Arc<Log>,
    /// Who goes on with an exec, by thread, and what it was judged as.
    traced: Map<u32, Expected>,
    /// Requests of thread groups in which another thread goes on with an exec. To trace one would wait for that exec, which
    /// may wait for us.
    held: Vec<Notification>,
    /// The last denial that was reported.
    last: Option<(u32, String)>,
}

impl ExecSupervisor {
    /// For the thread that will run it. SIGCHLD must be blocked there, and read by nobody else.
    ///
    /// Calls that are no exec go to `other`, which must answer each; without it they are refused.
    pub fn new(
        listener: Arc<OwnedFd>,
        policy: Exec,
        other: Option<Box<dyn Fn(Notification) + Send>>,
        log: Arc<Log>,
    ) -> ExecSupervisor {
        ExecSupervisor { listener, policy, other, log, traced: Map::new(), held: Vec::new(), last: None }
    }

    /// Until nobody is left who could ask. With `relay` it reads all signals of the process, passes on what is not SIGCHLD, and
    /// goes on with that for ever.
    ///
    /// # Errors
    /// No signalfd.
    pub fn run(mut self, relay: Option<Relay>) -> Result<(), Errno> {
        let signals = if relay.is_some() { Signals::new() } else { Signals::of_children() }?;
        notify::wake_here(self.listener.as_fd());
        loop {
            let mut fds = [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
            _ = poll(&mut fds, None);
            let [asked, changed] = [fds[0].revents(), fds[1].revents()];
            if !changed.is_empty() {
                // Before the look at who changed: what comes later makes a new signal.
                signals.pass_on(relay.as_ref());
                self.reap();
            }
            if asked.contains(PollFlags::IN) {
                if let Ok(call) = notify::receive(self.listener.as_fd()) {
                    match &self.other {
                        _ if request::is_exec(&call) => self.answer(call),
                        Some(other) => other(call),
                        None => _ = notify::refuse(self.listener.as_fd(), call.id, Errno::PERM),
                    }
                }
            } else if asked.intersects(PollFlags::HUP | PollFlags::ERR) {
                if self.traced.is_empty() && relay.is_none() {
                    return Ok(());
                }
                // Nobody asks any more, so the end of who is traced is all that can come.
                _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
            }
        }
    }

    fn answer(&mut self, call: Notification) {
        if !self.traced.contains_key(&call.tid) && self.traced.keys().any(|tid| same_group(*tid, call.tid)) {
            self.held.push(call);
            return;
        }
        let judged = judge::before(&call, &self.policy);
        // What was read is of this caller only if it still waits.
        if !notify::is_valid(self.listener.as_fd(), call.id) {
            return;
        }
        let refusal = match judged {
            Judged::Fails(errno) => Some(errno),
            Judged::Denied(denial) => {
                self.refused(&denial, &call);
                Some(Errno::PERM)
            }
            Judged::Passes(expected) => match self.let_go_on(&call, expected) {
                Ok(()) | Err(Errno::SRCH) => None,
                // Killed meanwhile.
                Err(_) if !notify::is_valid(self.listener.as_fd(), call.id) => None,
                Err(errno) => {
                    let path = String::from_utf8_lossy(&judge::path(&call).unwrap_or_default()).into_owned();
                    self.refused(&Denial::for_cause(&path, &[], untraceable(errno)), &call);
                    Some(Errno::PERM)
                }
            },
        };
        if let Some(errno) = refusal {
            _ = notify::refuse(self.listener.as_fd(), call.id, errno);
        }
    }

    fn let_go_on(&mut self, call: &Notification, expected: Expected) -> Result<(), Errno> {
        let tid = call.tid;
        if !self.traced.contains_key(&tid) {
            ptrace::seize(tid)?;
        }
        self.traced.insert(tid, expected);
        if self.policy.killable {
            ptrace::interrupt(tid)?;
        }
        // A caller that is gone meanwhile shows as an end or as a stop.
        _ = notify::go_on(self.listener.as_fd(), call.id);
        if !self.policy.killable {
            _ = ptrace::interrupt(tid);
        }
        Ok(())
    }

    /// Takes every stop and end, then what was held back for them.
    fn reap(&mut self) {
        let mut over = false;
        while let Some((tid, stop)) = ptrace::wait() {
            match stop {
                Stop::Signal(number) => _ = ptrace::go_on(tid, number),
                Stop::Ended => over |= self.traced.remove(&tid).is_some(),
                Stop::Interrupted => {
                    // The exec failed, or has not begun: then it asks again.
                    over |= self.traced.remove(&tid).is_some();
                    _ = ptrace::detach(tid);
                }
                Stop::Exec => {
                    over = true;
                    self.verify(tid);
                }
            }
        }
        if over {
            for call in std::mem::take(&mut self.held) {
                self.answer(call);
            }
        }
    }

    /// A new program is in place: lets it go, or kills it.
    fn verify(&mut self, tid: u32) {
        // A thread that is not its group's leader takes the leader's number over.
        let caller = ptrace::former_tid(tid).unwrap_or(tid);
        let expected = self.traced.remove(&caller);
        self.traced.remove(&tid);
        let denial = match &expected {
            Some(expected) => judge::after(tid, expected, &self.policy),
            None => Some(Denial::for_cause("?", &[], "it was executed without a verdict")),
        };
        match denial {
            None => _ = ptrace::detach(tid),
            Some(denial) => {
                // Only a fatal signal ends the stop: who was killed meanwhile shows nothing of what it was.
                let stopped = ptrace::former_tid(tid).is_some();
                if let Some(pid) = Pid::from_raw(tid as i32) {
                    _ = signal::send(pid, libc::SIGKILL);
                }
                if stopped {
                    self.report(&denial, tid);
                }
            }
        }
    }

    /// A request is about to be answered with EPERM, which the eBPF monitor will see too.
    fn refused(&mut self, denial: &Denial, call: &Notification) {
        self.log.exec_refused(&judge::given(call));
        self.report(denial, call.tid);
    }

    fn report(&mut self, denial: &Denial, pid: u32) {
        // A shell goes on through PATH after a refusal: that is one attempt.
        let this = Some((pid, denial.line.clone()));
        if this == self.last {
            return;
        }
        self.last = this;
        let what = match &denial.cause {
            None => denial.line.clone(),
            Some(cause) => format!("{}: {cause}", denial.line),
        };
        let subject = Subject::Command(denial.line.clone());
        let event =
            Event::new(Layer::Exec, Outcome::Denied, what, subject).process(pid, denial.name.as_str());
        self.log.event(&match &denial.rule {
            Some(rule) => event.rule(rule.as_str()),
            None => event,
        });
    }
}

/// Whether two threads are of one process.
fn same_group(tid: u32, other: u32) -> bool {
    Path::new(&format!("/proc/{tid}/task/{other}")).exists()
}

fn untraceable(errno: Errno) -> String {
    let why = crate::error::describe(errno.raw_os_error());
    format!(
        "the process can't be traced ({why}): another tracer has it, its file may not be read, or kernel.yama.ptrace_scope \
         forbids it; so what it executes can't be verified"
    )
}
