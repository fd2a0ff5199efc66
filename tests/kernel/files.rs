//! File rules on a real kernel: what is hidden stays hidden and what is read-only stays as it is, by whatever name.
//!
//! Most tests are a call of `denied`: the acts fail inside, each of them succeeds outside on a copy (the positive
//! control), and afterwards a last line finds the host's files as they were; all of that again beside a program of the host
//! that edits the same tree.

use crate::churn::Churner;
use crate::harness::{Ran, USER, World, everybody};
use crate::need;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

const WRITE: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

fn sh(world: &World, policy: &str, line: &str) -> Ran {
    world.fenced(policy, ["sh", "-c", line])
}

/// The same command with `work` and `home` elsewhere.
fn outside(world: &World, top: &str, line: &str) -> Ran {
    let (work, home) = (world.mkdir(format!("../{top}/work")), world.mkdir(format!("../{top}/home")));
    Ran::of(world.command("sh", ["-c", line]).current_dir(work).env("HOME", home))
}

#[track_caller]
fn denied(policy: &str, set_up: &str, acts: &[&str], after: &str) {
    for who in everybody() {
        let lines = acts.iter().enumerate().map(|(n, act)| format!("( {act}\n) && echo ACT {n} WORKS\n"));
        let lines = lines.collect::<String>() + "echo END";
        let attack = |world: &World| {
            let inside = sh(world, policy, &lines);
            assert_eq!(inside.out.lines().last(), Some("END"), "{who:?}: {inside:?}");
            assert!(!inside.out.contains("WORKS"), "{who:?}: {inside:?}");
            world.bare("sh", ["-ec", after]).ok();
        };
        // Once more while somebody on the host edits the same tree.
        let busy = World::new(who);
        busy.bare("sh", ["-ec", set_up]).ok();
        if busy.engine_lacks(policy, "can't keep the symbolic link") {
            continue;
        }
        let churner = Churner::start(&busy);
        attack(&busy);
        churner.end();
        let world = World::new(who);
        world.bare("sh", ["-ec", set_up]).ok();
        attack(&world);
        for (n, act) in acts.iter().enumerate() {
            outside(&world, &format!("control{n}"), &format!("set -e\n{set_up}\n")).ok();
            let control = outside(&world, &format!("control{n}"), act);
            assert_eq!(control.status, 0, "outside {act:?} should work: {control:?}");
        }
    }
}

#[test]
fn masked_files_and_directories_are_not_read_by_any_name() {
    let policy = r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["secret", "dir", "~/.ssh"]}}"#;
    let set_up = "echo KEY > secret; mkdir -p dir/sub ~/.ssh; echo KEY > dir/sub/key; echo KEY > ~/.ssh/id; ln -s secret before";
    denied(
        policy,
        set_up,
        &[
            "grep KEY secret",
            "grep KEY before",
            "ln -s ~/.ssh/id link && grep KEY link",
            "ln -s dir/sub/key deep && grep KEY deep",
            "ln secret hard && grep KEY hard",
            "grep KEY /proc/self/root$(pwd)/secret",
            "grep KEY /proc/self/cwd/secret",
            "grep KEY /proc/$$/cwd/dir/sub/key",
            "grep -r KEY dir",
            "exec 9< dir && grep KEY /proc/self/fd/9/sub/key",
            "cp secret copy && grep KEY copy",
            "mv secret moved && grep KEY moved",
            "mv dir moved && grep KEY moved/sub/key",
            "tar cf a.tar dir && tar xOf a.tar | grep KEY",
            "test -e dir/sub",
        ],
        "grep -q KEY secret dir/sub/key ~/.ssh/id",
    );
}

#[test]
fn a_masked_directory_lists_as_empty_and_takes_no_file() {
    denied(
        r#"{"filesystem": {"allowWrite": ["~", "."], "denyRead": ["~/.ssh", "dir"]}}"#,
        "mkdir -p ~/.ssh dir; echo KEY > ~/.ssh/id",
        &[
            "touch ~/.ssh/x",
            "mkdir dir/sub",
            "echo x >> ~/.ssh/id",
            "rmdir dir",
            "rm -r ~/.ssh",
            "chmod 777 dir",
        ],
        "test \"$(ls -A ~/.ssh)\" = id && test -z \"$(ls -A dir)\"",
    );
    for who in everybody() {
        let world = World::new(who);
        world.write("dir/key", "KEY");
        let ran =
            sh(&world, r#"{"filesystem": {"denyRead": ["dir"]}}"#, "ls -A dir && cat dir/key").status(1);
        assert_eq!(ran.out, "");
        ran.says("No such file");
    }
}

#[test]
fn a_mask_moves_with_the_directory_above_it() {
    for act in ["mv a c && grep KEY c/b/secret", "mv a/b d && grep KEY d/secret", "grep -r KEY ."] {
        for deny in ["a/b/secret", "**/secret", "a/*/s*"] {
            let policy = format!(r#"{{"filesystem": {{"allowWrite": ["."], "denyRead": ["{deny}"]}}}}"#);
            denied(&policy, "mkdir -p a/b; echo KEY > a/b/secret", &[act], "grep -rq KEY .");
        }
    }
}

#[test]
fn a_run_can_not_prepare_the_next_one() {
    for who in everybody() {
        let world = World::new(who);
        let set_up = "mkdir -p a/b out ~/.ssh; echo KEY > a/b/secret; echo KEY > ~/.ssh/id; echo KEY > ~/creds; ln -s ~/creds creds";
        world.bare("sh", ["-ec", set_up]).ok();
        let policy =
            r#"{"filesystem": {"allowWrite": [".", "out", "out2/*"], "denyRead": ["a/b/secret", "creds"]}}"#;
        let plant = "mv a z; mv a/b z; ln -sfn /dev/null creds; rm -rf out; ln -s ~/.ssh out; mkdir out2; ln -s ~/.ssh out2/x; ls -l";
        if world.engine_lacks(policy, "can't keep the symbolic link") {
            continue;
        }
        let first = sh(&world, policy, plant).ok();
        let second = sh(
            &world,
            policy,
            "grep -r KEY . ; cat ~/creds creds; echo evil > out/planted; echo evil > out2/x/planted; true",
        )
        .ok();
        assert!(!second.out.contains("KEY"), "{first:?} {second:?}");
        second.says("symbolic link");
        assert!(!world.home().join(".ssh/planted").exists());
    }
}

#[test]
fn a_path_denied_for_writing_keeps_content_and_place() {
    need!(program "perl");
    let acts = [
        "echo evil > a/b/file",
        "echo evil >> a/b/file",
        "truncate -s 0 a/b/file",
        "rm -f a/b/file && test ! -e a/b/file",
        "mv a/b/file elsewhere",
        "echo evil > new && mv -f new a/b/file",
        "ln -f new2 a/b/file || { touch new2 && ln -f new2 a/b/file; }",
        "ln -sf /etc/passwd a/b/file",
        "ln a/b/file hard && echo evil > hard",
        "mv a a2 && mkdir -p a/b && echo evil > a/b/file",
        "mv a/b a/b2 && mkdir a/b && echo evil > a/b/file",
        "chmod 777 a/b/file",
        "touch -d 2001-01-01 a/b/file",
        "echo evil > /proc/self/cwd/a/b/file",
        "exec 9< a/b/file && echo evil > /proc/self/fd/9",
        "mkdir -p swap && perl -e '($a, $b) = qw(a swap); exit !(syscall(316, -100, $a, -100, $b, 2) == 0)'",
        "perl -e '($a, $b) = qw(a/b/file new2); exit !(syscall(316, -100, $a, -100, $b, 2) == 0)'",
        "rm -rf a && test ! -e a",
    ];
    let set_up = "mkdir -p a/b; echo good > a/b/file; touch new2";
    let after = "test \"$(cat a/b/file)\" = good && test -f a/b/file && test ! -L a/b/file";
    denied(r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["a/b/file"]}}"#, set_up, &acts, after);
    // Allowed once more below makes no difference.
    let again = r#"{"filesystem": {"allowWrite": [".", "a", "a/b/file"], "denyWrite": ["a/b/file"]}}"#;
    denied(again, set_up, &acts, after);
}

#[test]
fn deny_beats_allow_at_any_depth() {
    for allow in [r#""a/b", "a/b/file""#, r#"".", "a/b""#, r#""a", "a/b/file""#] {
        denied(
            &format!(r#"{{"filesystem": {{"allowWrite": [{allow}], "denyWrite": ["a"]}}}}"#),
            "mkdir -p a/b; echo good > a/b/file",
            &["echo evil > a/b/file", "touch a/b/new", "touch a/new", "rm a/b/file"],
            "test \"$(cat a/b/file)\" = good && test \"$(ls a a/b)\" = \"$(printf 'a:\\nb\\n\\na/b:\\nfile')\"",
        );
    }
    denied(
        r#"{"filesystem": {"allowRead": ["a/b"], "allowWrite": [".", "a/b"], "denyRead": ["a"], "denyWrite": ["a/b/file"]}}"#,
        "mkdir -p a/b; echo good > a/b/file",
        &["cat a/b/file", "echo x > a/b/file", "ls a/b"],
        "grep -q good a/b/file",
    );
}

#[test]
fn names_that_run_code_are_kept() {
    let set_up = "git init -q . 2>/dev/null || mkdir -p .git/hooks; mkdir -p .vscode .idea .git/hooks
        touch .git/config .git/hooks/x .vscode/tasks.json .mcp.json .gitmodules ~/.bashrc ~/.profile ~/.gitconfig
        mkdir -p ~/.config/git ~/.config/autostart ~/.config/systemd/user; touch ~/.config/git/config";
    denied(
        r#"{"filesystem": {"allowWrite": [".", "~"]}}"#,
        set_up,
        &[
            "mv .git .g2 && mkdir -p .git/hooks && echo evil > .git/hooks/pre-commit",
            "echo evil > .git/hooks/pre-commit",
            "mv .git/hooks .git/h2",
            "echo evil >> .git/config",
            "echo evil > c && mv c .git/config",
            "echo evil > .vscode/tasks.json",
            "mv .vscode v && mkdir .vscode",
            "rm -r .idea",
            "echo evil > .mcp.json",
            "echo evil > .gitmodules",
            "echo evil >> ~/.bashrc",
            "echo evil > x && mv x ~/.profile",
            "rm ~/.gitconfig",
            "echo evil > ~/.config/git/config",
            "touch ~/.config/autostart/evil.desktop",
            "touch ~/.config/systemd/user/evil.service",
            "mv ~/.config ~/.c2 && mkdir -p ~/.config/systemd/user",
        ],
        "! grep -rqs evil .git .vscode .mcp.json .gitmodules ~/.bashrc ~/.profile ~/.gitconfig ~/.config && test -d .idea",
    );
}

#[test]
fn deeper_names_and_those_of_other_writable_directories_are_kept() {
    denied(
        r#"{"filesystem": {"allowWrite": [".", "../other"]}}"#,
        "mkdir -p a/.git/hooks a/.vscode ../other; touch a/.git/HEAD a/.git/config ../other/.bashrc a/.mcp.json",
        &[
            "echo evil > a/.mcp.json",
            "touch a/.vscode/x",
            "echo evil > ../other/.bashrc",
            "touch a/.git/hooks/x",
        ],
        "! grep -qs evil a/.mcp.json ../other/.bashrc && test -z \"$(ls a/.git/hooks a/.vscode | grep x)\"",
    );
}

#[test]
fn a_protected_name_that_is_a_link_keeps_link_and_target() {
    denied(
        r#"{"filesystem": {"allowWrite": ["~", "."], "denyWrite": ["via/file"]}}"#,
        "mkdir -p ~/dot/bash real; echo good > ~/dot/bash/rc; ln -s bash ~/dot/now; ln -s dot/now/rc ~/.bashrc
         echo good > real/file; ln -s real via; mkdir -p gitdir/hooks; touch gitdir/HEAD gitdir/config; ln -s gitdir .git",
        &[
            "echo evil > ~/.bashrc",
            "rm ~/.bashrc",
            "ln -sfn /tmp/evil ~/.bashrc",
            "echo evil > f && mv f ~/.bashrc",
            "ln -sfn evil ~/dot/now",
            "mv ~/dot ~/d2",
            "echo evil > real/file",
            "ln -sfn other via",
            "mv via v2",
            "mv real r2",
            "rm .git && mkdir -p .git/hooks",
            "touch gitdir/hooks/pre-commit",
        ],
        "test \"$(cat ~/.bashrc via/file)\" = \"$(printf 'good\\ngood')\" && test \"$(readlink via .git)\" = \"$(printf 'real\\ngitdir')\"",
    );
}

#[test]
fn a_literal_entry_lifts_a_protected_name_and_nothing_else() {
    for who in everybody() {
        let world = World::new(who);
        world.write(".vscode/tasks.json", "{}");
        world.write(".mcp.json", "{}");
        let policy = r#"{"filesystem": {"allowWrite": [".", ".vscode"]}}"#;
        sh(&world, policy, "echo ok > .vscode/tasks.json && ! echo evil > .mcp.json").ok();
        assert_eq!(fs::read_to_string(world.work().join(".mcp.json")).unwrap(), "{}");
    }
}

#[test]
fn odd_deny_paths_neither_stop_the_command_nor_let_anything_through() {
    let paths = [
        "link",
        "dangling",
        "loop",
        "missing",
        "missing/parent/x",
        "file/below",
        "dir/",
        "a/../dir2",
        "shm",
        "/root/x",
    ];
    let quoted = paths.map(|p| format!("{p:?}")).join(", ");
    for list in ["denyRead", "denyWrite"] {
        let policy = format!(r#"{{"filesystem": {{"allowWrite": ["."], "{list}": [{quoted}]}}}}"#);
        denied(
            &policy,
            "echo KEY > target; ln -s target link; ln -s nowhere dangling; ln -s loop loop; echo KEY > file
             mkdir dir dir2 unreadable; echo KEY > dir/x; echo KEY > dir2/x; ln -s /dev/shm shm; touch unreadable/x; chmod 0 unreadable",
            &match list {
                "denyRead" => ["grep KEY target", "grep KEY link", "grep KEY dir/x", "grep KEY dir2/x"],
                _ => ["echo evil > target", "ln -sfn evil link", "echo evil > dir/x", "echo evil > dir2/x"],
            },
            "test \"$(cat target link dir/x dir2/x | sort -u)\" = KEY && test -L dangling && test -L loop && test ! -e missing",
        );
    }
}

#[test]
fn odd_names_work() {
    for who in everybody() {
        let world = World::new(who);
        let names = ["with space", "new\nline", "ünïcode", "quote\"'", "-dash", "back\\slash", "tab\t"];
        for name in names {
            world.write(name, "KEY");
        }
        let list = names
            .iter()
            .map(|n| format!("{:?}", n.replace('\\', "\u{1}")).replace("\\u{1}", "\\\\"))
            .collect::<Vec<_>>();
        let policy =
            format!(r#"{{"filesystem": {{"allowWrite": ["."], "denyRead": [{}]}}}}"#, list.join(", "));
        let ran = sh(&world, &policy, "grep -rl KEY . ; echo searched");
        assert_eq!(ran.out, "searched\n", "{ran:?}");
        let bytes = world.mkdir(Path::new(std::ffi::OsStr::from_bytes(b"not\xffutf8")));
        let mut command = world.fenced_command(WRITE, ["sh", "-c", "touch ok && pwd"]);
        Ran::of(command.current_dir(&bytes)).ok();
        assert!(bytes.join("ok").exists());
    }
}

#[test]
fn starting_fence_creates_nothing_on_the_host() {
    for who in everybody() {
        let world = World::new(who);
        world
            .bare(
                "sh",
                ["-ec", "mkdir -p a/b .git; touch a/b/c; ln -s /opt/fence-test-outside planted; ln -s a x"],
            )
            .ok();
        let policy = r#"{"filesystem": {
            "allowWrite": [".", "new", "~/new/dir"], "allowRead": ["no"], "denyRead": ["gone", "a/no/x", "planted/b", "~/.ssh"],
            "denyWrite": [".bashrc", "planted/b", "x/y/z", "~/.config/git/config"]}}"#;
        let list = || {
            world.bare("find", [world.root.to_str().unwrap(), "-not", "-name", "policy-*", "-ls"]).ok().out
        };
        if world.engine_lacks(policy, "can't keep the symbolic link") {
            continue;
        }
        sh(&world, policy, "true").ok();
        let before = list();
        sh(&world, policy, "true").ok();
        let during = sh(&world, policy, "find . | sort");
        assert_eq!(before, list());
        assert_eq!(during.out, world.bare("sh", ["-c", "find . | sort"]).out);
        assert!(!Path::new("/opt/fence-test-outside").exists());
    }
}

#[test]
fn the_machine_itself_is_read_only_for_root_too() {
    need!(root);
    let world = World::new(everybody()[0]);
    for policy in ["{}", WRITE, r#"{"filesystem": {"allowWrite": ["/"]}}"#] {
        let files = "/proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run \
                     /sys/power/state /sys/kernel/uevent_helper /dev/kmsg /proc/sys/vm/drop_caches";
        let line = format!(
            "for f in {files}; do ( : >> $f ) 2>/dev/null && echo WORKS $f; done; mkdir /sys/fs/cgroup/evil && echo WORKS; true"
        );
        if world.engine_lacks(policy, "the command may write to") {
            continue;
        }
        let inside = sh(&world, policy, &line).ok();
        assert_eq!(inside.out, "", "{policy}");
    }
    // Opening alone does nothing; outside it works.
    world.bare("sh", ["-c", ": >> /proc/sys/kernel/core_pattern && : >> /dev/kmsg"]).ok();
}

#[test]
fn device_nodes_outside_dev_do_not_open() {
    need!(root);
    let world = World::new(everybody()[0]);
    world.bare("sh", ["-ec", "mknod zero c 1 5; chmod 666 zero; head -c1 zero >/dev/null"]).ok();
    for policy in ["{}", WRITE, r#"{"filesystem": {"allowWrite": ["/"]}, "devices": {"mode": "host"}}"#] {
        if world.engine_lacks(policy, "the command may write to") {
            continue;
        }
        assert!(sh(&world, policy, "head -c1 zero").status != 0, "{policy}");
        assert!(sh(&world, policy, "mknod n c 1 5 && head -c1 n").status != 0, "{policy}");
        sh(&world, policy, "head -c1 /dev/zero > /dev/null").ok();
    }
}

#[test]
fn fence_itself_can_not_be_replaced() {
    for who in everybody() {
        let world = World::new(who);
        let before = fs::read(world.fence()).unwrap();
        let policy = r#"{"filesystem": {"allowWrite": [".."]}}"#;
        let acts = [
            "cp /etc/passwd ../bin/fence",
            "rm -f ../bin/fence",
            "mv ../bin ../bin2",
            "touch n && mv -f n ../bin/fence",
        ];
        for act in acts.iter().chain(&["echo x > /proc/1/exe", "cat /proc/1/exe"]) {
            assert!(sh(&world, policy, act).status != 0, "{act}");
        }
        assert!(fs::read(world.fence()).unwrap() == before);
        world.bare("sh", ["-ec", "cp ../bin/fence c; cp /etc/passwd c; rm c"]).ok();
    }
}

#[test]
fn private_places_hide_the_host() {
    for who in everybody() {
        let world = World::new(who);
        let name = format!("fence-test-{}-{}", std::process::id(), who.uid);
        for dir in ["/tmp", "/var/tmp", "/dev/shm"] {
            world.bare("sh", ["-ec", &format!("echo KEY > {dir}/{name}")]).ok();
        }
        let ran = sh(
            &world,
            WRITE,
            &format!("cat /tmp/{name} /var/tmp/{name} /dev/shm/{name}; ls -A /tmp /run | wc -l"),
        );
        assert!(!ran.out.contains("KEY"), "{ran:?}");
        sh(
            &world,
            WRITE,
            &format!("for d in /tmp /var/tmp /dev/shm /run; do echo x > $d/{name}2 || exit 1; done"),
        )
        .ok();
        for dir in ["/tmp", "/var/tmp", "/dev/shm", "/run"] {
            assert!(!Path::new(dir).join(format!("{name}2")).exists(), "{dir}");
            _ = fs::remove_file(Path::new(dir).join(&name));
        }
    }
}

#[test]
fn the_working_directory_and_named_files_show_below_tmp() {
    for who in everybody() {
        let mut world = World::new(who);
        let kept = world.root.clone();
        let bin = world.fence();
        let top = Path::new("/tmp").join(format!("fence-test-{}-{}", std::process::id(), who.uid));
        world.root = top.clone();
        for dir in ["", "home", "work", "other"] {
            world.mkdir(top.join(dir));
        }
        let script = world.write("../other/script.sh", "echo script ran");
        world.write("../other/hidden", "KEY");
        world.write("here", "text");
        let run = |words: &[&str]| world.bare(&bin, words);
        assert_eq!(run(&["--", "cat", "here"]).ok().out, "text");
        assert_eq!(run(&["--", "sh", script.to_str().unwrap()]).ok().out, "script ran\n");
        run(&["--", "sh", "-c", "cat ../other/hidden"]).says("No such file");
        assert!(run(&["--", "sh", "-c", "touch here"]).status != 0);
        let ran =
            world.bare(&bin, ["-s", world.write("../p.json", WRITE).to_str().unwrap(), "--", "touch", "new"]);
        ran.ok();
        assert!(top.join("work/new").exists());
        fs::remove_dir_all(&top).unwrap();
        world.root = kept;
    }
}

#[test]
fn words_of_proc_and_dev_name_the_sandbox_s_own_files() {
    for who in everybody() {
        let world = World::new(who);
        assert!(world.run(["--", "cat", "/proc/self/status"]).ok().out.contains("NoNewPrivs:\t1"));
        assert_eq!(world.run(["--", "cat", "/proc/sys/kernel/random/boot_id"]).ok().out.len(), 37);
        world.run(["--", "cat", "/dev/null"]).ok();
        world.run(["--", "cat", "/proc/mounts"]).ok();
        let environ = world.run(["--", "cat", "/proc/1/environ"]);
        assert!(!environ.out.contains("HOME="), "{environ:?}");
    }
}

#[test]
fn a_working_directory_that_is_hidden_is_refused() {
    for who in everybody() {
        let world = World::new(who);
        for policy in [
            r#"{"filesystem": {"denyRead": ["."]}}"#,
            r#"{"filesystem": {"denyRead": [".."]}}"#,
            r#"{"filesystem": {"strictDenyRead": true, "allowRead": ["/usr", "/bin", "/lib", "/lib64"]}}"#,
        ] {
            world.fenced(policy, ["true"]).status(125).says("working directory");
        }
        let mut gone = world.fenced_command("{}", ["true"]);
        let gone = gone.current_dir(format!("/proc/{}", std::process::id())).output().unwrap();
        Ran::new(gone).status(125).says("working directory");
    }
}

#[test]
fn mounts_below_a_writable_directory_keep_their_own_flags() {
    need!(root);
    for who in everybody() {
        let world = World::new(who);
        let (rw, ro) = (world.mkdir("rw"), world.mkdir("ro"));
        let mount = |args: &[&str]| assert!(Command::new("mount").args(args).status().unwrap().success());
        for dir in [&rw, &ro] {
            mount(&["-t", "tmpfs", "-o", &format!("mode=777,uid={USER}"), "none", dir.to_str().unwrap()]);
            fs::write(dir.join("secret"), "KEY").unwrap();
        }
        mount(&["-o", "remount,ro,bind", ro.to_str().unwrap()]);
        let policy = r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["rw/secret", "ro"]}}"#;
        let ran = sh(&world, WRITE, "touch rw/new && ! touch ro/new && cat ro/secret");
        let masked = sh(&world, policy, "cat rw/secret ro/secret; ls ro | wc -l");
        // A directory that is denied and is a mount point itself, and one that is pinned.
        let kept = sh(
            &world,
            r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["rw"]}}"#,
            "! touch rw/x && ! mv rw r2",
        );
        for dir in [&rw, &ro] {
            assert!(Command::new("umount").arg(dir).status().unwrap().success());
        }
        assert_eq!(ran.ok().out, "KEY");
        assert_eq!(masked.out, "0\n", "{:?}", masked.err);
        kept.ok();
    }
}

#[test]
fn a_directory_that_the_host_mounts_twice_is_denied_at_both_places() {
    need!(root);
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-ec", "mkdir -p ~/code/dir ../twice; echo KEY > ~/code/secret; echo KEY > ~/code/dir/key; touch ~/code/keep"]).ok();
        let twice = world.root.join("twice");
        assert!(
            Command::new("mount")
                .arg("--bind")
                .args([world.home().join("code"), twice.clone()])
                .status()
                .unwrap()
                .success()
        );
        let policy = r#"{"filesystem": {"allowWrite": ["../twice"], "denyRead": ["~/code/secret", "~/code/d*"], "denyWrite": ["~/code/keep"]}}"#;
        let ran = sh(
            &world,
            policy,
            "grep -r KEY ~/code ../twice; echo x > ../twice/keep; echo x > ../twice/new; echo end",
        );
        assert!(Command::new("umount").arg(&twice).status().unwrap().success());
        assert_eq!(ran.out, "end\n", "{ran:?}");
        assert!(world.home().join("code/new").exists());
        assert_eq!(fs::read(world.home().join("code/keep")).unwrap(), b"");
    }
}

#[test]
fn writable_single_files_and_links_to_directories() {
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-ec", "mkdir real; echo a > one; echo b > two; ln -s real link"]).ok();
        let policy = r#"{"filesystem": {"allowWrite": ["one", "link/"]}}"#;
        sh(
            &world,
            policy,
            "echo new > one && touch link/x real/y && ! echo new > two && ! rm one && ! mv real r2",
        )
        .ok();
        let list = world.bare("sh", ["-c", "cat one two; ls real"]);
        assert_eq!(list.out, "new\nb\nx\ny\n");
    }
}

#[test]
fn reads_denied_by_default_show_only_what_is_allowed() {
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-ec", "mkdir -p in ~/x; echo IN > in/f; echo KEY > ~/x/key; echo KEY > ../key; echo IN > ~/.bashrc"]).ok();
        // Strictly, because /opt, where the tests live, is readable by default.
        let policy = r#"{"filesystem": {"strictDenyRead": true, "allowRead": ["/usr", "/bin", "/lib", "/lib64", "."],
            "allowWrite": ["in"], "denyWrite": ["/usr", "in/f"]}}"#;
        let ran = sh(
            &world,
            policy,
            "cat in/f; touch in/new; cat ../key ~/x/key ~/.bashrc; ls ~; echo x > in/f; touch new; ls /",
        );
        assert!(ran.out.starts_with("IN\n") && !ran.out.contains("KEY"), "{ran:?}");
        assert!(world.work().join("in/new").exists() && !world.work().join("new").exists());
        assert_eq!(fs::read_to_string(world.work().join("in/f")).unwrap(), "IN\n");
    }
}

#[test]
fn strictly_denied_reads_need_just_the_loader() {
    for who in everybody() {
        let world = World::new(who);
        let policy = r#"{"filesystem": {"strictDenyRead": true, "defaultDenyRead": true,
            "allowRead": ["/lib64", "/lib", "/bin", "/usr/lib", "."]}}"#;
        let ran = sh(&world, policy, "ls /etc /home /opt/fence-test; echo ran");
        assert_eq!(ran.out.lines().last(), Some("ran"), "{ran:?}");
        assert!(!ran.out.contains("passwd"), "{ran:?}");
    }
}

#[test]
fn exposing_a_path_opens_what_is_denied_there_and_above_only() {
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-ec", "mkdir -p ~/.ssh pub/deep; echo HOSTS > ~/.ssh/known; echo KEY > ~/.ssh/id; echo KEY > pub/deep/key"]).ok();
        let policy = world.root.join("policy.json");
        fs::write(&policy, r#"{"filesystem": {"denyRead": ["~/.ssh", "pub/deep"], "denyWrite": ["pub"]}}"#)
            .unwrap();
        let line = "cat ~/.ssh/known ~/.ssh/id pub/deep/key; touch pub/new; touch ~/.ssh/x; ls ~/.ssh";
        let known = world.home().join(".ssh/known");
        let ran = world.run([
            "-s",
            policy.to_str().unwrap(),
            "--expose-host-path",
            known.to_str().unwrap(),
            "--expose-host-path-rw",
            world.work().join("pub").to_str().unwrap(),
            "-c",
            line,
        ]);
        assert_eq!(ran.out, "HOSTS\nknown\n", "{ran:?}");
        assert!(world.work().join("pub/new").exists(), "{ran:?}");
    }
}

#[test]
fn work_directory_and_home_may_be_the_same() {
    for who in everybody() {
        let world = World::new(who);
        world.write(".bashrc", "good");
        world.write(".ssh/id", "KEY");
        let policy = r#"{"filesystem": {"allowWrite": [".", "~"], "denyRead": ["~/.ssh"]}}"#;
        let mut command =
            world.fenced_command(policy, ["sh", "-c", "touch ok; echo evil > .bashrc; cat .ssh/id; true"]);
        let ran = Ran::of(command.env("HOME", world.work())).ok();
        assert_eq!(ran.out, "");
        assert!(world.work().join("ok").exists());
        assert_eq!(fs::read_to_string(world.work().join(".bashrc")).unwrap(), "good");
    }
}

#[test]
fn overlapping_globs_and_literals_agree() {
    denied(
        r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["secrets/*.key", "**/.env", "secrets/**/*.pem"],
            "denyWrite": ["secrets/**", "**/*.key", "[ab]/x"]}}"#,
        "mkdir -p secrets/deep a b d; echo KEY > secrets/a.key; echo KEY > d/.env; echo KEY > secrets/deep/c.pem; touch secrets/plain a/x d/z.key",
        &[
            "grep KEY secrets/a.key",
            "grep KEY d/.env",
            "grep KEY secrets/deep/c.pem",
            "echo x > secrets/plain",
            "echo x > a/x",
            "rm d/z.key",
        ],
        "test -z \"$(cat secrets/plain a/x d/z.key)\"",
    );
}

#[test]
fn processes_of_the_host_can_not_be_denied_by_their_path() {
    let world = World::new(everybody()[0]);
    world
        .fenced(r#"{"filesystem": {"denyRead": ["/proc/self/environ"]}}"#, ["true"])
        .status(125)
        .says("not enforced");
    let cpus = world.fenced(r#"{"filesystem": {"denyRead": ["/proc/cpuinfo"]}}"#, ["cat", "/proc/cpuinfo"]);
    assert_eq!(cpus.status(1).out, "");
}
