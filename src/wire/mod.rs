//! What stands on the wire: bytes in, values out, and back. Nothing here reads or writes a socket, and no input panics.

pub mod dns;
pub mod http;
pub mod socks;
