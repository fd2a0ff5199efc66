//! The HTTP proxy: CONNECT tunnels, and requests with an absolute target, each judged by itself however many come on one
//! connection.

mod line;

use super::dial::NoConnection;
use super::net::{Net, farewell};
use super::reactor::{Io, both};
use super::relay::{self, Fault, is_stale, reset, tunnel};
use super::route::{Route, attempt, filtered};
use crate::error::describe;
use crate::monitor::event::Outcome;
use crate::rules::net::host::Host;
use crate::rules::net::proxy::base64;
use crate::wire::http::request::{NextHop, request};
use crate::wire::http::response::response;
use crate::wire::http::{Answer, Body, BodyReader, Malformed, Request, Target};
use line::log;
use rustix::io::Errno;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A client that asks for nothing more is closed.
const BETWEEN: Duration = Duration::from_secs(300);
/// A piece of a body of which so much is left goes through a pipe.
const WORTH_A_PIPE: u64 = 16 * 1024;

/// Serves one connection.
pub async fn serve(net: Rc<Net>, client: Io) {
    let mut session = Session { net, client, buffer: Vec::new(), server: None };
    while session.exchange().await == Next::Again {}
}

#[derive(PartialEq)]
enum Next {
    Again,
    Close,
}

/// A client's connection.
struct Session {
    net: Rc<Net>,
    client: Io,
    /// What it sent and nobody has taken.
    buffer: Vec<u8>,
    /// The server of the last request, if it goes on.
    server: Option<Server>,
}

struct Server {
    host: Host,
    port: u16,
    io: Io,
    buffer: Vec<u8>,
}

/// Why an exchange ends early.
enum End {
    /// The client is gone or its connection is.
    Client,
    /// The server ended before it answered.
    NoAnswer(Errno),
    /// The server broke off in the middle of its answer.
    Server,
    /// The server's answer can't be passed on.
    BadAnswer(Malformed),
    /// The client's body can't be passed on.
    BadBody(Malformed),
    /// All was said, but the connection can't be used again.
    Close,
}

impl Session {
    async fn exchange(&mut self) -> Next {
        let request = match self.next_request().await {
            Some(Ok(request)) => request,
            Some(Err(malformed)) => return self.last(Answer::from(malformed)).await,
            None => return Next::Close,
        };
        if self.net.asks(&self.client).is_some_and(|token| !shows(&request, token)) {
            return self.answer(&request, Answer::no_token()).await;
        }
        match request.target.clone() {
            Target::Origin => {
                log(&self.net, Outcome::Denied, &request.method, 403, ("", ""), Instant::now(), None);
                self.answer(&request, Answer::no_host()).await
            }
            Target::Tunnel { host, port } => {
                drop(request);
                self.tunnel(&host, port).await;
                Next::Close
            }
            Target::Absolute { host, port, path } => self.forward(&request, &host, port, &path).await,
        }
    }

    /// The next head; None when the client has ended, or says nothing.
    async fn next_request(&mut self) -> Option<Result<Request, Malformed>> {
        let Session { net, client, buffer, .. } = self;
        let head = async {
            let mut new = buffer.len();
            loop {
                match request(buffer, new) {
                    Ok(Some((request, used))) => {
                        buffer.drain(..used);
                        return Some(Ok(request));
                    }
                    Ok(None) => {}
                    Err(malformed) => return Some(Err(malformed)),
                }
                new = net.read(client, buffer).await.ok().filter(|n| *n > 0)?;
            }
        };
        net.reactor.within(BETWEEN, head).await.flatten()
    }

    /// Answers instead of a server. The client may go on when nothing of its request is still to come.
    async fn answer(&mut self, request: &Request, answer: Answer) -> Next {
        if !request.keep_alive
            || request.body != Body::None
            || matches!(request.target, Target::Tunnel { .. })
        {
            farewell(&self.net, &self.client, &answer.bytes(request.is_head(), true)).await;
            return Next::Close;
        }
        match self.client.write(&answer.bytes(request.is_head(), false)).await {
            Ok(()) => Next::Again,
            Err(_) => Next::Close,
        }
    }

    async fn last(&mut self, answer: Answer) -> Next {
        farewell(&self.net, &self.client, &answer.bytes(false, true)).await;
        Next::Close
    }

    async fn tunnel(&mut self, host: &Host, port: u16) {
        let started = Instant::now();
        let net = self.net.clone();
        let url = format!("https://{}:{port}", host.bracketed());
        let say = |outcome, status, advice| {
            let names = (host.to_string(), url.as_str());
            log(&net, outcome, "CONNECT", status, (&names.0, names.1), started, advice);
        };
        let route = match filtered(&net, host, port, true) {
            Ok(route) => route,
            Err(rule) => {
                say(Outcome::Denied, 403, Some((host, rule.as_deref())));
                self.last(Answer::denied(&host.to_string(), rule.as_deref())).await;
                return;
            }
        };
        let (server, early) = match attempt(&net, &route, host, port).await {
            Ok(connection) => connection,
            Err(why) => {
                let answer = refusal(host, &route, &why);
                say(outcome(&answer), answer.status, None);
                self.last(answer).await;
                return;
            }
        };
        say(route.outcome(), 200, None);
        let mut hello = b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec();
        hello.extend(early);
        let first = std::mem::take(&mut self.buffer);
        let said = async {
            self.client.write(&hello).await?;
            server.write(&first).await
        };
        if said.await.is_ok() {
            drop((hello, first, url));
            _ = tunnel(&net.pipes, &self.client, &server).await;
        }
    }

    async fn forward(&mut self, request: &Request, host: &Host, port: u16, path: &str) -> Next {
        let started = Instant::now();
        let net = self.net.clone();
        let name = host.to_string();
        let url = format!("http://{}{path}", authority(host, port));
        let say = |outcome, status, advice| {
            log(&net, outcome, &request.method, status, (&name, &url), started, advice);
        };
        let route = match filtered(&net, host, port, false) {
            Ok(route) => route,
            Err(rule) => {
                say(Outcome::Denied, 403, Some((host, rule.as_deref())));
                return self.answer(request, Answer::denied(&name, rule.as_deref())).await;
            }
        };
        let hop = match &route {
            Route::Direct => NextHop::Server,
            Route::Upstream(proxy) | Route::Caller(proxy) => NextHop::Proxy(proxy.authorization.as_deref()),
        };
        loop {
            let kept = self.server.take().filter(|s| s.host == *host && s.port == port && !is_stale(&s.io));
            let reused = kept.is_some();
            let mut server = match kept {
                Some(server) => server,
                None => match route.reach(&net, host, port).await {
                    Ok(io) => Server { host: host.clone(), port, io, buffer: Vec::new() },
                    Err(why) => {
                        let answer = refusal(host, &route, &why);
                        say(outcome(&answer), answer.status, None);
                        return self.answer(request, answer).await;
                    }
                },
            };
            let answered = Cell::new(false);
            let heard = |status| {
                answered.set(true);
                say(route.outcome(), status, None);
            };
            let end = self.pass(request, &mut server, hop, heard).await;
            let failed = match end {
                Ok(keep) => {
                    self.server = keep.then_some(server);
                    return Next::Again;
                }
                Err(End::Close) => return Next::Close,
                // It closed the kept connection at the moment when the request went out.
                Err(End::NoAnswer(_)) if reused && is_repeatable(request) => continue,
                Err(_) if answered.get() => None,
                Err(End::Client | End::Server) => None,
                Err(End::NoAnswer(errno)) => {
                    Some(Answer::unreachable(&name, &describe(errno.raw_os_error())))
                }
                Err(End::BadAnswer(malformed)) => Some(Answer::unreachable(&name, &malformed.to_string())),
                Err(End::BadBody(malformed)) => Some(malformed.into()),
            };
            reset(&server.io);
            if let Some(answer) = failed {
                say(Outcome::Failed, answer.status, None);
                return self.last(answer).await;
            }
            // The client must not take what it has for the whole.
            reset(&self.client);
            return Next::Close;
        }
    }

    /// Request to the server, answer to the client, both at once. Whether the server may be used again.
    async fn pass(
        &mut self,
        request: &Request,
        server: &mut Server,
        hop: NextHop<'_>,
        heard: impl Fn(u16),
    ) -> Result<bool, End> {
        let Session { net, client, buffer, .. } = self;
        let net = &**net;
        let mut upload = BodyReader::new(request.body);
        // Head and body in one piece, as far as it is here.
        let mut first = request.head(hop, false);
        let count = upload.take(buffer).map_err(End::BadBody)?;
        first.extend(buffer.drain(..count));
        // Whether the client has begun with its body, or has none.
        let begun = Cell::new(count > 0 || upload.done());
        let refused = Cell::new(false);
        let keep = Cell::new(false);
        let upgraded = Cell::new(false);
        let Server { io, buffer: received, .. } = server;
        let io = &*io;
        let sending = async {
            // A server that does not want all of it has mostly said why.
            let sent = io.write(&first).await.map_err(|errno| Fault::To(errno).into());
            drop(first);
            let sent = match sent {
                Ok(()) => body(net, (client, io), &mut upload, buffer, &begun).await,
                failed => failed,
            };
            match sent {
                Err(Broken::At(Fault::To(_))) => refused.set(true),
                Err(Broken::At(Fault::From(_))) => return Err(End::Client),
                Err(Broken::Malformed(malformed)) => return Err(End::BadBody(malformed)),
                Ok(()) => {}
            }
            Ok(())
        };
        let receiving = async {
            let response = loop {
                let response = next_response(net, io, received, request).await?;
                if !response.is_interim() {
                    break response;
                }
                if request.minor > 0 {
                    client.write(&response.head(false)).await.map_err(|_| End::Client)?;
                }
            };
            heard(response.status);
            upgraded.set(response.status == 101);
            keep.set(response.keep_alive);
            // A client that waits for 100 does not say whether it will send its body after this.
            let unclear = !begun.get() || refused.get();
            let close = !request.keep_alive || response.body == Body::Close || unclear;
            let mut out = response.head(close);
            let mut download = BodyReader::new(response.body);
            let count = download.take(received).map_err(End::BadAnswer)?;
            out.extend(received.drain(..count));
            drop(response);
            client.write(&out).await.map_err(|_| End::Client)?;
            drop(out);
            if upgraded.get() {
                return Ok(());
            }
            body(net, (io, client), &mut download, received, &Cell::new(true)).await.map_err(|broken| {
                match broken {
                    Broken::At(Fault::To(_)) => End::Client,
                    Broken::At(Fault::From(_)) => End::Server,
                    Broken::Malformed(malformed) => End::BadAnswer(malformed),
                }
            })?;
            if close { Err(End::Close) } else { Ok(()) }
        };
        both(sending, receiving).await?;
        if upgraded.get() {
            return Err(self.switch(server).await);
        }
        // Bytes that nobody asked for: of which answer?
        Ok(keep.get() && server.buffer.is_empty())
    }

    /// After 101: bytes both ways, those first that came along.
    async fn switch(&mut self, server: &mut Server) -> End {
        let (from_client, from_server) =
            (std::mem::take(&mut self.buffer), std::mem::take(&mut server.buffer));
        let early = async {
            self.client.write(&from_server).await?;
            server.io.write(&from_client).await
        };
        if early.await.is_ok() {
            drop((from_client, from_server));
            _ = tunnel(&self.net.pipes, &self.client, &server.io).await;
        }
        End::Close
    }
}

/// Why a body did not get through.
enum Broken {
    At(Fault),
    Malformed(Malformed),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Broken {
        Broken::At(fault)
    }
}

/// The rest of a body from one to the other; what comes after it stays in `buffer`.
async fn body(
    net: &Net,
    (from, to): (&Io, &Io),
    reader: &mut BodyReader,
    buffer: &mut Vec<u8>,
    begun: &Cell<bool>,
) -> Result<(), Broken> {
    while !reader.done() {
        let raw = reader.raw_left();
        if raw == u64::MAX {
            return Ok(relay::pass(&net.pipes, from, to, None).await?);
        }
        if raw >= WORTH_A_PIPE && begun.get() {
            relay::pass(&net.pipes, from, to, Some(raw)).await?;
            reader.skip(raw);
            continue;
        }
        if net.read(from, buffer).await.map_err(Fault::From)? == 0 {
            return Err(Fault::From(Errno::CONNRESET).into());
        }
        begun.set(true);
        let count = reader.take(buffer).map_err(Broken::Malformed)?;
        to.write(&buffer[..count]).await.map_err(Fault::To)?;
        buffer.drain(..count);
    }
    if buffer.is_empty() {
        *buffer = Vec::new();
    }
    Ok(())
}

async fn next_response(
    net: &Net,
    io: &Io,
    received: &mut Vec<u8>,
    request: &Request,
) -> Result<crate::wire::http::Response, End> {
    let mut new = received.len();
    loop {
        match response(received, new, Some(request)) {
            Ok(Some((response, used))) => {
                received.drain(..used);
                return Ok(response);
            }
            Ok(None) => {}
            Err(malformed) => return Err(End::BadAnswer(malformed)),
        }
        new = net.read(io, received).await.map_err(End::NoAnswer)?;
        if new == 0 {
            return Err(End::NoAnswer(Errno::CONNRESET));
        }
    }
}

/// Whether it does no harm to send it twice, and nothing of it is gone.
fn is_repeatable(request: &Request) -> bool {
    request.body == Body::None && ["GET", "HEAD", "OPTIONS"].contains(&request.method.as_str())
}

/// Whether the client knows the run's token. The time that it takes does not depend on where they differ.
fn shows(request: &Request, token: &str) -> bool {
    let wanted = format!("Basic {}", base64(format!("fence:{token}").as_bytes()));
    let mut values = request.headers.values("proxy-authorization");
    values.any(|value| same(value, wanted.as_bytes()))
}

/// Compares secrets.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn refusal(host: &Host, route: &Route<'_>, why: &NoConnection) -> Answer {
    let host = host.to_string();
    match (why, route) {
        (NoConnection::Address(refused), _) => Answer::blocked(&format!("{host}: {refused}")),
        (NoConnection::Refused(_), Route::Upstream(_)) => Answer::upstream_denied(&host),
        _ => Answer::unreachable(&host, &why.to_string()),
    }
}

/// What a refusal of fence's own is to the log.
fn outcome(answer: &Answer) -> Outcome {
    if answer.status == 403 { Outcome::Denied } else { Outcome::Failed }
}

fn authority(host: &Host, port: u16) -> String {
    match port {
        80 => host.bracketed(),
        port => format!("{}:{port}", host.bracketed()),
    }
}
