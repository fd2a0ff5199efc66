//! The pure part of fence that reads what others wrote, and nothing of what it stands on: fence itself builds for musl only,
//! fuzzing needs the C library of the machine.

#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/wire/mod.rs"]
pub mod wire;

#[path = "../../src/config"]
pub mod config {
    pub mod policy;
}

#[path = "../../src/rules"]
pub mod rules {
    pub mod net;
}
