//! `command.runtimeExecPolicy: "argv"`: every exec is judged by its file and arguments, and what runs is what was judged.

use crate::harness::{Ran, World, everybody};
use crate::need;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const GIT: &str = r#"{"filesystem": {"allowWrite": ["."]}, "command": {"runtimeExecPolicy": "argv",
    "deny": ["git push"], "allow": ["git push origin docs"]}}"#;
const TARGET: &str = r#"{"filesystem": {"allowWrite": ["."]}, "command": {"runtimeExecPolicy": "argv",
    "deny": ["victim target push", "forbidden"]}}"#;
const NOTHING: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

/// A program on PATH that says what it was called with, in place of a git that would need a repository.
fn git(world: &World) {
    let path = world.root.join("bin/git");
    fs::write(&path, "#!/bin/sh\necho \"git $*\"\n").unwrap();
    executable(&path);
}

fn executable(path: impl AsRef<Path>) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn fenced(world: &World, policy: &str, words: &[&str]) -> Ran {
    let mut command = world.fenced_command(policy, words);
    let path = format!("{}:{}", world.root.join("bin").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("VICTIM", world.victim());
    Ran::of(command)
}

/// A script that the check of the literal command does not look into.
fn script(world: &World, policy: &str, text: &str) -> Ran {
    let path = world.write("script.sh", text);
    fenced(world, policy, &["sh", path.to_str().unwrap()])
}

/// The victim's `race HOW` for some seconds: denied, and what was forbidden ran so often.
fn race(world: &World, policy: &str, words: &[&str]) -> (u32, u32) {
    let mut all = vec![world.victim().to_str().unwrap().to_owned()];
    all.extend(words.iter().map(|word| word.to_string()));
    let ran = fenced(world, policy, &all.iter().map(String::as_str).collect::<Vec<_>>());
    counts(ran)
}

/// How often the victim's race was denied, and how often what was forbidden ran.
fn counts(ran: Ran) -> (u32, u32) {
    assert_eq!(ran.status, 0, "{ran:?}");
    let line = ran.out.lines().last().unwrap_or_default();
    let count = |name: &str| {
        let mut words = line.split(' ').skip_while(|word| *word != name);
        words.nth(1).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{ran:?}"))
    };
    (count("denied"), count("forbidden"))
}

#[test]
fn git_push_is_denied_and_all_else_passes_from_everywhere() {
    for who in everybody() {
        let world = World::new(who);
        git(&world);
        world.write(
            "Makefile",
            "push:\n\t@git push origin main\nother:\n\t@git status && git push origin docs\n",
        );
        let python = "import subprocess\n\
                      print(subprocess.run(['git', 'status'], capture_output=True, text=True).stdout, end='')\n\
                      print(subprocess.run(['git', 'push', 'origin', 'docs'], capture_output=True, text=True).stdout, end='')\n\
                      try: subprocess.run(['git', 'push'])\n\
                      except PermissionError: print('denied')\n";
        let node = "const {spawnSync: s} = require('child_process');\n\
                    process.stdout.write(s('git', ['status']).stdout);\n\
                    process.stdout.write(s('git', ['push', 'origin', 'docs']).stdout);\n\
                    console.log(s('git', ['push']).error.code == 'EPERM' ? 'denied' : 'ran');\n";
        world.write("run.py", python);
        world.write("run.js", node);
        let good = "git status\ngit push origin docs\n";
        let ran = script(&world, GIT, "git status\ngit push origin docs\ngit push || echo denied $?\n");
        assert_eq!(ran.out, format!("{good}denied 126\n"), "{ran:?}");
        assert!(ran.err.contains("✗ git push (rule \"git push\", git, pid="), "{ran:?}");
        // The positive control: without the policy all of it runs.
        let ran = script(&world, NOTHING, "git push\n").ok();
        assert_eq!(ran.out, "git push\n");
        if crate::harness::program("make") {
            assert_eq!(fenced(&world, GIT, &["make", "other"]).ok().out, good);
            let ran = fenced(&world, GIT, &["make", "push"]).status(2);
            assert!(ran.err.contains("✗ git push origin main"), "{ran:?}");
            assert_eq!(fenced(&world, NOTHING, &["make", "push"]).ok().out, "git push origin main\n");
        }
        if crate::harness::program("python3") && who.uid == 0 {
            assert_eq!(fenced(&world, GIT, &["python3", "run.py"]).ok().out, format!("{good}denied\n"));
        }
        if crate::harness::program("node") {
            assert_eq!(fenced(&world, GIT, &["node", "run.js"]).ok().out, format!("{good}denied\n"));
        }
    }
}

#[test]
fn every_way_to_name_the_program_is_seen_through() {
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim();
        let victim = victim.to_str().unwrap();
        let mark = world.work().join("mark");
        let mark = mark.to_str().unwrap();
        std::os::unix::fs::symlink(victim, world.work().join("link")).unwrap();
        fs::hard_link(victim, world.work().join("hard")).unwrap();
        executable(world.write("push", format!("#!{victim} target\n")));
        executable(world.write("twice", "#!push\n"));
        let bin = world.root.join("bin");
        let mut ways: Vec<Vec<&str>> = vec![
            vec!["exec", victim, "--", "victim", "target", "push", mark],
            vec!["exec", victim, "--", "ls", "target", "push", mark],
            vec!["exec", "./link", "--", "x", "target", "push", mark],
            vec!["exec", "./hard", "--", "x", "target", "push", mark],
            vec!["exec", "/proc/self/exe", "--", "x", "target", "push", mark],
            vec!["exec", "/proc/thread-self/root/../proc/self/cwd/link", "--", "x", "target", "push", mark],
            vec!["exec-fd", victim, "--", "x", "target", "push", mark],
            vec!["exec-fd", "./link", "--", "x", "target", "push", mark],
            vec!["exec-memfd", victim, "--", "x", "target", "push", mark],
            vec!["exec-at", bin.to_str().unwrap(), "victim", "--", "x", "target", "push", mark],
            vec!["exec-nofollow", victim, "--", "x", "target", "push", mark],
            vec!["exec-undumpable", victim, "--", "x", "target", "push", mark],
            vec!["exec-thread", victim, "--", "x", "target", "push", mark],
            vec!["exec-threads", victim, "--", "x", "target", "push", mark],
        ];
        if cfg!(target_arch = "x86_64") {
            ways.push(vec!["exec-i386", victim, "--", "x", "target", "push", mark]);
        }
        for way in &ways {
            let all: Vec<&str> = std::iter::once(&victim).chain(way).copied().collect();
            let outside = world.bare(victim, way);
            assert_eq!((outside.status, Path::new(mark).exists()), (77, true), "{way:?}: {outside:?}");
            fs::remove_file(mark).unwrap();
            let ran = fenced(&world, TARGET, &all);
            assert_eq!((ran.status, ran.out.as_str()), (1, "EPERM\n"), "{way:?}: {ran:?}");
            assert!(!Path::new(mark).exists(), "{way:?}");
            assert!(ran.err.contains("[fence:exec]"), "{way:?}: {ran:?}");
            // The same with another word passes, but for the file that has no name.
            let status: Vec<&str> =
                all.iter().map(|word| if *word == "push" { "status" } else { *word }).collect();
            if way[0] != "exec-memfd" {
                fenced(&world, TARGET, &status).ok();
            }
        }
        // What a script's first line makes of it: `victim target push …`, through one script and through two.
        for script in ["push", "twice"] {
            let act = ["exec", script, "--", "x", mark];
            let ran = fenced(&world, TARGET, &[&[victim][..], &act].concat());
            assert_eq!((ran.status, ran.out.as_str()), (1, "EPERM\n"), "{script}: {ran:?}");
            assert!(ran.err.contains("rule \"victim target push\""), "{script}: {ran:?}");
            assert_eq!(world.bare(victim, act).status, 77, "{script}");
        }
    }
}

#[test]
fn what_runs_is_what_was_judged() {
    // A shorter run than the 60 s that FENCE_RACE=60 asks for.
    let seconds = std::env::var("FENCE_RACE").unwrap_or("2".into());
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim();
        let forbidden = world.root.join("bin/forbidden");
        fs::copy(&victim, &forbidden).unwrap();
        let (victim, forbidden) = (victim.to_str().unwrap(), forbidden.to_str().unwrap());
        let mark = world.work().join("mark");
        let mark = mark.to_str().unwrap();
        for how in ["thread", "vm", "shared", "link"] {
            let other: &[&str] = if how == "link" { &[forbidden] } else { &[] };
            let words = |act, seconds| [&[act, how, seconds, victim, mark][..], other].concat();
            // The attack works where nobody judges, and where the judge does not look again; a busy machine needs more
            // than one try.
            let works = |act: &dyn Fn() -> (u32, u32)| (0..30).any(|_| act().1 > 0);
            assert!(works(&|| race(&world, NOTHING, &words("race", "1"))), "{how}: nothing ran");
            if how != "link" {
                let unverified = || counts(world.bare(victim, words("race-unverified", "1")));
                assert!(works(&unverified), "{how}: a verdict without another look held");
            }
            _ = fs::remove_file(mark);
            let (denied, ran) = race(&world, TARGET, &words("race", &seconds));
            assert!(denied > 0, "{how}: nothing was denied");
            assert_eq!((ran, Path::new(mark).exists()), (0, false), "{how}");
        }
    }
}

#[test]
fn execs_under_storms_end_as_they_should() {
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim();
        let victim = victim.to_str().unwrap();
        for act in [
            &["exec-failing", "100", "file"][..],
            &["exec-under", "alarm", "100"],
            &["exec-under", "kill", "100"],
            &["exec-under", "stop", "100"],
            &["exec-parallel", "16", "20"],
        ] {
            world.bare(victim, act).ok();
            let ran = fenced(&world, TARGET, &[&[victim][..], act].concat()).ok();
            assert_eq!(ran.err, "", "{act:?}");
        }
        let ran = fenced(&world, TARGET, &[victim, "exec-long", "5000", "/bin/echo"]).ok();
        assert!(ran.out.ends_with("argument-4999\n"));
        let ran = script(
            &world,
            TARGET,
            "seq 5000 | xargs echo | wc -w; seq 200 | xargs -P 32 -n 1 true && echo all",
        );
        assert_eq!(ran.out, "5000\nall\n", "{ran:?}");
    }
}

#[test]
fn the_order_of_calls_before_linux_5_19_works_too() {
    for who in everybody() {
        let world = World::new(who);
        let policy = world.root.join("policy.json");
        fs::write(&policy, TARGET).unwrap();
        let (victim, fence) = (world.victim(), world.fence());
        let victim = victim.to_str().unwrap();
        let mark = world.work().join("mark");
        let old = |words: &[&str]| {
            let before = [fence.to_str().unwrap(), "-s", policy.to_str().unwrap(), "--", victim];
            world.bare(victim, [&["without-killable", "--"][..], &before, words].concat())
        };
        for act in [
            &["exec-failing", "50", "file"][..],
            &["exec-under", "alarm", "50"],
            &["exec-under", "kill", "50"],
            &["exec-under", "stop", "50"],
            &["exec-parallel", "8", "20"],
            &["exec-threads", victim, "--", "x", "exit", "0"],
        ] {
            assert_eq!(old(act).ok().err, "", "{act:?}");
        }
        for how in ["thread", "vm", "shared"] {
            let ran = old(&["race", how, "1", victim, mark.to_str().unwrap()]).ok();
            assert!(ran.out.contains(" forbidden 0 ") && !ran.out.contains("denied 0 "), "{how}: {ran:?}");
            assert!(!mark.exists(), "{how}");
        }
    }
}

#[test]
fn arguments_cannot_be_rewritten_afterwards() {
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim();
        let victim = victim.to_str().unwrap();
        world.bare(victim, ["rewrite-child"]).ok();
        fenced(&world, NOTHING, &[victim, "rewrite-child"]).ok();
        let ran = fenced(&world, TARGET, &[victim, "rewrite-child"]).status(1);
        assert!(["EROFS\n", "EACCES\n"].contains(&ran.out.as_str()), "{ran:?}");
        // Standard descriptors go on working by their names in /proc.
        let lines = "(echo a > /dev/stdout; echo b > /proc/self/fd/1) | cat\necho c > file\n\
                     (echo d > /dev/stdout) > other && cat file other\n";
        assert_eq!(script(&world, TARGET, lines).ok().out, "a\nb\nc\nd\n");
    }
}

#[test]
fn what_cannot_be_looked_into_cannot_be_executed() {
    need!(root);
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim();
        let closed = world.root.join("bin/closed");
        fs::copy(&victim, &closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
        let (victim, closed) = (victim.to_str().unwrap(), closed.to_str().unwrap());
        let act = ["exec", closed, "--", "closed", "exit", "7"];
        assert_eq!(world.bare(victim, act).status, 7);
        let ran = fenced(&world, TARGET, &[&[victim][..], &act].concat());
        if who.uid == 0 {
            assert_eq!(ran.status, 7, "{ran:?}");
        } else {
            assert_eq!((ran.status, ran.out.as_str()), (1, "EPERM\n"), "{ran:?}");
            assert!(ran.err.contains("its file may not be read"), "{ran:?}");
        }
    }
}

#[test]
fn ssh_rules_hold_at_run_time() {
    for who in everybody() {
        let world = World::new(who);
        let ssh = world.root.join("bin/ssh");
        fs::write(&ssh, "#!/bin/sh\necho ssh \"$@\"\n").unwrap();
        executable(&ssh);
        let policy = r#"{"command": {"runtimeExecPolicy": "argv"},
            "ssh": {"allowedHosts": ["good.example"], "allowedCommands": ["uptime"]}}"#;
        let lines = "ssh me@good.example uptime\nssh bad.example || echo denied\nssh -p 22 good.example 'rm x' || echo denied\n";
        let ran = script(&world, policy, lines);
        assert_eq!(ran.out, "ssh me@good.example uptime\ndenied\ndenied\n", "{ran:?}");
        assert!(ran.err.contains("host not in allowedHosts"), "{ran:?}");
        let ran = script(&world, NOTHING, lines).ok();
        assert!(!ran.out.contains("denied"));
    }
}

#[test]
fn many_programs_in_one_file_are_judged_by_name() {
    need!(program "busybox");
    for who in everybody() {
        let world = World::new(who);
        let busybox = world.bare("sh", ["-c", "command -v busybox"]).ok().out.trim().to_owned();
        // A system whose commands are BusyBox, as on Alpine.
        for name in ["dd", "ls", "cat"] {
            std::os::unix::fs::symlink(&busybox, world.root.join("bin").join(name)).unwrap();
        }
        let dd = world.root.join("bin/dd");
        let dd = dd.display();
        let lines = format!(
            "ls script.sh\nenv {dd} if=/dev/null of=/dev/null 2>/dev/null && echo ran || echo denied\n\
             busybox dd if=/dev/null of=/dev/null 2>/dev/null && echo ran || echo denied\n\
             ln -sf {busybox} x; ./x dd if=/dev/null of=/dev/null 2>/dev/null && echo ran || echo denied\n\
             busybox ash -c 'dd if=/dev/null of=/dev/null' 2>/dev/null && echo ran || echo denied\n"
        );
        let tail = |word: &str| format!("script.sh\n{}", format!("{word}\n").repeat(4));
        assert_eq!(script(&world, NOTHING, &lines).out.replace("denied\nran\n", "ran\nran\n"), tail("ran"));
        for mode in ["argv", "path"] {
            let policy = format!(
                r#"{{"filesystem": {{"allowWrite": ["."]}}, "command": {{"runtimeExecPolicy": "{mode}", "deny": ["dd"]}}}}"#
            );
            let ran = script(&world, &policy, &lines);
            assert_eq!(ran.out, tail("denied"), "{mode}: {ran:?}");
        }
        // Accepted: left alone, without a supervisor.
        let policy = r#"{"command": {"deny": ["dd"], "acceptSharedBinaryCannotRuntimeDeny": ["dd"]}}"#;
        let ran =
            script(&world, policy, &format!("env {dd} if=/dev/null of=/dev/null 2>/dev/null && echo ran"));
        assert_eq!(ran.out, "ran\n", "{ran:?}");
    }
}

#[test]
fn argv_where_it_cannot_work_is_refused() {
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim();
        let policy = world.root.join("policy.json");
        fs::write(&policy, GIT).unwrap();
        let fence = world.fence();
        let words = ["-s".as_ref(), policy.as_os_str(), "--".as_ref(), "true".as_ref()];
        world.run(words).ok();
        // Another listener has this process already.
        let ran = world.bare(
            &victim,
            [&["with-listener".as_ref(), "--".as_ref(), fence.as_os_str()][..], &words].concat(),
        );
        let ran = ran.status(125);
        assert!(
            ran.err.contains("requires Linux seccomp user notification")
                && ran.err.contains("listener is in force")
                && ran.err.contains("WSL2's mirrored networking"),
            "{ran:?}"
        );
        // A host that lets nobody trace.
        let refuse =
            ["refuse".as_ref(), "EPERM".as_ref(), "ptrace".as_ref(), "--".as_ref(), fence.as_os_str()];
        let ran = world.bare(&victim, [&refuse[..], &words].concat()).status(125);
        assert!(ran.err.contains("can't be traced here"), "{ran:?}");
        // What would let the command forge.
        let ran =
            world.run([&["--allow-syscall".as_ref(), "ptrace".as_ref()][..], &words].concat()).status(125);
        assert!(ran.err.contains("rewrites what was judged"), "{ran:?}");
    }
}

#[test]
fn by_hand_with_the_two_applets() {
    for who in everybody() {
        let world = World::new(who);
        git(&world);
        world.write("script.sh", "git status; git push || echo denied");
        let policy = world.root.join("policy.json");
        fs::write(&policy, GIT).unwrap();
        let (fence, policy) = (world.fence(), policy.to_str().unwrap().to_owned());
        let fence = fence.to_str().unwrap();
        let run = |filter: &[&str]| {
            let supervise = [fence, "supervise", "-s", &policy, "--"];
            let words = [&supervise[..], filter, &["sh", "script.sh"]].concat();
            let mut command = world.command(words[0], &words[1..]);
            command.env("PATH", format!("{}:/usr/bin:/bin", world.root.join("bin").display()));
            Ran::of(command)
        };
        for _ in 0..20 {
            let ran = run(&[fence, "seccomp", "--notify-fd", "3", "--"]).ok();
            assert_eq!(ran.out, "git status\ndenied\n", "{ran:?}");
        }
        let ran = run(&[]).status(125);
        assert!(ran.err.contains("nobody sent a listener"), "{ran:?}");
    }
}

#[test]
fn nothing_is_left_when_the_supervisor_dies() {
    for who in everybody() {
        let world = World::new(who);
        let beat = world.work().join("beat");
        let words = [
            world.victim().to_str().unwrap().to_owned(),
            "heartbeat".into(),
            "20".into(),
            beat.to_str().unwrap().into(),
        ];
        let mut child = world.fenced_command(TARGET, words).spawn().unwrap();
        let size = || fs::metadata(&beat).map_or(0, |meta| meta.len());
        for _ in 0..100 {
            if size() > 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(size() > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let then = size();
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert_eq!(size(), then);
    }
}
