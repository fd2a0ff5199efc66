//! Each step of the set-up made to fail in turn, by a filter put on fence from outside (`victim refuse`): the command must not
//! run, and the message names the step. Nothing in the program knows of it.

use crate::harness::{Ran, World, everybody};
use crate::need;
use std::ffi::OsString;
use std::fs;

const MOUNT: &str = "mount,mount_setattr,open_tree,open_tree_attr,move_mount,fsopen,fsconfig,fsmount,fspick";

/// Runs `fence FLAGS -- victim create made` where these calls fail; whether the command ran is whether the file is there.
fn without(world: &World, calls: &str, flags: &[&str]) -> (Ran, bool) {
    let settings = world.write("../settings.json", r#"{"filesystem": {"allowWrite": ["."]}}"#);
    let made = world.work().join("made");
    _ = fs::remove_file(&made);
    let mut words: Vec<OsString> = ["refuse", "EPERM", calls, "--"].iter().map(OsString::from).collect();
    words.push(world.fence().into());
    words.extend(flags.iter().map(OsString::from));
    words.extend(["-s".into(), settings.into(), "--".into(), world.victim().into()]);
    words.extend(["create".into(), "made".into()]);
    let ran = world.bare(world.victim(), words);
    (ran, made.exists())
}

/// Calls of the set-up, and what they are made for.
fn steps() -> Vec<(String, &'static str)> {
    let number = |call: libc::c_long| call.to_string();
    vec![
        ("clone".to_string(), "create namespaces"),
        (MOUNT.into(), "make the sandbox's root"),
        ("move_mount,mount".into(), "make the sandbox's root"),
        ("pivot_root,chroot".into(), "enter the sandbox's root"),
        ("umount2".into(), "detach the host's root"),
        (number(libc::SYS_fchdir), "enter the sandbox's root"),
        (number(libc::SYS_chdir), "enter the sandbox's root"),
        (number(libc::SYS_socket), "bring the loopback device up"),
        (number(libc::SYS_socketpair), "create a socket pair"),
        (number(libc::SYS_bind), "listen on port 3128"),
        (number(libc::SYS_listen), "listen on port 3128"),
        (number(libc::SYS_signalfd4), "create a signalfd"),
        (number(libc::SYS_prctl), "protect init from being inspected"),
        (number(libc::SYS_capset), "drop capabilities"),
        ("landlock_add_rule".into(), "allow / in the Landlock ruleset"),
        ("landlock_restrict_self".into(), "apply the Landlock ruleset"),
    ]
}

#[test]
fn a_step_that_fails_stops_the_run_and_is_named() {
    need!(userns);
    need!(landlock >= 1);
    for who in everybody() {
        let world = World::new(who);
        // The control: it runs where nothing fails that matters.
        let (ran, made) = without(&world, "vhangup", &["--engine", "native"]);
        assert!(ran.status == 0 && made, "{ran:?}");
        for (calls, step) in &steps() {
            let (ran, made) = without(&world, calls, &["--engine", "native"]);
            assert!(ran.status == 125 && !made, "{who:?} {calls}: {ran:?}");
            assert!(ran.err.contains(&format!("fence: cannot {step}")), "{who:?} {calls}: {ran:?}");
            assert!(ran.err.contains("Operation not permitted"), "{who:?} {calls}: {ran:?}");
        }
    }
}

#[test]
fn a_layer_that_is_missing_is_said_or_refused_where_it_is_required() {
    need!(userns);
    need!(landlock >= 1);
    for who in everybody() {
        let world = World::new(who);
        for (calls, layer, text) in [
            ("landlock_create_ruleset", "landlock", "Landlock is missing"),
            ("seccomp", "seccomp", "the system call filter is missing"),
        ] {
            let (ran, made) = without(&world, calls, &["--engine", "native"]);
            assert!(ran.status == 0 && made && ran.err.contains(text), "{who:?} {calls}: {ran:?}");
            let (ran, made) = without(&world, calls, &["--engine", "native", "--require", layer]);
            assert!(ran.status == 125 && !made && ran.err.contains("--require"), "{who:?} {calls}: {ran:?}");
        }
    }
}

/// bubblewrap makes half of these calls, fence inside it the others.
#[test]
fn a_step_that_fails_inside_bubblewrap_stops_the_run_too() {
    need!(userns);
    need!(landlock >= 1);
    need!(program "bwrap");
    // As the user who makes a user namespace too.
    for who in everybody().into_iter().rev().take(1) {
        let world = World::new(who);
        let (ran, made) = without(&world, "vhangup", &["--engine", "bwrap"]);
        assert!(ran.status == 0 && made, "{ran:?}");
        for (calls, _) in steps() {
            let (ran, made) = without(&world, &calls, &["--engine", "bwrap"]);
            assert!(ran.status == 125 && !made && ran.err.contains("fence: "), "{who:?} {calls}: {ran:?}");
        }
    }
}

/// Whichever engine has its turn when a step of another fails: what runs is in a sandbox that holds.
#[test]
fn no_fault_makes_a_command_run_without_a_sandbox() {
    need!(userns);
    need!(landlock >= 1);
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-c", ATTACK]).ok();
        assert!(world.root.join("outside").exists());
        let settings = world
            .write("../settings.json", r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["secret"]}}"#);
        let mut ways = Vec::new();
        for (calls, _) in steps() {
            _ = fs::remove_file(world.root.join("outside"));
            world.write("secret", "KEY");
            let mut words: Vec<OsString> =
                ["refuse", "EPERM", &calls, "--"].iter().map(OsString::from).collect();
            words.extend([world.fence().into(), "-s".into(), settings.clone().into(), "--".into()]);
            words.extend(["sh", "-c", ATTACK].map(OsString::from));
            let ran = world.bare(world.victim(), words);
            let held = !world.root.join("outside").exists() && !ran.out.contains("KEY");
            assert!(held && (ran.status == 125) != ran.out.contains("run"), "{who:?} {calls}: {ran:?}");
            ways.push(ran.status == 125);
        }
        // Some faults leave another way and some do not.
        assert!(ways.contains(&true) && ways.contains(&false), "{who:?}: {ways:?}");
    }
}

const ATTACK: &str = "echo run; echo x > ../outside; cat secret; exit 0";
