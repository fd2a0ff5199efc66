//! Policy + facts → Plan: pure. What cannot be enforced is a refusal or a note in the plan, never a log line elsewhere.

pub mod alone;
pub mod bpf;
pub mod broker;
pub mod bwrap;
pub mod command;
pub mod engine;
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
pub mod watch;

use crate::cli::Run;
use crate::config::Policy;
use crate::error::{Failure, Result};
pub use crate::facts::Engine;
use crate::facts::Facts;
use crate::tables::landlock::MAKE_SOCK;
use crate::tables::syscalls::Rule;
use mounts::Mount;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Everything that one run needs, as a value: holds no descriptor, does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who carries the plan out.
    pub engine: Engine,
    /// bubblewrap, where it makes the namespaces and mounts.
    pub bwrap: Option<PathBuf>,
    /// `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// The file system, step by step.
    pub mounts: Vec<Mount>,
    /// Names that must not appear while the command runs, and those whose appearance is said.
    pub watched: Vec<watch::Watched>,
    /// fence's own directory of the user's state.
    pub state: Option<PathBuf>,
    /// Eight hexadecimal digits that differ from run to run.
    pub nonce: String,
    /// Landlock's ruleset, where the kernel has it.
    pub landlock: Option<landlock::Ruleset>,
    /// The system call filter's rules.
    pub seccomp: Vec<Rule>,
    /// What the exec supervisor judges by, when there is one.
    pub exec: Option<exec::Exec>,
    /// What the command's sockets may be connected to, where fence makes them.
    pub broker: Option<broker::Broker>,
    /// The sandbox's own loopback device comes up.
    pub loopback: bool,
    /// Capabilities that stay, as a bit set.
    pub capabilities: u64,
    /// The same for fence's process beside the command, which passes signals on and ends what is left.
    pub init_capabilities: u64,
    /// A directory of the host's for temporary files, made for this run and removed after it.
    pub scratch: Option<PathBuf>,
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
    /// What the filter's listener shows.
    pub watch: Watch,
    /// What a layer or rule does not give on this host.
    pub notes: Vec<Note>,
}

impl Plan {
    /// The filter asks fence about some calls.
    pub fn asks(&self) -> bool {
        self.exec.is_some() || self.broker.is_some()
    }

    /// The command has a PID namespace: when its first process ends, the kernel ends all others.
    pub fn owns_pids(&self) -> bool {
        engine::has(self.namespaces, libc::CLONE_NEWPID)
    }
}

/// What the filter's listener shows. Nothing of it is a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// There is none for that.
    #[default]
    Nothing,
    /// Calls that the filter refuses.
    Denials,
    /// Those, and every call that names a file or an address: to learn from.
    Everything,
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

/// Makes the plan, or says in one sentence why this policy can't be kept on this host.
pub fn plan(policy: &Policy, run: &Run, facts: &Facts) -> Result<Plan> {
    engine::check(facts)?;
    let exec = exec::plan(policy, run, facts)?;
    let rules = files::rules(policy, run, facts, &exec);
    if rules.places.get(Path::new("/")).is_some_and(|rule| rule.place == files::Place::Mask) {
        return Err(Failure::new(
            "cannot deny reading / as filesystem.denyRead says: the command itself is there",
        )
        .hint("filesystem.defaultDenyRead hides all that is not allowed"));
    }
    let network = net::plan(policy, run, facts)?;
    let namespaces = engine::namespaces(facts, &network);
    let alone = match facts.engine {
        Engine::Landlock => Some(alone::plan(facts.landlock_abi, &rules, facts)?),
        Engine::Native | Engine::Bwrap => None,
    };
    let mut mounts = Vec::new();
    if alone.is_none() {
        mounts = mounts::table(&rules);
        net::resolver(&network, facts, &rules, &mut mounts);
    }
    if facts.engine == Engine::Bwrap {
        bwrap::check(facts, &rules, &mounts)?;
    }
    let scratch =
        alone.as_ref().and(facts.scratch.as_ref()).map(|dir| dir.join(format!("fence-{}", facts.nonce)));
    let landlock = match &alone {
        Some(alone) => Some(alone::ruleset(facts.landlock_abi, alone, scratch.as_deref(), &network)),
        None => landlock::plan(
            facts.landlock_abi,
            &rules,
            &mounts,
            private::writable(&mounts),
            &devices(policy, facts),
        ),
    };
    let own_places = landlock.iter().filter(|_| alone.is_some()).flat_map(|l| l.places(MAKE_SOCK)).collect();
    let scoped = landlock.as_ref().is_some_and(|l| l.scoped);
    let filter = seccomp::plan(&seccomp::Options {
        allow: run.allow_syscalls.clone(),
        guard_group_kill: !scoped,
        ask_exec: exec.exec.is_some(),
        host: engine::host(policy, facts, namespaces, &network),
        ..seccomp::Options::default()
    })?;
    let mut notes = notes(policy, run, facts, &rules, &network);
    notes.extend(exec.notes);
    notes.extend(engine::notes(run, facts, namespaces, &network, alone.as_ref()));
    if facts.engine == Engine::Bwrap {
        notes.extend(bwrap::notes(facts, &mounts));
    }
    if let Some(note) = notes.iter().find(|n| n.weight == Weight::Unenforced && !run.allow_degraded) {
        return Err(
            Failure::new(note.text.clone()).hint("--allow-degraded runs the command without that rule")
        );
    }
    let argv = exec.exec.is_some() && exec::mode(policy) == exec::Mode::Argv;
    engine::require(run, facts, namespaces, &network, argv)?;
    let (capabilities, init_capabilities) = engine::capabilities(facts, namespaces, scoped);
    let (argv, assignments) = command::words(run, facts);
    if argv.is_empty() {
        return Err(Failure::new("no command specified. Use -c <command> or provide command arguments")
            .hint("words of the form NAME=value only set variables for the command after them"));
    }
    Ok(Plan {
        engine: facts.engine,
        bwrap: facts.bwrap.as_ref().filter(|_| facts.engine == Engine::Bwrap).map(|bwrap| bwrap.path.clone()),
        namespaces,
        loopback: network.mode == net::Mode::Own && engine::loopback(facts),
        landlock,
        seccomp: if facts.seccomp { filter } else { Vec::new() },
        exec: exec.exec,
        broker: net::broker(policy, run, facts, &network, own_places, &rules.sockets),
        capabilities,
        init_capabilities,
        environment: environment(run, facts, &rules, assignments, &mounts, scratch.as_deref(), &network),
        scratch,
        network,
        argv,
        cwd: facts.cwd.clone(),
        cwd_is_private: private::is_top(&facts.cwd) || rules.empty_root && facts.cwd == Path::new("/"),
        mount_setattr: facts.mount_setattr,
        new_session: run.force_new_session.or(policy.force_new_session).unwrap_or(false),
        keep_fds: keep_fds(run, facts)?,
        reopen: if alone.is_some() { Vec::new() } else { reopen(facts, &rules) },
        map: engine::has(namespaces, libc::CLONE_NEWUSER).then_some((facts.uid, facts.gid)),
        watched: rules.watched,
        state: facts.state.clone(),
        nonce: facts.nonce.clone(),
        watch: watch(run, facts),
        notes,
        mounts,
    })
}

/// Devices of the host that the command may use: `/dev` as a whole, or those that the policy names.
fn devices(policy: &Policy, facts: &Facts) -> Vec<PathBuf> {
    let named = private::allowed_devices(policy, facts).map(|(_, found)| found.real.clone());
    named.chain((policy.devices.mode == "host").then(|| "/dev".into())).collect()
}

/// What the eBPF monitor would show better stays with the filter's listener where there is no monitor.
fn watch(run: &Run, facts: &Facts) -> Watch {
    let missing = matches!(facts.monitor, Some(Err(_)));
    if run.monitor && missing && facts.seccomp { Watch::Denials } else { Watch::Nothing }
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
    notes.extend(wsl(policy, run, facts));
    if let Some(Err(why)) = facts.monitor.as_ref().filter(|_| run.monitor) {
        notes.push(degraded(format!("--monitor cannot show what the kernel denies, such as files: {why}")));
    }
    notes
}

/// Where `wslInterop` is less than it sounds like.
fn wsl(policy: &Policy, run: &Run, facts: &Facts) -> Option<Note> {
    let opened = |name: &String| matches!(name.as_str(), "socket" | "socketcall");
    match policy.filesystem.wsl_interop.filter(|_| facts.wsl_interop)? {
        true => Some(degraded(
            "filesystem.wslInterop opens /init only: Windows programs, which no sandbox holds, start through /run/WSL and vsock \
             too, and those stay closed",
        )),
        false if run.allow_syscalls.iter().any(opened) => Some(unenforced(
            "filesystem.wslInterop false is not enforced: --allow-syscall socket opens vsock, through which Windows programs start",
        )),
        false => None,
    }
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
    rules: &files::Rules,
    assignments: Vec<env::Variable>,
    mounts: &[Mount],
    scratch: Option<&Path>,
    network: &net::Network,
) -> env::Environment {
    let writable = |name: &str| {
        let value = facts.environment.iter().find(|(n, _)| n == name).map(|(_, value)| Path::new(value));
        value.is_some_and(|path| match facts.engine {
            Engine::Landlock => rules.opens(path),
            Engine::Native | Engine::Bwrap => writable_inside(path, facts, mounts),
        })
    };
    let caller = facts.environment.clone();
    let mut environment = env::environment(
        caller,
        &env::EnvFacts {
            cwd: facts.cwd.clone(),
            uid: facts.uid,
            random: facts.nonce.clone(),
            tmpdir_writable: writable("TMPDIR"),
            tmp: scratch.unwrap_or(Path::new("/tmp")).to_path_buf(),
            runtime_dir_writable: writable("XDG_RUNTIME_DIR"),
            log_file: run.log_file.as_ref().map(|path| facts.cwd.join(path)),
            proxy_urls: net::proxy_urls(network),
            hints: net::hints(
                network,
                facts.executable.as_deref().filter(|path| match facts.engine {
                    Engine::Landlock => rules.all_readable && !rules.denies_reading(path),
                    Engine::Native | Engine::Bwrap => seen_inside(path, mounts),
                }),
            ),
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
