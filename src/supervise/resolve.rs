//! Names to addresses, as the host itself would: its hosts file, then its name servers. A server that is slow or silent
//! holds up only who asked.

use super::dial::start;
use super::net::Net;
use super::reactor::{Io, Result};
use crate::wire::dns::{self, Answer, kind};
use rustix::io::Errno;
use rustix::net::SocketType;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Once one kind of address is known, the other one has so much time.
const OTHER_KIND: Duration = Duration::from_millis(250);

/// Where the host says how it resolves names.
pub struct Sources {
    /// `/etc/hosts`
    pub hosts: PathBuf,
    /// `/etc/resolv.conf`
    pub resolv_conf: PathBuf,
    /// 53, but for tests.
    pub port: u16,
}

impl Default for Sources {
    fn default() -> Self {
        Sources { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into(), port: 53 }
    }
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The servers say that there is none.
    Missing,
    /// No server answered.
    Silent,
    /// A server answered that it can't or won't, with this code.
    Failed(u8),
    /// No server could be asked.
    Errno(Errno),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unresolved::Missing => f.write_str("the name has no address"),
            Unresolved::Silent => f.write_str("no name server answered"),
            Unresolved::Failed(dns::code::REFUSED) => f.write_str("the name server refused to answer"),
            Unresolved::Failed(code) => write!(f, "the name server failed (code {code})"),
            Unresolved::Errno(errno) => {
                write!(f, "cannot ask a name server: {}", crate::error::describe(errno.raw_os_error()))
            }
        }
    }
}

/// The addresses of a name in canonical form: at least one.
///
/// # Errors
/// There is none, or nobody knows.
pub async fn lookup(net: &Net, name: &str) -> std::result::Result<Vec<IpAddr>, Unresolved> {
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let read = |path: &PathBuf| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
    let listed = in_hosts(&read(&net.sources.hosts).unwrap_or_default(), name);
    if !listed.is_empty() {
        return Ok(listed);
    }
    let resolver = Resolver::parse(&read(&net.sources.resolv_conf).unwrap_or_default(), net.sources.port);
    let mut failed = Unresolved::Silent;
    for _ in 0..resolver.attempts {
        for server in &resolver.servers {
            match ask(net, *server, resolver.timeout, name).await {
                Err(Unresolved::Missing) => return Err(Unresolved::Missing),
                Err(why) => failed = why,
                addresses => return addresses,
            }
        }
    }
    Err(failed)
}

/// What the hosts file says about a name.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    lines
        .filter_map(|mut words| {
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect()
}

/// `resolv.conf`, as far as it matters for whole names.
#[derive(Debug, PartialEq, Eq)]
struct Resolver {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    attempts: usize,
}

impl Resolver {
    fn parse(text: &str, port: u16) -> Resolver {
        let mut resolver = Resolver { servers: Vec::new(), timeout: Duration::from_secs(5), attempts: 2 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                // Three, as the C library takes.
                Some("nameserver") if resolver.servers.len() < 3 => {
                    resolver.servers.extend(words.next().and_then(|word| server(word, port)));
                }
                Some("options") => words.for_each(|option| resolver.option(option)),
                _ => {}
            }
        }
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        }
        resolver
    }

    fn option(&mut self, option: &str) {
        let Some((name, Ok(value))) =
            option.split_once(':').map(|(name, value)| (name, value.parse::<u64>()))
        else {
            return;
        };
        match name {
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30)),
            "attempts" => self.attempts = value.clamp(1, 5) as usize,
            _ => {}
        }
    }
}

/// A name server's address; a link-local one names its interface.
fn server(word: &str, port: u16) -> Option<SocketAddr> {
    let Some((address, interface)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse().ok()?, port));
    };
    let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"));
    let scope = index.as_deref().unwrap_or(interface).trim().parse().ok()?;
    Some(SocketAddrV6::new(address.parse().ok()?, port, 0, scope).into())
}

/// Both kinds of address from one server, over one socket.
async fn ask(
    net: &Net,
    server: SocketAddr,
    timeout: Duration,
    name: &str,
) -> std::result::Result<Vec<IpAddr>, Unresolved> {
    let mut random = [0; 4];
    crate::sys::random(&mut random).map_err(Unresolved::Errno)?;
    let [a, b, c, d] = random;
    // None: it is answered.
    let mut open =
        [(kind::A, u16::from_ne_bytes([a, b])), (kind::AAAA, u16::from_ne_bytes([c, d]))].map(Some);
    let socket = start(net, server, SocketType::DGRAM).map_err(Unresolved::Errno)?;
    for (kind, id) in open.into_iter().flatten() {
        let query = dns::query(id, name, kind).ok_or(Unresolved::Missing)?;
        socket.write(&query).await.map_err(Unresolved::Errno)?;
    }
    let mut found = Vec::new();
    let mut failed = None;
    let mut until = Instant::now() + timeout;
    let mut packet = Vec::new();
    while open != [None, None] {
        packet.clear();
        let left = until.saturating_duration_since(Instant::now());
        match net.reactor.within(left, net.read(&socket, &mut packet)).await {
            None => break,
            Some(Err(errno)) => return Err(Unresolved::Errno(errno)),
            Some(Ok(_)) => {}
        }
        for question in &mut open {
            let Some((kind, id)) = *question else { continue };
            // Anything else is not for this question: wait on.
            let Some(mut answer) = dns::answer(&packet, id, name, kind) else { continue };
            *question = None;
            if answer == Answer::Truncated {
                let whole = net.reactor.within(left, over_stream(net, server, name, kind, id)).await;
                answer = whole.unwrap_or(Err(Errno::TIMEDOUT)).map_err(Unresolved::Errno)?;
            }
            match answer {
                Answer::Addresses(addresses) => found.extend(addresses),
                Answer::NoName => {}
                Answer::Failed(code) => failed = Some(Unresolved::Failed(code)),
                Answer::Truncated => failed = Some(Unresolved::Failed(dns::code::SERVER)),
            }
            if !found.is_empty() {
                until = until.min(Instant::now() + OTHER_KIND);
            }
        }
    }
    match failed {
        _ if !found.is_empty() => Ok(found),
        Some(why) => Err(why),
        None if open == [None, None] => Err(Unresolved::Missing),
        None => Err(Unresolved::Silent),
    }
}

/// An answer that was too long for a datagram.
async fn over_stream(net: &Net, server: SocketAddr, name: &str, kind: u16, id: u16) -> Result<Answer> {
    let stream = start(net, server, SocketType::STREAM)?;
    stream.write(&framed(dns::query(id, name, kind).unwrap_or_default())).await?;
    let packet = read_framed(net, &stream, &mut Vec::new()).await?;
    dns::answer(&packet, id, name, kind).ok_or(Errno::PROTO)
}

/// A message of DNS over TCP: after its length.
pub fn framed(message: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(0);
    [&length.to_be_bytes(), message.as_slice()].concat()
}

/// The next message of DNS over TCP; `buffer` has what came after the last one.
pub async fn read_framed(net: &Net, stream: &Io, buffer: &mut Vec<u8>) -> Result<Vec<u8>> {
    loop {
        if let [high, low, message @ ..] = buffer.as_slice() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if message.len() >= length {
                let message = message[..length].to_vec();
                buffer.drain(..2 + length);
                return Ok(message);
            }
        }
        if net.read(stream, buffer).await? == 0 {
            return Err(Errno::CONNRESET);
        }
    }
}
