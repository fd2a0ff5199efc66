//! Heads and bodies: what comes out has one reading, whatever came in and in whatever pieces.
#![no_main]

use fence::wire::http::request::{NextHop, Target, request};
use fence::wire::http::response::response;
use fence::wire::http::{Body, BodyReader, Request};
use libfuzzer_sys::fuzz_target;

/// The head that goes out has one end, at its end, and no line that a server could read in two ways.
fn one_head(head: &[u8]) {
    let ends: Vec<usize> = (0..head.len()).filter(|i| head[*i..].starts_with(b"\r\n\r\n")).collect();
    assert_eq!(ends, [head.len() - 4]);
    let feeds = head.iter().filter(|b| **b == b'\n').count();
    let returns = head.iter().filter(|b| **b == b'\r').count();
    assert_eq!(feeds, returns);
    assert_eq!(head.windows(2).filter(|w| w == b"\r\n").count(), feeds);
    let lines = || head.split(|b| *b == b'\n').skip(1);
    assert!(lines().all(|line| !line.starts_with(b" ") && !line.starts_with(b"\t")));
    let count = |name: &str| lines().filter(|l| l.to_ascii_lowercase().starts_with(name.as_bytes())).count();
    assert!(count("content-length:") + count("transfer-encoding:") <= 1 || count("content-length:") == 0);
}

fn requests(bytes: &[u8]) -> Option<Request> {
    let whole = request(bytes, bytes.len());
    // In pieces: the same, or the mistake is seen earlier.
    let (mut length, mut pieces) = (0, Ok(None));
    while length < bytes.len() && pieces == Ok(None) {
        length += 1;
        pieces = request(&bytes[..length], 1);
    }
    match &whole {
        Ok(Some((_, used))) => {
            assert_eq!(length, *used);
            assert_eq!(pieces, whole);
        }
        Ok(None) => assert!(pieces == Ok(None)),
        Err(_) => assert!(!matches!(pieces, Ok(Some(_)))),
    }
    let (head, _) = whole.ok()??;
    if let Target::Absolute { .. } = head.target {
        for hop in [NextHop::Server, NextHop::Proxy(None), NextHop::Proxy(Some("Basic eDp5"))] {
            for close in [false, true] {
                one_head(&head.head(hop, close));
            }
        }
        // Read again as a proxy reads it, it means the same.
        let out = head.head(NextHop::Proxy(None), false);
        let (again, used) = request(&out, out.len()).unwrap().unwrap();
        assert_eq!(used, out.len());
        assert_eq!((&again.method, &again.target, again.minor, again.body), (&head.method, &head.target, head.minor, head.body));
        assert_eq!(again.upgrade, head.upgrade);
    }
    Some(head)
}

fn bodies(bytes: &[u8]) {
    let read = |piece: usize| {
        let mut reader = BodyReader::new(Body::Chunked);
        let mut at = 0;
        while at < bytes.len() && !reader.done() {
            let end = bytes.len().min(at + piece);
            at += reader.take(&bytes[at..end])?;
        }
        Ok::<_, fence::wire::http::Malformed>(reader.done().then_some(at))
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(whole, read(1));
    assert_eq!(whole, read(3));
    if let Ok(Some(used)) = whole {
        assert!(bytes[..used].ends_with(b"\r\n"));
        // No byte of the next request was taken, none is missing.
        let mut reader = BodyReader::new(Body::Chunked);
        assert_eq!(reader.take(&bytes[..used - 1]), Ok(used - 1));
        assert!(!reader.done());
    }
}

fuzz_target!(|bytes: &[u8]| {
    let asked = requests(bytes);
    let get = request(b"GET http://a.example/ HTTP/1.1\r\n\r\n", 34).unwrap().unwrap().0;
    for request in [asked.as_ref(), Some(&get), None] {
        let Ok(Some((head, used))) = response(bytes, bytes.len(), request) else { continue };
        assert!(used <= bytes.len());
        for close in [false, true] {
            let out = head.head(close);
            one_head(&out);
            let (again, used) = response(&out, out.len(), request).unwrap().unwrap();
            assert_eq!(used, out.len());
            // From HTTP/1.0 it becomes HTTP/1.1: the body stays what it is.
            assert_eq!((again.status, again.body), (head.status, head.body));
        }
    }
    bodies(bytes);
});
