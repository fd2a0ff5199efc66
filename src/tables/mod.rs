//! Kernel facts and names as data, each row with its reason.

pub mod arguments;
pub mod landlock;
pub mod paths;
pub mod programs;
pub mod protected;
pub mod secrets;
pub mod syscalls;
