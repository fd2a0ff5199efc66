//! Heads and bodies as clients, servers and smugglers send them.
#![allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]

use super::request::{NextHop, Request, Target, connect, request};
use super::response::{Response, response};
use super::*;
use crate::rules::net::host::{Host, canonical};

fn read(text: &str) -> Request {
    let (head, used) = request(text.as_bytes(), text.len()).unwrap().unwrap();
    assert_eq!(used, text.find("\r\n\r\n").unwrap() + 4);
    head
}

/// A request with these header lines, or why there is none.
fn with(headers: &str) -> std::result::Result<Request, String> {
    let text = format!("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{headers}\r\n");
    request(text.as_bytes(), text.len()).map(|head| head.unwrap().0).map_err(|e| e.to_string())
}

fn answer_to(request: Option<&Request>, text: &str) -> std::result::Result<Response, String> {
    response(text.as_bytes(), text.len(), request).map(|head| head.unwrap().0).map_err(|e| e.to_string())
}

fn host(text: &str) -> Host {
    canonical(text.as_bytes()).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn targets() {
    let tunnel = |name: &str, port| Some(Target::Tunnel { host: host(name), port });
    let absolute =
        |name: &str, port, path: &str| Some(Target::Absolute { host: host(name), port, path: path.into() });
    let rows = [
        ("CONNECT a.example:8443", tunnel("a.example", 8443)),
        ("CONNECT a.example", tunnel("a.example", 443)),
        ("CONNECT A.Example.:443", tunnel("a.example", 443)),
        ("CONNECT [2001:db8::1]:443", tunnel("2001:db8::1", 443)),
        ("CONNECT [::ffff:1.2.3.4]:443", tunnel("1.2.3.4", 443)),
        ("CONNECT 0x7f.1:443", tunnel("127.0.0.1", 443)),
        ("CONNECT 2001:db8::1:443", None),
        ("CONNECT ::1", None),
        ("CONNECT a.example:", None),
        ("CONNECT a.example:0", None),
        ("CONNECT a.example:65536", None),
        ("CONNECT a.example:+443", None),
        ("CONNECT a.example:443:443", None),
        ("CONNECT :443", None),
        ("CONNECT user@a.example:443", None),
        ("CONNECT a.example:443/", None),
        ("CONNECT http://a.example:443", None),
        ("CONNECT [::1%eth0]:443", None),
        ("CONNECT [::1]x:443", None),
        ("CONNECT /", None),
        ("GET http://a.example", absolute("a.example", 80, "/")),
        ("GET http://a.example/", absolute("a.example", 80, "/")),
        (
            "GET HTTP://A.example:8080/x?y=http://b.example/",
            absolute("a.example", 8080, "/x?y=http://b.example/"),
        ),
        ("GET http://a.example:/x", absolute("a.example", 80, "/x")),
        ("GET http://a.example?x=1", absolute("a.example", 80, "/?x=1")),
        ("GET http://[2001:DB8::1]:81/", absolute("2001:db8::1", 81, "/")),
        ("OPTIONS http://a.example", absolute("a.example", 80, "*")),
        ("OPTIONS http://a.example/", absolute("a.example", 80, "/")),
        ("PROPFIND http://a.example/dav", absolute("a.example", 80, "/dav")),
        ("GET http://a.example\\@b.example/", None),
        ("GET http://b.example#@a.example/", absolute("b.example", 80, "/#@a.example/")),
        ("GET http://user:secret@a.example/", None),
        ("GET http://a.example:80@b.example/", None),
        ("GET http://a.example%2eb/", None),
        ("GET http://a.example%00.b/", None),
        ("GET http:///x", None),
        ("GET http://:80/x", None),
        ("GET https://a.example/", None),
        ("GET ftp://a.example/", None),
        ("GET a.example", None),
        ("GET /", Some(Target::Origin)),
        ("GET //a.example/", Some(Target::Origin)),
        ("OPTIONS *", Some(Target::Origin)),
    ];
    for (line, expected) in rows {
        let text = format!("{line} HTTP/1.1\r\nHost: other.example\r\n\r\n");
        let got = request(text.as_bytes(), text.len()).map(|head| head.unwrap().0.target);
        assert_eq!(got.ok(), expected, "{line}");
    }
}

#[test]
fn what_two_readers_could_read_in_two_ways_is_refused() {
    let refused = [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;x=1\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\r\n\tfolded\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\0z\r\n",
        "X y: z\r\n",
        ": z\r\n",
        "X\x0b: z\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
    ];
    for headers in refused {
        assert!(with(headers).is_err(), "{headers:?}");
    }
    let old = "POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request(old.as_bytes(), old.len()), Err(Malformed::Syntax("Transfer-Encoding in HTTP/1.0")));
    for line in [
        "GET http://a.example/ HTTP/1.1 x",
        "GET  http://a.example/ HTTP/1.1",
        "GET http://a.example/",
        "GET http://a.example/ HTTP/2.0",
        "PRI * HTTP/2.0",
        "\x16\x03\x01\x02",
        "SSH-2.0-x",
        "GET\thttp://a.example/\tHTTP/1.1",
    ] {
        let text = format!("{line}\r\n\r\n");
        assert!(request(text.as_bytes(), text.len()).is_err(), "{line}");
    }
}

#[test]
fn bodies_of_requests() {
    let rows = [
        ("", Body::None),
        ("Content-Length: 0\r\n", Body::Length(0)),
        ("content-length:5\r\n", Body::Length(5)),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Body::Length(5)),
        ("Content-Length: 5, 5\r\n", Body::Length(5)),
        ("Content-Length: 18446744073709551615\r\n", Body::Length(u64::MAX)),
        ("Transfer-Encoding: chunked\r\n", Body::Chunked),
        ("transfer-encoding:  Chunked  \r\n", Body::Chunked),
    ];
    for (headers, body) in rows {
        assert_eq!(with(headers).unwrap().body, body, "{headers}");
    }
    // The next hop is told one length, once.
    for headers in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5\r\nConnection: content-length\r\n",
    ] {
        let head = text(with(headers).unwrap().head(NextHop::Server, false));
        assert_eq!(head.matches("Content-Length: 5\r\n").count(), 1, "{head}");
        assert_eq!(head.matches("ength").count(), 1, "{head}");
    }
    let tunnel = |headers: &str| {
        let text = format!("CONNECT a.example:443 HTTP/1.1\r\n{headers}\r\n");
        request(text.as_bytes(), text.len()).map(|head| head.unwrap().0.body)
    };
    assert_eq!(tunnel("Content-Length: 0\r\n"), Ok(Body::None));
    assert!(tunnel("Content-Length: 1\r\n").is_err() && tunnel("Transfer-Encoding: chunked\r\n").is_err());
}

#[test]
fn the_next_hop_gets_nothing_of_the_client_s_connection() {
    let head = read(
        "POST http://A.example:8080/p?q HTTP/1.1\r\nHost: evil.example\r\nHost: other.example\r\nUser-Agent: x\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic c2VjcmV0\r\nproxy-authenticate: x\r\nKeep-Alive: timeout=5\r\n\
         Connection: keep-alive, X-Drop , Content-Length, Host\r\nX-Drop: 1\r\nX-Keep: é\r\nTE: trailers\r\nUpgrade: h2c\r\n\
         Authorization: Bearer t\r\nCookie: a=b\r\nCookie: c=d\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    );
    let expected = "Host: a.example:8080\r\nUser-Agent: x\r\nX-Keep: é\r\nAuthorization: Bearer t\r\nCookie: a=b\r\n\
         Cookie: c=d\r\nExpect: 100-continue\r\nContent-Length: 3\r\n";
    assert_eq!(text(head.head(NextHop::Server, false)), format!("POST /p?q HTTP/1.1\r\n{expected}\r\n"));
    let closing = text(head.head(NextHop::Server, true));
    assert!(closing.ends_with("Content-Length: 3\r\nConnection: close\r\n\r\n"), "{closing}");
    let proxied = text(head.head(NextHop::Proxy(Some("Basic dTpw")), false));
    let (first, rest) = expected.split_once("\r\n").unwrap();
    let proxied_expected = format!("{first}\r\nProxy-Authorization: Basic dTpw\r\n{rest}");
    assert_eq!(proxied, format!("POST http://a.example:8080/p?q HTTP/1.1\r\n{proxied_expected}\r\n"));

    let six = read("GET http://[2001:db8::1]/ HTTP/1.0\r\n\r\n");
    assert_eq!(
        text(six.head(NextHop::Server, false)),
        "GET / HTTP/1.0\r\nHost: [2001:db8::1]\r\nConnection: keep-alive\r\n\r\n"
    );
    let star = read("OPTIONS http://a.example HTTP/1.1\r\n\r\n");
    assert!(text(star.head(NextHop::Server, false)).starts_with("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n"));
    assert!(
        text(star.head(NextHop::Proxy(None), false)).starts_with("OPTIONS http://a.example HTTP/1.1\r\n")
    );
    assert_eq!(
        text(connect(&host("2001:db8::1"), 443, Some("Basic x"))),
        "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\nProxy-Authorization: Basic x\r\n\r\n"
    );
}

#[test]
fn a_websocket_keeps_its_upgrade() {
    let head = read(
        "GET http://a.example/chat HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: k\r\n\r\n",
    );
    assert!(head.upgrade);
    assert_eq!(
        text(head.head(NextHop::Server, true)),
        "GET /chat HTTP/1.1\r\nHost: a.example\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s\r\n\r\n";
    let switched = answer_to(Some(&head), answer).unwrap();
    assert!(!switched.is_interim() && switched.body == Body::None);
    assert_eq!(
        text(switched.head(false)),
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    // Nobody asked: not HTTP/2 in clear text, whose requests nobody would judge; not with a body; not without Connection.
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
    ] {
        let head = with(lines).unwrap();
        assert!(
            !head.upgrade && !text(head.head(NextHop::Server, false)).to_lowercase().contains("upgrade"),
            "{lines}"
        );
        assert!(answer_to(Some(&head), answer).is_err());
    }
}

#[test]
fn keep_alive() {
    let rows = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, Close\r\n", false),
        ("1.1", "Proxy-Connection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Proxy-Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ];
    for (version, headers, keep) in rows {
        let head = read(&format!("GET http://a.example/ HTTP/{version}\r\n{headers}\r\n"));
        assert_eq!(head.keep_alive, keep, "{version} {headers}");
    }
}

#[test]
fn bodies_of_answers() {
    let get = read("GET http://a.example/ HTTP/1.1\r\n\r\n");
    let ask_head = read("HEAD http://a.example/ HTTP/1.1\r\n\r\n");
    let rows = [
        ("1.1 200 OK", "Content-Length: 5\r\n", Some(Body::Length(5)), true),
        ("1.1 200", "Content-Length: 5\r\nConnection: close\r\n", Some(Body::Length(5)), false),
        ("1.1 200 OK", "Transfer-Encoding: chunked\r\n", Some(Body::Chunked), true),
        ("1.1 200 OK", "Transfer-Encoding: gzip, chunked\r\n", Some(Body::Chunked), true),
        ("1.1 200 OK", "Transfer-Encoding: gzip\r\n", Some(Body::Close), false),
        ("1.1 200 OK", "", Some(Body::Close), false),
        ("1.0 200 OK", "Content-Length: 5\r\n", Some(Body::Length(5)), false),
        ("1.0 200 OK", "Content-Length: 5\r\nConnection: keep-alive\r\n", Some(Body::Length(5)), true),
        ("1.1 204 No Content", "", Some(Body::None), true),
        ("1.1 304 Not Modified", "Content-Length: 5\r\n", Some(Body::None), true),
        ("1.1 100 Continue", "", Some(Body::None), true),
        ("1.1 103 Early Hints", "Link: x\r\n", Some(Body::None), true),
        ("1.1 500 Oops", "Content-Length: 0\r\n", Some(Body::Length(0)), true),
        ("1.1 200 OK", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", None, false),
        ("1.1 200 OK", "Content-Length: 5\r\nContent-Length: 6\r\n", None, false),
        ("1.1 200 OK", "Transfer-Encoding: chunked, gzip\r\n", None, false),
        ("1.0 200 OK", "Transfer-Encoding: chunked\r\n", None, false),
        ("1.1 200 OK", "X: y\r\n folded\r\n", None, false),
        ("1.1 304 Not Modified", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", None, false),
        ("1.1 204 No Content", "Content-Length: x\r\n", None, false),
        ("1.1 101 Switching", "", None, false),
        ("1.1 099 Low", "", None, false),
        ("2.0 200 OK", "", None, false),
    ];
    for (line, headers, body, keep_alive) in rows {
        let got = answer_to(Some(&get), &format!("HTTP/{line}\r\n{headers}\r\n")).ok();
        assert_eq!(got.as_ref().map(|r| r.body), body, "{line} {headers}");
        assert_eq!(got.is_some_and(|r| r.keep_alive), keep_alive, "{line} {headers}");
    }
    let to_head = answer_to(Some(&ask_head), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
    assert_eq!((to_head.body, to_head.keep_alive), (Body::None, true));
    assert!(text(to_head.head(false)).contains("Content-Length: 5\r\n"));
    let tunnel = answer_to(None, "HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n").unwrap();
    assert_eq!(tunnel.body, Body::None);
    assert_eq!(
        answer_to(None, "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n").unwrap().body,
        Body::Length(5)
    );
}

#[test]
fn the_client_gets_nothing_of_the_server_s_connection() {
    let get = read("GET http://a.example/ HTTP/1.1\r\n\r\n");
    let answer = answer_to(
        Some(&get),
        "HTTP/1.0 200 Fine\r\nServer: s\r\nConnection: X-Drop\r\nX-Drop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
         Set-Cookie: a\r\nSet-Cookie: b\r\nUpgrade: h2\r\n\r\n",
    )
    .unwrap();
    let lines = "Server: s\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n";
    // The body ends with the connection, so the client is told so whatever the caller thinks.
    assert_eq!(text(answer.head(false)), format!("HTTP/1.1 200 Fine\r\n{lines}Connection: close\r\n\r\n"));
    let interim = answer_to(Some(&get), "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").unwrap();
    assert!(interim.is_interim());
    assert_eq!(text(interim.head(true)), "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
}

#[test]
fn heads_come_in_pieces() {
    let whole = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: y\r\n\r\nGET http://b.example/ HTTP/1.1\r\n\r\n";
    let end = whole.find("\r\n\r\n").unwrap() + 4;
    for length in 1..end {
        assert_eq!(request(&whole.as_bytes()[..length], 1), Ok(None), "{length}");
        assert_eq!(request(&whole.as_bytes()[..length], length), Ok(None), "{length}");
    }
    let (first, used) = request(whole.as_bytes(), whole.len()).unwrap().unwrap();
    assert_eq!(used, end);
    assert!(matches!(first.target, Target::Absolute { .. }));
    let (second, used) = request(&whole.as_bytes()[end..], whole.len() - end).unwrap().unwrap();
    assert_eq!(used, whole.len() - end);
    assert_eq!(second.target, Target::Absolute { host: host("b.example"), port: 80, path: "/".into() });
}

#[test]
fn bounds() {
    let ask = |text: &str, new: usize| request(text.as_bytes(), new).map(|head| head.map(|(_, used)| used));
    let lines = |count: usize| "X: y\r\n".repeat(count);
    let with_lines = |count| format!("GET http://a.example/ HTTP/1.1\r\n{}\r\n", lines(count));
    assert!(matches!(ask(&with_lines(128), 1), Ok(Some(_))));
    assert_eq!(ask(&with_lines(129), 1), Err(Malformed::ManyHeaders));
    let long = |size: usize| {
        let empty = "GET http://a.example/ HTTP/1.1\r\nX: \r\n\r\n".len();
        format!("GET http://a.example/{} HTTP/1.1\r\nX: y\r\n\r\n", "a".repeat(size - empty - 1))
    };
    assert_eq!(ask(&long(MAX_HEAD), 1), Ok(Some(MAX_HEAD)));
    assert_eq!(ask(&long(MAX_HEAD + 1), 1), Err(Malformed::Large));
    // Without an end, and without any end of a line in the last piece.
    assert_eq!(ask(&long(MAX_HEAD)[..MAX_HEAD - 4], 1), Ok(None));
    assert_eq!(ask(&"G".repeat(MAX_HEAD), 1), Ok(None));
    assert_eq!(ask(&"G".repeat(MAX_HEAD + 1), 1), Err(Malformed::Large));
    assert_eq!(ask("\r\nGET http://a.example/ HTTP/1.1\r\n\r\n", 1).map(|head| head.is_some()), Ok(true));
    assert!(ask(&"\r\n".repeat(8), 1).is_err());
    assert_eq!(Answer::from(Malformed::Large).status, 431);
    assert_ne!(Answer::from(Malformed::Large), Answer::from(Malformed::ManyHeaders));
}

/// The body's bytes at the start of `bytes` when they come in pieces of these sizes, or why there is no end.
fn chunked(bytes: &[u8], piece: usize) -> std::result::Result<Option<usize>, String> {
    let mut reader = BodyReader::new(Body::Chunked);
    let mut at = 0;
    while at < bytes.len() && !reader.done() {
        let end = bytes.len().min(at + piece);
        at += reader.take(&bytes[at..end]).map_err(|e| e.to_string())?;
    }
    Ok(reader.done().then_some(at))
}

#[test]
fn chunks() {
    let good = [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;name=\"value\"\r\nhello\r\n00;x\r\nTrailer: x\r\nOther:y\r\n\r\n",
        "A\r\n0123456789\r\n00000a \r\n\r\n\n\r\n\r\n0\r\n\r\n0\r\n\r\n",
    ];
    for (i, text) in good.iter().enumerate() {
        for piece in [1, 2, 3, 7, 100] {
            let with_next = format!("{text}GET ");
            assert_eq!(chunked(with_next.as_bytes(), piece), Ok(Some(text.len())), "{i} {piece}");
            for cut in 0..text.len() {
                assert_eq!(chunked(&text.as_bytes()[..cut], piece), Ok(None), "{i} {piece} {cut}");
            }
        }
    }
}

#[test]
fn chunks_that_two_readers_could_read_in_two_ways_are_refused() {
    let bad = [
        "\r\n",
        " 5\r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\rhello\r\n",
        "5\rxhello\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-1\r\n",
        "g\r\n",
        ";x\r\n",
        "5,\r\nhello\r\n",
        "5;a\nb\r\nhello\r\n",
        "5;a\x01\r\nhello\r\n",
        "5 \n\r\nhello\r\n",
        "5\r\nhello6\r\n",
        "5\r\nhello\n0\r\n",
        "5\r\nhello\r0\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffff\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\n\n",
        "0\r\nX: y\r\n folded\r\n\r\n",
        "0\r\nX: y\rz\r\n\r\n",
        "0\r\n\0: y\r\n\r\n",
    ];
    for text in bad {
        assert!(chunked(text.as_bytes(), 100).is_err(), "{text:?}");
        assert!(chunked(text.as_bytes(), 1).is_err(), "{text:?}");
    }
    assert!(chunked(format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(5000)).as_bytes(), 100).is_err());
    assert!(chunked(format!("{}5\r\n", "0".repeat(5000)).as_bytes(), 100).is_err());
    assert!(chunked(format!("0\r\n{}\r\n", "X: y\r\n".repeat(20_000)).as_bytes(), 100).is_err());
    // Many short lines are no long line.
    let many = format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(50_000));
    assert_eq!(chunked(many.as_bytes(), 4096), Ok(Some(many.len())));
}

#[test]
fn raw_bytes_may_go_past_the_reader() {
    let mut reader = BodyReader::new(Body::Length(10));
    assert_eq!((reader.raw_left(), reader.take(b"0123"), reader.raw_left()), (10, Ok(4), 6));
    reader.skip(5);
    assert!(!reader.done());
    assert_eq!(reader.take(b"9GET"), Ok(1));
    assert!(reader.done() && reader.take(b"GET") == Ok(0) && reader.raw_left() == 0);

    let mut reader = BodyReader::new(Body::Chunked);
    assert_eq!((reader.raw_left(), reader.take(b"ff\r\n"), reader.raw_left()), (0, Ok(4), 255));
    reader.skip(255);
    assert_eq!(reader.take(b"\r\n0\r\n\r\nx"), Ok(7));
    assert!(reader.done());

    let mut reader = BodyReader::new(Body::Close);
    assert_eq!((reader.raw_left(), reader.take(&[0; 100])), (u64::MAX, Ok(100)));
    reader.skip(u64::MAX);
    assert!(!reader.done());
    assert!(BodyReader::new(Body::None).done() && BodyReader::new(Body::Length(0)).done());
}

#[test]
fn answers() {
    let denied = Answer::denied("evil.example", None);
    let bytes = text(denied.bytes(false, true));
    let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 403 Forbidden by fence\r\n"), "{head}");
    for line in
        ["Content-Type: text/plain; charset=utf-8", "X-Content-Type-Options: nosniff", "Connection: close"]
    {
        assert!(head.lines().any(|l| l == line), "{line}: {head}");
    }
    assert!(head.lines().any(|l| l == format!("Content-Length: {}", body.len())));
    let mut lines = body.lines();
    assert_eq!(lines.next(), Some("Connection blocked by network allowlist"));
    assert!(lines.next().is_some_and(|l| l.contains("evil.example") && l.contains("network.allowedDomains")));
    assert_eq!(text(denied.bytes(true, true)), format!("{head}\r\n\r\n"));
    assert!(text(denied.bytes(true, false)).contains("Connection: keep-alive"));
    assert!(
        text(Answer::denied("a", Some("*.b")).bytes(false, true))
            .contains("denied by \"*.b\" in network.deniedDomains")
    );
    for (answer, status) in [
        (Answer::unreachable("a", "Connection refused"), 502),
        (Answer::from(Malformed::Syntax("x")), 400),
        (Answer::from(Malformed::ManyHeaders), 431),
        (Answer::busy(), 503),
        (Answer::no_token(), 407),
        (Answer::no_host(), 403),
        (Answer::upstream_denied("a"), 403),
    ] {
        let bytes = answer.bytes(false, true);
        let parsed =
            answer_to(Some(&read("GET http://a.example/ HTTP/1.1\r\n\r\n")), &text(bytes.clone())).unwrap();
        assert_eq!((answer.status, parsed.status), (status, status));
        assert!(text(bytes).contains("fence"), "{status}");
    }
}
