//! The proxies as a command meets them: what the policy allows is reached, all else is refused by name, and nothing goes past.

use crate::harness::{Ran, World, everybody};
use crate::need;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;

/// `/usr/bin`: the ordinary user of the tests can't reach one in root's home.
const PYTHON: &str = "/usr/bin/python3";

/// A server on the host that answers each request with `hello`, and each tunnel with what it sends.
fn server(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.unwrap()));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    }
}

/// What each script begins with: the server's address as `host`, `port` and `server`, and a way to talk to proxies.
const HELPERS: &str = "\
import os, socket, sys
host, port = sys.argv[1], int(sys.argv[2])
server = f'{host}:{port}'
HTTP, SOCKS = ('127.0.0.1', 3128), ('127.0.0.1', 1080)
def rest(s):
    out = b''
    while (piece := s.recv(65536)): out += piece
    return out
def talk(to, data, end=False):
    s = socket.create_connection(to, 10)
    s.sendall(data if isinstance(data, bytes) else data.encode())
    if end: s.shutdown(socket.SHUT_WR)
    return rest(s)
";

/// The words that run Python lines inside.
fn python(world: &World, policy: &str, server: SocketAddr, flags: &[&str], lines: &str) -> Vec<OsString> {
    let script = world.write("client.py", format!("{HELPERS}{lines}"));
    let policy = world.write("policy.json", policy);
    let mut words = vec![world.fence().into_os_string()];
    words.extend(flags.iter().map(OsString::from));
    words.extend(["-s".into(), policy.into(), "--".into(), PYTHON.into(), script.into()]);
    words.extend([server.ip().to_string().into(), server.port().to_string().into()]);
    words
}

fn run(world: &World, words: &[OsString]) -> Ran {
    world.bare(&words[0], &words[1..]).ok()
}

const ALLOWED: &str = r#"{"network": {"allowedDomains": ["127.0.0.1"]}}"#;

#[test]
fn allowed_hosts_are_reached_through_each_proxy_and_no_other_way() {
    need!(program "python3");
    for who in everybody() {
        let world = World::new(who);
        let server = server("127.0.0.1:0");
        let lines = "\
print(talk(HTTP, f'GET http://{server}/ HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n')[-5:])
print(talk(('::1', 3128), f'GET http://{server}/ HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n')[-5:])
print(talk(HTTP, f'CONNECT {server} HTTP/1.1\\r\\n\\r\\nGET /\\r\\n\\r\\n', end=True)[-5:])
address = socket.inet_aton(host) + port.to_bytes(2, 'big')
print(talk(SOCKS, b'\\5\\1\\0' + b'\\5\\1\\0\\1' + address + b'GET /\\r\\n\\r\\n', end=True)[-5:])
try: socket.create_connection((host, port), 5)
except OSError as error: print(error)
";
        world
            .bare(
                PYTHON,
                ["-c", &format!("import socket; socket.create_connection(('127.0.0.1', {}))", server.port())],
            )
            .ok();
        let run = run(&world, &python(&world, ALLOWED, server, &[], lines));
        let hello = "b'hello'\n".repeat(4);
        assert_eq!(run.out, format!("{hello}[Errno 111] Connection refused\n"), "{run:?}");
    }
}

#[test]
fn a_refusal_says_what_would_allow_it_and_is_logged() {
    need!(program "python3");
    for who in everybody() {
        let world = World::new(who);
        let server = server("127.0.0.1:0");
        let policy = r#"{"network": {"allowedDomains": ["example.test"]}}"#;
        let lines = "\
print(talk(HTTP, f'GET http://{server}/ HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n').decode())
print(talk(HTTP, f'CONNECT localhost:{port} HTTP/1.1\\r\\n\\r\\n').decode())
print(talk(SOCKS, b'\\5\\1\\0' + b'\\5\\1\\0\\3\\x09localhost' + port.to_bytes(2, 'big'), end=True))
";
        let run = run(&world, &python(&world, policy, server, &["-m"], lines));
        assert_eq!(run.out.matches("HTTP/1.1 403 Forbidden by fence").count(), 2, "{run:?}");
        assert_eq!(
            run.out.matches("\r\n\r\nConnection blocked by network allowlist\n").count(),
            2,
            "{run:?}"
        );
        let run = run.says("b'\\x05\\x00\\x05\\x02").says(" ✗ CONNECT 403 localhost https://localhost:");
        let lines: Vec<&str> = run.err.lines().filter(|line| line.contains(" ✗ ")).collect();
        assert_eq!(lines.len(), 3, "{run:?}");
        let url = format!(" ✗ GET     403 127.0.0.1 http://{server}/ (0s)");
        assert!(lines[0].starts_with("[fence:http] ") && lines[0].ends_with(&url), "{lines:?}");
        let place = format!(" ✗ CONNECT localhost:{} BLOCKED", server.port());
        assert!(lines[2].starts_with("[fence:socks] ") && lines[2].ends_with(&place), "{lines:?}");
    }
}

#[test]
fn names_are_answered_for_allowed_hosts_only() {
    need!(program "python3");
    for who in everybody() {
        let world = World::new(who);
        let policy = r#"{"network": {"allowedDomains": ["localhost"]}}"#;
        let lines = "\
def ask(name, kind=1):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10)
    query = b'\\1\\2\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0'
    for label in name.split('.'): query += bytes([len(label)]) + label.encode()
    s.sendto(query + b'\\0\\0' + bytes([kind]) + b'\\0\\1', ('127.0.0.1', 53))
    reply = s.recv(512)
    return reply[3] & 15, reply[7], reply[-4:]
print(ask('localhost'), ask('LOCALHOST', 28)[:2], ask('secret.localhost')[:2], ask('secret.evil.test')[:2])
";
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let run = run(&world, &python(&world, policy, nobody, &["-m"], lines));
        assert_eq!(run.out, "(0, 1, b'\\x7f\\x00\\x00\\x01') (0, 1) (5, 0) (5, 0)\n", "{run:?}");
        run.says(" ✗ A secret.evil.test REFUSED");
    }
}

#[test]
fn listed_ports_of_the_host_s_loopback_and_no_others() {
    need!(program "python3");
    for who in everybody() {
        let world = World::new(who);
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (open, shut) = (server(address), server(address));
            let port = open.port();
            let policy = format!(
                r#"{{"network": {{"allowLocalOutbound": true, "allowLocalOutboundPorts": [{port}]}}}}"#
            );
            let lines = format!(
                "\
for to in [('127.0.0.1', port), ('::1', port)]: print(talk(to, 'GET /\\r\\n\\r\\n', end=True)[-5:])
try: socket.create_connection((host, {}), 5)
except OSError as error: print(error.errno)
",
                shut.port()
            );
            TcpStream::connect(shut).unwrap();
            let run = run(&world, &python(&world, &policy, open, &[], &lines));
            assert_eq!(run.out, "b'hello'\nb'hello'\n111\n", "{address} {run:?}");
        }
    }
}

#[test]
fn a_port_inside_is_reached_at_the_given_address_only() {
    need!(program "python3");
    for who in everybody() {
        let world = World::new(who);
        for (family, loopback) in [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")] {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let script = format!(
                "import socket\n\
                 s = socket.socket(socket.{family})\n\
                 s.bind(('{loopback}', {free})); s.listen()\n\
                 print('ready', flush=True)\n\
                 c, _ = s.accept()\n\
                 c.sendall(c.recv(100)[::-1]); c.close()\n"
            );
            let words = ["-p".to_string(), free.to_string(), "--".into(), PYTHON.into(), "-c".into(), script];
            let mut run = world.command(world.fence(), words).stdout(Stdio::piped()).spawn().unwrap();
            let mut ready = [0; 6];
            run.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
            assert!(TcpStream::connect(("127.0.0.2", free)).is_err(), "another address");
            let mut client = TcpStream::connect(("127.0.0.1", free)).unwrap();
            client.write_all(b"abc").unwrap();
            let mut back = String::new();
            client.read_to_string(&mut back).unwrap();
            assert_eq!(back, "cba", "{family}");
            assert!(run.wait().unwrap().success());
            assert!(TcpStream::connect(("127.0.0.1", free)).is_err(), "it listens after the end");
        }
    }
}

#[test]
fn the_shared_network_s_proxies_want_the_token() {
    need!(program "python3");
    for who in everybody() {
        let world = World::new(who);
        let policy = r#"{"network": {"allowedDomains": ["*", "127.0.0.1"]}}"#;
        let lines = "\
import base64, re
user, token, proxy = re.match(r'http://(\\w+):(\\w+)@127.0.0.1:(\\d+)', os.environ['HTTP_PROXY']).groups()
request = f'GET http://{server}/ HTTP/1.1\\r\\nConnection: close\\r\\n'
for secret in [None, 'x' + token[1:], token]:
    header = '' if secret is None else 'Proxy-Authorization: Basic ' + base64.b64encode(f'{user}:{secret}'.encode()).decode() + '\\r\\n'
    print(talk(('127.0.0.1', int(proxy)), request + header + '\\r\\n')[9:12])
";
        let run = run(&world, &python(&world, policy, server("127.0.0.1:0"), &[], lines));
        // A token may begin with x: it is hexadecimal, so it does not.
        assert_eq!(run.out, "b'407'\nb'407'\nb'200'\n", "{run:?}");
    }
}

/// Where descriptors are few, clients are told so, and those that are served are served to the end.
#[test]
fn few_descriptors_are_no_crash() {
    need!(program "python3");
    for who in everybody() {
        let world = World::new(who);
        let server = server("127.0.0.1:0");
        let lines = "\
def tunnel():
    s = socket.create_connection(HTTP, 10)
    s.settimeout(10)
    s.sendall(f'CONNECT {server} HTTP/1.1\\r\\n\\r\\n'.encode())
    return s, s.recv(12)[9:]
all = [tunnel() for _ in range(60)]
served = [s for s, status in all if status == b'200']
print(len(served) >= 10, sorted(set(status for _, status in all)))
for s in served:
    s.sendall(b'GET /\\r\\n\\r\\n')
    s.shutdown(socket.SHUT_WR)
    assert rest(s).endswith(b'hello')
for s, _ in all: s.close()
print(talk(HTTP, f'GET http://{server}/ HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n')[-5:])
";
        let limited = ["-c", "ulimit -n 70; exec \"$@\"", "sh"].map(OsString::from);
        let words = [&limited, python(&world, ALLOWED, server, &[], lines).as_slice()].concat();
        let run = world.bare("sh", words).ok();
        assert_eq!(run.out, "True [b'200', b'503']\nb'hello'\n", "{run:?}");
    }
}

#[test]
fn more_ports_than_descriptors_fit_in_a_message() {
    need!(program "python3");
    for who in everybody() {
        let world = World::new(who);
        let listeners: Vec<TcpListener> =
            (0..300).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let mut ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        // In the order of their sockets inside: the last of them came with the last message.
        ports.sort_unstable();
        let policy =
            format!(r#"{{"network": {{"allowLocalOutbound": true, "allowLocalOutboundPorts": {ports:?}}}}}"#);
        let script = format!(
            "
for port in [{ports:?}[-1], *{ports:?}]:
    s = socket.create_connection((host, port), 10)
    s.shutdown(socket.SHUT_WR)
    assert rest(s) == b'hello', port
print('all')"
        );
        let answering: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                std::thread::spawn(move || {
                    for stream in listener.incoming() {
                        _ = stream.unwrap().write_all(b"hello");
                    }
                })
            })
            .collect();
        let address = SocketAddr::from(([127, 0, 0, 1], ports[0]));
        assert_eq!(run(&world, &python(&world, &policy, address, &[], &script)).out, "all\n");
        drop(answering);
    }
}

#[test]
fn what_was_sent_last_arrives() {
    need!(program "python3");
    for who in everybody() {
        let world = World::new(who);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let port = address.port();
        let policy = format!(
            r#"{{"network": {{"allowLocalOutbound": true, "allowLocalOutboundPorts": [{port}], "allowedDomains": ["127.0.0.1"]}}}}"#
        );
        // At once to the port, where nothing is answered; and through a tunnel.
        let at_once = "s = socket.create_connection((host, port))\n";
        let tunnel = "\
s = socket.create_connection(HTTP)
s.sendall(f'CONNECT {server} HTTP/1.1\\r\\n\\r\\n'.encode())
s.recv(100)
";
        for way in [at_once, tunnel, at_once, tunnel] {
            let words = python(
                &world,
                &policy,
                address,
                &[],
                &format!("{way}s.sendall(b'x' * 8000000)\nos._exit(0)\n"),
            );
            let receiving = std::thread::spawn({
                let listener = listener.try_clone().unwrap();
                move || {
                    let mut bytes = Vec::new();
                    let mut stream = listener.accept().unwrap().0;
                    std::thread::sleep(std::time::Duration::from_millis(200));
                    stream.read_to_end(&mut bytes).map(|_| bytes.len()).map_err(|e| (e, bytes.len()))
                }
            });
            run(&world, &words);
            assert_eq!(receiving.join().unwrap().unwrap(), 8_000_000, "{way}");
        }
    }
}
