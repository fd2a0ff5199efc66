//! Several sandboxes in one directory, and one inside another: guards, quarantines and sweeps do not get in each other's way.

use crate::guard::{end, quarantine, start, wait_for};
use crate::harness::{Ran, World, everybody};
use crate::need;
use std::fs;

const POLICY: &str = r#"{"filesystem": {"allowWrite": ["."], "denyRead": [".env"], "denyWrite": ["named"]}}"#;

/// Until `go-NAME` appears: reads and writes what it must not when it is asked to by `ask-NAME`.
fn loops(name: &str) -> String {
    format!(
        "while [ ! -e go-{name} ]; do if [ -e ask-{name} ]; then cat .env; echo evil > named; rm ask-{name}; fi; sleep 0.005; done 2>/dev/null"
    )
}

fn ask(world: &World, name: &str) {
    let sign = world.write(format!("ask-{name}"), "");
    wait_for("no answer", || !sign.exists());
}

fn repository(world: &World) {
    for dir in [".git/objects", ".git/refs", ".git/hooks"] {
        world.mkdir(dir);
    }
    world.write(".git/HEAD", "ref: refs/heads/main\n");
    world.write(".git/config", "");
    world.write(".env", "KEY");
    world.write("named", "good");
}

fn kept(world: &World) -> usize {
    fs::read_dir(quarantine(world)).map_or(0, |all| all.count())
}

#[test]
fn several_runs_in_one_directory() {
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let save = "echo KEY > n && mv n .env; echo good > n && mv n named";
        if world.engine_lacks(POLICY, "makes no mount again") {
            continue;
        }
        let (a, b) = (start(&world, POLICY, &loops("a")), start(&world, POLICY, &loops("b")));
        world.bare("sh", ["-c", save]).ok();
        std::thread::sleep(std::time::Duration::from_millis(200));
        ask(&world, "a");
        ask(&world, "b");
        // A third plants what both watch: it is moved once, and nobody stumbles.
        let line = "echo x > .git/commondir; i=0; while [ -e .git/commondir ] && [ $i -lt 500 ]; do sleep 0.01; i=$((i+1)); done; [ $i -lt 500 ]";
        let third = world.fenced(POLICY, ["sh", "-c", line]).ok();
        assert_eq!(kept(&world), 1, "{who:?}: {third:?}");
        // One ends; what it guarded is guarded by the other on its own.
        world.write("go-a", "");
        let first = end(a).ok();
        world.bare("sh", ["-c", save]).ok();
        std::thread::sleep(std::time::Duration::from_millis(200));
        ask(&world, "b");
        // A start beside a run that goes on sweeps nothing of it.
        assert_eq!(world.fenced(POLICY, ["true"]).ok().err, "");
        world.write("go-b", "");
        let second = end(b).ok();
        assert!(!first.out.contains("KEY") && !second.out.contains("KEY"), "{first:?} {second:?}");
        assert_eq!(fs::read_to_string(world.work().join("named")).unwrap().trim(), "good");
        assert_eq!(fs::read_dir(world.home().join(".local/state/fence/runs")).unwrap().count(), 0);
        world.bare("sh", ["-c", "cat .env && echo evil > named"]).ok().says("KEY");
    }
}

#[test]
fn many_that_plant_and_end_at_once() {
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let line = "for i in 1 2 3 4 5; do echo x > .git/commondir; echo x > .git/config.worktree; sleep 0.01; done 2>/dev/null; true";
        let runs: Vec<_> = (0..8)
            .map(|_| {
                let mut command = world.fenced_command(POLICY, ["sh", "-c", line]);
                command
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for run in runs {
            let ran = end(run).ok();
            assert!(ran.err.lines().all(|line| line.contains("aside")), "{who:?}: {ran:?}");
        }
        for name in ["commondir", "config.worktree"] {
            assert!(!world.work().join(".git").join(name).exists(), "{name}");
        }
        // Every one that is named in a line lies there: nothing overwrote another.
        assert!(kept(&world) > 0);
        assert_eq!(fs::read_dir(world.home().join(".local/state/fence/runs")).unwrap().count(), 0);
    }
}

#[test]
fn a_sandbox_in_a_sandbox() {
    need!(landlock >= 5);
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let inner = world.write("../inner.json", r#"{"filesystem": {"allowWrite": ["."]}}"#);
        let attack = "cat .env; echo evil > named; echo evil >> .git/config; echo evil > .git/hooks/x; echo x > .git/commondir
            i=0; while [ -e .git/commondir ] && [ $i -lt 500 ]; do sleep 0.01; i=$((i+1)); done; [ $i -lt 500 ] && echo gone; touch done-inside";
        let fence = world.fence();
        let words = [fence.to_str().unwrap(), "-s", inner.to_str().unwrap(), "--", "sh", "-c", attack];
        let ran: Ran = world.fenced(POLICY, words).ok();
        assert!(ran.out.contains("gone") && !ran.out.contains("KEY"), "{who:?}: {ran:?}");
        assert!(world.work().join("done-inside").exists());
        assert_eq!(fs::read_to_string(world.work().join("named")).unwrap(), "good");
        assert!(!world.work().join(".git/hooks/x").exists() && !world.work().join(".git/commondir").exists());
        // The inner one has no quarantine that it may write to: whoever was first moved it.
        let beside = fs::read_dir(world.work().join(".git")).unwrap().flatten();
        let beside = beside.filter(|e| e.file_name().to_string_lossy().starts_with(".fence-moved")).count();
        assert_eq!(kept(&world) + beside, 1, "{ran:?}");
        world.bare("sh", ["-c", attack]).says("KEY");
        assert!(world.work().join(".git/hooks/x").exists());
    }
}
