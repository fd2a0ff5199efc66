//! Policy + facts → Plan: pure. What cannot be enforced is a refusal or a note in the plan, never a log line elsewhere.

pub mod bpf;
pub mod command;
pub mod env;
pub mod exec;
pub mod files;
pub mod landlock;
pub mod mounts;
pub mod net;
pub mod private;
pub mod seccomp;
pub mod show;
pub mod wanted;

use crate::cli::{EngineChoice, Layer, Run};
use crate::config::Policy;
use crate::error::{Failure, Result};
use crate::facts::Facts;
use crate::tables::syscalls::Rule;
use mounts::Mount;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Everything that one run needs, as a value: holds no descriptor, does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who carries the plan out.
    pub engine: Engine,
    /// `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// The file system, step by step.
    pub mounts: Vec<Mount>,
    /// Landlock's ruleset, where the kernel has it.
    pub landlock: Option<landlock::Ruleset>,
    /// The system call filter's rules.
    pub seccomp: Vec<Rule>,
    /// What the exec supervisor judges by, when there is one.
    pub exec: Option<exec::Exec>,
    /// Capabilities that stay, as a bit set.
    pub capabilities: u64,
    /// The command's environment and directories it needs.
    pub environment: env::Environment,
    /// Which network the command is in, who listens there for the parent, and what comes in from the host.
    pub network: net::Network,
    /// The command's words; the first is looked up on PATH inside.
    pub argv: Vec<OsString>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The working directory is one of those that the sandbox has of its own.
    pub cwd_is_private: bool,
    /// Mount by descriptor (Linux 5.12), not with mount(2).
    pub mount_setattr: bool,
    /// Start the command in a session of its own.
    pub new_session: bool,
    /// Descriptors above 2 that stay open.
    pub keep_fds: Vec<i32>,
    /// Standard descriptors of files that were opened for reading only, to open again inside.
    pub reopen: Vec<Reopen>,
    /// Made for the caller's ids in a user namespace (the caller is not root).
    pub map: Option<(u32, u32)>,
    /// What a layer or rule does not give on this host.
    pub notes: Vec<Note>,
}

/// A standard descriptor to replace by one of the same file on the sandbox's mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reopen {
    /// 0, 1 or 2.
    pub number: i32,
    /// The file.
    pub path: PathBuf,
    /// Nothing else keeps the file from being written to: without this the command can't start.
    pub must: bool,
}

/// A weaker result than asked for, as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Who should see it, and whether the command runs.
    pub weight: Weight,
    /// One sentence.
    pub text: String,
}

/// How much a note weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Good to know: with `-d` and in the plan.
    Remark,
    /// Weaker than it looks: one line on stderr, always.
    Degraded,
    /// A rule that the user wrote is not enforced: the run is refused unless `--allow-degraded` is given.
    Unenforced,
}

/// Who carries the plan out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// fence's own namespaces.
    Native,
}

/// Capabilities root keeps, by number: CHOWN, DAC_OVERRIDE, FOWNER, FSETID for files; KILL, SETGID, SETUID because there is
/// a PID namespace.
const ROOT_KEEPS: [u32; 7] = [0, 1, 3, 4, 5, 6, 7];
/// What root needs to set the sandbox up without a user namespace: SETPCAP, NET_ADMIN, SYS_ADMIN.
const ROOT_NEEDS: [(u32, &str); 3] = [(8, "CAP_SETPCAP"), (12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// Makes the plan, or says in one sentence why this policy can't be kept on this host.
pub fn plan(policy: &Policy, run: &Run, facts: &Facts) -> Result<Plan> {
    check_engine(run)?;
    let exec = exec::plan(policy, run, facts)?;
    let rules = files::rules(policy, run, facts, &exec.masks);
    if rules.places.get(Path::new("/")).is_some_and(|rule| rule.place == files::Place::Mask) {
        return Err(Failure::new(
            "cannot deny reading / as filesystem.denyRead says: the command itself is there",
        )
        .hint("filesystem.defaultDenyRead hides all that is not allowed"));
    }
    let network = net::plan(policy, run, facts)?;
    let mut mounts = mounts::table(&rules);
    net::resolver(&network, facts, &rules, &mut mounts);
    let own = private::writable(&mounts);
    let mut devices: Vec<PathBuf> =
        private::allowed_devices(policy, facts).map(|(_, found)| found.real.clone()).collect();
    if policy.devices.mode == "host" {
        devices.push("/dev".into());
    }
    let landlock = landlock::plan(facts.landlock_abi, &rules, &mounts, own, &devices);
    let scoped = landlock.as_ref().is_some_and(|l| l.scoped);
    let filter = seccomp::plan(&seccomp::Options {
        allow: run.allow_syscalls.clone(),
        guard_group_kill: !scoped,
        ask_exec: exec.exec.is_some(),
        ..seccomp::Options::default()
    })?;
    let mut notes = notes(policy, run, facts, &rules, &network);
    notes.extend(exec.notes);
    if let Some(note) = notes.iter().find(|n| n.weight == Weight::Unenforced && !run.allow_degraded) {
        return Err(
            Failure::new(note.text.clone()).hint("--allow-degraded runs the command without that rule")
        );
    }
    let argv = exec.exec.is_some() && exec::mode(policy) == exec::Mode::Argv;
    require(run, facts, argv)?;
    let root = facts.capable(21);
    let (argv, assignments) = command::words(run, facts);
    if argv.is_empty() {
        return Err(Failure::new("no command specified. Use -c <command> or provide command arguments")
            .hint("words of the form NAME=value only set variables for the command after them"));
    }
    let plan = Plan {
        engine: Engine::Native,
        namespaces: namespaces(root, &network),
        landlock,
        seccomp: if facts.seccomp { filter } else { Vec::new() },
        exec: exec.exec,
        capabilities: if facts.uid == 0 { ROOT_KEEPS.iter().fold(0, |set, bit| set | 1 << bit) } else { 0 },
        environment: environment(run, facts, assignments, &mounts, &network),
        network,
        argv,
        cwd: facts.cwd.clone(),
        cwd_is_private: private::is_top(&facts.cwd) || rules.empty_root && facts.cwd == Path::new("/"),
        mount_setattr: facts.mount_setattr,
        new_session: run.force_new_session.or(policy.force_new_session).unwrap_or(false),
        keep_fds: keep_fds(run, facts)?,
        reopen: reopen(facts, &rules),
        map: (!root).then_some((facts.uid, facts.gid)),
        notes,
        mounts,
    };
    check_root_capabilities(facts, root)?;
    Ok(plan)
}

/// All that is weaker than it looks, or good to know.
fn notes(
    policy: &Policy,
    run: &Run,
    facts: &Facts,
    rules: &files::Rules,
    network: &net::Network,
) -> Vec<Note> {
    let mut notes: Vec<Note> = rules.remarks.iter().map(|r| remark(r.clone())).collect();
    let unread = facts.unread.iter();
    notes.extend(unread.map(|place| remark(format!("filesystem globs: could not search {place}"))));
    notes.extend(rules.warnings.iter().map(degraded));
    notes.extend(rules.unenforced.iter().map(unenforced));
    notes.extend(missing_layers(facts));
    notes.extend(net::notes(policy, run, facts, network));
    if let Some(Err(why)) = facts.monitor.as_ref().filter(|_| run.monitor) {
        notes.push(degraded(format!("--monitor cannot show what the kernel denies, such as files: {why}")));
    }
    notes.extend(not_yet(policy));
    notes
}

fn remark(text: String) -> Note {
    Note { weight: Weight::Remark, text }
}

fn degraded(text: impl Into<String>) -> Note {
    Note { weight: Weight::Degraded, text: text.into() }
}

fn unenforced(text: impl Into<String>) -> Note {
    Note { weight: Weight::Unenforced, text: text.into() }
}

fn check_engine(run: &Run) -> Result<()> {
    let name = match run.engine {
        EngineChoice::Auto | EngineChoice::Native => return Ok(()),
        EngineChoice::Bwrap => "bwrap",
        EngineChoice::Landlock => "landlock",
    };
    Err(Failure::new(format!("cannot use the engine {name}: this build has only the native one"))
        .hint("leave --engine out"))
}

/// Root sets the sandbox up with its own capabilities; with only some of them it can't.
fn check_root_capabilities(facts: &Facts, root: bool) -> Result<()> {
    let missing = ROOT_NEEDS.iter().find(|(bit, _)| root && !facts.capable(*bit));
    match missing {
        None => Ok(()),
        Some((_, name)) => Err(Failure::new(format!("cannot set the sandbox up as root without {name}"))
            .hint("run fence as an ordinary user, or give it that capability too")),
    }
}

fn missing_layers(facts: &Facts) -> Vec<Note> {
    let mut notes = Vec::new();
    if !facts.seccomp {
        notes.push(degraded("the system call filter is missing: this kernel has no seccomp filters"));
    }
    match facts.landlock_abi {
        0 => notes.push(degraded(
            "Landlock is missing on this kernel (5.13 or newer has it): the mounts alone carry the file rules",
        )),
        abi @ 1..6 => notes.push(remark(format!(
            "Landlock ABI {abi} has no signal scope (6 has): a seccomp rule keeps signals from the caller's process group"
        ))),
        _ => {}
    }
    notes
}

/// What the policy asks for and this build does not do.
fn not_yet(policy: &Policy) -> Vec<Note> {
    let mut notes = Vec::new();
    let network = &policy.network;
    if !network.allow_unix_sockets.is_empty() || network.allow_all_unix_sockets {
        notes.push(degraded(
            "network.allowUnixSockets has no effect in this build: sockets below /run stay hidden",
        ));
    }
    notes
}

/// Layers that `--require` names and that are not there.
fn require(run: &Run, facts: &Facts, argv: bool) -> Result<()> {
    let monitor = facts.monitor.as_ref().and_then(|loaded| loaded.as_ref().err());
    let monitor = monitor.map(|why| format!("monitor: {why}"));
    let missing = |layer: &Layer| match layer {
        Layer::Userns | Layer::Netns | Layer::Pidns => None,
        Layer::Seccomp => (!facts.seccomp).then_some("seccomp: this kernel has no seccomp filters"),
        Layer::Landlock => {
            (facts.landlock_abi == 0).then_some("landlock: this kernel does not have it enabled")
        }
        Layer::LandlockNet => Some("landlock-net: this build has no Landlock rules for TCP"),
        Layer::Argv => (!argv).then_some("argv: command.runtimeExecPolicy is not \"argv\""),
        Layer::Monitor => monitor.as_deref(),
    };
    match run.require.iter().find_map(missing) {
        None => Ok(()),
        Some(why) => Err(Failure::new(format!("cannot start without a layer that --require names: {why}"))),
    }
}

/// `CLONE_NEW*`: mount, PID, network, IPC, UTS and cgroup; a user namespace only for those who need one. Root inside a
/// user namespace gains nothing and could not chown.
fn namespaces(root: bool, network: &net::Network) -> u64 {
    let all = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let own = if network.mode == net::Mode::Own { libc::CLONE_NEWNET } else { 0 };
    (all | own | if root { 0 } else { libc::CLONE_NEWUSER }) as u64
}

/// Pipes stay (process substitution, make's job server); all else only when `--keep-fd` names it.
fn keep_fds(run: &Run, facts: &Facts) -> Result<Vec<i32>> {
    let named = |number: i32| run.keep_fds.contains(&number);
    let open = |number: i32| number < 3 || facts.descriptors.iter().any(|d| d.number == number);
    if let Some(number) = run.keep_fds.iter().find(|number| !open(**number)) {
        return Err(Failure::new(format!(
            "cannot keep descriptor {number} open: the caller did not pass it"
        ))
        .hint("leave --keep-fd out, or open it: --keep-fd 9 9<FILE"));
    }
    // In ascending order, as the probe found them.
    Ok(facts.descriptors.iter().filter(|d| d.pipe || named(d.number)).map(|d| d.number).collect())
}

/// Read-only standard descriptors are of the host's mounts: through them the file's mode, owner and times could be changed,
/// and /proc/self/fd would open it for writing where Landlock does not stop that, because the file lies in a writable
/// place, or because there is no Landlock.
fn reopen(facts: &Facts, rules: &files::Rules) -> Vec<Reopen> {
    let writable =
        |path: &Path| path.ancestors().any(|p| rules.places.get(p).is_some_and(|rule| rule.place.opens()));
    let stdio = facts.read_only_stdio.iter();
    stdio
        .map(|(number, path)| Reopen {
            number: *number,
            path: path.clone(),
            must: facts.landlock_abi == 0 || writable(path),
        })
        .collect()
}

/// The command's environment. Directories that it names are kept when they are writable inside, else replaced.
fn environment(
    run: &Run,
    facts: &Facts,
    assignments: Vec<env::Variable>,
    mounts: &[Mount],
    network: &net::Network,
) -> env::Environment {
    let writable = |name: &str| {
        let value = facts.environment.iter().find(|(n, _)| n == name).map(|(_, value)| Path::new(value));
        value.is_some_and(|path| writable_inside(path, facts, mounts))
    };
    let caller = facts.environment.clone();
    let mut environment = env::environment(
        caller,
        &env::EnvFacts {
            cwd: facts.cwd.clone(),
            uid: facts.uid,
            random: facts.nonce.clone(),
            tmpdir_writable: writable("TMPDIR"),
            runtime_dir_writable: writable("XDG_RUNTIME_DIR"),
            log_file: run.log_file.as_ref().map(|path| facts.cwd.join(path)),
            proxy_url: net::proxy_url(network),
            hints: net::hints(network, facts.executable.as_deref().filter(|path| seen_inside(path, mounts))),
            assignments,
        },
    );
    // The new directory is made in the sandbox's own /tmp and nowhere else: not on the host, not where nothing can be made.
    let own = mounts.iter().rev().find(|m| {
        matches!(m, Mount::Seal(to) | Mount::Bind { to, .. } | Mount::Tmpfs { to, .. }
        | Mount::MaskDirectory(to) if to == Path::new("/tmp"))
    });
    if !matches!(own, Some(Mount::Tmpfs { read_only: false, .. })) {
        environment.drop_runtime_dir();
    }
    environment
}

/// Whether a file of the host's is at its path inside too.
fn seen_inside(path: &Path, mounts: &[Mount]) -> bool {
    let last = mounts.iter().rev().find_map(|m| match m {
        Mount::HostRoot { .. } => Some(true),
        Mount::EmptyRoot => Some(false),
        Mount::Bind { from, to, .. } if path.starts_with(to) => Some(from == to),
        Mount::Tmpfs { to, .. } | Mount::MaskDirectory(to) | Mount::Proc(to) if path.starts_with(to) => {
            Some(false)
        }
        Mount::MaskFile(to) if path == to => Some(false),
        _ => None,
    });
    last == Some(true)
}

/// Whether a directory of the host's, or one that the sandbox makes, can be written to inside.
fn writable_inside(path: &Path, facts: &Facts, mounts: &[Mount]) -> bool {
    let made =
        |m: &Mount| matches!(m, Mount::Directory { at, .. } | Mount::Tmpfs { to: at, .. } if at == path);
    let covering = mounts.iter().rev().find(|m| match m {
        Mount::Bind { to, .. } | Mount::Tmpfs { to, .. } | Mount::MaskDirectory(to) | Mount::Proc(to) => {
            path.starts_with(to)
        }
        Mount::HostRoot { .. } | Mount::EmptyRoot => true,
        _ => false,
    });
    match covering {
        Some(Mount::Tmpfs { read_only: false, .. }) => mounts.iter().any(made),
        Some(Mount::Bind { read_only: false, .. } | Mount::HostRoot { read_only: false }) => {
            facts.at(path).is_some_and(|found| found.kind == crate::facts::Kind::Directory)
        }
        _ => false,
    }
}
