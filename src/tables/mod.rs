//! Facts about the kernel as data, each row with its reason.

pub mod landlock;
pub mod syscalls;
