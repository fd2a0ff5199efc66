//! One file per sub-command: glue only.

pub mod config;
