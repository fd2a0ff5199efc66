//! Hosts and lists: a canonical form is its own canonical form, and a spelling changes no verdict.
#![no_main]

use fence::config::policy::Network;
use fence::rules::net::host::{Host, canonical};
use fence::rules::net::{NetRules, Verdict};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str, &str)| {
    let (text, allowed, denied) = input;
    let host = canonical(text);
    if let Ok(host) = &host {
        assert_eq!(canonical(host.to_string().as_bytes()), Ok(host.clone()));
        assert_eq!(canonical(host.bracketed().as_bytes()), Ok(host.clone()));
        if let Host::Name(name) = host {
            assert!(!name.is_empty() && name.len() <= 253 && !name.starts_with('.') && !name.ends_with('.'));
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b)));
            // What inet_aton(3) could take for an address never stays a name.
            assert!(!name.rsplit('.').next().unwrap().bytes().all(|b| b.is_ascii_digit()));
        }
        assert_eq!(canonical(&text.to_ascii_uppercase()), canonical(&text.to_ascii_lowercase()));
    }
    let network = |allowed: &[&str], denied: &[&str]| Network {
        allowed_domains: allowed.iter().map(|s| s.to_string()).collect(),
        denied_domains: denied.iter().map(|s| s.to_string()).collect(),
        ..Network::default()
    };
    let Ok(rules) = NetRules::new(&network(&[allowed, "*"], &[denied])) else { return };
    let Ok(host) = host else { return };
    let verdict = rules.verdict(&host);
    if let (Host::Address(address), Verdict::Allow { .. }) = (&host, &verdict) {
        assert_eq!(rules.address(&host, *address), Ok(()));
    }
    let own = host.to_string();
    if !own.contains(':') {
        let denying = NetRules::new(&network(&["*"], &[own.as_str(), denied])).unwrap();
        assert!(matches!(denying.verdict(&host), Verdict::Deny { rule: Some(_) }));
    }
});
