//! The SOCKS5 proxy: connections by name or address, with the same rules.

use super::dial::NoConnection;
use super::http::same;
use super::net::Net;
use super::reactor::Io;
use super::relay::tunnel;
use super::route::{Route, attempt, filtered, report};
use crate::monitor::event::{Layer, Outcome};
use crate::wire::socks::{self, Bad, Method, Reply};
use std::rc::Rc;
use std::time::Duration;

/// A client has so much time to say what it wants.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// Serves one connection.
pub async fn serve(net: Rc<Net>, client: Io) {
    let mut buffer = Vec::new();
    let asked = net.reactor.within(HANDSHAKE, handshake(&net, &client, &mut buffer)).await;
    let (host, port) = match asked.flatten() {
        Some(Ok(request)) => (request.host, request.port),
        Some(Err(bad)) => {
            if let Bad::Host(why) = bad {
                report(&net, Layer::Socks, Outcome::Denied, format!("CONNECT BLOCKED: {why}"), "", None);
            }
            return refuse(&net, &client, bad.reply()).await;
        }
        None => return,
    };
    let place = format!("{}:{port}", host.bracketed());
    let say = |outcome, word: &str, denied| {
        report(&net, Layer::Socks, outcome, format!("CONNECT {place} {word}"), &place, denied);
    };
    // What goes through here is mostly not HTTP, and the caller's own programs would dial it themselves: no proxy of theirs.
    if let Err(rule) = filtered(&net, &host, port, true).and_then(Route::unless_upstream) {
        say(Outcome::Denied, "BLOCKED", Some((&host, rule.as_deref())));
        return refuse(&net, &client, Some(Reply::NotAllowed)).await;
    }
    let server = match attempt(&net, &Route::Direct, &host, port).await {
        Ok((server, _)) => server,
        Err(why) => {
            let (outcome, word) = match &why {
                NoConnection::Address(_) => (Outcome::Denied, format!("BLOCKED: {why}")),
                _ => (Outcome::Failed, format!("FAILED: {why}")),
            };
            say(outcome, &word, None);
            return refuse(&net, &client, Some(reply(&why))).await;
        }
    };
    say(Outcome::Allowed, "ALLOWED", None);
    let early = async {
        client.write(&Reply::Succeeded.bytes()).await?;
        server.write(&buffer).await
    };
    if early.await.is_ok() {
        drop(buffer);
        drop(place);
        _ = tunnel(&net.pipes, &client, &server).await;
    }
}

/// None when the client has gone.
async fn handshake(net: &Net, client: &Io, buffer: &mut Vec<u8>) -> Option<Result<socks::Request, Bad>> {
    let methods = match message(net, client, buffer, socks::greeting).await? {
        Ok(methods) => methods,
        Err(bad) => return Some(Err(bad)),
    };
    let token = net.asks(client);
    let method = match token {
        Some(_) if methods.password => Method::Password,
        None if methods.none => Method::None,
        // Clients that have a name and a password in their settings may offer nothing else.
        None if methods.password => Method::Password,
        _ => Method::Unacceptable,
    };
    client.write(&method.bytes()).await.ok()?;
    if method == Method::Password {
        let (user, password) = match message(net, client, buffer, socks::password).await? {
            Ok(both) => both,
            Err(bad) => return Some(Err(bad)),
        };
        let good = token.is_none_or(|token| same(&user, b"fence") & same(&password, token.as_bytes()));
        client.write(&socks::password_answer(good)).await.ok()?;
        if !good {
            return None;
        }
    }
    if method == Method::Unacceptable {
        return None;
    }
    message(net, client, buffer, socks::request).await
}

/// One message, taken off the buffer; None when the client has gone.
async fn message<T>(
    net: &Net,
    client: &Io,
    buffer: &mut Vec<u8>,
    read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, Bad>,
) -> Option<Result<T, Bad>> {
    loop {
        match read(buffer) {
            Ok(Some((message, used))) => {
                buffer.drain(..used);
                return Some(Ok(message));
            }
            Ok(None) => {}
            Err(bad) => return Some(Err(bad)),
        }
        net.read(client, buffer).await.ok().filter(|n| *n > 0)?;
    }
}

async fn refuse(net: &Net, client: &Io, reply: Option<Reply>) {
    if let Some(reply) = reply {
        super::net::farewell(net, client, &reply.bytes()).await;
    }
}

fn reply(why: &NoConnection) -> Reply {
    match why {
        NoConnection::Address(_) => Reply::NotAllowed,
        NoConnection::Errno(errno) => Reply::from_errno(errno.raw_os_error()),
        NoConnection::Unresolved(_) => Reply::HostUnreachable,
        NoConnection::Proxy(_) | NoConnection::Refused(_) => Reply::General,
    }
}
