//! `fence connect HOST PORT`: stdin and stdout become a connection through the sandbox's proxy. What ssh is given as
//! ProxyCommand, so that it needs no other program.

use crate::error::{Failure, Result, printable};
use crate::rules::net::host::{Host, canonical};
use crate::rules::net::proxy::Proxy;
use crate::sys::thread;
use crate::wire::http::request::connect;
use crate::wire::http::response::{Response, response};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// Copies in both directions until both have ended.
///
/// # Errors
/// There is no proxy, or it does not let the connection through: with its own reason.
pub fn run(host: &OsStr, port: u16) -> Result<u8> {
    let name = host.to_string_lossy();
    let cannot = |why: &str| Failure::new(format!("cannot connect to {name}:{port}: {why}"));
    let host = canonical(name.as_bytes()).map_err(|e| cannot(&e.to_string()))?;
    let url =
        ["https_proxy", "HTTPS_PROXY"].iter().find_map(|v| std::env::var(v).ok().filter(|v| !v.is_empty()));
    let url = url.ok_or_else(|| {
        cannot("HTTPS_PROXY names no proxy").hint("`fence connect` is for commands that run inside fence")
    })?;
    let proxy = Proxy::parse(&url).map_err(|why| cannot(&format!("HTTPS_PROXY: {why}")))?;
    let address = match proxy.host {
        Host::Address(address) => address,
        Host::Name(name) if name == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Host::Name(_) => return Err(cannot("HTTPS_PROXY is not fence's own proxy")),
    };
    let lost = |e: std::io::Error| cannot(&format!("fence's proxy does not answer: {e}"));
    let mut socket = TcpStream::connect((address, proxy.port)).map_err(lost)?;
    socket.set_nodelay(true).map_err(lost)?;
    socket.write_all(&connect(&host, port, proxy.authorization.as_deref())).map_err(lost)?;
    let (head, rest) = answer(&mut socket).map_err(lost)?.ok_or_else(|| cannot("fence's proxy hung up"))?;
    if !(200..300).contains(&head.status) {
        return Err(cannot(&reason(&head, rest, &mut socket)));
    }
    relay(socket, &rest);
    Ok(0)
}

/// The head of the proxy's answer and what came behind it; none when it is none.
fn answer(socket: &mut TcpStream) -> std::io::Result<Option<(Response, Vec<u8>)>> {
    let mut buffer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let new = socket.read(&mut piece)?;
        buffer.extend_from_slice(&piece[..new]);
        match response(&buffer, new, None) {
            Ok(Some((head, used))) => return Ok(Some((head, buffer.split_off(used)))),
            Ok(None) if new > 0 => {}
            _ => return Ok(None),
        }
    }
}

/// What a denial says: the text of fence's answers is short.
fn reason(head: &Response, mut text: Vec<u8>, socket: &mut TcpStream) -> String {
    _ = socket.take(4096).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(printable).collect();
    match lines.is_empty() {
        true => format!("fence's proxy answers {} {}", head.status, printable(&head.reason)),
        false => lines.join(": "),
    }
}

/// Each direction ends by itself: a server that has heard all may still answer.
fn relay(socket: TcpStream, first: &[u8]) {
    let outgoing = socket.try_clone().and_then(|socket| {
        let body = move || {
            copy(rustix::stdio::stdin(), socket.as_fd(), &[]);
            _ = socket.shutdown(Shutdown::Write);
        };
        Ok(thread::start(c"outgoing", Box::new(body))?)
    });
    copy(socket.as_fd(), rustix::stdio::stdout(), first);
    // Whoever reads must see the end now, not when the process ends.
    if let Ok(null) = std::fs::File::open("/dev/null") {
        _ = rustix::stdio::dup2_stdout(&null);
    }
    if let Ok(outgoing) = outgoing {
        outgoing.join();
    }
}

/// Until one of the two is at its end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, first: &[u8]) {
    let write = |mut bytes: &[u8]| {
        while !bytes.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::write(to, bytes)) {
                Ok(written) => bytes = &bytes[written..],
                Err(_) => return false,
            }
        }
        true
    };
    let mut open = write(first);
    let mut piece = vec![0; 64 * 1024];
    while open {
        open = match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut piece)) {
            Ok(count) if count > 0 => write(&piece[..count]),
            _ => false,
        };
    }
}
