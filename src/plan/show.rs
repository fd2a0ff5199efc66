//! A plan as people and programs read it: `fence plan [--json]`.

use super::mounts::Mount;
use super::net::Purpose;
use super::watch::{Then, Watched};
use super::{Plan, Weight};
use crate::config::Policy;
use crate::json::Json;
use crate::rules::shell::quote;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// Names of the `CLONE_NEW*` bits.
const NAMESPACES: [(u64, &str); 7] = [
    (0x1000_0000, "user"),
    (0x0002_0000, "mount"),
    (0x2000_0000, "pid"),
    (0x4000_0000, "network"),
    (0x0800_0000, "ipc"),
    (0x0400_0000, "uts"),
    (0x0200_0000, "cgroup"),
];

/// Capabilities that a plan may keep, by number.
const CAPABILITIES: [(u32, &str); 7] = [
    (0, "chown"),
    (1, "dac_override"),
    (3, "fowner"),
    (4, "fsetid"),
    (5, "kill"),
    (6, "setgid"),
    (7, "setuid"),
];

/// For people: one section per layer.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let command: Vec<String> = plan.argv.iter().map(|w| quote(&w.to_string_lossy())).collect();
    _ = writeln!(out, "command     {}", command.join(" "));
    _ = writeln!(out, "directory   {}", plan.cwd.display());
    _ = writeln!(out, "engine      {}", plan.engine);
    _ = writeln!(out, "namespaces  {}", namespaces(plan).join(" "));
    let kept = capabilities(plan);
    _ = writeln!(
        out,
        "keeps       {}",
        if kept.is_empty() { "no capability".into() } else { kept.join(" ") }
    );
    section(&mut out, "mounts", plan.mounts.iter().map(line));
    let aside = || plan.watched.iter().filter(|w| !w.there && w.then != Then::Report);
    if aside().next().is_some() {
        section(&mut out, "watched", aside().map(watched));
    }
    match &plan.landlock {
        None => out.push_str("landlock    none\n"),
        Some(ruleset) => section(
            &mut out,
            &format!("landlock    ABI {}{}", ruleset.abi, if ruleset.scoped { ", scoped" } else { "" }),
            ruleset.rows.iter().map(|row| format!("{} {}", access(row.access), row.path.display())),
        ),
    }
    section(&mut out, "seccomp", plan.seccomp.iter().map(rule));
    if let Some(exec) = &plan.exec {
        section(&mut out, "exec", exec_rules(exec));
    }
    let stripped = plan.environment.stripped.iter().map(|name| format!("{} removed", name.to_string_lossy()));
    let set = plan.environment.changed().map(|(name, value)| format!("{name}={value}"));
    section(&mut out, "environment", set.chain(stripped));
    let inside = plan.network.listeners.iter().map(|l| format!("port {} {}", l.port, purpose(l.purpose)));
    let inbound = plan.network.inbound.iter();
    let inbound =
        inbound.map(|p| format!("{} on the host, for that port inside", SocketAddr::new(p.addr, p.port)));
    section(&mut out, "listeners", inside.chain(inbound));
    section(&mut out, "notes", plan.notes.iter().map(note));
    out
}

/// For `-d`, in short: what is about to run, and by which layers. Each line with the part that it is of.
pub fn summary(plan: &Plan, policy: &Policy) -> Vec<(&'static str, String)> {
    let list = |words: Vec<String>| words.join(" ");
    let command = plan.argv.iter().map(|w| quote(&w.to_string_lossy()));
    let mut lines = vec![("fence", format!("Command: {}", list(command.collect())))];
    let inbound = &plan.network.inbound;
    if !inbound.is_empty() {
        let ports: Vec<String> =
            inbound.iter().map(|p| SocketAddr::new(p.addr, p.port).to_string()).collect();
        lines.push(("fence", format!("Exposing ports: {} (execution model: in-sandbox)", ports.join(", "))));
    }
    if !plan.environment.stripped.is_empty() {
        let names = plan.environment.stripped.iter().map(|name| name.to_string_lossy().into_owned());
        lines.push(("fence", format!("Stripped dangerous env vars: [{}]", list(names.collect()))));
    }
    let mut local = Vec::new();
    for listener in &plan.network.listeners {
        match listener.purpose {
            Purpose::Local => local.push(listener.port.to_string()),
            what => {
                lines.push(("fence", format!("{} listening on localhost:{}", purpose(what), listener.port)));
            }
        }
    }
    let devices = if policy.devices.mode == "host" { "host" } else { "minimal" };
    lines.push(("fence:linux", format!("Device mode: {devices}")));
    let mode = if plan.exec.is_some() { "argv" } else { "path" };
    let held: Vec<&str> = [("network", plan.loopback || plan.broker.is_some()), ("pid", plan.owns_pids())]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .chain(["fs"])
        .collect();
    let mut layers = format!("Sandbox: {}({}), dev:{devices}", plan.engine, held.join(","));
    if !plan.seccomp.is_empty() {
        layers += ", seccomp";
    }
    layers += ", runtime-exec:";
    layers += mode;
    if let Some(landlock) = &plan.landlock {
        layers += &format!(", landlock-v{}", landlock.abi);
    }
    let ports = inbound.iter().map(|p| p.port.to_string()).collect();
    for (name, ports) in [("inbound", ports), ("local-outbound", local)] {
        if !ports.is_empty() {
            layers += &format!(", {name}:[{}]", list(ports));
        }
    }
    lines.push(("fence:linux", layers));
    lines
}

/// For programs.
pub fn json(plan: &Plan) -> Json {
    let object = |fields: Vec<(&str, Json)>| {
        Json::Object(fields.into_iter().map(|(k, v)| (k.to_string(), v)).collect())
    };
    let path = |p: &Path| Json::str(p.to_string_lossy());
    let mounts = plan.mounts.iter().map(|m| Json::str(line(m))).collect();
    let landlock = plan.landlock.as_ref().map(|ruleset| {
        let rows = ruleset.rows.iter();
        let rows = rows
            .map(|r| object(vec![("path", path(&r.path)), ("access", Json::str(access(r.access)))]))
            .collect();
        object(vec![
            ("abi", Json::Int(i64::from(ruleset.abi))),
            ("scoped", Json::Bool(ruleset.scoped)),
            ("rows", Json::List(rows)),
        ])
    });
    let environment = plan.environment.changed().map(|(name, value)| (name, Json::Str(value)));
    let notes = plan.notes.iter();
    let notes =
        notes.map(|n| object(vec![("weight", Json::str(weight(n))), ("text", Json::str(&n.text))])).collect();
    let listeners = plan.network.listeners.iter();
    let listeners = listeners.map(|l| {
        object(vec![("port", Json::Int(l.port.into())), ("purpose", Json::str(purpose(l.purpose)))])
    });
    let inbound = plan.network.inbound.iter().map(|p| format!("{}", SocketAddr::new(p.addr, p.port)));
    object(vec![
        ("command", Json::strings(plan.argv.iter().map(|w| w.to_string_lossy()))),
        ("directory", path(&plan.cwd)),
        ("engine", Json::str(plan.engine.to_string())),
        ("namespaces", Json::strings(namespaces(plan))),
        ("capabilities", Json::strings(capabilities(plan))),
        ("mounts", Json::List(mounts)),
        ("watched", Json::strings(plan.watched.iter().filter(|w| !w.there).map(watched))),
        ("landlock", landlock.unwrap_or(Json::Bool(false))),
        ("seccomp", Json::List(plan.seccomp.iter().map(|r| Json::str(rule(r))).collect())),
        ("broker", Json::Bool(plan.broker.is_some())),
        ("exec", Json::strings(plan.exec.iter().flat_map(exec_rules))),
        ("environment", Json::Object(environment.collect())),
        ("stripped", Json::strings(plan.environment.stripped.iter().map(|name| name.to_string_lossy()))),
        ("listeners", Json::List(listeners.collect())),
        ("inbound", Json::strings(inbound)),
        ("notes", Json::List(notes)),
    ])
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    _ = writeln!(out, "{title}{}", if lines.is_empty() { "    none" } else { "" });
    for line in lines {
        _ = writeln!(out, "  {line}");
    }
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Http => "HTTP proxy",
        Purpose::Socks => "SOCKS5 proxy",
        Purpose::Dns => "DNS over UDP",
        Purpose::DnsTcp => "DNS over TCP",
        Purpose::Local => "the host's port of that number",
    }
}

fn namespaces(plan: &Plan) -> Vec<&'static str> {
    NAMESPACES.iter().filter(|(bit, _)| plan.namespaces & bit != 0).map(|(_, name)| *name).collect()
}

fn capabilities(plan: &Plan) -> Vec<&'static str> {
    CAPABILITIES
        .iter()
        .filter(|(bit, _)| plan.capabilities & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect()
}

/// One mount as one line: what, where.
pub fn line(mount: &Mount) -> String {
    match mount {
        Mount::HostRoot { read_only: true } => "read-only   /".into(),
        Mount::HostRoot { read_only: false } => "writable    /".into(),
        Mount::EmptyRoot => "empty       /".into(),
        Mount::Bind { from, to, read_only, devices, .. } => {
            let what = match (devices, read_only) {
                (true, _) => "device     ",
                (_, true) => "read-only  ",
                (_, false) => "writable   ",
            };
            if from == to {
                format!("{what} {}", to.display())
            } else {
                format!("{what} {} (from {})", to.display(), from.display())
            }
        }
        Mount::Tmpfs { to, mode, read_only } => {
            format!(
                "private     {} (mode {mode:o}{})",
                to.display(),
                if *read_only { ", read-only" } else { "" }
            )
        }
        Mount::MaskDirectory(at) => format!("hidden      {}/", at.display()),
        Mount::MaskFile(at) | Mount::MaskSocket(at) => format!("hidden      {}", at.display()),
        Mount::Proc(to) => format!("private     {} (procfs)", to.display()),
        Mount::Pts(to) => format!("private     {} (devpts)", to.display()),
        Mount::Directory { at, .. } => format!("directory   {}", at.display()),
        Mount::File(at) => format!("file        {}", at.display()),
        Mount::Text { over, .. } => format!("own text    {}", over.display()),
        Mount::Link { at, text } => format!("link        {} -> {}", at.display(), text.display()),
        Mount::KeepLink(at) => format!("kept link   {}", at.display()),
        Mount::Copy { of, .. } => format!("own copy    {}", of.display()),
        Mount::Seal(at) | Mount::ReadOnlyPart(at) => format!("read-only   {}", at.display()),
    }
}

fn watched(watched: &Watched) -> String {
    let then = match watched.then {
        Then::Aside => "moved aside",
        Then::Report => "reported   ",
        Then::Bare(_) => "no bare git",
    };
    format!("{then} {}", watched.path.display())
}

/// `rwx` and more: read, write, execute, change the tree, ioctl.
fn access(bits: u64) -> String {
    use crate::tables::landlock as rights;
    let read = if bits & rights::READ_FILE != 0 { "r" } else { "-" };
    let list = if bits & rights::READ_DIR != 0 { "d" } else { "-" };
    let write = if bits & rights::WRITE_FILE != 0 { "w" } else { "-" };
    let execute = if bits & rights::EXECUTE != 0 { "x" } else { "-" };
    let tree = if bits & rights::MAKE_REG != 0 { "m" } else { "-" };
    let ioctl = if bits & rights::IOCTL_DEV != 0 { "i" } else { "-" };
    format!("{read}{list}{write}{execute}{tree}{ioctl}")
}

/// What the supervisor of exec denies.
fn exec_rules(exec: &super::exec::Exec) -> impl Iterator<Item = String> {
    let rules = &exec.rules.command;
    let defaults = (rules.use_defaults != Some(false)).then(|| "denied      the built-in list".to_string());
    let ssh = super::exec::has_ssh_rules(&exec.rules).then(|| "judged      ssh".to_string());
    let line = |what: &'static str| move |rule: &String| format!("{what:<11} {rule}");
    rules
        .deny
        .iter()
        .map(line("denied"))
        .chain(defaults)
        .chain(rules.allow.iter().map(line("allowed")))
        .chain(ssh)
}

fn rule(rule: &crate::tables::syscalls::Rule) -> String {
    format!("{:<26} {}: {}", rule.name, rule.action, rule.why)
}

fn weight(note: &super::Note) -> &'static str {
    match note.weight {
        Weight::Remark => "remark",
        Weight::Degraded => "degraded",
        Weight::Unenforced => "not enforced",
    }
}

fn note(note: &super::Note) -> String {
    format!("{}: {}", weight(note), note.text)
}
