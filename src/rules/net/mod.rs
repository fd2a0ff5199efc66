//! Verdicts on hosts and addresses: one function on one canonical form, for every proxy and broker.

pub mod host;
pub mod proxy;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::policy::Network;
use crate::error::{Failure, Result};
use host::{Host, canonical};

/// What becomes of a connection. Ports don't matter: the lists have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Dial it; each address that the name resolves to goes through [`NetRules::address`] first.
    Allow {
        /// The entry of `network.allowedDomains` that matched, as written.
        rule: String,
    },
    /// Refuse it.
    Deny {
        /// The entry of `network.deniedDomains` that matched, as written; none: nothing allows the host.
        rule: Option<String>,
    },
    /// Hand the request to `network.upstreamProxy`, which judges it. For SOCKS this is a denial.
    Upstream,
}

/// `network` of the policy, ready to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetRules {
    allowed: Vec<Rule>,
    denied: Vec<Rule>,
    upstream: bool,
}

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    written: String,
    pattern: Pattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    All,
    /// `*.example.com`, held as `.example.com`.
    Below(String),
    Exact(Host),
}

impl Rule {
    fn new(key: &str, written: &str) -> Result<Rule> {
        let bad = |e| Failure::new(format!("{key}: the entry {written:?} names no host: {e}"));
        let pattern = match written.strip_prefix("*.") {
            _ if written == "*" => Pattern::All,
            // The name is checked with a label in front: the end of an address has no canonical form of its own.
            Some(name) => match canonical(format!("x.{name}").as_bytes()) {
                Ok(below) => Pattern::Below(below.to_string().split_off(1)),
                Err(host::HostError::Address) if name.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
                    Pattern::Below(format!(".{name}"))
                }
                Err(e) => return Err(bad(e)),
            },
            None => Pattern::Exact(canonical(written.as_bytes()).map_err(bad)?),
        };
        Ok(Rule { written: written.to_string(), pattern })
    }

    fn matches(&self, host: &Host) -> bool {
        match &self.pattern {
            Pattern::All => true,
            Pattern::Below(end) => match host {
                Host::Name(name) => name.ends_with(end.as_str()),
                Host::Address(IpAddr::V4(address)) => address.to_string().ends_with(end.as_str()),
                Host::Address(IpAddr::V6(_)) => false,
            },
            Pattern::Exact(exact) => exact == host,
        }
    }

    fn names(&self, address: IpAddr) -> bool {
        self.pattern == Pattern::Exact(Host::Address(address))
    }
}

impl NetRules {
    /// Reads the lists.
    ///
    /// # Errors
    /// An entry that can match no host: a denial among them would not hold.
    pub fn new(network: &Network) -> Result<NetRules> {
        let rules = |key: &str, list: &[String]| -> Result<Vec<Rule>> {
            list.iter().map(|entry| Rule::new(key, entry)).collect()
        };
        let allowed = rules("network.allowedDomains", &network.allowed_domains)?;
        let denied = rules("network.deniedDomains", &network.denied_domains)?;
        let upstream = !network.upstream_proxy.is_empty() && network.default_action != "deny";
        Ok(NetRules { allowed, denied, upstream })
    }

    /// Whether a connection to the host may be made. Denials come first.
    pub fn verdict(&self, host: &Host) -> Verdict {
        if let Some(rule) = self.denial(host) {
            return Verdict::Deny { rule: Some(rule.written.clone()) };
        }
        if let Host::Address(address) = host
            && self.address(host, *address).is_err()
        {
            return Verdict::Deny { rule: None };
        }
        match self.allowed.iter().find(|rule| rule.matches(host)) {
            Some(rule) => Verdict::Allow { rule: rule.written.clone() },
            None if self.upstream => Verdict::Upstream,
            None => Verdict::Deny { rule: None },
        }
    }

    /// Whether an address that an allowed host resolved to may be dialled. Private ranges may; what only this machine, this
    /// link or the cloud's own services answer on needs an entry of its own, or the host `localhost` one.
    ///
    /// # Errors
    /// Why not.
    pub fn address(&self, host: &Host, address: IpAddr) -> std::result::Result<(), Refused> {
        let address = address.to_canonical();
        if let Some(rule) = self.denial(&Host::Address(address)) {
            return Err(Refused { address, why: Why::Denied(rule.written.clone()) });
        }
        let carried = carried(address);
        let Some(kind) = special(address).or_else(|| carried.and_then(special)) else { return Ok(()) };
        let listed = |address| self.allowed.iter().any(|rule| rule.names(address));
        let localhost = address.is_loopback() && *host == Host::Name("localhost".into());
        if localhost || listed(address) || carried.is_some_and(listed) {
            return Ok(());
        }
        Err(Refused { address, why: Why::Special(kind) })
    }

    /// The denial that a host meets, also by the IPv4 address that its IPv6 address carries.
    fn denial(&self, host: &Host) -> Option<&Rule> {
        let carried = match host {
            Host::Address(address) => carried(*address).map(Host::Address),
            Host::Name(_) => None,
        };
        self.denied
            .iter()
            .find(|rule| rule.matches(host) || carried.as_ref().is_some_and(|c| rule.matches(c)))
    }
}

/// An address that is not dialled, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The address.
    pub address: IpAddr,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    Denied(String),
    Special(&'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match &self.why {
            Why::Denied(rule) => write!(f, "{address} is in network.deniedDomains (\"{rule}\")"),
            Why::Special(kind) => {
                write!(
                    f,
                    "{address} is {kind} address: it needs an entry of its own in network.allowedDomains"
                )
            }
        }
    }
}

/// Addresses on which clouds serve their machines' secrets, outside the link-local ranges.
const METADATA: [IpAddr; 5] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // Amazon
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),  // Google
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),                  // Alibaba
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),                      // Oracle
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),                    // Azure
];

/// What kind of address that no name may lead to, with its article.
fn special(address: IpAddr) -> Option<&'static str> {
    let (link_local, unspecified) = match address {
        // The kernel takes 0.0.0.0 for this machine.
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[0] == 0),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.is_unspecified()),
    };
    Some(match address {
        _ if address.is_loopback() => "a loopback",
        _ if link_local => "a link-local",
        _ if unspecified => "an unspecified",
        _ if address.is_multicast() => "a multicast",
        // 240.0.0.0/4, the broadcast address in it.
        IpAddr::V4(v4) if v4.octets()[0] >= 240 => "a broadcast or reserved",
        _ if METADATA.contains(&address) => "a cloud metadata",
        _ => return None,
    })
}

/// The IPv4 address that an IPv6 address carries: somewhere on the way a translator or tunnel dials that one.
fn carried(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let s = v6.segments();
    let at = |i: usize| u32::from(s[i]) << 16 | u32::from(s[i + 1]);
    let v4 = match s {
        // :: and ::1 are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => return None,
        // IPv4-compatible, IPv4-translated, NAT64, NAT64 of a local prefix.
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => at(6),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => at(6),
        // 6to4.
        [0x2002, ..] => at(1),
        // Teredo: the client's address, inverted.
        [0x2001, 0, ..] => !at(6),
        // ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => at(6),
        _ => return None,
    };
    Some(IpAddr::V4(Ipv4Addr::from(v4)))
}

#[cfg(test)]
mod tests;
