//! The parent's side of the network while the command runs. Everything starts when somebody first asks for it: a command that
//! opens no connection costs no thread.

mod host;
mod inside;

pub use host::{inbound, proxies};
pub use inside::Inside;

use crate::cli::ExposePort;
use crate::launch::message::Channel;
use crate::log::Log;
use crate::plan::net::{Network, Purpose};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

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
    /// Where denials and errors go.
    pub log: Arc<Log>,
}

/// What the launcher watches for the network.
pub struct Supervisor {
    /// None once its thread runs.
    service: Option<Service>,
}

impl Supervisor {
    /// Nobody has asked for anything yet. `proxies` are the sockets of [`proxies`], `inbound` those of [`inbound`].
    pub fn new(
        network: &Network,
        log: Arc<Log>,
        proxies: Vec<OwnedFd>,
        inbound: Vec<OwnedFd>,
        ask: Option<Channel>,
    ) -> Supervisor {
        let purposes = [Purpose::Http, Purpose::Socks].into_iter();
        let service = Service {
            listeners: purposes.zip(proxies).map(|(purpose, fd)| (purpose, 0, fd)).collect(),
            inbound: network.inbound.iter().copied().zip(inbound).collect(),
            inside: ask.map(Inside::new),
            network: network.clone(),
            log,
        };
        Supervisor { service: Some(service) }
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
        let started = std::thread::Builder::new().name("network".into()).spawn(move || serve(service));
        if let Err(why) = started {
            log.warn(&format!("cannot start the thread of the proxies: {why}; connections are refused"));
        }
    }
}

/// Serves until the process ends. Every connection is closed at once: there are no proxies yet.
fn serve(service: Service) {
    loop {
        let fds =
            service.listeners.iter().map(|(_, _, fd)| fd).chain(service.inbound.iter().map(|(_, fd)| fd));
        let mut fds: Vec<_> =
            fds.map(|fd| rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)).collect();
        _ = rustix::event::poll(&mut fds, None);
        drop(fds);
        for (_, _, fd) in &service.listeners {
            _ = rustix::net::accept(fd);
            _ = rustix::net::recv(fd, &mut [0u8; 1], rustix::net::RecvFlags::DONTWAIT);
        }
        for (_, fd) in &service.inbound {
            _ = rustix::net::accept(fd);
        }
    }
}
