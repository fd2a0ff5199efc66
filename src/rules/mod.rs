//! Verdicts on commands, programs and hosts: pure.

pub mod command;
mod defaults;
pub mod prefix;
pub mod shell;
pub mod ssh;
