//! argv → Invocation: pure.
//!
//! The name of the program or the first word that is no flag selects the applet; `--` ends that search, so that
//! `fence -- config` runs a program named config.

mod applets;
mod config;
mod flags;
mod help;
pub mod invocation;
mod port;
mod run;
mod texts;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::Path;

pub use invocation::*;
pub use texts::version;

use crate::error::{Failure, Result};

/// Names that the original has, or that later work will fill.
const NOT_IN_THIS_BUILD: [&str; 4] = ["import", "hooks", "completion", "__complete"];

/// Reads a command line, the program's own name included.
pub fn parse(argv: Vec<OsString>) -> Result<Invocation> {
    let mut words = argv.into_iter();
    let program = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    match Path::new(&program).file_name().and_then(|name| name.to_str()) {
        Some("fence-landlock") => return applets::landlock(words),
        Some("fence-seccomp") => return applets::seccomp(words),
        Some("fence-supervise") => return applets::supervise(words),
        Some("fence-features") => return applets::features(words),
        _ => {}
    }
    match words.split_first() {
        Some((first, [number])) if first == crate::apply::STAGE => {
            Ok(Invocation::Stage(number.to_str().and_then(|n| n.parse().ok()).unwrap_or(i32::MAX)))
        }
        Some((first, rest)) if first == "--landlock-apply" => applets::landlock_apply(rest.to_vec()),
        _ => launcher(words),
    }
}

/// `fence …` under its own name.
fn launcher(words: Vec<OsString>) -> Result<Invocation> {
    let mut typed = run::Typed::default();
    let rest = flags::scan(run::FLAGS, words.clone(), &mut typed)?;
    let name = match rest.words.first().and_then(|word| word.to_str()) {
        Some(name) if !rest.dashes => name,
        _ => return run::invocation(typed, rest),
    };
    let before = words[..words.len() - rest.words.len()].to_vec();
    let misplaced = !before.is_empty();
    match sub_command(name, before, rest.words[1..].to_vec()) {
        None => run::invocation(typed, rest),
        Some(Err(failure)) if misplaced && failure.what.starts_with("unknown ") => {
            Err(failure.hint(format!(
                "flags of a run do not go with `{name}`; to run a program of that name write `-- {name}`"
            )))
        }
        Some(result) => result,
    }
}

/// The sub-command of that name; flags that came before the name are its flags, as those after it.
fn sub_command(name: &str, before: Vec<OsString>, after: Vec<OsString>) -> Option<Result<Invocation>> {
    let all = |mut before: Vec<OsString>| {
        before.extend(after.iter().cloned());
        before
    };
    Some(match name {
        "plan" => plan(all(before)),
        "learn" => learn(all(before)),
        "config" => config::config(before, after),
        "landlock" => applets::landlock(all(before)),
        "seccomp" => applets::seccomp(all(before)),
        "supervise" => applets::supervise(all(before)),
        "features" => applets::features(all(before)),
        "connect" => applets::connect(all(before)),
        "help" => help_on(after.first().and_then(|word| word.to_str())),
        name if NOT_IN_THIS_BUILD.contains(&name) => Err(not_yet(name)),
        _ => return None,
    })
}

fn plan(words: Vec<OsString>) -> Result<Invocation> {
    let mut typed = run::Typed::default();
    let rest = flags::scan(run::FLAGS, words, &mut typed)?;
    run::plan(typed, rest)
}

fn learn(words: Vec<OsString>) -> Result<Invocation> {
    let mut typed = run::Typed::default();
    let rest = flags::scan(run::FLAGS, words, &mut typed)?;
    run::learn(typed, rest)
}

fn help_on(name: Option<&str>) -> Result<Invocation> {
    Ok(Invocation::Help(match name {
        Some("plan") => help::plan(),
        Some("learn") => help::learn(),
        Some("config") => help::config(),
        Some("landlock") => help::landlock(),
        Some("seccomp") => help::seccomp(),
        Some("supervise") => help::supervise(),
        Some("features") => help::features(),
        Some("connect") => help::connect(),
        Some(name) if NOT_IN_THIS_BUILD.contains(&name) => return Err(not_yet(name)),
        _ => help::run(),
    }))
}

fn not_yet(name: &str) -> Failure {
    Failure::new(format!("this build of fence does not have {name:?} yet"))
        .hint(format!("to run a program of that name write `fence -- {name}`"))
}
