//! The network as the command has it: which way it goes, who listens for it inside, what comes in.

use super::broker::{Broker, Listen};
use super::env::Hints;
use super::files::{Place, Rules};
use super::mounts::Mount;
use super::{Note, degraded, engine, private, unenforced};
use crate::cli::{ExposePort, Run};
use crate::config::{Policy, policy};
use crate::error::{Failure, Result};
use crate::facts::{Engine, Facts, HostProxy, Kind};
use crate::rules::net::NetRules;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Ports of the proxies and of the name server inside a network namespace of the sandbox's own.
pub const HTTP_PORT: u16 = 3128;
/// SOCKS5.
pub const SOCKS_PORT: u16 = 1080;
/// DNS.
pub const DNS_PORT: u16 = 53;

/// The network part of a plan. The proxy's URL is in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Which network the command is in.
    pub mode: Mode,
    /// `network` of the policy: what the proxies go by.
    pub policy: policy::Network,
    /// Sockets that listen in the sandbox's network namespace. The child makes them, the parent accepts on them.
    pub listeners: Vec<Listener>,
    /// Sockets that listen on the host for a port inside.
    pub inbound: Vec<ExposePort>,
    /// The caller's own proxies, which allowed traffic goes on to.
    pub caller_proxy: CallerProxy,
}

/// Which network the command is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its own, with nothing but a loopback device.
    Own,
    /// The host's, with nothing of it allowed: no internet sockets.
    None,
    /// The host's, where there is no network namespace: fence makes the command's sockets and connects them to its own proxies
    /// alone, which listen on the host's loopback.
    Brokered(HostProxy),
    /// The host's, because the policy allows every domain. The proxies listen on the host's loopback for programs that go
    /// through them all the same.
    Host(HostProxy),
}

/// A socket that listens in the sandbox's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What it serves.
    pub purpose: Purpose,
    /// Port on the sandbox's loopback, for IPv4 and IPv6.
    pub port: u16,
}

/// What a listening socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The HTTP proxy.
    Http,
    /// The SOCKS5 proxy.
    Socks,
    /// The name server, over UDP.
    Dns,
    /// The name server, over TCP.
    DnsTcp,
    /// A port of the host's loopback (`network.allowLocalOutboundPorts`): the listener's own number.
    Local,
}

/// `HTTP_PROXY` and its kin as the caller has them; empty: unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerProxy {
    /// For `http:` requests.
    pub http: String,
    /// For everything else.
    pub https: String,
    /// Hosts to reach without it.
    pub none_for: String,
}

/// Policy, flags and facts → the network part of the plan.
///
/// # Errors
/// A port of the host's that the policy asks for is one of the sandbox's own.
pub fn plan(policy: &Policy, run: &Run, facts: &Facts) -> Result<Network> {
    let mode = match (&facts.host_proxy, facts.engine) {
        (Some(proxy), _) if shares_host(policy) => Mode::Host(proxy.clone()),
        (Some(proxy), Engine::Landlock) => Mode::Brokered(proxy.clone()),
        (_, Engine::Landlock) => Mode::None,
        (_, Engine::Native | Engine::Bwrap) => Mode::Own,
    };
    // An entry that names no host stops the run here, not the proxies later.
    NetRules::new(&policy.network)?;
    let own = mode == Mode::Own;
    let served = own && engine::loopback(facts);
    if let Some(port) = reserved(policy).filter(|_| own) {
        return Err(Failure::new(format!(
            "network.allowLocalOutboundPorts entry {port} conflicts with a reserved in-sandbox proxy port"
        ))
        .hint("network.httpProxyPort and network.socksProxyPort move the proxies"));
    }
    Ok(Network {
        listeners: if served { listeners(policy, run, facts.engine) } else { Vec::new() },
        // The host's network is the command's: it binds the port itself.
        inbound: if served && !run.services_on_host { run.ports.clone() } else { Vec::new() },
        caller_proxy: caller_proxy(facts),
        policy: policy.network.clone(),
        mode,
    })
}

/// Whether the command gets the host's network: `allowedDomains` is exactly the pattern that stands for every host.
pub fn shares_host(policy: &Policy) -> bool {
    policy.network.allowed_domains.iter().any(|domain| domain == "*")
}

/// The proxies always listen, so that a refused program is told why. Names are only answered where some can be allowed, or
/// to show who asks.
fn listeners(policy: &Policy, run: &Run, engine: Engine) -> Vec<Listener> {
    let (http, socks) = ports(&policy.network);
    let mut listeners = vec![
        Listener { purpose: Purpose::Http, port: http },
        Listener { purpose: Purpose::Socks, port: socks },
    ];
    // bubblewrap leaves no right to listen on port 53.
    if answers_names(policy, run) && engine != Engine::Bwrap {
        listeners.push(Listener { purpose: Purpose::Dns, port: DNS_PORT });
        listeners.push(Listener { purpose: Purpose::DnsTcp, port: DNS_PORT });
    }
    if local_outbound(policy) {
        let ports = policy.network.allow_local_outbound_ports.iter();
        let mut ports: Vec<u16> = ports.filter_map(|port| u16::try_from(*port).ok()).collect();
        crate::order::set(&mut ports);
        listeners.extend(ports.into_iter().map(|port| Listener { purpose: Purpose::Local, port }));
    }
    listeners
}

/// The proxies as the command reaches them: HTTP and SOCKS. In a network that it shares with others they want the run's
/// token, but for a connection that the broker made.
pub fn proxy_urls(network: &Network) -> [String; 2] {
    let (ports, user) = match &network.mode {
        Mode::Own | Mode::None => (ports(&network.policy), String::new()),
        Mode::Brokered(proxy) => ((proxy.http, proxy.socks), String::new()),
        Mode::Host(proxy) => ((proxy.http, proxy.socks), format!("fence:{}@", proxy.token)),
    };
    [("http", ports.0), ("socks5h", ports.1)]
        .map(|(scheme, port)| format!("{scheme}://{user}127.0.0.1:{port}"))
}

/// What programs with ways of their own are told: only where some host can be reached, and through the proxy alone.
pub fn hints(network: &Network, fence: Option<&Path>) -> Option<Hints> {
    let port = match &network.mode {
        Mode::Own => ports(&network.policy).0,
        Mode::Brokered(proxy) => proxy.http,
        Mode::None | Mode::Host(_) => return None,
    };
    reaches_hosts(&network.policy).then(|| Hints { port, fence: fence.map(Path::to_path_buf) })
}

/// Ports of the HTTP and the SOCKS proxy inside.
pub fn ports(policy: &policy::Network) -> (u16, u16) {
    let or = |port: i64, standard| u16::try_from(port).ok().filter(|port| *port != 0).unwrap_or(standard);
    (or(policy.http_proxy_port, HTTP_PORT), or(policy.socks_proxy_port, SOCKS_PORT))
}

fn answers_names(policy: &Policy, run: &Run) -> bool {
    reaches_hosts(&policy.network) || run.monitor
}

fn reaches_hosts(policy: &policy::Network) -> bool {
    !policy.allowed_domains.is_empty() || !policy.upstream_proxy.is_empty()
}

fn local_outbound(policy: &Policy) -> bool {
    policy.network.allow_local_outbound.unwrap_or(policy.network.allow_local_binding)
}

fn caller_proxy(facts: &Facts) -> CallerProxy {
    // Lower case first, as curl does; an upper-case HTTP_PROXY alone may come from a CGI request, but not on a command line.
    let variable = |names: &[&str]| {
        let value = names.iter().find_map(|name| {
            let found = facts.environment.iter().find(|(n, value)| n == name && !value.is_empty());
            found.map(|(_, value)| value.to_string_lossy().into_owned())
        });
        value.unwrap_or_default()
    };
    CallerProxy {
        http: variable(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
        https: variable(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        none_for: variable(&["no_proxy", "NO_PROXY"]),
    }
}

/// The resolver's file inside names the sandbox's own server: laid over what `/etc/resolv.conf` leads to, after all else.
/// Without that file the C libraries ask 127.0.0.1 by themselves.
pub(super) fn resolver(network: &Network, facts: &Facts, rules: &Rules, mounts: &mut Vec<Mount>) {
    let asks = network.listeners.iter().any(|listener| listener.purpose == Purpose::Dns);
    let masked = |path: &Path| rules.places.get(path).is_some_and(|rule| rule.place == Place::Mask);
    let file = facts.at("/etc/resolv.conf").filter(|found| found.kind == Kind::File && !masked(&found.real));
    let (true, Some(file)) = (asks, file) else { return };
    let Some(dir) = super::mounts::own_directory(mounts) else { return };
    let text = "# fence answers for the hosts that the policy allows\nnameserver 127.0.0.1\n";
    let at = Path::new(dir).join("fence-resolv.conf");
    mounts.push(Mount::Text { text, at, over: file.real.clone() });
}

/// What the network settings do not give here, or give up.
pub(super) fn notes(policy: &Policy, run: &Run, facts: &Facts, network: &Network) -> Vec<Note> {
    let mut notes: Vec<Note> = services_on_host(run, facts).into_iter().collect();
    let closed = network.mode == Mode::None || network.mode == Mode::Own && !engine::loopback(facts);
    if closed {
        let asked = [
            ("network.allowedDomains", !policy.network.allowed_domains.is_empty()),
            ("network.upstreamProxy", !policy.network.upstream_proxy.is_empty()),
            ("network.allowLocalOutboundPorts", !policy.network.allow_local_outbound_ports.is_empty()),
            ("--port", !run.ports.is_empty()),
        ];
        notes.extend(asked.iter().filter(|(_, asked)| *asked).map(|(what, _)| {
            unenforced(format!(
                "{what} can't be served here: that takes a network namespace with a loopback device"
            ))
        }));
    } else if let Mode::Host(_) = network.mode {
        notes.push(degraded(
            "network.allowedDomains \"*\" shares the host's network: its loopback, the cloud's metadata address and raw sockets can be \
             reached, and deniedDomains binds only programs that go through the proxy",
        ));
    } else if facts.engine == Engine::Bwrap && reaches_hosts(&policy.network) {
        notes.push(degraded(
            "inside bubblewrap fence can't answer name queries: only programs that use the proxies reach the allowed hosts",
        ));
    } else if local_outbound(policy) && policy.network.allow_local_outbound_ports.is_empty() {
        notes.push(degraded(NO_PORTS));
    }
    let opens = facts.engine != Engine::Landlock || matches!(network.mode, Mode::Brokered(_));
    if !policy.network.allow_unix_sockets.is_empty() && !opens {
        notes.push(degraded("network.allowUnixSockets has no effect here: that takes a mount namespace, or the filter's listener"));
    }
    let beyond = run.ports.iter().find(|port| !port.addr.is_loopback());
    if let (Mode::Brokered(_), Some(port)) = (&network.mode, beyond) {
        notes.push(unenforced(format!(
            "--port {} can't be served here: without a network namespace ports inside are this host's loopback's",
            SocketAddr::new(port.addr, port.port)
        )));
    }
    notes
}

/// What the broker goes by, where there is one. `writable` are the places where the command makes sockets of its own, `listed`
/// what `network.allowUnixSockets` opens.
pub(super) fn broker(
    policy: &Policy,
    run: &Run,
    facts: &Facts,
    network: &Network,
    writable: Vec<PathBuf>,
    listed: &[PathBuf],
) -> Option<Broker> {
    let Mode::Brokered(proxy) = &network.mode else { return None };
    let outbound = policy.network.allow_local_outbound_ports.iter().filter(|_| local_outbound(policy));
    let ports = || run.ports.iter().map(|port| port.port).collect();
    Some(Broker {
        killable: matches!(facts.exec_listener, Some(Ok(true))),
        proxies: vec![proxy.http, proxy.socks],
        connect: outbound.filter_map(|port| u16::try_from(*port).ok()).collect(),
        listen: match policy.network.allow_local_binding {
            true => Listen::Any,
            false if run.ports.is_empty() => Listen::None,
            false => Listen::Ports(ports()),
        },
        all_unix: policy.network.allow_all_unix_sockets,
        unix: listed.to_vec(),
        writable,
        before: facts.unix_files.clone(),
    })
}

fn services_on_host(run: &Run, facts: &Facts) -> Option<Note> {
    let found = private::engines(facts.uid).filter(|path| facts.at(path).is_some());
    let open: Vec<String> = found.map(|path| path.display().to_string()).collect();
    run.services_on_host.then(|| match open.as_slice() {
        [] => unenforced("--service-execution-model on-host has no effect here: no container engine listens on this host"),
        open => degraded(format!(
            "--service-execution-model on-host opens {}: whoever can talk to a container engine controls this machine",
            open.join(" and ")
        )),
    })
}

/// The original's line, word for word.
const NO_PORTS: &str = "network.allowLocalOutbound=true on Linux requires network.allowLocalOutboundPorts to list the host loopback \
                        ports to bridge (e.g. [5432, 6379]). Without it, sandbox connections to 127.0.0.1 stay isolated inside the \
                        sandbox network namespace.";

fn reserved(policy: &Policy) -> Option<i64> {
    let (http, socks) = ports(&policy.network);
    let taken = |port: &&i64| [i64::from(http), i64::from(socks), i64::from(DNS_PORT)].contains(port);
    policy.network.allow_local_outbound_ports.iter().find(taken).filter(|_| local_outbound(policy)).copied()
}
