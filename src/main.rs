//! argv → `fence::run` → one error line → exit status.

fn main() {}
