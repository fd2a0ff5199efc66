//! Verdicts on commands, programs, paths and hosts: pure.

pub mod command;
pub(crate) mod defaults;
pub mod exec;
pub mod files;
pub mod glob;
pub mod globset;
pub mod name;
pub mod net;
pub mod prefix;
pub mod shell;
pub mod ssh;
