//! argv → Invocation: pure.

pub mod invocation;
pub use invocation::*;
