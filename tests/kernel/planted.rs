//! Ways to plant something that git on the host runs later, in each kind of repository. After each the host's own git is
//! asked as people and editors do; a marker file tells whether it ran anything.

use crate::churn::Churner;
use crate::harness::{Ran, World, everybody};
use crate::need;
use std::path::Path;

const WRITE: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

/// One repository of each kind, with a remote that has news. All obey config.worktree, hooks in `tools/hooks` and an
/// included `tools/gitconfig`, so that one write is enough for an attack.
const REPOSITORIES: &str = "export GIT_TEMPLATE_DIR=; new() { git init -q -b main $1; cd $1; git config user.name me; git config user.email m@e.org; }
    new up; echo 1 > f; git add f; git commit -qm 1; git branch side; cd ..; new sub; echo 1 > s; git add s; git commit -qm s; cd ..
    git clone -q up plain; git clone -q --mirror up bare.git; cd plain; git config user.name me; git config user.email m@e.org
    git -c protocol.file.allow=always submodule --quiet add ../sub module; git commit -qm module; git branch -q other origin/side
    git worktree add -q ../linked other; cd ..
    for r in plain plain/module bare.git; do git -C $r config extensions.worktreeConfig true; mkdir -p $(git -C $r rev-parse --absolute-git-dir)/hooks; done
    for r in plain plain/module bare.git linked; do mkdir -p $r/tools/hooks $r/deep; touch $r/tools/gitconfig; done
    for r in plain plain/module bare.git; do git -C $r config core.hooksPath tools/hooks
    git -C $r config include.path $(git -C $r rev-parse --show-toplevel 2>/dev/null || pwd)/tools/gitconfig; done
    git -C bare.git config include.path tools/gitconfig
    for r in up sub; do cd $r; echo 2 > new; git add new; git commit -qm 2; cd ..; done";

/// What an attack begins with: `e` is a git directory that runs things, and `$G`, `$C` are the attacked one's.
const EVIL: &str = r#"evil() { mkdir -p $1/hooks $1/objects $1/refs; config > $1/config; echo ref: refs/heads/main > $1/HEAD; hooks $1/hooks; }
    config() { printf '[core]\n\tfsmonitor = touch MARK\n\trepositoryformatversion = 0\n[remote "origin"]\n\turl = UP\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\tuploadpack = touch MARK; git-upload-pack\n'; }
    hooks() { for h in post-index-change reference-transaction; do printf '#!/bin/sh\ntouch MARK\n' > $1/$h; chmod +x $1/$h; done; }
    G=$(git rev-parse --absolute-git-dir); C=$(cd $(git rev-parse --git-common-dir) && pwd); T=$PWD; evil $T/e;
"#;

/// In every kind of repository.
const EVERYWHERE: [&str; 12] = [
    "config >> $C/config",
    "git config remote.origin.uploadpack 'touch MARK; git-upload-pack'",
    "config > $C/new; mv -f $C/new $C/config",
    "config > $G/config.worktree",
    "git config --worktree core.fsmonitor 'touch MARK'; git config --worktree remote.origin.uploadpack 'touch MARK; git-upload-pack'",
    "rm -f $C/config; cp e/config $C/config",
    "echo $T/e > $G/commondir",
    "rm -f $G/commondir; ln -s ../e $G/x; printf '%s/e' $T > $G/c; mv $G/c $G/commondir",
    "config > $(git config include.path | sed \"s,^tools,$C/tools,\")",
    "git config --unset core.hooksPath; hooks $C/hooks",
    "hooks tools/hooks",
    "mv tools t2; mkdir -p tools/hooks; hooks tools/hooks; config > tools/gitconfig",
];

/// In a directory of a work tree: what is made there is found first.
const DEEP: [&str; 4] =
    ["cp -r e/. .", "cp e/HEAD .; echo $T/e > commondir", "cp -r e .git", "echo gitdir: $T/e > .git"];

/// In single kinds.
const SINGLE: [(&str, &str); 12] = [
    ("plain", "mv .git g2; cp -r e .git"),
    ("plain", "git --git-dir .git/modules/module config core.fsmonitor 'touch MARK'"),
    ("plain", "config > .git/modules/module/new; mv .git/modules/module/new .git/modules/module/config"),
    ("plain", "echo $T/e > .git/modules/module/commondir"),
    ("plain", "echo gitdir: $T/e > module/.git"),
    ("plain", "mv .git/modules .git/m2; mkdir .git/modules; cp -r e .git/modules/module"),
    ("plain", "echo $T/e > .git/worktrees/linked/commondir"),
    ("plain", "rm -rf .git/worktrees/linked; cp -r e .git/worktrees/linked"),
    ("plain/module", "echo gitdir: $T/e > .git"),
    ("bare.git", "cp -r e .git"),
    ("linked", "echo gitdir: $T/e > .git"),
    ("linked", "mv $G $G.old; cp -r e $G"),
];

/// Each with the directory that it begins in.
fn acts() -> Vec<(String, &'static str)> {
    let kinds = ["plain", "plain/module", "linked", "bare.git"];
    let mut acts: Vec<_> = kinds.iter().flat_map(|at| EVERYWHERE.map(|act| (at.to_string(), act))).collect();
    acts.extend(kinds.iter().flat_map(|at| DEEP.map(|act| (format!("{at}/deep"), act))));
    acts.extend(SINGLE.map(|(at, act)| (at.to_string(), act)));
    acts
}

#[test]
fn git_on_the_host_runs_nothing_that_was_planted() {
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        let work = world.work();
        let whole = std::env::var_os("FENCE_TEST_LONG").is_some();
        let fresh = |mark: &Path| {
            world.bare("sh", ["-c", "rm -rf ./* && cp -a ../fresh/. ."]).ok();
            assert!(!mark.exists());
        };
        world.bare("sh", ["-ec", REPOSITORIES]).ok();
        world.bare("cp", ["-a", ".", "../fresh"]).ok();
        let mark = work.join("MARKED");
        let evil =
            EVIL.replace("MARK", mark.to_str().unwrap()).replace("UP", work.join("up").to_str().unwrap());
        // As people and editors do, where the attack was and in what it may be about.
        let ran_something = |at: &str, act: &str| {
            let around = if at.starts_with("bare") { at } else { "plain" };
            let mut places = vec![at, around];
            places.extend(
                ["linked", "plain/module"]
                    .iter()
                    .filter(|_| act.contains("modul") || act.contains("worktrees")),
            );
            places.dedup();
            for place in places.iter().filter(|place| work.join(place).is_dir()) {
                for line in if whole {
                    &["status", "log -1", "diff", "fetch -q"][..]
                } else {
                    &["status", "fetch -q"]
                } {
                    if !mark.exists() {
                        _ = world.command("git", line.split(' ')).current_dir(work.join(place)).output();
                    }
                }
            }
            mark.exists()
        };
        assert!(
            !ran_something("plain", "worktrees") && !ran_something("bare.git", ""),
            "nothing was planted yet"
        );
        let mut harmless = Vec::new();
        // Root and an ordinary user have a part each, and `scripts/test --user` the rest, unless there is time.
        let parts = match who.uid {
            _ if everybody().len() == 1 => [1, 3],
            0 => [0, 0],
            _ => [2, 2],
        };
        let mine = |n: usize| whole || parts.contains(&(n % 4));
        for (n, (at, act)) in acts().into_iter().enumerate().filter(|(n, _)| mine(*n)) {
            fresh(&mark);
            let line = format!("{evil}{}", act.replace("MARK", mark.to_str().unwrap()));
            // Every fourth beside a program of the host that edits the tree around.
            let churner = (n / 2 % 4 == 0).then(|| Churner::start(&world));
            let mut command = world.fenced_command(WRITE, ["sh", "-c", &line]);
            let ran = Ran::of(command.current_dir(work.join(&at)));
            assert!(!mark.exists(), "inside nothing of the host's is run: {act}");
            assert!(!ran_something(&at, act), "{who:?} in {at}: {act}\n{ran:?}");
            churner.into_iter().for_each(Churner::end);
            // Without fence the same act does harm: it is a real one.
            fresh(&mark);
            _ = world.command("sh", ["-c", &line]).current_dir(work.join(&at)).output().unwrap();
            if !ran_something(&at, act) {
                harmless.push((at, act));
            }
        }
        assert!(harmless.is_empty(), "{who:?}: these run nothing outside either: {harmless:#?}");
    }
}

/// A submodule and its configuration in daily work: what git rewrites there is a copy.
#[test]
fn submodules_go_on_and_their_configuration_stays() {
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-ec", REPOSITORIES]).ok();
        if world.engine_lacks(WRITE, "can't be rewritten") {
            continue;
        }
        let config = world.work().join("plain/.git/modules/module/config");
        let before = std::fs::read(&config).unwrap();
        let run = |at: &str, line: &str| {
            let mut command = world.fenced_command(WRITE, ["sh", "-ec", line]);
            Ran::of(command.current_dir(world.work().join(at)))
        };
        let update = "git -C module config user.name >/dev/null || :; git submodule update; git -C module checkout -q HEAD~0
            git submodule update --force; git submodule status; git submodule foreach -q 'git status --short'";
        let ran = run("plain", update).ok();
        assert_eq!(ran.err.lines().filter(|line| line.starts_with("fence:")).count(), 0, "{ran:?}");
        let commit = "git config user.name; echo x > x; git add x; git -c user.name=me -c user.email=m@e.org commit -qm inside; git stash list; git gc -q; git log";
        run("plain/module", commit.trim_start_matches("git config user.name; ")).ok().says("inside");
        run("plain", "git add module && git commit -qm module").ok();
        // What is written to the copy ends with the run, and is said.
        run("plain", "git -C module config a.b c; git -C module config a.b")
            .ok()
            .says("for the command alone");
        assert_eq!(std::fs::read(&config).unwrap(), before);
        world.bare("git", ["-C", "plain/module", "fsck", "--strict"]).ok();
        // The host changes it while the command runs: the copy is made anew.
        let line = "touch ../started; while [ ! -e ../go ]; do sleep 0.01; done; git -C module config d.e";
        let policy = r#"{"filesystem": {"allowWrite": [".", ".."]}}"#;
        let mut command = world.fenced_command(policy, ["sh", "-c", line]);
        let run = command
            .current_dir(world.work().join("plain"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        crate::guard::wait_for("started", || world.work().join("started").exists());
        world.bare("git", ["-C", "plain/module", "config", "d.e", "f"]).ok();
        std::thread::sleep(std::time::Duration::from_millis(300));
        world.write("go", "");
        crate::guard::end(run).ok().says("f");
    }
}
