//! The verdict: the original's rows, addresses that need an entry of their own, and properties over random lists and hosts.
#![allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]

use super::*;
use crate::config::file;
use crate::testdata::table;

const DOMAINS: &str = include_str!("../../../tests/data/compat/domain.tsv");

fn rules(json: &str) -> NetRules {
    let file = file::read("test", json, false).unwrap().file;
    NetRules::new(&file.policy.network).unwrap()
}

fn lists(allowed: &[&str], denied: &[&str]) -> NetRules {
    let texts = |list: &[&str]| list.iter().map(|entry| entry.to_string()).collect();
    let network =
        Network { allowed_domains: texts(allowed), denied_domains: texts(denied), ..Network::default() };
    NetRules::new(&network).unwrap()
}

/// What becomes of a host as a client spells it: one that has no canonical form is refused.
fn judged(rules: &NetRules, host: &str) -> Verdict {
    canonical(host.as_bytes()).map_or(Verdict::Deny { rule: None }, |host| rules.verdict(&host))
}

fn allows(rules: &NetRules, host: &str) -> bool {
    matches!(judged(rules, host), Verdict::Allow { .. })
}

#[test]
fn rows_of_one_pattern() {
    let rows: Vec<_> = table(DOMAINS).into_iter().filter(|row| row["kind"] == "domain-match").collect();
    assert_eq!(rows.len(), 19);
    for row in rows {
        let (id, host, pattern) = (row["id"].as_str(), &row["host_or_pattern"], &row["pattern"]);
        // As a rule of either list.
        let got = (allows(&lists(&[pattern], &[]), host), allows(&lists(&["*"], &[pattern]), host));
        let expected = match id {
            // The address in another spelling is the address, and its entry is there. Denied by its own name, and because
            // `*` is no entry for the loopback.
            "d089" => (true, false),
            // No host: an empty one; one with an empty label.
            "d093" | "d095" => (false, false),
            // A loopback address needs an entry of its own.
            "d094" => (false, false),
            // `*` is no entry for `localhost`'s address, but the name itself may be asked for.
            _ if row["original"] == "true" => (true, false),
            _ => (false, true),
        };
        assert_eq!(got, expected, "{id}");
        assert_eq!(row["ours_by_design"] == "same", !["d089", "d093", "d094", "d095"].contains(&id), "{id}");
    }
}

#[test]
fn rows_of_whole_lists() {
    let rows: Vec<_> = table(DOMAINS).into_iter().filter(|row| row["kind"] == "http-route").collect();
    assert_eq!(rows.len(), 22);
    for row in rows {
        let id = row["id"].as_str();
        let verdict = judged(&rules(&row["config"]), &row["host_or_pattern"]);
        let (http, socks) = match verdict {
            Verdict::Allow { .. } => ("direct", "allow"),
            Verdict::Deny { .. } => ("deny", "deny"),
            Verdict::Upstream => ("upstream", "deny"),
        };
        let expected = match id {
            // The loopback and the metadata address need an entry of their own, `*` is none.
            "d152" | "d153" => ("deny", "deny"),
            _ => (row["original"].as_str(), row["socks"].as_str()),
        };
        assert_eq!((http, socks), expected, "{id}");
        assert_eq!(row["ours_by_design"] == "same", !["d152", "d153"].contains(&id), "{id}");
    }
}

#[test]
fn rows_of_urls() {
    let rows: Vec<_> = table(DOMAINS).into_iter().filter(|row| row["kind"] == "hook-url").collect();
    assert_eq!(rows.len(), 11);
    for row in rows {
        let Some(url) =
            row["host_or_pattern"].split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))
        else {
            // Not of the network: another scheme, or no URL.
            assert!(["d161", "d162", "d163", "d169"].contains(&row["id"].as_str()), "{row:?}");
            continue;
        };
        let authority = url.1.split('/').next().unwrap();
        let host = authority.rsplit('@').next().unwrap();
        let message = match judged(&rules(&row["config"]), host) {
            Verdict::Deny { rule: Some(rule) } => format!(" blocked: deniedDomains (matched {rule:?})"),
            Verdict::Deny { rule: None } => " blocked: not in allowedDomains".into(),
            _ => String::new(),
        };
        assert!(
            row["message"].ends_with(&message) && row["message"].is_empty() == message.is_empty(),
            "{row:?}"
        );
    }
}

#[test]
fn a_verdict_names_its_rule_as_written() {
    let rules = lists(&["*.Example.com", "0x0a.1"], &["Secret.example.com."]);
    let rule = |host: &str| match judged(&rules, host) {
        Verdict::Allow { rule } => rule,
        Verdict::Deny { rule } => rule.unwrap_or("none".into()),
        Verdict::Upstream => "upstream".into(),
    };
    assert_eq!(rule("a.example.com"), "*.Example.com");
    assert_eq!(rule("10.0.0.1"), "0x0a.1");
    assert_eq!(rule("SECRET.example.com"), "Secret.example.com.");
    assert_eq!(rule("example.com"), "none");
}

#[test]
fn entries_that_name_no_host_are_refused() {
    for entry in
        ["exa mple.com", "*.exa mple.com", "a..b", "1.2.3.256", "b\0.com", "*.a.0x1", "bu\u{308}.com"]
    {
        let network = Network { denied_domains: vec![entry.into()], ..Network::default() };
        let refused = NetRules::new(&network).unwrap_err().to_string();
        assert!(refused.starts_with("network.deniedDomains: the entry "), "{refused}");
    }
}

#[test]
fn letters_of_a_list_match_what_clients_send() {
    let rules = lists(&["bücher.example", "*.bücher.example"], &["*.über.bücher.example"]);
    assert!(allows(&rules, "xn--bcher-kva.example"));
    assert!(allows(&rules, "www.BÜCHER.example"));
    assert!(!allows(&rules, "a.xn--ber-goa.bücher.example"));
    assert!(!allows(&rules, "bucher.example"));
}

#[test]
fn an_address_is_judged_in_every_spelling() {
    let rules = lists(&["*"], &["192.0.2.7", "*.100.51.198"]);
    for host in [
        "192.0.2.7",
        "192.0.519",
        "3221225991",
        "0xc0000207",
        "0300.0.2.7.",
        "[::ffff:192.0.2.7]",
        "[::ffff:c000:207]",
        "[::192.0.2.7]",
        "[64:ff9b::192.0.2.7]",
        "[64:ff9b:1::c000:207]",
        "[2002:c000:207::1]",
        "[2001:0:53aa:64c::3fff:fdf8]",
        "[::ffff:0:192.0.2.7]",
        "[2001:db8::5efe:c000:207]",
    ] {
        assert_eq!(judged(&rules, host), Verdict::Deny { rule: Some("192.0.2.7".into()) }, "{host}");
    }
    assert!(allows(&rules, "192.0.2.8"));
    assert!(allows(&rules, "[64:ff9b::192.0.2.8]"));
    // The end of an address, as the original matched it.
    assert!(!allows(&rules, "203.100.51.198"));
}

#[test]
fn special_addresses_need_an_entry_of_their_own() {
    let any = lists(&["*", "*.example.com", "localhost"], &[]);
    let refused = [
        ("127.0.0.1", "loopback"),
        ("127.255.0.9", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("169.254.169.254", "link-local"),
        ("::ffff:a9fe:a9fe", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("2002:a9fe:a9fe::1", "link-local"),
        ("2001:0:1::5601:5601", "link-local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("64:ff9b:1::a9fe:a9fe", "link-local"),
        ("fd00::5efe:a9fe:a9fe", "link-local"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("::2", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("240.0.0.1", "broadcast"),
        ("64:ff9b::ffff:ffff", "broadcast"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("192.0.0.192", "metadata"),
        ("168.63.129.16", "metadata"),
        ("::ffff:168.63.129.16", "metadata"),
    ];
    for (text, kind) in refused {
        let address: IpAddr = text.parse().unwrap();
        // As what an allowed name resolves to, and as what a client asks for.
        let name = canonical(b"www.example.com").unwrap();
        let why = any.address(&name, address).unwrap_err().to_string();
        assert!(why.contains(kind) && why.contains("network.allowedDomains"), "{text}: {why}");
        assert_eq!(judged(&any, text), Verdict::Deny { rule: None }, "{text}");
    }
    for text in [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "93.184.216.34",
        "fd00::1",
        "2001:db8::1",
        "fec0::1",
    ] {
        assert_eq!(
            any.address(&Host::Name("www.example.com".into()), text.parse().unwrap()),
            Ok(()),
            "{text}"
        );
        assert!(allows(&any, text), "{text}");
    }
}

#[test]
fn an_entry_opens_its_special_address_and_no_other() {
    let (v4, v6): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "::1".parse().unwrap());
    let name = Host::Name("www.example.com".into());
    let literal = lists(&["*.example.com", "0x7f.1", "169.254.169.254"], &[]);
    assert!(allows(&literal, "127.0.0.1") && allows(&literal, "[::ffff:127.0.0.1]"));
    assert_eq!(literal.address(&name, v4), Ok(()));
    assert!(literal.address(&name, v6).is_err());
    assert!(literal.address(&name, "127.0.0.2".parse().unwrap()).is_err());
    assert_eq!(literal.address(&name, "169.254.169.254".parse().unwrap()), Ok(()));
    assert!(literal.address(&name, "169.254.169.253".parse().unwrap()).is_err());

    let localhost = lists(&["localhost", "www.example.com"], &[]);
    let host = Host::Name("localhost".into());
    assert!(
        allows(&localhost, "LOCALHOST.")
            && !allows(&localhost, "127.0.0.1")
            && !allows(&localhost, "a.localhost")
    );
    assert_eq!((localhost.address(&host, v4), localhost.address(&host, v6)), (Ok(()), Ok(())));
    assert!(localhost.address(&name, v4).is_err(), "another name that leads to the loopback");
    assert!(localhost.address(&host, "169.254.169.254".parse().unwrap()).is_err());
}

#[test]
fn a_denied_address_is_not_reached_through_a_name() {
    let rules = lists(&["*"], &["10.0.0.5"]);
    let name = Host::Name("www.example.com".into());
    let why = |text: &str| rules.address(&name, text.parse().unwrap()).map_err(|refused| refused.to_string());
    assert_eq!(why("10.0.0.5"), Err("10.0.0.5 is in network.deniedDomains (\"10.0.0.5\")".into()));
    assert!(why("::ffff:10.0.0.5").is_err() && why("64:ff9b::a00:5").is_err());
    assert_eq!(why("10.0.0.6"), Ok(()));
}

#[test]
fn special_addresses_do_not_go_upstream() {
    let rules =
        rules(r#"{"network": {"allowedDomains": ["a.example"], "upstreamProxy": "http://127.0.0.1:8080"}}"#);
    for host in ["127.0.0.1", "169.254.169.254", "[::]", "2130706433"] {
        assert_eq!(judged(&rules, host), Verdict::Deny { rule: None }, "{host}");
    }
    assert_eq!(judged(&rules, "10.0.0.1"), Verdict::Upstream);
}

/// Marsaglia's xorshift64: the same lists on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn name(&mut self) -> String {
        const LABELS: [&str; 8] = ["a", "b", "www", "example", "com", "xn--bcher-kva", "_x", "localhost"];
        const ADDRESSES: [&str; 6] =
            ["10.0.0.1", "127.0.0.1", "169.254.169.254", "192.0.2.7", "0.0.0.0", "224.0.0.1"];
        match self.below(5) {
            0 => ADDRESSES[self.below(6)].into(),
            _ => (0..2 + self.below(3)).map(|_| LABELS[self.below(8)]).collect::<Vec<_>>().join("."),
        }
    }

    fn list(&mut self) -> Vec<String> {
        (0..self.below(4))
            .map(|_| match self.below(8) {
                0 => "*".into(),
                1 => "localhost".into(),
                2..=4 => format!("*.{}", self.name()),
                _ => self.name(),
            })
            .collect()
    }

    /// The same host in another spelling.
    fn respelt(&mut self, host: &str) -> String {
        let mut out: String = match host.parse::<Ipv4Addr>() {
            Ok(v4) => {
                let [a, b, c, d] = v4.octets();
                let n = u32::from(v4);
                match self.below(9) {
                    0 => n.to_string(),
                    1 => format!("{n:#x}"),
                    2 => format!("{a:#x}.{b:#o}", b = n & 0xff_ffff).replace("0o", "0"),
                    3 => format!("0{a:o}.{b}.{}", u32::from(c) << 8 | u32::from(d)),
                    4 => return format!("[::ffff:{v4}]"),
                    5 => return format!("::ffff:{:x}:{:x}", n >> 16, n & 0xffff),
                    6 => format!("{a:#04x}.{b:#x}.{c:#x}.{d:#x}"),
                    _ => host.into(),
                }
            }
            Err(_) => host.into(),
        };
        if self.below(2) == 0 {
            out.push('.');
        }
        out.chars().map(|c| if self.below(2) == 0 { c.to_ascii_uppercase() } else { c }).collect()
    }
}

#[test]
fn properties_of_the_verdict() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut seen = [0usize; 3];
    for round in 0..20_000 {
        let upstream = random.below(4) == 0;
        let network = Network {
            allowed_domains: random.list(),
            denied_domains: random.list(),
            upstream_proxy: if upstream { "http://127.0.0.1:8080".into() } else { String::new() },
            ..Network::default()
        };
        let rules = NetRules::new(&network).unwrap();
        let name = random.name();
        let host = canonical(name.as_bytes()).unwrap();
        let verdict = rules.verdict(&host);
        let context = || format!("round {round}: {name} {network:?}");
        seen[match verdict {
            Verdict::Allow { .. } => 0,
            Verdict::Deny { .. } => 1,
            Verdict::Upstream => 2,
        }] += 1;

        // A spelling changes nothing.
        let other = random.respelt(&name);
        assert_eq!(judged(&rules, &other), verdict, "{other}: {}", context());

        // A denial wins over everything.
        let mut more = network.clone();
        more.denied_domains.push(random.respelt(&name));
        let denied = NetRules::new(&more).unwrap().verdict(&host);
        assert!(matches!(denied, Verdict::Deny { rule: Some(_) }), "{}", context());

        // `*.x` is not x, and is all below x.
        let mut wild = Network { allowed_domains: vec![format!("*.{name}")], ..Network::default() };
        assert!(
            !matches!(NetRules::new(&wild).unwrap().verdict(&host), Verdict::Allow { .. }),
            "{}",
            context()
        );
        if let Host::Name(_) = host {
            let below = canonical(format!("b.{name}").as_bytes()).unwrap();
            assert!(
                matches!(NetRules::new(&wild).unwrap().verdict(&below), Verdict::Allow { .. }),
                "{}",
                context()
            );
            let beside = canonical(format!("b{name}").as_bytes()).unwrap();
            wild.allowed_domains.push(name.clone());
            assert!(
                !matches!(NetRules::new(&wild).unwrap().verdict(&beside), Verdict::Allow { .. }),
                "{}",
                context()
            );
        }

        // Another allowed entry takes nothing away; another denied one gives nothing.
        let mut more = network.clone();
        more.allowed_domains
            .insert(random.below(more.allowed_domains.len() + 1), random.list().pop().unwrap_or("*".into()));
        let after = NetRules::new(&more).unwrap().verdict(&host);
        assert!(
            !matches!(verdict, Verdict::Allow { .. }) || matches!(after, Verdict::Allow { .. }),
            "{}",
            context()
        );
        let mut fewer = network.clone();
        fewer.denied_domains.extend(random.list());
        let after = NetRules::new(&fewer).unwrap().verdict(&host);
        assert!(
            matches!(verdict, Verdict::Allow { .. }) || !matches!(after, Verdict::Allow { .. }),
            "{}",
            context()
        );

        // Without an entry that matches by itself, nothing is allowed.
        if let Verdict::Allow { rule } = &verdict {
            let alone = Network { allowed_domains: vec![rule.clone()], ..Network::default() };
            let alone = NetRules::new(&alone).unwrap();
            let special = matches!(host, Host::Address(a) if special(a).is_some());
            assert!(special || matches!(alone.verdict(&host), Verdict::Allow { .. }), "{}", context());
        }

        // The host that is judged is the host whose addresses are judged.
        if let Host::Address(address) = host
            && matches!(verdict, Verdict::Allow { .. })
        {
            assert_eq!(rules.address(&host, address), Ok(()), "{}", context());
        }
    }
    assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
}
