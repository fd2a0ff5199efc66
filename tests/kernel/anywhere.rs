//! What holds on every host and by every engine. A root directory with nothing in it but fence, the helper and this program is enough;
//! `ci/matrix/run` runs these on each kernel, in each root, as each user and by each engine.
//!
//! FENCE_TEST_WANT names the engine that must have been picked (`none`: nothing works there), FENCE_TEST_HOST the host that
//! `ci/matrix/run` made of its kernel (`docker`, `ubuntu`), whose cause the report must name.

use crate::harness::{Ran, Who, World, engine, everybody, has};
use crate::need;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::Duration;

const WRITABLE: &str = r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["kept"]}}"#;

/// Which engine makes the sandbox here, or why none does.
fn picked(world: &World) -> Result<String, Ran> {
    let mut words: Vec<OsString> = vec!["plan".into()];
    words.extend(engine().into_iter().flatten());
    words.extend(["--".into(), world.victim().into(), "ids".into()]);
    let ran = world.bare(world.fence(), words);
    let name = ran.out.lines().find_map(|line| line.strip_prefix("engine"));
    match name.map(|name| name.trim().to_owned()) {
        Some(name) if ran.status == 0 => Ok(name),
        _ => Err(ran),
    }
}

/// A world per user, with the engine's name; nobody where no sandbox can be made.
fn each(test: impl Fn(&World, &str)) {
    for who in everybody() {
        let world = World::new(who);
        match picked(&world) {
            Ok(engine) => test(&world, &engine),
            Err(ran) => _ = has("sandbox", false, &format!("none can be made here ({})", ran.err.trim())),
        }
    }
}

fn fenced(world: &World, policy: &str, act: &[&str]) -> Ran {
    let words = std::iter::once(world.victim().into_os_string()).chain(act.iter().map(OsString::from));
    world.fenced(policy, words)
}

/// Acts that are each denied inside, with one of these errnos, and succeed outside in this order. One run of fence for all of them:
/// emulated kernels take a while for each.
#[track_caller]
fn denied(world: &World, policy: &str, acts: &[&[&str]], errnos: &str) {
    let words = [&["acts"], acts.join(&",").as_slice()].concat();
    let ran = fenced(world, policy, &words).ok();
    let answers: Vec<&str> = ran.out.lines().collect();
    assert_eq!(answers.len(), acts.len(), "{ran:?}");
    for (act, answer) in acts.iter().zip(answers) {
        assert!(
            errnos.split(' ').any(|errno| errno == answer),
            "{act:?}: wanted {errnos}, got {answer}: {ran:?}"
        );
    }
    let outside = world.bare(world.victim(), &words).ok();
    assert_eq!(outside.out, "ok\n".repeat(acts.len()), "outside, {acts:?}");
}

#[test]
fn the_engine_is_the_one_that_this_host_allows_and_without_one_nothing_runs() {
    for who in everybody() {
        let world = World::new(who);
        let found = picked(&world);
        let name = found.as_ref().map_or("none", |name| name.as_str());
        let want = std::env::var("FENCE_TEST_WANT").unwrap_or_else(|_| name.to_owned());
        assert_eq!(name, want, "{found:?}");
        let made = world.work().join("made");
        let ran = fenced(&world, WRITABLE, &["create", "made"]);
        match found {
            Ok(_) => assert!(ran.status == 0 && made.exists(), "{ran:?}"),
            Err(_) => {
                assert!(ran.status == 125 && !made.exists(), "{ran:?}");
                assert!(ran.err.contains("cannot make a sandbox on this host"), "{ran:?}");
            }
        }
    }
}

#[test]
fn nothing_is_written_outside() {
    each(|world, _| {
        for policy in ["{}", WRITABLE] {
            let other = world.mkdir(world.root.join("elsewhere"));
            let at = |name: &str| other.join(name).display().to_string();
            world.write(at("old"), "text");
            world.write(at("other"), "text");
            let acts: [&[&str]; 9] = [
                &["append", &at("old")],
                &["truncate", &at("old")],
                &["create", &at("new")],
                &["mkdir", &at("dir")],
                &["symlink", "x", &at("link")],
                &["link", &at("old"), &at("hard")],
                &["chmod", &at("old"), "4755"],
                &["unlink", &at("other")],
                &["rename", &at("old"), "moved"],
            ];
            denied(world, policy, &acts, "EROFS EACCES EPERM EXDEV");
            assert!(world.work().join("moved").exists(), "the control did it");
            fs::remove_file(world.work().join("moved")).unwrap();
            fs::remove_dir_all(other).unwrap();
        }
        let ran = fenced(
            world,
            WRITABLE,
            &["acts", "create", "/etc/fence-was-here", ",", "mkdir", "/fence-was-here"],
        );
        assert!(ran.out.lines().count() == 2 && !ran.out.contains("ok"), "{ran:?}");
        assert!(!Path::new("/fence-was-here").exists() && !Path::new("/etc/fence-was-here").exists());
    });
}

#[test]
fn a_writable_directory_takes_files_and_keeps_what_is_denied_in_it() {
    each(|world, _| {
        world.mkdir("sub");
        world.write("sub/file", "text");
        let policy = r#"{"filesystem": {"allowWrite": ["."]}}"#;
        let acts = "acts create sub/new text , rename sub/new sub/other , append sub/other more , mkdir sub/inner , unlink sub/file";
        let ran = fenced(world, policy, &acts.split(' ').collect::<Vec<_>>()).ok();
        assert_eq!(ran.out, "ok\n".repeat(5));
        assert_eq!(fs::read_to_string(world.work().join("sub/other")).unwrap(), "textmore");
        // Before ABI 2 Landlock lets nothing move from one directory to another.
        if fence::sys::landlock_abi() != 1 {
            fenced(world, policy, &["rename", "sub/other", "sub/inner/other"]).ok();
        }
        world.write("kept", "text");
        denied(world, WRITABLE, &[&["append", "kept"], &["truncate", "kept"]], "EROFS EACCES EPERM");
    });
}

#[test]
fn what_is_denied_is_not_read() {
    let policy = r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["secret", "vault"]}}"#;
    each(|world, _| {
        world.write("secret", "text");
        world.write("vault/key", "text");
        world.write("open", "text");
        let acts: [&[&str]; 4] = [
            &["open-write", "secret"],
            &["link", "secret", "name"],
            &["append", "vault/key"],
            &["rename", "secret", "secret2"],
        ];
        denied(world, policy, &acts, "EACCES EPERM EROFS EXDEV EBUSY ENOENT");
        fs::rename(world.work().join("secret2"), world.work().join("secret")).unwrap();
        for path in ["secret", "vault/key", "/proc/self/cwd/secret"] {
            world.bare(world.victim(), ["read", path]).ok().says("text");
        }
        let words =
            "acts read secret , read vault/key , read /proc/self/cwd/secret".split(' ').collect::<Vec<_>>();
        let ran = fenced(world, policy, &words).ok();
        assert!(ran.out.lines().all(|answer| ["EACCES", "ENOENT"].contains(&answer)), "{ran:?}");
        fenced(world, policy, &["read", "open"]).ok().says("text");
    });
}

#[test]
fn what_listens_on_the_host_is_out_of_reach() {
    const ERRNOS: &str = "ECONNREFUSED EACCES EPERM ENETUNREACH EAFNOSUPPORT ENOENT";
    each(|world, _| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let name = format!("fence-anywhere-{}-{}", std::process::id(), world.who.uid);
        let _named = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let path = world.home().join("socket");
        let _socket = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let address = server.local_addr().unwrap().to_string();
        let acts: [&[&str]; 3] = [
            &["connect-tcp", &address],
            &["connect-abstract", &name],
            &["connect-unix", path.to_str().unwrap()],
        ];
        denied(world, "{}", &acts, ERRNOS);
        assert!(server.accept().is_ok() && server.accept().is_err(), "one connection: the one outside");
    });
}

/// A server that says hello to whoever comes, until the test program ends.
fn greeter() -> u16 {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
            _ = stream.write_all(b"hello from the host\n");
        }
    });
    port
}

#[test]
fn an_allowed_host_is_reached_through_the_proxy_and_no_other() {
    each(|world, engine| {
        let port = greeter();
        let mut text = String::new();
        TcpStream::connect(("127.0.0.1", port)).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello from the host\n");
        let ask = |allowed: &str| {
            let policy = format!(r#"{{"network": {{"allowedDomains": ["{allowed}"]}}}}"#);
            let words = [
                world.fence().into_os_string(),
                "connect".into(),
                "127.0.0.1".into(),
                port.to_string().into(),
            ];
            world.fenced(&policy, words)
        };
        let ran = ask("127.0.0.1");
        // Before 5.9 nothing hands the command's sockets over; that is refused, not half done.
        if engine == "landlock" && ran.status == 125 && ran.err.contains("can't be served here") {
            _ = has("listener", false, ran.err.trim());
            return;
        }
        ran.ok().says("hello from the host");
        ask("192.0.2.1").status(125).says("blocked by network allowlist");
    });
}

#[test]
fn other_processes_are_out_of_reach_or_it_is_said_that_they_are_not() {
    each(|world, engine| {
        let mut other = world.command(world.victim(), ["heartbeat", "60", "beat"]).spawn().unwrap();
        let pid = other.id().to_string();
        let ran = fenced(world, "{}", &["kill", &pid, "0"]);
        if engine == "landlock" && fence::sys::landlock_abi() < 6 {
            assert!(ran.err.contains("send them signals"), "{ran:?}");
        } else {
            assert!(ran.status == 1 && ["EPERM", "ESRCH"].contains(&ran.out.trim()), "{ran:?}");
        }
        world.bare(world.victim(), ["kill", &pid, "0"]).ok();
        let environment = format!("/proc/{pid}/environ");
        world.bare(world.victim(), ["read", &environment]).ok();
        let read = fenced(world, "{}", &["read", &environment]).status(1);
        assert!(["EACCES", "EPERM", "ENOENT", "ESRCH"].contains(&read.out.trim()), "{read:?}");
        other.kill().unwrap();
        other.wait().unwrap();
    });
}

#[test]
fn status_and_signal_come_out_and_no_right_is_gained() {
    each(|world, _| {
        fenced(world, "{}", &["exit", "3"]).status(3);
        fenced(world, "{}", &["raise", "15"]).status(143);
        world.fenced("{}", ["/nowhere/program"]).status(127);
        world.fenced("{}", ["/"]).status(126);
        fenced(world, "{}", &["status"]).ok().says("NoNewPrivs:\t1").says("Seccomp:\t2");
    });
}

#[test]
fn what_is_reduced_is_said_in_one_line() {
    each(|world, engine| {
        let ran = fenced(world, "{}", &["ids"]).ok();
        let lines: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("fence: ")).collect();
        match engine {
            "landlock" => {
                assert!(lines.len() == 1 && lines[0].contains("Landlock and seccomp alone hold"), "{ran:?}");
            }
            "native" if fence::sys::landlock_abi() == 0 => {
                assert!(lines.len() == 1 && lines[0].contains("Landlock is missing"), "{ran:?}");
            }
            "native" => assert!(ran.err.is_empty(), "{ran:?}"),
            // Of bubblewrap a line for root, and one where Landlock is missing.
            _ => assert!(lines.len() <= 2 && lines.len() == ran.err.lines().count(), "{ran:?}"),
        }
    });
}

#[test]
fn the_report_names_the_engine_and_what_stands_in_the_way() {
    for Who { uid } in everybody() {
        let world = World::new(Who { uid });
        let text = world.bare(world.fence(), ["--linux-features"]).ok().out;
        let (kernel, abi) = (rustix::system::uname(), fence::sys::landlock_abi());
        let release = kernel.release().to_string_lossy();
        let short: Vec<&str> = release.splitn(3, ['.', '-']).take(2).collect();
        assert!(text.contains(&format!("\n  Kernel: {}\n", short.join("."))), "{text}");
        assert!(text.contains(&format!("\n  Landlock: {} (ABI v{abi})\n", abi > 0)), "{text}");
        // What `auto` picks, which is not what the tests were told to use.
        let found = world.run(["plan", "--", "/"]);
        let name = found.out.lines().find_map(|line| line.strip_prefix("engine")).map(str::trim);
        match name {
            Some(name) => assert!(text.contains(&format!("✓ Minimum requirements met ({name})\n")), "{text}"),
            None => assert!(text.contains("✗ Missing requirements: "), "{text}"),
        }
        match std::env::var("FENCE_TEST_HOST").as_deref() {
            Ok("docker") => {
                assert!(
                    text.contains("a seccomp filter around fence forbids it, as a container's"),
                    "{text}"
                );
                assert!(text.contains("--security-opt seccomp=unconfined"), "{text}");
            }
            // Root is not what Ubuntu restricts.
            Ok("ubuntu") if uid != 0 => {
                assert!(text.contains("AppArmor takes the rights of unprivileged user namespaces"), "{text}");
                let profile = format!("profile fence \"{}\"", world.fence().display());
                assert!(text.contains(&profile) && text.contains("\n  userns,\n"), "{text}");
            }
            _ => {}
        }
    }
}

#[test]
fn a_shell_runs_and_its_touch_is_denied() {
    need!(program "sh");
    each(|world, _| {
        let line = "echo ok; touch /etc/x";
        let ran = world.run(["--", "sh", "-c", line]).status(1);
        assert!(ran.out == "ok\n" && !Path::new("/etc/x").exists(), "{ran:?}");
        assert!(
            ran.err.contains("Read-only file system") || ran.err.contains("Permission denied"),
            "{ran:?}"
        );
        world.run(["--", "sh", "-c", "echo x >$TMPDIR/x && cat $TMPDIR/x"]).ok().says("x");
    });
}

#[test]
fn python_connects_to_no_port_of_the_host() {
    need!(program "python3");
    each(|world, _| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let line = format!("import socket; socket.create_connection(('127.0.0.1', {port}))");
        world.bare("python3", ["-c", &line]).ok();
        server.set_nonblocking(true).unwrap();
        assert!(server.accept().is_ok());
        let ran = world.fenced("{}", ["python3", "-c", &line]).status(1);
        let errors = ["Connection refused", "Permission denied", "Network is unreachable", "not supported"];
        assert!(errors.iter().any(|error| ran.err.contains(error)), "{ran:?}");
        assert!(server.accept().is_err(), "a connection from inside");
    });
}
