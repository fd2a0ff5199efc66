//! Proxies of others on the way out: their URLs, and which hosts go without.

use super::host::{Host, canonical};
use std::net::IpAddr;

/// A proxy that speaks HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where it is.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

impl Proxy {
    /// Reads `[http://][USER[:PASSWORD]@]HOST[:PORT][/]`.
    ///
    /// # Errors
    /// Another scheme, or no host: in words.
    pub fn parse(url: &str) -> Result<Proxy, &'static str> {
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err("only http:// proxies are supported"),
            None => url,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        // The port is after the last colon, unless that one is inside the brackets of an IPv6 address.
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (place, ""),
        };
        let port = if port.is_empty() { Some(80) } else { port.parse().ok() };
        let host = canonical(host.as_bytes()).map_err(|_| "it names no host")?;
        let authorization = user.map(|user| {
            let user = if user.contains(':') { user.to_string() } else { format!("{user}:") };
            format!("Basic {}", base64(&percent_decoded(&user)))
        });
        Ok(Proxy { host, port: port.ok_or("its port is no number")?, authorization })
    }
}

/// Whether `no_proxy` lists the host: names match themselves and what is below them, `*` matches all.
pub fn is_exempt(no_proxy: &str, host: &Host, port: u16) -> bool {
    // The host's own loopback is nowhere else.
    let loopback = match host {
        Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Address(address) => address.is_loopback(),
    };
    let mut entries = no_proxy.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
    loopback || entries.any(|entry| matches(entry, host, port))
}

fn matches(entry: &str, host: &Host, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let (Some((net, bits)), Host::Address(address)) = (entry.split_once('/'), host) {
        return net.parse().is_ok_and(|net| is_within(*address, net, bits.parse().unwrap_or(u32::MAX)));
    }
    let (entry, wanted) = match entry.rsplit_once(':') {
        Some((name, number)) if number.parse::<u16>().is_ok() && !name.contains(':') => {
            (name, number.parse().ok())
        }
        _ => (entry, None),
    };
    if wanted.is_some_and(|wanted: u16| wanted != port) {
        return false;
    }
    let entry = entry.trim_start_matches('*').trim_start_matches('.');
    match (canonical(entry.as_bytes()), host) {
        (Ok(Host::Name(entry)), Host::Name(name)) => {
            name.strip_suffix(entry.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        }
        (Ok(entry), host) => entry == *host,
        (Err(_), _) => false,
    }
}

/// Whether the address is in the network of the first `bits` bits of `net`.
fn is_within(address: IpAddr, net: IpAddr, bits: u32) -> bool {
    let (a, b, width) = match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    bits <= width && (a ^ b).checked_shr(width - bits).unwrap_or(0) == 0
}

/// Base 64, as `Authorization` wants it.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = text.get(i + 1..i + 3).filter(|_| bytes[i] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        canonical(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_proxy_s_url_in_its_forms() {
        let proxy = Proxy::parse("http://joe%40x:p%3Aw@Proxy.Example.test:8080/").unwrap();
        assert_eq!((proxy.host, proxy.port), (host("proxy.example.test"), 8080));
        assert_eq!(proxy.authorization.unwrap(), "Basic am9lQHg6cDp3");
        assert_eq!(Proxy::parse("proxy:3128").unwrap().port, 3128);
        assert_eq!(Proxy::parse("http://[::1]:81").unwrap().host, host("::1"));
        assert_eq!(Proxy::parse("http://[::1]").unwrap().port, 80);
        for bad in ["https://p:1", "socks5://p:1", "http://", "http://p:70000", "http://:80"] {
            assert!(Proxy::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_of_all_lengths() {
        let rows = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, coded) in rows {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn hosts_that_go_without_a_proxy() {
        let rows = [
            ("", "localhost", 80, true),
            ("", "127.0.0.1", 80, true),
            ("", "a.example.test", 80, false),
            ("*", "a.example.test", 80, true),
            ("example.test", "a.example.test", 80, true),
            (".example.test", "a.example.test", 80, true),
            ("*.example.test", "a.example.test", 80, true),
            ("example.test", "badexample.test", 80, false),
            ("x.test, example.test:443", "example.test", 443, true),
            ("example.test:443", "example.test", 80, false),
            ("10.0.0.0/8", "10.1.2.3", 80, true),
            ("10.0.0.0/8", "11.1.2.3", 80, false),
            ("0.0.0.0/0", "11.1.2.3", 80, true),
            ("10.0.0.0/33", "10.0.0.0", 80, false),
            ("fd00::/16", "fd00:1::1", 80, true),
            ("10.1.2.3", "10.1.2.3", 80, true),
            ("::1", "fd00::1", 80, false),
        ];
        for (list, name, port, exempt) in rows {
            assert_eq!(is_exempt(list, &host(name), port), exempt, "{list} {name}:{port}");
        }
    }
}
