//! Ways in which one run tried to open a door for the next, and other things that were found by attack.

use crate::harness::{World, everybody};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn a_directory_that_its_owner_closed_stays_denied() {
    for who in everybody().into_iter().filter(|who| who.uid != 0) {
        let world = World::new(who);
        world.write("secrets/prod.key", "KEY");
        world.write("keep/file", "old");
        let policy = r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["secrets/prod.key", "**/*.key"],
            "denyWrite": ["keep/file"]}}"#;
        // As a run before this one could leave them.
        for dir in ["secrets", "keep"] {
            fs::set_permissions(world.work().join(dir), fs::Permissions::from_mode(0o000)).unwrap();
        }
        let attack = "chmod 700 secrets keep; cat secrets/prod.key; echo new > keep/file";
        let ran = world.fenced(policy, ["sh", "-c", attack]);
        assert!(!ran.out.contains("KEY"), "{ran:?}");
        let outside = world.bare("sh", ["-c", "chmod 700 secrets keep; cat secrets/prod.key keep/file"]).ok();
        assert_eq!(outside.out, "KEYold");
    }
}

#[test]
fn exposed_is_not_writable_unless_it_says_so() {
    for who in everybody() {
        let world = World::new(who);
        world.write("x", "old");
        let policy = world.write("p.json", r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["x"]}}"#);
        let run = |flag: &str| {
            world.run(["-s", policy.to_str().unwrap(), flag, "x", "--", "sh", "-c", "echo new > x"])
        };
        run("--expose-host-path").says("Read-only file system");
        assert_eq!(fs::read_to_string(world.work().join("x")).unwrap(), "old");
        run("--expose-host-path-rw").ok();
        assert_eq!(fs::read_to_string(world.work().join("x")).unwrap(), "new\n");
    }
}

#[test]
fn a_planted_link_opens_nothing() {
    for who in everybody() {
        let world = World::new(who);
        world.write(world.home().join("key"), "KEY");
        world.mkdir(".git/hooks");
        symlink(".git/hooks", world.work().join("dist")).unwrap();
        symlink(world.home(), world.work().join("out")).unwrap();
        let policy = r#"{"filesystem": {"allowWrite": [".", "dist"], "denyRead": ["~"]}}"#;
        world.fenced(policy, ["sh", "-c", "echo evil > dist/pre-commit"]).says("Read-only file system");
        let file = world.write("p.json", policy);
        let run = ["-s", file.to_str().unwrap(), "--expose-host-path-rw", "out", "--", "cat", "out/key"];
        let ran = world.run(run);
        assert!(ran.status != 0 && !ran.out.contains("KEY"), "{ran:?}");
        world.bare("cat", ["out/key"]).ok().says("KEY");
    }
}

#[test]
fn the_policy_in_force_is_not_the_commands_to_write() {
    for who in everybody() {
        let world = World::new(who);
        let found = r#"{"filesystem": {"allowWrite": [".", "~"]}}"#;
        world.write("fence.json", found);
        world.mkdir(world.home().join(".config/fence"));
        world.run(["sh", "-c", "echo '{}' > fence.json"]).says("Read-only file system");
        world.run(["sh", "-c", "mv fence.json f2"]).says("busy");
        world.run(["sh", "-c", "echo '{}' > ~/.config/fence/fence.json"]).says("Read-only file system");
        world.bare("sh", ["-c", "echo '{}' > fence.json"]).ok();
    }
}

#[test]
fn a_project_file_of_another_user_does_not_govern() {
    crate::need!(root);
    let world = World::new(everybody()[0]);
    let file = world.write("fence.json", r#"{"filesystem": {"allowWrite": ["."]}}"#);
    world.run(["touch", "mine"]).ok();
    std::os::unix::fs::chown(&file, Some(4242), Some(4242)).unwrap();
    world.run(["touch", "theirs"]).says("belongs to another user").says("Read-only file system");
}

#[test]
fn a_device_on_a_standard_descriptor_keeps_its_mode() {
    crate::need!(root);
    let world = World::new(everybody()[0]);
    let mode = || fs::metadata("/dev/full").unwrap().permissions().mode();
    let before = mode();
    // To the mode that it has: the test must not change the machine.
    let line = format!("chmod {:o} /proc/self/fd/0", before & 0o777);
    let mut outside = world.command("sh", ["-c", &line]);
    assert!(outside.stdin(fs::File::open("/dev/full").unwrap()).status().unwrap().success());
    let policy = r#"{"filesystem": {"allowWrite": ["."]}}"#;
    if world.engine_lacks(policy, "root can change the modes of the host's device nodes") {
        return;
    }
    let mut command = world.fenced_command(policy, ["sh", "-c", &line]);
    let ran = command.stdin(fs::File::open("/dev/full").unwrap()).output().unwrap();
    assert!(!ran.status.success() && mode() == before, "{ran:?}");
}

#[test]
fn a_planted_log_file_truncates_nothing() {
    for who in everybody() {
        let world = World::new(who);
        let notes = world.write(world.home().join("notes"), "text");
        symlink(&notes, world.work().join("run.log")).unwrap();
        world.run(["--fence-log-file", "run.log", "--", "true"]).status(125).says("run.log");
        assert_eq!(fs::read_to_string(&notes).unwrap(), "text");
        // Through the link anybody else writes.
        world.bare("sh", ["-c", "echo new > run.log"]).ok();
        assert_eq!(fs::read_to_string(&notes).unwrap(), "new\n");
    }
}

#[test]
fn a_project_file_can_not_make_fence_wait_or_match_nothing() {
    for who in everybody() {
        let world = World::new(who);
        world.bare("mkfifo", ["pipe.json"]).ok();
        world.write("fence.json", r#"{"extends": "./pipe.json"}"#);
        world.run(["--", "true"]).status(125).says("no file of at most");
        world.write("fence.json", r#"{"extends": "/dev/zero"}"#);
        world.run(["--", "true"]).status(125).says("no file of at most");
        world.write("fence.json", r#"{"filesystem": {"denyRead": ["key\u0000"]}}"#);
        world.run(["--", "true"]).status(125).says("NUL");
        world.write("fence.json", "{}");
        world.run(["--", "true"]).ok();
    }
}

#[test]
fn landlock_alone_refuses_what_it_can_not_carry() {
    for who in everybody() {
        let world = World::new(who);
        world.write("key", "KEY");
        let with = |policy: &str| {
            let mut command = world.command(world.fence(), ["--landlock-apply", "--", "cat", "key"]);
            crate::harness::Ran::of(command.env("FENCE_CONFIG_JSON", policy))
        };
        // A kernel without Landlock is no excuse.
        let words = ["enosys", "landlock_create_ruleset", "--"];
        let mut poor = world.command(world.victim(), words);
        poor.arg(world.fence()).args(["--landlock-apply", "--", "cat", "key"]);
        poor.env("FENCE_CONFIG_JSON", r#"{"filesystem": {"denyRead": ["key"]}}"#);
        crate::harness::Ran::of(poor).status(125);
        let refused = with(r#"{"filesystem": {"denyRead": ["key"]}}"#).status(125);
        assert!(!refused.out.contains("KEY"), "{refused:?}");
        with("{}").ok().says("KEY");
    }
}
