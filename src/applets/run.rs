//! `fence [flags] [--] cmd…`: configuration, command policy, facts, plan, launch.

use crate::cli::{Layer, Run};
use crate::config::{self, Env, Loaded};
use crate::error::Result;
use crate::launch::{self, Host};
use crate::log::Log;
use crate::monitor::ebpf::{Monitor, give_up};
use crate::plan::{self, Note, Plan, Weight};
use crate::probe::host;
use crate::rules::command;
use crate::supervise;
use crate::tables::syscalls::Arch;
use crate::trace::Steps;
use std::sync::Arc;

/// Runs the command; its exit status.
///
/// # Errors
/// fence could not start it, or policy denies it.
pub fn run(run: &Run, arguments: usize) -> Result<u8> {
    let mut steps = Steps::new("parent");
    let log = Arc::new(Log::open(run)?);
    let (plan, host) = prepare(run, &log, &mut steps)?;
    for note in plan.notes.iter().filter(|n| n.weight != Weight::Remark) {
        log.warn(&note.text);
    }
    for note in plan.notes.iter().filter(|n| n.weight == Weight::Remark) {
        log.debug("fence", &note.text);
    }
    // A filter without rules would allow everything: where there is no seccomp there is none.
    let filter =
        if plan.seccomp.is_empty() { Vec::new() } else { plan::bpf::compile(&plan.seccomp, Arch::HOST)? };
    steps.mark("filter");
    let status = launch::run(&plan, &filter, arguments, host, steps);
    log.end();
    status
}

/// `fence plan [--json] -- cmd…`
///
/// # Errors
/// As `run`, up to the point where the command would start.
pub fn print_plan(run: &Run, json: bool) -> Result<u8> {
    let (plan, _) = prepare(run, &Arc::new(Log::open(run)?), &mut Steps::new("parent"))?;
    let text = if json { plan::show::json(&plan).pretty() + "\n" } else { plan::show::text(&plan) };
    super::print(&text)
}

/// The plan, and what the parent needs for it.
fn prepare(run: &Run, log: &Arc<Log>, steps: &mut Steps) -> Result<(Plan, Host)> {
    let env = Env::of_process()?;
    let loaded = config::load(run.settings.as_deref(), run.template.as_deref(), &env, run.allow_degraded)?;
    announce(&loaded, log);
    steps.mark("config");
    let unsure = command::check(&loaded.policy, &run.command)?;
    host::check_stdio()?;
    let home = env.home.as_deref().filter(|home| home.is_absolute());
    let mut facts = host::look(&loaded.policy, run, &env.cwd, home, &loaded.file_paths)?;
    let mut proxies = Vec::new();
    if plan::net::shares_host(&loaded.policy) {
        let (proxy, made) = supervise::proxies()?;
        facts.host_proxy = Some(proxy);
        proxies = made;
    }
    let loaded_monitor = monitor(run);
    facts.monitor = loaded_monitor.as_ref().map(|loaded| loaded.as_ref().map(drop).map_err(Clone::clone));
    steps.mark("probe");
    let mut plan = plan::plan(&loaded.policy, run, &facts)?;
    plan.notes.extend(unchecked(unsure));
    steps.mark("plan");
    let monitor = loaded_monitor.and_then(std::result::Result::ok).filter(|_| run.monitor);
    Ok((plan, Host { proxies, monitor, log: log.clone() }))
}

/// The eBPF monitor, when it is asked for: loaded, or why it can't be.
fn monitor(run: &Run) -> Option<std::result::Result<Monitor, String>> {
    let wanted = run.monitor || run.require.contains(&Layer::Monitor);
    let monitor = wanted.then(Monitor::load);
    give_up();
    monitor
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
    for step in &loaded.chain {
        log.debug("fence", &format!("Using {step}"));
    }
}
