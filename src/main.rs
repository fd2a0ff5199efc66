//! argv → applet → one error line → exit status.
#![no_main]

use std::ffi::OsString;

/// In the program only: the library is part of the tests too, which have an entry of their own, and unwind.
#[path = "sys/entry.rs"]
mod entry;

#[global_allocator]
static MEMORY: fence::sys::arena::Arena = fence::sys::arena::Arena::new();

fn run(argv: Vec<OsString>) -> u8 {
    let count = argv.len();
    let result = fence::rights::put_away();
    let result = result
        .and_then(|()| fence::cli::parse(argv))
        .and_then(|invocation| fence::applets::dispatch(&invocation, count));
    result.unwrap_or_else(|failure| {
        eprintln!("fence: {}", fence::error::printable(&failure.to_string()));
        failure.status
    })
}
