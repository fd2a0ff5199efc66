//! One file per applet, glue only: each takes its part of the command line to an exit status.

pub mod config;
pub mod connect;
pub mod features;
pub mod landlock;
pub mod learn;
pub mod run;
pub mod seccomp;
pub mod supervise;

use crate::cli::{self, Invocation};
use crate::config::templates;
use crate::error::{Failure, Result};
use std::io::Write;

/// Runs the applet that was asked for. `arguments` is the number of fence's own argv words.
///
/// # Errors
/// Why fence stopped; the caller prints it once.
pub fn dispatch(invocation: &Invocation, arguments: usize) -> Result<u8> {
    match invocation {
        Invocation::Run(run) => self::run::run(run, arguments),
        Invocation::Learn { run, learn } => self::learn::run(run, learn, arguments),
        Invocation::Plan { run, json } => self::run::print_plan(run, *json),
        Invocation::Config(command) => config::run(command),
        Invocation::Landlock(command) => landlock::run(command),
        Invocation::Seccomp(command) => seccomp::run(command),
        Invocation::Connect { host, port } => connect::run(host, *port),
        Invocation::Supervise(command) => supervise::run(command),
        Invocation::Features { apparmor: true, .. } => features::profile(),
        Invocation::Features { json, .. } => features::run(*json),
        Invocation::Stage(number) => crate::apply::resume(*number),
        Invocation::Version => print(&cli::version()),
        Invocation::ListTemplates => print(&templates::list()),
        Invocation::Help(text) => print(text),
    }
}

/// Writes to stdout; a reader that went away (`fence --help | head`) is no failure.
fn print(text: &str) -> Result<u8> {
    match std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to stdout: {e}")))
        }
        _ => Ok(0),
    }
}
