//! `fence landlock`: file and port rules on itself, then exec.

use crate::apply;
use crate::cli::LandlockCommand;
use crate::config::Policy;
use crate::error::{Failure, Result};
use crate::plan::landlock::{Ruleset, for_host};
use crate::probe::{host, paths};
use std::path::PathBuf;

/// What `--landlock-apply` lets every command write to, besides `allowWrite`.
const ALWAYS_WRITABLE: [&str; 4] = ["/tmp", "/var/tmp", "/dev", "/proc"];

/// Applies the rules and runs the command; returns only when that failed.
///
/// # Errors
/// No Landlock here, a path that can't be opened, a command that can't be run.
pub fn run(command: &LandlockCommand) -> Result<u8> {
    let abi = host::kernel().landlock_abi;
    if command.from_policy {
        let policy = crate::config::load::from_environment()?;
        can_carry(&policy)?;
        match from_policy(abi, &policy).and_then(|ruleset| apply::restrict_self(&ruleset, &[], &[])) {
            // The original goes on without Landlock; so does this, but not without a word.
            Err(why) if abi == 0 => eprintln!("[fence:landlock] {why}"),
            other => other?,
        }
    } else {
        let found = |paths: &[std::ffi::OsString]| {
            paths.iter().map(|path| look(path.as_ref())).collect::<Result<Vec<_>>>()
        };
        let ruleset = for_host(need(abi, 1)?, &found(&command.read)?, &found(&command.write)?);
        if !(command.connect.is_empty() && command.bind.is_empty()) {
            need(abi, 4)?;
        }
        apply::restrict_self(&ruleset, &command.connect, &command.bind)?;
    }
    Err(apply::exec_here(&command.command))
}

fn need(abi: u32, least: u32) -> Result<u32> {
    if abi >= least {
        return Ok(abi);
    }
    let what = if least == 4 { "Landlock port rules" } else { "Landlock rules" };
    Err(Failure::new(format!("cannot apply {what}: they need ABI {least} and this kernel has {abi}")).hint(
        "ABI 1 came with Linux 5.13 and 4 with 6.7; lsm= on the kernel's command line must list landlock",
    ))
}

fn look(path: &std::path::Path) -> Result<crate::facts::Found> {
    paths::find(path).ok_or_else(|| {
        Failure::new(format!(
            "cannot allow {} with Landlock: it does not exist or can't be reached",
            path.display()
        ))
    })
}

/// The policy in FENCE_CONFIG_JSON, or the default: everything readable, what `allowWrite` names writable.
fn from_policy(abi: u32, policy: &Policy) -> Result<Ruleset> {
    let env = crate::config::Env::of_process()?;
    let facts = host::look(policy, &crate::cli::Run::default(), &env.cwd, env.home.as_deref(), &[])?;
    let always = ALWAYS_WRITABLE.iter().map(PathBuf::from);
    let writable = crate::plan::wanted::writable_roots(policy, &facts).into_iter().chain(always);
    let found: Vec<_> = writable.filter_map(|path| paths::find(&path)).collect();
    Ok(for_host(need(abi, 1)?, &[look(std::path::Path::new("/"))?], &found))
}

/// Landlock allows and can't deny inside what it allows; a policy that does is not for it, on any kernel.
fn can_carry(policy: &Policy) -> Result<()> {
    let fs = &policy.filesystem;
    if !fs.deny_read.is_empty() || !fs.deny_write.is_empty() || fs.default_deny_read {
        return Err(Failure::new(
            "cannot apply the policy in FENCE_CONFIG_JSON: Landlock alone can't carry denyRead, denyWrite and defaultDenyRead",
        )
        .hint("run the command with fence -s FILE"));
    }
    Ok(())
}
