//! Policy + facts → plan, without a kernel.
//!
//! `tests/plan/NAME/policy.jsonc` is a policy; comment lines at its top describe the host:
//!
//! ```text
//! // has /home/me/proj/src/ /home/me/proj/.env     directories end in a slash; parents come by themselves
//! // link /home/me/.bashrc dotfiles/bashrc         a symbolic link and its text
//! // scratch                                       none of the usual directories are there
//! // cwd, home, uid, abi, glob PATTERN MATCH…, deep PATH…, git TOP GITDIR [COMMON], wsl, alias PATH OTHER, run FLAG WORD, executable PATH,
//! // engine landlock
//! ```
//!
//! `plan.txt` beside it is what the plan must say about files; `FENCE_BLESS=1 cargo test --test plan` writes it.
//! The last test makes random policies and compares the mount table with an oracle that knows only the precedence rules.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at what it did not expect")]

#[path = "plan/host.rs"]
mod host;
#[path = "plan/random.rs"]
mod random;

use fence::config::{Policy, file};
use fence::plan::{self, show};
use host::Host;
use std::collections::HashSet;
use std::fs;
use std::path::Path;

#[test]
fn plans_are_as_written() {
    let mut wrong = Vec::new();
    let mut cases: Vec<_> = fs::read_dir("tests/plan").unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    assert!(cases.len() >= 15, "{cases:?}");
    for case in cases {
        let text = fs::read_to_string(case.join("policy.jsonc")).unwrap();
        let plan = plan_of(&text, &case);
        let golden = case.join("plan.txt");
        if std::env::var_os("FENCE_BLESS").is_some() {
            fs::write(&golden, &plan).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != plan {
            wrong.push(format!("--- {} is not\n{plan}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nFENCE_BLESS=1 accepts these", wrong.join("\n"));
}

/// The lines of `-d` that depend on the plan alone, letter for letter.
#[test]
fn the_summary_is_as_written() {
    let text = r#"{"network": {"allowLocalOutbound": true, "allowLocalOutboundPorts": [5432]}}"#;
    let mut host = Host::from_comments("// abi 7\n");
    for (addr, port) in [("127.0.0.1", 3000), ("0.0.0.0", 8080)] {
        host.run.ports.push(fence::cli::ExposePort { addr: addr.parse().unwrap(), port });
    }
    let policy = policy(text, Path::new("summary"));
    let plan = plan::plan(&policy, &host.run, &host.facts(&policy)).unwrap();
    let lines: Vec<String> =
        show::summary(&plan, &policy).iter().map(|(part, line)| format!("[{part}] {line}")).collect();
    assert_eq!(
        lines,
        [
            "[fence] Command: true",
            "[fence] Exposing ports: 127.0.0.1:3000, 0.0.0.0:8080 (execution model: in-sandbox)",
            "[fence] HTTP proxy listening on localhost:3128",
            "[fence] SOCKS5 proxy listening on localhost:1080",
            "[fence:linux] Device mode: minimal",
            "[fence:linux] Sandbox: native(network,pid,fs), dev:minimal, seccomp, runtime-exec:path, landlock-v7, \
             inbound:[3000 8080], local-outbound:[5432]",
        ]
    );
}

/// What the plan says about files, or the refusal.
fn plan_of(text: &str, case: &Path) -> String {
    let host = Host::from_comments(text);
    let say = |policy: &Policy| match plan::plan(policy, &host.run, &host.facts(policy)) {
        Ok(plan) => show::text(&plan),
        Err(failure) => format!("refused: {failure}\n"),
    };
    let standard = if case.ends_with("default") { String::new() } else { say(&Policy::default()) };
    files_only(&say(&policy(text, case)), &standard)
}

fn policy(text: &str, case: &Path) -> Policy {
    match file::read(&case.display().to_string(), text, false) {
        Ok(reading) => reading.file.policy,
        Err(mistake) => panic!("{}: {mistake:?}", case.display()),
    }
}

/// Without the sections that other tests hold, and without the rows of /dev, /proc and /run that the default plan has.
fn files_only(text: &str, standard: &str) -> String {
    let standard: HashSet<&str> = standard.lines().collect();
    let mut out = String::new();
    let mut skip = false;
    for line in text.lines() {
        if !line.starts_with(' ') {
            let title = line.split_whitespace().next().unwrap_or_default();
            skip = ["command", "directory", "engine", "seccomp", "environment", "listeners"].contains(&title);
        }
        let inner = ["/dev/", "/proc/", "/run/"].iter().any(|top| line.contains(top));
        if !(skip || inner && standard.contains(line)) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
