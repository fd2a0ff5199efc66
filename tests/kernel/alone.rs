//! The engine `landlock`: no namespaces, as in a default container. What it must hold by itself, and what it says.

use crate::harness::{Ran, World, everybody};
use crate::need;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const WRITABLE: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

/// Runs a command by the engine `landlock`.
fn alone(world: &World, policy: &str, command: &[&str]) -> Command {
    let mut engine: Vec<OsString> = ["--engine", "landlock", "-s"].iter().map(OsString::from).collect();
    let file = world.write(format!("../policy-{}.json", policy.len()), policy);
    engine.extend([file.into_os_string(), "--".into()]);
    engine.extend(command.iter().map(OsString::from));
    world.command(world.fence(), engine)
}

fn ran(world: &World, policy: &str, command: &[&str]) -> Ran {
    Ran::of(alone(world, policy, command))
}

/// An act that works outside and is refused inside, with this errno.
#[track_caller]
fn refused(world: &World, policy: &str, act: &[&str], errno: &str) {
    let victim = world.victim();
    world.bare(&victim, act).ok();
    let inside: Vec<&str> = [victim.to_str().unwrap()].iter().chain(act).copied().collect();
    assert_eq!(ran(world, policy, &inside).status(1).out.trim(), errno, "{act:?}");
}

#[test]
fn files_are_written_where_it_is_allowed_and_read_where_it_is_not_denied() {
    need!(landlock >= 1);
    for who in everybody() {
        let world = World::new(who);
        let line = "echo x > new && mkdir -p a/b && mv new a/new && cat a/new && rm -r a && touch $TMPDIR/x && mktemp";
        let said = ran(&world, WRITABLE, &["sh", "-c", line]).ok();
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
        said.says("Landlock and seccomp alone hold the command");
        let other = world.mkdir(world.root.join("other"));
        let place = other.join("file").display().to_string();
        world.write(&place, "text");
        refused(&world, WRITABLE, &["append", &place], "EACCES");
        for act in [
            "chmod 4755 old",
            "ln -s x ../other/link",
            "mkdir ../other/dir",
            "mv old ../other/",
            "ln old ../other/",
        ] {
            world.write("old", "text");
            assert_ne!(ran(&world, WRITABLE, &["sh", "-c", act]).status, 0, "{act}");
        }
        assert!(fs::read_dir(&other).unwrap().all(|entry| entry.unwrap().file_name() == "file"));
    }
}

#[test]
fn what_stands_beside_a_denial_is_all_that_shows() {
    need!(landlock >= 1);
    for who in everybody() {
        let world = World::new(who);
        for file in ["../home/.ssh/id", "../home/notes", "keep/key", "keep/open", "src/file"] {
            world.write(file, "text");
        }
        let policy = r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["~/.ssh", "keep/key"], "denyWrite": ["src/file"]}}"#;
        let shows =
            ran(&world, policy, &["sh", "-c", "cat ~/notes keep/open src/file && echo x >> keep/open"]);
        shows.ok().says("directly in").says("texttexttext");
        let home = world.home().display().to_string();
        refused(&world, policy, &["read", &format!("{home}/.ssh/id")], "EACCES");
        refused(&world, policy, &["list", &format!("{home}/.ssh")], "EACCES");
        refused(&world, policy, &["read", "keep/key"], "EACCES");
        refused(&world, policy, &["append", "src/file"], "EACCES");
        // The files' places: what would be the same act under another name.
        for act in [
            "mv keep keep2 && cat keep2/key",
            "mv keep/key open && cat open",
            "ln keep/key open && cat open",
            "cp keep/key open",
            "mv src src2 && mkdir src && echo evil > src/file",
            "rm -f src/file && test ! -e src/file",
            "echo evil > n && mv -f n src/file",
            "cat /proc/self/cwd/keep/key",
            "cat /proc/self/root$PWD/keep/key",
        ] {
            assert_ne!(ran(&world, policy, &["sh", "-c", act]).status, 0, "{act}");
        }
        // Once by the control of `append`, outside.
        assert_eq!(fs::read_to_string(world.work().join("src/file")).unwrap().matches("evil").count(), 0);
    }
}

/// Landlock goes by the file, so what one name gives holds for the others.
#[test]
fn another_name_beside_a_denied_file_opens_nothing() {
    need!(landlock >= 1);
    for who in everybody() {
        let world = World::new(who);
        world.write("key", "text");
        world.write("kept", "text");
        world.write("open", "text");
        for (file, beside) in [("key", "copy"), ("kept", "other"), ("key", "sub/named"), ("open", "open2")] {
            world.mkdir("sub");
            fs::hard_link(world.work().join(file), world.work().join(beside)).unwrap();
        }
        let policy = r#"{"filesystem": {"allowRead": ["sub/named"], "allowWrite": [".", "open2"], "denyRead": ["key"], "denyWrite": ["kept"]}}"#;
        for path in ["key", "copy"] {
            refused(&world, policy, &["read", path], "EACCES");
        }
        for path in ["kept", "other"] {
            ran(&world, policy, &["cat", path]).ok().says("text");
            refused(&world, policy, &["append", path], "EACCES");
        }
        ran(&world, policy, &["sh", "-c", "echo more >> open; cat open2"]).ok().says("more");
    }
}

#[test]
fn the_places_that_would_be_private_are_hidden() {
    need!(landlock >= 1);
    for who in everybody() {
        let world = World::new(who);
        let secret = std::env::temp_dir().join(format!("fence-alone-{}-{}", std::process::id(), who.uid));
        fs::write(&secret, "KEY").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        // As a word of the command it would be shown.
        let line = format!("cat {}", secret.display());
        world.bare("sh", ["-c", &line]).ok().says("KEY");
        let hidden = ran(&world, "{}", &["sh", "-c", &line]);
        fs::remove_file(&secret).unwrap();
        hidden.status(1).says("Permission denied");
        let tmp = ran(&world, "{}", &["sh", "-c", "echo $TMPDIR; test -w $TMPDIR"]).ok().out;
        assert!(!std::path::Path::new(tmp.trim()).exists(), "{tmp} is left");
    }
}

#[test]
fn nothing_of_the_network_is_left() {
    need!(landlock >= 1);
    need!(listener);
    for who in everybody() {
        let world = World::new(who);
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        refused(&world, "{}", &["connect-tcp", &server.local_addr().unwrap().to_string()], "EACCES");
        for act in [["2", "1", "262"], ["2", "2", "0"], ["10", "2", "0"], ["16", "3", "9"], ["40", "1", "0"]]
        {
            let victim = world.victim();
            let act = [victim.to_str().unwrap(), "socket", act[0], act[1], act[2]];
            assert_eq!(ran(&world, "{}", &act).status(1).out, "EAFNOSUPPORT\n", "{act:?}");
        }
        let path = world.work().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        refused(&world, "{}", &["connect-unix", path.to_str().unwrap()], "EACCES");
        drop(listener);
        let victim = world.victim();
        let listens = [victim.to_str().unwrap(), "connect-tcp", "127.0.0.1:1"];
        let policy = r#"{"network": {"allowedDomains": ["*"]}}"#;
        assert_eq!(ran(&world, policy, &listens).status(1).out, "ECONNREFUSED\n");
    }
}

#[test]
fn other_processes_are_out_of_reach() {
    need!(landlock >= 6);
    for who in everybody() {
        let world = World::new(who);
        let mut other = world.command("sleep", ["60"]).env("SECRET", "KEY").spawn().unwrap();
        let pid = other.id().to_string();
        refused(&world, "{}", &["kill", &pid, "0"], "EPERM");
        for line in [
            format!("cat /proc/{pid}/environ"),
            format!("cat /proc/{pid}/maps"),
            format!("ls /proc/{pid}/root/"),
        ] {
            world.bare("sh", ["-c", &line]).ok();
            assert_ne!(ran(&world, "{}", &["sh", "-c", &line]).status, 0, "{line}");
        }
        let limit = format!("prlimit --pid {pid} --nofile=10:10");
        assert_ne!(ran(&world, "{}", &["sh", "-c", &limit]).status, 0);
        // The processes of fence itself.
        for act in ["kill -9 $PPID", "cat /proc/$PPID/environ"] {
            let ran =
                ran(&world, "{}", &["bash", "-c", &format!("{act} 2>/dev/null && echo WORKS; echo END")]);
            assert!(!ran.out.contains("WORKS"), "{act}: {ran:?}");
        }
        // These end at most what is inside; this test and its group live.
        for act in ["kill -9 0", "kill -9 -1"] {
            _ = ran(&world, "{}", &["sh", "-c", act]);
            assert!(other.try_wait().unwrap().is_none(), "{act}");
        }
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

#[test]
fn modes_that_have_an_effect_outside_and_attributes_are_refused() {
    need!(landlock >= 1);
    for who in everybody() {
        let world = World::new(who);
        world.write("file", "text");
        refused(&world, WRITABLE, &["chmod", "file", "4755"], "EPERM");
        ran(&world, WRITABLE, &["chmod", "700", "file"]).ok();
        // FS_IOC_SETFLAGS asks for a descriptor for reading only. Outside it gets as far as the missing argument.
        let line = format!("exec 3<file; exec {} ioctl 3 0x40086602", world.victim().display());
        assert_eq!(world.bare("sh", ["-c", &line]).status(1).out, "EFAULT\n");
        assert_eq!(ran(&world, WRITABLE, &["sh", "-c", &line]).status(1).out, "EOPNOTSUPP\n");
        if who.uid == 0 {
            refused(&world, WRITABLE, &["chown", "file", "1"], "EPERM");
        }
    }
}

/// Descendants of the launcher are told by a file that one of them goes on writing to.
fn beats(world: &World) -> u64 {
    fs::metadata(world.work().join("beat")).map_or(0, |meta| meta.len())
}

fn all_dead(world: &World) {
    std::thread::sleep(Duration::from_millis(50));
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let before = beats(world);
        std::thread::sleep(Duration::from_millis(150));
        if beats(world) == before {
            return;
        }
        assert!(Instant::now() < end, "something is alive");
    }
}

fn beating(world: &World) -> Child {
    _ = fs::remove_file(world.work().join("beat"));
    let script = "$VICTIM daemon 60 beat; setsid $VICTIM daemon 60 beat; exec $VICTIM heartbeat 60 beat";
    let mut command = alone(world, WRITABLE, &["sh", "-c", script]);
    let child = command.env("VICTIM", world.victim()).env("TMPDIR", world.mkdir("../tmp")).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while beats(world) < 20 {
        assert!(Instant::now() < end, "no heartbeat");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn guardian(launcher: &Child) -> u32 {
    let list = fs::read_to_string(format!("/proc/{0}/task/{0}/children", launcher.id())).unwrap();
    list.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn nothing_survives_the_end_or_the_death_of_either_guardian() {
    need!(landlock >= 1);
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim();
        let scratch = world.mkdir("../tmp");
        let mut command = alone(
            &world,
            WRITABLE,
            &["sh", "-c", "$VICTIM daemon 60 beat; until test -s beat; do :; done; exit 3"],
        );
        Ran::of(command.env("VICTIM", &victim).env("TMPDIR", &scratch)).status(3);
        all_dead(&world);

        let mut launcher = beating(&world);
        kill(launcher.id());
        launcher.wait().unwrap();
        all_dead(&world);

        let mut launcher = beating(&world);
        kill(guardian(&launcher));
        assert_eq!(launcher.wait().unwrap().code(), Some(137));
        all_dead(&world);
        assert_eq!(fs::read_dir(scratch).unwrap().count(), 0);
    }
}

#[test]
fn a_process_that_goes_on_forking_ends_too() {
    need!(landlock >= 1);
    for who in everybody() {
        let world = World::new(who);
        // Each generation lives for a moment only.
        let script = "f() { echo x >> beat; ( f & ) ; }; f; sleep 0.3; exit 5";
        ran(&world, WRITABLE, &["sh", "-c", script]).status(5);
        all_dead(&world);
    }
}

#[test]
fn layers_that_are_not_there_can_be_required() {
    need!(landlock >= 1);
    let world = World::new(everybody()[0]);
    for layer in ["userns", "netns", "pidns"] {
        let ran = world.run(["--engine", "landlock", "--require", layer, "--", "true"]).status(125);
        ran.says("cannot start without a layer that --require names").says(layer);
    }
    world.run(["--engine", "landlock", "--require", "seccomp,landlock", "--", "true"]).ok();
}
