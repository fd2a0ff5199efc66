//! Sockets that listen in the sandbox's network namespace and are the parent's to accept on: a socket stays in the namespace
//! that made it, whoever holds it. So nothing runs in the sandbox, and nothing listens on the host.

use super::failed;
use crate::error::{Failure, Result};
use crate::launch::message::{Channel, Message};
use crate::plan::net::{Listener, Purpose};
use rustix::io::Errno;
use rustix::net::sockopt::{self, set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use rustix::net::{SocketFlags, SocketType, bind, connect, listen, socket_with};
use std::os::fd::{AsFd, OwnedFd};

/// Makes the sockets and sends them to the launcher.
pub(super) fn hand_over(listeners: &[Listener], parent: &Channel) -> Result<()> {
    if listeners.is_empty() {
        return Ok(());
    }
    let made: Vec<OwnedFd> = listeners.iter().map(make).collect::<Result<_>>()?;
    for chunk in made.chunks(crate::launch::message::MOST_DESCRIPTORS) {
        parent.send_with(&Message::Listening, &chunk.iter().map(AsFd::as_fd).collect::<Vec<_>>());
    }
    Ok(())
}

fn make(listener: &Listener) -> Result<OwnedFd> {
    let made = match both_families(listener) {
        // The host has IPv6 switched off.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => old_family(listener),
        other => other,
    };
    made.map_err(|errno| -> Failure {
        let failure = failed(&format!("listen on port {} of the sandbox", listener.port), errno);
        match errno {
            Errno::ACCESS => {
                failure.hint("that takes CAP_NET_BIND_SERVICE; run fence as an ordinary user, or with it")
            }
            _ => failure,
        }
    })
}

/// One socket for 127.0.0.1 and ::1. The namespace has nothing but a loopback device, so the wildcard address is no more
/// than that.
fn both_families(listener: &Listener) -> std::result::Result<OwnedFd, Errno> {
    let socket = open(listener, AddressFamily::INET6)?;
    set_ipv6_v6only(&socket, false)?;
    finish(socket, listener, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, listener.port, 0, 0).into())
}

fn old_family(listener: &Listener) -> std::result::Result<OwnedFd, Errno> {
    let socket = open(listener, AddressFamily::INET)?;
    finish(socket, listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.port).into())
}

fn open(listener: &Listener, family: AddressFamily) -> std::result::Result<OwnedFd, Errno> {
    let kind = if listener.purpose == Purpose::Dns { SocketType::DGRAM } else { SocketType::STREAM };
    // Not blocking, for the launcher: a client that left again must not make it wait in accept.
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}

fn finish(socket: OwnedFd, listener: &Listener, address: &SocketAddr) -> std::result::Result<OwnedFd, Errno> {
    bind(&socket, address)?;
    if listener.purpose != Purpose::Dns {
        listen(&socket, 4096)?;
    }
    Ok(socket)
}

/// Answers the launcher, which has a connection from the host for a port inside: a socket of this namespace, connected or
/// about to be. The kernel answers for its own loopback at once.
pub(super) fn connect_inside(port: u16, launcher: &Channel) {
    let v4 = || SocketAddr::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let v6 = || SocketAddr::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0));
    match dial(AddressFamily::INET, &v4()).or_else(|_| dial(AddressFamily::INET6, &v6())) {
        Ok(socket) => launcher.send_with(&Message::Connected(0), &[socket.as_fd()]),
        Err(errno) => launcher.send(&Message::Connected(errno.raw_os_error())),
    }
}

fn dial(family: AddressFamily, address: &SocketAddr) -> std::result::Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, address) {
        // Nobody listens, and the loopback has said so by now: the other family has its turn.
        Ok(()) | Err(Errno::INPROGRESS) => sockopt::socket_error(&socket)?.map(|()| socket),
        Err(errno) => Err(errno),
    }
}
