//! The way to a host: none, straight, or through a proxy of somebody else's.

use super::dial::{LIMIT, NoConnection, dial, first_of};
use super::net::Net;
use super::reactor::Io;
use crate::monitor::event::{Event, Layer, Outcome, Subject};
use crate::rules::net::Verdict;
use crate::rules::net::host::Host;
use crate::rules::net::proxy::{Proxy, is_exempt};
use crate::wire::http::{request, response};
use rustix::io::Errno;

/// How an allowed host is reached.
pub enum Route<'a> {
    /// Resolved and dialled here.
    Direct,
    /// `network.upstreamProxy`, which judges.
    Upstream(&'a Proxy),
    /// The proxy that the caller's environment names.
    Caller(&'a Proxy),
}

/// The verdict on a host, and the way to it. `tunnel`: bytes that only the client understands.
///
/// # Errors
/// It is denied, by this entry of `network.deniedDomains` or because none allows it.
pub fn filtered<'a>(net: &'a Net, host: &Host, port: u16, tunnel: bool) -> Result<Route<'a>, Option<String>> {
    let place = || format!("{}:{port}", host.bracketed());
    let say = |text: String| net.log.debug("fence:filter", &text);
    match net.rules.verdict(host) {
        Verdict::Allow { rule } => {
            say(format!("Allowed by rule: {} (matched {rule})", place()));
            let proxy = if tunnel { &net.caller.https } else { &net.caller.http };
            let proxy = proxy.as_ref().filter(|_| !is_exempt(&net.caller.none_for, host, port));
            Ok(proxy.map_or(Route::Direct, Route::Caller))
        }
        Verdict::Deny { rule: Some(rule) } => {
            say(format!("Denied by rule: {} (matched {rule})", place()));
            Err(Some(rule))
        }
        verdict => match net.upstream.as_ref().filter(|_| verdict == Verdict::Upstream) {
            Some(proxy) => {
                say(format!("No matching rule, forwarding upstream: {}", place()));
                Ok(Route::Upstream(proxy))
            }
            None => {
                say(format!("No matching rule, denying: {}", place()));
                Err(None)
            }
        },
    }
}

impl Route<'_> {
    /// A denial, where the host is for the upstream proxy to judge and that one can't be asked.
    ///
    /// # Errors
    /// As from [`filtered`]: no rule allows the host.
    pub fn unless_upstream(self) -> Result<Self, Option<String>> {
        if matches!(self, Route::Upstream(_)) { Err(None) } else { Ok(self) }
    }

    /// What a log line calls it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Route::Upstream(_) => Outcome::Upstream,
            _ => Outcome::Allowed,
        }
    }

    /// A connection to the next hop: the host itself, or the proxy.
    pub async fn reach(&self, net: &Net, host: &Host, port: u16) -> Result<Io, NoConnection> {
        match self {
            Route::Direct => dial(net, host, port).await,
            Route::Upstream(proxy) | Route::Caller(proxy) => {
                // The user's own choice: no rule of the sandbox is about it.
                let connected = async {
                    let addresses = super::dial::addresses(net, &proxy.host).await?;
                    first_of(net, addresses, proxy.port).await.map_err(NoConnection::Errno)
                };
                let connected = net.reactor.within(LIMIT, connected).await;
                let connected = connected.unwrap_or(Err(NoConnection::Errno(Errno::TIMEDOUT)));
                connected.map_err(|why| NoConnection::Proxy(Box::new(why)))
            }
        }
    }
}

/// A connection to the host through whatever lies between, and the bytes that it sent already.
///
/// # Errors
/// Why there is none.
pub async fn attempt(
    net: &Net,
    route: &Route<'_>,
    host: &Host,
    port: u16,
) -> Result<(Io, Vec<u8>), NoConnection> {
    let io = route.reach(net, host, port).await?;
    let (Route::Upstream(proxy) | Route::Caller(proxy)) = route else { return Ok((io, Vec::new())) };
    let asked = async {
        io.write(&request::connect(host, port, proxy.authorization.as_deref())).await?;
        let mut received = Vec::new();
        let mut new = 0;
        loop {
            match response::response(&received, new, None) {
                Ok(Some((answer, used))) if !answer.is_interim() => {
                    received.drain(..used);
                    return Ok((answer.status, received));
                }
                Ok(Some((_, used))) => {
                    received.drain(..used);
                    new = received.len();
                    if new > 0 {
                        continue;
                    }
                }
                Ok(None) => {}
                Err(_) => return Err(Errno::PROTO),
            }
            new = net.read(&io, &mut received).await?;
            if new == 0 {
                return Err(Errno::CONNRESET);
            }
        }
    };
    // It connects in its turn.
    let answer = net.reactor.within(3 * LIMIT, asked).await.unwrap_or(Err(Errno::TIMEDOUT));
    match answer {
        Ok((200..300, early)) => Ok((io, early)),
        Ok((status, _)) => Err(NoConnection::Refused(status)),
        Err(errno) => Err(NoConnection::Proxy(Box::new(NoConnection::Errno(errno)))),
    }
}

/// Tells the log what became of a connection; of a denied host also the rule, and what would allow it.
pub fn report(
    net: &Net,
    layer: Layer,
    outcome: Outcome,
    what: String,
    subject: &str,
    denied: Option<(&Host, Option<&str>)>,
) {
    let mut event = Event::new(layer, outcome, what, Subject::Host(subject.to_string()));
    match denied {
        Some((_, Some(rule))) => {
            event = event
                .rule(format!("network.deniedDomains {rule:?}"))
                .allow(format!("take {rule:?} out of network.deniedDomains"));
        }
        Some((host, None)) => event = event.allow(format!("add \"{host}\" to network.allowedDomains")),
        None => {}
    }
    net.log.event(&event);
}
