//! The head of a request to a proxy: what a client sent in, what the next hop gets out.

use super::{Body, Headers, MAX_HEADERS, Malformed, Result, complete, line, worthwhile};
use crate::rules::net::host::{Host, canonical};

/// A request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `CONNECT`, …
    pub method: String,
    /// Where it goes.
    pub target: Target,
    /// The minor version: 0 or 1.
    pub minor: u8,
    /// The header lines.
    pub headers: Headers,
    /// What follows the head.
    pub body: Body,
    /// The client goes on with the connection afterwards.
    pub keep_alive: bool,
    /// It asks for another protocol on this connection (WebSocket): after the answer 101 both sides send bytes.
    pub upgrade: bool,
}

/// The target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `CONNECT host:port`
    Tunnel {
        /// Canonical.
        host: Host,
        /// 443 when the client names none.
        port: u16,
    },
    /// `GET http://host:port/path`
    Absolute {
        /// Canonical.
        host: Host,
        /// 80 when the client names none.
        port: u16,
        /// Path and query as they stood, or `*`.
        path: String,
    },
    /// `GET /path`: a request to the proxy itself. It names no host that could be judged.
    Origin,
}

/// How the next hop is told the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop<'a> {
    /// The server itself.
    Server,
    /// Another proxy, with its `Proxy-Authorization` if it wants one.
    Proxy(Option<&'a str>),
}

/// Reads a head from the start of `buffer`, whose last `new` bytes were not there when it was asked before: the head and its
/// length, or none while it is not all there.
///
/// # Errors
/// When nothing that follows can make it a request that may be passed on.
pub fn request(buffer: &[u8], new: usize) -> Result<Option<(Request, usize)>> {
    if !worthwhile(buffer, new)? {
        return Ok(None);
    }
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut lines);
    let Some(used) = complete(parsed.parse(buffer)?, buffer)? else { return Ok(None) };
    let (Some(method), Some(text), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Ok(None);
    };
    let headers = Headers::new(parsed.headers);
    let target = target(method, text)?;
    let body = body(method, &headers, minor)?;
    let keep_alive = headers.keep_alive(minor);
    // HTTP/2 in clear text would put requests on the connection that are not judged one by one.
    let upgrade = minor == 1
        && body == Body::None
        && headers.has_item("connection", "upgrade")
        && headers.values("upgrade").next().is_some()
        && !headers.has_item("upgrade", "h2c");
    let method = method.to_string();
    Ok(Some((Request { method, target, minor, headers, body, keep_alive, upgrade }, used)))
}

fn target(method: &str, text: &str) -> Result<Target> {
    if method == "CONNECT" {
        let (host, port) = authority(text)?;
        let port = port.map_or(Ok(443), number)?;
        return Ok(Target::Tunnel { host, port });
    }
    if text.starts_with('/') || text == "*" {
        return Ok(Target::Origin);
    }
    let (scheme, rest) = text.split_once("://").ok_or(Malformed::Syntax("the target is no URL"))?;
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(Malformed::Syntax(
            "only http:// URLs go through a proxy as they are, others need CONNECT",
        ));
    }
    let (name, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, port) = authority(name)?;
    let port = port.filter(|digits| !digits.is_empty()).map_or(Ok(80), number)?;
    let path = match path {
        "" if method == "OPTIONS" => "*".to_string(),
        path if path.starts_with('/') => path.to_string(),
        path => format!("/{path}"),
    };
    Ok(Target::Absolute { host, port, path })
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; the port as it stands.
fn authority(text: &str) -> Result<(Host, Option<&str>)> {
    let after = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text[after..].split_once(':') {
        Some((rest, port)) => (&text[..after + rest.len()], Some(port)),
        None => (text, None),
    };
    if after == 0 && port.is_some_and(|port| port.contains(':')) {
        return Err(Malformed::Syntax("an IPv6 address needs brackets"));
    }
    Ok((canonical(host.as_bytes()).map_err(Malformed::Host)?, port))
}

fn number(digits: &str) -> Result<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| plain && *port > 0);
    port.ok_or(Malformed::Syntax("the port is not a number from 1 to 65535"))
}

fn body(method: &str, headers: &Headers, minor: u8) -> Result<Body> {
    let body = match (headers.chunked(minor)?, headers.content_length()?) {
        (Some(true), _) if headers.items("transfer-encoding").count() == 1 => Body::Chunked,
        (Some(_), _) => return Err(Malformed::Syntax("Transfer-Encoding is not chunked alone")),
        (None, Some(length)) => Body::Length(length),
        (None, None) => Body::None,
    };
    match body {
        // What follows is the tunnel.
        Body::Length(0) | Body::None if method == "CONNECT" => Ok(Body::None),
        _ if method == "CONNECT" => Err(Malformed::Syntax("CONNECT with a body")),
        body => Ok(body),
    }
}

impl Request {
    /// The head for the next hop, of a request with an absolute target: `Host` from the target, nothing that speaks of the
    /// client's connection. With `close` the next hop is told that this is the only request.
    pub fn head(&self, hop: NextHop<'_>, close: bool) -> Vec<u8> {
        let Target::Absolute { host, port, path } = &self.target else { return Vec::new() };
        let authority = match port {
            80 => host.bracketed(),
            port => format!("{}:{port}", host.bracketed()),
        };
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        if let NextHop::Proxy(_) = hop {
            out.extend_from_slice(b"http://");
            out.extend_from_slice(authority.as_bytes());
        }
        let path = if path == "*" && hop != NextHop::Server { "" } else { path };
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(if self.minor == 0 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
        line(&mut out, "Host", authority.as_bytes());
        if let NextHop::Proxy(Some(credentials)) = hop {
            line(&mut out, "Proxy-Authorization", credentials.as_bytes());
        }
        self.headers.write(&mut out, &["host"]);
        if self.upgrade {
            line(&mut out, "Connection", b"Upgrade");
            self.headers.values("upgrade").for_each(|protocol| line(&mut out, "Upgrade", protocol));
        } else if close {
            line(&mut out, "Connection", b"close");
        } else if self.minor == 0 {
            line(&mut out, "Connection", b"keep-alive");
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// Whether the answer has no body, whatever its head says.
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// The head that asks another proxy for a tunnel.
pub fn connect(host: &Host, port: u16, credentials: Option<&str>) -> Vec<u8> {
    let authority = format!("{}:{port}", host.bracketed());
    let mut out = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(credentials) = credentials {
        line(&mut out, "Proxy-Authorization", credentials.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}
