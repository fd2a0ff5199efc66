//! What each engine gives a run, and what stands in for the namespaces that it does not get.

use super::alone::{Alone, Split};
use super::net::{Mode, Network};
use super::seccomp::Host;
use super::{Note, degraded, remark};
use crate::cli::{EngineChoice, Layer, Run};
use crate::config::Policy;
use crate::error::{Failure, Result};
use crate::facts::{Engine, Facts};
use std::path::{Path, PathBuf};

/// Capabilities of root, by number. For files: CHOWN, DAC_OVERRIDE, FOWNER, FSETID.
const FILES: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 4;
/// SETGID and SETUID.
const IDENTITY: u64 = 1 << 6 | 1 << 7;
/// KILL
const KILL: u64 = 1 << 5;
/// CAP_NET_ADMIN
const NET_ADMIN: u32 = 12;
/// CAP_SYS_ADMIN
const SYS_ADMIN: u32 = 21;

/// Whether the caller makes the namespaces with capabilities of its own, without a user namespace: root inside one gains
/// nothing and could not chown.
pub(super) fn privileged(facts: &Facts) -> bool {
    facts.engine != Engine::Landlock && facts.capable(SYS_ADMIN)
        || facts.bwrap.as_ref().is_some_and(|bwrap| bwrap.setuid)
}

/// `CLONE_NEW*`. A PID namespace wants a /proc of its own: without one it would show another's processes.
pub(super) fn namespaces(facts: &Facts, network: &Network) -> u64 {
    if facts.engine == Engine::Landlock {
        return 0;
    }
    let all = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    let pid = if facts.masked_proc { 0 } else { libc::CLONE_NEWPID };
    let net = if network.mode == Mode::Own { libc::CLONE_NEWNET } else { 0 };
    let user = if privileged(facts) { 0 } else { libc::CLONE_NEWUSER };
    (all | pid | net | user) as u64
}

/// Whether the sandbox's own loopback device can be brought up: with CAP_SYS_ADMIN alone the network namespace stays
/// without one.
pub(super) fn loopback(facts: &Facts) -> bool {
    facts.engine == Engine::Bwrap
        || facts.engine != Engine::Landlock && (!privileged(facts) || facts.capable(NET_ADMIN))
}

/// What the command keeps, and what fence's process beside it keeps to end it.
pub(super) fn capabilities(facts: &Facts, namespaces: u64, scoped: bool) -> (u64, u64) {
    if facts.uid != 0 {
        return (0, 0);
    }
    let own_pids = has(namespaces, libc::CLONE_NEWPID);
    let own_files = has(namespaces, libc::CLONE_NEWNS);
    // On the host's own tree: no owner is changed, and no mode of others' files. Reading and writing is Landlock's matter.
    let mut keeps = if own_files { FILES } else { FILES & 1 << 1 };
    if own_pids || scoped {
        keeps |= IDENTITY;
    }
    let has_them = if has(namespaces, libc::CLONE_NEWUSER) { u64::MAX } else { facts.capabilities };
    let keeps = if own_pids { keeps | KILL } else { keeps };
    (keeps & has_them, KILL & has_them)
}

/// What the filter has to guard, because it is the host's.
pub(super) fn host(policy: &Policy, facts: &Facts, namespaces: u64, network: &Network) -> Host {
    let tree = !has(namespaces, libc::CLONE_NEWNS);
    let brokered = matches!(network.mode, Mode::Brokered(_));
    Host {
        tree,
        truncate: facts.landlock_abi < 3,
        processes: !has(namespaces, libc::CLONE_NEWPID),
        ipc: !has(namespaces, libc::CLONE_NEWIPC),
        network: network.mode == Mode::None,
        // From ABI 9 on Landlock tells the host's sockets from the command's own.
        sockets: tree && facts.landlock_abi < 9 && !policy.network.allow_all_unix_sockets && !brokered,
        brokered,
    }
}

/// CAP_SYS_ADMIN: namespaces can be made without a user namespace.
pub fn has_admin(facts: &Facts) -> bool {
    facts.capable(SYS_ADMIN)
}

/// Whether a `CLONE_NEW*` flag is set.
pub fn has(namespaces: u64, flag: i32) -> bool {
    namespaces & flag as u64 != 0
}

/// An engine that can't work here at all.
pub(super) fn check(facts: &Facts) -> Result<()> {
    if facts.engine != Engine::Landlock {
        return Ok(());
    }
    let why = if facts.landlock_abi == 0 {
        "this kernel has no Landlock (5.13 or newer has it; lsm= on its command line must list landlock)"
    } else if !facts.seccomp {
        "this kernel has no seccomp filters, and nothing else closes the network"
    } else {
        return Ok(());
    };
    Err(Failure::new(format!("cannot use Landlock alone: {why}")).unavailable())
}

/// Layers that `--require` names and that are not there.
pub(super) fn require(
    run: &Run,
    facts: &Facts,
    namespaces: u64,
    network: &Network,
    argv: bool,
) -> Result<()> {
    let monitor = facts.monitor.as_ref().and_then(|loaded| loaded.as_ref().err());
    let monitor = monitor.map(|why| format!("monitor: {why}"));
    let without = |flag: i32, why: &'static str| (!has(namespaces, flag)).then_some(why);
    let missing = |layer: &Layer| match layer {
        Layer::Userns if facts.engine == Engine::Bwrap && facts.uid != 0 => {
            without(libc::CLONE_NEWUSER, "userns: bwrap is set-user-ID root and makes none")
        }
        Layer::Userns if privileged(facts) => None,
        Layer::Userns => without(libc::CLONE_NEWUSER, "userns: namespaces are forbidden here"),
        Layer::Netns => {
            without(libc::CLONE_NEWNET, "netns: the command would have the host's network namespace")
        }
        Layer::Pidns => without(libc::CLONE_NEWPID, "pidns: the command would see the host's processes"),
        Layer::Seccomp => (!facts.seccomp).then_some("seccomp: this kernel has no seccomp filters"),
        Layer::Landlock => {
            (facts.landlock_abi == 0).then_some("landlock: this kernel does not have it enabled")
        }
        Layer::LandlockNet if matches!(network.mode, Mode::Host(_)) => Some(
            "landlock-net: network.allowedDomains \"*\" gives the command every port of the host's network",
        ),
        Layer::LandlockNet => (facts.landlock_abi < 4)
            .then_some("landlock-net: this kernel's Landlock has no rules for TCP (6.7 has them)"),
        Layer::Argv => (!argv).then_some("argv: command.runtimeExecPolicy is not \"argv\""),
        Layer::Monitor => monitor.as_deref(),
    };
    match run.require.iter().find_map(missing) {
        None => Ok(()),
        Some(why) => Err(Failure::new(format!("cannot start without a layer that --require names: {why}"))),
    }
}

/// What this engine gives less than the first one.
pub(super) fn notes(
    run: &Run,
    facts: &Facts,
    namespaces: u64,
    network: &Network,
    alone: Option<&Alone>,
) -> Vec<Note> {
    let mut notes = Vec::new();
    notes.extend(facts.tried.iter().map(|tried| remark(tried.clone())));
    if network.mode == Mode::Own && !loopback(facts) {
        notes.push(degraded(
            "127.0.0.1 does not work inside: bringing the sandbox's loopback device up takes CAP_NET_ADMIN",
        ));
    }
    let Some(alone) = alone else {
        if !has(namespaces, libc::CLONE_NEWPID) {
            notes.push(degraded(
                "the command sees the container's processes: the kernel refuses a fresh /proc where parts of /proc are masked",
            ));
        }
        return notes;
    };
    notes.push(degraded(reduced(run, facts, network, alone)));
    let split = |kind: fn(&Split) -> bool| {
        alone.split.iter().filter(move |split| kind(split)).map(|split| split.path.as_path())
    };
    if let Some(places) = some_of(split(|split| split.fixed)) {
        notes.push(degraded(format!(
            "nothing can be made, renamed or removed directly in {places}: something in it is denied, and Landlock alone can \
             only allow what stands beside it"
        )));
    }
    if let Some(places) = some_of(split(|split| split.unlisted)) {
        notes.push(remark(format!("names in {places} can't be listed: a directory in it is denied")));
    }
    notes
}

/// The first of some paths and how many more there are.
fn some_of<'a>(mut paths: impl Iterator<Item = &'a Path>) -> Option<String> {
    let first = paths.next()?.display();
    Some(match paths.count() {
        0 => first.to_string(),
        more => format!("{first} and {more} more"),
    })
}

/// The one line that everybody sees.
fn reduced(run: &Run, facts: &Facts, network: &Network, alone: &Alone) -> String {
    let why = if run.engine == EngineChoice::Landlock { "" } else { "this host gives no namespaces: " };
    let sockets = match (network.mode == Mode::None, facts.landlock_abi < 9) {
        _ if matches!(network.mode, Mode::Brokered(_)) => "its sockets reach fence's proxies and its own, ",
        (true, true) => "it has no internet or Unix sockets, ",
        (true, false) => "it has no internet sockets, ",
        (false, true) => "it has no Unix sockets, ",
        (false, false) => "it has ",
    };
    let tmp = if facts.scratch.is_some() { "no /tmp but $TMPDIR" } else { "no place for temporary files" };
    let signals = if facts.landlock_abi < 6 { ", send them signals" } else { "" };
    let mut line = format!(
        "{why}Landlock and seccomp alone hold the command; {sockets}{tmp}; it can see command lines of other processes\
         {signals} and change modes and times of its user's files"
    );
    if let Some(names) = some_of(alone.unprotected.iter().map(PathBuf::as_path)) {
        line += &format!(", and write to {names} that it could not write to with mounts");
    }
    line
}
