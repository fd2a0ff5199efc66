//! The flags of the applets that do one layer alone: `landlock`, `seccomp`, `supervise`, `features`, `connect`.

use std::ffi::OsString;

use super::flags::{Flag, Set, quoted, scan};
use super::{Invocation, LandlockCommand, SeccompCommand, SuperviseCommand, help};
use crate::error::{Failure, Result};

/// The flags of `fence landlock` as typed.
#[derive(Default)]
pub(super) struct Landlock {
    command: LandlockCommand,
    connect: Vec<OsString>,
    bind: Vec<OsString>,
    help: bool,
}

/// Every flag of `fence landlock`.
pub(super) static LANDLOCK: &[Flag<Landlock>] = &[
    Flag {
        long: "ro",
        short: None,
        set: Set::Value("PATH", |t, v| t.command.read.push(v)),
        help: "Allow to read and execute this path and all below (repeatable)",
        group: "Rules",
    },
    Flag {
        long: "rw",
        short: None,
        set: Set::Value("PATH", |t, v| t.command.write.push(v)),
        help: "Allow everything there (repeatable)",
        group: "Rules",
    },
    Flag {
        long: "connect",
        short: None,
        set: Set::Value("PORT", |t, v| t.connect.push(v)),
        help: "Allow TCP connections to this port; with it or --bind all other ports are denied (repeatable)",
        group: "Rules",
    },
    Flag {
        long: "bind",
        short: None,
        set: Set::Value("PORT", |t, v| t.bind.push(v)),
        help: "Allow to listen on this TCP port (repeatable)",
        group: "Rules",
    },
    Flag {
        long: "help",
        short: Some(b'h'),
        set: Set::Switch(|t, on| t.help = on),
        help: "Show this text",
        group: "Output",
    },
];

/// `fence landlock …`
pub(super) fn landlock(words: Vec<OsString>) -> Result<Invocation> {
    let mut typed = Landlock::default();
    let rest = scan(LANDLOCK, words, &mut typed)?;
    if typed.help {
        return Ok(Invocation::Help(help::landlock()));
    }
    let mut command = typed.command;
    command.connect = ports("connect", &typed.connect)?;
    command.bind = ports("bind", &typed.bind)?;
    command.command = something(rest.words, "fence landlock --ro /usr -- CMD")?;
    Ok(Invocation::Landlock(command))
}

fn ports(flag: &str, values: &[OsString]) -> Result<Vec<u16>> {
    let port = |value: &OsString| {
        value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
            Failure::new(format!("invalid --{flag} {}: expected a port, 0-65535", quoted(value)))
        })
    };
    values.iter().map(port).collect()
}

/// `fence --landlock-apply [--debug] [--] cmd…`, the original's form.
pub(super) fn landlock_apply(words: Vec<OsString>) -> Result<Invocation> {
    static FLAGS: &[Flag<()>] = &[Flag {
        long: "debug",
        short: None,
        set: Set::Switch(|(), _| {}),
        help: "Taken because the original takes it; without effect",
        group: "Output",
    }];
    let rest = scan(FLAGS, words, &mut ())?;
    let command = something(rest.words, "fence --landlock-apply -- CMD")?;
    Ok(Invocation::Landlock(LandlockCommand { from_policy: true, command, ..Default::default() }))
}

/// The flags of `fence seccomp` as typed.
#[derive(Default)]
pub(super) struct Seccomp {
    command: SeccompCommand,
    notify_fd: Option<OsString>,
    help: bool,
}

/// Every flag of `fence seccomp`.
pub(super) static SECCOMP: &[Flag<Seccomp>] = &[
    Flag {
        long: "deny",
        short: None,
        set: Set::Value("NAME", |t, v| t.command.deny.push(v.to_string_lossy().into_owned())),
        help: "Deny this system call too (repeatable)",
        group: "Filter",
    },
    Flag {
        long: "allow",
        short: None,
        set: Set::Value("NAME", |t, v| t.command.allow.push(v.to_string_lossy().into_owned())),
        help: "Take this system call out of the built-in filter (repeatable)",
        group: "Filter",
    },
    Flag {
        long: "notify-fd",
        short: None,
        set: Set::Value("N", |t, v| t.notify_fd = Some(v)),
        help: "Let fence supervise judge every exec: the listener is sent over the Unix socket with this number",
        group: "Filter",
    },
    Flag {
        long: "dump",
        short: None,
        set: Set::Switch(|t, on| t.command.dump = on),
        help: "Print the filter's program and run nothing",
        group: "Filter",
    },
    Flag {
        long: "help",
        short: Some(b'h'),
        set: Set::Switch(|t, on| t.help = on),
        help: "Show this text",
        group: "Output",
    },
];

/// `fence seccomp …`
pub(super) fn seccomp(words: Vec<OsString>) -> Result<Invocation> {
    let mut typed = Seccomp::default();
    let rest = scan(SECCOMP, words, &mut typed)?;
    if typed.help {
        return Ok(Invocation::Help(help::seccomp()));
    }
    let mut command = typed.command;
    command.notify_fd = typed.notify_fd.as_ref().map(descriptor).transpose()?;
    command.command = if command.dump { rest.words } else { something(rest.words, "fence seccomp -- CMD")? };
    Ok(Invocation::Seccomp(command))
}

fn descriptor(value: &OsString) -> Result<i32> {
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 2);
    number.ok_or_else(|| {
        Failure::new(format!("invalid --notify-fd {}: expected a descriptor's number above 2", quoted(value)))
    })
}

/// The flags of `fence features` as typed.
#[derive(Default)]
pub(super) struct Plain {
    json: bool,
    apparmor: bool,
    help: bool,
}

const HELP: Flag<Plain> = Flag {
    long: "help",
    short: Some(b'h'),
    set: Set::Switch(|t, on| t.help = on),
    help: "Show this text",
    group: "Output",
};

/// Every flag of `fence features`.
pub(super) static FEATURES: &[Flag<Plain>] = &[
    Flag {
        long: "json",
        short: None,
        set: Set::Switch(|t, on| t.json = on),
        help: "As JSON",
        group: "Output",
    },
    Flag {
        long: "apparmor-profile",
        short: None,
        set: Set::Switch(|t, on| t.apparmor = on),
        help: "Print the AppArmor profile that lets fence make user namespaces, for /etc/apparmor.d/fence",
        group: "Output",
    },
    HELP,
];

/// The flags of `fence supervise` as typed.
#[derive(Default)]
pub(super) struct Supervise {
    notify_fd: Option<OsString>,
    settings: Option<OsString>,
    template: Option<String>,
    help: bool,
}

/// Every flag of `fence supervise`.
pub(super) static SUPERVISE: &[Flag<Supervise>] = &[
    Flag {
        long: "notify-fd",
        short: None,
        set: Set::Value("N", |t, v| t.notify_fd = Some(v)),
        help: "The Unix socket that the listener comes over (default 3)",
        group: "Supervisor",
    },
    Flag {
        long: "settings",
        short: Some(b's'),
        set: Set::Value("FILE", |t, v| t.settings = Some(v)),
        help: "The policy: its command and ssh rules",
        group: "Supervisor",
    },
    Flag {
        long: "template",
        short: Some(b't'),
        set: Set::Value("NAME", |t, v| t.template = Some(v.to_string_lossy().into_owned())),
        help: "A built-in policy",
        group: "Supervisor",
    },
    Flag {
        long: "help",
        short: Some(b'h'),
        set: Set::Switch(|t, on| t.help = on),
        help: "Show this text",
        group: "Output",
    },
];

/// `fence features …`
pub(super) fn features(words: Vec<OsString>) -> Result<Invocation> {
    let mut typed = Plain::default();
    nothing(scan(FEATURES, words, &mut typed)?.words)?;
    if typed.help {
        return Ok(Invocation::Help(help::features()));
    }
    Ok(Invocation::Features { json: typed.json, apparmor: typed.apparmor })
}

/// `fence supervise …`
pub(super) fn supervise(words: Vec<OsString>) -> Result<Invocation> {
    let mut typed = Supervise::default();
    let command = scan(SUPERVISE, words, &mut typed)?.words;
    if typed.help {
        return Ok(Invocation::Help(help::supervise()));
    }
    let notify_fd = typed.notify_fd.as_ref().map_or(Ok(3), descriptor)?;
    let Supervise { settings, template, .. } = typed;
    Ok(Invocation::Supervise(SuperviseCommand { notify_fd, settings, template, command }))
}

/// Every flag of `fence connect`.
pub(super) static CONNECT: &[Flag<Plain>] = &[HELP];

/// `fence connect HOST PORT`
pub(super) fn connect(words: Vec<OsString>) -> Result<Invocation> {
    let mut typed = Plain::default();
    let rest = scan(CONNECT, words, &mut typed)?;
    if typed.help {
        return Ok(Invocation::Help(help::connect()));
    }
    let [host, port] = rest.words.as_slice() else {
        return Err(
            Failure::new("fence connect takes a host and a port").hint("write fence connect HOST PORT")
        );
    };
    let number = port.to_str().and_then(|text| text.parse().ok()).filter(|port| *port > 0);
    let port = number
        .ok_or_else(|| Failure::new(format!("invalid port {}: expected a number, 1-65535", quoted(port))))?;
    Ok(Invocation::Connect { host: host.clone(), port })
}

/// The command of an applet: there must be one.
fn something(words: Vec<OsString>, usage: &str) -> Result<Vec<OsString>> {
    if words.is_empty() {
        return Err(Failure::new("no command specified").hint(format!("write {usage}")));
    }
    Ok(words)
}

/// For an applet that takes no words.
pub(super) fn nothing(words: Vec<OsString>) -> Result<()> {
    match words.first() {
        Some(word) => Err(Failure::new(format!("unexpected argument: {}", word.to_string_lossy()))),
        None => Ok(()),
    }
}
