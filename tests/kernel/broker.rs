//! Without a network namespace: fence makes the command's sockets and connects them, to its proxies and to sockets of the
//! command's own. Each attack reaches its goal outside the sandbox and not inside.

use crate::harness::{Ran, World, everybody};
use crate::need;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

/// What the scripts share: a call by its number of the C library, with the errno's name as the answer.
const START: &str = "
import ctypes, errno, os, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *words):
    return 'ok' if getattr(libc, name)(*words) >= 0 else errno.errorcode[ctypes.get_errno()]
def internet(port, host='127.0.0.1'):
    return struct.pack('=HH4s8x', socket.AF_INET, socket.htons(port), socket.inet_aton(host))
def tried(f):
    try:
        f()
        return 'ok'
    except OSError as e:
        return errno.errorcode[e.errno]
def proxy():
    return int(os.environ['HTTP_PROXY'].rsplit(':', 1)[1])
";

/// Runs a test as everybody, where fence can answer the filter's questions.
fn each(test: impl Fn(&World)) {
    need!(listener);
    need!(program "python3");
    for who in everybody() {
        test(&World::new(who));
    }
}

/// Runs a Python script by the engine `landlock`.
fn inside(world: &World, policy: &str, script: &str, words: &[&str]) -> Ran {
    let policy = world.write(format!("../policy-{}.json", policy.len()), policy);
    let script = format!("{START}\n{script}");
    let flags =
        ["--engine", "landlock", "-s", policy.to_str().unwrap(), "--", "/usr/bin/python3", "-c", &script];
    world.run(flags.iter().chain(words))
}

fn outside(world: &World, script: &str, words: &[&str]) -> Ran {
    let script = format!("{START}\n{script}");
    world.bare("/usr/bin/python3", ["-c", &script].iter().chain(words))
}

const WRITABLE: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

/// Connections that a server has got.
fn arrived(server: &TcpListener) -> usize {
    server.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| server.accept().ok()).count()
}

#[test]
fn tcp_reaches_the_proxies_and_nothing_else() {
    each(|world| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port().to_string();
        let script = "
port = int(sys.argv[1])
to = lambda host, port, family=socket.AF_INET: tried(lambda: socket.socket(family).connect((host, port)))
print(to('127.0.0.1', port), to('::ffff:127.0.0.1', port, socket.AF_INET6), to('0.0.0.0', port))";
        outside(world, script, &[&port]).ok().says("ok ok ok");
        assert_eq!(arrived(&server), 3);
        inside(world, WRITABLE, script, &[&port]).ok().says("EACCES EACCES EACCES");
        let script = "
port = proxy()
to = lambda host: tried(lambda: socket.create_connection((host, port), 2))
print(to('127.0.0.1'), to('127.0.0.2'), to('10.255.255.1'), to('::1'))
a = socket.socket(); b = socket.socket(fileno=os.dup(a.fileno())); a.setblocking(False)
print(tried(lambda: b.connect(('127.0.0.1', port))) in ('ok', 'EINPROGRESS'))
time.sleep(0.2); print(a.getpeername()[1] == port, tried(lambda: a.connect(('127.0.0.1', port))))
print(all(tried(lambda: socket.create_connection(('127.0.0.1', port), 5)) == 'ok' for _ in range(300)))";
        let ran = inside(world, WRITABLE, script, &[]).ok();
        assert_eq!(ran.out, "ok EACCES EACCES ECONNREFUSED\nTrue\nTrue EISCONN\nTrue\n", "{}", ran.err);
        assert_eq!(arrived(&server), 0);
    });
}

#[test]
fn no_socket_of_another_kind_and_no_way_to_listen() {
    each(|world| {
        let script = "
def kind(*words): return tried(lambda: socket.socket(*words))
print(kind(2, 2, 0), kind(2, 1, 262), kind(2, 1, 132), kind(10, 2, 17), kind(1, 2, 0), kind(17, 3, 0), kind(40, 1, 0), kind(16, 3, 9))
s = socket.socket(); print(tried(s.listen), tried(lambda: s.bind(('0.0.0.0', 0))), tried(s.listen))
print(tried(lambda: socket.socket().bind(('127.0.0.1', 45678))))
s = socket.create_connection(('127.0.0.1', proxy()))
print(call('connect', s.fileno(), struct.pack('=H14x', 0), 16), tried(s.listen))
print(tried(lambda: socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', proxy()))))
print(socket.if_nameindex() != [])";
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port().to_string();
        let control = "
print(tried(lambda: socket.socket(2, 2, 0)), tried(lambda: socket.socket(1, 2, 0)), tried(socket.socket().listen))
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
print(call('connect', s.fileno(), struct.pack('=H14x', 0), 16), tried(s.listen))";
        assert_eq!(outside(world, control, &[&port]).ok().out, "ok ok ok\nok ok\n");
        let none = "EAFNOSUPPORT ".repeat(8);
        let ran = inside(world, WRITABLE, script, &[]).ok();
        assert_eq!(
            ran.out,
            format!("{}\nEACCES ok EACCES\nEACCES\nEISCONN EINVAL\nENOTSUP\nTrue\n", none.trim_end()),
            "{}",
            ran.err
        );
        let listens = "
s = socket.socket(); s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); print('listens')
c = socket.socket(); print(tried(lambda: c.connect(s.getsockname())))";
        let binding = r#"{"network": {"allowLocalBinding": true}}"#;
        // Listening is allowed, connecting to other ports of the host is not.
        inside(world, binding, listens, &["0"]).ok().says("listens\nEACCES");
        let script = format!("{START}\n{listens}");
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port().to_string()
        };
        let flags = ["--engine", "landlock", "-p", &port, "--", "/usr/bin/python3", "-c", &script];
        world.run(flags.iter().chain(&[port.as_str()])).ok().says("listens");
        let everywhere = format!("0.0.0.0:{port}");
        world.run(["--engine", "landlock", "-p", &everywhere, "--", "true"]).status(125).says("--port");
    });
}

#[test]
fn an_address_that_changes_after_the_look_is_not_connected_to() {
    each(|world| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port().to_string();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let script = "
good = socket.socket(); good.bind(('127.0.0.1', 0))
good = internet(proxy() if 'FENCE_SANDBOX' in os.environ else good.getsockname()[1])
bad = internet(int(sys.argv[1]))
memory = ctypes.create_string_buffer(good, 16)
def flip():
    while True:
        for memory[:16] in (bad, good): pass
threading.Thread(target=flip, daemon=True).start()
end = time.time() + 3; tries = 0
while time.time() < end:
    s = socket.socket(); libc.connect(s.fileno(), memory, 16); s.close(); tries += 1
print(tries > 50)";
        let arrive = |run: &dyn Fn() -> Ran| {
            stop.store(false, std::sync::atomic::Ordering::Relaxed);
            std::thread::scope(|scope| {
                let count = scope.spawn(|| {
                    let mut count = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        count += arrived(&server);
                        std::thread::sleep(std::time::Duration::from_millis(5));
                    }
                    count + arrived(&server)
                });
                run().ok().says("True");
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                count.join().unwrap()
            })
        };
        assert!(arrive(&|| outside(world, script, &[&port])) > 0, "the control");
        assert_eq!(arrive(&|| inside(world, WRITABLE, script, &[&port])), 0);
    });
}

#[test]
fn unix_sockets_of_the_command_work_and_those_of_the_host_do_not() {
    each(|world| {
        // As tmux and ssh-agent have them: in a place that the command can write to.
        let path = world.work().join("agent");
        let server = UnixListener::bind(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(world.who.uid), Some(world.who.uid)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        server.set_nonblocking(true).unwrap();
        let arrived = || std::iter::from_fn(|| server.accept().ok()).count();
        let script = "
def to(path): return tried(lambda: socket.socket(socket.AF_UNIX).connect(path))
l = socket.socket(socket.AF_UNIX); l.bind('own'); l.listen(); print(to('own'), to(os.path.abspath('own')))
c = socket.socket(socket.AF_UNIX); c.connect('own'); c.send(b'x')
for _ in range(3): a = l.accept()[0]
print(a.recv(2))
print(to('agent'), to('/proc/self/cwd/agent'))
os.link('agent', 'linked'); print(to('linked')); os.symlink('agent', 'way'); print(to('way'))
os.rename('agent', 'moved'); print(to('moved')); os.rename('moved', 'agent')
os.unlink('linked'); os.unlink('way'); os.unlink('own')
print(to('\\0abstract'), to('missing'), to('.'))
def name(as_what): return tried(lambda: socket.socket(socket.AF_UNIX).bind(as_what))
print(name(f'\\0fence-{os.getpid()}'), name(''))
a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1), tried(lambda: socket.socketpair(type=socket.SOCK_DGRAM)))";
        let ran = outside(world, script, &[]).ok();
        assert!(
            ran.out.contains("ok ok\nok\nok\nok\n") && ran.out.contains("ECONNREFUSED\nok ok\n"),
            "{ran:?}"
        );
        assert_eq!(arrived(), 5, "the control");
        let ran = inside(world, WRITABLE, script, &[]).ok();
        assert_eq!(
            ran.out,
            "ok ok\nb'x'\nEACCES EACCES\nEACCES\nEACCES\nEACCES\nEACCES ENOENT ECONNREFUSED\nEACCES EACCES\nb'x' EAFNOSUPPORT\n",
            "{}",
            ran.err
        );
        assert_eq!(arrived(), 0);
        for listed in ["./agent", ".", "./a*t"] {
            let listed = format!(r#"{{"network": {{"allowUnixSockets": ["{listed}"]}}}}"#);
            let script = "print(tried(lambda: socket.socket(socket.AF_UNIX).connect('agent')))";
            inside(world, &listed, script, &[]).ok().says("ok");
            assert_eq!(arrived(), 1);
        }
    });
}

#[test]
fn a_path_that_changes_after_the_look_is_not_connected_to() {
    each(|world| {
        let path = world.root.join("host.sock");
        let server = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        server.set_nonblocking(true).unwrap();
        let arrived = || std::iter::from_fn(|| server.accept().ok()).count();
        let script = "
l = socket.socket(socket.AF_UNIX); l.bind('own'); l.listen(512)
def flip():
    while True:
        for to in ('own', sys.argv[1]):
            try: os.symlink(to, 'next'); os.rename('next', 'way')
            except OSError: pass
threading.Thread(target=flip, daemon=True).start()
def drain():
    while True: l.accept()[0].close()
threading.Thread(target=drain, daemon=True).start()
end = time.time() + 2; got = set()
while time.time() < end:
    got.add(tried(lambda: socket.socket(socket.AF_UNIX).connect('way')))
print('ok' in got, flush=True)
os._exit(0)";
        let path = path.to_str().unwrap();
        // Somebody accepts all the time: a connect to a socket whose queue is full waits for ever.
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let count = scope.spawn(|| {
                let mut count = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    count += arrived();
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                count + arrived()
            });
            outside(world, script, &[path]);
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(count.join().unwrap() > 0, "the control");
        });
        world.bare("rm", ["-f", "own", "way", "next"]).ok();
        inside(world, WRITABLE, script, &[path]).ok().says("True");
        assert_eq!(arrived(), 0);
    });
}

#[test]
fn the_proxies_serve_nobody_but_the_command() {
    each(|world| {
        let script = "
def ask(head):
    s = socket.create_connection(('127.0.0.1', proxy())); s.sendall(head); return s.recv(100).split(b' ')[1]
print(ask(b'GET http://example.com/ HTTP/1.1\\r\\nHost: example.com\\r\\n\\r\\n'))
open('port', 'w').write(str(proxy())); time.sleep(1)";
        let policy = world.write("../policy.json", WRITABLE);
        let script = format!("{START}\n{script}");
        let flags =
            ["--engine", "landlock", "-s", policy.to_str().unwrap(), "--", "/usr/bin/python3", "-c", &script];
        let mut child =
            world.command(world.fence(), flags).stdout(std::process::Stdio::piped()).spawn().unwrap();
        // Another user of the host finds the port, and no more.
        let port = (0..200).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            std::fs::read_to_string(world.work().join("port")).ok().filter(|port| !port.is_empty())
        });
        let mut other = std::net::TcpStream::connect(format!("127.0.0.1:{}", port.unwrap())).unwrap();
        std::io::Write::write_all(&mut other, b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = [0; 12];
        other.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 407");
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        child.wait().unwrap();
        // The command's own connection is known: what it is told is that the host is not allowed.
        assert_eq!(out, "b'403'\n");
    });
}
