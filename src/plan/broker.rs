//! What a command without a network namespace may connect to: judged call by call, by the one who makes its sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The broker's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broker {
    /// A call that waits for its answer is disturbed by fatal signals only (5.19).
    pub killable: bool,
    /// Ports of fence's proxies. They know the command's connections by what the broker says of them.
    pub proxies: Vec<u16>,
    /// Other ports of the host's loopback that can be connected to: `allowLocalOutboundPorts`.
    pub connect: Vec<u16>,
    /// Ports that can be listened on.
    pub listen: Listen,
    /// `network.allowAllUnixSockets`
    pub all_unix: bool,
    /// Sockets that `network.allowUnixSockets` opens, and directories of them.
    pub unix: Vec<PathBuf>,
    /// Places where the command makes sockets of its own.
    pub writable: Vec<PathBuf>,
    /// Sockets that were there before the command: device and inode.
    pub before: Vec<(u64, u64)>,
}

/// Which ports can be listened on. Its sockets are tied to the loopback device: nobody beyond this host comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// None.
    #[default]
    None,
    /// Those of `--port`.
    Ports(Vec<u16>),
    /// `network.allowLocalBinding`
    Any,
}

/// A kind of socket that the command may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP. Other protocols would leave the broker out: MPTCP and SCTP connect in their own way.
    Tcp,
    /// A Unix socket with connections.
    Unix,
    /// `NETLINK_ROUTE`: tells addresses and routes, carries nothing.
    Route,
}

/// The three arguments of socket(2) → what is asked for; none: refused. The kernel reads them as 32-bit integers.
pub fn kind(family: i32, kind: i32, protocol: i32) -> Option<Kind> {
    const TYPE: i32 = 0xf;
    match (family, kind & TYPE) {
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) if matches!(protocol, 0 | libc::IPPROTO_TCP) => {
            Some(Kind::Tcp)
        }
        // A datagram goes to an address without connect(2).
        (libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_SEQPACKET) => Some(Kind::Unix),
        (libc::AF_NETLINK, _) if protocol == libc::NETLINK_ROUTE => Some(Kind::Route),
        _ => None,
    }
}

/// An address as connect(2) and bind(2) get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4 or IPv6.
    Internet(SocketAddr),
    /// A path, as written.
    Path(Vec<u8>),
    /// A name without a file.
    Abstract,
    /// Anything else, `AF_UNSPEC` too, which would take a connection back.
    Other,
}

/// The bytes of a `sockaddr` → the address.
pub fn address(bytes: &[u8]) -> Address {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else { return Address::Other };
    let port = |rest: &[u8]| rest.first_chunk::<2>().map(|port| u16::from_be_bytes(*port));
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => match (port(rest), rest.get(2..6).and_then(|a| <[u8; 4]>::try_from(a).ok())) {
            (Some(port), Some(ip)) => Address::Internet(SocketAddr::new(IpAddr::from(ip), port)),
            _ => Address::Other,
        },
        libc::AF_INET6 => match (port(rest), rest.get(6..22).and_then(|a| <[u8; 16]>::try_from(a).ok())) {
            (Some(port), Some(ip)) => Address::Internet(SocketAddr::new(IpAddr::from(ip), port)),
            _ => Address::Other,
        },
        libc::AF_UNIX => match rest.split(|byte| *byte == 0).next() {
            Some(path) if !path.is_empty() => Address::Path(path.to_vec()),
            _ => Address::Abstract,
        },
        _ => Address::Other,
    }
}

impl Broker {
    /// Whether the command may connect there. The unspecified address is this host to connect(2), and an IPv4 address may come
    /// in IPv6's clothes.
    pub fn may_connect(&self, to: SocketAddr) -> bool {
        let ip = to.ip().to_canonical();
        (ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip.is_unspecified() || is_v6_loopback(ip))
            && (self.proxies.contains(&to.port()) || self.connect.contains(&to.port()))
    }

    /// Whether the command may bind a socket to that address, or listen on it.
    pub fn may_listen(&self, on: SocketAddr) -> bool {
        match &self.listen {
            Listen::None => false,
            Listen::Ports(ports) => ports.contains(&on.port()),
            Listen::Any => true,
        }
    }

    /// Whether the command may connect to the socket at this real path: one that is listed, or one that was made in a place of
    /// the command's own since it started.
    pub fn may_use(&self, real: &Path, device: u64, inode: u64) -> bool {
        let own = || self.writable.iter().any(|place| real.starts_with(place));
        self.all_unix
            || self.unix.iter().any(|listed| real.starts_with(listed))
            || own() && !self.before.contains(&(device, inode))
    }
}

fn is_v6_loopback(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn v4(ip: [u8; 4], port: u16) -> Vec<u8> {
        let mut bytes = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend(ip);
        bytes.extend([0; 8]);
        bytes
    }

    fn v6(ip: &str, port: u16) -> Vec<u8> {
        let mut bytes = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(ip.parse::<std::net::Ipv6Addr>().unwrap().octets());
        bytes.extend([0; 4]);
        bytes
    }

    fn unix(path: &[u8]) -> Vec<u8> {
        [&(libc::AF_UNIX as u16).to_ne_bytes()[..], path].concat()
    }

    #[test]
    fn only_the_proxies_can_be_connected_to() {
        let broker = Broker { proxies: vec![4000], connect: vec![5432], ..Broker::default() };
        let may = |bytes: Vec<u8>| match address(&bytes) {
            Address::Internet(to) => broker.may_connect(to),
            _ => false,
        };
        for good in
            [v4([127, 0, 0, 1], 4000), v6("::1", 5432), v6("::ffff:127.0.0.1", 4000), v4([0; 4], 4000)]
        {
            assert!(may(good.clone()), "{good:?}");
        }
        let bad = [
            v4([127, 0, 0, 1], 4001),
            v4([127, 0, 0, 2], 4000),
            v4([10, 0, 0, 1], 4000),
            v6("::ffff:10.0.0.1", 4000),
            v6("2001:db8::1", 4000),
            v4([127, 0, 0, 1], 4000)[..7].to_vec(),
            (libc::AF_UNSPEC as u16).to_ne_bytes().to_vec(),
            vec![2],
            vec![],
        ];
        for bad in bad {
            assert!(!may(bad.clone()), "{bad:?}");
        }
    }

    #[test]
    fn unix_addresses() {
        assert_eq!(address(&unix(b"/run/x\0y")), Address::Path(b"/run/x".to_vec()));
        assert_eq!(address(&unix(b"\0name")), Address::Abstract);
        assert_eq!(address(&unix(b"")), Address::Abstract);
        let broker = Broker {
            unix: vec!["/run/listed.sock".into(), "/run/agents".into()],
            writable: vec!["/proj".into(), "/tmp".into()],
            before: vec![(1, 7)],
            ..Broker::default()
        };
        for (path, inode, may) in [
            ("/run/listed.sock", 7, true),
            ("/run/agents/1/a", 8, true),
            ("/run/agents2", 8, false),
            ("/run/docker.sock", 8, false),
            ("/proj/new", 8, true),
            ("/proj/linked", 7, false),
            ("/projshop/new", 8, false),
        ] {
            assert_eq!(broker.may_use(Path::new(path), 1, inode), may, "{path}");
        }
        assert!(Broker { all_unix: true, ..broker }.may_use(Path::new("/run/docker.sock"), 1, 7));
    }

    #[test]
    fn kinds_of_sockets() {
        let tcp = [(libc::AF_INET, 0), (libc::AF_INET6, libc::IPPROTO_TCP)];
        for (family, protocol) in tcp {
            let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            assert_eq!(kind(family, flags, protocol), Some(Kind::Tcp));
        }
        for (family, of, protocol) in [
            (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
            (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP),
            (libc::AF_INET, libc::SOCK_DGRAM, 0),
            (libc::AF_INET6, libc::SOCK_RAW, 1),
            (libc::AF_UNIX, libc::SOCK_DGRAM, 0),
            (libc::AF_PACKET, libc::SOCK_RAW, 0),
            (libc::AF_VSOCK, libc::SOCK_STREAM, 0),
            (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT),
        ] {
            assert_eq!(kind(family, of, protocol), None, "{family} {of} {protocol}");
        }
        assert_eq!(kind(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0), Some(Kind::Unix));
        assert_eq!(kind(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE), Some(Kind::Route));
    }
}
