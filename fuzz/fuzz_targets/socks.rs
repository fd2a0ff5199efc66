//! SOCKS5 messages: a part of a message is never taken for another message.
#![no_main]

use fence::wire::socks::{Bad, greeting, password, request};
use libfuzzer_sys::fuzz_target;

/// Byte by byte: the same message with the same length, or a mistake that is seen earlier.
fn in_pieces<T: PartialEq + std::fmt::Debug>(bytes: &[u8], read: fn(&[u8]) -> Result<Option<(T, usize)>, Bad>) {
    let whole = read(bytes);
    let first = (0..=bytes.len()).map(|length| (length, read(&bytes[..length]))).find(|(_, got)| *got != Ok(None));
    match (&whole, first) {
        (Ok(None), None) => {}
        (Ok(Some((_, used))), Some((length, got))) => assert!(length == *used && got == whole),
        (Err(e), Some((_, got))) => assert_eq!(got, Err(*e)),
        other => panic!("{other:?}"),
    }
}

fuzz_target!(|bytes: &[u8]| {
    in_pieces(bytes, greeting);
    in_pieces(bytes, password);
    in_pieces(bytes, request);
    if let Ok(Some((request, _))) = request(bytes) {
        assert!(request.port > 0);
        assert_eq!(fence::rules::net::host::canonical(request.host.to_string().as_bytes()), Ok(request.host));
    }
});
