//! `fence seccomp`: the system call filter on itself, then exec.

use crate::apply;
use crate::cli::SeccompCommand;
use crate::error::Result;
use crate::launch::message::Channel;
use crate::plan::{bpf, seccomp};
use crate::tables::syscalls::Arch;

/// Installs the filter and runs the command, or prints the program (`--dump`); otherwise returns only when that failed.
///
/// # Errors
/// An unknown system call, no seccomp here, a command that can't be run.
pub fn run(command: &SeccompCommand) -> Result<u8> {
    let rules = seccomp::plan(&seccomp::Options {
        allow: command.allow.clone(),
        deny: command.deny.clone(),
        ask_exec: command.notify_fd.is_some(),
        ..seccomp::Options::default()
    })?;
    let filter = bpf::compile(&rules, Arch::HOST)?;
    if command.dump {
        let lines = filter.iter().enumerate();
        let text: String = lines
            .map(|(n, i)| format!("{n:4}: {:#06x} {:3} {:3} {:#010x}\n", i.code, i.jt, i.jf, i.k))
            .collect();
        return super::print(&text);
    }
    match command.notify_fd {
        None => apply::filter_self(&filter)?,
        Some(number) => apply::filter_self_and_ask(&filter, &Channel::inherited(number)?)?,
    }
    Err(apply::exec_here(&command.command))
}
