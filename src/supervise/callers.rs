//! Connections to the proxies that the broker made: they are the command's, so they need no token. Who they are is told by
//! their address, which nobody else can have while they last.

use rustix::net::{SocketAddrAny, getpeername, getsockname};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

/// As many are remembered; no proxy serves more at once.
const MOST: usize = 4096;

/// The addresses of their near ends.
#[derive(Default)]
pub struct Callers(Mutex<VecDeque<SocketAddr>>);

impl Callers {
    /// The broker has connected this socket, and the command does not know it yet.
    pub fn add(&self, socket: impl AsFd) {
        let Some(address) = getsockname(socket).ok().and_then(plain) else { return };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(address);
    }

    /// Whether a proxy's client is one of them.
    pub fn has(&self, client: SocketAddr) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&client)
    }

    /// The connection has ended: its address may be another's from now on.
    pub fn forget(&self, client: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|address| *address != client);
    }
}

/// The address of a proxy's client.
pub fn of_client(client: impl AsFd) -> Option<SocketAddr> {
    getpeername(client).ok().flatten().and_then(plain)
}

/// An IPv4 address may come in IPv6's clothes.
fn plain(address: SocketAddrAny) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(address).ok()?;
    Some(SocketAddr::new(IpAddr::to_canonical(&address.ip()), address.port()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_is_known_while_it_lasts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let client = of_client(listener.accept().unwrap().0).unwrap();
        let callers = Callers::default();
        assert!(!callers.has(client));
        callers.add(&ours);
        assert!(callers.has(client));
        // The same port of another address is somebody else.
        assert!(!callers.has(SocketAddr::from(([127, 0, 0, 2], client.port()))));
        callers.forget(client);
        assert!(!callers.has(client));
    }

    #[test]
    fn ipv6_that_carries_ipv4_is_the_same_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ours = TcpStream::connect(format!("[::ffff:127.0.0.1]:{port}")).unwrap();
        let callers = Callers::default();
        callers.add(&ours);
        assert!(callers.has(of_client(listener.accept().unwrap().0).unwrap()));
    }
}
