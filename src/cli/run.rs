//! The flags of a run (`fence …` and `fence plan …`): the table, and the checks in the order in which users meet them.

use std::ffi::OsString;

use super::flags::{Flag, Rest, Set, quoted};
use super::{Command, EngineChoice, Invocation, Layer, Learn, Run, Shell, help, port};
use crate::error::{Failure, Result};

/// The flags as typed; those that need no check are in `run` already.
#[derive(Default)]
pub(super) struct Typed {
    run: Run,
    line: OsString,
    ports: Vec<OsString>,
    model: OsString,
    shell: OsString,
    engine: OsString,
    log_format: OsString,
    require: Vec<OsString>,
    keep_fds: Vec<OsString>,
    json: bool,
    learn: Learn,
    version: bool,
    features: bool,
    templates: bool,
    help: bool,
}

const COMMAND: &str = "Command";
const POLICY: &str = "Policy";
const SANDBOX: &str = "Sandbox";
const OUTPUT: &str = "Output";
const LEARN: &str = "Learning";
const INFORMATION: &str = "Information";

/// Every flag of a run.
pub(super) static FLAGS: &[Flag<Typed>] = &[
    Flag {
        long: "c",
        short: Some(b'c'),
        set: Set::Value("LINE", |t, v| t.line = v),
        help: "Run this shell line; words after the flags become its $0 $1 …",
        group: COMMAND,
    },
    Flag {
        long: "shell",
        short: None,
        set: Set::Value("default|user", |t, v| t.shell = v),
        help: "The shell for -c: bash where there is one, else sh (default); or the one in $SHELL (user)",
        group: COMMAND,
    },
    Flag {
        long: "shell-login",
        short: None,
        set: Set::Switch(|t, on| t.run.shell_login = on),
        help: "Start that shell as a login shell",
        group: COMMAND,
    },
    Flag {
        long: "force-new-session",
        short: None,
        set: Set::Switch(|t, on| t.run.force_new_session = Some(on)),
        help: "Start the command in a session of its own, without the terminal; =false overrides the configuration",
        group: COMMAND,
    },
    Flag {
        long: "keep-fd",
        short: None,
        set: Set::Value("N", |t, v| t.keep_fds.push(v)),
        help: "Leave this inherited file descriptor open (repeatable); pipes always stay open",
        group: COMMAND,
    },
    Flag {
        long: "settings",
        short: Some(b's'),
        set: Set::Value("FILE", |t, v| t.run.settings = given(v)),
        help: "Read this configuration file instead of looking for fence.json",
        group: POLICY,
    },
    Flag {
        long: "template",
        short: Some(b't'),
        set: Set::Value("NAME", |t, v| t.run.template = given(v).map(|v| v.to_string_lossy().into_owned())),
        help: "Use this built-in template; it wins over --settings",
        group: POLICY,
    },
    Flag {
        long: "port",
        short: Some(b'p'),
        set: Set::Value("[ADDR:]PORT", |t, v| t.ports.push(v)),
        help: "Let connections from outside reach this port of the command, on 127.0.0.1 unless ADDR is given (repeatable)",
        group: POLICY,
    },
    Flag {
        long: "expose-host-path",
        short: None,
        set: Set::Value("PATH", |t, v| t.run.expose_read.push(v)),
        help: "Show this path of the host, also where reading is denied (repeatable)",
        group: POLICY,
    },
    Flag {
        long: "expose-host-path-rw",
        short: None,
        set: Set::Value("PATH", |t, v| t.run.expose_write.push(v)),
        help: "The same, writable (repeatable)",
        group: POLICY,
    },
    Flag {
        long: "service-execution-model",
        short: None,
        set: Set::Value("MODEL", |t, v| t.model = v),
        help: "Where services that the command starts run: in-sandbox (default) or on-host, which opens the sockets of \
               container engines and makes no --port",
        group: POLICY,
    },
    Flag {
        long: "allow-syscall",
        short: None,
        set: Set::Value("NAME", |t, v| t.run.allow_syscalls.push(v.to_string_lossy().into_owned())),
        help: "Take this system call out of the filter (repeatable)",
        group: POLICY,
    },
    Flag {
        long: "engine",
        short: None,
        set: Set::Value("ENGINE", |t, v| t.engine = v),
        help: "Who makes the sandbox: auto (default, the first that works), native, or landlock, which needs no namespaces",
        group: SANDBOX,
    },
    Flag {
        long: "require",
        short: None,
        set: Set::Value("LIST", |t, v| t.require.push(v)),
        help: "Refuse to run without these layers: userns, netns, pidns, seccomp, landlock, landlock-net, argv, \
               monitor, or all; separated by commas (repeatable)",
        group: SANDBOX,
    },
    Flag {
        long: "allow-degraded",
        short: None,
        set: Set::Switch(|t, on| t.run.allow_degraded = on),
        help: "Run with a warning where a rule of the policy cannot be enforced, instead of refusing",
        group: SANDBOX,
    },
    Flag {
        long: "monitor",
        short: Some(b'm'),
        set: Set::Switch(|t, on| t.run.monitor = on),
        help: "Report what was denied, by which rule, and what would allow it; files only as root or after setcap \
               cap_bpf,cap_perfmon+p",
        group: OUTPUT,
    },
    Flag {
        long: "debug",
        short: Some(b'd'),
        set: Set::Switch(|t, on| t.run.debug = on),
        help: "Report everything",
        group: OUTPUT,
    },
    Flag {
        long: "fence-log-file",
        short: None,
        set: Set::Value("FILE", |t, v| t.run.log_file = given(v)),
        help: "Write reports to this file instead of stderr",
        group: OUTPUT,
    },
    Flag {
        long: "log-format",
        short: None,
        set: Set::Value("text|json", |t, v| t.log_format = v),
        help: "How reports are written",
        group: OUTPUT,
    },
    Flag {
        long: "output",
        short: Some(b'o'),
        set: Set::Value("FILE", |t, v| t.learn.output = given(v)),
        help: "With learn: write this file instead of fence.json",
        group: LEARN,
    },
    Flag {
        long: "merge",
        short: None,
        set: Set::Switch(|t, on| t.learn.merge = on),
        help: "With learn: add to the file, which is there already",
        group: LEARN,
    },
    Flag {
        long: "enforce",
        short: None,
        set: Set::Switch(|t, on| t.learn.enforce = on),
        help: "With learn: deny as a run does, and learn from what was denied",
        group: LEARN,
    },
    Flag {
        long: "list-templates",
        short: None,
        set: Set::Switch(|t, on| t.templates = on),
        help: "List the built-in templates",
        group: INFORMATION,
    },
    Flag {
        long: "linux-features",
        short: None,
        set: Set::Switch(|t, on| t.features = on),
        help: "Show what a run needs of this system",
        group: INFORMATION,
    },
    Flag {
        long: "json",
        short: None,
        set: Set::Switch(|t, on| t.json = on),
        help: "With --linux-features or plan: as JSON",
        group: INFORMATION,
    },
    Flag {
        long: "version",
        short: Some(b'v'),
        set: Set::Switch(|t, on| t.version = on),
        help: "Show the version",
        group: INFORMATION,
    },
    Flag {
        long: "help",
        short: Some(b'h'),
        set: Set::Switch(|t, on| t.help = on),
        help: "Show this text",
        group: INFORMATION,
    },
];

/// What `fence …` asks for.
pub(super) fn invocation(typed: Typed, rest: Rest) -> Result<Invocation> {
    if let Some(information) = information(&typed, help::run) {
        return Ok(information);
    }
    if typed.json {
        return Err(Failure::new("--json needs plan or --linux-features"));
    }
    not_learning(&typed)?;
    Ok(Invocation::Run(run(typed, rest.words)?))
}

/// What `fence plan …` asks for.
pub(super) fn plan(typed: Typed, rest: Rest) -> Result<Invocation> {
    if let Some(information) = information(&typed, help::plan) {
        return Ok(information);
    }
    not_learning(&typed)?;
    let json = typed.json;
    Ok(Invocation::Plan { run: run(typed, rest.words)?, json })
}

/// What `fence learn …` asks for.
pub(super) fn learn(typed: Typed, rest: Rest) -> Result<Invocation> {
    if let Some(information) = information(&typed, help::learn) {
        return Ok(information);
    }
    let learn = typed.learn.clone();
    Ok(Invocation::Learn { run: run(typed, rest.words)?, learn })
}

fn not_learning(typed: &Typed) -> Result<()> {
    if typed.learn == Learn::default() {
        return Ok(());
    }
    Err(Failure::new("--output, --merge and --enforce need learn"))
}

/// The flags that print something and run nothing; they win over all that follows.
fn information(typed: &Typed, page: fn() -> String) -> Option<Invocation> {
    match typed {
        Typed { help: true, .. } => Some(Invocation::Help(page())),
        Typed { version: true, .. } => Some(Invocation::Version),
        Typed { features: true, json, .. } => Some(Invocation::Features { json: *json, apparmor: false }),
        Typed { templates: true, .. } => Some(Invocation::ListTemplates),
        _ => None,
    }
}

/// The checks, in the original's order: a command, ports, execution model, shell; then ours.
fn run(typed: Typed, words: Vec<OsString>) -> Result<Run> {
    let mut run = typed.run;
    run.command = command(typed.line, words)?;
    run.ports =
        typed.ports.iter().map(|value| port::parse(&value.to_string_lossy())).collect::<Result<_>>()?;
    run.services_on_host = on_host(&typed.model)?;
    run.shell = choice("shell", &typed.shell, &[("default", Shell::Default), ("user", Shell::User)])?;
    run.engine = choice("engine", &typed.engine, ENGINES)?;
    run.log_json = choice("log-format", &typed.log_format, &[("text", false), ("json", true)])?;
    run.require = layers(&typed.require)?;
    run.keep_fds = typed.keep_fds.iter().map(descriptor).collect::<Result<_>>()?;
    for (flag, paths) in [("expose-host-path", &run.expose_read), ("expose-host-path-rw", &run.expose_write)]
    {
        if paths.iter().any(|path| path.is_empty()) {
            return Err(Failure::new(format!("--{flag} has an empty path")));
        }
    }
    Ok(run)
}

fn command(line: OsString, words: Vec<OsString>) -> Result<Command> {
    if !line.is_empty() {
        return Ok(Command::Line { script: line, params: words });
    }
    if words.is_empty() {
        return Err(Failure::new("no command specified. Use -c <command> or provide command arguments"));
    }
    Ok(Command::Argv(words))
}

fn on_host(model: &OsString) -> Result<bool> {
    match model.to_string_lossy().trim().to_lowercase().as_str() {
        "" | "in-sandbox" => Ok(false),
        "on-host" => Ok(true),
        _ => Err(Failure::new(format!(
            "invalid --service-execution-model {} (expected 'in-sandbox' or 'on-host')",
            quoted(model)
        ))),
    }
}

const ENGINES: &[(&str, EngineChoice)] = &[
    ("auto", EngineChoice::Auto),
    ("native", EngineChoice::Native),
    ("bwrap", EngineChoice::Bwrap),
    ("landlock", EngineChoice::Landlock),
];

/// The names that `--require` takes.
const LAYERS: &[(&str, Layer)] = &[
    ("userns", Layer::Userns),
    ("netns", Layer::Netns),
    ("pidns", Layer::Pidns),
    ("seccomp", Layer::Seccomp),
    ("landlock", Layer::Landlock),
    ("landlock-net", Layer::LandlockNet),
    ("argv", Layer::Argv),
    ("monitor", Layer::Monitor),
];

/// One of a few words; empty is the default.
fn choice<T: Copy + Default>(flag: &str, value: &OsString, choices: &[(&str, T)]) -> Result<T> {
    if value.is_empty() {
        return Ok(T::default());
    }
    one_of(flag, &value.to_string_lossy(), choices)
}

fn one_of<T: Copy>(flag: &str, word: &str, choices: &[(&str, T)]) -> Result<T> {
    choices.iter().find(|(name, _)| *name == word).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("'{name}'")).collect();
        let expected = match names.as_slice() {
            [first, second] => format!("{first} or {second}"),
            names => format!("one of {}", names.join(", ")),
        };
        Failure::new(format!("invalid --{flag} {word:?} (expected {expected})"))
    })
}

/// The layers of all `--require` flags, each once, in the table's order.
fn layers(lists: &[OsString]) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    for list in lists {
        for name in list.to_string_lossy().split(',').map(str::trim) {
            match name {
                "all" => layers.extend(LAYERS.iter().map(|(_, layer)| *layer)),
                name => layers.push(one_of("require", name, LAYERS)?),
            }
        }
    }
    crate::order::set(&mut layers);
    Ok(layers)
}

fn descriptor(value: &OsString) -> Result<i32> {
    value.to_str().and_then(|text| text.parse().ok()).filter(|fd| *fd >= 0).ok_or_else(|| {
        Failure::new(format!("invalid --keep-fd {}: expected the number of a file descriptor", quoted(value)))
    })
}

/// An empty value is as if the flag had not been given, as in the original.
fn given(value: OsString) -> Option<OsString> {
    (!value.is_empty()).then_some(value)
}
