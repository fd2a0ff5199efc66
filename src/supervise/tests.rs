//! The proxies with real sockets on loopback: clients and servers are threads of the test.

use super::http;
use super::net::{Net, accept};
use super::reactor::{Io, Reactor, Stop};
use super::resolve::Sources;
use crate::config::policy::Network;
use crate::log::Log;
use crate::rules::net::NetRules;
use crate::rules::net::proxy::Proxy;
use crate::wire::http::Answer;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A proxy in a thread of its own, until it is dropped.
struct Proxies {
    http: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.stop.now();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn proxies(allowed: &[&str], change: impl FnOnce(&mut Net) + Send + 'static) -> Proxies {
    let policy = Network {
        allowed_domains: allowed.iter().map(|s| s.to_string()).collect(),
        denied_domains: vec!["denied.test".into()],
        upstream_proxy: "http://set.test:1".into(),
        ..Network::default()
    };
    let upstream = allowed.contains(&"UPSTREAM");
    let policy = Network {
        allowed_domains: policy.allowed_domains.into_iter().filter(|d| d != "UPSTREAM").collect(),
        upstream_proxy: if upstream { policy.upstream_proxy } else { String::new() },
        ..policy
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let http = listener.local_addr().unwrap();
    let stop = Stop::new().unwrap();
    let ours = stop.clone();
    let thread = std::thread::spawn(move || {
        let reactor = Reactor::new(ours).unwrap();
        let log = Arc::new(Log::plain());
        let mut net = Net::new(reactor.clone(), NetRules::new(&policy).unwrap(), log);
        change(&mut net);
        let listener = Io::new(&reactor, listener.into(), false).unwrap();
        reactor.spawn(accept(Rc::new(net), listener, Answer::busy().bytes(false, true), http::serve));
        reactor.run(Duration::ZERO, || true);
    });
    Proxies { http, stop, thread: Some(thread) }
}

fn local() -> Proxies {
    proxies(&["127.0.0.1"], |_| {})
}

/// A server: each connection runs `serve` in a thread. Counts them.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let (serve, counted) = (Arc::new(serve), count.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    (address, count)
}

/// Reads to the end of a head.
fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    _ = stream.read_to_end(&mut bytes);
    bytes
}

/// An HTTP server that tells each request's first line and how often this connection was used.
fn telling(mut stream: TcpStream) {
    for n in 1.. {
        let request = head(&mut stream);
        let Some(first) = request.lines().next() else { return };
        let text = format!("{n} {first}");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

fn connect(proxies: &Proxies) -> TcpStream {
    let stream = TcpStream::connect(proxies.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn tunnel_to(proxies: &Proxies, server: SocketAddr) -> TcpStream {
    let mut client = connect(proxies);
    write!(client, "CONNECT {server} HTTP/1.1\r\n\r\n").unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 200"));
    client
}

/// One answer: its head, and the body that Content-Length says.
fn answer(client: &mut TcpStream) -> (String, String) {
    let head = head(client);
    let length = head
        .to_lowercase()
        .split("content-length: ")
        .nth(1)
        .map(|rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
    let body = length.map(|length| exactly(client, length)).unwrap_or_default();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn kept_connections_have_one_verdict_a_request() {
    let (server, connections) = server(telling);
    let proxies = local();
    let mut client = connect(&proxies);
    for n in 1..=3 {
        write!(client, "GET http://{server}/{n} HTTP/1.1\r\nHost: wrong.test\r\n\r\n").unwrap();
        assert_eq!(answer(&mut client).1, format!("{n} GET /{n} HTTP/1.1"));
    }
    // Another host on the same connection is refused, and the connection goes on.
    write!(client, "GET http://denied.test/ HTTP/1.1\r\n\r\n").unwrap();
    let (head, body) = answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert!(body.starts_with("Connection blocked by network allowlist\n"), "{body}");
    write!(client, "GET http://{server}/4 HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(answer(&mut client).1, "4 GET /4 HTTP/1.1");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (server, _) = server(telling);
    let proxies = local();
    let mut client = connect(&proxies);
    let all: String = (1..=20)
        .map(|n| match n % 5 {
            0 => "GET http://denied.test/ HTTP/1.1\r\n\r\n".to_string(),
            _ => format!("GET http://{server}/{n} HTTP/1.1\r\n\r\n"),
        })
        .collect();
    client.write_all(all.as_bytes()).unwrap();
    for n in 1..=20 {
        let (_, body) = answer(&mut client);
        match n % 5 {
            0 => assert!(body.contains("denied.test"), "{body}"),
            _ => assert!(body.ends_with(&format!("GET /{n} HTTP/1.1")), "{body}"),
        }
    }
}

/// Reads a chunked body, sends it back chunked.
fn echo_chunks(mut stream: TcpStream) {
    let request = head(&mut stream);
    assert!(request.contains("Transfer-Encoding: chunked"), "{request}");
    let mut body = Vec::new();
    while !body.ends_with(b"\r\n0\r\n\r\n") {
        body.extend(exactly(&mut stream, 1));
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for piece in body.chunks(1000) {
        stream.write_all(piece).unwrap();
    }
    _ = rest(&mut stream);
}

#[test]
fn chunks_pass_both_ways() {
    let (server, _) = server(echo_chunks);
    let proxies = local();
    let mut client = connect(&proxies);
    let mut body = Vec::new();
    for n in [1usize, 15, 16, 17_000, 40_000, 5] {
        body.extend(format!("{n:x};x=y\r\n").bytes());
        body.extend(std::iter::repeat_n(b'a' + (n % 26) as u8, n));
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    write!(client, "POST http://{server}/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    client.write_all(&body).unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 200"));
    assert!(exactly(&mut client, body.len()) == body);
}

#[test]
fn large_bodies_pass_both_ways() {
    const SIZE: usize = 20_000_000;
    let (server, _) = server(|mut stream| {
        head(&mut stream);
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes()).unwrap();
        let mut buffer = vec![0; 100_000];
        loop {
            let n = stream.read(&mut buffer).unwrap();
            if n == 0 || stream.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
    });
    let proxies = local();
    let mut client = connect(&proxies);
    write!(client, "PUT http://{server}/ HTTP/1.1\r\nContent-Length: {SIZE}\r\n\r\n").unwrap();
    let data: Vec<u8> = (0..SIZE).map(|i| (i / 7 % 251) as u8).collect();
    let (mut sender, sent) = (client.try_clone().unwrap(), data.clone());
    let sending = std::thread::spawn(move || sender.write_all(&sent).unwrap());
    assert!(head(&mut client).starts_with("HTTP/1.1 200"));
    assert!(exactly(&mut client, SIZE) == data);
    sending.join().unwrap();
}

#[test]
fn who_expects_100_gets_it_from_the_server() {
    let (server, _) = server(|mut stream| {
        let request = head(&mut stream);
        assert!(request.contains("100-continue"));
        if request.starts_with("PUT /no") {
            stream.write_all(b"HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno").unwrap();
            _ = rest(&mut stream);
            return;
        }
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        assert_eq!(exactly(&mut stream, 3), b"abc");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        _ = rest(&mut stream);
    });
    let proxies = local();
    let mut client = connect(&proxies);
    let request = |path| {
        format!("PUT http://{server}{path} HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    };
    client.write_all(request("/").as_bytes()).unwrap();
    assert_eq!(head(&mut client), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"abc").unwrap();
    assert_eq!(answer(&mut client).1, "ok");
    // Refused at once: nobody knows whether the body follows, so the connection ends.
    let mut client = connect(&proxies);
    client.write_all(request("/no").as_bytes()).unwrap();
    let (head, body) = answer(&mut client);
    assert_eq!(body, "no");
    assert!(head.contains("Connection: close"), "{head}");
    assert_eq!(rest(&mut client), b"");
}

fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 65536];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        stream.write_all(&buffer[..n]).unwrap();
    }
    stream.write_all(b"!").unwrap();
}

#[test]
fn an_upgrade_is_a_tunnel() {
    let (server, _) = server(|mut stream| {
        let request = head(&mut stream).to_lowercase();
        assert!(
            request.contains("connection: upgrade") && request.contains("upgrade: websocket"),
            "{request}"
        );
        stream
            .write_all(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
            .unwrap();
        echo(stream);
    });
    let proxies = local();
    let mut client = connect(&proxies);
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nmine";
    write!(client, "GET http://{server}/chat HTTP/1.1\r\n{fields}").unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 101"));
    assert_eq!(exactly(&mut client, 9), b"earlymine");
    client.write_all(b"more").unwrap();
    assert_eq!(exactly(&mut client, 4), b"more");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"!");
}

#[test]
fn a_half_close_is_kept() {
    let (server, _) = server(echo);
    let proxies = local();
    let mut client = tunnel_to(&proxies, server);
    client.write_all(b"abc").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"abc!");
}

#[test]
fn a_head_may_come_byte_by_byte_and_an_answer_in_pieces() {
    let (server, _) = server(|mut stream| {
        assert!(head(&mut stream).starts_with("GET /slow HTTP/1.1\r\n"));
        for piece in "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc".as_bytes().chunks(5) {
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(piece).unwrap();
        }
        _ = rest(&mut stream);
    });
    let proxies = local();
    let mut client = connect(&proxies);
    client.set_nodelay(true).unwrap();
    for byte in format!("GET http://{server}/slow HTTP/1.1\r\n\r\n").bytes() {
        client.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(answer(&mut client).1, "abc");
}

#[test]
fn a_break_is_passed_on() {
    let (server, _) = server(|mut stream| {
        let _ = exactly(&mut stream, 1);
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    });
    let proxies = local();
    let mut client = tunnel_to(&proxies, server);
    client.write_all(b"x").unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_body_that_breaks_off_is_not_taken_for_whole() {
    let (server, _) = server(|mut stream| {
        head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").unwrap();
    });
    let proxies = local();
    let mut client = connect(&proxies);
    write!(client, "GET http://{server}/ HTTP/1.1\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let end = client.read_to_end(&mut bytes);
    assert!(end.is_err() || bytes.len() < 100, "{end:?} {bytes:?}");
}

#[test]
fn nothing_is_read_ahead_of_a_client_that_does_not_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let (server, _) = server(move |mut stream| {
        while let Ok(n) = stream.write(&[7; 65536]) {
            count.fetch_add(n, Ordering::SeqCst);
        }
    });
    let proxies = local();
    let client = tunnel_to(&proxies, server);
    let mut before = usize::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
    }
    // What the kernel's buffers and one pipe take.
    assert!(before < 32 << 20, "{before}");
    drop(client);
}

#[test]
fn a_server_that_closed_in_between_is_asked_again() {
    let (server, connections) = server(|mut stream| {
        head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let proxies = local();
    let mut client = connect(&proxies);
    for n in 1..=3 {
        write!(client, "GET http://{server}/ HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(answer(&mut client).1, "ok");
        assert_eq!(connections.load(Ordering::SeqCst), n);
    }
}

#[test]
fn what_goes_wrong_has_its_status() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let proxies = local();
    let rows = [
        (format!("GET http://{nobody}/ HTTP/1.1\r\n\r\n"), "502", "Connection refused"),
        (format!("CONNECT {nobody} HTTP/1.1\r\n\r\n"), "502", "Connection refused"),
        ("GET / HTTP/1.1\r\n\r\n".into(), "403", "must name a host"),
        ("CONNECT other.test:443 HTTP/1.1\r\n\r\n".into(), "403", "network.allowedDomains"),
        ("GET http://127.0.0.2/ HTTP/1.1\r\n\r\n".into(), "403", "network.allowedDomains"),
        ("GET http://[::ffff:169.254.169.254]/ HTTP/1.1\r\n\r\n".into(), "403", "169.254.169.254"),
        ("GET http://127.1/ HTTP/1.1 x\r\n\r\n".into(), "400", "fence's proxy"),
        ("\0\0\0\0\0\0\0\0\0\0\r\n\r\n".into(), "400", ""),
        (format!("GET http://{nobody}/{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)), "431", ""),
    ];
    for (request, status, text) in rows {
        let mut client = connect(&proxies);
        client.write_all(request.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let answer = String::from_utf8(rest(&mut client)).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60} {answer}");
        assert!(answer.contains(text), "{request:.60} {answer}");
    }
}

#[test]
fn a_hidden_request_reaches_nobody() {
    let (server, _) = server(|mut stream| {
        let first = head(&mut stream);
        assert!(!first.contains("denied.test"), "{first}");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        let more = rest(&mut stream);
        assert!(!more.windows(6).any(|w| w == b"hidden"), "smuggled");
    });
    let proxies = local();
    let hidden = "GET http://denied.test/hidden HTTP/1.1\r\n\r\n";
    let fields = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: 3\r\nContent-Length: 50",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Content-Length: +5",
    ];
    for field in fields {
        let mut client = connect(&proxies);
        write!(client, "POST http://{server}/ HTTP/1.1\r\n{field}\r\n\r\n0\r\n\r\n{hidden}").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let answer = String::from_utf8(rest(&mut client)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{field:?} {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{field:?} {answer}");
    }
    // A body that is what it says: what follows is a request of its own, and judged.
    let mut client = connect(&proxies);
    write!(client, "POST http://{server}/ HTTP/1.1\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}").unwrap();
    assert_eq!(answer(&mut client).1, "ok");
    assert!(answer(&mut client).0.starts_with("HTTP/1.1 403"));
}

#[test]
fn a_denied_request_with_a_body_ends_the_connection() {
    let proxies = local();
    let mut client = connect(&proxies);
    write!(
        client,
        "POST http://denied.test/ HTTP/1.1\r\nContent-Length: 90\r\n\r\nGET http://x.test/ HTTP/1.1\r\n\r\n"
    )
    .unwrap();
    let (head, _) = answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 403") && head.contains("Connection: close"), "{head}");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"");
}

#[test]
fn without_the_token_nothing_is_served() {
    let (server, _) = server(telling);
    let proxies = proxies(&["127.0.0.1"], |net| net.token = Some("s3cret".into()));
    let mut client = connect(&proxies);
    let ask = |client: &mut TcpStream, value: &str| {
        write!(client, "GET http://{server}/ HTTP/1.1\r\nProxy-Authorization: {value}\r\n\r\n").unwrap();
        answer(client).0
    };
    assert!(ask(&mut client, "Basic Zm9vOmJhcg==").starts_with("HTTP/1.1 407"));
    assert!(ask(&mut client, "Basic ZmVuY2U6czNjcmV0").starts_with("HTTP/1.1 200"));
    let mut client = connect(&proxies);
    write!(client, "CONNECT {server} HTTP/1.1\r\n\r\n").unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 407"));
}

/// A name server that answers each question as `answers` says for its number, and the sources that lead to it.
fn name_server(answers: impl Fn(usize) -> Option<Ipv4Addr> + Send + 'static) -> impl FnOnce(&mut Net) + Send {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let file = std::env::temp_dir().join(format!("fence-resolv-{}-{port}", std::process::id()));
    std::fs::write(&file, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        let mut asked = 0;
        while let Ok((n, from)) = socket.recv_from(&mut packet) {
            let mut reply = packet[..n].to_vec();
            // The question ends after its name, type and class; what follows (EDNS) is left out.
            let end = 12 + packet[12..].iter().position(|b| *b == 0).unwrap() + 5;
            let v4 = packet[end - 3] == 1;
            reply.truncate(end);
            reply[2] = 0x81;
            reply[3] = 0x80;
            reply[6..12].fill(0);
            if v4 {
                asked += 1;
                let Some(address) = answers(asked) else { continue };
                reply[7] = 1;
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                reply.extend(address.octets());
            }
            _ = socket.send_to(&reply, from);
        }
    });
    move |net| net.sources = Sources { hosts: PathBuf::from("/dev/null"), resolv_conf: file, port }
}

#[test]
fn a_name_that_leads_to_loopback_every_other_time_is_refused_then() {
    let (server, connections) = server(telling);
    // The first time an address that may be dialled and where nobody answers, then this machine's own.
    let here = Ipv4Addr::LOCALHOST;
    let away = Ipv4Addr::new(192, 0, 2, 1);
    let proxies = proxies(&["rebind.test"], name_server(move |n| Some(if n % 2 == 0 { here } else { away })));
    for n in 1..=4 {
        let started = Instant::now();
        let mut client = connect(&proxies);
        write!(client, "GET http://rebind.test:{}/ HTTP/1.1\r\n\r\n", server.port()).unwrap();
        let (head, body) = answer(&mut client);
        if n % 2 == 0 {
            assert!(head.starts_with("HTTP/1.1 403"), "{n} {head}{body}");
            assert!(body.contains("127.0.0.1 is a loopback address"), "{body}");
        } else {
            assert!(head.starts_with("HTTP/1.1 502"), "{n} {head}{body}");
        }
        assert!(started.elapsed() < Duration::from_secs(12));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[test]
fn a_silent_name_server_holds_up_only_who_asked() {
    let (server, _) = server(telling);
    let proxies = proxies(&["silent.test", "127.0.0.1"], name_server(|_| None));
    let mut stuck = connect(&proxies);
    write!(stuck, "GET http://silent.test/ HTTP/1.1\r\n\r\n").unwrap();
    let started = Instant::now();
    let mut client = connect(&proxies);
    write!(client, "GET http://{server}/ HTTP/1.1\r\n\r\n").unwrap();
    assert!(answer(&mut client).0.starts_with("HTTP/1.1 200"));
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    let (head, body) = answer(&mut stuck);
    assert!(head.starts_with("HTTP/1.1 502") && body.contains("no name server answered"), "{head}{body}");
}

#[test]
fn the_grey_zone_goes_to_the_upstream_proxy() {
    let (upstream, _) = server(|mut stream| {
        let request = head(&mut stream);
        assert!(request.contains("Proxy-Authorization: Basic dTpw\r\n"), "{request}");
        if request.starts_with("CONNECT no.test:443") {
            stream.write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").unwrap();
            return;
        }
        if request.starts_with("CONNECT grey.test:443 HTTP/1.1") {
            stream.write_all(b"HTTP/1.1 200 Yes\r\n\r\nhi").unwrap();
            return echo(stream);
        }
        assert!(request.starts_with("GET http://grey.test/x HTTP/1.1\r\n"), "{request}");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        _ = rest(&mut stream);
    });
    let proxies = proxies(&["UPSTREAM"], move |net| {
        net.upstream = Some(Proxy::parse(&format!("http://u:p@{upstream}")).unwrap());
    });
    let mut client = connect(&proxies);
    write!(client, "GET http://grey.test/x HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(answer(&mut client).1, "ok");
    write!(client, "GET http://denied.test/ HTTP/1.1\r\n\r\n").unwrap();
    assert!(answer(&mut client).0.starts_with("HTTP/1.1 403"));
    write!(client, "CONNECT no.test:443 HTTP/1.1\r\n\r\n").unwrap();
    let (head, body) = answer(&mut client);
    assert!(
        head.starts_with("HTTP/1.1 403") && body.starts_with("Upstream proxy denied connection"),
        "{body}"
    );
    let mut client = connect(&proxies);
    write!(client, "CONNECT grey.test:443 HTTP/1.1\r\n\r\nyou").unwrap();
    assert!(self::head(&mut client).starts_with("HTTP/1.1 200"));
    assert_eq!(exactly(&mut client, 5), b"hiyou");
}

#[test]
fn a_thousand_connections_at_once() {
    let (server, _) = server(|mut stream| {
        let mut bytes = exactly(&mut stream, 8);
        bytes.reverse();
        stream.write_all(&bytes).unwrap();
    });
    let proxies = proxies(&["127.0.0.1"], |net| assert!(net.most >= 1000, "descriptors: {}", net.most));
    let mut clients: Vec<TcpStream> = (0..1000).map(|_| tunnel_to(&proxies, server)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("{n:08}").as_bytes()).unwrap();
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let back: String = format!("{n:08}").chars().rev().collect();
        assert_eq!(rest(client), back.as_bytes());
    }
}

#[test]
fn one_too_many_is_told_so() {
    let (server, _) = server(echo);
    let proxies = proxies(&["127.0.0.1"], |net| net.most = 2);
    let first = tunnel_to(&proxies, server);
    let _second = tunnel_to(&proxies, server);
    let mut third = connect(&proxies);
    assert!(head(&mut third).starts_with("HTTP/1.1 503"));
    drop((first, third));
    std::thread::sleep(Duration::from_millis(200));
    let _fourth = tunnel_to(&proxies, server);
}
