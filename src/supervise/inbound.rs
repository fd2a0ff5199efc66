//! Ports that pass as they are: `--port` from the host into the sandbox, `allowLocalOutboundPorts` from the sandbox to the
//! host's loopback.

use super::Inside;
use super::dial::first_of;
use super::net::Net;
use super::reactor::{Io, Result, Way};
use super::relay::{reset, tunnel};
use crate::error::describe;
use rustix::net::sockopt::socket_error;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

/// A client of the host's, for a port inside.
pub async fn inwards(net: Rc<Net>, client: Io, inside: Rc<Inside>, port: u16) {
    let server = match inside.connect(port) {
        Ok(fd) => Io::new(&net.reactor, fd, true),
        Err(errno) => Err(errno),
    };
    let server = match server {
        Ok(server) => {
            server.ready(Way::Write).await;
            socket_error(&server).and_then(|answer| answer).map(|()| server)
        }
        Err(errno) => Err(errno),
    };
    join(net, client, server, true, &format!("port {port} of the sandbox")).await;
}

/// A client in the sandbox, for a port of the host's loopback.
pub async fn outwards(net: Rc<Net>, client: Io, port: u16) {
    let mut server = first_of(&net, vec![Ipv4Addr::LOCALHOST.into()], port).await;
    if server.is_err() {
        server = first_of(&net, vec![Ipv6Addr::LOCALHOST.into()], port).await;
    }
    join(net, client, server, false, &format!("port {port} of the host's loopback")).await;
}

async fn join(net: Rc<Net>, client: Io, server: Result<Io>, inwards: bool, place: &str) {
    match server {
        Ok(server) => {
            super::dial::eager(&server);
            let (sandbox, host) = if inwards { (&server, &client) } else { (&client, &server) };
            _ = tunnel(&net.pipes, sandbox, host).await;
        }
        Err(errno) => {
            net.log.debug("fence", &format!("cannot connect to {place}: {}", describe(errno.raw_os_error())));
            // As nobody listening would have looked, as far as that can still be.
            reset(&client);
        }
    }
}
