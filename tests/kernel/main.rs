//! The built binary on the kernel at hand. Run as root, each test runs as root and as an ordinary user; run as an
//! ordinary user, as that user.
//!
//! A test of a denial has a positive control: the same act, by the same helper (`examples/victim.rs`), outside the sandbox.
//! A test that needs a kernel feature says so with `need!`; where it is missing the test prints SKIP and why, and fails
//! when the environment variable FENCE_MUST names the feature.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at what it did not expect")]
#![allow(unreachable_pub, reason = "the modules of one test program")]

mod alone;
mod anywhere;
mod broker;
mod bwrap;
mod churn;
mod exec_argv;
mod exec_path;
mod exec_threats;
mod faults;
mod files;
mod git;
mod guard;
mod harness;
mod lab;
mod left;
mod monitor;
mod net_clients;
mod network;
mod old;
mod order;
mod planted;
mod poll;
mod preflight;
mod processes;
mod programs;
mod proxy;
mod pty;
mod races;
mod rights;
mod scale;
mod scratch;
mod search;
mod smoke;
mod sockets;
mod status;
mod syscalls;
mod table;
mod together;
mod twice;
mod wsl;
