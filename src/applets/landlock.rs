//! `fence landlock`: file and port rules on itself, then exec.

use crate::apply;
use crate::cli::LandlockCommand;
use crate::config::Env;
use crate::error::{Failure, Result, STATUS_NOT_FOUND};
use crate::plan::landlock;
use crate::probe::host;

/// Applies the rules and runs the command; returns only when that failed.
///
/// # Errors
/// No Landlock here, a path that can't be opened, a command that can't be run.
pub fn run(command: &LandlockCommand) -> Result<u8> {
    let facts = host::kernel();
    if command.from_policy {
        let policy = crate::config::from_environment()?;
        let env = Env::of_process()?;
        let found = host::look(&policy, &crate::cli::Run::default(), &env.cwd, env.home.as_deref())?;
        let ruleset = landlock::from_policy(&policy, &found);
        let refused = apply::landlock_self(ruleset.as_ref(), &[], &[]).err();
        // The helper of the original goes on without Landlock; this one says so.
        if let Some(why) = refused.filter(|_| command.debug) {
            eprintln!("[fence:landlock] {why}");
        }
        return Err(match apply::exec_here(&command.command) {
            failure if failure.status == STATUS_NOT_FOUND => failure,
            failure => failure,
        });
    }
    if facts.landlock_abi == 0 {
        return Err(Failure::new("cannot apply Landlock rules: this kernel does not have it enabled")
            .hint("Linux 5.13 or newer with landlock in the lsm= list has it"));
    }
    let ports = !command.connect.is_empty() || !command.bind.is_empty();
    if ports && facts.landlock_abi < 4 {
        return Err(Failure::new(format!(
            "cannot apply Landlock port rules: this kernel has ABI {}, 4 is needed (Linux 6.7)",
            facts.landlock_abi
        )));
    }
    let ruleset = landlock::from_lists(facts.landlock_abi, &command.read, &command.write)?;
    apply::landlock_self(Some(&ruleset), &command.connect, &command.bind)?;
    Err(apply::exec_here(&command.command))
}
