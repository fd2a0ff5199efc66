//! What a host lets fence do, as values: what was found becomes rows, and these become text. The probe fills `Findings` in.

pub mod cause;
pub mod show;

#[cfg(test)]
mod tests;

use crate::error::describe;
use crate::facts::Engine;
use crate::tables::landlock;
use cause::{Cause, System, cause};
use std::path::PathBuf;

/// What a trial came to: nothing, or an errno.
pub type Answer = Result<(), i32>;

/// The kinds of namespaces, in the order of [`Findings::namespaces`].
pub const NAMESPACES: [(&str, i32, &str); 7] = [
    ("User namespace", libc::CLONE_NEWUSER, "clone(CLONE_NEWUSER)"),
    ("Mount namespace", libc::CLONE_NEWNS, "clone(CLONE_NEWNS)"),
    ("PID namespace", libc::CLONE_NEWPID, "clone(CLONE_NEWPID)"),
    ("Network namespace (own)", libc::CLONE_NEWNET, "clone(CLONE_NEWNET)"),
    ("IPC namespace", libc::CLONE_NEWIPC, "clone(CLONE_NEWIPC)"),
    ("UTS namespace", libc::CLONE_NEWUTS, "clone(CLONE_NEWUTS)"),
    ("Cgroup namespace", libc::CLONE_NEWCGROUP, "clone(CLONE_NEWCGROUP)"),
];

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The host.
    pub system: System,
    /// What `--engine auto` takes; none works: why.
    pub engine: Result<Engine, String>,
    /// Engines that were tried before that, each with the reason.
    pub tried: Vec<String>,
    /// The errno that the native engine met.
    pub native: Answer,
    /// The sandbox has a network of its own.
    pub own_network: bool,
    /// A fresh /proc is refused.
    pub masked_proc: bool,
    /// `bwrap` and `socat`, where they are on PATH.
    pub programs: [Option<PathBuf>; 2],
    /// Each kind of namespace.
    pub namespaces: [Answer; 7],
    /// The kernel has seccomp filters.
    pub seccomp: bool,
    /// A filter was installed.
    pub filter: Answer,
    /// A filter can write to the kernel's log.
    pub log: bool,
    /// A filter with a listener was installed.
    pub listener: Answer,
    /// An exec was judged.
    pub verdict: Result<(), String>,
    /// Landlock's ABI; 0: not there.
    pub landlock_abi: u32,
    /// Bits of the errors that this kernel's Landlock has repaired.
    pub landlock_errata: u32,
    /// eBPF programs were loaded.
    pub ebpf: Result<(), String>,
    /// The caller has CAP_BPF.
    pub cap_bpf: bool,
    /// Mounts by descriptor.
    pub mount_setattr: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What needs it.
    pub needed_for: &'static str,
    /// What was done to find out.
    pub tried: &'static str,
    /// Whether it works; none: information only.
    pub works: Option<bool>,
    /// What was found.
    pub details: String,
    /// The kernel's answer, where it refused.
    pub errno: Option<i32>,
    /// Why.
    pub cause: String,
    /// What can be done about it.
    pub fix: String,
}

impl Row {
    fn new(name: &'static str, needed_for: &'static str, tried: &'static str) -> Row {
        Row { name, needed_for, tried, ..Row::default() }
    }

    fn info(mut self, details: impl Into<String>) -> Row {
        self.details = details.into();
        if self.details.is_empty() {
            self.details = "none".into();
        }
        self
    }

    fn works(mut self, works: bool, details: impl Into<String>) -> Row {
        self.works = Some(works);
        self.details = details.into();
        self
    }

    /// It works, or the kernel said why not.
    fn answer(self, answer: Answer, yes: &str) -> Row {
        match answer {
            Ok(()) => self.works(true, yes),
            Err(errno) => Row { errno: Some(errno), ..self.works(false, describe(errno)) },
        }
    }

    fn because(mut self, cause: impl Into<String>, fix: impl Into<String>) -> Row {
        if self.works == Some(false) {
            (self.cause, self.fix) = (cause.into(), fix.into());
        }
        self
    }

    fn caused_by(self, (cause, root): (Cause, bool)) -> Row {
        self.because(cause.text(), cause.fix(root))
    }
}

impl Findings {
    /// Why namespaces are refused here, if they are.
    pub fn cause(&self) -> Option<Cause> {
        self.native.err().map(|errno| cause(&self.system, errno, self.namespaces[0].is_ok()))
    }

    /// Everything, one thing a row: first those that the original has, in its order.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = self.originals();
        let cause = (self.cause().unwrap_or(Cause::Unknown), self.system.root);
        rows.push(
            Row::new("Native engine", "full isolation", "a whole sandbox")
                .answer(self.native, "a whole sandbox was made")
                .caused_by(cause),
        );
        for ((name, _, tried), made) in NAMESPACES.iter().zip(self.namespaces) {
            rows.push(Row::new(name, "native engine", tried).answer(made, "made").caused_by(cause));
        }
        let proc = Row::new("Fresh /proc", "PID namespace", "mount(proc)");
        rows.push(if self.masked_proc {
            proc.works(false, "refused").because(
                "parts of /proc are masked, as in containers",
                "run the container with --security-opt systempaths=unconfined",
            )
        } else if self.native.is_ok() {
            proc.works(true, "mounted")
        } else {
            proc.info("not tried: there is no namespace for it")
        });
        rows.extend(self.kernel());
        rows
    }

    fn originals(&self) -> Vec<Row> {
        let system = &self.system;
        let path = |found: &Option<PathBuf>| {
            found.as_ref().map_or("not found in PATH".into(), |p| p.display().to_string())
        };
        let program = |name, why, found: &Option<PathBuf>| {
            Row::new(name, why, "a look at PATH").works(found.is_some(), path(found))
        };
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let network = match self.own_network {
            true => "the sandbox has one",
            false => "the host's network stays, without sockets but those to fence's proxies",
        };
        let busy = self.listener == Err(libc::EBUSY);
        let listener = match (busy, system.wsl) {
            (true, true) => (
                "a filter with a listener is in force already, as under WSL2's mirrored networking",
                "networkingMode=nat in .wslconfig ends that",
            ),
            (true, false) => (
                "a filter with a listener is in force already: another sandbox or a container has the one that a process can have",
                "run fence outside of that",
            ),
            (false, _) => (
                "this kernel is too old for it, or a filter around fence forbids it",
                "Linux 5.5 has what is needed",
            ),
        };
        let landlock = Row::new("Landlock", "extra filesystem enforcement", "landlock_create_ruleset");
        let ebpf = Row::new("eBPF monitor", "enhanced monitor mode", "bpf(BPF_PROG_LOAD)");
        let verdict = Row::new("Exec verdicts", "runtimeExecPolicy: \"argv\"", "an exec in a child");
        let mut rows = vec![
            Row::new("Kernel", "Linux sandbox baseline", "uname")
                .info(format!("{} (linux/{architecture})", short(&system.release))),
            program("Bubblewrap", "engine bwrap, where native does not work", &self.programs[0]),
            program("Socat", "nothing: fence has its own proxies", &self.programs[1]),
            Row::new("Network namespace", "direct network isolation", "a whole sandbox")
                .works(self.own_network, network)
                .caused_by((self.cause().unwrap_or(Cause::Unknown), system.root)),
            Row::new("Seccomp filter", "syscall hardening", "seccomp(SET_MODE_FILTER)")
                .answer(self.filter, "a filter installs")
                .because("this kernel was built without seccomp filters", "Linux 3.5 has them"),
            Row::new("Seccomp log action", "violation diagnostics", "seccomp(GET_ACTION_AVAIL)")
                .works(
                    self.log,
                    if self.log { "SECCOMP_RET_LOG accepted" } else { "SECCOMP_RET_LOG unknown" },
                )
                .because("this kernel is too old for it", "Linux 4.14 has it"),
            Row::new("Seccomp user notification", "runtimeExecPolicy: \"argv\"", "seccomp(NEW_LISTENER)")
                .answer(self.listener, "a listener installs")
                .because(listener.0, listener.1),
            match &self.verdict {
                Ok(()) => verdict.works(true, "an exec was judged, traced and let go on"),
                Err(why) => verdict.works(false, "no exec can be judged").because(
                    why.as_str(),
                    "command.runtimeExecPolicy \"path\" needs none of it for most programs",
                ),
            },
            match self.landlock_abi {
                0 => landlock.works(false, "not there").because(
                    "this kernel is too old for it or does not have it enabled",
                    "Linux 5.13 has it, if lsm= on its command line lists landlock",
                ),
                abi => landlock.works(true, format!("ABI v{abi}")),
            },
            match &self.ebpf {
                Ok(()) => ebpf.works(true, "programs load"),
                Err(why) => {
                    let (cause, fix) =
                        why.split_once(": run ").map_or((&**why, None), |(why, how)| (why, Some(how)));
                    let fix = fix
                        .map_or("nothing is to be done: what fence decides itself is shown".into(), |how| {
                            format!("run {how}")
                        });
                    ebpf.works(false, "programs do not load").because(cause, fix)
                }
            },
        ];
        if system.wsl {
            rows.push(
                Row::new("WSL interop", "Windows executable handling", "a look at binfmt_misc")
                    .info(if system.wsl_interop { "wslInterop rules may apply" } else { "switched off" }),
            );
        }
        rows
    }

    /// What the kernel has, and its own restrictions.
    fn kernel(&self) -> [Row; 9] {
        let system = &self.system;
        let missing = landlock::RIGHTS.iter().filter(|right| right.abi > self.landlock_abi);
        let missing: Vec<&str> = missing.map(|right| right.name).collect();
        let look = |name, for_what| Row::new(name, for_what, "a look at /proc and /sys");
        [
            Row::new("Landlock rights", "file rules", "landlock_create_ruleset").info(
                if self.landlock_abi == 0 {
                    String::new()
                } else if missing.is_empty() {
                    "all".into()
                } else {
                    format!("without {}", missing.join(", "))
                },
            ),
            Row::new("Landlock errata", "file rules", "landlock_create_ruleset")
                .info(format!("{:#x} repaired", self.landlock_errata)),
            Row::new("mount_setattr", "mounts by descriptor", "mount_setattr")
                .works(self.mount_setattr, if self.mount_setattr { "there" } else { "not there" })
                .because(
                    "this kernel is too old for it",
                    "nothing is to be done: mounts are made one by one",
                ),
            look("io_uring", "blocked inside").info(match system.io_uring.as_str() {
                "0" => "on for everybody".into(),
                "" => "on (no sysctl)".into(),
                level => format!("off (io_uring_disabled={level})"),
            }),
            look("AppArmor", "").info(&*system.apparmor),
            look("SELinux", "").info(match system.selinux.as_str() {
                "1" => "enforcing",
                "0" => "permissive",
                other => other,
            }),
            look("Yama ptrace_scope", "runtimeExecPolicy: \"argv\"").info(&*system.yama),
            look("Lockdown", "enhanced monitor mode").info(&*system.lockdown),
            look("Container", "").info(&*system.container),
        ]
    }
}

/// `6.18` of `6.18.44-x`.
pub fn short(release: &str) -> &str {
    let second = release.match_indices('.').nth(1).map_or(release.len(), |(at, _)| at);
    release[..second].split('-').next().unwrap_or(release)
}
