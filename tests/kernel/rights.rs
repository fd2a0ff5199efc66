//! A program file with capabilities or a set-user-ID bit: what it gives reaches neither the command nor the choice of the
//! sandbox, and steers nothing for the caller.

use crate::harness::{Ran, USER, Who, World, everybody};
use crate::need;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

/// CAP_BPF and CAP_PERFMON, as the manual says; CAP_SYS_ADMIN, as for kernels below 5.8; what nobody should give: all of
/// them, with CAP_DAC_OVERRIDE and CAP_SETUID.
const GIVEN: [(u64, bool); 5] = [
    (1 << 39 | 1 << 38, false),
    (1 << 39 | 1 << 38, true),
    (1 << 21, false),
    (1 << 21, true),
    ((1 << 41) - 1, true),
];

/// A world of the ordinary user whose fence and victim have these.
fn world((set, effective): (u64, bool)) -> World {
    let world = World::new(Who { uid: USER });
    world.capable(world.fence(), set, effective);
    world
}

/// Those of them that can be given here: what the tests' own bounding set lacks no file gives.
fn given() -> Vec<(u64, bool)> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let bound = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let bound = u64::from_str_radix(bound, 16).unwrap();
    let user = everybody().contains(&Who { uid: USER });
    let possible = GIVEN.map(|(set, effective)| (set & bound, effective)).into_iter();
    possible.filter(|(set, _)| user && *set != 0).collect()
}

#[test]
fn the_sandbox_is_that_of_a_program_without_capabilities() {
    need!(root);
    need!(userns);
    let plain = World::new(Who { uid: USER });
    // Not the mounts: they hide sockets that other tests make and remove.
    let plan = |world: &World| -> Vec<String> {
        let ran = world.bare(world.fence(), ["plan", "--engine", "native", "--", "true"]).ok();
        let ways = ["engine", "namespaces", "keeps"];
        ran.out
            .lines()
            .filter(|line| ways.iter().any(|way| line.starts_with(way)))
            .map(String::from)
            .collect()
    };
    let sets = |ran: Ran| -> Vec<String> {
        ran.ok().out.lines().filter(|line| line.starts_with("Cap")).map(String::from).collect()
    };
    let status = ["--", "cat", "/proc/self/status"];
    let (wanted, none) = (plan(&plain), sets(plain.run(status)));
    assert!(wanted.len() == 3 && wanted[1].starts_with("namespaces  user "), "{wanted:?}");
    assert!(none.len() == 5 && none.iter().all(|line| line.ends_with("\t0000000000000000")), "{none:?}");
    for given in given() {
        let world = world(given);
        // The control: such a file gives rights here.
        let cat = world.root.join("bin/cat");
        assert!(
            std::process::Command::new("cp")
                .args(["/bin/cat", cat.to_str().unwrap()])
                .status()
                .unwrap()
                .success()
        );
        world.capable(cat.clone(), given.0, given.1);
        let outside = sets(world.bare(&cat, ["/proc/self/status"]));
        assert!(outside[1].ends_with(&format!("{:016x}", given.0)), "{given:?}: {outside:?}");
        assert_eq!(plan(&world), wanted, "{given:?}");
        for flags in [&[][..], &["-m"]] {
            assert_eq!(sets(world.run([flags, &status].concat())), none, "{given:?} {flags:?}");
        }
        // Nor do the other applets hand anything on.
        let applet = ["seccomp", "--", "cat", "/proc/self/status"];
        let after = sets(world.bare(world.fence(), applet));
        assert!(
            after[..3].iter().chain(&after[4..]).all(|line| line.ends_with("\t0000000000000000")),
            "{after:?}"
        );
    }
}

#[test]
fn fence_has_no_rights_left_while_the_command_runs_and_nobody_looks_into_it() {
    need!(root);
    need!(userns);
    for given in given() {
        let world = world(given);
        let mut run = world.fenced_command(
            r#"{"filesystem": {"allowWrite": ["."]}}"#,
            ["sh", "-c", "touch up; exec sleep 60"],
        );
        let mut run = run.stderr(std::process::Stdio::null()).spawn().unwrap();
        crate::guard::wait_for("the command did not start", || world.work().join("up").exists());
        let launcher = run.id();
        let status = fs::read_to_string(format!("/proc/{launcher}/status")).unwrap();
        let left = status
            .lines()
            .filter(|line| ["CapInh", "CapPrm", "CapEff", "CapAmb"].iter().any(|set| line.starts_with(set)));
        assert!(
            left.clone().count() == 4 && left.clone().all(|line| line.ends_with("\t0000000000000000")),
            "{given:?} {status}"
        );
        // The same user from outside; root's is the control, and so is a process of the user's own.
        for file in ["environ", "mem", "maps"] {
            let path = format!("/proc/{launcher}/{file}");
            let victim = world.bare(world.victim(), ["read", &path]);
            assert!(victim.status == 1 && victim.out == "EACCES\n", "{given:?} {file}: {victim:?}");
            assert!(fs::File::open(&path).is_ok());
        }
        world.bare("sh", ["-c", "sleep 9 & cat /proc/$!/environ; kill $!"]).ok();
        run.kill().unwrap();
        run.wait().unwrap();
    }
}

#[test]
fn variables_and_flags_of_the_caller_steer_nothing_that_the_caller_may_not_do() {
    need!(root);
    need!(userns);
    let Some(all) = given().pop() else { return };
    let world = world(all);
    let cat = world.victim();
    world.capable(cat.clone(), all.0, true);
    // Root's, and closed.
    let closed = world.root.join("closed");
    fs::create_dir(&closed).unwrap();
    chown(&closed, Some(0), Some(0)).unwrap();
    fs::write(closed.join("secret.json"), r#"{"filesystem": {"allowWrite": ["."]}}"#).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let inside = |name: &str| closed.join(name).display().to_string();
    // The control: who has these capabilities writes and reads there.
    world.bare(&cat, ["create", &inside("made")]).ok();
    world.bare(&cat, ["read", &inside("secret.json")]).ok();
    let run = |name: &str, value: &str, words: &[&str]| {
        let mut command = world.command(world.fence(), words);
        command.env(name, value);
        Ran::of(command)
    };
    let to = inside("log");
    run("FENCE_LOG_FILE", &to, &["-m", "--", "true"]).says("Permission denied");
    run("X", "", &["--fence-log-file", &to, "--", "true"]).status(125);
    run("X", "", &["-s", &inside("secret.json"), "--", "true"]).status(125);
    run("X", "", &["config", "init", "-o", &inside("fence.json")]);
    let writes = r#"{"filesystem": {"allowWrite": ["."]}}"#;
    let policy = world.write("../writes.json", writes).display().to_string();
    run("XDG_STATE_HOME", &inside("state"), &["-s", &policy, "--", "true"]);
    run("GITHUB_STEP_SUMMARY", &inside("summary"), &["-m", "--", "true"]);
    run("GITHUB_ACTIONS", "true", &["learn", "--output", &inside("learnt"), "--", "true"]);
    let mut names: Vec<_> = fs::read_dir(&closed).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["made", "secret.json"]);
    // And in the sandbox neither.
    let ran = world.run(["--", world.victim().to_str().unwrap(), "read", &inside("secret.json")]).status(1);
    assert_eq!(ran.out, "EACCES\n");
    // No library of the caller's comes along, whatever is said to the loader.
    let ran = run("LD_PRELOAD", "/nonexistent.so", &["--", "sh", "-c", "echo \"[$LD_PRELOAD]\""]).ok();
    assert_eq!(ran.out, "[]\n");
}

#[test]
fn a_set_user_id_fence_runs_nothing() {
    need!(root);
    let world = World::new(Who { uid: USER });
    for (mode, owner, group) in [(0o4755, 0, 0), (0o2755, USER, 0), (0o4755, 4242, USER)] {
        for program in [world.fence(), world.victim()] {
            chown(&program, Some(owner), Some(group)).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        }
        // The control: the bit counts here.
        let ids = world.bare(world.victim(), ["ids"]);
        assert!(ids.out.contains(&owner.to_string()) || mode == 0o2755, "{ids:?}");
        for words in [
            &["--", "touch", "made"][..],
            &["landlock", "--rw", "/", "--", "touch", "made"],
            &["config", "show"],
            &["--version"],
        ] {
            let ran = world.bare(world.fence(), words).status(125);
            assert!(
                ran.err.starts_with("fence: cannot run with the rights of another user or group"),
                "{ran:?}"
            );
            assert!(ran.err.contains("chmod ug-s"), "{ran:?}");
        }
        assert!(!world.work().join("made").exists());
    }
}
