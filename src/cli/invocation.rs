//! What the user asked for, as close to the words typed as possible; nothing here has looked at the system.

use std::ffi::OsString;
use std::net::IpAddr;

/// One run of the fence binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// `fence [flags] [--] cmd…`: the whole thing.
    Run(Run),
    /// `fence plan [--json] [flags] -- cmd…`: print what a run would do.
    Plan {
        /// The run to plan.
        run: Run,
        /// As JSON.
        json: bool,
    },
    /// `fence learn [-o FILE] [flags] -- cmd…`: run, and write the configuration that the run needs.
    Learn {
        /// The run to learn from.
        run: Run,
        /// Where to, and how.
        learn: Learn,
    },
    /// `fence --bwrap-stage FD`: fence itself inside what bubblewrap made.
    Stage(i32),
    /// `fence config …`
    Config(ConfigCommand),
    /// `fence landlock …`, `fence-landlock`, `fence --landlock-apply`
    Landlock(LandlockCommand),
    /// `fence seccomp …`, `fence-seccomp`
    Seccomp(SeccompCommand),
    /// `fence supervise`, `fence-supervise`
    Supervise(SuperviseCommand),
    /// `fence connect HOST PORT`
    Connect {
        /// As typed.
        host: OsString,
        /// 1–65535
        port: u16,
    },
    /// `fence features`, `fence-features`, `fence --linux-features`
    Features {
        /// `--json`
        json: bool,
        /// `--apparmor-profile`
        apparmor: bool,
    },
    /// `--version`
    Version,
    /// `--list-templates`
    ListTemplates,
    /// `--help`, `help [CMD]`, `config` alone: the text to print on stdout.
    Help(String),
}

/// A command to sandbox and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// What to run.
    pub command: Command,
    /// `-d`: show everything.
    pub debug: bool,
    /// `-m`: show denials.
    pub monitor: bool,
    /// `-p`, in order, duplicates kept.
    pub ports: Vec<ExposePort>,
    /// `-s FILE`
    pub settings: Option<OsString>,
    /// `-t NAME`
    pub template: Option<String>,
    /// `--shell`
    pub shell: Shell,
    /// `--shell-login`
    pub shell_login: bool,
    /// `--fence-log-file`
    pub log_file: Option<OsString>,
    /// `--log-format json`
    pub log_json: bool,
    /// `--expose-host-path`
    pub expose_read: Vec<OsString>,
    /// `--expose-host-path-rw`
    pub expose_write: Vec<OsString>,
    /// `--service-execution-model on-host`
    pub services_on_host: bool,
    /// `--force-new-session[=false]`
    pub force_new_session: Option<bool>,
    /// `--engine`
    pub engine: EngineChoice,
    /// `--require`: layers that must be there.
    pub require: Vec<Layer>,
    /// `--allow-degraded`: rules that can't be enforced are warnings.
    pub allow_degraded: bool,
    /// `--keep-fd N`: inherited descriptors that stay open.
    pub keep_fds: Vec<i32>,
    /// `--allow-syscall NAME`: opened in the seccomp filter.
    pub allow_syscalls: Vec<String>,
}

/// `fence learn`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learn {
    /// `-o FILE`; fence.json here unless given.
    pub output: Option<OsString>,
    /// `--merge`: add to the file.
    pub merge: bool,
    /// `--enforce`: deny what the policy denies.
    pub enforce: bool,
}

/// The command of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Words after the flags: run directly.
    Argv(Vec<OsString>),
    /// `-c STRING` and the words after it: `$0 $1 …`.
    Line {
        /// The shell line.
        script: OsString,
        /// Positional parameters, from `$0`.
        params: Vec<OsString>,
    },
}

impl Default for Command {
    fn default() -> Self {
        Command::Argv(Vec::new())
    }
}

/// `-p [addr:]port`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExposePort {
    /// Address to listen on; 127.0.0.1 unless given.
    pub addr: IpAddr,
    /// 1–65535
    pub port: u16,
}

/// `--shell default|user`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shell {
    /// bash where there is one, else sh.
    #[default]
    Default,
    /// `$SHELL`
    User,
}

/// `--engine`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The first that works.
    #[default]
    Auto,
    /// fence's own namespaces.
    Native,
    /// bubblewrap.
    Bwrap,
    /// No namespaces: Landlock and seccomp alone.
    Landlock,
}

/// A layer that `--require` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// A user namespace, or root.
    Userns,
    /// An own network namespace.
    Netns,
    /// An own PID namespace.
    Pidns,
    /// The system call filter.
    Seccomp,
    /// Landlock's file rules.
    Landlock,
    /// Landlock's TCP rules.
    LandlockNet,
    /// argv-aware exec policy.
    Argv,
    /// eBPF monitoring.
    Monitor,
}

/// `fence config …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigCommand {
    /// `fence config show [-s F | -t T]`
    Show {
        /// `-s FILE`
        settings: Option<OsString>,
        /// `-t NAME`
        template: Option<String>,
    },
    /// `fence config init …`
    Init {
        /// `--template NAME`
        template: Option<String>,
        /// `--minimal`
        minimal: bool,
        /// `-o FILE`
        output: Option<OsString>,
        /// `-y`, `--force`: overwrite without asking.
        force: bool,
        /// `--print`: on stdout only.
        print: bool,
        /// `--scaffold`: with empty lists to fill in.
        scaffold: bool,
    },
}

/// `fence landlock [--ro P] [--rw P] [--connect PORT] [--bind PORT] [--] cmd…`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LandlockCommand {
    /// `--ro PATH`: readable and executable below.
    pub read: Vec<OsString>,
    /// `--rw PATH`: everything below.
    pub write: Vec<OsString>,
    /// `--connect PORT`; with it or `--bind`, all other TCP ports are denied.
    pub connect: Vec<u16>,
    /// `--bind PORT`
    pub bind: Vec<u16>,
    /// `--landlock-apply`: rules from the policy in FENCE_CONFIG_JSON, working directory readable.
    pub from_policy: bool,
    /// What to run.
    pub command: Vec<OsString>,
}

/// `fence seccomp [--deny NAME]… [--allow NAME]… [--] cmd…`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeccompCommand {
    /// `--deny NAME`: answered with EPERM, besides the built-in table.
    pub deny: Vec<String>,
    /// `--allow NAME`: taken out of the built-in table.
    pub allow: Vec<String>,
    /// `--dump`: print the program instead of running.
    pub dump: bool,
    /// `--notify-fd N`: ask about exec; the listener goes over this Unix socket.
    pub notify_fd: Option<i32>,
    /// What to run.
    pub command: Vec<OsString>,
}

/// `fence supervise [--notify-fd N] [-s FILE | -t NAME] [--] [cmd…]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuperviseCommand {
    /// `--notify-fd N`: the Unix socket that the listener comes over; 3 unless given.
    pub notify_fd: i32,
    /// `-s FILE`
    pub settings: Option<OsString>,
    /// `-t NAME`
    pub template: Option<String>,
    /// What to run with the other end of a new socket; none: the socket is inherited.
    pub command: Vec<OsString>,
}
