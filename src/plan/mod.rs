//! Policy and facts → plan: pure, no file and no system call.

pub mod bpf;
pub mod seccomp;
