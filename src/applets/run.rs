//! `fence [flags] [--] cmd…`: configuration, command policy, facts, plan, launch.

use crate::cli::{Layer, Run};
use crate::config::{self, Env, Loaded, Policy, Source};
use crate::error::{Failure, Result};
use crate::facts::{Engine, Facts};
use crate::guard;
use crate::launch::{self, Host};
use crate::log::Log;
use crate::monitor::advice::Advisor;
use crate::monitor::ebpf::Monitor;
use crate::plan::{self, Note, Plan, Watch, Weight};
use crate::probe::{engines, host};
use crate::rights::give_up;
use crate::rules::command;
use crate::supervise;
use crate::sys::time::Stamp;
use crate::tables::syscalls::Arch;
use crate::trace::Steps;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A policy and what it meets on this host.
struct Prepared {
    policy: Policy,
    facts: Facts,
    /// The proxies' sockets where they are the host's.
    proxies: Vec<OwnedFd>,
    monitor: Option<Monitor>,
    /// What the command line rules could not be sure of.
    unsure: Vec<Note>,
}

/// Runs the command; its exit status. The engine is the first that works: each is really tried.
///
/// # Errors
/// fence could not start it, or policy denies it.
pub fn run(run: &Run, arguments: usize) -> Result<u8> {
    let mut steps = Steps::new("parent");
    let begun = run.monitor.then(Stamp::now);
    let log = Arc::new(Log::open(run)?);
    let mut prepared = prepare(run, &log, &mut steps)?;
    let mut said = Vec::new();
    loop {
        let answer = attempt(run, &mut prepared, arguments, &log, &mut said, begun, steps);
        match answer {
            Err(failure) if failure.lacks.is_some() => {
                engines::next(run, &prepared.policy, &mut prepared.facts, &mut prepared.proxies, failure)?;
                prepared.load_monitor(run);
            }
            status => {
                if !matches!(status, Ok(0)) {
                    log.failed();
                }
                log.end();
                return status;
            }
        }
        steps = Steps::new("parent");
    }
}

/// One engine's plan, launched. Notes that were `said` for another engine are not repeated. When the run has `begun` is known
/// where somebody wants to hear what it left.
fn attempt(
    run: &Run,
    prepared: &mut Prepared,
    arguments: usize,
    log: &Arc<Log>,
    said: &mut Vec<String>,
    begun: Option<Stamp>,
    mut steps: Steps,
) -> Result<u8> {
    let plan = plan::plan(&prepared.policy, run, &prepared.facts)?;
    steps.mark("plan");
    // What another program makes is tried first: what it would lack is not to be said of the engine that comes after it.
    if plan.engine == Engine::Bwrap && !plan.notes.is_empty() {
        engines::try_out(&plan)?;
    }
    for note in plan.notes.iter().chain(&prepared.unsure) {
        if said.contains(&note.text) {
            continue;
        }
        match note.weight {
            Weight::Remark => log.debug("fence", &note.text),
            Weight::Degraded | Weight::Unenforced => log.warn(&note.text),
        }
        said.push(note.text.clone());
    }
    if run.debug {
        for (part, line) in plan::show::summary(&plan, &prepared.policy) {
            log.debug(part, &line);
        }
    }
    let proxies = prepared.proxies.iter().map(OwnedFd::try_clone).collect::<std::io::Result<_>>();
    let proxies = proxies.map_err(|e| Failure::new(format!("cannot pass the proxies' sockets on: {e}")))?;
    let watch = (plan.watch != Watch::Nothing)
        .then(|| supervise::watch::Watch::new(Advisor::new(&plan), log.clone(), None));
    let host = Host { proxies, monitor: prepared.monitor.take(), watch, log: log.clone() };
    let status = carry_out(&plan, host, arguments, steps)?;
    if let Some(begun) = begun {
        guard::report(&prepared.policy, &prepared.facts, &plan, begun, log);
    }
    Ok(status)
}

/// Runs the plan's command; its exit status.
pub(super) fn carry_out(plan: &Plan, host: Host, arguments: usize, mut steps: Steps) -> Result<u8> {
    // A filter without rules would allow everything: where there is no seccomp there is none.
    let filter = match plan.seccomp.as_slice() {
        [] => Vec::new(),
        rules if plan.watch == Watch::Nothing => plan::bpf::compile(rules, Arch::HOST)?,
        rules => plan::bpf::compile(&plan::seccomp::watched(rules, plan.watch), Arch::HOST)?,
    };
    steps.mark("filter");
    launch::run(plan, &filter, arguments, host, steps)
}

/// `fence plan [--json] -- cmd…`
///
/// # Errors
/// As `run`, up to the point where the command would start.
pub fn print_plan(run: &Run, json: bool) -> Result<u8> {
    let mut prepared = prepare(run, &Log::open(run)?, &mut Steps::new("parent"))?;
    let mut plan = engines::choose(run, &prepared.policy, &mut prepared.facts, &mut prepared.proxies)?;
    plan.notes.extend(prepared.unsure);
    let text = if json { plan::show::json(&plan).pretty() + "\n" } else { plan::show::text(&plan) };
    super::print(&text)
}

fn prepare(run: &Run, log: &Log, steps: &mut Steps) -> Result<Prepared> {
    let env = Env::of_process()?;
    let (loaded, unsure) = load(run, &env, log)?;
    steps.mark("config");
    host::check_stdio()?;
    let home = env.home.as_deref().filter(|home| home.is_absolute());
    // What an earlier run left is moved away before anything is looked at.
    let writes = !loaded.policy.filesystem.allow_write.is_empty();
    let state = if writes { guard::prepare(home, log) } else { None };
    let mut facts = host::look(&loaded.policy, run, &env.cwd, home, &loaded.file_paths)?;
    facts.state_is(state);
    let mut proxies = Vec::new();
    if plan::net::shares_host(&loaded.policy) {
        let (proxy, made) = supervise::proxies()?;
        facts.host_proxy = Some(proxy);
        proxies = made;
    }
    engines::first(run, &loaded.policy, &mut facts, &mut proxies)?;
    let unsure = unchecked(unsure).collect();
    let mut prepared = Prepared { policy: loaded.policy, facts, proxies, monitor: None, unsure };
    prepared.load_monitor(run);
    give_up()?;
    steps.mark("probe");
    Ok(prepared)
}

/// The configuration, once the command may run by it.
pub(super) fn load(run: &Run, env: &Env, log: &Log) -> Result<(Loaded, command::Unsure)> {
    let loaded = config::load(run.settings.as_deref(), run.template.as_deref(), env, run.allow_degraded)?;
    announce(&loaded, log);
    let unsure = command::check(&loaded.policy, &run.command)?;
    Ok((loaded, unsure))
}

impl Prepared {
    /// The eBPF monitor, when it is asked for: loaded, or why it can't be.
    fn load_monitor(&mut self, run: &Run) {
        let wanted = run.monitor || run.require.contains(&Layer::Monitor);
        let loaded = wanted.then(Monitor::load);
        self.facts.monitor = loaded.as_ref().map(|loaded| loaded.as_ref().map(drop).map_err(Clone::clone));
        self.monitor = loaded.and_then(std::result::Result::ok).filter(|_| run.monitor);
    }
}

/// What the command rules could not judge.
fn unchecked(unsure: command::Unsure) -> impl Iterator<Item = Note> {
    let unknown = unsure.unknown.into_iter().map(|text| Note {
        weight: Weight::Remark,
        text: format!("not known before it runs, so no command rule was checked on it: {text:?}"),
    });
    let unread = unsure.unread.into_iter().map(|why| Note {
        weight: Weight::Degraded,
        text: format!("the command line is not shell grammar that fence reads ({why}): command rules were looked for at each of its words"),
    });
    unknown.chain(unread)
}

fn announce(loaded: &Loaded, log: &Log) {
    for warning in &loaded.warnings {
        log.warn(warning);
    }
    if let Some(notice) = loaded.notice() {
        log.warn(&notice);
    }
    let first = match &loaded.source {
        Source::Template(name) => format!("Using template: {name}"),
        Source::Settings(path) | Source::Project(path) | Source::User(path) => {
            format!("Using config file: {}", path.display())
        }
        Source::Default(path) => {
            let at = path.as_ref().map(|path| format!(" at {}", path.display())).unwrap_or_default();
            format!("No config found{at}, using default (block all network)")
        }
    };
    log.debug("fence", &first);
    // What it extends.
    for step in loaded.chain.iter().skip(1) {
        log.debug("fence", &format!("Using {step}"));
    }
}
