//! The engine `bwrap`: bubblewrap makes the namespaces and mounts. What must hold there, and what it says when it can't.
//! `FENCE_TEST_ENGINE=bwrap` runs all other tests by it too; what it can't do is in ARCHITECTURE.md.

use crate::harness::{Ran, World, everybody};
use crate::need;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

const RULES: &str =
    r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["secret", "hidden"], "denyWrite": ["kept"]}}"#;

/// Runs a command by the engine `bwrap`.
fn fenced(world: &World, policy: &str, command: &[&str]) -> Command {
    let file = world.write(format!("../policy-{}.json", policy.len()), policy);
    let mut words: Vec<OsString> = ["--engine", "bwrap", "-s"].iter().map(OsString::from).collect();
    words.extend([file.into_os_string(), "--".into()]);
    words.extend(command.iter().map(OsString::from));
    world.command(world.fence(), words)
}

fn ran(world: &World, policy: &str, command: &[&str]) -> Ran {
    Ran::of(fenced(world, policy, command))
}

/// A program named bwrap in the world's own directory, first on PATH.
fn with_bwrap(world: &World, mut command: Command) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", world.root.join("bin").display()));
    command
}

#[test]
fn files_and_sockets_and_ports_are_held_as_in_namespaces_of_our_own() {
    need!(userns);
    need!(program "bwrap");
    for who in everybody() {
        let world = World::new(who);
        for name in ["secret", "kept", "open", "hidden/inner"] {
            world.write(name, "text\n");
        }
        let socket = world.home().join("agent.sock");
        let _server = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap().to_string();
        let outside = world.root.join("bin/made").display().to_string();
        let victim = world.victim().display().to_string();
        world.bare("chmod", ["777", world.root.join("bin").to_str().unwrap()]);
        let socket = socket.display().to_string();
        for (act, errnos) in [
            (["read", "secret"], "EACCES"),
            (["append", "kept"], "EROFS"),
            (["append", "/etc/hostname"], "EROFS EACCES"),
            (["create", &outside], "EROFS EACCES"),
            (["read", "hidden/inner"], "ENOENT"),
            (["connect-unix", &socket], "ECONNREFUSED EACCES"),
            (["connect-tcp", &address], "ECONNREFUSED"),
        ] {
            let answer = ran(&world, RULES, &[&victim, act[0], act[1]]);
            assert!(
                answer.status == 1 && errnos.split(' ').any(|e| answer.out.contains(e)),
                "{act:?}: {answer:?}"
            );
            if !act[1].starts_with("/etc") {
                world.bare(&victim, act).ok();
            }
        }
        let line = "echo x >new && cat new open && touch /tmp/t /dev/shm/t && test $(ls /proc | grep -c '^[0-9]') -lt 8";
        ran(&world, RULES, &["sh", "-c", line]).ok().says("x\ntext");
        assert_eq!(fs::read_to_string(world.work().join("new")).unwrap(), "x\n");
        ran(&world, "{}", &[&victim, "status"]).ok().says("NoNewPrivs:\t1").says("Seccomp:\t2");
    }
}

#[test]
fn the_command_s_own_status_and_streams_come_out() {
    need!(userns);
    need!(program "bwrap");
    for who in everybody() {
        let world = World::new(who);
        ran(&world, "{}", &["sh", "-c", "exit 7"]).status(7);
        ran(&world, "{}", &["sh", "-c", "kill -9 $$"]).status(137);
        ran(&world, "{}", &["/nowhere"]).status(127).says("cannot run /nowhere");
        let mut command = fenced(&world, "{}", &["sh", "-c", "cat; echo err >&2"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"in").unwrap();
        let ran = Ran::new(child.wait_with_output().unwrap()).ok();
        assert!(ran.out == "in" && ran.err.ends_with("err\n"), "{ran:?}");
        // A signal to fence reaches the command.
        let script = "trap 'echo got; exit 3' TERM; echo up; while :; do sleep 0.05; done";
        let mut child = fenced(&world, "{}", &["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        std::io::BufRead::read_line(&mut out, &mut text).unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        assert_eq!((child.wait().unwrap().code(), text.as_str()), (Some(3), "up\ngot\n"));
    }
}

#[test]
fn nothing_survives_fence() {
    need!(userns);
    need!(program "bwrap");
    for who in everybody() {
        let world = World::new(who);
        let script = "echo up; (sleep 600 &) ; sleep 600";
        let mut child = fenced(&world, "{}", &["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut String::new()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // Ends when nobody holds the other end of the pipe.
        std::io::Read::read_to_string(&mut out, &mut String::new()).unwrap();
    }
}

#[test]
fn what_bubblewrap_can_not_do_stops_the_run() {
    need!(userns);
    need!(program "bwrap");
    let world = World::new(*everybody().last().unwrap());
    // A link that has to stay: only namespaces of our own can hold it.
    std::os::unix::fs::symlink("elsewhere", world.work().join("link")).unwrap();
    world.write("elsewhere", "text");
    let rules = r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["link"]}}"#;
    ran(&world, rules, &["true"])
        .status(125)
        .says("bubblewrap: it can't keep the symbolic link")
        .says("/link");
    // What it says itself is in our sentence, once.
    let broken = world.write("../bin/bwrap", "#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1\n");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let said = Ran::of(with_bwrap(&world, fenced(&world, "{}", &["true"]))).status(125);
    assert_eq!(said.err.matches("bwrap: No permissions").count(), 1, "{said:?}");
    said.says("fence: bubblewrap cannot make the sandbox: bwrap: No permissions");
    // One that the command could have put there, and one that is only found from here.
    let writable = r#"{"filesystem": {"allowWrite": ["../bin"]}}"#;
    Ran::of(with_bwrap(&world, fenced(&world, writable, &["true"])))
        .status(125)
        .says("the command may write to")
        .says("bin/bwrap");
    let mut relative = fenced(&world, "{}", &["true"]);
    relative.env("PATH", "../bin:").current_dir(world.work());
    Ran::of(relative).status(125).says("there is no bwrap on PATH");
    let mut without = fenced(&world, "{}", &["true"]);
    without.env("PATH", world.home());
    Ran::of(without).status(125).says("there is no bwrap on PATH");
    // A word that is for fence itself.
    world.bare(world.fence(), ["--bwrap-stage", "0"]).status(125).says("cannot read the plan");
}

#[test]
fn a_set_user_id_bubblewrap_is_said_and_can_be_refused() {
    need!(root);
    need!(program "bwrap");
    let world = World::new(*everybody().last().unwrap());
    let path = std::env::var_os("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|dir| dir.join("bwrap")).find(|path| path.exists()).unwrap();
    let copy = world.root.join("bin/bwrap");
    assert!(Command::new("cp").args([&real, &copy]).status().unwrap().success());
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    Ran::of(with_bwrap(&world, fenced(&world, "{}", &["true"]))).ok().says("set-user-ID root here");
    for layers in ["userns", "all"] {
        let mut command =
            world.command(world.fence(), ["--engine", "bwrap", "--require", layers, "--", "true"]);
        command.arg("x");
        let said = Ran::of(with_bwrap(&world, command)).status(125);
        assert!(said.err.contains("--require") || layers == "all", "{said:?}");
        if layers == "userns" {
            said.says("bwrap is set-user-ID root and makes none");
        }
    }
}

/// What is hidden by name and gone by then would stop bubblewrap: fence looks again.
#[test]
fn a_socket_that_goes_away_meanwhile_does_not_stop_the_run() {
    need!(userns);
    need!(program "bwrap");
    let world = World::new(*everybody().last().unwrap());
    let path = std::env::var_os("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|dir| dir.join("bwrap")).find(|path| path.exists()).unwrap();
    let socket = world.work().join("s");
    let _listener = UnixListener::bind(&socket).unwrap();
    let script = format!("#!/bin/sh\nrm -f {}\nexec {} \"$@\"\n", socket.display(), real.display());
    let first = world.write("../bin/bwrap", script);
    fs::set_permissions(&first, fs::Permissions::from_mode(0o755)).unwrap();
    let run = fenced(&world, "{}", &["sh", "-c", "echo run"]);
    assert_eq!(Ran::of(with_bwrap(&world, run)).ok().out, "run\n");
    assert!(!socket.exists());
}
