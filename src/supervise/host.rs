//! Sockets that listen on the host, made before the fork so that what goes wrong is said before the command starts.

use crate::cli::ExposePort;
use crate::error::{Failure, Result};
use crate::facts::HostProxy;
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// The sockets of `-p`, in order.
///
/// # Errors
/// One that can't be made: the address is in use, or is none of this host's.
pub fn listen(ports: &[ExposePort]) -> Result<Vec<OwnedFd>> {
    let open = |port: &ExposePort| {
        let address = SocketAddr::new(port.addr, port.port);
        open_at(address).map_err(|errno| {
            let hint = match errno {
                Errno::ADDRINUSE => "something listens there already; choose another port, or stop it",
                Errno::ACCESS => "ports below 1024 are root's; choose a higher one",
                _ => "--port takes an address of this host",
            };
            Failure::new(format!("cannot listen on {address} for --port"))
                .errno(errno.raw_os_error())
                .hint(hint)
        })
    };
    ports.iter().map(open).collect()
}

/// The HTTP and the SOCKS proxy on ports of the host's loopback that the kernel chooses, and a token for them.
///
/// # Errors
/// The host has no loopback to listen on.
pub fn proxies() -> Result<(HostProxy, Vec<OwnedFd>)> {
    let cannot =
        |errno: Errno| Failure::new("cannot listen on 127.0.0.1 for the proxies").errno(errno.raw_os_error());
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let mut sockets = Vec::new();
    let mut ports = [0; 2];
    for port in &mut ports {
        let socket = open_at(any).map_err(cannot)?;
        let name = rustix::net::getsockname(&socket).map_err(cannot)?;
        *port = SocketAddr::try_from(name).map_err(cannot)?.port();
        sockets.push(socket);
    }
    let mut random = [0; 16];
    crate::sys::random(&mut random).map_err(cannot)?;
    let token = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((HostProxy { http: ports[0], socks: ports[1], token }, sockets))
}

fn open_at(address: SocketAddr) -> std::result::Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    rustix::net::listen(&socket, 4096)?;
    Ok(socket)
}
