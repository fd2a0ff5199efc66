//! SOCKS5 (RFC 1928, RFC 1929), the server's side: what the client says, what it is answered.

use crate::rules::net::host::{Host, HostError, canonical};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the client offers to authenticate with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// Nothing.
    pub none: bool,
    /// User name and password.
    pub password: bool,
}

/// The method that the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// No authentication.
    None = 0,
    /// User name and password come next.
    Password = 2,
    /// None of those offered; the connection must be closed.
    Unacceptable = 0xff,
}

impl Method {
    /// The answer to the greeting.
    pub fn bytes(self) -> [u8; 2] {
        [5, self as u8]
    }
}

/// A request for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Canonical.
    pub host: Host,
    /// 1–65535
    pub port: u16,
}

/// The result of a request, with the numbers of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Connected: bytes follow.
    Succeeded = 0,
    /// fence itself failed.
    General = 1,
    /// No rule allows it.
    NotAllowed = 2,
    /// No route to the network.
    NetworkUnreachable = 3,
    /// No such name, or no route to the host.
    HostUnreachable = 4,
    /// Nobody listens there.
    Refused = 5,
    /// No answer in time.
    TtlExpired = 6,
    /// BIND and UDP ASSOCIATE.
    NotSupported = 7,
    /// No such kind of address.
    AddressType = 8,
}

impl Reply {
    /// What went wrong with a connection.
    pub fn from_errno(errno: i32) -> Reply {
        match errno {
            libc::ECONNREFUSED => Reply::Refused,
            libc::ENETUNREACH | libc::ENETDOWN => Reply::NetworkUnreachable,
            libc::EHOSTUNREACH | libc::EHOSTDOWN => Reply::HostUnreachable,
            libc::ETIMEDOUT => Reply::TtlExpired,
            libc::EACCES | libc::EPERM => Reply::NotAllowed,
            _ => Reply::General,
        }
    }

    /// The answer to the request. The address of the server's end is nobody's business: zeros.
    pub fn bytes(self) -> [u8; 10] {
        [5, self as u8, 0, 1, 0, 0, 0, 0, 0, 0]
    }
}

/// Bytes that the server does not go on after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Not SOCKS5: no answer would be understood.
    Protocol,
    /// A request that is answered with this.
    Request(Reply),
    /// A name that is none: answered as one that is not allowed.
    Host(HostError),
}

impl Bad {
    /// What the client is answered before the connection is closed.
    pub fn reply(self) -> Option<Reply> {
        match self {
            Bad::Protocol => None,
            Bad::Request(reply) => Some(reply),
            Bad::Host(_) => Some(Reply::NotAllowed),
        }
    }
}

/// What was read and its length; none while it is not all there.
type Read<T> = Result<Option<(T, usize)>, Bad>;

/// The first message: the version and the methods.
///
/// # Errors
/// Another version.
pub fn greeting(bytes: &[u8]) -> Read<Methods> {
    let Some((&version, rest)) = bytes.split_first() else { return Ok(None) };
    if version != 5 {
        return Err(Bad::Protocol);
    }
    let Some(methods) = counted(rest) else { return Ok(None) };
    let offers = |method: Method| methods.contains(&(method as u8));
    let read = Methods { none: offers(Method::None), password: offers(Method::Password) };
    Ok(Some((read, 2 + methods.len())))
}

/// User name and password.
///
/// # Errors
/// Another version of that message.
pub fn password(bytes: &[u8]) -> Read<(Vec<u8>, Vec<u8>)> {
    let Some((&version, rest)) = bytes.split_first() else { return Ok(None) };
    if version != 1 {
        return Err(Bad::Protocol);
    }
    let Some(user) = counted(rest) else { return Ok(None) };
    let Some(password) = counted(&rest[1 + user.len()..]) else { return Ok(None) };
    Ok(Some(((user.to_vec(), password.to_vec()), 3 + user.len() + password.len())))
}

/// The answer to user name and password; after false the connection must be closed.
pub fn password_answer(good: bool) -> [u8; 2] {
    [1, u8::from(!good)]
}

/// The request.
///
/// # Errors
/// One that can't be served, whatever follows.
pub fn request(bytes: &[u8]) -> Read<Request> {
    if bytes.first().is_some_and(|version| *version != 5) {
        return Err(Bad::Protocol);
    }
    let &[_, command, _, kind, ref rest @ ..] = bytes else { return Ok(None) };
    if command != 1 {
        return Err(Bad::Request(Reply::NotSupported));
    }
    let (host, used) = match kind {
        1 => match rest.first_chunk::<4>() {
            Some(octets) => (Ok(Host::from(IpAddr::V4(Ipv4Addr::from(*octets)))), 4),
            None => return Ok(None),
        },
        4 => match rest.first_chunk::<16>() {
            Some(octets) => (Ok(Host::from(IpAddr::V6(Ipv6Addr::from(*octets)))), 16),
            None => return Ok(None),
        },
        3 => match counted(rest) {
            Some(name) => (canonical(name), 1 + name.len()),
            None => return Ok(None),
        },
        _ => return Err(Bad::Request(Reply::AddressType)),
    };
    let Some(port) = rest[used..].first_chunk::<2>() else { return Ok(None) };
    let port = u16::from_be_bytes(*port);
    let host = host.map_err(Bad::Host)?;
    if port == 0 {
        return Err(Bad::Request(Reply::NotAllowed));
    }
    Ok(Some((Request { host, port }, 6 + used)))
}

/// Bytes after a byte that counts them.
fn counted(bytes: &[u8]) -> Option<&[u8]> {
    let (&count, rest) = bytes.split_first()?;
    rest.get(..usize::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(command: u8, kind: u8, address: &[u8]) -> Vec<u8> {
        [&[5, command, 0, kind], address, &[0x01, 0xbb]].concat()
    }

    fn named(name: &[u8]) -> Vec<u8> {
        ask(1, 3, &[&[u8::try_from(name.len()).unwrap_or(255)], name].concat())
    }

    /// The host and how many bytes were read, or the reply.
    fn said(bytes: &[u8]) -> Result<Option<String>, Option<Reply>> {
        let got = request(bytes).map_err(Bad::reply)?;
        Ok(got.map(|(request, used)| format!("{} {} {used}", request.host, request.port)))
    }

    #[test]
    fn greetings() {
        let methods = |none, password| Methods { none, password };
        assert_eq!(greeting(&[5, 1, 0, 9]), Ok(Some((methods(true, false), 3))));
        assert_eq!(greeting(&[5, 3, 1, 2, 0]), Ok(Some((methods(true, true), 5))));
        assert_eq!(greeting(&[5, 1, 2]), Ok(Some((methods(false, true), 3))));
        assert_eq!(greeting(&[5, 0]), Ok(Some((methods(false, false), 2))));
        for part in [&[][..], &[5], &[5, 2], &[5, 2, 0]] {
            assert_eq!(greeting(part), Ok(None));
        }
        for other in [4, b'G', 0x16] {
            assert_eq!(greeting(&[other]), Err(Bad::Protocol));
        }
        assert_eq!(Method::Unacceptable.bytes(), [5, 255]);
    }

    #[test]
    fn passwords() {
        let whole = [1, 2, b'u', b's', 3, b'p', b'w', b'd', 5];
        assert_eq!(password(&whole), Ok(Some(((b"us".to_vec(), b"pwd".to_vec()), 8))));
        for length in 0..8 {
            assert_eq!(password(&whole[..length]), Ok(None), "{length}");
        }
        assert_eq!(password(&[1, 0, 0]), Ok(Some(((vec![], vec![]), 3))));
        assert_eq!(password(&[5]), Err(Bad::Protocol));
        assert_eq!((password_answer(true), password_answer(false)), ([1, 0], [1, 1]));
    }

    #[test]
    fn requests() {
        assert_eq!(said(&named(b"Allowed.COM.")), Ok(Some("allowed.com 443 19".into())));
        assert_eq!(said(&ask(1, 1, &[192, 0, 2, 7])), Ok(Some("192.0.2.7 443 10".into())));
        let six = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        assert_eq!(said(&ask(1, 4, &six.octets())), Ok(Some("2001:db8::1 443 22".into())));
        // Mapped, and a name that is an address: the same host as the plain address.
        let mapped = Ipv4Addr::new(127, 0, 0, 1).to_ipv6_mapped();
        assert_eq!(said(&ask(1, 4, &mapped.octets())), Ok(Some("127.0.0.1 443 22".into())));
        assert_eq!(said(&named(b"0x7f.1")), Ok(Some("127.0.0.1 443 13".into())));
        assert_eq!(said(&named(b"::1")), Ok(Some("::1 443 10".into())));
        for whole in [named(b"a.example"), ask(1, 1, &[1, 2, 3, 4]), ask(1, 4, &six.octets())] {
            for length in 0..whole.len() {
                assert_eq!(request(&whole[..length]), Ok(None), "{whole:?} {length}");
            }
            let more = [&whole[..], b"data"].concat();
            assert_eq!(request(&more).map(|read| read.map(|(_, used)| used)), Ok(Some(whole.len())));
        }
    }

    #[test]
    fn what_is_not_served_is_said_in_the_protocol_s_numbers() {
        for command in [2, 3, 0, 9] {
            assert_eq!(said(&ask(command, 1, &[1, 2, 3, 4])), Err(Some(Reply::NotSupported)), "{command}");
        }
        assert_eq!(said(&ask(1, 2, &[])), Err(Some(Reply::AddressType)));
        assert_eq!(said(&[5, 1, 0, 1, 1, 2, 3, 4, 0, 0]), Err(Some(Reply::NotAllowed)));
        for name in [
            &b"allowed.com\0.evil.com"[..],
            b"",
            b"a..b",
            b"exa mple.com",
            b"fe80::1%eth0",
            b"[::1",
            &[b'a'; 254],
            b"a:443",
        ] {
            assert_eq!(said(&named(name)), Err(Some(Reply::NotAllowed)), "{name:?}");
        }
        assert_eq!(said(b"GET / HTTP/1.1"), Err(None));
        let numbers =
            [libc::ECONNREFUSED, libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ETIMEDOUT, libc::EPIPE];
        assert_eq!(numbers.map(|errno| Reply::from_errno(errno).bytes()[1]), [5, 3, 4, 6, 1]);
        assert_eq!(Reply::Succeeded.bytes(), [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
}
