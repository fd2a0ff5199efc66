//! Which engine works here: the first of them that does, each by really trying.

use super::{host, system};
use crate::cli::{EngineChoice, Run};
use crate::config::Policy;
use crate::error::{Failure, Lacks, Result, STATUS_NOT_EXECUTABLE};
use crate::facts::{Engine, Facts};
use crate::launch;
use crate::log::Log;
use crate::plan::{self, Plan};
use crate::supervise;
use crate::trace::Steps;
use std::os::fd::OwnedFd;

/// The engine to begin with. Nothing is tried for it: a run finds out by itself. `proxies` gets the sockets of the proxies where
/// those are the host's.
///
/// # Errors
/// `--engine` names one that this build does not have.
pub fn first(run: &Run, policy: &Policy, facts: &mut Facts, proxies: &mut Vec<OwnedFd>) -> Result<()> {
    match run.engine {
        EngineChoice::Auto | EngineChoice::Native => Ok(()),
        EngineChoice::Landlock => use_landlock(run, policy, facts, proxies),
        EngineChoice::Bwrap => {
            (facts.engine, facts.bwrap) = (Engine::Bwrap, host::bwrap());
            Ok(())
        }
    }
}

/// What went wrong before bubblewrap is not tried once more.
const MOST_TRIED: usize = 8;

/// Another way after `failure`, which says that this one does not work on this host.
///
/// # Errors
/// There is none: a sentence for each that was tried.
pub fn next(
    run: &Run,
    policy: &Policy,
    facts: &mut Facts,
    proxies: &mut Vec<OwnedFd>,
    failure: Failure,
) -> Result<()> {
    if failure.lacks == Some(Lacks::Proc) && !facts.masked_proc {
        facts.tried.push(format!("without a PID namespace: {failure}"));
        facts.masked_proc = true;
        return Ok(());
    }
    // bubblewrap can't leave out what went away since the look: a server may have removed its socket.
    if facts.engine == Engine::Bwrap && facts.tried.len() < MOST_TRIED && !facts.sockets.is_empty() {
        let now = super::sockets::look();
        if now != facts.sockets {
            facts.tried.push(format!("engine bwrap, once more: {failure}"));
            facts.sockets = now;
            return Ok(());
        }
    }
    let failure = system::explain(failure, facts);
    if run.engine != EngineChoice::Auto {
        return Err(failure.lacks(None));
    }
    if facts.engine == Engine::Native {
        facts.refused = failure.errno;
    }
    facts.tried.push(format!("engine {}: {failure}", facts.engine));
    match facts.engine {
        Engine::Native => match host::bwrap() {
            None => use_landlock(run, policy, facts, proxies),
            found => {
                (facts.engine, facts.bwrap, facts.masked_proc) = (Engine::Bwrap, found, false);
                Ok(())
            }
        },
        Engine::Bwrap => use_landlock(run, policy, facts, proxies),
        Engine::Landlock => {
            Err(Failure::new(format!("cannot make a sandbox on this host: {}", facts.tried.join("; "))))
        }
    }
}

fn use_landlock(run: &Run, policy: &Policy, facts: &mut Facts, proxies: &mut Vec<OwnedFd>) -> Result<()> {
    (facts.engine, facts.bwrap) = (Engine::Landlock, None);
    host::look_for_landlock(facts, policy, run)?;
    // Where calls can be answered by fence, it makes the command's sockets and connects them to these.
    if facts.host_proxy.is_none() && matches!(facts.exec_listener, Some(Ok(_))) {
        let (proxy, made) = supervise::proxies()?;
        facts.host_proxy = Some(proxy);
        *proxies = made;
    }
    Ok(())
}

/// The plan of the first engine that works, without running anything of the user's.
///
/// # Errors
/// None does, or the policy can't be kept by the one that does.
pub fn choose(run: &Run, policy: &Policy, facts: &mut Facts, proxies: &mut Vec<OwnedFd>) -> Result<Plan> {
    loop {
        let tried = plan::plan(policy, run, facts).and_then(|plan| try_out(&plan).map(|()| plan));
        match tried {
            Err(failure) if failure.lacks.is_some() => next(run, policy, facts, proxies, failure)?,
            other => return other,
        }
    }
}

/// Makes the sandbox of a plan in a throw-away child, all of it but the command.
///
/// # Errors
/// What does not work.
pub fn try_out(plan: &Plan) -> Result<()> {
    // `/` is a directory: exec of it fails with 126 when all else worked.
    let network = plan::net::Network { inbound: Vec::new(), ..plan.network.clone() };
    let plan = Plan { argv: vec!["/".into()], network, exec: None, broker: None, ..plan.clone() };
    let host = launch::Host { proxies: Vec::new(), monitor: None, watch: None, log: Log::plain().into() };
    match launch::run(&plan, &[], 0, host, Steps::new("probe")) {
        Err(failure) if failure.status == STATUS_NOT_EXECUTABLE => Ok(()),
        Err(failure) => Err(failure),
        Ok(status) => {
            Err(Failure::new(format!("unexpected exit status {status} of a sandbox without a command")))
        }
    }
}
