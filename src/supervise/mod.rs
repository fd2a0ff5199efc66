//! The parent's side of the network while the command runs. Everything starts when somebody first asks for it: a command that
//! opens no connection costs no thread.

pub mod broker;
pub mod callers;
pub mod dial;
pub mod dns;
mod exec;
mod host;
pub mod http;
pub mod inbound;
mod inside;
pub mod net;
pub mod reactor;
pub mod relay;
pub mod resolve;
pub mod route;
pub mod socks;
pub mod watch;

#[cfg(test)]
mod tests;

pub use exec::{ExecSupervisor, errno};
pub use host::{listen, proxies};
pub use inside::Inside;

use crate::cli::ExposePort;
use crate::error::{Failure, Result};
use crate::launch::message::Channel;
use crate::log::Log;
use crate::plan::Plan;
use crate::plan::exec::Exec;
use crate::plan::net::{Network, Purpose};
use crate::sys::notify::{self, Notification};
use crate::sys::signal::Signals;
use crate::sys::thread;
use crate::wire::http::Answer;
use callers::Callers;
use net::{Net, accept};
use reactor::{Io, Reactor, Stop};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use watch::Watch;

/// Everything that the thread which serves the network needs.
pub struct Service {
    /// The plan's network part.
    pub network: Network,
    /// Listening sockets for the command, and what each serves. Not blocking.
    pub listeners: Vec<(Purpose, u16, OwnedFd)>,
    /// Listening sockets of the host for ports inside. Not blocking.
    pub inbound: Vec<(ExposePort, OwnedFd)>,
    /// Connects to ports inside, where the plan has any.
    pub inside: Option<Inside>,
    /// The command's connections that the broker made.
    pub callers: Arc<Callers>,
    /// Where denials and errors go.
    pub log: Arc<Log>,
}

/// What the launcher watches for the network.
pub struct Supervisor {
    /// None once its thread runs.
    service: Option<Service>,
    running: Option<(Stop, thread::Thread)>,
    exec: Option<Exec>,
    /// Answers the filter's listener; None once its thread runs.
    watch: Option<Watch>,
    broker: Option<broker::Broker>,
    judges: bool,
    log: Arc<Log>,
}

impl Supervisor {
    /// Nobody has asked for anything yet. `proxies` are the sockets of [`proxies`], `inbound` those of [`listen`].
    pub fn new(
        plan: &Plan,
        log: Arc<Log>,
        proxies: Vec<OwnedFd>,
        inbound: Vec<OwnedFd>,
        ask: Option<Channel>,
    ) -> Supervisor {
        let network = &plan.network;
        let purposes = [Purpose::Http, Purpose::Socks].into_iter();
        let callers = Arc::new(Callers::default());
        let service = Service {
            listeners: purposes.zip(proxies).map(|(purpose, fd)| (purpose, 0, fd)).collect(),
            inbound: network.inbound.iter().copied().zip(inbound).collect(),
            inside: ask.map(Inside::new),
            network: network.clone(),
            callers: callers.clone(),
            log: log.clone(),
        };
        let broker = plan.broker.clone().map(|policy| broker::Broker::new(policy, callers, log.clone()));
        Supervisor {
            service: Some(service),
            running: None,
            exec: plan.exec.clone(),
            watch: None,
            broker,
            judges: plan.asks(),
            log,
        }
    }

    /// A thread answers what the filter asks about, and takes SIGCHLD for the processes that it traces.
    pub fn judges(&self) -> bool {
        self.judges
    }

    /// Who answers the filter's listener about calls that are only shown.
    #[must_use]
    pub fn watching(mut self, watch: Option<Watch>) -> Supervisor {
        self.watch = watch;
        self
    }

    /// The filter's listener, if there can be one: a thread of its own answers. Without it the kernel refuses what is asked
    /// about: the listener is closed. A thread that traces takes the signals of the process; the result is where the others are.
    pub fn asked(&mut self, mut listener: Vec<OwnedFd>) -> Option<Signals> {
        let (watch, broker) = (self.watch.take(), self.broker.take().map(Arc::new));
        let Some(listener) = listener.pop().map(Arc::new) else {
            self.log.warn(
                "what the system call filter refuses can't be shown: another filter has the one listener",
            );
            return None;
        };
        let mut signals = None;
        let serve: Box<dyn FnOnce() + Send> = match (self.judges, watch) {
            (false, None) => return None,
            (false, Some(watch)) => Box::new(move || watch.serve(&listener)),
            (true, watch) => {
                let shared = listener.clone();
                let other = move |call: Notification| match (&broker, &watch) {
                    (Some(broker), _) if broker.takes(&call) => broker.answer(&shared, call),
                    (_, Some(watch)) => watch.answer(shared.as_fd(), &call),
                    _ => _ = notify::refuse(shared.as_fd(), call.id, Errno::PERM),
                };
                let policy = self.exec.clone().unwrap_or_default();
                let supervisor =
                    ExecSupervisor::new(listener, policy, Some(Box::new(other)), self.log.clone());
                let (others, relay) = match Signals::relayed() {
                    Ok(ends) => ends,
                    Err(why) => return self.unanswered(why),
                };
                signals = Some(others);
                Box::new(move || _ = supervisor.run(Some(relay)))
            }
        };
        match thread::start(c"listener", serve) {
            Ok(_) => signals,
            Err(why) => self.unanswered(why),
        }
    }

    fn unanswered(&self, why: Errno) -> Option<Signals> {
        self.log.warn(&format!("cannot start the thread that answers the system call filter: {why}"));
        None
    }

    /// The sockets that the child made, in the plan's order.
    pub fn listening(&mut self, sockets: Vec<OwnedFd>) {
        let Some(service) = &mut self.service else { return };
        let known = service.listeners.len();
        let planned = service.network.listeners.iter().skip(known);
        service.listeners.extend(planned.zip(sockets).map(|(l, fd)| (l.purpose, l.port, fd)));
    }

    /// What to poll for reading until [`start`](Self::start) was called.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let service = self.service.iter();
        service.flat_map(|service| {
            let listeners = service.listeners.iter().map(|(_, _, fd)| fd.as_fd());
            listeners.chain(service.inbound.iter().map(|(_, fd)| fd.as_fd()))
        })
    }

    /// Somebody asks: from now on a thread of its own serves.
    pub fn start(&mut self) {
        let Some(service) = self.service.take() else { return };
        let log = service.log.clone();
        let planned = service.network.listeners.len();
        if service.listeners.len() < planned {
            log.warn(&format!(
                "{} of the sandbox's {planned} ports are not served: fence may not open so many files (ulimit -n)",
                planned - service.listeners.len()
            ));
        }
        let started = Stop::new().and_then(|stop| {
            let ours = stop.clone();
            Ok((stop, thread::start(c"network", Box::new(move || serve(service, ours)))?))
        });
        match started {
            Ok(running) => self.running = Some(running),
            Err(why) => {
                log.warn(&format!("cannot start the thread of the proxies: {why}; connections are refused"));
            }
        }
    }

    /// The sandbox has ended: what it sent last still goes out.
    pub fn finish(&mut self) {
        let mut fds: Vec<_> = self.watched().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let asked = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        drop(fds);
        if asked.is_ok_and(|count| count > 0) {
            self.start();
        }
        if let Some((stop, thread)) = self.running.take() {
            stop.now();
            thread.join();
        }
    }
}

/// The last bytes have so much time.
const GRACE: Duration = Duration::from_millis(500);

/// Serves until `stop`.
fn serve(service: Service, stop: Stop) {
    let log = service.log.clone();
    if let Err(why) = serving(service, stop) {
        log.warn(&format!("cannot start the proxies: {why}; connections are refused"));
    }
}

fn serving(service: Service, stop: Stop) -> Result<()> {
    let cannot = |errno: Errno| Failure::new("cannot watch sockets").errno(errno.raw_os_error());
    let reactor = Reactor::new(stop).map_err(cannot)?;
    let net = Net::of(reactor.clone(), &service.network, service.callers, service.log)?;
    let net = Rc::new(net);
    for (purpose, port, socket) in service.listeners {
        let socket = Io::new(&reactor, socket, false).map_err(cannot)?;
        let net = net.clone();
        match purpose {
            Purpose::Http => {
                let busy = Answer::busy().bytes(false, true);
                reactor.spawn(accept(net, socket, busy, http::serve));
            }
            Purpose::Local => reactor.spawn(accept(net, socket, Vec::new(), move |net, client| {
                inbound::outwards(net, client, port)
            })),
            Purpose::Socks => reactor.spawn(accept(net, socket, Vec::new(), socks::serve)),
            Purpose::Dns => reactor.spawn(dns::datagrams(net, socket)),
            Purpose::DnsTcp => reactor.spawn(accept(net, socket, Vec::new(), dns::stream)),
        }
    }
    let inside = service.inside.map(Rc::new);
    for (port, socket) in service.inbound {
        let Some(inside) = inside.clone() else { continue };
        let socket = Io::new(&reactor, socket, false).map_err(cannot)?;
        reactor.spawn(accept(net.clone(), socket, Vec::new(), move |net, client| {
            inbound::inwards(net, client, inside.clone(), port.port)
        }));
    }
    reactor.run(GRACE, || net.connections.get() == net.pipes.delivered.get());
    Ok(())
}
