//! The only reader of the host before launch: tries, never guesses from versions.

pub(crate) mod dir;
pub mod engines;
pub mod features;
pub mod git;
#[cfg(test)]
mod glob_compat;
pub mod host;
pub mod listener;
pub mod mounts;
pub mod paths;
mod programs;
pub mod protected;
mod sockets;
mod system;
pub mod walk;
