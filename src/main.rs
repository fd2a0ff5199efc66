//! argv → applet → one error line → exit status.

use std::process::ExitCode;

/// In the program only: the library is part of the tests too, and those unwind.
#[path = "sys/unwind.rs"]
mod unwind;

#[global_allocator]
static MEMORY: fence::sys::arena::Arena = fence::sys::arena::Arena::new();

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().collect();
    let count = argv.len();
    let result = fence::cli::parse(argv).and_then(|invocation| fence::applets::dispatch(&invocation, count));
    ExitCode::from(result.unwrap_or_else(|failure| {
        eprintln!("fence: {}", fence::error::printable(&failure.to_string()));
        failure.status
    }))
}
