//! Git with a writable work tree: daily work goes on, what would run code on the host later does not change, and the
//! host's own git sees the same before, during and after.

use crate::harness::{Ran, World, everybody};
use crate::need;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

const WRITE: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

/// Rounds of 20 parallel runs; each takes about a tenth of a second on two cores.
const ROUNDS: usize = 50;
const PARALLEL: usize = 20;

/// A repository in the work directory with one commit, and a linked work tree beside it.
fn repository(world: &World) {
    let lines = "git init -q -b main . && git config user.name me && git config user.email me@example.org &&
        echo one > file && git add file && git commit -qm first && git branch side && git worktree add -q ../linked side";
    world.bare("sh", ["-ec", lines]).ok();
}

fn sh(world: &World, line: &str) -> Ran {
    world.fenced(WRITE, ["sh", "-c", line])
}

/// The same in the linked work tree.
fn in_linked(world: &World, line: &str) -> Ran {
    let mut command = world.fenced_command(WRITE, ["sh", "-c", line]);
    Ran::of(command.current_dir(world.root.join("linked")))
}

fn status(world: &World) -> String {
    let both = "git status --porcelain --ignored; git -C ../linked status --porcelain; git config -l --local; git branch -a";
    world.bare("sh", ["-ec", both]).ok().out
}

#[test]
fn daily_work_goes_on() {
    need!(program "git");
    let work = "echo two >> file && git status --short && git add file && git commit -qm second && echo three >> file &&
        git stash -q && git stash pop -q && git checkout -q file && git gc -q && git log --oneline && git branch topic &&
        git switch -q topic && git rebase -q HEAD~1 && git tag v1 && git diff HEAD~1 --stat";
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        sh(&world, work).ok().says("second");
        in_linked(&world, &work.replace("topic", "topic2").replace("v1", "v2")).ok().says("second");
        world.bare("git", ["fsck", "--strict"]).ok();
        for branch in ["topic", "topic2"] {
            assert_eq!(world.bare("git", ["rev-list", "--count", branch]).ok().out, "2\n");
        }
    }
}

#[test]
fn clone_and_new_work_trees_work() {
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        sh(&world, "git clone -q . copy && cd copy && git log --oneline && git init -q ../copy2 && test -d ../copy2/.git").ok();
        sh(&world, "git worktree add -q tree && cd tree && touch x && git add x && git commit -qm x").ok();
        world
            .bare("sh", ["-ec", "git -C copy status && git -C tree log --oneline && git worktree list"])
            .ok()
            .says("tree");
    }
}

#[test]
fn what_runs_code_later_can_not_be_planted() {
    need!(program "git");
    let acts = [
        "git config core.fsmonitor ./evil",
        "git config --worktree core.fsmonitor ./evil",
        "git remote add evil https://evil.example",
        "echo '[core] hooksPath = .' >> $(git rev-parse --git-common-dir)/config",
        "echo ./evil > $(git rev-parse --git-common-dir)/hooks/pre-commit",
        "cp evil $(git rev-parse --git-path hooks)/post-checkout",
        "mv $(git rev-parse --git-common-dir)/hooks $(git rev-parse --git-common-dir)/h2",
        "mv .git .g2 && mkdir -p .git/hooks && cp evil .git/hooks/pre-commit",
    ];
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        world.write("evil", "#!/bin/sh\ntouch ran\n");
        world.bare("cp", ["evil", "../linked/evil"]).ok();
        let before = status(&world);
        for act in acts {
            assert!(sh(&world, act).status != 0, "{act}");
            assert!(in_linked(&world, act).status != 0, "{act} in the linked work tree");
        }
        assert_eq!(status(&world), before);
        assert!(!world.work().join("ran").exists());
        // All but the one that moves the repository away work outside.
        for act in &acts[..6] {
            let control = world.bare("sh", ["-c", act]);
            assert!(control.status == 0 || act.contains("--worktree"), "{act}: {control:?}");
        }
    }
}

#[test]
fn the_configuration_opens_when_the_policy_says_so() {
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let policy = r#"{"filesystem": {"allowWrite": ["."], "allowGitConfig": true}}"#;
        world.fenced(policy, ["git", "config", "user.name", "somebody"]).ok();
        assert!(world.fenced(policy, ["sh", "-c", "echo x > .git/hooks/pre-commit"]).status != 0);
        assert_eq!(world.bare("git", ["config", "user.name"]).ok().out, "somebody\n");
    }
}

#[test]
fn the_host_sees_the_same_before_during_and_after() {
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let before = status(&world);
        let mut run = started(&world);
        assert_eq!(status(&world), before, "during");
        // Killed, it leaves nothing behind either.
        run.kill().unwrap();
        run.wait().unwrap();
        assert_eq!(status(&world), before, "after kill -9");
        sh(&world, "git status").ok();
        assert_eq!(status(&world), before, "after");
    }
}

/// A run that has started its command: that says so in a file outside of what git looks at.
fn started(world: &World) -> Child {
    let sign = world.work().join(".git/started");
    let run = world.fenced_command(WRITE, ["sh", "-c", "touch .git/started; exec sleep 60"]).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while !Path::new(&sign).exists() {
        assert!(Instant::now() < end, "the command did not start");
        std::thread::yield_now();
    }
    std::fs::remove_file(sign).unwrap();
    run
}

#[test]
fn many_runs_share_one_directory() {
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let policy = world.root.join("policy.json");
        std::fs::write(&policy, WRITE).unwrap();
        let words = ["-s", policy.to_str().unwrap(), "--", "git", "status", "--porcelain"];
        // Half for each user, so that the whole stays the same.
        for round in 0..ROUNDS / everybody().len() {
            let runs: Vec<Child> = (0..PARALLEL)
                .map(|_| {
                    let mut run = world.command(world.fence(), words);
                    run.stdout(std::process::Stdio::piped())
                        .stderr(std::process::Stdio::piped())
                        .spawn()
                        .unwrap()
                })
                .collect();
            for run in runs {
                let ran = Ran::new(run.wait_with_output().unwrap());
                assert!(
                    ran.status == 0 && ran.out.is_empty() && ran.err.is_empty(),
                    "round {round}: {ran:?}"
                );
            }
        }
        assert_eq!(world.bare("git", ["status", "--porcelain"]).ok().out, "");
    }
}
