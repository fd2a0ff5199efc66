//! `fence supervise`: the argv supervisor, which this build does not have yet.

use crate::error::{Failure, Result};

/// Says so.
///
/// # Errors
/// Always.
pub fn run() -> Result<u8> {
    Err(Failure::new("cannot supervise: this build has no exec supervisor")
        .hint("command.deny is checked on the literal command before it starts"))
}
