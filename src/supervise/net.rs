//! What all connections share: the rules, the way out, the pipes, the log, and how many there may be.

use super::callers::{Callers, of_client};
use super::reactor::{Io, Reactor, Result, Way};
use super::relay::Pipes;
use super::resolve::Sources;
use crate::error::Failure;
use crate::log::Log;
use crate::plan::net::{Mode, Network};
use crate::rules::net::NetRules;
use crate::rules::net::proxy::Proxy;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Connections at most, where descriptors suffice.
const MOST: usize = 4096;
/// Descriptors that connections leave to all else: pipes, listeners, what the caller left open.
const RESERVED: u64 = 400;
/// More at once are refused; beyond these nobody is even told.
const REFUSALS: usize = 64;
/// Read at a time.
pub const PIECE: usize = 16 * 1024;

/// Shared by all tasks.
pub struct Net {
    /// The executor.
    pub reactor: Rc<Reactor>,
    /// Who may be reached.
    pub rules: NetRules,
    /// Where names are resolved.
    pub sources: Sources,
    /// `network.upstreamProxy`
    pub upstream: Option<Proxy>,
    /// The caller's own proxies.
    pub caller: Caller,
    /// What clients must know where other users can connect too.
    pub token: Option<String>,
    /// Who needs no token.
    pub callers: Arc<Callers>,
    /// For relays.
    pub pipes: Pipes,
    /// Where lines go.
    pub log: Arc<Log>,
    /// Connections that there are.
    pub connections: Cell<usize>,
    /// Connections that there may be.
    pub most: usize,
    scratch: RefCell<Vec<u8>>,
}

/// The caller's own proxies, which allowed traffic goes on to.
#[derive(Default)]
pub struct Caller {
    /// For `http:` requests.
    pub http: Option<Proxy>,
    /// For everything else.
    pub https: Option<Proxy>,
    /// Hosts to reach without.
    pub none_for: String,
}

impl Net {
    /// With nothing but rules: what a run adds is set afterwards.
    pub fn new(reactor: Rc<Reactor>, rules: NetRules, log: Arc<Log>) -> Net {
        Net {
            reactor,
            rules,
            sources: Sources::default(),
            upstream: None,
            caller: Caller::default(),
            token: None,
            callers: Arc::default(),
            pipes: Pipes::default(),
            log,
            connections: Cell::new(0),
            most: connections_for(descriptors()),
            scratch: RefCell::default(),
        }
    }

    /// As the plan has it.
    ///
    /// # Errors
    /// The policy has an entry that names no host, or an upstream proxy that is none.
    pub fn of(
        reactor: Rc<Reactor>,
        network: &Network,
        callers: Arc<Callers>,
        log: Arc<Log>,
    ) -> crate::error::Result<Net> {
        let policy = &network.policy;
        let mut net = Net::new(reactor, NetRules::new(policy)?, log);
        net.callers = callers;
        if !policy.upstream_proxy.is_empty() {
            let parsed = Proxy::parse(&policy.upstream_proxy);
            let bad = |why| Failure::new(format!("invalid network.upstreamProxy: {why}"));
            net.upstream = Some(parsed.map_err(bad)?);
        }
        let caller = &network.caller_proxy;
        let parse = |variable: &str, url: &str| match Proxy::parse(url) {
            _ if url.is_empty() => None,
            Ok(proxy) => Some(proxy),
            Err(why) => {
                net.log.warn(&format!(
                    "cannot go through {variable}: {why}; allowed hosts are reached without it"
                ));
                None
            }
        };
        let http = parse("HTTP_PROXY", &caller.http);
        let https = parse("HTTPS_PROXY", &caller.https);
        net.caller = Caller { http, https, none_for: caller.none_for.clone() };
        if let Mode::Host(proxy) | Mode::Brokered(proxy) = &network.mode {
            net.token = Some(proxy.token.clone());
        }
        Ok(net)
    }

    /// The run's token, where a client that has sent something must show it.
    pub fn asks(&self, client: &Io) -> Option<&str> {
        let token = self.token.as_deref()?;
        let known = of_client(client).is_some_and(|address| self.callers.has(address));
        (!known).then_some(token)
    }

    /// Reads what there is to the end of `buffer`, which grows by no more than that; 0: the other side has ended.
    pub async fn read(&self, io: &Io, buffer: &mut Vec<u8>) -> Result<usize> {
        poll_fn(|_| {
            let mut scratch = self.scratch.borrow_mut();
            scratch.resize(PIECE, 0);
            io.poll_try(Way::Read, |fd| {
                let (_, n) = recv(fd, scratch.as_mut_slice(), RecvFlags::DONTWAIT)?;
                buffer.extend_from_slice(&scratch[..n]);
                Ok(n)
            })
        })
        .await
    }
}

/// The kernel's limit on this process's descriptors, raised as far as it goes: the command was forked before and keeps its
/// own.
fn descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A connection has two sockets, and for a moment one more: to a name server, or to a second address.
fn connections_for(descriptors: u64) -> usize {
    (descriptors.saturating_sub(RESERVED) / 3).clamp(16, MOST as u64) as usize
}

/// One connection more, until it is dropped.
struct Counted {
    net: Rc<Net>,
    /// Where it comes from, if that matters.
    client: Option<SocketAddr>,
}

impl Counted {
    fn new(net: &Rc<Net>, client: &Io) -> Counted {
        net.connections.set(net.connections.get() + 1);
        Counted { net: net.clone(), client: net.token.as_ref().and_then(|_| of_client(client)) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.net.connections.set(self.net.connections.get() - 1);
        self.client.into_iter().for_each(|client| self.net.callers.forget(client));
    }
}

/// Accepts for ever. Beyond the limit clients get `refusal` and are closed.
pub async fn accept<F: Future<Output = ()> + 'static>(
    net: Rc<Net>,
    listener: Io,
    refusal: Vec<u8>,
    serve: impl Fn(Rc<Net>, Io) -> F,
) {
    loop {
        // Out of descriptors or memory, or a socket that is gone: whoever waits in the queue waits a little longer.
        let pause = || net.reactor.sleep(Duration::from_millis(50));
        if net.connections.get() >= net.most + REFUSALS {
            pause().await;
            continue;
        }
        let client = match listener.accept().await {
            Ok(fd) => Io::new(&net.reactor, fd, false),
            Err(Errno::CONNABORTED) => continue,
            Err(errno) => Err(errno),
        };
        let Ok(client) = client else {
            pause().await;
            continue;
        };
        super::dial::eager(&client);
        let counted = Counted::new(&net, &client);
        if net.connections.get() > net.most {
            let refusal = refusal.clone();
            net.reactor.spawn(async move { farewell(&counted.net, &client, &refusal).await });
        } else {
            let serving = serve(net.clone(), client);
            net.reactor.spawn(async move {
                serving.await;
                drop(counted);
            });
        }
    }
}

/// The last words to a client. What it still sends is taken for a while: a close with bytes unread would be a reset, which
/// overtakes them.
pub async fn farewell(net: &Net, client: &Io, words: &[u8]) {
    let rest = async {
        _ = client.write(words).await;
        _ = rustix::net::shutdown(client, rustix::net::Shutdown::Write);
        let mut ignored = Vec::new();
        while let Ok(1..) = net.read(client, &mut ignored).await {
            ignored.clear();
        }
    };
    net.reactor.within(Duration::from_secs(2), rest).await;
}
