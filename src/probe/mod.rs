//! The only reader of the host before launch: tries, never guesses from versions.

pub mod git;
pub mod host;
pub mod walk;
