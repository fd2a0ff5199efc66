//! From a host that was allowed to a connection: resolved once, every address judged, and what was judged is dialled.

use super::net::Net;
use super::reactor::{Io, Way};
use super::resolve::Unresolved;
use crate::rules::net::Refused;
use crate::rules::net::host::Host;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Look-up and connection together.
pub const LIMIT: Duration = Duration::from_secs(10);
/// An address has so much time before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug)]
pub enum NoConnection {
    /// The name has no address.
    Unresolved(Unresolved),
    /// It has, and none may be dialled.
    Address(Refused),
    /// Nobody answered, or the kernel refused.
    Errno(Errno),
    /// The proxy in between can't be reached.
    Proxy(Box<NoConnection>),
    /// The proxy in between would not, with this status.
    Refused(u16),
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoConnection::Unresolved(why) => why.fmt(f),
            NoConnection::Address(refused) => refused.fmt(f),
            NoConnection::Proxy(why) => write!(f, "the proxy on the way: {why}"),
            NoConnection::Refused(status) => write!(f, "the proxy on the way answered {status}"),
            NoConnection::Errno(errno) => f.write_str(&crate::error::describe(errno.raw_os_error())),
        }
    }
}

/// Connects to an allowed host.
///
/// # Errors
/// Which of the steps failed, and why.
pub async fn dial(net: &Net, host: &Host, port: u16) -> Result<Io, NoConnection> {
    let steps = async {
        let addresses = permitted(net, host).await?;
        first_of(net, addresses, port).await.map_err(NoConnection::Errno)
    };
    let result = net.reactor.within(LIMIT, steps).await;
    result.unwrap_or(Err(NoConnection::Errno(Errno::TIMEDOUT)))
}

/// The addresses of an allowed host that may be dialled: at least one.
///
/// # Errors
/// There is none, or the first one that is refused when all are.
pub async fn permitted(net: &Net, host: &Host) -> Result<Vec<IpAddr>, NoConnection> {
    let all = addresses(net, host).await?;
    let mut refused = None;
    let mut good = Vec::with_capacity(all.len());
    for address in all {
        match net.rules.address(host, address) {
            Ok(()) => good.push(address),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    match refused {
        Some(why) if good.is_empty() => Err(NoConnection::Address(why)),
        _ => Ok(good),
    }
}

/// The addresses of a host, which nobody has judged: at least one.
///
/// # Errors
/// There is none.
pub async fn addresses(net: &Net, host: &Host) -> Result<Vec<IpAddr>, NoConnection> {
    match host {
        Host::Address(address) => Ok(vec![*address]),
        Host::Name(name) => super::resolve::lookup(net, name).await.map_err(NoConnection::Unresolved),
    }
}

/// The first address that answers. Nobody asks the rules here.
///
/// # Errors
/// The last one's errno.
pub async fn first_of(net: &Net, addresses: Vec<IpAddr>, port: u16) -> Result<Io, Errno> {
    let mut waiting = alternating(addresses);
    let mut tries: Vec<Io> = Vec::new();
    let mut next_at = Instant::now();
    let mut last = Errno::HOSTUNREACH;
    poll_fn(|_| {
        loop {
            let mut i = 0;
            while i < tries.len() {
                if tries[i].poll_ready(Way::Write).is_pending() {
                    i += 1;
                    continue;
                }
                match sockopt::socket_error(&tries[i]).and_then(|answer| answer) {
                    Ok(()) => return Poll::Ready(Ok(tries.swap_remove(i))),
                    Err(errno) => {
                        last = errno;
                        tries.remove(i);
                        next_at = Instant::now();
                    }
                }
            }
            if waiting.is_empty() {
                return if tries.is_empty() { Poll::Ready(Err(last)) } else { Poll::Pending };
            }
            if !tries.is_empty() && net.reactor.poll_due(next_at).is_pending() {
                return Poll::Pending;
            }
            if let Some(address) = waiting.pop_front() {
                match start(net, SocketAddr::new(address, port), SocketType::STREAM) {
                    Ok(io) => tries.push(io),
                    Err(errno) => last = errno,
                }
                next_at = Instant::now() + STAGGER;
            }
        }
    })
    .await
}

/// IPv6, IPv4, IPv6, … : when one kind does not work here, the other has its turn soon.
fn alternating(addresses: Vec<IpAddr>) -> VecDeque<IpAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let mut mixed = VecDeque::new();
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// Begins to connect.
pub fn start(net: &Net, to: SocketAddr, kind: SocketType) -> Result<Io, Errno> {
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let fd = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if kind == SocketType::STREAM {
        eager(&fd);
    }
    match connect(&fd, &to) {
        Ok(()) => Io::new(&net.reactor, fd, false),
        Err(Errno::INPROGRESS) => Io::new(&net.reactor, fd, true),
        Err(errno) => Err(errno),
    }
}

/// Small pieces go out at once, and a peer that vanished is noticed.
pub fn eager(socket: impl std::os::fd::AsFd) {
    _ = sockopt::set_tcp_nodelay(&socket, true);
    _ = sockopt::set_socket_keepalive(&socket, true);
    _ = sockopt::set_tcp_keepidle(&socket, Duration::from_secs(60));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_and_ipv6_comes_first() {
        let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"].map(|a| a.parse().unwrap());
        let order: Vec<String> = alternating(addresses.to_vec()).iter().map(IpAddr::to_string).collect();
        assert_eq!(order, ["fd00::1", "10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    }
}
