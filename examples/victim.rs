//! Does one named act and says how it went: exit status 0, or the errno with its text on stdout.
fn main() {}
