//! Findings as text and as JSON. The first lines are those that scripts read.

use super::cause::Cause;
use super::{Findings, Row, short};
use crate::facts::Engine;
use crate::json::Json;
use std::fmt::Write;

/// Everything. `executable` is fence's own path, for the profile that AppArmor wants.
pub fn text(found: &Findings, executable: &str) -> String {
    let mut out = list(found) + &status(found) + &table(&found.rows());
    if found.cause() == Some(Cause::AppArmor) {
        _ = write!(out, "\n{}", profile(executable));
    }
    out + "\n" + &summary(found) + "\n"
}

/// The profile that lets this very binary make user namespaces where AppArmor restricts them.
pub fn profile(executable: &str) -> String {
    format!(
        "# Save as /etc/apparmor.d/fence, then: apparmor_parser -r /etc/apparmor.d/fence\nabi <abi/4.0>,\ninclude <tunables/global>\n\n\
         profile fence \"{executable}\" flags=(unconfined) {{\n  userns,\n\n  include if exists <local/fence>\n}}\n"
    )
}

/// The original's first list, line for line.
fn list(found: &Findings) -> String {
    let level = u8::from(found.seccomp) + u8::from(found.seccomp && found.log);
    format!(
        "Linux Sandbox Features:\n  Kernel: {}\n  Bubblewrap (bwrap): {}\n  Socat: {}\n  Network namespace (--unshare-net): {}\n  \
         Seccomp: {} (log level: {level})\n  Landlock: {} (ABI v{})\n  eBPF: {} (CAP_BPF: {}, root: {})\n",
        short(&found.system.release),
        found.programs[0].is_some(),
        found.programs[1].is_some(),
        found.own_network,
        found.seccomp,
        found.landlock_abi > 0,
        found.landlock_abi,
        found.ebpf.is_ok(),
        found.cap_bpf,
        found.system.root,
    )
}

/// What that comes to. Minimum requirements are met when any engine works.
fn status(found: &Findings) -> String {
    let mut out = match &found.engine {
        Ok(engine) => format!("\nFeature Status:\n  ✓ Minimum requirements met ({engine})\n"),
        Err(why) => format!("\nFeature Status:\n  ✗ Missing requirements: {why}\n"),
    };
    let mut line = |there: bool, yes: &str, no: &str| {
        _ = writeln!(out, "  {}", if there { yes } else { no });
    };
    line(
        found.own_network,
        "✓ Network namespace isolation available",
        "⚠ Network namespace unavailable (containerized environment?)",
    );
    line(
        found.landlock_abi > 0,
        "✓ Landlock available for enhanced filesystem control",
        "○ Landlock not available (kernel 5.13+ required)",
    );
    line(
        found.log,
        "✓ Violation monitoring available",
        "○ Violation monitoring limited (kernel 4.14+ for seccomp logging)",
    );
    line(
        found.ebpf.is_ok(),
        "✓ eBPF monitoring available (enhanced visibility)",
        "○ eBPF monitoring not available (needs CAP_BPF or root)",
    );
    out
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
    for (i, row) in rows.iter().enumerate() {
        _ = write!(
            out,
            "  {:first$}  {:second$}  {:11}  {}",
            row.name,
            row.needed_for,
            word(row.works),
            row.details
        );
        // The same cause is said once.
        if !row.cause.is_empty() && !rows[..i].iter().any(|above| above.cause == row.cause) {
            _ = write!(out, "; {}; {}", row.cause, row.fix);
        }
        out.push('\n');
    }
    out
}

/// `kernel 6.8, native, seccomp+usernotif, landlock-v4, ebpf(root), wsl`
fn summary(found: &Findings) -> String {
    let mut out = format!("kernel {}", short(&found.system.release));
    let mut part = |text: &str| {
        out.push_str(", ");
        out.push_str(text);
    };
    if let Ok(engine) = &found.engine {
        part(&engine.to_string());
    }
    if found.seccomp {
        part(match (found.listener.is_ok(), found.log) {
            (true, _) => "seccomp+usernotif",
            (false, true) => "seccomp+log",
            (false, false) => "seccomp",
        });
    }
    if found.landlock_abi > 0 {
        part(&format!("landlock-v{}", found.landlock_abi));
    }
    if found.ebpf.is_ok() {
        part(if found.system.root { "ebpf(root)" } else { "ebpf(CAP_BPF)" });
    }
    if found.system.wsl {
        part("wsl");
    }
    out
}

/// The same for programs.
pub fn json(found: &Findings, executable: &str) -> Json {
    let rows = found.rows().into_iter().map(|row| {
        let mut fields = Vec::new();
        let mut field = |key: &str, value: &str| {
            if !value.is_empty() {
                fields.push((key.to_string(), Json::str(value)));
            }
        };
        field("name", row.name);
        field("neededFor", row.needed_for);
        field("tried", row.tried);
        field("result", word(row.works));
        field("details", &row.details);
        field("cause", &row.cause);
        field("fix", &row.fix);
        fields.extend(row.errno.map(|errno| ("errno".into(), Json::Int(errno.into()))));
        Json::Object(fields)
    });
    let engine = found.engine.as_ref().map_or_else(|_| "none".into(), Engine::to_string);
    let mut fields = vec![
        ("summary".into(), Json::str(summary(found))),
        ("engine".into(), Json::str(engine)),
        ("tried".into(), Json::strings(&found.tried)),
    ];
    if found.cause() == Some(Cause::AppArmor) {
        fields.push(("apparmorProfile".into(), Json::str(profile(executable))));
    }
    fields.push(("features".into(), Json::List(rows.collect())));
    Json::Object(fields)
}
