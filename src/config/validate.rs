//! Values that no run could mean: checked per file, before merging, in a fixed order; the first one is reported.

use std::path::Path;

use super::policy::{Devices, Network};
use super::{Policy, groups, lexical};

/// The first impossible value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Key path of the setting.
    pub path: &'static str,
    /// Which entry of its list.
    pub item: Option<usize>,
    /// What is wrong.
    pub what: String,
}

type Check = Result<(), Invalid>;

/// Checks one file's policy.
///
/// # Errors
/// The first impossible value.
pub fn check(policy: &Policy) -> Check {
    let Policy { network, filesystem, devices: wanted, macos, command, ssh, .. } = policy;
    check_network(network)?;
    each("macos.mach.lookup", &macos.lookup, |name| mach("macos.mach.lookup", name))?;
    each("macos.mach.register", &macos.register, |name| mach("macos.mach.register", name))?;
    none_empty("filesystem.allowRead", &filesystem.allow_read, "path")?;
    none_empty("filesystem.allowExecute", &filesystem.allow_execute, "path")?;
    none_empty("filesystem.denyRead", &filesystem.deny_read, "path")?;
    none_empty("filesystem.allowWrite", &filesystem.allow_write, "path")?;
    none_empty("filesystem.denyWrite", &filesystem.deny_write, "path")?;
    check_devices(wanted)?;
    none_empty("command.deny", &command.deny, "command")?;
    none_empty("command.allow", &command.allow, "command")?;
    one_of("command.runtimeExecPolicy", &command.runtime_exec_policy, &["path", "argv"])?;
    each("ssh.allowedHosts", &ssh.allowed_hosts, |host| ssh_host("ssh.allowedHosts", host))?;
    each("ssh.deniedHosts", &ssh.denied_hosts, |host| ssh_host("ssh.deniedHosts", host))?;
    none_empty("ssh.allowedCommands", &ssh.allowed_commands, "command")?;
    none_empty("ssh.deniedCommands", &ssh.denied_commands, "command")
}

fn check_network(network: &Network) -> Check {
    let pattern = |kind: &'static str| {
        move |name: &String| domain(name).map_err(|why| format!("invalid {kind} domain {name:?}: {why}"))
    };
    each("network.allowedDomains", &network.allowed_domains, pattern("allowed"))?;
    each("network.deniedDomains", &network.denied_domains, pattern("denied"))?;
    upstream_proxy(&network.upstream_proxy).map_err(|why| Invalid {
        path: "network.upstreamProxy",
        item: None,
        what: format!("invalid network.upstreamProxy: {why}"),
    })?;
    default_action(network)?;
    each("network.allowLocalOutboundPorts", &network.allow_local_outbound_ports, |port| {
        let text = || format!("invalid network.allowLocalOutboundPorts entry {port} (expected 1-65535)");
        (1..=65535).contains(port).then_some(()).ok_or_else(text)
    })
}

fn default_action(network: &Network) -> Check {
    let what = match network.default_action.as_str() {
        "" | "deny" => return Ok(()),
        "proxy" if !network.upstream_proxy.is_empty() => return Ok(()),
        "proxy" => "network.defaultAction \"proxy\" requires network.upstreamProxy to be set".to_string(),
        other => format!("invalid network.defaultAction {other:?}: must be \"deny\" or \"proxy\""),
    };
    Err(Invalid { path: "network.defaultAction", item: None, what })
}

fn check_devices(devices: &Devices) -> Check {
    one_of("devices.mode", &devices.mode, &["auto", "minimal", "host"])?;
    each("devices.allow", &devices.allow, |path| {
        let cleaned = lexical::clean(Path::new(path));
        if path.is_empty() {
            Err("devices.allow contains empty path".to_string())
        } else if cleaned == Path::new("/dev") {
            Err(format!("devices.allow path {path:?} is too broad; use devices.mode \"host\" instead"))
        } else if !cleaned.starts_with("/dev") {
            Err(format!("devices.allow path {path:?} must be under /dev/"))
        } else {
            Ok(())
        }
    })
}

/// A domain pattern: a group, `*`, `localhost`, `*.` and at least two labels, or a name with a dot inside.
///
/// # Errors
/// Why it is none.
pub fn domain(pattern: &str) -> Result<(), String> {
    if pattern.starts_with('@') {
        let unknown = || format!("unknown host group (known: {})", groups::names());
        return groups::hosts(pattern).map(|_| ()).ok_or_else(unknown);
    }
    if matches!(pattern, "*" | "localhost") {
        return Ok(());
    }
    if pattern.contains(['/', ':']) {
        return Err("domain pattern cannot contain protocol, path, or port".into());
    }
    let name = match pattern.strip_prefix("*.") {
        Some(rest) if !rest.contains('.') => {
            return Err("wildcard pattern too broad (e.g., *.com not allowed)".into());
        }
        Some(rest) => rest,
        None => pattern,
    };
    if name.contains('*') {
        return Err("only *.domain.com wildcard patterns are allowed".into());
    }
    if !name.contains('.') || name.starts_with('.') || name.ends_with('.') {
        return Err("invalid domain format".into());
    }
    Ok(())
}

/// `http://[user@]host[:port][/…]`, or nothing.
fn upstream_proxy(url: &str) -> Result<(), String> {
    if url.is_empty() {
        return Ok(());
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("missing scheme: URL must start with http:// (got {url:?})"));
    };
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let host = host_of(address).map_err(|why| format!("invalid URL: parse {url:?}: {why}"))?;
    if scheme != "http" {
        return Err(format!(
            "scheme {scheme:?} is not supported; only http:// upstream proxies are supported"
        ));
    }
    if host.is_empty() {
        return Err("URL has no host".into());
    }
    Ok(())
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_of(address: &str) -> Result<&str, String> {
    let bracketed = address.strip_prefix('[');
    let (host, port) = match bracketed {
        Some(rest) => rest.split_once(']').ok_or("missing ']' in host")?,
        None => address.split_at(address.find(':').unwrap_or(address.len())),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if digits.len() == port.len() && !port.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("invalid port {port:?} after host"));
    }
    match host.chars().find(|c| c.is_whitespace() || c.is_control() || "\"<>\\^`{|}".contains(*c)) {
        Some(strange) => Err(format!("invalid character {:?} in host name", strange.to_string())),
        None => Ok(host),
    }
}

fn mach(key: &str, name: &str) -> Result<(), String> {
    let stem = name.strip_suffix('*').unwrap_or(name);
    if name.is_empty() {
        Err(format!("{key} contains empty service name"))
    } else if stem.contains('*') {
        Err(format!("invalid {key} entry {name:?}: wildcards are only allowed as a single trailing '*'"))
    } else {
        Ok(())
    }
}

/// A host as ssh is told it: wildcards anywhere, IPv6 addresses bare.
fn ssh_host(key: &str, pattern: &str) -> Result<(), String> {
    let why = if pattern.is_empty() {
        "empty host pattern"
    } else if pattern.contains('/') {
        "host pattern cannot contain protocol or path"
    } else if pattern.matches(':').count() == 1 {
        // Two colons make it an IPv6 address.
        "host pattern cannot contain port; specify port in SSH command instead"
    } else if pattern.contains('@') {
        "host pattern should not contain username; specify just the host"
    } else {
        return Ok(());
    };
    Err(format!("invalid {key} {pattern:?}: {why}"))
}

fn none_empty(path: &'static str, list: &[String], what: &str) -> Check {
    // The kernel's strings end at a NUL: such an entry would match nothing.
    let text = |entry: &str| match entry.is_empty() {
        true => Err(format!("{path} contains empty {what}")),
        false if entry.contains('\0') => Err(format!("{path} contains {what} with a NUL character")),
        false => Ok(()),
    };
    each(path, list, |entry| text(entry))
}

/// An unset (empty) text passes.
fn one_of(path: &'static str, value: &str, known: &[&str]) -> Check {
    if value.is_empty() || known.contains(&value) {
        return Ok(());
    }
    let what = format!("invalid {path} {value:?} (expected one of: {})", known.join(", "));
    Err(Invalid { path, item: None, what })
}

fn each<T>(path: &'static str, list: &[T], check: impl Fn(&T) -> Result<(), String>) -> Check {
    for (i, entry) in list.iter().enumerate() {
        check(entry).map_err(|what| Invalid { path, item: Some(i), what })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_patterns() {
        let good = [
            "example.com",
            "*",
            "localhost",
            "*.example.com",
            "*.a.b.c",
            "10.0.0.1",
            "bücher.example",
            "_dmarc.a.com",
            "@npm",
        ];
        for pattern in good {
            assert_eq!(domain(pattern), Ok(()), "{pattern}");
        }
        let bad = [
            ("https://example.com", "protocol"),
            ("::1", "protocol"),
            ("a.com:443", "protocol"),
            ("*.com", "too broad"),
            ("*.", "too broad"),
            ("*.*", "too broad"),
            ("a.*.com", "only"),
            ("*.*.com", "only"),
            ("*a.com", "only"),
            ("*.a.com.", "format"),
            (".a.com", "format"),
            ("a.com.", "format"),
            ("a", "format"),
            ("", "format"),
            ("@nope", "unknown host group"),
        ];
        for (pattern, why) in bad {
            assert!(domain(pattern).is_err_and(|text| text.contains(why)), "{pattern}");
        }
    }

    #[test]
    fn upstream_proxies() {
        for url in
            ["", "http://127.0.0.1:8080", "http://u:p@h:1", "http://h/path", "http://[::1]:8080", "HTTP://h"]
        {
            assert_eq!(upstream_proxy(url), Ok(()), "{url}");
        }
        let bad = [
            ("127.0.0.1:8080", "missing scheme"),
            ("http:/x", "missing scheme"),
            ("https://h", "\"https\" is not supported"),
            ("http://", "URL has no host"),
            ("http://:8080", "URL has no host"),
            ("http://h:x", "invalid port \":x\""),
            ("http://[::1", "missing ']'"),
            ("http://h h", "invalid character \" \" in host name"),
        ];
        for (url, why) in bad {
            assert!(upstream_proxy(url).is_err_and(|text| text.contains(why)), "{url}");
        }
    }

    #[test]
    fn ssh_hosts() {
        for host in ["server1", "prod-*.example.com", "::1", "fe80::1%eth0", "*", "a:b:c"] {
            assert_eq!(ssh_host("k", host), Ok(()), "{host}");
        }
        for host in ["", "ssh://a", "a/b", "a:22", "u@a"] {
            assert!(ssh_host("k", host).is_err(), "{host}");
        }
    }
}
