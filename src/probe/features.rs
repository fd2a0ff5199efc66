//! What this host lets fence do: each thing is really done, in a throw-away child, and what stands in the way is named.

use super::{engines, host};
use crate::cli::{Command, Run};
use crate::config::Policy;
use crate::error::{Result, describe};
use crate::facts::{Engine, Facts};
use crate::monitor::ebpf::Monitor;
use crate::plan::bpf::Instruction;
use crate::sys::process::{Fork, exit_now, fork_into};
use crate::sys::{landlock_errata, seccomp};
use crate::tables::landlock;
use rustix::io::Errno;
use rustix::process::{WaitOptions, waitpid};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// One thing that was looked at.
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What needs it.
    pub needed_for: &'static str,
    /// Whether it works; none: information only.
    pub works: Option<bool>,
    /// What was found, or the kernel's answer and its cause.
    pub details: String,
    /// What can be done about it.
    pub fix: String,
}

/// All that was found.
pub struct Features {
    /// Row by row.
    pub rows: Vec<Row>,
    /// What the kernel has and the caller may.
    pub facts: Facts,
    /// What `--engine auto` takes; none works: why.
    pub engine: Result<Engine>,
    /// `bwrap` and `socat`, where they are on PATH.
    pub programs: [Option<PathBuf>; 2],
    /// The sandbox has a network of its own.
    pub own_network: bool,
    /// A filter can write to the kernel's log; a filter can ask a supervisor.
    pub seccomp_log: bool,
    /// A filter can ask a supervisor.
    pub listener: bool,
    /// eBPF programs were loaded.
    pub ebpf: bool,
    /// Under WSL.
    pub wsl: bool,
}

/// `SECCOMP_RET_LOG`
const LOG: u32 = 0x7ffc_0000;
/// `SECCOMP_RET_USER_NOTIF`
const ASK: u32 = 0x7fc0_0000;
const ALLOW: u32 = 0x7fff_0000;

/// Looks at everything.
///
/// # Errors
/// The root directory can't be looked at.
pub fn look() -> Result<Features> {
    let policy = Policy::default();
    let run = Run { command: Command::Argv(vec!["/".into()]), ..Run::default() };
    // Wherever the caller is: that place may be hidden, or gone.
    _ = std::env::set_current_dir("/");
    let mut facts = host::look(&policy, &run, Path::new("/"), None, &[])?;
    let planned = engines::choose(&run, &policy, &mut facts, &mut Vec::new());
    let native = facts.engine == Engine::Native && planned.is_ok();
    let own_network =
        planned.as_ref().is_ok_and(|plan| crate::plan::engine::has(plan.namespaces, libc::CLONE_NEWNET));
    let programs = ["bwrap", "socat"].map(|name| host::on_path(name.as_ref()));
    let wsl = facts.wsl_interop || read("/proc/sys/kernel/osrelease").to_lowercase().contains("microsoft");
    let mut rows = Vec::new();
    let mut row = |name, needed_for, works, details: String, fix: &str| {
        rows.push(Row { name, needed_for, works, details, fix: fix.to_string() });
    };
    let release = host::release();
    row(
        "Kernel",
        "Linux sandbox baseline",
        None,
        format!("{} (linux/{})", short(&release), architecture()),
        "",
    );
    let path = |found: &Option<PathBuf>| {
        found.as_ref().map_or("not found in PATH".into(), |p| p.display().to_string())
    };
    row(
        "Bubblewrap",
        "nothing: fence makes its own namespaces",
        Some(programs[0].is_some()),
        path(&programs[0]),
        "",
    );
    row("Socat", "nothing: fence has its own proxies", Some(programs[1].is_some()), path(&programs[1]), "");
    let network =
        if own_network { "the sandbox has one" } else { "the host's network stays, without sockets" };
    row("Network namespace", "direct network isolation", Some(own_network), network.into(), "");
    let filter = in_child(0, &|| seccomp::install(&one(ALLOW)));
    row("Seccomp filter", "syscall hardening", Some(filter.is_ok()), said(&filter, "a filter installs"), "");
    let log = seccomp::knows(LOG);
    row(
        "Seccomp log action",
        "violation diagnostics",
        Some(log),
        if log { "SECCOMP_RET_LOG accepted" } else { "Linux 4.14 has it" }.into(),
        "",
    );
    let asks = in_child(0, &|| seccomp::install_with_listener(&one(ASK), false).map(drop));
    let busy = if asks == Err(Errno::BUSY) {
        "another supervisor has the one listener that a process can have"
    } else {
        ""
    };
    row(
        "Seccomp user notification",
        "runtimeExecPolicy: \"argv\"",
        Some(asks.is_ok()),
        said(&asks, "a listener installs"),
        busy,
    );
    let verdict = super::listener::try_it();
    row(
        "Exec verdicts",
        "runtimeExecPolicy: \"argv\"",
        Some(verdict.is_ok()),
        verdict.map_or_else(|why| why, |_| "an exec was judged, traced and let go on".into()),
        "",
    );
    let abi = facts.landlock_abi;
    let details = if abi == 0 {
        "Linux 5.13 has it, if lsm= on its command line lists landlock".into()
    } else {
        format!("ABI v{abi}")
    };
    row("Landlock", "extra filesystem enforcement", Some(abi > 0), details, "");
    let monitor = Monitor::load();
    let ebpf = monitor.is_ok();
    row(
        "eBPF monitor",
        "enhanced monitor mode",
        Some(ebpf),
        monitor.err().unwrap_or_else(|| "programs load".into()),
        "",
    );
    if wsl {
        row("WSL interop", "Windows executable handling", None, "wslInterop rules may apply".into(), "");
    }

    let cause = cause(&facts);
    row(
        "Native engine",
        "full isolation",
        Some(native),
        if native { "a whole sandbox was made".into() } else { facts.tried.join("; ") },
        if native { "" } else { &cause },
    );
    let user = if crate::plan::engine::has_admin(&facts) { 0 } else { libc::CLONE_NEWUSER };
    for (name, flag) in NAMESPACES {
        let made = in_child((flag | user) as u64, &|| Ok(()));
        row(
            name,
            "native engine",
            Some(made.is_ok()),
            said(&made, "made"),
            if made.is_ok() { "" } else { &cause },
        );
    }
    row(
        "Fresh /proc",
        "PID namespace",
        Some(native && !facts.masked_proc),
        if facts.masked_proc {
            "refused: parts of /proc are masked"
        } else if native {
            "mounted"
        } else {
            "not tried"
        }
        .into(),
        if facts.masked_proc { "run the container with --security-opt systempaths=unconfined" } else { "" },
    );
    let names: Vec<&str> =
        landlock::RIGHTS.iter().filter(|right| right.abi > abi).map(|right| right.name).collect();
    row(
        "Landlock rights",
        "file rules",
        None,
        if names.is_empty() { "all".into() } else { format!("without {}", names.join(", ")) },
        "",
    );
    row("Landlock errata", "file rules", None, format!("{:#x} repaired", landlock_errata()), "");
    row("mount_setattr", "mounts by descriptor", Some(facts.mount_setattr), "Linux 5.12".into(), "");
    let or_none = |text: String| if text.is_empty() { "none".to_string() } else { text };
    row(
        "io_uring",
        "blocked inside",
        None,
        match read("/proc/sys/kernel/io_uring_disabled").as_str() {
            "0" => "on for everybody".into(),
            "" => "on (no sysctl)".into(),
            level => format!("off (io_uring_disabled={level})"),
        },
        "",
    );
    row("AppArmor", "", None, or_none(read("/proc/self/attr/apparmor/current")), "");
    row("SELinux", "", None, or_none(read("/sys/fs/selinux/enforce")), "");
    row(
        "Yama ptrace_scope",
        "runtimeExecPolicy: \"argv\"",
        None,
        or_none(read("/proc/sys/kernel/yama/ptrace_scope")),
        "",
    );
    row("Lockdown", "enhanced monitor mode", None, or_none(read("/sys/kernel/security/lockdown")), "");
    row("Container", "", None, container(), "");
    Ok(Features {
        rows,
        engine: planned.map(|plan| plan.engine),
        programs,
        own_network,
        seccomp_log: log,
        listener: asks.is_ok(),
        ebpf,
        wsl,
        facts,
    })
}

const NAMESPACES: [(&str, i32); 7] = [
    ("User namespace", libc::CLONE_NEWUSER),
    ("Mount namespace", libc::CLONE_NEWNS),
    ("PID namespace", libc::CLONE_NEWPID),
    ("Network namespace (own)", libc::CLONE_NEWNET),
    ("IPC namespace", libc::CLONE_NEWIPC),
    ("UTS namespace", libc::CLONE_NEWUTS),
    ("Cgroup namespace", libc::CLONE_NEWCGROUP),
];

/// Does something in a child with `flags` (CLONE_NEW*), so that nothing of it stays.
fn in_child(flags: u64, act: &dyn Fn() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    match fork_into(flags)? {
        Fork::Child => {
            let done = rustix::thread::set_no_new_privs(true).and_then(|()| act());
            exit_now(done.map_or_else(|errno| errno.raw_os_error() as u8, |()| 0))
        }
        Fork::Parent(pid) => {
            match waitpid(Some(pid), WaitOptions::empty())?.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                Some(errno) => Err(Errno::from_raw_os_error(errno)),
                None => Err(Errno::CANCELED),
            }
        }
    }
}

/// A filter that gives one answer to a call that nobody makes.
fn one(answer: u32) -> [Instruction; 4] {
    let op = |code, k, jt, jf| Instruction { code, jt, jf, k };
    [op(0x20, 0, 0, 0), op(0x15, 0x7fff_fff0, 0, 1), op(0x06, answer, 0, 0), op(0x06, ALLOW, 0, 0)]
}

fn said(answer: &rustix::io::Result<()>, yes: &str) -> String {
    answer.map_or_else(|errno| describe(errno.raw_os_error()), |()| yes.to_string())
}

/// Why namespaces are refused, and the way out: the errno has many causes.
fn cause(facts: &Facts) -> String {
    let is = |path: &str, value: &str| read(path) == value;
    let masked = read("/proc/self/status").lines().any(|line| line == "Seccomp:\t2");
    if std::env::var_os("FENCE_SANDBOX").is_some() {
        "this is inside a sandbox of fence, which lets nobody make another: the outer one holds"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "sysctl user.max_user_namespaces is 0: raise it, to 10000 say"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") && facts.uid != 0 {
        "sysctl kernel.unprivileged_userns_clone is 0: set it to 1 (Debian's own switch)"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") && facts.uid != 0 {
        "AppArmor takes the rights of unprivileged user namespaces away: fence features --apparmor-profile prints the profile for \
         /etc/apparmor.d/fence; load it with apparmor_parser -r"
    } else if read("/proc/version").contains("gVisor") {
        "gVisor has only some of the calls: engine landlock can't work there either; run fence outside"
    } else if masked {
        "a container's seccomp profile forbids them: docker run --security-opt seccomp=unconfined, or --cap-add SYS_ADMIN"
    } else if !super::mounts::root_is_a_mount() {
        "this is a chroot, where the kernel refuses user namespaces: use pivot_root, or bind-mount the root on itself first"
    } else {
        "this kernel is too old or was built without them"
    }
    .to_string()
}

fn container() -> String {
    let there = |path: &str| Path::new(path).exists();
    match std::env::var("container") {
        _ if read("/proc/version").contains("gVisor") => "gVisor".into(),
        _ if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => "Kubernetes".into(),
        _ if there("/.dockerenv") => "Docker".into(),
        _ if there("/run/.containerenv") => "Podman".into(),
        Ok(kind) if !kind.is_empty() => kind,
        _ => "none".into(),
    }
}

fn read(path: &str) -> String {
    read_to_string(path).unwrap_or_default().trim().trim_end_matches('\0').to_string()
}

/// `6.18` of `6.18.44-x`.
pub fn short(release: &str) -> &str {
    let second = release.match_indices('.').nth(1).map_or(release.len(), |(at, _)| at);
    release[..second].split('-').next().unwrap_or(release)
}

/// As Go names it: scripts read that.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}
