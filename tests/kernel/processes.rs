//! Processes: what the sandbox's own show, what is inherited, who can be signalled, and what is left at the end.

use crate::harness::{Ran, Who, World, everybody};
use crate::need;
use crate::poll::{all_dead_soon, children, eventually, inherit, length, send};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const WRITABLE: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;
/// What stands for a kernel without Landlock.
const NO_LANDLOCK: &str = "landlock_create_ruleset,landlock_add_rule,landlock_restrict_self";

/// Every environment that a test of a denial runs in: with Landlock, and without.
fn each(mut test: impl FnMut(&World, &[&str])) {
    for who in everybody() {
        test(&World::new(who), &[]);
        test(&World::new(who), &["enosys", NO_LANDLOCK, "--"]);
    }
}

/// `victim KERNEL fence -s POLICY -- victim ACT`: fence on an older kernel.
fn on(world: &World, kernel: &[&str], policy: &str, act: &[&str]) -> Command {
    let file = world.root.join("policy.json");
    fs::write(&file, policy).unwrap();
    let (fence, victim) = (world.fence(), world.victim());
    let fence = fence.to_str().unwrap();
    let victim = victim.to_str().unwrap();
    let mut words = vec![fence, "-s", file.to_str().unwrap(), "--"];
    words.push(victim);
    words.extend(act);
    if !kernel.is_empty() {
        words.splice(0..0, kernel.iter().copied());
        words.insert(0, victim);
    }
    world.command(words[0], &words[1..])
}

fn ran(command: Command) -> Ran {
    Ran::of(command)
}

#[test]
fn init_shows_nothing_of_the_caller() {
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim().into_os_string().into_string().unwrap();
        for file in
            ["environ", "mem", "maps", "auxv", "fd/0", "root/etc/passwd", "task/1/environ", "exe", "syscall"]
        {
            let denied = world.run(["--", &victim, "read", &format!("/proc/1/{file}")]).status(1).out;
            assert!(["EACCES\n", "EPERM\n", "ENOENT\n"].contains(&&*denied), "/proc/1/{file}: {denied}");
        }
        for link in ["cwd", "root", "exe", "fd/0", "fd/3", "ns/mnt", "ns/user"] {
            assert_eq!(
                world.run(["--", &victim, "readlink", &format!("/proc/1/{link}")]).status(1).out,
                "EACCES\n"
            );
            assert_eq!(
                world.run(["--", &victim, "setns", &format!("/proc/1/{link}")]).status(1).out,
                "EACCES\n"
            );
        }
        // Truncating a file of procfs does nothing and succeeds, whoever does it.
        for (act, file) in
            [("open-write", "mem"), ("write", "mem"), ("open-write", "exe"), ("truncate", "exe")]
        {
            let ran = world.run(["--", &victim, act, &format!("/proc/1/{file}")]);
            assert_eq!(ran.status(1).out, "EACCES\n", "{act} {file}");
        }
        world.run(["--", &victim, "read", "/proc/self/environ"]).ok().says("FENCE_SANDBOX=1");
    }
}

#[test]
fn no_command_line_or_environment_of_the_callers_is_visible() {
    for who in everybody() {
        let world = World::new(who);
        world.write("hunter2.json", "{}");
        let look =
            "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ /proc/[0-9]*/task/*/comm; ls -l /proc/[0-9]*";
        let mut command = world.command(world.fence(), ["-s", "hunter2.json", "--", "sh", "-c", look]);
        command.env("FENCE_CONFIG_JSON", r#"{"$hunter2": 1}"#).env("SEEN", "control");
        let ran = ran(command);
        assert!(ran.out.contains("SEEN=control") && !ran.out.contains("hunter2"), "{ran:?}");
        // The shell's own line is gone once it became another program.
        let ran = world.run(["-c", "x=hunter2; exec cat /proc/1/cmdline /proc/self/cmdline"]).ok();
        assert!(ran.out.contains("/proc/self/cmdline") && !ran.out.contains("hunter2"), "{ran:?}");
    }
}

#[test]
fn a_hidden_file_stays_hidden_through_proc() {
    for who in everybody() {
        let world = World::new(who);
        let secret = world.write("secret", "hunter2");
        let secret = secret.display();
        let policy = r#"{"filesystem": {"denyRead": ["secret"], "allowWrite": ["."]}}"#;
        for path in ["/proc/self/root", "/proc/1/root", "/proc/thread-self/root", "/proc/self/task/*/root"] {
            let ran = world.fenced(policy, ["sh", "-c", &format!("cat {path}{secret}")]);
            assert!(ran.status != 0 && !ran.out.contains("hunter2"), "{ran:?}");
        }
        world
            .fenced(policy, ["sh", "-c", "cat /proc/self/cwd/secret; cat /proc/$$/cwd/secret"])
            .status(1)
            .says("denied");
        world.fenced(policy, ["sh", "-c", "exec 9<.; cat /proc/self/fd/9/secret"]).status(1).says("denied");
        world
            .fenced(policy, ["sh", "-c", "ln secret a; cat a; ln -s secret b; cat b"])
            .status(1)
            .says("denied");
        world.bare("sh", ["-c", "cat /proc/self/cwd/secret"]).ok().says("hunter2");
    }
}

/// The standard descriptors, pipes that whoever runs the tests left open, and these.
fn usual(world: &World, more: &[i32]) -> String {
    let outside = world.bare(world.victim(), ["fds"]).ok().out;
    let pipes =
        outside.lines().filter(|line| line.contains(" pipe:")).filter_map(|line| line.split(' ').next());
    let mut all: Vec<i32> = pipes.map(|n| n.parse().unwrap()).filter(|n| *n > 2).collect();
    all.extend([0, 1, 2].iter().chain(more));
    all.sort_unstable();
    all.iter().map(|n| format!("{n}\n")).collect()
}

#[test]
fn inherited_descriptors_are_closed_and_pipes_stay() {
    for who in everybody() {
        let world = World::new(who);
        world.write("secret", "hunter2");
        for kernel in [&[][..], &["enosys", "close_range", "--"], &["refuse", "EPERM", "close_range", "--"]] {
            let mut command = on(&world, kernel, "{}", &["fd-numbers"]);
            let (pipe, _writer) = std::io::pipe().unwrap();
            let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
            inherit(&mut command, pipe, 7);
            inherit(&mut command, File::open(world.work().join("secret")).unwrap(), 8);
            inherit(&mut command, File::open("/").unwrap(), 9);
            inherit(&mut command, socket, 10);
            inherit(&mut command, File::open(world.work().join("secret")).unwrap(), 5000);
            assert_eq!(ran(command).ok().out, usual(&world, &[7]), "{kernel:?}");
        }
    }
}

#[test]
fn a_descriptor_stays_open_when_the_caller_says_so() {
    for who in everybody() {
        let world = World::new(who);
        world.write("notes", "text");
        let with = |keep: &str| {
            let script = format!("exec 6<notes 8<notes; exec $FENCE {keep} -- $VICTIM fd-numbers");
            let mut command = world.command("sh", ["-c", &script]);
            command.env("FENCE", world.fence()).env("VICTIM", world.victim());
            ran(command)
        };
        assert_eq!(with("--keep-fd 6").ok().out, usual(&world, &[6]));
        with("--keep-fd 6 --keep-fd 77").status(125).says("did not pass it");
    }
}

/// Removes what a test left in a place that all share.
struct Cleanup<'a>(&'a World, Vec<[&'a str; 2]>);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        for act in &self.1 {
            self.0.bare(self.0.victim(), act);
        }
    }
}

#[test]
fn shared_memory_and_queues_of_the_host_are_invisible() {
    for who in everybody() {
        let world = World::new(who);
        let key = format!("{}", 0x0fe_0000 + std::process::id() as i64 * 2 + i64::from(who.uid != 0));
        let name = format!("fence-test-{key}");
        let file = format!("/dev/shm/{name}");
        let _cleanup = Cleanup(&world, vec![["shm-remove", &key], ["mq-remove", &name], ["unlink", &file]]);
        world.bare(world.victim(), ["shm-create", &key, "hunter2"]).ok();
        world.bare(world.victim(), ["mq-create", &name]).ok();
        world.bare(world.victim(), ["create", &file]).ok();
        for act in [["shm", &*key], ["mq", &name], ["shm-open", &name]] {
            let (inside, outside) = world.victim_both("{}", &act);
            outside.ok();
            assert_eq!(inside.status(1).out, "ENOENT\n", "{act:?}");
        }
        // A file that the command line names would be shown, as the user asked.
        world.run(["--", "sh", "-c", &format!("cat /dev/shm/*; cat {file}")]).status(1).says("No such file");
    }
}

#[test]
fn nothing_is_alive_after_the_end() {
    for who in everybody() {
        let world = World::new(who);
        let script = "$VICTIM daemon 60 beat; until test -s beat; do :; done; setsid sleep 300 & exit 3";
        let mut command = world.fenced_command(WRITABLE, ["sh", "-c", script]);
        command.env("VICTIM", world.victim());
        ran(command).status(3);
        let beats = length(&world.work().join("beat"));
        assert!(beats > 0);
        all_dead_soon(&world);
        std::thread::sleep(std::time::Duration::from_millis(150));
        assert_eq!(length(&world.work().join("beat")), beats);
    }
}

/// A sandbox with a daemon in it that beats, and one that does not listen to signals.
fn beating(world: &World) -> std::process::Child {
    let script = "$VICTIM daemon 60 beat; exec $VICTIM heartbeat 60 beat";
    let mut command = world.fenced_command(WRITABLE, ["sh", "-c", script]);
    let child = command.env("VICTIM", world.victim()).process_group(0).spawn().unwrap();
    eventually("a heartbeat", || length(&world.work().join("beat")) > 3);
    child
}

#[test]
fn killing_the_launcher_kills_the_tree() {
    for who in everybody() {
        let world = World::new(who);
        let mut launcher = beating(&world);
        send(launcher.id(), libc::SIGKILL);
        all_dead_soon(&world);
        launcher.wait().unwrap();
        // Also one that is stopped at the time.
        let mut launcher = beating(&world);
        send(launcher.id(), libc::SIGSTOP);
        send(launcher.id(), libc::SIGKILL);
        all_dead_soon(&world);
        launcher.wait().unwrap();
    }
}

#[test]
fn killing_init_kills_the_tree_and_the_launcher_says_so() {
    for who in everybody() {
        let world = World::new(who);
        let mut launcher = beating(&world);
        send(children(launcher.id())[0], libc::SIGKILL);
        all_dead_soon(&world);
        assert_eq!(launcher.wait().unwrap().code(), Some(137));
    }
}

#[test]
fn killing_the_launcher_at_any_moment_leaves_nothing() {
    for who in everybody() {
        let world = World::new(who);
        for step in 0..25 {
            let mut command =
                world.fenced_command(WRITABLE, [world.victim().to_str().unwrap(), "spin", "60"]);
            let mut launcher = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_micros(step * 400));
            send(launcher.id(), libc::SIGKILL);
            launcher.wait().unwrap();
            all_dead_soon(&world);
        }
    }
}

#[test]
fn a_request_to_end_is_never_lost() {
    for who in everybody() {
        let world = World::new(who);
        for step in 0..40 {
            let mut command =
                world.fenced_command(WRITABLE, [world.victim().to_str().unwrap(), "spin", "10"]);
            let launcher = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_micros(step * 200));
            send(launcher.id(), libc::SIGTERM);
            // The victim would spin for ten seconds and end with 0.
            Ran::new(launcher.wait_with_output().unwrap()).status(128 + libc::SIGTERM);
            all_dead_soon(&world);
        }
    }
}

/// Runs a shell script that calls fence, in a process group of its own, and says what came out.
fn script(world: &World, kernel: &[&str], script: &str) -> Ran {
    let mut command = world.command("sh", ["-c", script]);
    let victim = if kernel.is_empty() { String::new() } else { world.victim().display().to_string() };
    let fence = format!("{victim} {} {}", kernel.join(" "), world.fence().display());
    command.env("FENCE", fence).env("VICTIM", world.victim()).process_group(0);
    ran(command)
}

#[test]
fn signals_to_everybody_do_not_reach_the_calling_script() {
    each(|world, kernel| {
        for pid in ["0", "-1"] {
            for signal in ["9", "15", "6"] {
                let line = format!("$FENCE -- $VICTIM kill {pid} {signal}; echo alive");
                script(world, kernel, &line).ok().says("alive");
            }
        }
        // From a shell, which has built-in ways of its own, and through a descriptor's owner.
        script(world, kernel, "$FENCE -- sh -c 'kill -9 0; kill -9 -1'; echo alive").ok().says("alive");
        for pid in ["0", "-1", "1"] {
            let line = format!("$FENCE -- $VICTIM kill-by-owner {pid} 9; echo alive");
            script(world, kernel, &line).ok().says("alive");
        }
    });
    let world = World::new(everybody()[0]);
    script(&world, &[], "$VICTIM kill 0 9; echo alive").status(137);
}

#[test]
fn a_shell_can_still_end_its_own_jobs() {
    each(|world, kernel| {
        let line = r#"$FENCE -- sh -c 'sleep 60 & kill $!; wait $!; echo $?; sleep 60 & kill -9 $!; wait $!; echo $?'"#;
        assert_eq!(script(world, kernel, line).ok().out, "143\n137\n");
    });
}

#[test]
fn init_can_not_be_killed_from_inside() {
    each(|world, kernel| {
        for signal in ["9", "15", "19", "2"] {
            let line = format!("$FENCE -- sh -c '$VICTIM kill 1 {signal}; echo alive'");
            script(world, kernel, &line).ok().says("alive");
        }
        script(world, kernel, "$FENCE -- $VICTIM ptrace-attach 1").status(1).says("EPERM");
    });
}

#[test]
fn the_kernel_of_the_machine_obeys_nobody_inside() {
    need!(root);
    let world = World::new(Who { uid: 0 });
    let controls = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/dev/kmsg",
        "/sys/kernel/mm/ksm/run",
        "/sys/power/state",
        "/proc/self/root/proc/sysrq-trigger",
        "/proc/dynamic_debug/control",
    ];
    for path in controls {
        let (inside, outside) = world.victim_both("{}", &["open-write", path]);
        assert!(outside.status == 0 || outside.out == "ENOENT\n", "{path}: {outside:?}");
        // Hidden, or on a read-only mount.
        let inside = inside.status(1).out;
        assert!(["EROFS\n", "ENOENT\n"].contains(&&*inside), "{path}: {inside}");
    }
    world.fenced(WRITABLE, [world.victim().to_str().unwrap(), "mknod", "null"]).status(1).says("EPERM");
    world.fenced(WRITABLE, [world.victim().to_str().unwrap(), "mknod", "/tmp/null"]).status(1).says("EPERM");
}

#[test]
fn nothing_of_the_system_opens_for_writing() {
    each(|world, kernel| {
        let act = ["openable-for-writing", "/proc", "/sys", "/dev", "/run", "/etc", "/var", "/boot"];
        let opened = ran(on(world, kernel, "{}", &act)).ok().out;
        let fine = |path: &&str| {
            let nodes = ["null", "zero", "full", "random", "urandom", "tty", "console", "pts/ptmx"];
            // Waiting for a shortage of memory or time changes nothing.
            path.starts_with("/proc/pressure/") || nodes.iter().any(|n| *path == format!("/dev/{n}"))
        };
        let rest: Vec<&str> = opened.lines().filter(|path| !fine(path)).collect();
        assert!(rest.is_empty(), "{kernel:?}: {rest:?}");
    });
}

#[test]
fn device_nodes_of_the_host_keep_their_mode_and_owner() {
    each(|world, kernel| {
        for act in
            [["chmod", "/dev/full"], ["chown", "/dev/full"], ["touch", "/dev/full"], ["unlink", "/dev/full"]]
        {
            let act = if act[0] == "chown" { vec!["chown", act[1], "0"] } else { act.to_vec() };
            let denied = ran(on(world, kernel, "{}", &act)).status(1).out;
            assert!(["EROFS\n", "EACCES\n", "EPERM\n", "EBUSY\n"].contains(&&*denied), "{act:?} {denied}");
        }
        // Writing to them is what they are for.
        script(
            world,
            kernel,
            "$FENCE -- sh -c 'echo x > /dev/null && echo x >> /dev/zero && ! echo x > /dev/full'",
        )
        .ok();
    });
}

#[test]
fn a_directory_as_standard_descriptor_is_refused() {
    for who in everybody() {
        let world = World::new(who);
        let fence = world.fence();
        for redirect in ["< .", "0< /", "< /proc"] {
            world
                .bare("sh", ["-c", &format!("{} -- true {redirect}", fence.display())])
                .status(125)
                .says("directory");
        }
    }
}

#[test]
fn a_file_on_stdin_can_be_read_and_not_written() {
    let policies = ["{}", WRITABLE, r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["notes"]}}"#];
    each(|world, kernel| {
        for (policy, writable) in policies.iter().zip([false, true, false]) {
            let notes = world.write("notes", "one\ntwo\n");
            let mut command = on(world, kernel, policy, &["reopen", "0"]);
            let ran = ran({
                command.stdin(File::open(&notes).unwrap());
                command
            });
            assert_eq!(ran.status == 0, writable, "{kernel:?} {policy}: {ran:?}");
            assert_eq!(fs::read_to_string(&notes).unwrap().starts_with("written"), writable);
        }
        let notes = world.write("notes", "one\ntwo\n");
        let mut reopen = world.command(world.victim(), ["reopen", "0"]);
        ran({
            reopen.stdin(File::open(&notes).unwrap());
            reopen
        })
        .ok();
    });
}

#[test]
fn a_file_on_stdin_keeps_its_mode_and_owner() {
    each(|world, kernel| {
        let notes = world.write("notes", "text");
        let mut command = on(world, kernel, "{}", &["fchmod", "0"]);
        ran({
            command.stdin(File::open(&notes).unwrap());
            command
        })
        .status(1)
        .says("EROFS");
        let mut command = on(world, kernel, "{}", &["chmod", "/proc/self/fd/0"]);
        ran({
            command.stdin(File::open(&notes).unwrap());
            command
        })
        .status(1)
        .says("EROFS");
        let mut control = world.command(world.victim(), ["fchmod", "0"]);
        ran({
            control.stdin(File::open(&notes).unwrap());
            control
        })
        .ok();
    });
}

#[test]
fn stdin_goes_on_where_the_caller_stopped_reading() {
    each(|world, kernel| {
        world.write("notes", "one\ntwo\n");
        let line = "{ dd bs=4 count=1 2>/dev/null; $FENCE -- cat; } < notes";
        assert_eq!(script(world, kernel, line).ok().out, "one\ntwo\n");
        // A long here-document is a file without a name in bash, a pipe elsewhere.
        let line = format!("$FENCE -- wc -c <<END\n{}\nEND", "x".repeat(100_000));
        script(world, kernel, &line).ok().says("100001");
        if crate::harness::program("bash") {
            script(world, kernel, &format!("exec bash -c '{line}'")).ok().says("100001");
        }
    });
}
