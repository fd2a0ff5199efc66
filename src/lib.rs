//! fence runs a command in a Linux sandbox.
//!
//! ```text
//! argv ─Invocation→ config ─Policy→ ┐
//! host ─probe→ Facts ───────────────┴ plan ─Plan→ launch ─┬→ child: apply → exec
//!                                      └ Failure           └→ parent: wait, supervise
//! ```
#![deny(unsafe_code)]

pub mod applets;
pub mod apply;
pub mod cli;
pub mod config;
pub mod error;
pub mod facts;
pub mod features;
pub mod guard;
pub mod json;
pub mod launch;
pub mod log;
pub mod map;
pub mod monitor;
pub mod mountinfo;
mod nofollow;
pub mod order;
pub mod plan;
pub mod probe;
pub mod rights;
pub mod rules;
pub mod supervise;
pub mod sys;
pub mod tables;
pub mod text;
pub mod trace;
pub mod tree;
pub mod wire;

#[cfg(test)]
mod testdata;
