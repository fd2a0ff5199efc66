//! `-m`: what each user sees, exactly that and nothing of others.

use crate::harness::{Ran, USER, Who, World, everybody};
use crate::need;

/// Runs `fence -m -s POLICY -- COMMAND`.
fn monitored(world: &World, flags: &[&str], policy: &str, command: &[&str]) -> Ran {
    let file = world.root.join("monitor.json");
    std::fs::write(&file, policy).unwrap();
    let file = file.to_str().unwrap();
    let words = [&["-m", "-s", file], flags, &["--"], command].concat();
    world.run(words)
}

/// The lines of one layer about this path.
fn lines<'a>(ran: &'a Ran, layer: &str, end: &str) -> Vec<&'a str> {
    let prefix = format!("[fence:{layer}] ");
    ran.err.lines().filter(|line| line.starts_with(&prefix) && line.ends_with(end)).collect()
}

/// The number before a word of the report: `6000` before ` denials:`.
fn number_before(ran: &Ran, word: &str) -> u64 {
    let Some(at) = ran.err.find(word) else { return 0 };
    let digits = ran.err[..at].rsplit(|c: char| !c.is_ascii_digit()).next().unwrap();
    digits.parse().unwrap()
}

/// Root, and uid 1000 with the program file's capabilities in both forms.
fn monitoring_worlds() -> Vec<World> {
    // Up to Linux 5.10 maps count as locked memory, of which users have next to nothing.
    let all = rustix::process::Rlimit { current: None, maximum: None };
    _ = rustix::process::setrlimit(rustix::process::Resource::Memlock, all);
    let root = World::new(Who { uid: 0 });
    let mut worlds = vec![root];
    for effective in [false, true] {
        if everybody().contains(&Who { uid: USER }) {
            let world = World::new(Who { uid: USER });
            world.capable_fence(effective);
            worlds.push(world);
        }
    }
    worlds
}

#[test]
fn every_denied_act_is_shown_with_its_path() {
    need!(monitor);
    for world in monitoring_worlds() {
        world.write("masked", "text");
        world.write("kept", "text");
        world.write("name", "text");
        let work = world.work();
        let work = work.to_str().unwrap();
        let policy = r#"{"filesystem": {"denyRead": ["masked"]}}"#;
        let script = "cat masked; echo x > kept; mkdir made; mv name other; chmod 600 kept; ln -s a link; \
            cat /etc/fence-test-none; \"$0\" call mount; true";
        let script = format!("{script}; cd /etc; cat {work}/masked");
        let victim = world.victim();
        // Outside all of it succeeds, but for mount, which takes root.
        let outside = world.bare("sh", ["-c", &script, victim.to_str().unwrap()]);
        assert!(!outside.err.contains("masked") && !outside.err.contains("kept"), "{outside:?}");
        for name in ["made", "link", "other"] {
            let path = world.work().join(name);
            _ = std::fs::remove_dir(&path).or_else(|_| std::fs::remove_file(&path));
        }
        world.write("name", "text");

        let ran = monitored(&world, &[], policy, &["sh", "-c", &script, victim.to_str().unwrap()]);
        let who = world.who;
        for (what, path) in [
            ("open", "masked"),
            ("open", "kept"),
            ("mkdir", "made"),
            ("rename", "name"),
            ("chmod", "kept"),
            ("symlink", "link"),
        ] {
            let found = ran.err.lines().any(|line| {
                // A program's own message may stand half written before it.
                line.contains("[fence:ebpf] ")
                    && line.contains(what)
                    // As it was given, when the process is gone before it can be asked where it was.
                    && (line.contains(&format!("{work}/{path}")) || line.contains(&format!(" {path}")))
            });
            assert!(found, "{who:?} wants {what} {path}: {}", ran.err);
        }
        // Nobody denied that, there is just nothing.
        assert!(!ran.err.contains("fence-test-none ("), "{}", ran.err);
        assert_eq!(lines(&ran, "ebpf", "fence-test-none").len(), 0, "{}", ran.err);
        assert!(ran.err.contains("filesystem.denyRead"), "{}", ran.err);
        assert!(
            ran.err.contains(&format!("to allow it: filesystem.allowWrite: [\"{work}\"]")),
            "{}",
            ran.err
        );
        assert!(ran.err.lines().last().unwrap().starts_with("[fence] "), "{}", ran.err);
    }
}

#[test]
fn a_call_that_the_filter_refuses_is_shown() {
    need!(monitor);
    for world in monitoring_worlds() {
        let victim = world.victim();
        let how: &[&str] = if cfg!(target_arch = "x86_64") { &["call", "int80"] } else { &["call"] };
        for how in how {
            let ran = monitored(&world, &[], "{}", &[victim.to_str().unwrap(), how, "keyctl"]);
            let wanted = "✗ keyctl: Operation not permitted (victim, pid=";
            assert_eq!(lines(&ran, "ebpf", ")").len(), 1, "{ran:?}");
            assert!(ran.err.contains(wanted), "{}", ran.err);
            assert!(ran.err.contains("to allow it: --allow-syscall keyctl"), "{}", ran.err);
        }
    }
}

#[test]
fn without_rights_the_line_says_what_is_missing() {
    need!(userns);
    let Some(who) = everybody().into_iter().find(|who| who.uid != 0) else { return };
    let world = World::new(who);
    let ran = monitored(&world, &[], "{}", &["true"]).ok();
    let fence = world.fence();
    ran.says("it takes cap_bpf and cap_perfmon: run as root, or once as root: setcap cap_bpf,cap_perfmon+p ")
        .says(fence.to_str().unwrap());
    world
        .run(["--require", "monitor", "--", "true"])
        .status(125)
        .says("cannot start without a layer that --require names: monitor: it takes cap_bpf");
}

#[test]
fn the_file_capabilities_reach_nobody() {
    need!(monitor);
    for effective in [false, true] {
        if !everybody().contains(&Who { uid: USER }) {
            return;
        }
        let world = World::new(Who { uid: USER });
        world.capable_fence(effective);
        for flags in [&["-m"][..], &[]] {
            let script = "grep -E '^Cap(Inh|Prm|Eff|Amb):' /proc/self/status | grep -v '\t0000000000000000$'; \
                ls -l /proc/self/fd | grep -c bpf";
            let words = [flags, &["--", "sh", "-c", script]].concat();
            let ran = world.run(words);
            assert_eq!(ran.out, "0\n", "{ran:?}");
        }
    }
}

/// 2,000 processes of three tasks, each with one denied open, beside other trees of the same user that do the same.
#[test]
fn six_thousand_denials_are_six_thousand() {
    need!(monitor);
    let count = std::env::var("FENCE_STORM").map_or(2000, |count| count.parse().unwrap());
    for world in monitoring_worlds() {
        let (ours, theirs) = (world.write("ours", "x"), world.write("theirs", "x"));
        let policy = r#"{"filesystem": {"denyRead": ["ours", "theirs"]}}"#;
        let victim = world.victim();
        let victim = victim.to_str().unwrap();
        let act = |path: &std::path::Path, processes: u64| {
            [
                victim.to_string(),
                "open-in-tasks".into(),
                processes.to_string(),
                path.to_str().unwrap().into(),
                "EACCES".into(),
            ]
        };
        // The positive control: nothing denies it outside, so the act fails.
        world.bare(victim, &act(&ours, 1)[1..]).status(1);
        let mut others: Vec<_> =
            (0..2).map(|_| world.fenced_command(policy, act(&theirs, count)).spawn().unwrap()).collect();
        let own = act(&ours, count);
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let ran = monitored(&world, &[], policy, &own).ok();
        for other in &mut others {
            assert!(other.wait().unwrap().success());
        }
        let (shown, lost) =
            (number_before(&ran, " denials: 1 path"), number_before(&ran, " denials: they came"));
        // Where the kernel can skip the program (from Linux 7.1 on) this is what may be missing at most.
        let skipped = number_before(&ran, " denials: so often the kernel");
        eprintln!("uid {}: {shown} shown + {lost} lost, {skipped} skips", world.who.uid);
        let known = shown + lost;
        assert!(known <= 3 * count && known + skipped >= 3 * count, "{}", ran.err);
        assert!(!ran.err.contains("theirs") && !ran.err.contains("did not follow"), "{}", ran.err);
    }
}

#[test]
fn objects_are_one_a_line_and_the_log_file_takes_them() {
    need!(monitor);
    let world = World::new(Who { uid: 0 });
    let ran =
        monitored(&world, &["--log-format", "json", "--fence-log-file", "log"], "{}", &["mkdir", "made"]);
    assert!(!ran.err.contains("fence"), "{ran:?}");
    let log = std::fs::read_to_string(world.work().join("log")).unwrap();
    let last: Vec<&str> = log.lines().filter(|line| line.contains("\"denied\"")).collect();
    assert_eq!(last.len(), 1, "{log}");
    assert!(last[0].contains("\"path\":\"made\""), "{log}");
    assert!(last[0].starts_with('{') && last[0].ends_with('}'), "{log}");
    assert!(
        log.ends_with(
            "{\"level\":\"summary\",\"denials\":1,\"hosts\":0,\"paths\":1,\"commands\":0,\"calls\":0}\n"
        ),
        "{log}"
    );
}

#[test]
fn a_job_of_github_gets_annotations_and_a_table() {
    need!(monitor);
    let world = World::new(Who { uid: 0 });
    let table = world.write("table", "");
    let mut command = world.command(world.fence(), ["-m", "--", "mkdir", "made"]);
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &table);
    let ran = Ran::of(command);
    let annotations =
        ran.err.lines().filter(|line| line.starts_with("::warning title=fence ebpf::mkdir")).count();
    assert_eq!(annotations, 1, "{ran:?}");
    let text = std::fs::read_to_string(table).unwrap();
    assert!(text.contains("| ebpf | mkdir: Read-only file system "), "{text}");
}

/// Without rights the filter's listener shows what the filter refuses, with its paths.
#[test]
fn refused_calls_are_shown_without_rights() {
    need!(userns);
    let Some(who) = everybody().into_iter().find(|who| who.uid != 0) else { return };
    let world = World::new(who);
    let victim = world.victim();
    let victim = victim.to_str().unwrap();
    for how in ["call", "int80"].iter().filter(|how| **how == "call" || cfg!(target_arch = "x86_64")) {
        // The same answer with and without.
        let plain = world.fenced("{}", [victim, how, "keyctl"]);
        let ran = monitored(&world, &[], "{}", &[victim, how, "keyctl"]);
        assert_eq!((plain.status, &plain.out), (ran.status, &ran.out), "{ran:?}");
        assert!(ran.err.contains("✗ keyctl: Operation not permitted (victim, pid="), "{}", ran.err);
        assert!(ran.err.contains("[fence:seccomp]   denied by the system call filter: "), "{}", ran.err);
        assert!(ran.err.contains("to allow it: --allow-syscall keyctl"), "{}", ran.err);
        assert!(ran.err.ends_with("[fence] 1 denial: 1 call\n"), "{}", ran.err);
    }
    // One listener serves both: what is executed is judged, what the filter refuses is shown.
    let policy = r#"{"command": {"runtimeExecPolicy": "argv", "deny": ["sleep 3"]}}"#;
    let script = "\"$0\" call keyctl; n=3; sleep $n; sleep 0";
    let ran = monitored(&world, &[], policy, &["sh", "-c", script, victim]).ok();
    assert!(ran.err.contains("✗ keyctl: Operation not permitted (victim, pid="), "{}", ran.err);
    assert!(ran.err.contains("[fence:exec] ") && ran.err.contains("✗ sleep 3"), "{}", ran.err);
    let ran = monitored(&world, &[], "{}", &["sh", "-c", "mount -t tmpfs none /mnt; exec true"]).ok();
    assert!(ran.err.contains("✗ mount: Operation not permitted (mount, pid="), "{}", ran.err);
    assert!(ran.err.contains(") none /mnt"), "{}", ran.err);
}

/// What was learnt from a run makes the same run pass, and no more than that.
#[test]
fn a_learnt_configuration_lets_the_same_command_pass() {
    need!(userns);
    for who in everybody() {
        let world = World::new(who);
        world.write("../home/.ssh/id", "secret");
        let script = "set -e; mkdir -p ~/.cache/tool/a/b; echo x > ~/.cache/tool/a/b/f; echo x > here; mkdir sub; echo x > sub/f; \
            echo x > /tmp/private; for n in 1 2 3 4 5 6; do mkdir -p ~/.cache/many/$n; done";
        let command = ["sh", "-c", script];
        let undo = || {
            for path in [world.home().join(".cache"), world.work().join("sub"), world.work().join("here")] {
                _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
            }
            world.mkdir(world.home().join(".cache"));
        };
        undo();
        world.fenced("{}", command).status(1);
        let snoop = format!("{script}; cat ~/.ssh/id || true");
        let ran = world.run(["learn", "-o", "learnt.json", "--", "sh", "-c", &snoop]).ok();
        assert!(!ran.out.contains("secret"), "{ran:?}");
        let text = std::fs::read_to_string(world.work().join("learnt.json")).unwrap();
        assert!(text.contains("\".\"") && text.contains("\"~/.cache"), "{text}");
        assert!(text.contains(".ssh/id (cat)") && text.lines().count() < 20, "{text}");
        // Nothing of the whole home directory, and nothing above.
        assert!(
            !text.contains("\"~\"") && !text.contains(&format!("\"{}\"", world.root.display())),
            "{text}"
        );
        undo();
        world.mkdir(world.home().join(".cache/tool"));
        world.mkdir(world.home().join(".cache/many"));
        world.run(["-s", "learnt.json", "--", "sh", "-c", script]).ok();
        world.run(["-s", "learnt.json", "--", "sh", "-c", "echo x > ~/other"]).status(2);

        // A file that is there is added to, or left alone.
        world.run(["learn", "-o", "learnt.json", "--", "true"]).status(125).says("it is there already");
        world.run(["learn", "-o", "learnt.json", "--merge", "--", "sh", "-c", "mkdir ~/other"]).ok();
        let more = std::fs::read_to_string(world.work().join("learnt.json")).unwrap();
        assert!(more.contains("\"~/other\"") && more.contains("\".\""), "{more}");
        world.run(["config", "show", "-s", "learnt.json"]).ok();

        // Denied and learnt from all the same.
        let ran =
            world.run(["learn", "--enforce", "-o", "denied.json", "--", "sh", "-c", "echo x > ~/third"]);
        assert_eq!(ran.status, 2, "{ran:?}");
        let text = std::fs::read_to_string(world.work().join("denied.json")).unwrap();
        assert!(text.contains("\"~/third\"") && !world.home().join("third").exists(), "{text}");
    }
}

/// What was learnt from programs that people use makes them pass by that file, with no denial; and the file stays small.
#[test]
fn real_programs_are_learnt() {
    let Some(lab) = crate::lab::lab() else { return };
    // Not the shim of rustup, which looks for its toolchains in the home directory.
    let cargo = format!(
        "mkdir -p c$$/src; cd c$$; printf '[package]\\nname = \"x\"\\nedition = \"2021\"\\n' > Cargo.toml; \
         echo 'fn main() {{}}' > src/main.rs; RUSTC={} {} build --quiet --offline",
        std::path::Path::new(env!("CARGO")).with_file_name("rustc").display(),
        env!("CARGO")
    );
    let rows = [
        (
            "git",
            "r=$(mktemp -d $PWD/cXXXXXX)/r; git clone -q https://git.example.test/repo.git $r && cat $r/file",
        ),
        (
            "npm",
            "rm -rf n; mkdir n; cd n; npm install --silent --no-audit --no-fund --no-update-notifier --fetch-retries=0 \
             --loglevel=error --registry=https://npm.example.test/npm/ tiny-pkg",
        ),
        (
            "pip",
            "rm -rf t; /usr/bin/python3 -m pip install -q --disable-pip-version-check --retries 1 --timeout 20 \
             --target t --index-url https://pypi.example.test/simple tiny-pkg",
        ),
        ("cargo", &cargo),
    ];
    for who in everybody() {
        for (name, line) in rows {
            let there = match name {
                "pip" => crate::lab::python_has("pip"),
                name => crate::harness::program(name),
            };
            let world = World::new(who);
            // A toolchain in root's home is out of reach for others.
            if !there || lab.bare(&world, ["sh", "-c", line]).status != 0 {
                eprintln!("SKIP: {name} does not work for uid {} outside the sandbox", who.uid);
                continue;
            }
            let world = World::new(who);
            let fence = world.fence();
            let fence = fence.to_str().unwrap();
            lab.bare(&world, [fence, "learn", "-o", "learnt.json", "--", "sh", "-c", line]).ok();
            let text = std::fs::read_to_string(world.work().join("learnt.json")).unwrap();
            assert!(text.lines().count() < 30, "{name}: {text}");
            let ran = lab.bare(&world, [fence, "-m", "-s", "learnt.json", "--", "sh", "-c", line]).ok();
            eprintln!("{name}, uid {}:\n{text}{}", who.uid, ran.err);
            assert!(
                !ran.err.contains("fence:http") && !ran.err.contains("fence:socks"),
                "{name}: {}\n{text}",
                ran.err
            );
            assert!(!ran.err.contains("filesystem.allow"), "{name}: {}\n{text}", ran.err);
        }
    }
}

/// The file is written outside the sandbox: no link of the command's leads that to what the command can't write to itself.
#[test]
fn what_is_learnt_goes_where_it_was_to_go_before_the_command_ran() {
    need!(userns);
    for who in everybody() {
        let world = World::new(who);
        world.write("../home/.bashrc", "mine");
        world
            .run(["learn", "-o", "a.json", "--", "sh", "-c", "! echo x >> ~/.bashrc; ln -s ~/.bashrc a.json"])
            .ok();
        let kept = |place: std::path::PathBuf| std::fs::read_to_string(place).unwrap_or_default();
        assert_eq!(kept(world.home().join(".bashrc")), "mine");
        assert!(kept(world.work().join("a.json")).contains("allowWrite"));
        let script = "mv out kept; mkdir ~/there; ln -s ~/there out";
        world.run(["learn", "-o", "out/b.json", "--", "sh", "-c", script]).ok();
        assert!(kept(world.work().join("kept/b.json")).contains("allowWrite"));
        assert!(!world.home().join("there/b.json").exists());
    }
}

/// What is shown of an act: by the layer and the text that its line holds.
struct Act {
    name: &'static str,
    line: &'static str,
    /// With the eBPF monitor, and without rights for it: a layer, and what the line says.
    full: (&'static str, &'static str),
    none: Option<(&'static str, &'static str)>,
}

/// The table of docs/monitor.md: root and a user with the program file's capabilities see everything, a user without sees what
/// fence itself refuses.
#[test]
fn what_each_sees() {
    need!(monitor);
    need!(listener);
    need!(program "curl");
    const ACTS: [Act; 11] = [
        Act {
            name: "read of a 0600 file",
            line: "cat other",
            full: ("ebpf", "✗ openat: Permission denied (cat, pid="),
            none: None,
        },
        Act {
            name: "write to a read-only path",
            line: "echo x > kept",
            full: ("ebpf", "✗ open"),
            none: None,
        },
        Act {
            name: "masked path",
            line: "cat masked",
            full: ("ebpf", "✗ openat: Permission denied (cat, pid="),
            none: None,
        },
        Act {
            name: "mkdir",
            line: "mkdir made",
            full: ("ebpf", "✗ mkdir: Read-only file system (mkdir, pid="),
            none: None,
        },
        Act {
            name: "rename",
            line: "mv kept moved",
            full: ("ebpf", "✗ renameat2: Read-only file system (mv, pid="),
            none: None,
        },
        Act {
            name: "call that the filter refuses",
            line: "\"$0\" call keyctl",
            full: ("ebpf", "✗ keyctl: Operation not permitted (victim, pid="),
            none: Some(("seccomp", "✗ keyctl: Operation not permitted (victim, pid=")),
        },
        Act {
            name: "Landlock denial",
            line: "\"$1\" landlock --ro /usr --ro /lib --ro /lib64 --ro /bin --ro /etc -- cat kept",
            full: ("ebpf", "✗ openat: Permission denied (cat, pid="),
            none: None,
        },
        Act {
            name: "denied exec",
            line: "n=3; sleep $n",
            full: ("exec", "✗ sleep 3 (rule \"sleep 3\", sleep, pid="),
            none: Some(("exec", "✗ sleep 3 (rule \"sleep 3\", sleep, pid=")),
        },
        Act {
            name: "denied HTTP",
            line: "curl -sSf -m 20 http://denied.test/",
            full: ("http", "✗ GET     403 denied.test http://denied.test/ ("),
            none: Some(("http", "✗ GET     403 denied.test http://denied.test/ (")),
        },
        Act {
            name: "denied SOCKS",
            line: "curl -sS -m 20 -x socks5h://127.0.0.1:1080 http://denied.test/",
            full: ("socks", "✗ CONNECT denied.test:80 BLOCKED"),
            none: Some(("socks", "✗ CONNECT denied.test:80 BLOCKED")),
        },
        Act {
            name: "denied DNS",
            line: "getent hosts denied.test",
            full: ("dns", " denied.test REFUSED"),
            none: Some(("dns", " denied.test REFUSED")),
        },
    ];
    let policy = r#"{"filesystem": {"denyRead": ["masked"]}, "network": {"allowedDomains": ["allowed.test"]},
        "command": {"runtimeExecPolicy": "argv", "deny": ["sleep 3"]}}"#;
    let mut worlds: Vec<(World, bool)> = monitoring_worlds().into_iter().map(|world| (world, true)).collect();
    let without = everybody().into_iter().find(|who| who.uid != 0);
    worlds.extend(without.map(|who| (World::new(who), false)));
    for (world, rights) in worlds {
        for name in ["kept", "masked"] {
            world.write(name, "text");
        }
        // Somebody else's.
        let other = world.write("other", "text");
        std::os::unix::fs::chown(&other, Some(4242), Some(4242)).unwrap();
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
        std::fs::set_permissions(&other, mode).unwrap();
        let (victim, fence) = (world.victim(), world.fence());
        let (victim, fence) = (victim.to_str().unwrap(), fence.to_str().unwrap());
        let no_names = world.engine_lacks(policy, "can't answer name queries");
        for act in ACTS.iter().filter(|act| !(no_names && act.name == "denied DNS")) {
            let who = format!("uid {}, rights {rights}: {}", world.who.uid, act.name);
            let ran = monitored(&world, &[], policy, &["sh", "-c", act.line, victim, fence]);
            // Nobody denies root the reading of files.
            let allowed = world.who.uid == 0 && act.name == "read of a 0600 file";
            assert_eq!(ran.status == 0, allowed, "{who} is denied: {ran:?}");
            // A program's own message may stand half written before it.
            let seen = |(layer, text): (&str, &str)| {
                ran.err.lines().any(|line| line.contains(&format!("[fence:{layer}] ")) && line.contains(text))
            };
            let wanted = if rights { Some(act.full).filter(|_| !allowed) } else { act.none };
            match wanted {
                Some(wanted) => assert!(seen(wanted), "{who} is shown by {wanted:?}: {}", ran.err),
                None => assert!(!ran.err.contains("[fence:ebpf]"), "{who} is not: {}", ran.err),
            }
            // Who sees less is told what it takes, each time.
            assert_eq!(ran.err.contains("it takes cap_bpf and cap_perfmon"), !rights, "{who}: {}", ran.err);
        }
    }
}

/// A refused exec is one line: the supervisor's, with its rule; what the kernel denies beside it stays shown.
#[test]
fn a_denied_exec_is_shown_once() {
    need!(monitor);
    need!(listener);
    let policy = r#"{"command": {"runtimeExecPolicy": "argv", "deny": ["sleep 3"]}}"#;
    for world in monitoring_worlds() {
        world.write("text", "no program");
        let ran = monitored(&world, &[], policy, &["sh", "-c", "n=3; sleep $n; ./text; sleep 0"]).ok();
        let exec: Vec<&str> =
            ran.err.lines().filter(|line| line.contains("] ") && line.contains("✗ ")).collect();
        assert_eq!(exec.iter().filter(|line| line.contains("✗ sleep 3 (rule ")).count(), 1, "{exec:?}");
        assert_eq!(
            exec.iter()
                .filter(|line| line.contains("✗ execve: Permission denied") && line.ends_with(" ./text"))
                .count(),
            1,
            "{exec:?}"
        );
        assert_eq!(exec.iter().filter(|line| line.contains("execve: Operation not")).count(), 0, "{exec:?}");
    }
}

/// Each denial once, whichever engine holds the command.
fn shown_by_engine(engine: &str) {
    let worlds = monitoring_worlds();
    assert!(!worlds.is_empty());
    for world in worlds {
        world.write("kept", "text");
        world.write("masked", "text");
        let victim = world.victim();
        let victim = victim.to_str().unwrap();
        let policy = r#"{"filesystem": {"denyRead": ["masked"]}}"#;
        let script = "cat masked; echo x > kept; mkdir made; \"$0\" call keyctl; true";
        let flags = ["--engine", engine];
        let ran = monitored(&world, &flags, policy, &["sh", "-c", script, victim]).ok();
        let who = format!("{engine}, uid {}: {}", world.who.uid, ran.err);
        for (call, subject) in [("open", "masked"), ("open", "kept"), ("mkdir", "made"), ("keyctl", "pid=")] {
            let shown = ran.err.lines().filter(|line| {
                line.contains("[fence:ebpf] ")
                    && line.contains(&format!("✗ {call}"))
                    && line.contains(subject)
            });
            assert_eq!(shown.count(), 1, "{call} {subject}: {who}");
        }
    }
}

#[test]
fn the_engine_landlock_is_watched_too() {
    need!(monitor);
    need!(landlock >= 1);
    shown_by_engine("landlock");
}

#[test]
fn the_engine_bwrap_is_watched_too() {
    need!(monitor);
    need!(userns);
    need!(program "bwrap");
    shown_by_engine("bwrap");
}

/// Descriptors of bpf(2) that the process has.
fn bpf_descriptors(pid: &str) -> usize {
    let Ok(links) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let links = links.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
    links.filter(|link| link.to_str().is_some_and(|link| link.starts_with("anon_inode:bpf"))).count()
}

/// Processes of this world's programs, by the directory that these lie in.
fn processes_of(world: &World) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().into_string().ok());
    let ours = |pid: &String| {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
        exe.is_ok_and(|exe| exe.starts_with(world.root.join("bin")))
    };
    all.filter(ours).collect()
}

/// One process alone holds the programs in the kernel, and when fence ends nobody does: nothing hangs, whoever outlives the command.
#[test]
fn the_end_closes_everything_and_waits_for_nobody() {
    need!(root);
    need!(monitor);
    let mut worlds: Vec<(World, bool)> = monitoring_worlds().into_iter().map(|world| (world, true)).collect();
    let without = everybody().into_iter().find(|who| who.uid != 0);
    worlds.extend(without.map(|who| (World::new(who), false)));
    for (world, rights) in worlds {
        let victim = world.victim();
        // Two who outlive the command: in its session, and in one of their own, with its standard descriptors.
        let sleep = world.root.join("bin/sleep");
        world.bare("cp", ["/bin/sleep", sleep.to_str().unwrap()]).ok();
        let script =
            "\"$1\" 1000 & setsid \"$1\" 1000 & \"$0\" call keyctl >&2; echo ready; read line; exit 7";
        let mut command = world.command(
            world.fence(),
            ["-m", "--", "sh", "-c", script, victim.to_str().unwrap(), sleep.to_str().unwrap()],
        );
        let mut child =
            command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut ready)
            .unwrap();
        assert_eq!(ready, "ready\n");
        let launcher = child.id().to_string();
        // The shell has forked them; their exec is their own matter.
        let mut all = processes_of(&world);
        for _ in 0..6000 {
            let sleeping =
                |pid: &&String| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == sleep);
            if all.iter().filter(sleeping).count() == 2 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            all = processes_of(&world);
        }
        assert!(all.len() >= 3, "the launcher and the two that sleep: {all:?}");
        let holders: Vec<_> = all.into_iter().filter(|pid| bpf_descriptors(pid) > 0).collect();
        assert_eq!(holders, if rights { vec![launcher] } else { vec![] }, "uid {}", world.who.uid);
        drop(child.stdin.take());
        let begun = std::time::Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if begun.elapsed().as_secs() > 120 => {
                    _ = child.kill();
                    panic!("fence did not end, uid {}, rights {rights}", world.who.uid);
                }
                None => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        };
        assert_eq!(status.code(), Some(7), "uid {}", world.who.uid);
        assert_eq!(processes_of(&world), Vec::<String>::new(), "uid {}", world.who.uid);
    }
}

/// A line with what differs from run to run taken out: clock, process ids, durations, the world's own directory.
fn form(line: &str, world: &World) -> String {
    let line = line.replace(world.root.to_str().unwrap(), "R");
    let words = line.split(' ').map(|word| {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let clock = word.len() == 8 && word.split(':').count() == 3 && word.split(':').all(digits);
        let time = word.strip_prefix('(').and_then(|word| word.strip_suffix("s)"));
        let time = time.is_some_and(|time| digits(&time.trim_end_matches('m').replace('.', "")));
        let pid = word.strip_prefix("pid=").and_then(|word| word.strip_suffix(')')).is_some_and(digits);
        match word {
            _ if clock => "HH:MM:SS",
            _ if time => "(TIME)",
            _ if pid => "pid=N)",
            word => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `-d`: each kind of line, letter for letter, and no line of another form.
#[test]
fn debug_lines_have_their_form() {
    need!(userns);
    need!(program "curl");
    let Some(who) = everybody().into_iter().find(|who| who.uid != 0) else { return };
    let world = World::new(who);
    let policy = r#"{"network": {"allowedDomains": ["*.allowed.test"], "deniedDomains": ["bad.test"]},
        "command": {"runtimeExecPolicy": "argv", "deny": ["sleep 3"]}}"#;
    let file = world.write("../debug.json", policy);
    let script = "curl -s http://bad.test/a; curl -s http://other.test/a; curl -s http://x.allowed.test/; \
        curl -s -x socks5h://127.0.0.1:1080 http://other.test/; n=3; sleep $n; sleep 0";
    let curl = |command: &str| world.bare("sh", ["-c", command]);
    // The positive control: these are commands that work, and the lines are not of a shell that finds none.
    curl("curl --version; n=0; sleep $n").ok();
    let said = |flags: &[&str], command: &[&str]| {
        let words = [flags, &["--"], command].concat();
        let mut command = world.command(world.fence(), words);
        command.env("LD_PRELOAD", "/none.so").env("LD_AUDIT", "/none.so");
        let ran = Ran::of(command);
        ran.err
            .lines()
            .filter(|line| line.starts_with('['))
            .map(|line| form(line, &world))
            .collect::<Vec<_>>()
    };
    let settings = file.to_str().unwrap();
    let lines = said(&["-d", "-s", settings], &["sh", "-c", script]);
    for wanted in [
        "[fence] Using config file: R/debug.json",
        "[fence] Stripped dangerous env vars: [LD_AUDIT LD_PRELOAD]",
        "[fence] HTTP proxy listening on localhost:3128",
        "[fence] SOCKS5 proxy listening on localhost:1080",
        "[fence:linux] Device mode: minimal",
        "[fence:filter] Denied by rule: bad.test:80 (matched bad.test)",
        "[fence:http] HH:MM:SS ✗ GET     403 bad.test http://bad.test/a (TIME)",
        "[fence:filter] No matching rule, denying: other.test:80",
        "[fence:http] HH:MM:SS ✗ GET     403 other.test http://other.test/a (TIME)",
        "[fence:filter] Allowed by rule: x.allowed.test:80 (matched *.allowed.test)",
        "[fence:http] HH:MM:SS ! GET     502 x.allowed.test http://x.allowed.test/ (TIME)",
        "[fence:socks] HH:MM:SS ✗ CONNECT other.test:80 BLOCKED",
        "[fence:exec] HH:MM:SS ✗ sleep 3 (rule \"sleep 3\", sleep, pid=N)",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted}: {lines:#?}");
    }
    let starts = |start: &str| lines.iter().any(|line| line.starts_with(start));
    assert!(starts("[fence] Command: sh -c "), "{lines:#?}");
    let held = if std::env::var_os("FENCE_TEST_ENGINE").is_some() {
        ""
    } else {
        "native(network,pid,fs), dev:minimal, seccomp, runtime-exec:argv"
    };
    assert!(starts(&format!("[fence:linux] Sandbox: {held}")), "{lines:#?}");
    for (flags, wanted) in [
        (&["-d", "-t", "code"][..], "[fence] Using template: code"),
        (
            &["-d"],
            "[fence] No config found at R/home/.config/fence/fence.json, using default (block all network)",
        ),
    ] {
        let lines = said(flags, &["true"]);
        assert!(lines.iter().any(|line| line == wanted), "{wanted}: {lines:#?}");
    }
    // Without -d nothing of it but what is refused.
    assert!(
        said(&["-s", settings], &["sh", "-c", script]).iter().all(|line| line.starts_with("[fence:exec] "))
    );
}

/// Below another listener nobody can be asked: what the filter refuses stays refused, and a line says that it isn't shown.
#[test]
fn below_another_listener_refused_calls_stay_refused() {
    need!(userns);
    need!(listener);
    let Some(who) = everybody().into_iter().find(|who| who.uid != 0) else { return };
    let world = World::new(who);
    let (victim, fence) = (world.victim(), world.fence());
    let call = [fence.to_str().unwrap(), "-m", "--", victim.to_str().unwrap(), "call", "keyctl"];
    let alone = world.bare(call[0], &call[1..]);
    let below = world.bare(&victim, [&["with-listener", "--"], &call[..]].concat());
    assert_eq!((alone.status, &alone.out), (below.status, &below.out), "{below:?}");
    assert_eq!(below.status, libc::EPERM, "{below:?}");
    assert!(alone.err.contains("✗ keyctl: ") && !below.err.contains("✗ keyctl: "), "{below:?}");
    below.says("what the system call filter refuses can't be shown: another filter has the one listener");
}
