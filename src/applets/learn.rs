//! `fence learn [-o FILE] -- cmd…`: runs the command, watches what it does, writes the configuration that it needs.

use super::run::{carry_out, load};
use crate::cli::{Command, Learn, Run};
use crate::config::{Env, Loaded, Policy, Source, init};
use crate::error::{Failure, Result};
use crate::launch::Host;
use crate::log::Log;
use crate::monitor::advice::Advisor;
use crate::monitor::learn::{self, Learned};
use crate::plan::{Plan, Watch};
use crate::probe::{engines, host};
use crate::rules::net::{NetRules, Verdict, host::canonical};
use crate::supervise::watch::{self, Lesson};
use crate::tables::secrets::SECRETS;
use crate::trace::Steps;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// Runs the command; its exit status.
///
/// # Errors
/// fence could not start it, policy denies it, or the file can't be written.
pub fn run(run: &Run, how: &Learn, arguments: usize) -> Result<u8> {
    let log = Arc::new(Log::open(run)?);
    let env = Env::of_process()?;
    let output = env.cwd.join(how.output.as_deref().unwrap_or("fence.json".as_ref()));
    let before = already_there(&output, how.merge)?;
    let failed = |e: std::io::Error| {
        let errno = Errno::from_io_error(&e).unwrap_or(Errno::IO);
        Failure::new(format!("cannot write {}", output.display())).errno(errno.raw_os_error())
    };
    // The command may put a link there that leads to a file which it can't write to.
    let place = init::Place::find(&output).map_err(failed)?;
    let (loaded, _) = load(run, &env, &log)?;
    host::check_stdio()?;
    crate::rights::give_up()?;
    let home = env.home.as_deref().filter(|home| home.is_absolute());
    let planned = |policy: &Policy| -> Result<(Plan, Vec<OwnedFd>)> {
        let mut facts = host::look(policy, run, &env.cwd, home, &loaded.file_paths)?;
        let mut proxies = Vec::new();
        engines::first(run, policy, &mut facts, &mut proxies)?;
        Ok((engines::choose(run, policy, &mut facts, &mut proxies)?, proxies))
    };
    let (enforced, proxies) = planned(&loaded.policy)?;
    let lesson = Arc::new(Lesson {
        advisor: Advisor::new(&enforced),
        secrets: SECRETS.iter().filter_map(|name| home.map(|home| home.join(name))).collect(),
        home: home.map(Path::to_path_buf),
        own_ports: enforced.network.listeners.iter().map(|listener| listener.port).collect(),
        learned: Learned::default().into(),
    });
    let (mut plan, proxies) = match how.enforce {
        true => (enforced, proxies),
        false => planned(&widened(&loaded.policy, home.is_some()))?,
    };
    if plan.seccomp.is_empty() {
        return Err(Failure::new(
            "cannot learn on this kernel: it has no seccomp filters to watch calls with",
        ));
    }
    plan.watch = Watch::Everything;
    log.learn();
    let watch = watch::Watch::new(Advisor::new(&plan), log.clone(), Some(lesson.clone()));
    let host = Host { proxies, monitor: None, watch: Some(watch), log: log.clone() };
    let status = carry_out(&plan, host, arguments, Steps::new("parent"))?;
    log.end();
    let mut learned = lesson.learned.lock().unwrap_or_else(PoisonError::into_inner).clone();
    hosts(&mut learned, &log, &loaded.policy)?;
    let command = words(&run.command);
    let extends = extends(&loaded, how.merge);
    let seen = learn::Run { command: &command, cwd: &env.cwd, home, extends: extends.as_deref() };
    let text = match &before {
        Some(text) => learn::merge(text, &learned, seen).ok_or_else(|| {
            Failure::new(format!("cannot add to {}: it is no configuration", output.display()))
        })?,
        None => learned.file(seen),
    };
    place.write(&text).map_err(failed)?;
    log.warn(&format!("wrote {}; read it before you use it", output.display()));
    Ok(status)
}

/// The text of the file that is to be added to; it must be there for `--merge`, and only then.
fn already_there(output: &Path, merge: bool) -> Result<Option<String>> {
    let name = output.display();
    match (std::fs::read_to_string(output), merge) {
        (Ok(text), true) => Ok(Some(text)),
        (Err(_), false) if !output.exists() => Ok(None),
        (Err(e), true) => Err(Failure::new(format!(
            "cannot add to {name}: {}",
            crate::error::describe(e.raw_os_error().unwrap_or(libc::EIO))
        ))),
        _ => Err(Failure::new(format!("cannot write {name}: it is there already"))
            .hint("--merge adds to it; -o names another file")),
    }
}

/// Everything may be written and every host may be reached; what the user denied and what is secret stays denied.
fn widened(policy: &Policy, home: bool) -> Policy {
    let mut policy = policy.clone();
    policy.filesystem.default_deny_read = false;
    policy.filesystem.strict_deny_read = false;
    policy.filesystem.allow_write.push("/".into());
    if home {
        policy.filesystem.deny_read.extend(SECRETS.iter().map(|name| format!("~/{name}")));
    }
    policy.network.allowed_domains.extend(["*", "localhost", "127.0.0.1"].map(str::to_string));
    policy.command.runtime_exec_policy = "path".into();
    policy
}

/// Hosts that the policy would not have let through.
fn hosts(learned: &mut Learned, log: &Log, policy: &Policy) -> Result<()> {
    let rules = NetRules::new(&policy.network)?;
    for (name, denied) in &log.hosts() {
        let name = name.rsplit_once(':').map_or(name.as_str(), |(host, _)| host).trim_matches(['[', ']']);
        let Ok(host) = canonical(name.as_bytes()) else { continue };
        match rules.verdict(&host) {
            Verdict::Allow { .. } => {}
            // Link-local addresses, such as the cloud's metadata, need to be written by hand.
            _ if !denied.is_empty() && host_is_special(name) => {
                learned.denied.insert(format!("host {name}"), "a proxy refused it".into());
            }
            _ => _ = learned.hosts.insert(name.to_string(), String::new()),
        }
    }
    Ok(())
}

fn host_is_special(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_ok()
}

/// What the new file goes on from: a template or file that was named; a file that was found, unless it is added to.
fn extends(loaded: &Loaded, merge: bool) -> Option<String> {
    match &loaded.source {
        Source::Template(name) => Some(name.clone()),
        Source::Settings(path) | Source::Project(path) | Source::User(path) if !merge => {
            Some(path.display().to_string())
        }
        _ => None,
    }
}

fn words(command: &Command) -> String {
    match command {
        Command::Argv(words) => {
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            words.join(" ")
        }
        Command::Line { script, .. } => script.to_string_lossy().into_owned(),
    }
}
