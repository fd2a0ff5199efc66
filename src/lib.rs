//! fence runs a command in a Linux sandbox.
//!
//! ```text
//! argv ─Invocation→ config ─Policy→ ┐
//! host ─probe→ Facts ───────────────┴ plan ─Plan→ launch ─┬→ child: apply → exec
//!                                      └ Refusal/Degraded  └→ parent: supervise (signals, wait)
//! ```
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod error;
pub mod json;
pub mod plan;
pub mod tables;
