//! What holds while the host goes on: names that appear are moved aside, and mounts that the host takes away come back.

use crate::harness::{Ran, World, everybody};
use crate::need;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const WRITE: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

/// Until something is so, for a minute.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A run that has started its command, which says so by a file that is removed again.
pub(crate) fn start(world: &World, policy: &str, line: &str) -> Child {
    let line = format!("touch started; {line}");
    let mut command = world.fenced_command(policy, ["sh", "-c", &line]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let sign = world.work().join("started");
    wait_for("the command did not start", || sign.exists());
    fs::remove_file(sign).unwrap();
    run
}

pub(crate) fn end(run: Child) -> Ran {
    Ran::new(run.wait_with_output().unwrap())
}

pub(crate) fn quarantine(world: &World) -> PathBuf {
    world.home().join(".local/state/fence/quarantine")
}

/// What is there, links not followed.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn repository(world: &World) {
    let lines = "git init -q -b main . && git config user.name me && git config user.email me@example.org &&
        echo one > file && git add file && git commit -qm first";
    world.bare("sh", ["-ec", lines]).ok();
}

/// Each path is made by a line of shell; it must be gone at once, lie in the quarantine, and be named. Outside it stays.
#[test]
fn names_that_appear_are_moved_aside_at_once() {
    need!(program "git");
    let policy =
        r#"{"filesystem": {"allowWrite": [".", "~"], "denyWrite": ["named", "no/such/parent", "to/link"]}}"#;
    let acts = [
        ("~/.bashrc", "echo evil > ~/.bashrc"),
        ("~/.profile", "ln -s /tmp/evil ~/.profile"),
        ("~/.zprofile", "echo evil > t && mv t ~/.zprofile"),
        ("~/.gitconfig", "mkdir ~/.gitconfig"),
        ("~/.config/systemd/user", "mkdir -p ~/.config/systemd/user"),
        ("~/.config/git", "mkdir -p ~/t2/git && rm -rf ~/.config && mv ~/t2 ~/.config"),
        (".git/commondir", "echo ../evil > .git/commondir"),
        (".git/config.worktree", "mkfifo .git/config.worktree"),
        ("named", "touch named"),
        ("no/such/parent", "mkdir -p no/such && touch no/such/parent"),
        ("to/link", "mkdir -p evil && touch evil/link && ln -s evil to"),
    ];
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let status = || world.bare("git", ["status", "--porcelain"]).ok().out;
        assert_eq!(status(), "");
        for (path, act) in acts {
            let place = match path.strip_prefix("~/") {
                Some(rest) => world.home().join(rest),
                None => world.work().join(path),
            };
            let before = fs::read_dir(quarantine(&world)).map_or(0, |all| all.count());
            // The command itself sees it vanish.
            let wait = format!(
                "i=0; while [ $i -lt 400 ] && ls -d {path}; do sleep 0.01; i=$((i+1)); done >/dev/null 2>&1"
            );
            let run = world.fenced(policy, ["sh", "-c", &format!("{act} && {{ {wait}; [ $i -lt 400 ]; }}")]);
            assert!(run.status == 0 && !is_there(&place), "{path}: {run:?}");
            assert!(run.err.contains(" aside to ") && run.err.lines().count() == 1, "{path}: {run:?}");
            assert_eq!(fs::read_dir(quarantine(&world)).unwrap().count(), before + 1, "{path}");
            // The same without fence.
            world.bare("sh", ["-c", act]).ok();
            assert!(is_there(&place), "{path} outside");
            let clean = "rm -rf ~/.bashrc ~/.profile ~/.zprofile ~/.gitconfig ~/.config .git/commondir .git/config.worktree \
                         named no to evil t ~/t2";
            world.bare("sh", ["-c", clean]).ok();
        }
        assert_eq!(status(), "");
    }
}

#[test]
fn names_count_where_the_environment_has_them_looked_for() {
    let policy = r#"{"filesystem": {"allowWrite": [".", "~"]}}"#;
    let line = "echo x >> ~/cfg/git/config; mkdir -p ~/cfg/fence; echo '{}' > ~/cfg/fence/fence.json; echo x > ~/z/.zshenv; true";
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-ec", "mkdir -p ~/cfg/git ~/z; echo mine > ~/cfg/git/config"]).ok();
        let (config, zsh) = (world.home().join("cfg"), world.home().join("z"));
        let written = || {
            let git = fs::read_to_string(config.join("git/config")).unwrap() != "mine\n";
            [git, is_there(&config.join("fence/fence.json")), is_there(&zsh.join(".zshenv"))]
        };
        let mut run = world.fenced_command(policy, ["sh", "-c", line]);
        let run = Ran::of(run.env("XDG_CONFIG_HOME", &config).env("ZDOTDIR", &zsh)).ok();
        assert_eq!(written(), [false; 3], "{run:?}");
        // Nobody looks there without the variables.
        let run = world.fenced(policy, ["sh", "-c", line]).ok();
        assert_eq!(written(), [true; 3], "{run:?}");
    }
}

#[test]
fn a_literal_entry_lets_a_name_appear() {
    for who in everybody() {
        let world = World::new(who);
        let policy = r#"{"filesystem": {"allowWrite": [".", "~", "~/.bashrc"]}}"#;
        let ran =
            world.fenced(policy, ["sh", "-c", "echo mine > ~/.bashrc; echo x > ~/.profile; sleep 0.2"]).ok();
        assert!(world.home().join(".bashrc").exists() && !world.home().join(".profile").exists(), "{ran:?}");
    }
}

#[test]
fn what_programs_obey_on_request_is_reported_and_stays() {
    for who in everybody() {
        let world = World::new(who);
        world.mkdir(".git/objects");
        let ran = world.fenced(WRITE, ["sh", "-c", "mkdir .vscode && echo x > .mcp.json"]).ok();
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        ran.says(".vscode").says(".mcp.json");
        assert!(world.work().join(".vscode").exists() && world.work().join(".mcp.json").exists());
        assert_eq!(world.fenced(WRITE, ["true"]).ok().err, "");
    }
}

#[test]
fn what_the_run_makes_in_new_directories_stays() {
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let line = "git clone -q . copy && git init -q new && git worktree add -q tree && mkdir -p app/.vscode && touch app/.bashrc
            cd tree && touch x && git add x && git commit -qm x";
        let ran = world.fenced(WRITE, ["sh", "-ec", line]).ok();
        let made = [
            "copy/.git/config",
            "new/.git/hooks",
            ".git/worktrees/tree/commondir",
            "app/.vscode",
            "app/.bashrc",
        ];
        assert!(made.iter().all(|path| world.work().join(path).exists()), "{ran:?}");
        world.bare("git", ["-C", "copy", "status"]).ok();
        world.bare("git", ["-C", "tree", "log"]).ok();
    }
}

/// Saves as programs do them. After each, what the command sees is asked once the guard has had time: its window is about a
/// millisecond on an idle machine, and this one may be busy.
#[test]
fn a_file_that_the_host_replaces_stays_covered() {
    let policy = r#"{"filesystem": {"allowWrite": ["."], "denyRead": [".env", "secrets"], "denyWrite": ["locked", ".mcp.json"]}}"#;
    let answers = "while [ ! -e stop ]; do if [ -e ask ]; then
            cat .env secrets/key link; echo evil >> locked; echo evil > .mcp.json; rm ask; fi; sleep 0.005; done 2>/dev/null";
    let saves = [
        "echo KEY > n && mv n .env",
        "rm .env; echo KEY > .env",
        "echo KEY > n && ln -f n .env; rm n",
        "rm .env; sleep 0.1; echo KEY > .env",
        "mv .env old; ln -s old .env",
        "mv .env o2; echo KEY > .env",
        "mv secrets s2; mkdir secrets; echo KEY > secrets/key",
        "rm -rf secrets; sleep 0.1; mkdir secrets; echo KEY > secrets/key",
        "echo good > n && mv n locked",
        "cp locked n && sed -i s/good/good/ locked",
        "echo good > n; mv n .mcp.json",
    ];
    let set_up = "mkdir secrets; echo KEY | tee .env > secrets/key; echo good | tee locked > .mcp.json; ln -s .env link";
    let check = "test \"$(cat locked .mcp.json | sort -u)\" = good && grep -q KEY .env secrets/key";
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-c", set_up]).ok();
        if world.engine_lacks(policy, "makes no mount again") {
            continue;
        }
        let run = start(&world, policy, answers);
        for save in saves {
            world.bare("sh", ["-c", save]).ok();
            std::thread::sleep(Duration::from_millis(150));
            // In one act: the command removes it.
            world.bare("touch", ["ask"]).ok();
            let ask = world.work().join("ask");
            wait_for(save, || !ask.exists());
            world.bare("sh", ["-c", check]).ok();
        }
        world.write("stop", "");
        let ran = end(run).ok();
        assert_eq!(ran.out, "", "{ran:?}");
        // What the command could do without cover.
        let control = "cat .env secrets/key && echo evil >> locked && echo evil > .mcp.json";
        world.bare("sh", ["-c", control]).ok();
    }
}

#[test]
fn what_can_not_be_covered_again_ends_the_run() {
    for who in everybody() {
        let world = World::new(who);
        world.write(".env", "KEY");
        let policy = r#"{"filesystem": {"allowWrite": ["."], "denyRead": [".env"]}}"#;
        if world.engine_lacks(policy, "makes no mount again") {
            continue;
        }
        let run = start(&world, policy, "exec sleep 60");
        // The mask of a file does not go over a directory.
        world.bare("sh", ["-c", "rm .env && mkdir .env && echo KEY > .env/key"]).ok();
        end(run).status(125).says("cannot cover").says("ended");
    }
}

/// Processes of fence in a run: (launcher, guard, init).
fn processes(run: &Child) -> (i32, i32, i32) {
    let launcher = run.id() as i32;
    let list = || -> Vec<i32> {
        let children = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    };
    // The command may be faster than the guard is made.
    wait_for("two children", || list().len() == 2);
    let children = list();
    let pid_namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid_for_children"));
    let ours = fs::read_link("/proc/self/ns/pid").unwrap();
    // bubblewrap stands in for init.
    let bwrap = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "bwrap\n";
    let guards = |pid: &&i32| pid_namespace(**pid).is_ok_and(|ns| ns == ours) && !bwrap(**pid);
    let guard = *children.iter().find(guards).unwrap();
    (launcher, guard, *children.iter().find(|pid| **pid != guard).unwrap())
}

fn kill(pid: i32, signal: &str) {
    assert!(std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn the_guard_is_there_only_when_needed_and_the_run_ends_with_it() {
    need!(root);
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let policy = r#"{"filesystem": {"allowWrite": ["."]}}"#;
        let run = start(&world, policy, "exec sleep 60");
        let (_, guard, _) = processes(&run);
        kill(guard, "-KILL");
        end(run).status(125).says("guards it was killed");
        // Nothing to guard: not even a socket of the host's, which other tests may have just now.
        let nothing = r#"{"network": {"allowAllUnixSockets": true}}"#;
        let mut plain = world.fenced_command(nothing, ["sleep", "60"]).spawn().unwrap();
        wait_for("no child", || {
            let path = format!("/proc/{0}/task/{0}/children", plain.id());
            fs::read_to_string(path).is_ok_and(|text| text.split_whitespace().count() == 1)
        });
        std::thread::sleep(Duration::from_millis(50));
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", plain.id())).unwrap();
        assert_eq!(children.split_whitespace().count(), 1);
        plain.kill().unwrap();
        plain.wait().unwrap();
    }
}

#[test]
fn the_guard_goes_on_while_fence_is_stopped_or_killed() {
    need!(root);
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let planted = world.work().join(".git/commondir");
        let line = "while [ ! -e go ]; do sleep 0.01; done; echo evil > .git/commondir; touch planted; exec sleep 60";
        let mut run = start(&world, WRITE, line);
        let (launcher, guard, init) = processes(&run);
        kill(launcher, "-STOP");
        world.write("go", "");
        wait_for("not planted", || world.work().join("planted").exists());
        wait_for("not moved aside", || !planted.exists());
        // Killed: the sandbox ends, and the guard with it.
        kill(launcher, "-KILL");
        run.wait().unwrap();
        for pid in [guard, init] {
            let path = format!("/proc/{pid}/stat");
            let gone = || fs::read_to_string(&path).map_or(true, |stat| stat.contains(") Z "));
            wait_for("still alive", gone);
        }
        assert_eq!(fs::read_dir(world.home().join(".local/state/fence/runs")).unwrap().count(), 0);
    }
}

#[test]
fn the_next_start_moves_aside_what_a_killed_run_left() {
    need!(root);
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let line = "while [ ! -e go ]; do sleep 0.01; done; echo evil > .git/commondir; mkdir evil; ln -s evil no; touch planted; exec sleep 60";
        let policy = r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["no/such/name"]}}"#;
        let mut run = start(&world, policy, line);
        let (launcher, guard, _) = processes(&run);
        kill(guard, "-STOP");
        world.write("go", "");
        wait_for("not planted", || world.work().join("planted").exists());
        kill(guard, "-KILL");
        kill(launcher, "-KILL");
        run.wait().unwrap();
        let planted = world.work().join(".git/commondir");
        assert!(planted.exists());
        // Another directory, another policy that writes.
        let elsewhere = world.mkdir("../elsewhere");
        let sweep = |name: &str| {
            let mut command = world.fenced_command(WRITE, [name]);
            Ran::of(command.current_dir(&elsewhere)).ok()
        };
        wait_for("not swept", || sweep("true").err.contains("in a run that was killed"));
        assert!(!planted.exists());
        // A link on the way would lead past the next watch.
        assert!(!is_there(&world.work().join("no")));
        assert_eq!(sweep("true").err, "");
        // A run that goes on is left alone.
        let other = start(&world, WRITE, "exec sleep 1");
        assert_eq!(sweep("true").err, "");
        end(other).ok();
    }
}

#[test]
fn the_guard_can_not_be_reached_from_inside() {
    for who in everybody() {
        let world = World::new(who);
        world.write(".env", "KEY");
        let policy = r#"{"filesystem": {"allowWrite": ["."], "denyRead": [".env"]}}"#;
        let line = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done; kill -9 -1; echo alive";
        let ran = world.fenced(policy, ["sh", "-c", line]);
        assert!(!ran.out.contains("fence ") && ran.out.contains("sh -c"), "{ran:?}");
        let run = start(&world, policy, "sleep 0.3");
        world.bare("sh", ["-c", "echo KEY > n; mv n .env"]).ok();
        end(run).ok();
    }
}

#[test]
fn fence_says_why_git_can_not_change_its_configuration() {
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        repository(&world);
        let line = "for i in 1 2 3 4 5 6 7 8 9 10; do git config a.b c; git remote add x y; git branch -m new; done; true";
        let ran = world.fenced(WRITE, ["sh", "-c", line]).ok();
        let ours: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("fence:")).collect();
        assert!(ours.len() == 1 && ours[0].contains("allowGitConfig"), "{ran:?}");
        let allowed = r#"{"filesystem": {"allowWrite": ["."], "allowGitConfig": true}}"#;
        let ran = world.fenced(allowed, ["git", "config", "a.b", "c"]).ok();
        assert_eq!(ran.err, "");
    }
}
