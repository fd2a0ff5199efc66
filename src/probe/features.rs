//! What this host lets fence do: each thing is really done, in a throw-away child.

use super::{engines, host, system};
use crate::cli::{Command, Run};
use crate::config::Policy;
use crate::error::Result;
use crate::facts::Engine;
use crate::features::{Answer, Findings, NAMESPACES};
use crate::monitor::ebpf::Monitor;
use crate::plan::bpf::Instruction;
use crate::plan::engine::{has, has_admin};
use crate::sys::process::{Fork, exit_now, fork_into};
use crate::sys::{landlock_errata, seccomp};
use rustix::io::Errno;
use rustix::process::{WaitOptions, waitpid};
use std::path::Path;

/// `SECCOMP_RET_LOG`
const LOG: u32 = 0x7ffc_0000;
/// `SECCOMP_RET_USER_NOTIF`
const ASK: u32 = 0x7fc0_0000;
const ALLOW: u32 = 0x7fff_0000;

/// Looks at everything. What a trial has shown already is not tried again: processes are what costs time here.
///
/// # Errors
/// The root directory can't be looked at.
pub fn look() -> Result<Findings> {
    let policy = Policy::default();
    let run = Run { command: Command::Argv(vec!["/".into()]), ..Run::default() };
    // Wherever the caller is: that place may be hidden, or gone.
    _ = std::env::set_current_dir("/");
    let mut facts = host::look(&policy, &run, Path::new("/"), None, &[])?;
    let planned = engines::choose(&run, &policy, &mut facts, &mut Vec::new());
    let made = planned.as_ref().map_or(0, |plan| plan.namespaces);
    let user = if has_admin(&facts) { 0 } else { libc::CLONE_NEWUSER };
    let namespaces = NAMESPACES.map(|(_, flag, _)| {
        if has(made, flag) && facts.engine == Engine::Native {
            Ok(())
        } else {
            in_child((flag | user) as u64, &|| Ok(()))
        }
    });
    let verdict = super::listener::try_it().map(drop);
    // An exec that was judged has shown both.
    let shown = |trial: &dyn Fn() -> Answer| if verdict.is_ok() { Ok(()) } else { trial() };
    let listener = shown(&|| in_child(0, &|| seccomp::install_with_listener(&one(ASK), false).map(drop)));
    let filter = shown(&|| in_child(0, &|| seccomp::install(&one(ALLOW))));
    Ok(Findings {
        system: system::look(&facts),
        own_network: has(made, libc::CLONE_NEWNET),
        native: match (&planned, facts.refused) {
            (Ok(plan), _) if plan.engine == Engine::Native => Ok(()),
            (Err(failure), None) => Err(failure.errno.unwrap_or(libc::EIO)),
            (_, refused) => Err(refused.unwrap_or(libc::EIO)),
        },
        masked_proc: facts.masked_proc,
        programs: ["bwrap", "socat"].map(|name| host::on_path(name.as_ref())),
        namespaces,
        seccomp: facts.seccomp,
        filter,
        log: seccomp::knows(LOG),
        listener,
        verdict,
        landlock_abi: facts.landlock_abi,
        landlock_errata: landlock_errata(),
        ebpf: Monitor::load().map(drop),
        cap_bpf: rustix::thread::capabilities(None).is_ok_and(|sets| sets.permitted.bits() & 1 << 39 != 0),
        mount_setattr: facts.mount_setattr,
        tried: facts.tried,
        engine: planned.map(|plan| plan.engine).map_err(|failure| failure.to_string()),
    })
}

/// Does something in a child with `flags` (CLONE_NEW*), so that nothing of it stays.
pub(super) fn in_child(flags: u64, act: &dyn Fn() -> rustix::io::Result<()>) -> Answer {
    let errno = |e: Errno| e.raw_os_error();
    match fork_into(flags).map_err(errno)? {
        Fork::Child => {
            let done = rustix::thread::set_no_new_privs(true).and_then(|()| act());
            exit_now(done.map_or_else(|e| e.raw_os_error() as u8, |()| 0))
        }
        Fork::Parent(pid) => {
            let ended = waitpid(Some(pid), WaitOptions::empty()).map_err(errno)?;
            match ended.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                Some(code) => Err(code),
                None => Err(libc::ECANCELED),
            }
        }
    }
}

/// A filter that gives one answer to a call that nobody makes.
fn one(answer: u32) -> [Instruction; 4] {
    let op = |code, k, jt, jf| Instruction { code, jt, jf, k };
    [op(0x20, 0, 0, 0), op(0x15, 0x7fff_fff0, 0, 1), op(0x06, answer, 0, 0), op(0x06, ALLOW, 0, 0)]
}
