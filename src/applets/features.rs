//! `fence features`, `fence --linux-features`: what this host lets fence do. The first lines are those that scripts read.

use crate::error::Result;
use crate::facts::Engine;
use crate::json::Json;
use crate::probe::features::{self, Features, Row};
use crate::probe::host;
use std::fmt::Write;

/// Prints what was found.
///
/// # Errors
/// stdout can't be written to.
pub fn run(json: bool) -> Result<u8> {
    let found = features::look()?;
    if json {
        return super::print(&(as_json(&found).pretty() + "\n"));
    }
    super::print(&(list(&found) + &status(&found) + &table(&found.rows) + &summary(&found)))
}

/// The profile that lets this very binary make user namespaces where AppArmor restricts them.
///
/// # Errors
/// stdout can't be written to.
pub fn profile() -> Result<u8> {
    let path = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/fence".into());
    super::print(&format!(
        "# Save as /etc/apparmor.d/fence, then: apparmor_parser -r /etc/apparmor.d/fence\nabi <abi/4.0>,\ninclude <tunables/global>\n\n\
         profile fence \"{}\" flags=(unconfined) {{\n  userns,\n\n  include if exists <local/fence>\n}}\n",
        path.display()
    ))
}

/// The original's first list, line for line.
fn list(found: &Features) -> String {
    let facts = &found.facts;
    let level = u8::from(facts.seccomp) + u8::from(facts.seccomp && found.seccomp_log);
    format!(
        "Linux Sandbox Features:\n  Kernel: {}\n  Bubblewrap (bwrap): {}\n  Socat: {}\n  Network namespace (--unshare-net): {}\n  \
         Seccomp: {} (log level: {level})\n  Landlock: {} (ABI v{})\n  eBPF: {} (CAP_BPF: {}, root: {})\n",
        features::short(&host::release()),
        found.programs[0].is_some(),
        found.programs[1].is_some(),
        found.own_network,
        facts.seccomp,
        facts.landlock_abi > 0,
        facts.landlock_abi,
        found.ebpf,
        facts.capable(39),
        facts.uid == 0,
    )
}

/// What that comes to. Minimum requirements are met when any engine works.
fn status(found: &Features) -> String {
    let line = |there: bool, yes: &str, no: &str| {
        format!("  {} {}\n", if there { "✓" } else { "○" }, if there { yes } else { no })
    };
    let engine = match &found.engine {
        Ok(engine) => format!("  ✓ Minimum requirements met ({engine})\n"),
        Err(why) => format!("  ✗ Missing requirements: {why}\n"),
    };
    let network = match found.own_network {
        true => "  ✓ Network namespace isolation available\n".to_string(),
        false => "  ⚠ Network namespace unavailable (containerized environment?)\n".to_string(),
    };
    format!("\nFeature Status:\n{engine}{network}")
        + &line(
            found.facts.landlock_abi > 0,
            "Landlock available for enhanced filesystem control",
            "Landlock not available (kernel 5.13+ required)",
        )
        + &line(
            found.seccomp_log,
            "Violation monitoring available",
            "Violation monitoring limited (kernel 4.14+ for seccomp logging)",
        )
        + &line(
            found.ebpf,
            "eBPF monitoring available (enhanced visibility)",
            "eBPF monitoring not available (needs CAP_BPF or root)",
        )
}

fn word(works: Option<bool>) -> &'static str {
    match works {
        None => "info",
        Some(true) => "ok",
        Some(false) => "unavailable",
    }
}

fn table(rows: &[Row]) -> String {
    let first = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let second = rows.iter().map(|row| row.needed_for.len()).max().unwrap_or(0);
    let mut out =
        format!("\n  {:first$}  {:second$}  {:11}  Details\n", "Capability", "Required For", "Status");
    _ = writeln!(out, "  {:-<first$}  {:-<second$}  {:-<11}  -------", "", "", "");
    for row in rows {
        let fix = if row.fix.is_empty() { String::new() } else { format!(": {}", row.fix) };
        _ = writeln!(
            out,
            "  {:first$}  {:second$}  {:11}  {}{fix}",
            row.name,
            row.needed_for,
            word(row.works),
            row.details
        );
    }
    out
}

/// `kernel 6.8, native, seccomp+usernotif, landlock-v4, ebpf(root), wsl`
fn summary(found: &Features) -> String {
    let facts = &found.facts;
    let mut parts = vec![format!("kernel {}", features::short(&host::release()))];
    parts.extend(found.engine.as_ref().ok().map(Engine::to_string));
    if facts.seccomp {
        let more = if found.listener {
            "+usernotif"
        } else if found.seccomp_log {
            "+log"
        } else {
            ""
        };
        parts.push(format!("seccomp{more}"));
    }
    if facts.landlock_abi > 0 {
        parts.push(format!("landlock-v{}", facts.landlock_abi));
    }
    if found.ebpf {
        parts.push(if facts.uid == 0 { "ebpf(root)" } else { "ebpf(CAP_BPF)" }.into());
    }
    if found.wsl {
        parts.push("wsl".into());
    }
    format!("\n{}\n", parts.join(", "))
}

fn as_json(found: &Features) -> Json {
    let text = |value: &str| Json::str(value);
    let rows = found.rows.iter().map(|row| {
        let fields = [
            ("name", text(row.name)),
            ("neededFor", text(row.needed_for)),
            ("result", text(word(row.works))),
            ("details", text(&row.details)),
            ("fix", text(&row.fix)),
        ];
        Json::Object(fields.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
    });
    let engine = found.engine.as_ref().map_or_else(|_| "none".into(), Engine::to_string);
    Json::Object(vec![
        ("summary".into(), text(summary(found).trim())),
        ("engine".into(), Json::str(engine)),
        ("features".into(), Json::List(rows.collect())),
    ])
}
