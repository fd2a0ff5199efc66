//! The places that are the sandbox's own: /tmp, /var/tmp, /dev, /run, /proc.

use super::mounts::Mount;
use crate::cli::Run;
use crate::config::Policy;
use crate::facts::{Facts, Found, Kind};
use std::path::{Path, PathBuf};

/// Top directories that hide what the host has there.
const TOPS: [&str; 6] = ["/tmp", "/var/tmp", "/dev", "/run", "/proc", "/dev/shm"];

/// Device nodes of the minimal /dev.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Files below /proc through which root's user id alone may change the machine, whatever its capabilities.
const PROC_READ_ONLY: [&str; 13] = [
    "/proc/sys",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/sysrq-trigger",
    "/proc/acpi",
    "/proc/scsi",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/dynamic_debug",
    "/proc/driver",
    "/proc/asound",
    "/proc/mtrr",
];

/// What is kept of /run: resolver files, and where NixOS keeps its system.
const RUN_KEPT: [&str; 8] = [
    "/run/systemd/resolve/resolv.conf",
    "/run/systemd/resolve/stub-resolv.conf",
    "/run/NetworkManager/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/resolvconf/resolv.conf",
    "/run/connman/resolv.conf",
    "/run/current-system",
    "/run/opengl-driver",
];

/// Where container engines listen for their clients: opened by `--service-execution-model on-host`.
const ENGINES: [&str; 6] = [
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/user/UID/docker.sock",
    "/run/user/UID/podman/podman.sock",
];

/// More paths whose presence on the host decides what is made.
const PROBED: [&str; 12] = [
    "/dev/shm",
    "/sys",
    "/tmp",
    "/var/tmp",
    "/dev",
    "/run",
    "/var/run",
    "/proc",
    "/init",
    "/run/WSL",
    "/etc/resolv.conf",
    "/dev/kmsg",
];

/// Every path of the host that the private places depend on.
pub fn probed() -> impl Iterator<Item = PathBuf> {
    let nodes = NODES.iter().map(|node| Path::new("/dev").join(node));
    PROBED.iter().chain(&RUN_KEPT).map(PathBuf::from).chain(nodes)
}

/// Where container engines may listen for this user.
pub fn engines(uid: u32) -> impl Iterator<Item = PathBuf> {
    ENGINES.iter().map(move |path| path.replace("UID", &uid.to_string()).into())
}

/// Whether `path` is one of the private directories themselves.
pub fn is_top(path: &Path) -> bool {
    TOPS.iter().any(|top| path == Path::new(top))
}

/// Whether `path` lies in a private directory that shows nothing else of the host, whatever allows it.
pub fn is_closed(path: &Path) -> bool {
    let inside = |top: &str| path.starts_with(top) && path != Path::new(top);
    inside("/proc") || inside("/dev") && !inside("/dev/shm")
}

/// Whether `path` lies in or is a private directory.
pub fn covers(path: &Path) -> bool {
    TOPS.iter().any(|top| path.starts_with(top))
}

/// Each private place with the mounts that make it. Places that the host does not have are left out, unless the root is
/// built from parts.
pub fn places(policy: &Policy, run: &Run, facts: &Facts, empty_root: bool) -> Vec<(PathBuf, Vec<Mount>)> {
    let there =
        |path: &str| facts.at(path).is_some_and(|f| f.kind == Kind::Directory && f.real == Path::new(path));
    let mut places = Vec::new();
    for tmp in super::files::PRIVATE_TMP {
        let real = facts.at(tmp).filter(|f| f.kind == Kind::Directory).map(|f| f.real.as_path());
        let place = match real {
            Some(real) if real == Path::new(tmp) => real,
            _ if empty_root && tmp == "/tmp" => Path::new(tmp),
            // A link: what it leads to is private, unless that is so already.
            Some(real) if !empty_root && !covers(real) => real,
            _ => continue,
        };
        let mount = Mount::Tmpfs { to: place.to_path_buf(), mode: 0o1777, read_only: false };
        places.push((place.to_path_buf(), vec![mount]));
    }
    if there("/proc") || empty_root {
        places.push((PathBuf::from("/proc"), proc(facts)));
    }
    if there("/dev") || empty_root {
        places.push((
            PathBuf::from("/dev"),
            if host_devices(policy) { host_dev(facts) } else { dev(policy, facts) },
        ));
    }
    if there("/run") {
        places.push((PathBuf::from("/run"), self::run(policy, run, facts)));
    }
    if there("/var/run") {
        places.push((PathBuf::from("/var/run"), vec![tmpfs("/var/run", 0o755)]));
    }
    places
}

/// Directories of the sandbox's own that the command may write to: Landlock allows it there too.
pub fn writable(mounts: &[Mount]) -> Vec<PathBuf> {
    mounts
        .iter()
        .filter_map(|m| match m {
            Mount::Tmpfs { to, read_only: false, .. } if to != Path::new("/dev") => Some(to.clone()),
            _ => None,
        })
        .collect()
}

/// What `devices.allow` names and the host has below /dev: not what a link there leads to elsewhere, and never the kernel log.
pub fn allowed_devices<'a>(
    policy: &'a Policy,
    facts: &'a Facts,
) -> impl Iterator<Item = (&'a String, &'a Found)> {
    let found = policy.devices.allow.iter().filter_map(|path| Some((path, facts.at(path)?)));
    found.filter(|(_, found)| found.real.starts_with("/dev") && found.real != Path::new("/dev/kmsg"))
}

fn host_devices(policy: &Policy) -> bool {
    policy.devices.mode == "host"
}

fn tmpfs(to: &str, mode: u32) -> Mount {
    Mount::Tmpfs { to: PathBuf::from(to), mode, read_only: false }
}

fn bind(path: &Path, to: &Path, devices: bool, read_only: bool) -> Mount {
    Mount::Bind { from: path.to_path_buf(), to: to.to_path_buf(), read_only, devices, may_be_gone: false }
}

/// A fresh procfs, its dangerous parts read-only; or the container's, with its masks, as a whole.
/// Parts that this kernel does not have are left out when they are made.
/// They belong to root: but for some of /proc/sys only a command with root's user id could write to them at all.
fn proc(facts: &Facts) -> Vec<Mount> {
    if facts.masked_proc {
        return vec![bind(Path::new("/proc"), Path::new("/proc"), false, true)];
    }
    let parts = PROC_READ_ONLY.iter().filter(|part| facts.uid == 0 || **part == "/proc/sys");
    let parts = parts.map(|part| Mount::ReadOnlyPart(PathBuf::from(part)));
    std::iter::once(Mount::Proc(PathBuf::from("/proc"))).chain(parts).collect()
}

/// The minimal /dev: in memory, sealed when it is filled. Writing to a device needs no writable mount; changing the mode or
/// owner of the host's node does, which root must not.
fn dev(policy: &Policy, facts: &Facts) -> Vec<Mount> {
    let mut mounts = vec![tmpfs("/dev", 0o755)];
    let file = |mounts: &mut Vec<Mount>, from: &Path, to: &Path| {
        mounts.push(Mount::File(to.to_path_buf()));
        mounts.push(bind(from, to, true, true));
    };
    for node in NODES.iter().map(|n| Path::new("/dev").join(n)) {
        if facts.at(&node).is_some() {
            file(&mut mounts, &node, &node);
        }
    }
    if let Some(terminal) = facts.terminal.as_ref() {
        file(&mut mounts, terminal, Path::new("/dev/console"));
    }
    mounts.push(Mount::Directory { at: "/dev/pts".into(), mode: 0o755 });
    mounts.push(Mount::Pts("/dev/pts".into()));
    mounts.push(Mount::Directory { at: "/dev/shm".into(), mode: 0o755 });
    mounts.push(tmpfs("/dev/shm", 0o1777));
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("core", "/proc/kcore"),
    ];
    let links = links.into_iter().chain([("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")]);
    mounts.extend(links.map(|(at, text)| Mount::Link { at: Path::new("/dev").join(at), text: text.into() }));
    for (path, found) in allowed_devices(policy, facts) {
        if found.kind == Kind::Directory {
            mounts.push(Mount::Directory { at: path.into(), mode: 0o755 });
            mounts.push(bind(&found.real, Path::new(path), true, true));
        } else {
            file(&mut mounts, &found.real, Path::new(path));
        }
    }
    mounts.push(Mount::Seal("/dev".into()));
    mounts
}

/// `devices.mode: host`: all of the host's nodes but the kernel log, with the sandbox's own terminals and shared memory.
fn host_dev(facts: &Facts) -> Vec<Mount> {
    let dev = Path::new("/dev");
    let mut mounts = vec![bind(dev, dev, true, false)];
    if facts.at("/dev/shm").is_some_and(|shm| shm.kind == Kind::Directory) {
        mounts.push(tmpfs("/dev/shm", 0o1777));
    }
    if facts.at("/dev/kmsg").is_some() {
        mounts.push(Mount::MaskFile("/dev/kmsg".into()));
    }
    mounts
}

/// A private /run: no sockets of the host's services, but for container engines where the caller asks for them.
fn run(policy: &Policy, run: &Run, facts: &Facts) -> Vec<Mount> {
    if policy.network.allow_all_unix_sockets {
        return vec![bind(Path::new("/run"), Path::new("/run"), false, true)];
    }
    let mut mounts = vec![tmpfs("/run", 0o755)];
    let engines: Vec<PathBuf> = engines(facts.uid).filter(|_| run.services_on_host).collect();
    let kept = RUN_KEPT.iter().map(Path::new).chain(engines.iter().map(PathBuf::as_path));
    let kept = kept.filter_map(|path| Some((path, facts.at(path)?)));
    // What /etc/resolv.conf leads to when it is none of those.
    let resolver = facts.at("/etc/resolv.conf").map(|found| (found.real.as_path(), found));
    let other =
        |path: &Path| path.starts_with("/run") && !RUN_KEPT.iter().any(|kept| Path::new(kept) == path);
    for (path, found) in kept.chain(resolver.filter(|(path, _)| other(path))) {
        mounts.push(if found.kind == Kind::Directory {
            Mount::Directory { at: path.into(), mode: 0o755 }
        } else {
            Mount::File(path.into())
        });
        mounts.push(bind(&found.real, path, false, true));
    }
    mounts.push(Mount::Directory { at: "/run/lock".into(), mode: 0o1777 });
    mounts.push(Mount::Directory { at: format!("/run/user/{}", facts.uid).into(), mode: 0o700 });
    mounts
}
