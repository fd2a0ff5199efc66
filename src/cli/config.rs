//! The flags of `fence config show` and `fence config init`.

use std::ffi::OsString;

use super::applets::nothing;
use super::flags::{Flag, Set, exclusive, scan};
use super::{ConfigCommand, Invocation, help};
use crate::error::Result;

/// The flags of `config show` as typed.
#[derive(Default)]
pub(super) struct Show {
    settings: Option<OsString>,
    template: Option<String>,
    help: bool,
}

/// Every flag of `fence config show`.
pub(super) static SHOW: &[Flag<Show>] = &[
    Flag {
        long: "settings",
        short: Some(b's'),
        set: Set::Value("FILE", |t, v| t.settings = Some(v)),
        help: "Show what this file comes to",
        group: "show",
    },
    Flag {
        long: "template",
        short: Some(b't'),
        set: Set::Value("NAME", |t, v| t.template = Some(text(v))),
        help: "Show what this built-in template comes to",
        group: "show",
    },
    Flag {
        long: "help",
        short: Some(b'h'),
        set: Set::Switch(|t, on| t.help = on),
        help: "Show this text",
        group: "show",
    },
];

/// The flags of `config init` as typed.
#[derive(Default)]
pub(super) struct Init {
    template: Option<String>,
    minimal: bool,
    output: Option<OsString>,
    force: bool,
    print: bool,
    scaffold: bool,
    help: bool,
}

/// Every flag of `fence config init`.
pub(super) static INIT: &[Flag<Init>] = &[
    Flag {
        long: "template",
        short: Some(b't'),
        set: Set::Value("NAME", |t, v| t.template = Some(text(v))),
        help: "Extend this built-in template (default: code)",
        group: "init",
    },
    Flag {
        long: "minimal",
        short: None,
        set: Set::Switch(|t, on| t.minimal = on),
        help: "Extend none: nothing is allowed",
        group: "init",
    },
    Flag {
        long: "output",
        short: Some(b'o'),
        set: Set::Value("FILE", |t, v| t.output = Some(v)),
        help: "Write this file instead of the user's configuration",
        group: "init",
    },
    Flag {
        long: "force",
        short: Some(b'y'),
        set: Set::Switch(|t, on| t.force = on),
        help: "Overwrite without asking",
        group: "init",
    },
    Flag {
        long: "print",
        short: None,
        set: Set::Switch(|t, on| t.print = on),
        help: "Print it and write nothing",
        group: "init",
    },
    Flag {
        long: "scaffold",
        short: None,
        set: Set::Switch(|t, on| t.scaffold = on),
        help: "With empty lists to fill in",
        group: "init",
    },
    Flag {
        long: "help",
        short: Some(b'h'),
        set: Set::Switch(|t, on| t.help = on),
        help: "Show this text",
        group: "init",
    },
];

/// `fence config …`: `flags` came before the word `config`, `words` after it; `show` or `init` is the first of these.
pub(super) fn config(flags: Vec<OsString>, words: Vec<OsString>) -> Result<Invocation> {
    let mut words = words.into_iter();
    let verb = words.next().unwrap_or_default();
    let flags = flags.into_iter().chain(words).collect();
    match verb.to_str() {
        Some("show") => show(flags),
        Some("init") => init(flags),
        Some(flag) if flag.starts_with('-') && flag != "-h" && flag != "--help" => {
            scan::<()>(&[], vec![verb], &mut ())?;
            Ok(Invocation::Help(help::config()))
        }
        _ => Ok(Invocation::Help(help::config())),
    }
}

fn show(words: Vec<OsString>) -> Result<Invocation> {
    let mut typed = Show::default();
    nothing(scan(SHOW, words, &mut typed)?.words)?;
    let Show { settings, template, help } = typed;
    if help {
        return Ok(Invocation::Help(help::config()));
    }
    exclusive(["settings", "template"], [settings.is_some(), template.is_some()])?;
    Ok(Invocation::Config(ConfigCommand::Show { settings, template }))
}

fn init(words: Vec<OsString>) -> Result<Invocation> {
    let mut typed = Init::default();
    nothing(scan(INIT, words, &mut typed)?.words)?;
    let Init { template, minimal, output, force, print, scaffold, help } = typed;
    if help {
        return Ok(Invocation::Help(help::config()));
    }
    exclusive(["template", "minimal"], [template.is_some(), minimal])?;
    Ok(Invocation::Config(ConfigCommand::Init { template, minimal, output, force, print, scaffold }))
}

fn text(value: OsString) -> String {
    value.to_string_lossy().into_owned()
}
