//! The order of the engines where a host refuses one after the other: native, bwrap, landlock, none. The host is a user
//! namespace of the test's own in which no more user namespaces may be made (`user.max_user_namespaces` there is 0); a
//! set-user-ID bwrap needs none.

use crate::harness::{Ran, USER, Who, World, everybody};
use crate::need;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};

struct Host {
    world: World,
    /// The only bwrap on PATH, where there is one.
    bin: std::path::PathBuf,
}

/// How bwrap is installed.
#[derive(Clone, Copy, PartialEq)]
enum Bwrap {
    Missing,
    Plain,
    SetUserId,
}

impl Host {
    fn new(bwrap: Bwrap) -> Host {
        let world = World::new(Who { uid: USER });
        let bin = world.mkdir("../path");
        let path = std::env::var_os("PATH").unwrap();
        for dir in std::env::split_paths(&path) {
            let found = dir.join("bwrap");
            if found.exists() && bwrap != Bwrap::Missing {
                let copied = Command::new("cp").args([&found, &bin.join("bwrap")]).status().unwrap();
                assert!(copied.success());
                break;
            }
        }
        if bwrap == Bwrap::SetUserId {
            chown(bin.join("bwrap"), Some(0), Some(0)).unwrap();
            fs::set_permissions(bin.join("bwrap"), fs::Permissions::from_mode(0o4755)).unwrap();
        }
        Host { world, bin }
    }

    /// `BEFORE fence FLAGS -- sh -c LINE` by an ordinary user there.
    fn run(&self, before: &[&str], flags: &[&str], line: &str) -> Ran {
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "sh"]).arg(&self.bin).arg(self.world.victim()).args(before);
        command.arg(self.world.fence()).args(flags).args(["--", "/bin/sh", "-c", line]);
        command.current_dir(self.world.work()).env("HOME", self.world.home()).stdin(Stdio::null());
        Ran::of(command)
    }
}

/// Makes the user namespace, with the ids of this one, and runs the words there as the ordinary user; `$1` is PATH.
const ENTER: &str = r#"path=$1; shift
    mkfifo go || exit 99
    unshare --user --mount sh -c 'read line < go && exec "$@"' sh sh -c '
        path=$1 victim=$2; shift 2
        echo 0 > /proc/sys/user/max_user_namespaces && exec "$victim" as 1000 -- env PATH="$path" "$@"' sh "$path" "$@" &
    own=$(readlink /proc/$$/ns/user) i=0
    while [ "$(readlink /proc/$!/ns/user)" = "$own" ] && [ $i -lt 2000 ]; do sleep 0.01; i=$((i+1)); done
    echo 0 0 65536 > /proc/$!/uid_map && echo 0 0 65536 > /proc/$!/gid_map && timeout 30 sh -c "echo > go"
    wait $!
    status=$?; rm go; exit $status"#;

/// Whether such a host can be made here, and namespaces work where it is not limited.
fn possible() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !crate::harness::has("root", root, "the tests run as an ordinary user")
        || !crate::harness::program("unshare")
    {
        return false;
    }
    let host = Host::new(Bwrap::Missing);
    let victim = host.world.victim().display().to_string();
    let ran = host.run(&[&victim, "ids"], &[], "");
    everybody().contains(&Who { uid: USER })
        && crate::harness::has(
            "userns",
            ran.status == 0,
            &format!("no user namespace with more ids: {}", ran.err.trim()),
        )
}

const ATTACK: &str = "echo run; echo x > made; echo x > ../made; echo done";

/// The command ran, wrote nothing, and this engine's note is said.
#[track_caller]
fn held(host: &Host, ran: Ran) -> Ran {
    assert!(ran.out == "run\ndone\n", "{ran:?}");
    assert!(!host.world.work().join("made").exists() && !host.world.root.join("made").exists());
    ran.ok()
}

#[test]
fn the_next_engine_has_its_turn_where_one_is_refused() {
    need!(landlock >= 1);
    need!(program "bwrap");
    if !possible() {
        return;
    }
    // The control: the same user writes outside the sandbox, and where nothing is refused the first engine runs.
    let host = Host::new(Bwrap::SetUserId);
    let world = &host.world;
    world.bare("sh", ["-c", "echo x > made && echo x > ../made && rm made ../made"]).ok();
    let plan = |host: &Host| {
        let fence = host.world.fence().display().to_string();
        let plan = host.run(&[&fence, "plan", "--", "true", ";"], &[], "").ok();
        plan.out.lines().find_map(|line| line.strip_prefix("engine").map(|name| name.trim().to_owned()))
    };
    let first = world.bare(world.fence(), ["plan", "--", "true"]).ok();
    assert!(first.out.contains("engine      native\n"), "{first:?}");
    // bwrap with root's rights makes namespaces all the same.
    assert_eq!(plan(&host).as_deref(), Some("bwrap"));
    let ran = held(&host, host.run(&[], &["-d"], ATTACK));
    for text in
        ["bwrap is set-user-ID root here", "engine native: cannot create namespaces", "max_user_namespaces"]
    {
        assert!(ran.err.contains(text), "{text}: {ran:?}");
    }
    // Without -d one line says what is weaker.
    let plain = held(&host, host.run(&[], &[], ATTACK));
    assert!(plain.err.contains("set-user-ID root here") && !plain.err.contains("engine native"), "{plain:?}");
    // Where it may make no user namespace either, Landlock has its turn, and so where there is no bwrap.
    for (bwrap, second) in [(Bwrap::Plain, true), (Bwrap::Missing, false)] {
        let host = Host::new(bwrap);
        assert_eq!(plan(&host).as_deref(), Some("landlock"));
        let ran = held(&host, host.run(&[], &["-d"], ATTACK));
        assert!(
            ran.err.contains("engine native: ") && ran.err.contains("engine bwrap: ") == second,
            "{ran:?}"
        );
        ran.says("this host gives no namespaces: Landlock and seccomp alone hold the command");
    }
}

#[test]
fn where_no_engine_works_each_is_named() {
    need!(program "bwrap");
    if !possible() {
        return;
    }
    let host = Host::new(Bwrap::Plain);
    let victim = host.world.victim().display().to_string();
    let none = [&victim, "enosys", "landlock_create_ruleset", "--"];
    let ran = host.run(&none, &[], ATTACK).status(125);
    assert!(
        ran.out.is_empty()
            && ran.err.lines().filter(|line| line.contains("cannot make a sandbox")).count() == 1,
        "{ran:?}"
    );
    for text in
        ["engine native: ", "max_user_namespaces", "engine bwrap: ", "engine landlock: ", "no Landlock"]
    {
        assert!(ran.err.contains(text), "{text}: {ran:?}");
    }
}

#[test]
fn what_is_required_is_not_given_up_on_the_way() {
    need!(landlock >= 1);
    need!(program "bwrap");
    if !possible() {
        return;
    }
    let host = Host::new(Bwrap::SetUserId);
    for (layer, text) in [("userns", "set-user-ID root"), ("all", "--require names")] {
        let ran = host.run(&[], &["--require", layer], ATTACK).status(125);
        assert!(ran.out.is_empty() && ran.err.contains(text), "{layer}: {ran:?}");
    }
    // What bwrap gives is there.
    held(&host, host.run(&[], &["--require", "netns,pidns,seccomp,landlock"], ATTACK));
    let host = Host::new(Bwrap::Missing);
    for (layer, text) in
        [("userns", "userns: "), ("netns", "netns: "), ("pidns", "pidns: "), ("all", "--require names")]
    {
        let ran = host.run(&[], &["--require", layer], ATTACK).status(125);
        assert!(ran.out.is_empty() && ran.err.contains(text), "{layer}: {ran:?}");
    }
    held(&host, host.run(&[], &["--require", "seccomp,landlock"], ATTACK));
    // An engine that is named is not left for another.
    for engine in ["native", "bwrap"] {
        let ran = host.run(&[], &["--engine", engine], ATTACK).status(125);
        assert!(ran.out.is_empty() && !ran.err.contains("engine landlock"), "{ran:?}");
    }
}

#[test]
fn a_rule_that_the_engine_can_not_keep_stops_the_run_unless_it_may_be_dropped() {
    need!(landlock >= 1);
    if !possible() {
        return;
    }
    let host = Host::new(Bwrap::Missing);
    let policy = host.world.write("../hosts.json", r#"{"network": {"allowedDomains": ["example.org"]}}"#);
    let policy = policy.display().to_string();
    let victim = host.world.victim().display().to_string();
    // Without a listener of its own nothing serves the proxies there.
    let taken = [&victim, "with-listener", "--"];
    let ran = host.run(&taken, &["-s", &policy], ATTACK).status(125);
    assert!(ran.out.is_empty() && ran.err.contains("network.allowedDomains can't be served here"), "{ran:?}");
    assert!(ran.err.contains("--allow-degraded runs the command without that rule"), "{ran:?}");
    let ran = held(&host, host.run(&taken, &["--allow-degraded", "-s", &policy], ATTACK));
    ran.says("network.allowedDomains can't be served here");
}

#[test]
fn the_rules_for_ports_are_missing_where_the_host_s_network_is_the_command_s() {
    need!(landlock >= 4);
    for who in everybody() {
        let world = World::new(who);
        let run = |policy: &str| {
            let policy = world.write("../net.json", policy).display().to_string();
            world.run(["-s", &policy, "--require", "landlock-net", "--", "true"])
        };
        run("{}").ok();
        run(r#"{"network": {"allowedDomains": ["*"]}}"#)
            .status(125)
            .says("landlock-net: network.allowedDomains");
    }
}

/// Where nobody could be found again, to be ended.
#[test]
fn without_proc_nothing_runs_outside_a_pid_namespace() {
    need!(root);
    need!(landlock >= 1);
    need!(program "unshare");
    let world = World::new(Who { uid: USER });
    let (fence, victim) = (world.fence(), world.victim());
    let on = |prepare: &str| {
        let line =
            format!("{prepare} && exec \"$1\" as 1000 -- \"$2\" --engine landlock -- /bin/sh -c 'echo run'");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &line, "sh"]);
        Ran::of(command.args([&victim, &fence]).current_dir(world.work()).stdin(Stdio::null()))
    };
    assert_eq!(on("true").ok().out, "run\n");
    let ran = on("mount -t tmpfs none /proc").status(125);
    assert!(ran.out.is_empty() && ran.err.contains("that takes a mounted /proc"), "{ran:?}");
}
